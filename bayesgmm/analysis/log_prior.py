"""The log prior density of the draws, variable by variable, as ArviZ's power-scaling expects it."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import stats
from scipy.special import gammaln, multigammaln

from bayesgmm.analysis.contract import attribute, group_of
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import CLUSTER, HYPERPARAMETERS
from bayesgmm.arguments import TRAITS, FloatArray
from bayesgmm.kernels import student
from bayesgmm.kernels.points import OF_NOISE
from bayesgmm.model.mixture import NOISE, NU
from bayesgmm.model.priors import CUSTOM_MODEL, Hyperparameters, prior_of


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
    hyper = Hyperparameters.of(prior.scaled_to(reading.x, covariance))
    n_blocks = 1 if TRAITS[covariance].shared else draws.n_components
    factors, drawn = draws.factors[:, :n_blocks], group_of(tree, HYPERPARAMETERS)
    scale = (
        np.asarray(drawn["C0"].values, float).reshape(len(draws.w), *hyper.rate.shape) if hyper.learnt else hyper.rate[None]
    )
    root = np.linalg.cholesky(hyper.B0)
    z = np.linalg.solve(root, (draws.mu - hyper.b0)[..., None])[..., 0]
    of_means = -0.5 * (z**2).sum(axis=-1) - np.log(np.diagonal(root)).sum() - draws.n_features / 2 * np.log(2 * np.pi)
    n, alpha = draws.n_components, hyper.alpha
    found = {"w": gammaln(n * alpha) - n * gammaln(alpha) + (alpha - 1) * np.log(draws.w).sum(axis=1), "mu": of_means}
    if TRAITS[covariance].matrix and draws.n_features > 1:
        of_spread, of_scale = _of_matrices(factors, scale, hyper)
    else:
        size = hyper.rate.shape[0]
        of_spread, of_scale = _of_variances(np.diagonal(factors, axis1=2, axis2=3)[..., :size] ** 2, scale, hyper)
    found["sigma" if draws.n_features == 1 else "cov"] = of_spread[:, 0] if TRAITS[covariance].shared else of_spread
    if hyper.learnt:
        found["C0"] = of_scale
    if draws.noise is not None:
        found[NOISE] = stats.beta.logpdf(draws.noise, *OF_NOISE)
    if draws.nu is not None:
        shape, rate = student.PRIOR
        found[NU] = student.log_normaliser() + (shape - 1) * np.log(draws.nu) - rate * draws.nu
    posterior = tree["posterior"].to_dataset()
    dims = ("chain", "draw", CLUSTER)
    variables = {name: (dims[: 1 + each.ndim], draws.by_chain(each)) for name, each in found.items()}
    return xr.Dataset(variables, coords={dim: posterior[dim] for dim in dims if dim in posterior.coords})


def _of_variances(variances: FloatArray, scale: FloatArray, hyper: Hyperparameters) -> tuple[FloatArray, FloatArray]:
    """Log densities of variances (S, m, V) given C0 (S, V), by covariance (S, m), and of C0, (S,)."""
    c0, g0, rate, scale_of = hyper.c0, hyper.g0, hyper.rate, scale[:, None]
    each = c0 * np.log(scale_of) - gammaln(c0) - (c0 + 1) * np.log(variances) - scale_of / variances
    of_scale = g0 * np.log(rate) - gammaln(g0) + (g0 - 1) * np.log(scale) - rate * scale if hyper.learnt else scale
    return each.sum(axis=2), of_scale.sum(axis=1)


def _of_matrices(factors: FloatArray, scale: FloatArray, hyper: Hyperparameters) -> tuple[FloatArray, FloatArray]:
    """Log densities of covariances with factors (S, m, D, D) given C0 (S, D, D), (S, m), and of C0, (S,)."""
    c0, g0, d = hyper.c0, hyper.g0, factors.shape[-1]
    root, log_of_scale = np.linalg.cholesky(scale), np.linalg.slogdet(scale)[1]
    trace = (np.linalg.solve(factors, root[:, None]) ** 2).sum(axis=(-2, -1))
    log_determinant = 2 * np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1)
    constant = c0 * log_of_scale - multigammaln(c0, d)
    each = constant[:, None] - (c0 + (d + 1) / 2) * log_determinant - trace
    if not hyper.learnt:
        return each, log_of_scale
    constant = g0 * np.linalg.slogdet(hyper.rate)[1] - multigammaln(g0, d)
    return each, constant + (g0 - (d + 1) / 2) * log_of_scale - np.einsum("ij,sji->s", hyper.rate, scale)
