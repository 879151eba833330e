"""The options of ``fit`` that do not depend on the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bayesgmm.arguments import Engine, Method, read_choice, read_count, read_positive, read_probability
from bayesgmm.words import EQUALS, Argument, Words, about, joined

_BUDGET = 20  # times ``draws``: default for the longest adaptive run
_OF_OWN = {
    "gibbs": " draws from the conditionals of the package's own priors",
    "laplace": " weighs draws by the package's own density",
}
_OWNERS = {  # options, and the methods that have them
    **dict.fromkeys(("tune", "thin"), ("nuts", "gibbs")),
    **dict.fromkeys(("target_accept", "target_ess", "max_draws"), ("nuts",)),
    **dict.fromkeys(("approximation", "max_iter"), ("advi",)),
}


@dataclass(frozen=True)
class Options:
    """Options of :func:`bayesgmm.fit`. None means that the posterior decides; for ``target_ess``, that none is set."""

    method: str
    draws: int
    chains: int
    tune: int | None
    thin: int | None
    target_accept: float | None
    target_ess: float | None
    max_draws: int
    approximation: str
    max_iter: int

    @property
    def longest(self) -> int:
        """Largest number of draws of a chain."""
        return self.draws if self.target_ess is None else self.max_draws


def read_options(*, method: Any, draws: Any, chains: Any, engine: Any, custom: bool, **others: Any) -> Options:
    """Check every option, and that it belongs to the method and the kind of model."""
    read_choice(method, Method, "method")
    draws, chains = read_count(draws, "draws"), read_count(chains, "chains")
    for name, owners in _OWNERS.items():
        if others[name] is not None and method not in owners:
            of = joined([Argument("method", owner) for owner in owners], " and ")
            raise TypeError(about(name, "is an option of ", of, ", got ", Argument("method", method), "; leave it out"))
    tune, thin, target_accept, target_ess, max_draws, approximation, max_iter = (others[name] for name in _OWNERS)
    if engine is not None:
        read_choice(engine, Engine, "engine")
    if method in _OF_OWN and (custom or engine == "pymc"):
        owner = "model" if custom else Argument("engine", "pymc")
        raise TypeError(Words(Argument("method", method), _OF_OWN[method], ", got it with ", owner, "; leave one out"))
    if custom and engine == "compiled":
        what = " is for the package's own priors, got it with model; leave one out"
        raise TypeError(Words(Argument("engine", "compiled"), what))
    if target_ess is not None:
        target_ess = read_positive(target_ess, "target_ess")
    elif max_draws is not None:
        remedy = Words("give ", Argument("target_ess"), ", or raise ", Argument("draws"), " instead")
        raise TypeError(about("max_draws", "limits a run with ", Argument("target_ess"), ", got it alone; ", remedy))
    max_draws = _BUDGET * draws if max_draws is None else read_count(max_draws, "max_draws")
    if max_draws < draws:
        least = Argument("draws")
        got = Words(f"{max_draws} with ", least, EQUALS, f"{draws}; lower ", least, " too")
        raise ValueError(about("max_draws", "must be at least ", least, ", got ", got))
    return Options(
        method,
        draws,
        chains,
        None if tune is None else read_count(tune, "tune"),
        None if thin is None else read_count(thin, "thin"),
        None if target_accept is None else read_probability(target_accept, "target_accept"),
        target_ess,
        max_draws,
        read_choice("fullrank" if approximation is None else approximation, ("fullrank", "meanfield"), "approximation"),
        40_000 if max_iter is None else read_count(max_iter, "max_iter"),
    )
