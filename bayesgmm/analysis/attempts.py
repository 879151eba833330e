"""Which engines drew where none was asked for: what the tree keeps of them, and in words."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

import xarray as xr

from bayesgmm.words import joined

_ATTRIBUTE = "engines"
_NAMES = {"nuts": "NUTS", "gibbs": "Gibbs", "laplace": "Laplace's approximation"}
Because = Literal["many", "passes", "near", "far", "several", "instead", "longer"]
_REASONS: dict[str, str] = {
    "many": "observations are many",
    "passes": "rows are read in passes",
    "near": "the posterior is near a Gaussian",
    "far": "the posterior is far from a Gaussian",
    "several": "the posterior has several solutions",
    "instead": "another engine failed",
}
_TROUBLE = {
    "divergences": ", with divergent transitions",
    "energy": ", but its energy moved slowly (low BFMI)",
    "tree depth": ", but draws reached the largest tree depth",
}


def called(method: str, because: Because) -> str:
    """An engine in words."""
    return _NAMES[method] + (" with more sweeps" if because == "longer" else "")


@dataclass(frozen=True)
class Attempt:
    """An engine that drew, why it and for how many seconds, and what can be said of its draws.

    Attributes
    ----------
    method : {"nuts", "gibbs", "laplace"}
    because : str
        Why it was the first: "many" observations, rows read in "passes", the posterior "near" or "far" from a Gaussian, or
        with "several" solutions; or that it was tried "instead" of one that had not converged, or for "longer".
    seconds : float
    r_hat, ess : float
        The largest R-hat (None of independent draws), and the smallest effective sample size, bulk or tail, of
        label-invariant quantities.
    converged : bool
    trouble : str
        What the sampler had trouble with, as a kind of :class:`bayesgmm.Finding` ("divergences", "energy", "tree depth").
    kept : bool
        Whether the draws of the tree are its.
    """

    method: str
    because: Because
    seconds: float
    r_hat: float | None
    ess: float
    converged: bool
    trouble: str = ""
    kept: bool = False

    @property
    def sound(self) -> bool:
        """Whether no other engine need be tried."""
        return self.converged and not self.trouble

    @property
    def name(self) -> str:
        """The engine's, in words."""
        return called(self.method, self.because)

    @property
    def outcome(self) -> str:
        """What became of it, in words; without its seconds, so that one seed has one text."""
        if self.converged:
            return f"{self.name} converged{_TROUBLE.get(self.trouble, '')}"
        return f"{self.name} did not converge: R-hat {self.r_hat:.3f}, {self.ess:.0f} effective draws"


def keep_attempts(tree: xr.DataTree, attempts: list[Attempt]) -> None:
    """Write down in a tree what was tried, in its order."""
    tree.attrs[_ATTRIBUTE] = json.dumps([asdict(each) for each in attempts])


def read_attempts(tree: xr.DataTree) -> tuple[Attempt, ...]:
    """What was tried for a tree, in its order; nothing where its engine was asked for."""
    told = tree.attrs.get(_ATTRIBUTE, "[]")
    try:
        return tuple(Attempt(**each) for each in json.loads(told))
    except (TypeError, ValueError):
        raise ValueError(
            f"attribute {_ATTRIBUTE} of tree must be a record as fit writes it, got {told!r}; pass what fit returned"
        ) from None


def in_words(tree: xr.DataTree) -> str:
    """Which engines ran, why, and whose draws were kept; nothing where the engine was asked for."""
    attempts = read_attempts(tree)
    if not attempts:
        return ""
    first, last = attempts[0], attempts[-1]
    why = f"{first.name} was chosen, because {_REASONS[first.because]}"
    if len(attempts) == 1:
        return f"{why}."
    told = f"{why}. {joined([each.outcome for each in attempts], '; ')}"
    if last.kept:
        return f"{told}. Its draws are kept."
    return f"{told}. Best, and kept, are the draws of {next(each.name for each in attempts if each.kept)}."
