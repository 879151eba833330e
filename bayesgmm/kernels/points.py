"""Coordinates of weights, share of noise and means: log priors and gradients, the same for all covariance structures."""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels.compiled import STRICT, compiled

OF_NOISE = (1.0, 9.0)  # Beta prior of the share of noise, with mean 0.1
FARTHEST = 1e100  # bound on means and on coordinates of weights and factors, beyond which results overflow


@compiled(fastmath=STRICT)
def is_beyond(point, limit):
    """Whether any coordinate is NaN, or not smaller than the limit in absolute value."""
    for i in range(len(point)):  # noqa: SIM110
        if not abs(point[i]) < limit:
            return True
    return False


@compiled(fastmath=STRICT)
def log_weights(point, log_w, held):
    """Fill log w = a - logsumexp(a) for logits a = (y, -sum y).

    ``held`` is empty, or holds the logarithms of fixed weights, NaN for free ones, and of the sum of the free weights. The
    logits of fixed weights are zero.
    """
    k, largest, total = len(log_w), -np.inf, 0.0
    log_w[k - 1] = 0.0
    for j in range(k - 1):
        log_w[j] = point[j]
        log_w[k - 1] -= point[j]
    for j in range(k):
        if is_free(held, j):
            largest = max(largest, log_w[j])
    for j in range(k):
        if is_free(held, j):
            total += math.exp(log_w[j] - largest)
    log_total = largest + math.log(total) if total > 0.0 else 0.0
    if len(held) > 0:
        log_total -= held[k]
    for j in range(k):
        log_w[j] = log_w[j] - log_total if is_free(held, j) else held[j]


@compiled(fastmath=STRICT, inline=True)
def is_free(held, j):
    """Whether the weight of component j is free."""
    return len(held) == 0 or held[j] != held[j]


@compiled(fastmath=STRICT, inline=True)
def log_prior_of_weights(log_w, alpha):
    """Log prior of y up to a constant: that of w ~ Dirichlet(alpha), with the Jacobian."""
    value = 0.0
    for j in range(len(log_w)):
        value += alpha[j] * log_w[j]
    return value


@compiled(fastmath=STRICT)
def log_shares(logit):
    """Logarithms of the share of noise and of the rest, given the logit of the share."""
    smaller = math.log1p(math.exp(-abs(logit)))
    return min(logit, 0.0) - smaller, -max(logit, 0.0) - smaller


@compiled(fastmath=STRICT)
def share_out(logit, k, offsets):
    """Set the log weight of noise, after those of the K components, and add the log share of the rest to theirs."""
    offsets[k], of_rest = log_shares(logit)
    for j in range(k):
        offsets[j] += of_rest


@compiled(fastmath=STRICT)
def log_prior_of_noise(logit):
    """Log prior of the share of noise, with the Jacobian of its logit, up to a constant."""
    of_noise, of_rest = log_shares(logit)
    return OF_NOISE[0] * of_noise + OF_NOISE[1] * of_rest


@compiled(fastmath=STRICT)
def noise_slope(logit, count, n):
    """Derivative of the log posterior by the logit of the share of noise, given the count of noise and total n."""
    return count + OF_NOISE[0] - math.exp(log_shares(logit)[0]) * (n + OF_NOISE[0] + OF_NOISE[1])


@compiled(fastmath=STRICT, inline=True)
def weight_slopes(log_w, counts, alpha, n, held, gradient):
    """Fill the gradient of the log posterior by y; n observations are not noise."""
    k, total, log_rest = len(log_w), n + alpha.sum(), 0.0
    if len(held) > 0:
        log_rest = held[k]
        for j in range(k):
            if not is_free(held, j):
                total -= counts[j]
    last = 0.0
    if is_free(held, k - 1):
        last = counts[k - 1] + alpha[k - 1] - math.exp(log_w[k - 1] - log_rest) * total
    for j in range(k - 1):
        gradient[j] = -last
        if is_free(held, j):
            gradient[j] += counts[j] + alpha[j] - math.exp(log_w[j] - log_rest) * total


@compiled(fastmath=STRICT, inline=True)
def add_means(mu, b0, inverse_B0, slopes):
    """Return the log prior of the means (K, D) up to a constant; add its gradient to ``slopes``.

    ``b0`` (K, D) and ``inverse_B0`` (K, D, D) are those of each component.
    """
    value = 0.0
    k, n_features = mu.shape
    for j in range(k):
        for d in range(n_features):
            pull = 0.0
            for e in range(n_features):
                pull += inverse_B0[j, d, e] * (mu[j, e] - b0[j, e])
            value -= 0.5 * pull * (mu[j, d] - b0[j, d])
            slopes[j, d] -= pull
    return value
