"""The log prior density of the draws, variable by variable, as ArviZ's power-scaling expects it."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import stats

from bayesgmm.analysis.contract import attribute, group_of
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import CLUSTER, HYPERPARAMETERS
from bayesgmm.arguments import TRAITS, FloatArray
from bayesgmm.kernels import student
from bayesgmm.kernels.points import OF_NOISE
from bayesgmm.model.fixed import fixed_of
from bayesgmm.model.hyperparameters import Hyperparameters
from bayesgmm.model.mixture import NOISE, NU
from bayesgmm.model.prior_densities import of_covariances, of_means, of_scale, of_weights
from bayesgmm.model.priors import CUSTOM_MODEL, Prior, prior_of

_TINY = np.finfo(float).tiny


def add_log_prior(tree: Tree) -> xr.DataTree:
    r"""Add a group ``log_prior`` to the tree: the log prior density of every draw, variable by variable.

    With it and a group ``log_likelihood`` (:func:`bayesgmm.add_log_likelihood`) ArviZ's power-scaling works on the tree, as
    in ``az.psense_summary``. :func:`bayesgmm.prior_sensitivity` needs neither group.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.

    Returns
    -------
    DataTree
        A new tree. ``log_prior`` holds ``w`` and, if it is drawn, ``C0`` (chain, draw); ``mu`` and ``sigma`` or ``cov``
        (chain, draw, cluster). ``sigma`` (one feature) is the density of the variance, ``cov`` that of the matrix, given C0;
        if all clusters share it, ``cluster`` is missing. With noise there is ``w_noise`` (chain, draw), with t distributions
        ``nu`` (chain, draw, cluster). The densities are those of :class:`bayesgmm.HierarchicalPrior`, in the data's units.
        Fixed parameters have no prior: ``mu``, ``sigma`` and ``cov`` are 0 for them, and ``w`` is the density of the free
        weights as shares of what the fixed ones leave.

    Raises
    ------
    ValueError
        If the tree comes from a model of the user's own, or is incomplete.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> list(bg.add_log_prior(tree)["log_prior"].data_vars)
    ['w', 'mu', 'sigma', 'C0']
    """
    reading = Reading.of(tree)
    result = reading.tree.copy()
    result["log_prior"] = xr.DataTree(reading.ask(log_prior_of))
    return result


def log_prior_of(reading: Reading) -> xr.Dataset:
    """The log prior densities of a tree's draws."""
    tree, draws = reading.tree, reading.draws
    prior, covariance = prior_of(attribute(tree, "prior")), attribute(tree, "covariance")
    if prior is None:
        raise ValueError(
            f"tree must come from one of the package's own priors, got a {CUSTOM_MODEL}; add its log prior by "
            "pymc.stats.compute_log_prior"
        )
    hyper, scale = hyper_and_scale(reading, prior.scaled_to(reading.x, covariance))
    fixed, k = fixed_of(tree.attrs.get("fixed")), draws.n_components
    free_w, free_cov, rest = np.ones(k, bool), np.ones(k, bool), 1.0
    if fixed is not None:
        free_w, free_cov, rest = fixed.free_w, fixed.free_cov, fixed.rest
    given = hyper.given(fixed, k, len(hyper.c0))
    shares = draws.w[:, free_w] / max(rest, _TINY)
    found = {"w": of_weights(hyper.alpha[free_w], shares), "mu": _diagonal(of_means(given, draws.mu))}
    of_spread = of_covariances(hyper, draws.factors, scale, covariance)
    of_spread = of_spread if of_spread.ndim == 1 else _diagonal(of_spread)
    found["sigma" if draws.n_features == 1 else "cov"] = np.where(
        free_cov if of_spread.ndim > 1 else free_cov[0], of_spread, 0.0
    )
    if given.learnt:
        found["C0"] = of_scale(hyper.g0, hyper.rate[0], scale)
    if draws.noise is not None:
        found[NOISE] = stats.beta.logpdf(draws.noise, *OF_NOISE)
    if draws.nu is not None:
        shape, rate = student.PRIOR
        found[NU] = student.log_normaliser() + (shape - 1) * np.log(draws.nu) - rate * draws.nu
    posterior = tree["posterior"].to_dataset()
    dims = ("chain", "draw", CLUSTER)
    variables = {name: (dims[: 1 + each.ndim], draws.by_chain(each)) for name, each in found.items()}
    return xr.Dataset(variables, coords={dim: posterior[dim] for dim in dims if dim in posterior.coords})


def hyper_and_scale(reading: Reading, prior: Prior) -> tuple[Hyperparameters, FloatArray]:
    """Hyperparameters of each cluster; C0 of each draw, (S, p, V) or (S, p, D, D) with p = 1 if all clusters share it."""
    draws, covariance = reading.draws, attribute(reading.tree, "covariance")
    k, m = draws.n_components, 1 if TRAITS[covariance].shared else draws.n_components
    hyper = Hyperparameters.of(prior, covariance).of_each(k, m)
    if not hyper.learnt:
        return hyper, hyper.rate[None]
    drawn = group_of(reading.tree, HYPERPARAMETERS)["C0"]
    return hyper, np.asarray(drawn.values, float).reshape(len(draws.w), *hyper.rate.shape)


def _diagonal(table: FloatArray) -> FloatArray:
    return np.diagonal(table, axis1=1, axis2=2)
