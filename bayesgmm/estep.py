"""The E-step kernel: one pass over the data gives the log-likelihood and its responsibility-weighted sums.

EM needs them for its M-step, and the gradient of the log-likelihood is made of the same numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesgmm.validation import FloatArray

_BLOCK = 2**16  # elements of scratch in one block of observations
_LOG_2PI = float(np.log(2 * np.pi))


class ESums(NamedTuple):
    """The four sums over observations, each weighted by ``c_i`` where observation weights are given.

    Attributes
    ----------
    log_likelihood : float
        sum_i c_i log p(x_i)
    counts : (K,) array
        N_k = sum_i c_i r_ik
    first : (K,) array
        S1_k = sum_i c_i r_ik (x_i - mu_k)
    second : (K,) array
        S2_k = sum_i c_i r_ik (x_i - mu_k)^2
    """

    log_likelihood: float
    counts: FloatArray
    first: FloatArray
    second: FloatArray


def e_step(
    x: FloatArray,
    weights: FloatArray,
    means: FloatArray,
    sigma: FloatArray,
    sample_weight: FloatArray | None = None,
) -> ESums:
    """Sums of the E-step for one feature; scratch is K x block, never n x K."""
    k = len(weights)
    log_likelihood = 0.0
    sums = np.zeros((3, k))
    with np.errstate(divide="ignore"):
        constants = np.log(weights) - np.log(sigma) - 0.5 * _LOG_2PI
    width = max(1, _BLOCK // k)
    for begin in range(0, len(x), width):
        block = slice(begin, begin + width)
        deviations = x[block] - means[:, None]
        # log w_k N(x_i; mu_k, sigma_k), then r_ik by subtracting the row's log-sum-exp
        log_joint = constants[:, None] - 0.5 * np.clip(deviations / sigma[:, None], -1e150, 1e150) ** 2
        largest = log_joint.max(axis=0)
        joint = np.exp(log_joint - largest)
        total = joint.sum(axis=0)
        log_density = largest + np.log(total)
        responsibilities = joint / total
        if sample_weight is not None:
            responsibilities *= sample_weight[block]
            log_density = log_density * sample_weight[block]
        log_likelihood += float(log_density.sum())
        sums[0] += responsibilities.sum(axis=1)
        responsibilities *= deviations
        sums[1] += responsibilities.sum(axis=1)
        responsibilities *= deviations
        sums[2] += responsibilities.sum(axis=1)
    return ESums(log_likelihood, *sums)
