"""The tree with all variables of the PyMC model, as PyMC's functions need it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.analysis.contract import group_of
from bayesgmm.analysis.draws import read_draws
from bayesgmm.analysis.tree import ENTRY, HYPERPARAMETERS, with_names
from bayesgmm.arguments import TRAITS
from bayesgmm.kernels.estep import inverse_factors
from bayesgmm.model import wishart


def for_pymc(tree: xr.DataTree) -> xr.DataTree:
    r"""Add the variables of the PyMC model to the posterior, so that PyMC's functions accept the tree.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, under one of the package's own priors.

    Returns
    -------
    DataTree
        A new tree. Its posterior also holds ``C0`` (hierarchical prior). One feature, diag, spherical: the variances
        ``sigma2``. Full, tied: ``precision_factor``, F with :math:`F'F = \Sigma^{-1}`, and ``C0_factor``, F with
        :math:`F'F = C_0`. Both F are lower triangular, and stored row by row.

    Raises
    ------
    ValueError
        If the tree is incomplete or damaged, or comes from a custom model. The tree of a custom model already holds the
        model's variables.

    Notes
    -----
    ``pm.stats.compute_log_likelihood(bg.for_pymc(tree), model=model)``, ``pm.sample_posterior_predictive``,
    ``pm.stats.compute_log_prior`` and similar functions accept the result. Tested property: the log-likelihood computed this
    way equals that of :func:`bayesgmm.add_log_likelihood`. For rows with weights, labels or noise, PyMC's functions see the
    plain mixture: the log-likelihood ignores these, and replicates come from the clusters.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> list(bg.for_pymc(tree)["posterior"].data_vars)
    ['w', 'mu', 'sigma', 'C0', 'sigma2']
    """
    draws, covariance = read_draws(tree), tree.attrs.get("covariance")
    if covariance is None or not tree.attrs.get("prior", "").startswith("{"):
        raise ValueError(
            f"tree must come from one of the package's own priors, got a {tree.attrs.get('prior', 'tree without a prior')}; "
            "the tree of a model of your own already holds that model's variables: use it as it is"
        )
    result = with_names(tree, None)  # PyMC's model numbers the clusters
    posterior = result["posterior"].to_dataset().merge(group_of(tree, HYPERPARAMETERS))
    traits, several = TRAITS[covariance], draws.n_features > 1
    drawn: dict[str, Any] = {}
    dims: tuple[str, ...] = ("chain", "draw") if traits.shared else ("chain", "draw", "cluster")
    factors = draws.factors[:, 0] if traits.shared else draws.factors
    if several and traits.matrix:
        drawn["precision_factor"] = (*dims, ENTRY), draws.by_chain(wishart.pack(inverse_factors(factors)))
        if "C0" in posterior:
            turned = np.linalg.cholesky(posterior["C0"].values[..., ::-1, ::-1])  # C0 = F'F with F lower, not L L'
            drawn["C0_factor"] = (("chain", "draw", ENTRY), wishart.pack(turned[..., ::-1, ::-1].swapaxes(-1, -2)))
    else:
        variances = draws.by_chain(np.diagonal(factors, axis1=-2, axis2=-1) ** 2)
        of_features = several and traits.per_feature
        drawn["sigma2"] = ((*dims, "feature"), variances) if of_features else (dims, variances[..., 0])
    result["posterior"] = xr.DataTree(posterior.assign(drawn))
    return result
