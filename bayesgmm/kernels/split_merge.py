"""Split-merge moves with a fixed number of components, for one feature and a variance for each component.

If a mixture has more components than the data support, a superfluous one may be a part of any other component. No path of
high density connects these modes. Two components a and b are described by their sum and its division. The sum has weight T,
mean m and variance V. The division is z = log(w_b / w_a), delta = (mu_b - mu_a) / sqrt(V), rho = log(sigma_b^2 / sigma_a^2).
If the sum of two parts is nearly Gaussian, the data determine the sum well and the division poorly. The moves therefore keep
the sums:

* a random-walk step of a division,
* a new division, independent of the current one, from a density g that depends on the number of observations,
* for three components a, b, d: a and b are merged into their sum, and d is split by a division drawn from g.

They are Metropolis-Hastings moves on the posterior with the allocations and C0 summed out. Its density p is a density of
(w, mu, log sigma^2). The density of (T, m, log V, z, delta, rho) is J p with the Jacobian

    J = T r (1 - r) sqrt(V) / (1 - q),    r = 1 / (1 + exp(-z)),    q = r (1 - r) delta^2 < 1.

The components are chosen at random, so the reverse of the third move, with d, b, a, is chosen with the same probability. The
third move replaces division u of a sum S by division u' of d. It is accepted with probability min(1, ratio), where

    ratio = [p' J(d, u') g(u | S)] / [p J(S, u) g(u' | d)].

The second move has the same ratio with d = S. A step is symmetric, so its ratio has no g.

References
----------
Richardson & Green (1997), On Bayesian analysis of mixtures with an unknown number of components, Journal of the Royal
Statistical Society: Series B 59, 731-792. doi:10.1111/1467-9868.00095
"""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels.blocks import HALF_LOG_2PI, ROOT_HALF, is_finite
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.pointers import copy
from bayesgmm.kernels.points import log_weights, share_out
from bayesgmm.kernels.prior import of_component, sum_over
from bayesgmm.kernels.sums import log_likelihood
from bayesgmm.kernels.variates import draw_heavy, log_gamma_variate, log_heavy

_STEPS = 0.5  # fraction of moves that are random-walk steps
_EXCHANGES = 0.25  # fraction of moves that merge and split, if K >= 3
_LONGEST = 4.0  # step sizes are between exp(-4) and 1
_EVEN = 0.4  # fraction of proposals with uniform r; the others have uniform z
_WIDEST = 2.0  # largest proposal scale of delta and rho, for a part with too few observations


@compiled(fastmath=STRICT)
def move(rng, rows, k, hierarchical, prior, moves, state):
    """Make ``moves`` moves of a state, then draw C0 given the variances."""
    at_factors = 2 * k if hierarchical else 2 * k - 1
    now, proposed, of_noise = np.empty((3, k)), np.empty((3, k)), state[at_factors + k :]
    log_w, mu, log_variances = now[0], now[1], now[2]
    log_weights(state, log_w, prior.held)
    copy(state[k - 1 : 2 * k - 1], mu)
    copy(state[at_factors : at_factors + k], log_variances)
    offsets, scales = np.empty(k + len(of_noise)), np.empty(k)
    whole, division, other = np.empty(3), np.empty(3), np.empty(3)
    n = float(len(rows.x)) if len(rows.weight) == 0 else rows.weight.sum()
    value = log_density(rows, log_w, of_noise, mu, log_variances, prior, hierarchical, offsets, scales)
    for _ in range(moves):
        a, b, d = _choose_three(rng, k)
        copy(now, proposed)
        merge(log_w, mu, log_variances, a, b, whole, division)
        log_ratio = -log_jacobian(whole, division)
        kind = rng.random()
        if kind < _STEPS:
            size = math.exp(-_LONGEST * rng.random())
            other[0] = division[0] + 3.0 * size * rng.standard_normal()
            other[1] = division[1] + size * rng.standard_normal()
            other[2] = division[2] + size * rng.standard_normal()
            split(whole, other, proposed, a, b)
            log_ratio += log_jacobian(whole, other)
        else:
            log_ratio += log_proposal(division, n * math.exp(whole[0]))
            if kind < _STEPS + _EXCHANGES and d >= 0:
                for v in range(3):
                    proposed[v, a], whole[v] = whole[v], now[v, d]
            else:
                d = a
            visible = n * math.exp(whole[0])
            propose(rng, visible, other)
            split(whole, other, proposed, d, b)
            log_ratio += log_jacobian(whole, other) - log_proposal(other, visible)
        if not is_finite(log_ratio):  # an impossible division, or one that the reverse move cannot propose
            continue
        new = log_density(rows, proposed[0], of_noise, proposed[1], proposed[2], prior, hierarchical, offsets, scales)
        if -rng.standard_exponential() < new - value + log_ratio:
            value = new
            copy(proposed, now)

    mean = 0.0
    for j in range(k):
        mean += log_w[j] / k
    for j in range(k - 1):
        state[j] = log_w[j] - mean
    copy(mu, state[k - 1 : 2 * k - 1])
    copy(log_variances, state[at_factors : at_factors + k])
    if hierarchical:
        total = prior.rate[0, 0]
        for j in range(k):
            total += math.exp(-log_variances[j])
        state[2 * k - 1] = log_gamma_variate(rng, prior.g0 + sum_over(prior.c0, k)) - math.log(total)


@compiled(fastmath=STRICT, inline=True)
def _choose_three(rng, k):
    """Choose three different components at random; the third is -1 if K = 2."""
    a, b = int(rng.random() * k), int(rng.random() * (k - 1))
    b += b >= a
    if k == 2:
        return a, b, -1
    d = int(rng.random() * (k - 2))
    d += d >= min(a, b)
    d += d >= max(a, b)
    return a, b, d


@compiled(fastmath=STRICT)
def merge(log_w, mu, log_variances, a, b, whole, division):
    """Fill log T, m, log V of the sum of two components, and the division z, delta, rho."""
    z = log_w[b] - log_w[a]
    r, rest = 1.0 / (1.0 + math.exp(-z)), 1.0 / (1.0 + math.exp(z))
    gap = mu[b] - mu[a]
    largest = max(log_w[a], log_w[b])
    variance = rest * math.exp(log_variances[a]) + r * math.exp(log_variances[b]) + r * rest * gap * gap
    whole[0] = largest + math.log1p(math.exp(-abs(z)))
    whole[1] = rest * mu[a] + r * mu[b]
    whole[2] = math.log(variance)
    division[0], division[1], division[2] = z, gap / math.sqrt(variance), log_variances[b] - log_variances[a]


@compiled(fastmath=STRICT)
def split(whole, division, components, a, b):
    """Invert :func:`merge` into columns a, b of components (3, K); NaN if the variance V is too small for delta."""
    z, delta, rho = division
    r, rest = 1.0 / (1.0 + math.exp(-z)), 1.0 / (1.0 + math.exp(z))
    distance = delta * math.exp(0.5 * whole[2])
    smaller = math.log1p(math.exp(-abs(z)))
    components[0, a], components[0, b] = whole[0] - max(z, 0.0) - smaller, whole[0] + min(z, 0.0) - smaller
    components[1, a], components[1, b] = whole[1] - r * distance, whole[1] + rest * distance
    components[2, a] = whole[2] + math.log1p(-r * rest * delta * delta) - math.log(rest + r * math.exp(rho))
    components[2, b] = components[2, a] + rho


@compiled(fastmath=STRICT, inline=True)
def _log_shares(z):
    """Log r (1 - r), the log product of the two parts' relative weights."""
    return -abs(z) - 2.0 * math.log1p(math.exp(-abs(z)))


@compiled(fastmath=STRICT, inline=True)
def log_jacobian(whole, division):
    """Log J: Jacobian of (w, mu, log sigma^2) of two components by (T, m, log V, z, delta, rho)."""
    log_shares = _log_shares(division[0])
    return whole[0] + log_shares + 0.5 * whole[2] - math.log1p(-math.exp(log_shares) * division[1] ** 2)


@compiled(fastmath=STRICT, inline=True)
def _spread(z, visible):
    """Scale of delta and rho at which ``visible`` observations hardly distinguish two parts from one Gaussian.

    Such parts change skewness and kurtosis of their sum by about one standard error.
    """
    return min(_WIDEST, math.exp(-0.5 * _log_shares(z)) / math.sqrt(math.sqrt(visible)))


@compiled(fastmath=STRICT)
def propose(rng, visible, division):
    """Draw a division from g: z from a mixture, delta and rho from scaled Student's t with four degrees of freedom."""
    if rng.random() < _EVEN:
        r = rng.random()
        division[0] = math.log(r) - math.log1p(-r)
    else:
        division[0] = (2.0 * rng.random() - 1.0) * _farthest(visible)
    spread = _spread(division[0], visible)
    for i in range(1, 3):
        division[i] = spread * draw_heavy(rng)


@compiled(fastmath=STRICT)
def log_proposal(division, visible):
    """Log g of a division: see :func:`propose`."""
    z, farthest = division[0], _farthest(visible)
    density = _EVEN * math.exp(_log_shares(z))
    if abs(z) < farthest:
        density += 0.5 * (1.0 - _EVEN) / farthest
    spread = _spread(z, visible)
    value = math.log(density) - 2.0 * math.log(spread)
    for i in range(1, 3):
        value += log_heavy(division[i] / spread)
    return value


@compiled(fastmath=STRICT, inline=True)
def _farthest(visible):
    """Bound on abs(z), beyond which the smaller part has less than one observation."""
    return 2.0 + math.log1p(visible)


@compiled(fastmath=STRICT)
def log_density(rows, log_w, of_noise, mu, log_variances, prior, hierarchical, offsets, scales):
    """Log density of the data and (w, mu, log sigma^2), C0 summed out, up to a constant; the last two are scratch."""
    value, total = 0.0, 0.0
    k = len(mu)
    for j in range(k):
        offsets[j] = log_w[j] - 0.5 * log_variances[j] - HALF_LOG_2PI
        scales[j] = ROOT_HALF * math.exp(-0.5 * log_variances[j])
        inverse, step = math.exp(-log_variances[j]), mu[j] - of_component(prior.b0, j)[0]
        value += (of_component(prior.alpha, j) - 1.0) * log_w[j] - of_component(prior.c0, j) * log_variances[j]
        value -= 0.5 * of_component(prior.precision, j)[0, 0] * step**2
        total += inverse if hierarchical else of_component(prior.rate, j)[0] * inverse
    if len(of_noise) > 0:
        share_out(of_noise[0], k, offsets)
    if hierarchical:
        value -= (prior.g0 + sum_over(prior.c0, k)) * math.log(prior.rate[0, 0] + total)
    else:
        value -= total
    return value + log_likelihood(
        rows.log_likelihood, rows.x, rows.weight, rows.log_labels, rows.at_known, offsets, mu, scales
    )
