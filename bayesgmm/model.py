"""The PyMC model: the only statement of the posterior in PyMC."""

from __future__ import annotations

import numpy as np
import pymc as pm
from numpy.typing import ArrayLike

from bayesgmm.priors import HierarchicalPrior, Prior, read_prior
from bayesgmm.validation import Covariance, Missing, read_choice, read_fit_data


def build_model(
    x: ArrayLike, k: int, *, prior: Prior | None = None, covariance: Covariance = "full", missing: Missing = "raise"
) -> pm.Model:
    r"""Gaussian mixture with the labels summed out, as a PyMC model in the data's units.

    .. math::
        p(x \mid w, \mu, \sigma) = \prod_i \sum_k w_k N(x_i; \mu_k, \sigma_k)

    Parameters
    ----------
    x : (n,) array-like
    k : int
        Number of components.
    prior : HierarchicalPrior or ConjugatePrior, optional
        Default: ``HierarchicalPrior()``, scaled to the data.
    covariance : {"full", "tied"}
        A variance for each component, or one common variance.
    missing : {"raise", "drop"}
        What to do with NaN and infinite observations.

    Returns
    -------
    pm.Model
        Variables ``w``, ``mu``, ``sigma`` with dim ``cluster``, the variances ``sigma2`` under ``sigma`` (one of them
        if tied), ``C0`` under the hierarchical prior, and the observed ``x`` with dim ``obs``.

    Raises
    ------
    ValueError, TypeError
        For data or options that break a rule; the message names it.

    Notes
    -----
    Tested property: the log density equals the sum over all K^N allocations of the labels.

    Examples
    --------
    >>> model = build_model([1.0, 2.0, 5.0, 6.0], k=2)
    >>> [variable.name for variable in model.free_RVs]
    ['w', 'mu', 'C0', 'sigma2']
    """
    data, k = read_fit_data(x, k, missing=missing)
    read_choice(covariance, Covariance, "covariance")
    prior = read_prior(prior, data.values)
    with pm.Model(coords={"cluster": np.arange(k), "obs": data.positions}) as model:
        w = pm.Dirichlet("w", a=np.full(k, prior.alpha), dims="cluster")
        mu = pm.Normal("mu", mu=prior.b0, sigma=np.sqrt(np.asarray(prior.B0)), dims="cluster")
        C0 = pm.Gamma("C0", alpha=prior.g0, beta=prior.G0) if isinstance(prior, HierarchicalPrior) else prior.C0
        own = covariance == "full"
        sigma2 = pm.InverseGamma("sigma2", alpha=prior.c0, beta=C0, dims="cluster" if own else None)
        scale = pm.math.sqrt(sigma2)
        sigma = pm.Deterministic("sigma", scale if own else pm.math.ones_like(mu) * scale, dims="cluster")
        pm.NormalMixture("x", w=w, mu=mu, sigma=sigma, observed=data.values.copy(), dims="obs")
    return model
