"""Whether a component may be empty, because fewer components describe the data nearly as well."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import gammaln

from bayesgmm.data.observations import Observations
from bayesgmm.data.scan import Scan
from bayesgmm.em.fitting import fit_em
from bayesgmm.em.result import EMResult, n_parameters
from bayesgmm.engines.laplace import laplace, log_mass
from bayesgmm.engines.starts import Optimum, weigh
from bayesgmm.exceptions import CollapsedComponentWarning, ConvergenceWarning
from bayesgmm.posterior import LogPosterior, SummedPosterior

_CLEAR = 10.0  # log-likelihood beyond BIC's penalty at which fewer components have no share of the posterior
_FEW = 20_000  # observations that are compared first
_RARE = 1e-4  # probability of an empty component that thousands of draws would hardly show


def has_rival(source: Observations | Scan, em: EMResult, own: LogPosterior, optima: Sequence[Optimum], seed: int) -> bool:
    """Whether k - 1 components describe the data so well that the posterior of k may leave a component empty.

    No mode lies there, so Gaussians at the modes miss this part of the posterior. BIC tells the clear cases. If a part of
    the observations rules k - 1 out, all observations do. The others are told by :func:`log_chance_of_empty`, unless rows
    are read in passes or components are not exchangeable: then k - 1 counts as a rival.
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
    if em.log_likelihood - smaller.log_likelihood >= enough:
        return False
    if isinstance(own, SummedPosterior) or own.fixed is not None or len(np.unique(own.classes)) > 1:
        return True
    return log_chance_of_empty(own, optima, smaller) > np.log(_RARE)


def log_chance_of_empty(own: LogPosterior, optima: Sequence[Optimum], smaller: EMResult) -> float:
    """Log of the expected number of empty components given the data, from Laplace's approximations to both evidences.

    If a component is empty, the others have the posterior of k - 1 components (Nobile 2004).

    References
    ----------
    Nobile (2004), On the posterior distribution of the number of components in a finite mixture, Annals of Statistics 32,
    2044-2073. doi:10.1214/009053604000000788
    """
    assert own.units is not None
    less = replace(own, k=own.k - 1)
    of_less = weigh(less, [less.at(own.units.standardised_mixture(each)) for each in smaller.optima()])
    n = smaller.n_observations * (1 - (smaller.mixture.noise or 0.0))
    before = log_empty_beforehand(own.k, float(own.hyper.alpha[0]), n)
    return before + _log_evidence(less, of_less) - _log_evidence(own, optima)


def log_empty_beforehand(k: int, alpha: float, n: float) -> float:
    r"""Log of the expected number of empty components among k if n observations are allocated by the prior.

    .. math::

        k \frac{\Gamma(k \alpha)\, \Gamma(n + (k - 1) \alpha)}{\Gamma((k - 1) \alpha)\, \Gamma(n + k \alpha)}
    """
    total, rest = k * alpha, (k - 1) * alpha
    return float(np.log(k) + gammaln(total) + gammaln(n + rest) - gammaln(rest) - gammaln(n + total))


def _log_evidence(own: LogPosterior, optima: Sequence[Optimum]) -> float:
    """By Laplace's approximation at the main solution, and its share of the posterior."""
    main = optima[0]
    return log_mass(own, main.approximation or laplace(own, main.point)) - np.log(main.mass) + float(gammaln(own.k + 1))


def _some(rows: Observations, seed: int) -> Observations:
    """The rows, or a random sample if they are very many."""
    if len(rows) <= _FEW:
        return rows
    return rows.of(np.sort(np.random.default_rng(seed).choice(len(rows), _FEW, replace=False)))
