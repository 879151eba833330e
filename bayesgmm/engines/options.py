"""The options of ``fit`` that do not depend on the data: read once, complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bayesgmm.arguments import Engine, Method, read_choice, read_count, read_positive, read_probability

_BUDGET = 20  # times ``draws``, the longest that an adaptive run may take


@dataclass(frozen=True)
class Options:
    """See :func:`bayesgmm.fit`; None is what only the posterior itself can settle."""

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
        """Draws of a chain at most."""
        return self.draws if self.target_ess is None else self.max_draws


def read_options(
    *,
    method: Any,
    draws: Any,
    chains: Any,
    tune: Any,
    thin: Any,
    target_accept: Any,
    target_ess: Any,
    max_draws: Any,
    approximation: Any,
    max_iter: Any,
    engine: Any,
    custom: bool,
) -> Options:
    """Check every option, and that it belongs to the method and the kind of model."""
    read_choice(method, Method, "method")
    draws, chains = read_count(draws, "draws"), read_count(chains, "chains")
    _refuse_foreign_options(
        method,
        tune=(tune, ("nuts", "gibbs")),
        thin=(thin, ("nuts", "gibbs")),
        target_accept=(target_accept, ("nuts",)),
        target_ess=(target_ess, ("nuts",)),
        max_draws=(max_draws, ("nuts",)),
        approximation=(approximation, ("advi",)),
        max_iter=(max_iter, ("advi",)),
    )
    if engine is not None:
        read_choice(engine, Engine, "engine")
    if method == "gibbs" and (custom or engine == "pymc"):
        owner = "model" if custom else "engine='pymc'"
        raise TypeError(
            f"method='gibbs' draws from the conditionals of the package's own priors, got it with {owner}; leave it out"
        )
    if custom and engine == "compiled":
        raise TypeError("engine='compiled' is for the package's own priors, got it with model; leave it out")
    if target_ess is not None:
        target_ess = read_positive(target_ess, "target_ess")
    elif max_draws is not None:
        raise TypeError("max_draws is the budget of target_ess, got it alone; give target_ess, or raise draws instead")
    max_draws = _BUDGET * draws if max_draws is None else read_count(max_draws, "max_draws")
    if max_draws < draws:
        raise ValueError(f"max_draws must be at least draws, got {max_draws} with draws = {draws}; lower draws too")
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


def _refuse_foreign_options(method: str, **options: tuple[Any, tuple[str, ...]]) -> None:
    for name, (value, owners) in options.items():
        if value is not None and method not in owners:
            of = " and ".join(f"method={owner!r}" for owner in owners)
            raise TypeError(f"{name} is an option of {of}, got method={method!r}; leave it out")
