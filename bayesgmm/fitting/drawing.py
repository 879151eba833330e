"""From what was asked to draws: the posterior posed, and the engine that draws from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import xarray as xr

from bayesgmm.analysis.diagnosis import MAX_R_HAT, MIN_ESS_PER_CHAIN
from bayesgmm.analysis.draws import draws_of
from bayesgmm.analysis.quantities import have_reached, invariant_quantities
from bayesgmm.arguments import Engine, FloatArray
from bayesgmm.em.result import EMResult
from bayesgmm.em.rivals import has_rival
from bayesgmm.engines.compiled_target import CompiledTarget
from bayesgmm.engines.interface import Sampled
from bayesgmm.engines.phases import DeferredInterrupt, Phases
from bayesgmm.engines.problem import Problem, custom_problem, own_problem
from bayesgmm.engines.starts import Optimum, deal, weigh
from bayesgmm.fitting.asked import Asked
from bayesgmm.posterior import SummedPosterior

if TYPE_CHECKING:
    from bayesgmm.engines.nuts import NutsSettings

_PLENTY = 3 * MIN_ESS_PER_CHAIN  # with which R-hat of chains that agree stays clear of its limit


def posed(asked: Asked, em: EMResult, phases: Phases) -> tuple[Problem, list[Optimum] | None]:
    """The posterior, compiled, and of the package's own EM's optima with their shares of it."""
    if asked.prior is None:
        return custom_problem(asked.model, asked.data, em), None
    engine: Engine | None = "pymc" if asked.without_nutpie else asked.engine
    problem = own_problem(asked.data, em, asked.prior, engine, asked.options.chains)
    assert problem.own is not None
    with phases("compile", None), DeferredInterrupt(raise_at_end=True):
        own = problem.own  # whose density takes long at first use only
        own(problem.starts[0])
    with phases("geometry", None):
        return problem, weigh(own, problem.starts)


def sampled_by(
    asked: Asked, em: EMResult, problem: Problem, optima: Sequence[Optimum] | None, phases: Phases
) -> tuple[Sampled, dict[str, Any]]:
    """Draws, and the settings under which they were made."""
    options, seed = asked.options, asked.engine_seed
    if options.method == "laplace" and problem.own is not None:
        from bayesgmm.engines.importance import sample_laplace

        assert optima is not None
        if has_rival(asked.source, em, asked.em_seed):
            why = f"k = {asked.k} is hardly better than {asked.k - 1}, and a component may be empty"
        else:
            by_laplace, told = sample_laplace(problem, optima, options.draws, options.chains, seed, phases)
            if by_laplace is not None:
                return by_laplace, told
            weights = f"k-hat {told['pareto_k']:.2f}, efficiency {told['importance_efficiency']:.2f}"
            why = f"the posterior is too far from Laplace's approximation ({weights})"
        phases.say(f"{why}: NUTS takes over")
        by_nuts, settings = _by_nuts(asked, problem, optima, phases)
        return by_nuts, settings | {"method": "nuts"}
    if options.method == "advi":
        from bayesgmm.engines.advi import sample_advi

        start = optima[0].point if optima else problem.starts[0]
        return sample_advi(problem.target, start, options, seed, phases, problem.own), {"max_iter": options.max_iter}
    if options.method == "gibbs":
        from bayesgmm.engines.gibbs import GibbsSettings, sample_gibbs, sweeps_between_draws

        assert problem.own is not None
        assert optima is not None
        tune, thin = options.tune or 1000, options.thin or sweeps_between_draws(problem.own.work * asked.k)
        gibbs = GibbsSettings(options.draws, tune, thin, options.chains, seed, asked.progressbar)
        starts = [optima[i].point for i in deal(optima, options.chains)]
        return sample_gibbs(problem.target, starts, gibbs, phases), {"tune": tune, "thin": thin}
    return _by_nuts(asked, problem, optima, phases)


def _by_nuts(
    asked: Asked, problem: Problem, optima: Sequence[Optimum] | None, phases: Phases
) -> tuple[Sampled, dict[str, Any]]:
    """Draws by NUTS, and the settings under which they were made."""
    options = asked.options
    sampled, nuts = _sampled_by_nuts(asked, problem, optima, phases)
    settings: dict[str, Any] = {"tune": nuts.tune, "thin": sampled.thin, "target_accept": nuts.target_accept}
    if options.target_ess is not None:
        settings |= {"target_ess": options.target_ess, "max_draws": options.max_draws}
        settings |= {"stopped_by": sampled.stopped_by} if sampled.stopped_by else {}
    if asked.prior is not None and not asked.without_nutpie:
        settings["adaptation"] = nuts.adaptation
    return sampled, settings


def _sampled_by_nuts(
    asked: Asked, problem: Problem, optima: Sequence[Optimum] | None, phases: Phases
) -> tuple[Sampled, NutsSettings]:
    """Draws, and the settings that were used: as asked for, or as the posterior's shape suggests."""
    from bayesgmm.engines.nuts import NutsSettings, choose_geometry, sample_by_pymc, sample_nuts
    from bayesgmm.engines.together import geometry_in_passes, passes_of

    options, seed = asked.options, asked.engine_seed
    settings = NutsSettings(
        options.draws,
        options.tune or 800,
        options.chains,
        seed,
        options.target_accept or 0.9,
        phases.announce,
        max_draws=options.max_draws,
        enough=None if options.target_ess is None else _has_reached(options.target_ess, problem),
        thin=options.thin or 1,
    )
    if problem.own is None or optima is None:
        return sample_by_pymc(problem.target.model, problem.start_values, settings, phases), settings
    if asked.without_nutpie:
        values = problem.own.constrained(optima[0].point)
        start = {name: values[name] for name in problem.start_values}
        return sample_by_pymc(problem.target.model, start, settings, phases, nuts_sampler="pymc"), settings
    if isinstance(problem.own, SummedPosterior):
        chosen = geometry_in_passes(problem.own, optima, options.chains, seed)
        tune, target_accept = options.tune or chosen.tune, options.target_accept or chosen.target_accept
        phases.say(passes_of(tune + options.longest * settings.thin))
        settings = replace(settings, adaptation=chosen.adaptation, tune=tune, target_accept=target_accept)
        return sample_nuts(problem.target, chosen.starts, settings, phases), settings
    can_whiten = isinstance(problem.target, CompiledTarget)
    chosen = choose_geometry(problem.own, optima, options.chains, seed, phases, can_whiten=can_whiten)
    tune, target_accept = options.tune or chosen.tune, options.target_accept or chosen.target_accept
    settings = replace(settings, adaptation=chosen.adaptation, tune=tune, target_accept=target_accept)
    if options.thin is None and options.target_ess is None and chosen.most_thin > 1:
        plenty = _has_reached(_PLENTY * options.chains, problem)
        settings = replace(settings, most_thin=chosen.most_thin, enough=plenty)
    return sample_nuts(problem.target, chosen.starts, settings, phases), settings


def _has_reached(target_ess: float, problem: Problem) -> Callable[[xr.Dataset, FloatArray], bool]:
    """Whether the label-invariant quantities have the effective sample size wanted, and an R-hat that gives it a meaning."""

    def enough(posterior: xr.Dataset, log_posterior: FloatArray) -> bool:
        draws = draws_of(problem.as_contract(posterior))
        if draws.n_chains == 1:  # halves of it stand for chains
            draws = draws.halves()
            log_posterior = log_posterior[:, : 2 * draws.n_draws].reshape(2, draws.n_draws)
        if draws.n_draws < 4:
            return False
        return have_reached(invariant_quantities(draws, problem.x, log_posterior), target_ess, MAX_R_HAT)

    return enough
