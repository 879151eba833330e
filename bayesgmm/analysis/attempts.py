"""Record of the engines that fit tried when the user chose none: in the tree, and in words."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

import xarray as xr

from bayesgmm.words import joined

_ATTRIBUTE = "engines"
_NAMES = {"nuts": "NUTS", "gibbs": "Gibbs", "laplace": "Laplace's approximation"}
Because = Literal["many", "fits", "passes", "near", "far", "several", "instead", "longer"]
_REASONS: dict[str, str] = {
    "many": "observations are many",
    "fits": "fits are many",
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
    """The engine's name in a message."""
    return _NAMES[method] + (" with more sweeps" if because == "longer" else "")


@dataclass(frozen=True)
class Attempt:
    """One run of an engine: why it ran, how long it took, and whether its draws converged.

    Attributes
    ----------
    method : {"nuts", "gibbs", "laplace"}
    because : str
        Why it ran. The first engine: "many" observations, many "fits", rows read in "passes", a posterior "near" or "far"
        from a Gaussian, or one with "several" solutions. A later engine: "instead" of one that failed, did not converge or
        had trouble, or the same engine for "longer".
    seconds : float
    r_hat, ess : float
        Largest R-hat (None for independent draws) and smallest effective sample size (bulk or tail) of the label-invariant
        quantities.
    converged : bool
    trouble : str
        The sampler's first problem, as the kind of a :class:`bayesgmm.Finding` ("divergences", "energy", "tree depth");
        empty if it had none.
    kept : bool
        Whether the tree holds the draws of this run.
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
        """Whether the draws are good enough that no other engine is tried."""
        return self.converged and not self.trouble

    @property
    def name(self) -> str:
        """The engine's name in a message."""
        return called(self.method, self.because)

    @property
    def outcome(self) -> str:
        """The result of the run, in words. It leaves out the seconds, so that a seed always gives the same text."""
        if self.converged:
            return f"{self.name} converged{_TROUBLE.get(self.trouble, '')}"
        return f"{self.name} did not converge: R-hat {self.r_hat:.3f}, {self.ess:.0f} effective draws"


def keep_attempts(tree: xr.DataTree, attempts: list[Attempt]) -> None:
    """Record the attempts in a tree, in their order."""
    tree.attrs[_ATTRIBUTE] = json.dumps([asdict(each) for each in attempts])


def read_attempts(tree: xr.DataTree) -> tuple[Attempt, ...]:
    """The attempts recorded in a tree, in their order; none if the user chose the engine."""
    told = tree.attrs.get(_ATTRIBUTE, "[]")
    try:
        return tuple(Attempt(**each) for each in json.loads(told))
    except (TypeError, ValueError):
        raise ValueError(
            f"attribute {_ATTRIBUTE} of tree must be a record as fit writes it, got {told!r}; pass what fit returned"
        ) from None


def in_words(tree: xr.DataTree) -> str:
    """Which engines ran and why, and which draws were kept; empty if the user chose the engine."""
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
    return f"{told}. The best draws, by {next(each.name for each in attempts if each.kept)}, are kept."
