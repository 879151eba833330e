"""Whether Gaussians describe the logarithm of positive data better than the data."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.stats import skew

from bayesgmm.arguments import FloatArray
from bayesgmm.em.fitting import fit_em
from bayesgmm.html_report.blocks import number

_MOST = 2_000  # observations that are looked at
_DECIDED = 5.0  # by which a log-likelihood with as many parameters must be higher: a factor of 150 (Kass & Raftery 1995)


def as_logarithm(name: str, column: FloatArray, k: int) -> str:
    """What speaks for the logarithm of a column, as a sentence; nothing where nothing does."""
    x = column[np.random.default_rng(0).permutation(len(column))[:_MOST]]
    if x.min() <= 0 or min(len(np.unique(x)), len(np.unique(np.log(x)))) <= 2 * k:
        return ""
    gain = _log_likelihood(np.log(x), k) - float(np.log(x).sum()) - _log_likelihood(x, k)
    if not gain > _DECIDED:
        return ""
    as_many = "one Gaussian describes" if k == 1 else f"as many Gaussians, {k}, describe"
    before, after = number(float(skew(x)), 1.0), number(float(skew(np.log(x))), 1.0)
    return (
        f"All values of {name} are positive, and {as_many} their logarithm better: its log-likelihood is higher by "
        f"{number(gain, max(gain, 1.0))}, its skewness is {after}, that of the values {before}. Fit the logarithm of {name}."
    )


def _log_likelihood(x: FloatArray, k: int) -> float:
    """The largest that EM finds; a spike on equal values has none that can be compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        em = fit_em(x, k, random_seed=0)
    return np.nan if em.collapsed else float(em.log_likelihood)
