"""Fitting: every engine turns a model into a tree; :func:`fit` is the one door."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm import labels, predictive
from bayesgmm.diagnostics import diagnose
from bayesgmm.em import EMResult, fit_em, location_and_scale
from bayesgmm.exceptions import ApproximationWarning, ConvergenceWarning, InterruptedWarning
from bayesgmm.inference.advi import AdviSettings, sample_advi
from bayesgmm.inference.custom import as_contract, read_model, start_values
from bayesgmm.inference.nuts import NutsSettings, Sampled, sample_custom, sample_nuts
from bayesgmm.inference.phases import Phases
from bayesgmm.mixture import Mixture
from bayesgmm.model import build_model
from bayesgmm.priors import HierarchicalPrior, Prior, read_prior
from bayesgmm.tree import build_tree
from bayesgmm.validation import (
    Covariance,
    Data,
    FloatArray,
    Method,
    Missing,
    read_choice,
    read_count,
    read_fit_data,
    read_probability,
    read_seed,
    require_memory,
)

__all__ = ["fit"]


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
        NUTS: adaptation steps of each chain, which are not kept. Default 800.
    random_seed : int, Generator or None
        The seed used is recorded in ``tree.attrs["seed"]``. It repeats a run to the last digit on one machine, except that
        the very first run of a model, freshly compiled, may round otherwise than its cached code does ever after.
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
        NUTS: acceptance rate sought, between 0 and 1. Default 0.9.
    approximation : {"fullrank", "meanfield"}, optional
        ADVI: with or without correlations. Default "fullrank".
    max_iter : int, optional
        ADVI: iterations at most. Default 40 000.
    log_likelihood, posterior_predictive : bool
        Add these groups to the tree (draws x observations numbers each).
    missing : {"raise", "drop"}
        What to do with NaN and infinite observations.

    Returns
    -------
    DataTree
        Groups ``posterior`` (``w``, ``mu``, ``sigma`` over chain, draw, cluster; hyperparameters), ``sample_stats``,
        ``observed_data``, ``em_baseline``, for ADVI ``approximation``; settings and seconds as attributes.

    Warns
    -----
    ConvergenceWarning
        If :func:`bayesgmm.diagnose` finds that the chains have not converged or the sampler had trouble, or ADVI has not
        converged.
    ApproximationWarning
        If ADVI's PSIS k-hat exceeds 0.7.
    InterruptedWarning
        If the run was interrupted; the tree holds the draws made by then.

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
        nuts={"tune": tune, "target_accept": target_accept},
        advi={"approximation": approximation, "max_iter": max_iter},
    )
    tune = 800 if tune is None else read_count(tune, "tune")
    target_accept = 0.9 if target_accept is None else read_probability(target_accept, "target_accept")
    family = read_choice("fullrank" if approximation is None else approximation, ("fullrank", "meanfield"), "approximation")
    max_iter = 40_000 if max_iter is None else read_count(max_iter, "max_iter")
    seed = read_seed(random_seed)
    em_seed, engine_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(2) % 2**31)
    if model is None:
        own_prior = read_prior(prior, data.values)
    else:
        covariance = read_model(model, data.values, k, prior)

    require_memory(
        8 * draws * chains * (4 * k + 25),  # parameters and sampler statistics
        f"{chains} x {draws} draws of {k} components",
        "ask for fewer draws",
    )
    for wanted, group in ((log_likelihood, "log_likelihood"), (posterior_predictive, "posterior_predictive")):
        if wanted:
            predictive.require_room(draws * chains, len(data.values), group)

    phases = Phases(announce=progressbar)
    with phases("em", f"EM: k = {k}, n = {len(data.values)}"):
        em = fit_em(data.values, k, covariance=covariance, n_init=n_init, random_seed=em_seed)
    if model is None:
        shift, scale = location_and_scale(data.values)
        standard_prior = own_prior.rescaled(shift, scale)
        target = build_model((data.values - shift) / scale, k, prior=standard_prior, covariance=covariance)
        starts = [_start(each.rescaled(-shift / scale, 1 / scale), standard_prior, covariance) for each in em.optima()]
    else:
        shift, scale = 0.0, 1.0
        target = model
        starts = [start_values(model, em.mixture)]
    if method == "nuts":
        settings = NutsSettings(draws, tune, chains, engine_seed, target_accept, progressbar)
        if model is None:
            sampled = sample_nuts(target, starts, settings, phases)
        else:
            sampled = sample_custom(target, starts[0], settings, phases)
    else:
        conjugate = standard_prior if model is None and isinstance(standard_prior, HierarchicalPrior) else None
        sampled = sample_advi(
            target, starts[0], AdviSettings(draws, chains, engine_seed, family, max_iter, progressbar), phases, conjugate
        )

    attrs: dict[str, Any] = {
        "method": method,
        "k": k,
        "covariance": covariance,
        "prior": own_prior.to_json() if model is None else "custom model",
        "seed": seed,
        "n_init": n_init,
        "missing": missing,
        **({"tune": tune, "target_accept": target_accept} if method == "nuts" else {"max_iter": max_iter}),
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
    _warn_of_trouble(tree, sampled)
    return tree


def _refuse_foreign_options(method: str, **options: dict[str, Any]) -> None:
    for owner, values in options.items():
        given = [name for name, value in values.items() if value is not None]
        if owner != method and given:
            raise TypeError(f"{', '.join(given)} is an option of method={owner!r}, got method={method!r}; leave it out")


def _start(mixture: Mixture, prior: Prior, covariance: str) -> dict[str, FloatArray]:
    """The EM estimate as values of the model's variables; C0 at its conditional mean given the variances."""
    w = np.maximum(mixture.weights, 1e-6)
    sigma2 = mixture.covariances if covariance == "full" else mixture.covariances[0]
    start = {"w": w / w.sum(), "mu": mixture.means, "sigma2": np.asarray(sigma2)}
    if isinstance(prior, HierarchicalPrior):
        shape = prior.g0 + np.size(sigma2) * prior.c0  # type: ignore[operator]
        start["C0"] = np.asarray(shape / (prior.G0 + np.sum(1 / sigma2)))  # type: ignore[operator]
    return start


def _assemble(
    sampled: Sampled, data: Data, em: EMResult, attrs: dict[str, Any], shift: float, scale: float, *, custom: bool
) -> xr.DataTree:
    """The tree in the data's units."""
    posterior = sampled.posterior
    approximation = sampled.approximation
    if custom:
        posterior = as_contract(posterior, em.mixture.n_components)
    else:
        posterior = posterior.drop_vars("sigma2")
        posterior = posterior.assign(mu=shift + scale * posterior["mu"], sigma=scale * posterior["sigma"])
        if "C0" in posterior:
            posterior = posterior.assign(C0=scale**2 * posterior["C0"])
        if approximation is not None:  # the density of x in the data's units
            approximation = approximation.assign(elbo=approximation["elbo"] - len(data.values) * np.log(scale))
    return build_tree(posterior, sampled.sample_stats, data.values, data.positions, em, attrs, approximation)


def _warn_of_trouble(tree: xr.DataTree, sampled: Sampled) -> None:
    if sampled.interrupted:
        chains, draws = tree["posterior"].sizes["chain"], tree["posterior"].sizes["draw"]
        warnings.warn(
            f"interrupted: the tree keeps the {chains} x {draws} draws (chains x draws) made by then",
            InterruptedWarning,
            stacklevel=3,
        )
    for finding in diagnose(tree).findings:
        if finding.kind != "labels":  # a property of the posterior, not of the run
            category = ApproximationWarning if finding.kind == "k_hat" else ConvergenceWarning
            warnings.warn(f"{finding.problem}; {finding.remedy}", category, stacklevel=3)
