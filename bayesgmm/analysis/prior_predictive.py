"""Prior predictive distribution: parameters drawn from the prior, and data drawn with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm.analysis.contract import CLUSTER, FEATURE, FEATURE_BIS, parameter_dims
from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.tree import OBS, observed
from bayesgmm.arguments import TRAITS, Covariance, FamilyName, FloatArray, Missing, read_count, read_seed, require_memory
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import as_shown, read_fit_data
from bayesgmm.families import family_of
from bayesgmm.kernels.estep import inverse_factors
from bayesgmm.model import wishart
from bayesgmm.model.hyperparameters import Hyperparameters
from bayesgmm.model.mixture import NU
from bayesgmm.model.priors import Prior, read_prior

Variable = tuple[tuple[str, ...], FloatArray]  # dimensions after chain and draw, and draws


def prior_predictive(
    x: ArrayLike | Observations,
    k: int,
    *,
    prior: Prior | None = None,
    covariance: Covariance = "full",
    draws: int = 500,
    random_seed: int | np.random.Generator | None = None,
    missing: Missing = "raise",
    family: FamilyName = "gaussian",
) -> xr.DataTree:
    """Draw from the prior predictive distribution: parameters from the prior, and a data set with each of them.

    Parameters
    ----------
    x : (n,) or (n, D) array-like, or Observations
        The data to which the prior is scaled. As many observations are drawn, with the same measurement errors.
    k, prior, covariance, missing, family
        As in :func:`build_model`.
    draws : int
        Number of data sets.
    random_seed : int, Generator or None

    Returns
    -------
    DataTree
        Groups ``prior``, ``prior_predictive`` (``x`` over chain, draw, obs and, for several features, feature) and
        ``observed_data``, like those of ``pm.sample_prior_predictive`` for :func:`build_model`, but nothing is compiled.
        ``az.plot_ppc_dist(tree, group="prior_predictive")`` plots them. For several features pass the tree through
        :func:`bayesgmm.by_feature` first.

    Raises
    ------
    ValueError, TypeError
        For data or options that break a rule; the message names it.
    MemoryError
        If draws x observations would not fit into memory.

    Notes
    -----
    Tested property: the draws of every variable have the same distribution as PyMC's.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> bg.prior_predictive([1.0, 2.0, 5.0, 6.0], k=2, draws=10, random_seed=1)["prior_predictive"]["x"].shape
    (1, 10, 4)
    """
    draws, rng = read_count(draws, "draws"), np.random.default_rng(read_seed(random_seed))
    data, k = read_fit_data(x, k, covariance=covariance, missing=missing, family=family)
    require_memory(8 * draws * data.x.size, f"{draws} data sets of {data.x.size} numbers", "ask for fewer draws")
    scaled = read_prior(prior, data, covariance, family, [k])
    w, mu = rng.dirichlet(np.broadcast_to(scaled.alpha, k), draws), _means(scaled, k, draws, rng)
    of_spread, factors = _spread(scaled, covariance, k, draws, rng)
    nu = family_of(family).draw_nu(k, draws, rng)
    drawn = Draws(w=w, mu=mu, factors=factors, n_chains=1, n_draws=draws, nu=nu)
    dims, one = parameter_dims(data.n_features), data.n_features == 1
    named = {"w": w, "mu": mu[..., 0] if one else mu}
    named |= {"sigma": factors[..., 0, 0]} if one else {"cov": factors @ factors.swapaxes(-1, -2)}
    variables = {name: (dims[name], each) for name, each in named.items()} | of_spread
    variables |= {} if nu is None else {NU: ((CLUSTER,), nu)}
    values = np.stack([data.measured(drawn.sample(s, len(data), rng), rng) for s in range(draws)])
    of_data, several = observed(data), data.n_features > 1
    features = {FEATURE: data.features, FEATURE_BIS: data.features} if several else {}
    coords = {"chain": [0], "draw": np.arange(draws)}
    return xr.DataTree.from_dict(
        {
            "prior": xr.Dataset(
                {name: (("chain", "draw", *dims), each[None]) for name, (dims, each) in variables.items()},
                coords=coords | {CLUSTER: np.arange(k)} | features,
            ),
            "prior_predictive": xr.Dataset(
                {"x": (("chain", "draw", OBS, *((FEATURE,) if several else ())), as_shown(values)[None])},
                coords=coords | {name: of_data[name] for name in (OBS, *((FEATURE,) if several else ()))},
            ),
            "observed_data": of_data,
        }
    )


def _means(prior: Any, k: int, draws: int, rng: np.random.Generator) -> FloatArray:
    """Means drawn from the prior, (S, K, D)."""
    hyper = Hyperparameters.of(prior, "full")
    noise = rng.standard_normal((draws, k, hyper.b0.shape[1], 1))
    return hyper.b0 + (np.linalg.cholesky(hyper.B0) @ noise)[..., 0]


def _spread(
    prior: Any, covariance: Covariance, k: int, draws: int, rng: np.random.Generator
) -> tuple[dict[str, Variable], FloatArray]:
    """Draws of the PyMC model's variables for the covariances, by name, and the Cholesky factors (S, K, D, D)."""
    d, traits = prior.n_features, TRAITS[covariance]
    m, clusters = (1, ()) if traits.shared else (k, (CLUSTER,))
    own = Hyperparameters.of(prior, covariance).of_each(k, m)
    C0 = np.broadcast_to(own.rate, (draws, *own.rate.shape))  # (S, p, V) or (S, p, D, D)
    variables: dict[str, Variable] = {}
    if d > 1 and traits.matrix:
        if own.learnt:
            factor = wishart.draw_factors(own.g0, C0, rng)
            C0 = factor.swapaxes(-1, -2) @ factor
            variables |= {"C0": ((FEATURE, FEATURE_BIS), C0[:, 0]), "C0_factor": (("entry",), wishart.pack(factor[:, 0]))}
        precision = wishart.draw_factors(own.c0, np.broadcast_to(C0, (draws, m, d, d)), rng)
        packed = wishart.pack(precision)
        variables["precision_factor"] = (*clusters, "entry"), packed if clusters else packed[:, 0]
        factors = inverse_factors(precision)
    else:
        per_feature: tuple[str, ...] = (FEATURE,) if d > 1 and traits.per_feature else ()
        if own.learnt:
            C0 = rng.gamma(own.g0, 1 / C0)
            variables["C0"] = per_feature, C0[:, 0] if per_feature else C0[:, 0, 0]
        rates = np.broadcast_to(C0, (draws, m, C0.shape[-1]))
        sigma2 = rates / rng.gamma(own.c0[:, None], size=rates.shape)
        shown = sigma2 if per_feature else sigma2[..., 0]
        variables["sigma2"] = (*clusters, *per_feature), shown if clusters else shown[:, 0]
        factors = np.sqrt(sigma2)[..., None] * np.eye(d)
    return variables, np.broadcast_to(factors, (draws, k, d, d))
