"""Whether fewer components describe the data nearly as well."""

from __future__ import annotations

import warnings

import numpy as np

from bayesgmm.data.observations import Observations
from bayesgmm.data.scan import Scan
from bayesgmm.em.fitting import fit_em
from bayesgmm.em.result import EMResult, n_parameters
from bayesgmm.exceptions import CollapsedComponentWarning, ConvergenceWarning

_CLEAR = 10.0  # log-likelihood beyond BIC's penalty at which fewer components have no share of the posterior
_FEW = 20_000  # observations that are compared first


def has_rival(source: Observations | Scan, em: EMResult, seed: int) -> bool:
    """Whether k - 1 components describe the data so well that the posterior of k may leave a component empty.

    Under uniform weights a component is empty with probability K (K - 1) / (n + K - 1) p(x | k - 1) / p(x | k) (Nobile
    2004). BIC gives the order of magnitude of the ratio. No mode lies there, so Gaussians at the modes miss this part of the
    posterior. If a part of the observations rules k - 1 out, all observations do.

    References
    ----------
    Nobile (2004), On the posterior distribution of the number of components in a finite mixture, Annals of Statistics 32,
    2044-2073. doi:10.1214/009053604000000788
    """
    k, covariance = em.mixture.n_components, em.covariance
    if k == 1 or em.known.labels is not None:
        return False
    few = source.shown if isinstance(source, Scan) else _some(source, seed)
    with warnings.catch_warnings():
        for category in (CollapsedComponentWarning, ConvergenceWarning):
            warnings.simplefilter("ignore", category)
        smaller = fit_em(few, k - 1, covariance=covariance, family=em.family, random_seed=seed)
        more = n_parameters(em.mixture, covariance) - n_parameters(smaller.mixture, covariance)
        enough = more / 2 * float(np.log(em.n_observations)) + _CLEAR
        if few.log_likelihood(*em.mixture.parameters) - smaller.log_likelihood >= enough:
            return False
        if few is not source:
            smaller = fit_em(source, k - 1, covariance=covariance, family=em.family, random_seed=seed)
    return em.log_likelihood - smaller.log_likelihood < enough


def _some(rows: Observations, seed: int) -> Observations:
    """The rows, or a random sample if they are very many."""
    if len(rows) <= _FEW:
        return rows
    return rows.of(np.sort(np.random.default_rng(seed).choice(len(rows), _FEW, replace=False)))
