"""Label switching: the posterior does not know which cluster is called 0, the reader must."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bayesgmm.mixture import Mixture
from bayesgmm.tree import Draws, permute, read_draws, read_em, read_permutation


def relabel(tree: xr.DataTree) -> xr.DataTree:
    r"""Match the clusters of every draw to the components of the EM estimate.

    Each draw gets the permutation that minimises the sum over clusters of the squared 2-Wasserstein distance
    :math:`(\mu_j - \hat\mu_k)^2 + (\sigma_j - \hat\sigma_k)^2` (an assignment problem). For several features
    :math:`\sigma` is the Cholesky factor of the covariance and squares are squared Frobenius norms, which bound that
    distance from above; each feature is measured in EM's standard deviations within clusters.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.

    Returns
    -------
    DataTree
        A new tree: ``w``, ``mu``, ``sigma`` (and every other variable over ``cluster``) permuted together, the
        permutation from the raw order in ``sample_stats``. Hyperparameters stay as they are.

    Raises
    ------
    ValueError
        If the tree does not hold draws and an EM baseline.

    Notes
    -----
    Tested properties: idempotent; the result does not depend on the labels it was given; densities do not change.

    References
    ----------
    Stephens (2000), Dealing with label switching in mixture models, Journal of the Royal Statistical Society:
    Series B 62, 795-809. doi:10.1111/1467-9868.00265
    """
    draws = read_draws(tree)
    return permute(tree, draws.by_chain(match(draws, read_em(tree)[0])))


def raw_order(tree: xr.DataTree) -> xr.DataTree:
    """The tree with every draw's clusters in the order in which the sampler had them."""
    read_draws(tree)
    return permute(tree, np.argsort(read_permutation(tree), axis=2))


def match(draws: Draws, reference: Mixture) -> NDArray[np.int64]:
    """For each draw the order of its clusters that fits the reference best, (S, K)."""
    if draws.n_features == 1:
        cost = (draws.mu[:, :, None] - reference.means) ** 2 + (draws.factors[:, :, None] - reference.sigma) ** 2
    else:
        unit = np.sqrt(np.average(reference.sigma**2, axis=0, weights=reference.weights))  # of each feature
        cost = (((draws.mu[:, :, None] - reference.means) / unit) ** 2).sum(axis=-1)
        for j, factor in enumerate(reference.factors):  # one after another, to save memory
            cost[:, :, j] += (((draws.factors - factor) / unit[:, None]) ** 2).sum(axis=(-2, -1))
    # divided by the size of its draw: a data set in other units must not change the assignment, nor overflow
    largest = cost.max(axis=(1, 2), keepdims=True)
    cost /= np.where(largest > 0, largest, 1)
    return np.array([linear_sum_assignment(each.T)[1] for each in cost])
