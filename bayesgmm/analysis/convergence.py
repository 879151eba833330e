"""R-hat and effective sample sizes as in ArviZ, computed for many quantities at once.

References
----------
Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Rank-normalization, folding, and localization: an improved R-hat for
assessing convergence of MCMC, Bayesian Analysis 16, 667-718. doi:10.1214/20-BA1221
"""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import ndtri
from scipy.stats import rankdata

from bayesgmm.arguments import FloatArray

_TAILS = 0.05, 0.95
_NO_SPREAD = 1e-15
FEWEST_DRAWS = 4  # in a chain, two for each half


def of_ranks(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rank-normalised split-chain bulk effective sample sizes and R-hats, (P,) each, of quantities (P, chain, draw).

    R-hat is the larger of those of the draws and of their distances from the median (folded). It is NaN for a single chain.
    """
    split = _split(values)
    scores = _normal_scores(split)
    folded = _normal_scores(np.abs(split - np.median(split, axis=(1, 2), keepdims=True)))
    bulk, tail = _r_hat(scores), _r_hat(folded)
    r_hat = np.where(tail > bulk, tail, bulk) if values.shape[1] > 1 else np.full(len(values), np.nan)
    return _or_nan(values, _ess(scores)), _or_nan(values, r_hat)


def ess_tail(values: FloatArray) -> FloatArray:
    """Tail effective sample sizes, (P,), of quantities (P, chain, draw): the smaller of the 5 % and 95 % quantiles'."""
    below = [values <= np.quantile(values, tail, axis=(1, 2), keepdims=True) for tail in _TAILS]
    return _or_nan(values, np.minimum(*(_ess(_split(each.astype(float))) for each in below)))


def ess_mean(values: FloatArray) -> FloatArray:
    """Effective sample sizes for the mean, (P,), of quantities (P, chain, draw)."""
    return _or_nan(values, _ess(_split(values)))


def mcse_mean(values: FloatArray) -> FloatArray:
    """Monte Carlo standard errors of the mean, (P,), of quantities (P, chain, draw)."""
    return values.std(axis=(1, 2), ddof=1) / np.sqrt(ess_mean(values))


def _or_nan(values: FloatArray, found: FloatArray) -> FloatArray:
    return np.where(np.isnan(values).any(axis=(1, 2)), np.nan, found)


def _split(values: FloatArray) -> FloatArray:
    """Split each chain into halves."""
    half = values.shape[2] // 2
    return np.concatenate([values[:, :, :half], values[:, :, -half:]], axis=1)


def _normal_scores(values: FloatArray) -> FloatArray:
    """Normal scores (Blom) of the ranks among all draws of a quantity."""
    flat = values.reshape(len(values), -1)
    order = flat.argsort(axis=1)
    in_order = np.take_along_axis(flat, order, axis=1)
    if (in_order[:, 1:] > in_order[:, :-1]).all():
        ranks = np.empty(flat.shape)
        np.put_along_axis(ranks, order, np.arange(1.0, flat.shape[1] + 1)[None], axis=1)
    else:
        ranks = rankdata(flat, axis=1)
    return ndtri((ranks - 0.375) / (flat.shape[1] + 0.25)).reshape(values.shape)


def _r_hat(values: FloatArray) -> FloatArray:
    n_draws = values.shape[2]
    between, within = values.mean(axis=2).var(axis=1, ddof=1), values.var(axis=2, ddof=1).mean(axis=1)
    return np.sqrt((n_draws * between / within + n_draws - 1) / n_draws)


def _ess(values: FloatArray) -> FloatArray:
    """Effective sample sizes by Geyer's initial monotone sequence."""
    n_chains, n_draws = values.shape[1:]
    rho = _autocorrelations(values)
    n_pairs = max(1, (n_draws - 1) // 2)
    pairs = rho[:, : 2 * n_pairs].reshape(len(rho), n_pairs, 2).sum(axis=2)
    ended = ~(pairs > 0)
    last = np.where(ended.any(axis=1), ended.argmax(axis=1), n_pairs - 1)
    each = np.arange(len(rho))
    sums = np.minimum.accumulate(pairs, axis=1)
    tau = -1 + 2 * np.where(np.arange(n_pairs) < last[:, None], sums, 0.0).sum(axis=1)
    even = rho[each, 2 * last]
    tau += np.where((pairs[each, last] >= 0) | (even > 0), even, 0.0)
    n_all = n_chains * n_draws
    found = n_all / np.maximum(tau, 1 / np.log10(n_all))
    return np.where(np.ptp(values, axis=(1, 2)) < _NO_SPREAD, n_all, found)


def _autocorrelations(values: FloatArray) -> FloatArray:
    """Autocorrelations at each lag, combined over chains, (P, draw)."""
    n_draws = values.shape[2]
    deviations = values - values.mean(axis=2, keepdims=True)
    transformed = rfft(deviations, next_fast_len(2 * n_draws, real=True), axis=2)
    power = (transformed.real**2 + transformed.imag**2).mean(axis=1)
    covariances = irfft(power, next_fast_len(2 * n_draws, real=True), axis=1)[:, :n_draws] / n_draws
    within = covariances[:, [0]] * n_draws / (n_draws - 1)
    total = covariances[:, [0]] + values.mean(axis=2).var(axis=1, ddof=1, keepdims=True)
    rho = 1 - (within - covariances) / total
    rho[:, 0] = 1.0
    return rho
