"""Fitting: every engine turns a model into a tree; :func:`fit` is the one door."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm import labels, predictive
from bayesgmm.density import LogPosterior
from bayesgmm.diagnostics import MAX_R_HAT, Diagnosis, diagnose, invariant_quantities, summarise
from bayesgmm.em import EMResult, fit_em, location_and_scale
from bayesgmm.exceptions import ApproximationWarning, ConvergenceWarning, EngineWarning, InterruptedWarning
from bayesgmm.inference.compiled_target import CompiledTarget
from bayesgmm.inference.interface import Sampled
from bayesgmm.inference.nutpie_interface import interface_problem
from bayesgmm.inference.phases import Phases
from bayesgmm.priors import Prior, read_prior
from bayesgmm.tree import CLUSTER, Draws, build_tree, draws_of
from bayesgmm.validation import (
    Covariance,
    Data,
    Engine,
    FloatArray,
    Method,
    Missing,
    read_choice,
    read_count,
    read_fit_data,
    read_positive,
    read_probability,
    read_seed,
    require_memory,
)

if TYPE_CHECKING:
    import pymc as pm

__all__ = ["fit"]

_BUDGET = 20  # times ``draws``, the longest that an adaptive run may take


def fit(
    x: ArrayLike,
    k: int,
    *,
    method: Method = "nuts",
    prior: Prior | None = None,
    covariance: Covariance = "full",
    draws: int = 1000,
    tune: int | None = None,
    chains: int = 4,
    random_seed: int | np.random.Generator | None = None,
    relabel: bool = True,
    progressbar: bool = True,
    model: pm.Model | None = None,
    n_init: int = 10,
    target_accept: float | None = None,
    approximation: Literal["fullrank", "meanfield"] | None = None,
    max_iter: int | None = None,
    log_likelihood: bool = False,
    posterior_predictive: bool = False,
    missing: Missing = "raise",
    engine: Engine | None = None,
    target_ess: float | None = None,
    max_draws: int | None = None,
) -> xr.DataTree:
    """Posterior over the parameters of a Gaussian mixture with k components.

    EM gives the start, the data are standardised inside, and the draws come back in the data's units, relabelled to
    match the EM estimate that is stored beside them. The chains of NUTS start near the distinct optima that EM's restarts
    found within five units of log-likelihood of the best, so that several solutions show as chains that disagree.

    Parameters
    ----------
    x : (n,) array-like
        One-dimensional data.
    k : int
        Number of components.
    method : {"nuts", "advi"}
        NUTS (exact up to Monte Carlo error), or ADVI (a Gaussian approximation on the unconstrained space).
    prior : HierarchicalPrior or ConjugatePrior, optional
        Default: ``HierarchicalPrior()``, scaled to the data.
    covariance : {"full", "tied"}
        A variance for each component, or one common variance; ``model`` settles it by the shape of its ``sigma``.
    draws, chains : int
        Draws kept in each chain, and chains. ADVI's draws are independent and fill the same shape.
    tune : int, optional
        NUTS: adaptation steps of each chain, which are not kept. Default 200 where the posterior is near a Gaussian, else
        400; 800 for a custom model.
    random_seed : int, Generator or None
        The seed used is recorded in ``tree.attrs["seed"]``. It repeats a run to the last digit on one machine. (Under
        ``engine="pymc"`` the first run of a model, freshly compiled, may round otherwise than its cached code later.)
    relabel : bool
        Match the clusters of every draw to the EM estimate (:func:`bayesgmm.relabel`).
    progressbar : bool
        Announce phases and show progress on standard error.
    model : pm.Model, optional
        Your own model of ``x``: a Gaussian mixture in variables ``w``, ``mu``, ``sigma``, under any priors. It is
        sampled as it stands, in its own units.
    n_init : int
        Starts of EM.
    target_accept : float, optional
        NUTS: acceptance rate sought, between 0 and 1. Default 0.9, or 0.8 where the posterior is all but a Gaussian.
    approximation : {"fullrank", "meanfield"}, optional
        ADVI: with or without correlations. Default "fullrank".
    max_iter : int, optional
        ADVI: iterations at most. Default 40 000.
    log_likelihood, posterior_predictive : bool
        Add these groups to the tree (draws x observations numbers each).
    missing : {"raise", "drop"}
        What to do with NaN and infinite observations.
    engine : {"compiled", "pymc"}, optional
        What computes the posterior: the package's compiled density (the default), or PyMC, which needs longer and is what
        the compiled one is tested against. A custom model is always PyMC's.
    target_ess : float, optional
        NUTS: go on until the smallest bulk effective sample size of the label-invariant quantities reaches this and
        their R-hat is at most 1.01. ``draws`` is then the shortest run. (``pm.sample``, which a custom model needs, cannot
        go on where it stopped and begins anew for each length.)
    max_draws : int, optional
        NUTS with ``target_ess``: draws of each chain at most. Default ``20 * draws``. ``tree.attrs["stopped_by"]`` says
        which of the two ended the run.

    Returns
    -------
    DataTree
        Groups ``posterior`` (``w``, ``mu``, ``sigma`` over chain, draw, cluster; hyperparameters), ``sample_stats``,
        ``observed_data``, ``em_baseline``, for ADVI ``approximation``; settings and seconds as attributes.

    Warns
    -----
    ConvergenceWarning
        If :func:`bayesgmm.diagnose` finds that the chains have not converged or the sampler had trouble, if ``max_draws``
        ended the run before ``target_ess``, or if ADVI has not converged.
    ApproximationWarning
        If ADVI's PSIS k-hat exceeds 0.7.
    InterruptedWarning
        If the run was interrupted; the tree holds the draws made by then.
    EngineWarning
        If the installed sampler does not take the compiled density, and PyMC's engine was used instead.

    Raises
    ------
    ValueError, TypeError
        For arguments that break a rule; the message names it.
    MemoryError
        If a group asked for would not fit into memory; said before anything is sampled.

    Notes
    -----
    Tested property: the posterior is equivariant, rescaled or shifted data give the rescaled or shifted posterior.

    References
    ----------
    Hoffman & Gelman (2014), The No-U-Turn sampler, Journal of Machine Learning Research 15, 1593-1623.

    Kucukelbir, Tran, Ranganath, Gelman & Blei (2017), Automatic differentiation variational inference, Journal of
    Machine Learning Research 18(14), 1-45.

    Yao, Vehtari, Simpson & Gelman (2018), Yes, but did it work? Evaluating variational inference, Proceedings of
    Machine Learning Research 80, 5581-5590.
    """
    data, k = read_fit_data(x, k, missing=missing)
    read_choice(method, Method, "method")
    read_choice(covariance, Covariance, "covariance")
    draws, chains = read_count(draws, "draws"), read_count(chains, "chains")
    _refuse_foreign_options(
        method,
        nuts={"tune": tune, "target_accept": target_accept, "target_ess": target_ess, "max_draws": max_draws},
        advi={"approximation": approximation, "max_iter": max_iter},
    )
    if engine is not None:
        read_choice(engine, Engine, "engine")
    if model is not None and engine == "compiled":
        raise TypeError("engine='compiled' is for the package's own priors, got it with model; leave it out")
    if target_ess is not None:
        target_ess = read_positive(target_ess, "target_ess")
    elif max_draws is not None:
        raise TypeError("max_draws is the budget of target_ess, got it alone; give target_ess, or raise draws instead")
    max_draws = _BUDGET * draws if max_draws is None else read_count(max_draws, "max_draws")
    if max_draws < draws:
        raise ValueError(f"max_draws must be at least draws, got {max_draws} with draws = {draws}; lower draws too")
    tune = None if tune is None else read_count(tune, "tune")
    target_accept = None if target_accept is None else read_probability(target_accept, "target_accept")
    family = read_choice("fullrank" if approximation is None else approximation, ("fullrank", "meanfield"), "approximation")
    max_iter = 40_000 if max_iter is None else read_count(max_iter, "max_iter")
    seed = read_seed(random_seed)
    em_seed, engine_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(2) % 2**31)
    if model is None:
        own_prior = read_prior(prior, data.values)
    else:
        from bayesgmm.inference.custom import read_model

        covariance = read_model(model, data.values, k, prior)

    longest = draws if target_ess is None else max_draws
    require_memory(
        8 * longest * chains * (4 * k + 25),  # parameters and sampler statistics
        f"{chains} x {longest} draws of {k} components",
        "ask for fewer draws" if target_ess is None else "lower max_draws",
    )
    for wanted, group in ((log_likelihood, "log_likelihood"), (posterior_predictive, "posterior_predictive")):
        if wanted:
            remedy = "ask for fewer draws, or add the group afterwards"
            predictive.require_room(longest * chains, len(data.values), group, remedy)

    phases = Phases(announce=progressbar)
    with phases("em", f"EM: k = {k}, n = {len(data.values)}"):
        em = fit_em(data.values, k, covariance=covariance, n_init=n_init, random_seed=em_seed)
    shift, scale = (0.0, 1.0) if model is not None else location_and_scale(data.values)
    own, nutpie_problem = None, None
    if model is None:
        own = LogPosterior((data.values - shift) / scale, k, own_prior.rescaled(shift, scale), covariance)
        optima = [each.rescaled(-shift / scale, 1 / scale) for each in em.optima()]
        starts = [own.at(mixture) for mixture in optima]
        nutpie_problem = _nutpie_problem() if method == "nuts" else None
        target = _target(own, "pymc" if nutpie_problem else engine)
    else:
        from bayesgmm.inference.custom import start_values
        from bayesgmm.inference.pymc_target import PyMCTarget, unconstrained

        target = PyMCTarget(model)
        start = start_values(model, em.mixture)
        starts = [unconstrained(model, start).data]
    if method == "advi":
        from bayesgmm.inference.advi import AdviSettings, sample_advi

        sampled = sample_advi(
            target, starts[0], AdviSettings(draws, chains, engine_seed, family, max_iter, progressbar), phases, own
        )
    else:
        from bayesgmm.inference.nuts import NutsSettings, choose_adaptation, sample_by_pymc, sample_nuts

        settings = NutsSettings(
            draws, tune or 800, chains, engine_seed, target_accept or 0.9, progressbar, max_draws=max_draws
        )
        if target_ess is not None:
            settings = replace(settings, enough=_has_reached(target_ess, data.values if own is None else own.x, k))
        if own is None:
            sampled = sample_by_pymc(model, start, settings, phases)
        elif nutpie_problem:
            sampled = sample_by_pymc(target.model, own.values_at(optima[0]), settings, phases, nuts_sampler="pymc")
        else:
            with phases("compile", None):
                own(starts[0])
            with phases("geometry", None):
                chosen = choose_adaptation(own, starts[0])
            settings = replace(
                settings,
                adaptation=chosen.kind,
                tune=tune or chosen.tune,
                target_accept=target_accept or chosen.target_accept,
            )
            sampled = sample_nuts(target, starts, settings, phases)

    attrs: dict[str, Any] = {
        "method": method,
        "k": k,
        "covariance": covariance,
        "prior": own_prior.to_json() if model is None else "custom model",
        "seed": seed,
        "n_init": n_init,
        "missing": missing,
        "engine": "compiled" if isinstance(target, CompiledTarget) else "pymc",
        **({"tune": settings.tune, "target_accept": settings.target_accept} if method == "nuts" else {"max_iter": max_iter}),
        **({"target_ess": target_ess, "max_draws": max_draws} if target_ess is not None else {}),
        **({"stopped_by": sampled.stopped_by} if sampled.stopped_by else {}),
        **({"adaptation": settings.adaptation} if method == "nuts" and own is not None and not nutpie_problem else {}),
        "interrupted": int(sampled.interrupted),
        **{f"seconds_{name}": value for name, value in phases.seconds.items()},
    }
    tree = _assemble(sampled, data, em, attrs, shift, scale, custom=model is not None)
    if relabel:
        tree = labels.relabel(tree)
    if log_likelihood:
        tree = predictive.add_log_likelihood(tree)
    if posterior_predictive:
        tree = predictive.add_posterior_predictive(tree, engine_seed)
    _warn_of_trouble(tree, diagnose(tree), sampled)
    return tree


def _nutpie_problem() -> str | None:
    """Why nutpie cannot be used, if so; said as a warning."""
    problem = interface_problem()
    if problem:
        warnings.warn(
            f"the installed nutpie cannot sample the compiled posterior: {problem}; PyMC's engine is used, which takes "
            "longer; install a version of nutpie that bayesgmm's requirements allow",
            EngineWarning,
            stacklevel=3,
        )
    return problem


def _target(own: LogPosterior, engine: Engine | None) -> Any:
    """The compiled posterior, or the same one stated by PyMC."""
    if engine != "pymc":
        return CompiledTarget(own)
    from bayesgmm.inference.pymc_target import PyMCTarget
    from bayesgmm.model import build_model

    return PyMCTarget(build_model(own.x, own.k, prior=own.prior, covariance=own.covariance))


def _has_reached(target_ess: float, x: FloatArray, k: int) -> Callable[[xr.Dataset, FloatArray], bool]:
    """Whether the label-invariant quantities have the effective sample size wanted, and an R-hat that gives it a meaning."""

    def enough(posterior: xr.Dataset, log_posterior: FloatArray) -> bool:
        if posterior["w"].dims[-1] != CLUSTER:  # a custom model's own names
            from bayesgmm.inference.custom import as_contract

            posterior = as_contract(posterior, k)
        draws = draws_of(posterior)
        if draws.n_chains == 1:  # halves of it stand for chains
            half = draws.n_draws // 2
            draws = Draws(draws.w[: 2 * half], draws.mu[: 2 * half], draws.sigma[: 2 * half], 2, half)
            log_posterior = log_posterior[:, : 2 * half].reshape(2, half)
        if draws.n_draws < 4:
            return False
        table = summarise(invariant_quantities(draws, x, log_posterior))
        return bool(table["ess_bulk"].min() >= target_ess and table["r_hat"].max() <= MAX_R_HAT)

    return enough


def _refuse_foreign_options(method: str, **options: dict[str, Any]) -> None:
    for owner, values in options.items():
        given = [name for name, value in values.items() if value is not None]
        if owner != method and given:
            raise TypeError(f"{', '.join(given)} is an option of method={owner!r}, got method={method!r}; leave it out")


def _assemble(
    sampled: Sampled, data: Data, em: EMResult, attrs: dict[str, Any], shift: float, scale: float, *, custom: bool
) -> xr.DataTree:
    """The tree in the data's units."""
    posterior = sampled.posterior
    approximation = sampled.approximation
    if custom:
        from bayesgmm.inference.custom import as_contract

        posterior = as_contract(posterior, em.mixture.n_components)
    else:
        names = ("w", "mu", "sigma", *(["C0"] if "C0" in posterior else []))
        posterior = posterior[list(names)]
        posterior = posterior.assign(mu=shift + scale * posterior["mu"], sigma=scale * posterior["sigma"])
        if "C0" in posterior:
            posterior = posterior.assign(C0=scale**2 * posterior["C0"])
        if approximation is not None:  # the density of x in the data's units
            approximation = approximation.assign(elbo=approximation["elbo"] - len(data.values) * np.log(scale))
    return build_tree(posterior, sampled.sample_stats, data.values, data.positions, em, attrs, approximation)


def _warn_of_trouble(tree: xr.DataTree, diagnosis: Diagnosis, sampled: Sampled) -> None:
    if sampled.interrupted:
        chains, draws = tree["posterior"].sizes["chain"], tree["posterior"].sizes["draw"]
        warnings.warn(
            f"interrupted: the tree keeps the {chains} x {draws} draws (chains x draws) made by then",
            InterruptedWarning,
            stacklevel=3,
        )
    if sampled.stopped_by == "max_draws":
        target_ess, max_draws = tree.attrs["target_ess"], tree.attrs["max_draws"]
        ess, r_hat = diagnosis.invariants["ess_bulk"].min(), diagnosis.invariants["r_hat"].max()
        warnings.warn(
            f"target_ess = {target_ess:g} was not reached in max_draws = {max_draws} draws of each chain: smallest bulk ESS "
            f"{ess:.0f}, largest R-hat {r_hat:.3f}; raise max_draws",
            ConvergenceWarning,
            stacklevel=3,
        )
    for finding in diagnosis.findings:
        if finding.kind != "labels":  # a property of the posterior, not of the run
            category = ApproximationWarning if finding.kind == "k_hat" else ConvergenceWarning
            warnings.warn(f"{finding.problem}; {finding.remedy}", category, stacklevel=3)
