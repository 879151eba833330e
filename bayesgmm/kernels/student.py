"""The E-step kernel for components with Student's t distributions; exact rows of any number of features.

With the coefficients of :mod:`.multivariate`, d = 2 |H_k (x - mu_k)|^2 and nu degrees of freedom,

    log w_k t(x; nu_k, mu_k, Sigma_k) = c_k - (nu_k + D) / 2 log(1 + d / nu_k),

where c_k is that of a Gaussian plus :func:`log_constant`. A t distribution is a scale mixture of Gaussians: given a latent
scale u ~ Gamma(nu / 2, nu / 2), x is Gaussian with covariance Sigma_k / u. Given x, u has the mean
u_k = (nu_k + D) / (nu_k + d), which weights the moments S1 and S2. Two further sums, of u_k and of log(1 + d / nu_k), are
needed for nu. Points hold log(nu - LEAST). Without a lower bound on nu, a component could shrink onto two equal observations
without limit under the hierarchical priors (:mod:`bayesgmm.analysis.impropriety`).

References
----------
Peel & McLachlan (2000), Robust mixture modelling using the t distribution, Statistics and Computing 10, 339-348.
doi:10.1023/A:1008981510081
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import gammaincc, gammaln

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.blocks import (
    FAR,
    add_labels,
    add_log_totals,
    add_noise,
    begin_sums,
    block_width,
    exponentiate,
    fill_noise,
    fill_shares,
    has_nan,
    log1p,
    no_unit,
)
from bayesgmm.kernels.compiled import STRICT, SUMS, compiled
from bayesgmm.kernels.multivariate import add_moments, deviate, fill_upper, standardise, whiten
from bayesgmm.kernels.variates import log_gamma_variate

type Nu = FloatArray | None  # degrees of freedom (K,) of t distributions; None for Gaussians
LEAST = 1.0  # lower bound of nu: the Cauchy distribution
EXPECTED = 10.0  # nu for a start without other information
PRIOR = (2.0, 0.1)  # shape and rate of the Gamma prior of nu, truncated below at LEAST: see :func:`bayesgmm.fit`
SMALLEST, LARGEST = 1e-9, 1e6  # nu - LEAST below SMALLEST is practically 0, and a t above LARGEST practically a Gaussian
_SUMMED = 1_000.0  # copies of a row beyond which the sums of their latent scales are drawn as normal
_LOWEST, _HIGHEST, _TINY = math.log(SMALLEST), math.log(LARGEST), 1e-12  # bounds and resolution of the coordinate
_BLOCK = 64  # largest number of observations in a block
_ASYMPTOTIC = 10.0  # argument from which the asymptotic expansions are exact to rounding


@compiled(fastmath=STRICT)
def log_constant(nu, n_features):
    """Log density of a t at its centre, minus that of a Gaussian with its scale matrix as covariance."""
    half = 0.5 * n_features
    if nu > LARGEST:
        return half * (half - 1.0) / nu
    return math.lgamma(0.5 * nu + half) - math.lgamma(0.5 * nu) - half * math.log(0.5 * nu)


def log_constants(nu: FloatArray, n_features: int) -> FloatArray:
    """:func:`log_constant` for arrays."""
    half = 0.5 * n_features
    with np.errstate(invalid="ignore"):
        near = gammaln(0.5 * nu + half) - gammaln(0.5 * nu) - half * np.log(0.5 * nu)
    return np.where(nu > LARGEST, half * (half - 1.0) / nu, near)


@compiled(fastmath=STRICT)
def digamma(x):
    """Psi(x) for x > 0, by recurrence to large x and the asymptotic expansion there."""
    value = 0.0
    while x < _ASYMPTOTIC:
        value -= 1.0 / x
        x += 1.0
    v = 1.0 / (x * x)
    series = v * (1.0 / 12 - v * (1.0 / 120 - v * (1.0 / 252 - v * (1.0 / 240 - v * (1.0 / 132 - v * (691.0 / 32760))))))
    return value + math.log(x) - 0.5 / x - series


@compiled(fastmath=STRICT)
def nu_at(coordinate):
    """Nu at its coordinate log(nu - LEAST)."""
    return LEAST + math.exp(coordinate)


@compiled(fastmath=STRICT)
def coordinate_of(nu):
    """Coordinate log(nu - LEAST), with nu - LEAST at least SMALLEST."""
    return math.log(max(nu - LEAST, SMALLEST))


def nu_of(coordinates: FloatArray) -> FloatArray:
    """:func:`nu_at` for arrays."""
    return LEAST + np.exp(coordinates)


def coordinates_of(nu: FloatArray) -> FloatArray:
    """:func:`coordinate_of` for arrays."""
    return np.log(np.maximum(nu - LEAST, SMALLEST))


@compiled(fastmath=STRICT)
def log_prior(coordinate):
    """Log prior of nu with the Jacobian of its coordinate, without :func:`log_normaliser`."""
    nu = nu_at(coordinate)
    return (PRIOR[0] - 1.0) * math.log(nu) - PRIOR[1] * nu + coordinate


def log_normaliser() -> float:
    """Log normalising constant of the prior of one nu."""
    shape, rate = PRIOR
    return float(shape * math.log(rate) - gammaln(shape) - math.log(gammaincc(shape, rate * LEAST)))


@compiled(fastmath=STRICT)
def slope(nu, n_features, count, of_scale, of_log):
    """Derivative of the log posterior by the coordinate of nu, given N and the two sums for nu."""
    rise = digamma(0.5 * (nu + n_features)) - digamma(0.5 * nu) + 1.0
    of_nu = 0.5 * (count * rise - of_log - of_scale) + (PRIOR[0] - 1.0) / nu - PRIOR[1]
    return (nu - LEAST) * of_nu + 1.0


@compiled(fastmath=STRICT)
def draw_prior(rng):
    """Draw nu from its prior."""
    while True:
        nu = math.exp(log_gamma_variate(rng, PRIOR[0])) / PRIOR[1]
        if nu > LEAST:
            return nu


class Student(NamedTuple):
    """Exact values with t distributions, for sweeps.

    Attributes
    ----------
    nu : (K,) array
        Current degrees of freedom of the chain.
    tails : (2, K) array
        Sums over the observations allocated to each component: of the latent scales u drawn, and of log u - u.
    """

    nu: FloatArray
    tails: FloatArray

    @property
    def address(self) -> int:
        """0: compiled sums take nu as an argument."""
        return 0


@compiled(fastmath=STRICT)
def draw_scale(rng, nu, distance, n_features, many):
    """Draw sums of u and of log u - u over ``many`` copies of a row; ``distance`` is its squared Mahalanobis distance."""
    shape, rate = 0.5 * (nu + n_features), 0.5 * (nu + distance)
    total, of_logs = 0.0, 0.0
    if many > _SUMMED:  # nearly normal
        sd = math.sqrt(many * shape)
        off = rng.standard_normal()
        total = (many * shape + sd * off) / rate
        left = max(trigamma(shape) - 1.0 / shape, 0.0)  # variance of log u that is not explained by u
        of_logs = many * (digamma(shape) - math.log(rate)) + sd * off / shape
        of_logs += math.sqrt(many * left) * rng.standard_normal()
        return total, of_logs - total
    for _ in range(int(many)):
        log_u = log_gamma_variate(rng, shape) - math.log(rate)
        total += math.exp(log_u)
        of_logs += log_u
    return total, of_logs - total


@compiled(fastmath=STRICT)
def _log_conditional(coordinate, count, of_logs):
    """Log density, up to a constant, of nu's coordinate given ``count`` latent scales; ``of_logs`` sums log u - u."""
    half = 0.5 * nu_at(coordinate)
    return log_prior(coordinate) + count * (half * math.log(half) - math.lgamma(half)) + half * of_logs


@compiled(fastmath=STRICT)
def draw_nu(rng, nu, count, of_logs):
    """Draw nu given the latent scales by slice sampling (Neal 2003, doi:10.1214/aos/1056562461): step out, then shrink."""
    now = coordinate_of(nu)
    level = _log_conditional(now, count, of_logs) - rng.standard_exponential()
    width = 1.0 / math.sqrt(1.0 + 0.1 * count)
    low = now - width * rng.random()
    high = low + width
    while _log_conditional(low, count, of_logs) > level and low > _LOWEST:
        low -= width
    while _log_conditional(high, count, of_logs) > level and high < _HIGHEST:
        high += width
    while True:
        drawn = low + (high - low) * rng.random()
        if _log_conditional(drawn, count, of_logs) >= level or high - low < _TINY:
            return nu_at(drawn)
        if drawn < now:
            low = drawn
        else:
            high = drawn


@compiled(fastmath=STRICT)
def trigamma(x):
    """The derivative of :func:`digamma`."""
    value = 0.0
    while x < _ASYMPTOTIC:
        value += 1.0 / (x * x)
        x += 1.0
    v = 1.0 / (x * x)
    return value + (1.0 + 0.5 / x + v * (1.0 / 6 - v * (1.0 / 30 - v * (1.0 / 42 - v * (1.0 / 30 - v * (5.0 / 66)))))) / x


@compiled(fastmath=SUMS, inline=True)
def _joint(z, log_labels, c, mu, h, nu, deviation, y, tails, joint, top, total, m):
    """As :func:`bayesgmm.kernels.multivariate.fill_joint`; also fill ``tails`` (2, K, m) with 1 + d / nu and its log."""
    k, n_features = mu.shape
    triangular = h.shape[2] > 1
    for j in range(k):
        row, ratio, of_log = joint[j], tails[0, j], tails[1, j]
        for i in range(m):
            ratio[i] = 0.0
        if triangular:
            deviate(z, mu[j], deviation, m)
        for d in range(n_features):
            if triangular:
                whiten(deviation, h[j, d, : d + 1], y, m)
            else:
                centre, precision, feature = mu[j, d], h[j, d, 0], z[d]
                for i in range(m):
                    y[i] = precision * (feature[i] - centre)
            for i in range(m):
                u = min(max(y[i], -FAR), FAR)
                ratio[i] += u * u
        power, twice = 0.5 * (nu[j] + n_features), 2.0 / nu[j]
        for i in range(m):
            scaled = twice * ratio[i]
            of_log[i] = log1p(scaled)
            ratio[i] = 1.0 + scaled
            row[i] = c[j] - power * of_log[i]
    fill_noise(c, k, joint, m)
    add_labels(log_labels, joint, top, m)
    exponentiate(joint, top, total, m)


@compiled(fastmath=SUMS, inline=True)
def accumulate(x, weight, log_labels, shift, inverse_scale, c, mu, h, nu, counts, first, second, tails):
    """As :func:`bayesgmm.kernels.multivariate.accumulate`; also fill ``tails`` (2, K), the sums for nu."""
    tails[:] = 0.0
    if not begin_sums(c, mu, h, counts, first, second):
        return np.nan
    n, (k, n_features) = len(x), mu.shape
    width = min(_BLOCK, block_width(len(c)))
    z, deviation = np.empty((n_features, width)), np.empty((n_features, width))
    joint, of_tails = np.empty((len(c), width)), np.empty((2, k, width))
    y, top, total = np.empty(width), np.empty(width), np.empty(width)
    log_likelihood = 0.0
    for begin in range(0, n, width):
        m = min(width, n - begin)
        standardise(x[begin : begin + m], shift, inverse_scale, z)
        _joint(z, log_labels[:, begin : begin + m], c, mu, h, nu, deviation, y, of_tails, joint, top, total, m)
        log_likelihood += add_log_totals(top, total, weight[begin : begin + m], m)
        add_noise(joint, total, k, m, counts)
        for j in range(k):
            r, ratio, of_log = joint[j], of_tails[0, j], of_tails[1, j]
            zeroth, of_logs, of_scale = 0.0, 0.0, 0.0
            largest = (nu[j] + n_features) / nu[j]
            for i in range(m):
                share = r[i] * total[i]
                zeroth += share
                of_logs += share * of_log[i]
                r[i] = share * (largest / ratio[i])
                of_scale += r[i]
            counts[j] += zeroth
            tails[0, j] += of_scale
            tails[1, j] += of_logs
            deviate(z, mu[j], deviation, m)
            add_moments(r, deviation, y, first[j], second[j], m)
    fill_upper(second)
    return log_likelihood


@compiled(fastmath=SUMS)
def log_densities(x, log_labels, c, mu, h, nu, out, shares):
    """Log density of every x (n, D) for every set of parameters: see :func:`bayesgmm.kernels.multivariate.log_densities`."""
    n, k, n_features = len(x), c.shape[1], mu.shape[2]
    width = min(_BLOCK, block_width(k))
    z, deviation = np.empty((n_features, width)), np.empty((n_features, width))
    joint, of_tails = np.empty((k, width)), np.empty((2, k, width))
    y, top, total = np.empty(width), np.empty(width), np.empty(width)
    shift, inverse_scale = no_unit(n_features)
    for begin in range(0, n, width):
        m = min(width, n - begin)
        standardise(x[begin : begin + m], shift, inverse_scale, z)
        for s in range(len(c)):
            if has_nan(c[s], mu[s], h[s]):
                out[s, begin : begin + m] = np.nan
                shares[s : s + 1, begin : begin + m] = np.nan
                continue
            _joint(
                z, log_labels[:, begin : begin + m], c[s], mu[s], h[s], nu[s], deviation, y, of_tails, joint, top, total, m
            )
            if len(shares) > 0:
                fill_shares(joint, total, m, shares[s, begin : begin + m])
                continue
            for i in range(m):
                out[s, begin + i] = top[i] + math.log(total[i])
