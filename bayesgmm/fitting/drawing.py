"""From checked arguments to draws: the posterior, and the engine that draws from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import xarray as xr

from bayesgmm.analysis.draws import draws_of
from bayesgmm.analysis.findings import MAX_R_HAT, MIN_ESS_PER_CHAIN
from bayesgmm.analysis.quantities import have_reached, invariant_quantities
from bayesgmm.arguments import Engine, FloatArray
from bayesgmm.em.result import EMResult
from bayesgmm.engines.compiled_target import CompiledTarget
from bayesgmm.engines.interface import Sampled
from bayesgmm.engines.phases import DeferredInterrupt, Phases
from bayesgmm.engines.problem import Problem, custom_problem, own_problem
from bayesgmm.engines.rivals import has_rival
from bayesgmm.engines.starts import Nearness, Optimum, deal, weigh
from bayesgmm.fitting.asked import Asked
from bayesgmm.posterior import SummedPosterior

if TYPE_CHECKING:
    from bayesgmm.engines.nuts import NutsSettings

type Drawn = tuple[Sampled, dict[str, Any]]  # draws and the settings that were used

_PLENTY = 3 * MIN_ESS_PER_CHAIN  # effective sample size of each chain at which R-hat stays clear of its limit


def posed(asked: Asked, em: EMResult, phases: Phases) -> tuple[Problem, list[Optimum] | None]:
    """The compiled posterior, and, unless it is a user's model, EM's optima with their shares of it."""
    if asked.prior is None:
        return custom_problem(asked.model, asked.data, em), None
    engine: Engine | None = "pymc" if asked.without_nutpie else asked.engine
    problem = own_problem(asked.data, em, asked.prior, engine, asked.options.chains, asked.fixed)
    assert problem.own is not None
    with phases("compile", None), DeferredInterrupt(raise_at_end=True):
        own = problem.own  # the first evaluation compiles or loads its density
        own(problem.starts[0])
    with phases("geometry", None):
        return problem, weigh(own, problem.starts)


def sampled_by(asked: Asked, em: EMResult, problem: Problem, optima: Sequence[Optimum] | None, phases: Phases) -> Drawn:
    """Draws by the engine that the user chose, and the settings that were used."""
    method = asked.options.method
    if method == "laplace" and optima is not None:
        found = by_laplace(asked, em, problem, optima, phases)
        if not isinstance(found, str):
            return found
        phases.say(f"{found}: NUTS takes over")
    if method == "advi":
        from bayesgmm.engines.advi import sample_advi

        options, start = asked.options, optima[0].point if optima else problem.starts[0]
        drawn = sample_advi(problem.target, start, options, asked.engine_seed, phases, problem.own)
        return drawn, {"method": "advi", "max_iter": options.max_iter}
    if method == "gibbs":
        assert optima is not None
        return by_gibbs(asked, problem, optima, phases)
    return by_nuts(asked, problem, optima, phases)


def by_laplace(asked: Asked, em: EMResult, problem: Problem, optima: Sequence[Optimum], phases: Phases) -> Drawn | str:
    """Draws from Laplace's approximations, weighted by importance; or why they do not represent the posterior."""
    from bayesgmm.engines.importance import sample_laplace

    options, own = asked.options, problem.own
    assert own is not None
    if has_rival(asked.source, em, own, optima, asked.em_seed):
        return f"EM with k = {asked.k} is hardly better than with k = {asked.k - 1}, and a component may be empty"
    drawn, told = sample_laplace(problem, optima, options.draws, options.chains, asked.engine_seed, phases)
    if drawn is not None:
        return drawn, {"method": "laplace", **told}
    weights = f"k-hat {told['pareto_k']:.2f}, efficiency {told['importance_efficiency']:.2f}"
    return f"the posterior is too far from Laplace's approximation ({weights})"


def by_gibbs(asked: Asked, problem: Problem, optima: Sequence[Optimum], phases: Phases, times: float = 1) -> Drawn:
    """Draws by Gibbs sampling, with ``times`` as many sweeps as usual, and the settings that were used."""
    from bayesgmm.engines.gibbs import GibbsSettings, burn_in_sweeps, sample_gibbs, sweeps_between_draws

    options = asked.options
    assert problem.own is not None
    operations = problem.own.work * asked.k
    tune = options.tune or max(1, round(times * burn_in_sweeps(operations)))
    thin = options.thin or max(1, round(times * sweeps_between_draws(operations)))
    gibbs = GibbsSettings(options.draws, tune, thin, options.chains, asked.engine_seed, asked.progressbar)
    starts = [optima[i].point for i in deal(optima, options.chains)]
    return sample_gibbs(problem.target, starts, gibbs, phases), {"method": "gibbs", "tune": tune, "thin": thin}


def by_nuts(
    asked: Asked, problem: Problem, optima: Sequence[Optimum] | None, phases: Phases, known: Nearness | None = None
) -> Drawn:
    """Draws by NUTS, and a record of its settings."""
    options = asked.options
    sampled, nuts = _sampled_by_nuts(asked, problem, optima, phases, known)
    settings: dict[str, Any] = {
        "method": "nuts",
        "tune": nuts.tune,
        "thin": sampled.thin,
        "target_accept": nuts.target_accept,
    }
    if options.target_ess is not None:
        settings |= {"target_ess": options.target_ess, "max_draws": options.max_draws}
        settings |= {"stopped_by": sampled.stopped_by} if sampled.stopped_by else {}
    if asked.prior is not None and not asked.without_nutpie:
        settings["adaptation"] = nuts.adaptation
    return sampled, settings


def _sampled_by_nuts(
    asked: Asked, problem: Problem, optima: Sequence[Optimum] | None, phases: Phases, known: Nearness | None
) -> tuple[Sampled, NutsSettings]:
    """Draws by NUTS, and its settings: those of the user, or those that suit the posterior's shape."""
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
        enough=None if options.target_ess is None else _has_reached(options.target_ess, asked, problem),
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
    chosen = choose_geometry(problem.own, optima, options.chains, seed, phases, can_whiten=can_whiten, known=known)
    tune, target_accept = options.tune or chosen.tune, options.target_accept or chosen.target_accept
    settings = replace(settings, adaptation=chosen.adaptation, tune=tune, target_accept=target_accept)
    if options.thin is None and options.target_ess is None and chosen.most_thin > 1:
        plenty = _has_reached(_PLENTY * options.chains, asked, problem)
        settings = replace(settings, most_thin=chosen.most_thin, enough=plenty)
    return sample_nuts(problem.target, chosen.starts, settings, phases), settings


def _has_reached(target_ess: float, asked: Asked, problem: Problem) -> Callable[[xr.Dataset, FloatArray], bool]:
    """A test whether label-invariant quantities have reached this effective sample size, with R-hat within its limit."""

    def enough(posterior: xr.Dataset, log_posterior: FloatArray) -> bool:
        draws = draws_of(problem.in_data_units(problem.as_contract(posterior)))
        if draws.n_chains == 1:  # its halves count as chains
            draws = draws.halves()
            log_posterior = log_posterior[:, : 2 * draws.n_draws].reshape(2, draws.n_draws)
        if draws.n_draws < 4:
            return False
        return have_reached(invariant_quantities(draws, asked.data.x, log_posterior), target_ess, MAX_R_HAT)

    return enough
