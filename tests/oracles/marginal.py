"""Marginal likelihoods by brute force: all allocations of a few observations, and grids over what is not conjugate."""

from functools import cache
from itertools import product

import numpy as np
from scipy.special import gammaln, logsumexp, multigammaln

# a few observations of one feature and of two, and what both priors have in common
X = np.array([-1.3, -0.4, 0.1, 1.8, 2.5])
PAIRS = np.array([[-1.0, 0.3], [-0.2, -1.1], [0.4, 0.9], [2.1, 1.6], [0.8, -0.2]])
SHARED = {"alpha": 1.5, "b0": 0.3, "B0": 2.0, "c0": 3.0}
SHARED_2 = {"alpha": 1.5, "b0": np.array([0.3, -0.2]), "B0": np.diag([2.0, 1.0]), "c0": 3.0}
GRID = np.linspace(-14, 14, 281)  # log variances, or log scales


def log_allocations(n, k, alpha, possible=None):
    """Every allocation, with its log probability under Dirichlet weights and the factors ``possible`` (n, K) of labels."""
    possible, alpha = np.ones((n, k)) if possible is None else possible, np.broadcast_to(alpha, k)
    total = alpha.sum()
    for z in product(range(k), repeat=n):
        counts, by_labels = np.bincount(z, minlength=k), possible[np.arange(n), z].prod()
        log_p = gammaln(total) - gammaln(n + total) + (gammaln(alpha + counts) - gammaln(alpha)).sum()
        if by_labels > 0:
            yield np.array(z), log_p + np.log(by_labels)


def log_partitions(n, k, alpha):
    """One allocation for each partition of n observations into at most k groups, with the partition's log probability."""

    def parts(z):
        if len(z) == n:
            yield z
            return
        for j in range(min(max(z, default=-1) + 2, k)):
            yield from parts([*z, j])

    for z in parts([]):
        counts = np.bincount(z, minlength=k)
        log_p = gammaln(k * alpha) - gammaln(n + k * alpha) + (gammaln(alpha + counts) - gammaln(alpha)).sum()
        yield np.array(z), log_p + gammaln(k + 1) - gammaln(k - (counts > 0).sum() + 1)


def log_given_covariances(x, b0, B0, sigma):
    """Log density of the rows x (n, D) of one cluster given its covariances (..., D, D), with the mean integrated out.

    It is the density of the rows about their sample mean, times that of the sample mean, N(b0, B0 + Sigma / n).
    """
    n, d = x.shape
    if n == 0:
        return np.zeros(sigma.shape[:-2])
    mean, log_det = x.mean(axis=0), np.linalg.slogdet(sigma)[1]
    about = np.einsum("ab,...ab->...", (x - mean).T @ (x - mean), np.linalg.inv(sigma))
    within = -0.5 * ((n - 1) * (log_det + d * np.log(2 * np.pi)) + d * np.log(n) + about)
    spread = B0 + sigma / n
    distance = np.einsum("a,...ab,b->...", mean - b0, np.linalg.inv(spread), mean - b0)
    return within - 0.5 * (np.linalg.slogdet(2 * np.pi * spread)[1] + distance)


def log_inverse_gamma(log_variance, c0, C0):
    """Log density of the log of an inverse gamma variance."""
    return c0 * np.log(C0) - gammaln(c0) - c0 * log_variance - C0 * np.exp(-log_variance)


def integral(log_values, axis=-1):
    return logsumexp(log_values, axis=axis) + np.log(GRID[1] - GRID[0])


def independent_features(x, k, prior, *, tied=False, spherical=False, possible=None, by_partitions=False):
    """Log marginal likelihood of data (n, D): a variance for each cluster and feature, or tied or spherical ones."""
    n, d = x.shape
    hierarchical = hasattr(prior, "G0")
    b0, B0 = np.atleast_1d(prior.b0), np.atleast_2d(prior.B0)
    blocks = [list(range(d))] if spherical else [[v] for v in range(d)]
    scales = np.exp(GRID) if hierarchical else None
    given = {}
    for subset in product((False, True), repeat=n):
        for v, block in enumerate(blocks):
            each = [
                log_given_covariances(x[list(subset)][:, [e]], b0[e], B0[e : e + 1, e : e + 1], np.exp(GRID)[:, None, None])
                for e in block
            ]
            given[subset, v] = sum(each)  # on the grid of variances

    def log_prior(v):
        return log_inverse_gamma(GRID, prior.c0, scales[:, None] if hierarchical else np.atleast_1d(prior.C0)[v])

    @cache
    def of_cluster(subset, v):
        return integral(log_prior(v) + given[subset, v])

    def of_feature(z, v):
        clusters = [tuple(z == j) for j in range(k)]
        if tied:
            value = integral(log_prior(v) + sum(given[each, v] for each in clusters))
        else:
            value = sum(of_cluster(each, v) for each in clusters)
        if not hierarchical:
            return value
        g0, G0 = prior.g0, np.atleast_1d(prior.G0)[v]
        return integral(value + g0 * (np.log(G0) + GRID) - gammaln(g0) - G0 * np.exp(GRID))

    every = log_partitions(n, k, prior.alpha) if by_partitions else log_allocations(n, k, prior.alpha, possible)
    return logsumexp([log_p + sum(of_feature(z, v) for v in range(len(blocks))) for z, log_p in every])


def correlated_features(x, k, prior, *, tied=False, size=45, possible=None):
    """Log marginal likelihood for D = 2 and full covariances, on a grid of precisions. C0 may be learnt if K = 1 or tied."""
    n, d = x.shape
    log_sd, steps = np.linspace(-3.5, 5, size), np.linspace(-4, 4, size)
    one, two, b = np.meshgrid(log_sd, log_sd, np.sinh(steps), indexing="ij")
    factors = np.zeros((*one.shape, 2, 2))
    factors[..., 0, 0], factors[..., 1, 1], factors[..., 1, 0] = np.exp(-one), np.exp(-two), b * np.exp(-two)
    precisions = factors.swapaxes(-1, -2) @ factors
    weights = np.cosh(steps) * (steps[1] - steps[0]) * (log_sd[1] - log_sd[0]) ** 2
    # |d P / d (log sd_1, log sd_2, b)| = 4 F_11^2 F_22^4: P_11, P_12, P_22 are F_11^2 + F_21^2, F_21 F_22, F_22^2
    log_measure = np.log(weights) + np.log(4) - 2 * one - 4 * two
    c0, log_det = prior.c0, -2 * (one + two)
    if hasattr(prior, "G0"):  # the integral over C0 ~ Wishart(g0, G0) of |C0|^c0 exp(-tr C0 P)
        g0 = prior.g0
        log_prior = multigammaln(g0 + c0, d) - multigammaln(g0, d) + g0 * np.linalg.slogdet(prior.G0)[1]
        log_prior = log_prior - (g0 + c0) * np.linalg.slogdet(prior.G0 + precisions)[1]
    else:
        log_prior = c0 * np.linalg.slogdet(prior.C0)[1] - np.einsum("ab,...ab->...", prior.C0, precisions)
    log_prior = log_prior - multigammaln(c0, d) + (c0 - (d + 1) / 2) * log_det + log_measure
    assert abs(logsumexp(log_prior)) < 1e-4  # the grid holds the whole prior
    sigma = np.linalg.inv(precisions)
    given = {
        subset: log_given_covariances(x[list(subset)], prior.b0, prior.B0, sigma)
        for subset in product((False, True), repeat=n)
    }
    if not tied:
        given = {subset: logsumexp(log_prior + each) for subset, each in given.items()}
    terms = []
    for z, log_p in log_allocations(n, k, prior.alpha, possible):
        value = sum(given[tuple(z == j)] for j in range(k))
        terms.append(log_p + (logsumexp(log_prior + value) if tied else value))
    return logsumexp(terms)


def of_each_component(x, k, prior, fixed=None):
    """Log marginal likelihood of one feature and E[w | x] (K,), with hyperparameters of each component, by brute force.

    ``fixed`` parameters have no prior.
    """
    n, hierarchical = len(x), hasattr(prior, "G0")
    alpha, b0, B0, c0 = (np.broadcast_to(each, k) for each in (prior.alpha, prior.b0, prior.B0, prior.c0))
    known = {name: np.full(k, np.nan) for name in ("w", "mu", "sigma")} | {
        name: np.array(each, dtype=float) for name, each in (fixed or {}).items()
    }
    scales = np.exp(GRID)[:, None] if hierarchical else np.broadcast_to(prior.C0, k)

    @cache
    def of_cluster(subset, j):
        held, rows = not np.isnan(known["sigma"][j]), x[list(subset)][:, None]
        variances = np.array([known["sigma"][j] ** 2]) if held else np.exp(GRID)
        if np.isnan(known["mu"][j]):
            given = log_given_covariances(rows, b0[[j]], B0[[j], None], variances[:, None, None])
        else:
            squares = ((rows - known["mu"][j]) ** 2).sum()
            given = -0.5 * (len(rows) * np.log(2 * np.pi * variances) + squares / variances)
        return given[0] if held else integral(log_inverse_gamma(GRID, c0[j], scales if hierarchical else scales[j]) + given)

    free = np.isnan(known["w"])
    rest = 1 - np.nansum(known["w"])
    terms, weights = [], []
    for z in map(np.array, product(range(k), repeat=n)):
        counts = np.bincount(z, minlength=k)
        some, total = counts[free], alpha[free].sum()
        log_p = (counts[~free] * np.log(known["w"][~free])).sum()
        w = known["w"].copy()
        if free.any():
            log_p += some.sum() * np.log(rest) + gammaln(total) - gammaln(some.sum() + total)
            log_p += (gammaln(alpha[free] + some) - gammaln(alpha[free])).sum()
            w[free] = rest * (alpha[free] + some) / (total + some.sum())
        value = sum(of_cluster(tuple(z == j), j) for j in range(k))
        if np.ndim(value):
            value = integral(value + prior.g0 * (np.log(prior.G0) + GRID) - gammaln(prior.g0) - prior.G0 * np.exp(GRID))
        terms.append(log_p + value)
        weights.append(w)
    total = logsumexp(terms)
    return total, np.exp(np.array(terms) - total) @ np.array(weights)
