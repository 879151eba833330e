"""Model check by LOO-PIT: where each observation falls in the predictive distribution of a fit without it.

LOO-PIT is the probability of a smaller value, given all other observations. If the model is right it is uniform, for each
feature and along any axis. Two tests of uniformity are made. A simultaneous band around the distribution function detects
deviations in the tails. Neyman's smooth test with the first eight Legendre polynomials detects what the band misses: two
clusters that share one component (benchmarks/model_check.md).

References
----------
Neyman (1937), Smooth test for goodness of fit, Skandinavisk Aktuarietidskrift 20, 149-199.
doi:10.1080/03461238.1937.10404821

Thomas & Pierce (1979), Neyman's smooth goodness-of-fit test when the hypothesis is composite, Journal of the American
Statistical Association 74, 441-445. doi:10.1080/01621459.1979.10482534

Vehtari, Gelman & Gabry (2017), Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC,
Statistics and Computing 27, 1413-1432. doi:10.1007/s11222-016-9696-4
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import eval_legendre, softmax
from scipy.stats import binom, chi2

from bayesgmm.analysis.densities import distribution_function, log_density
from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.reading import Reading
from bayesgmm.arguments import FloatArray
from bayesgmm.data.noise import uniform_on
from bayesgmm.data.observations import Observations
from bayesgmm.data.units import Units

PROBABILITY = 0.95  # that the whole curve stays in the band if the model is right
MOST_OBSERVATIONS, _MOST_DRAWS = 2_000, 2_000
_POINTS = 200  # at which curve and band are compared
_SIMULATED = 4_000  # curves of uniform numbers for the band
_POLYNOMIALS = 8  # four miss two clusters that share a component; twelve have less power
_MOST_AXES = 6
_FITTED = 0.3  # share of a sum's variance; if fitting leaves less, the sum says little about the model
_MOST_SPANNING = 400  # draws that span the scores
_SMALLEST = 1e-6  # floor for a polynomial's variance, which may vanish if values are equal
_DETERMINED = 0.5  # share of a parameter's variance: above it the observations determine the parameter


@dataclass(frozen=True)
class Calibration:
    r"""LOO-PIT of a feature, :math:`p_i = P(X_i \leq x_i \mid x_{-i})`, compared with uniform numbers; arrays (P,)."""

    feature: str
    n: int  # observations that were checked
    points: FloatArray  # probabilities
    shares: FloatArray  # distribution function of the p_i at the points
    lower: FloatArray  # simultaneous 95 % band for the distribution function of independent uniform numbers
    upper: FloatArray
    values: FloatArray  # predicted quantiles of the feature at the points; approximate if values have errors
    p_smooth: float  # p-value of the smooth test

    @property
    def inside(self) -> bool:
        """Whether the curve stays in its band."""
        return bool(((self.lower <= self.shares) & (self.shares <= self.upper)).all())

    @property
    def worst(self) -> int:
        """Index of the point farthest outside the band, or of the largest difference if the curve stays inside."""
        outside = np.maximum(self.lower - self.shares, self.shares - self.upper)
        return int(np.argmax(np.abs(self.shares - self.points) if self.inside else outside))


def smooth_test(values: FloatArray, scores: FloatArray, part: float = 1.0) -> float:
    """p-value of Neyman's smooth test for the uniformity of LOO-PIT ``values`` (n,).

    Fitted parameters make the sums of the polynomials smaller. The covariance of these sums is that for known parameters
    minus C I^-1 C', where I is the information matrix and C holds the covariances of polynomials and scores (Thomas & Pierce
    1979). C I^-1 C' is the part of the polynomials that the ``scores`` (n, P) explain. It is multiplied by ``part``, the
    share of the fitted observations that is tested.
    """
    return _smooth_test(values, np.linalg.qr(scores)[0], part)


def _smooth_test(values: FloatArray, basis: FloatArray, part: float) -> float:
    """The p-value of :func:`smooth_test`, given an orthonormal basis (n, P) of the span of the scores."""
    n, x = max(len(values), 1), 2 * values - 1
    polynomials = np.stack([np.sqrt(2 * j + 1) * eval_legendre(j, x) for j in range(1, _POLYNOMIALS + 1)], axis=1)
    covariance = np.eye(_POLYNOMIALS)
    if n > 2 * (_POLYNOMIALS + basis.shape[1]):  # else the covariance stays that for known parameters, which is too large
        sizes, axes = np.linalg.eigh(polynomials.T @ polynomials / n)
        explained = basis.T @ polynomials @ (axes / np.sqrt(np.maximum(sizes, _SMALLEST))) @ axes.T
        covariance -= part * explained.T @ explained / n
    left, directions = np.linalg.eigh(covariance)
    told = left > _FITTED
    squares = (directions.T @ polynomials.sum(axis=0))[told] ** 2 / left[told]
    return float(chi2.sf(squares.sum() / n, told.sum())) if told.any() else 1.0


def _scores(log_likelihood: FloatArray, part: float) -> FloatArray:
    """Vectors (n, P) that span the scores of the parameters, from pointwise log-likelihoods (S, n).

    ``part`` is the share of the fitted observations that these n are. To first order, the deviations of the log-likelihoods
    from their means are the scores times the deviations of the draws. Their covariance has an eigenvalue of ``part`` for
    each parameter that the observations determine.
    """
    few = log_likelihood[:: max(1, len(log_likelihood) // _MOST_SPANNING)]
    if not np.isfinite(few).all():  # collapsed components
        return np.empty((few.shape[1], 0))
    few = few - few.mean(axis=0)
    sizes, directions = np.linalg.eigh(few @ few.T / len(few))
    spanning = directions[:, sizes > _DETERMINED * part]
    return few.T @ spanning


def calibrations(reading: Reading, features: list[str]) -> list[Calibration]:
    """LOO-PIT of each feature, by its marginal predictive distribution, for at most 2 000 observations.

    Missing values are left out. Predictions include the measurement errors. For an interval, p_i is drawn uniformly between
    the probabilities of its ends. Observations with frequency weights are sampled in proportion to these. Noise that is
    uniform on a box is included. The distribution function of other noise is unknown, and the result is then empty.
    """
    box = uniform_on(reading.observations)
    if reading.draws.noise is not None and box is None:
        return []
    few, rows, basis, weights = reading.ask(_looked_at)
    found, generator, part = [], np.random.default_rng(1), _part(rows, reading)
    for place, name in enumerate(features):
        known, column = ~np.isnan(rows.x[:, place]), rows.of_feature(place)
        share = weights[:, known]
        ends = None if box is None else (float(box[0][place]), float(box[1][place]))
        pit = _probabilities(few.marginal(place), column, share, generator, ends)
        of_known = basis if known.all() else np.linalg.qr(basis[known])[0]
        found.append(_judged(name, pit, column.x[:, 0], of_known, part))
    return found


def along_axes(reading: Reading) -> list[Calibration]:
    """LOO-PIT along principal axes of the standardised features, which shows how features depend on one another.

    For two features the axes are their sum and their difference. The result is empty for one feature, and for data with
    errors, intervals, missing values, weights or noise.
    """
    rows, x = reading.observations, reading.x
    partly = rows.known.error is not None or rows.known.lower is not None or bool(np.isnan(x).any())
    if x.shape[1] == 1 or partly or rows.known.noise is not None or rows.known.weight is not None:
        return []
    units = Units.of(x, one_unit=False)
    few, rows, basis, weights = reading.ask(_looked_at)
    z = units.standardised(x)
    axes = np.linalg.eigh(z.T @ z)[1][:, ::-1][:, :_MOST_AXES]
    found, generator, part = [], np.random.default_rng(1), _part(rows, reading)
    for place, axis in enumerate(axes.T, start=1):
        values = units.standardised(rows.x) @ axis
        pit = _probabilities(few.standardised(units).along(axis), Observations.made(values[:, None]), weights, generator)
        found.append(_judged(f"principal axis {place} of the standardised features", pit, values, basis, part))
    return found


def _looked_at(reading: Reading) -> tuple[Draws, Observations, FloatArray, FloatArray]:
    """Some draws and rows, an orthonormal basis (n, P) of the rows' scores, and leave-one-out weights of draws (S, n)."""
    few, rows = reading.draws.thinned(_MOST_DRAWS), reading.observations
    some = np.random.default_rng(0).permutation(len(rows))
    if rows.known.weight is not None:
        counted = np.cumsum(rows.known.weight[some])
        size = max(1, min(MOST_OBSERVATIONS, int(counted[-1])))
        some = some[np.searchsorted(counted, (np.arange(size) + 0.5) * counted[-1] / size)]
    rows = rows.of(some[:MOST_OBSERVATIONS])
    log_likelihood = log_density(few, rows)
    basis = np.linalg.qr(_scores(log_likelihood, _part(rows, reading)))[0]
    return few, rows, basis, _leave_one_out_weights(log_likelihood)


def _part(rows: Observations, reading: Reading) -> float:
    """Share of the fitted observations that is checked."""
    return min(1.0, len(rows) / reading.observations.total)


def _judged(name: str, pit: FloatArray, values: FloatArray, basis: FloatArray, part: float) -> Calibration:
    """The :class:`Calibration` of a feature, from its LOO-PIT (n,) and values (n,)."""
    points, lower, upper = band(len(pit))
    shares = np.searchsorted(np.sort(pit), points, side="right") / len(pit)
    at = np.interp(points, np.sort(pit), np.sort(values))
    return Calibration(name, len(pit), points, shares, lower, upper, at, _smooth_test(pit, basis, part))


def _probabilities(
    draws: Draws,
    column: Observations,
    share: FloatArray,
    rng: np.random.Generator,
    noise: tuple[float, float] | None = None,
) -> FloatArray:
    """P(X_i <= x_i) of one feature, (n,), with weights (S, n) of the draws. Noise is uniform between its two ends."""
    sd = 0.0 if column.error_sd is None else column.error_sd[:, 0]

    def below(values: FloatArray) -> FloatArray:
        found = distribution_function(draws.among_all, np.broadcast_to(values, share.shape), sd)
        if draws.noise is not None and noise is not None:
            found += draws.noise[:, None] * np.clip((values - noise[0]) / (noise[1] - noise[0]), 0.0, 1.0)
        return np.asarray((share * found).sum(axis=0))

    lower, upper = column.known.lower, column.known.upper
    if lower is None or upper is None:
        return below(column.x[:, 0])
    low, high = below(lower[:, 0]), below(upper[:, 0])
    found: FloatArray = low + rng.uniform(size=len(column)) * (high - low)
    return found


@cache
def band(n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points, and a simultaneous band for the distribution function of n uniform numbers (Säilynoja et al. 2022)."""
    parts = min(n, _POINTS) + 1
    points = np.arange(1, parts) / parts
    counts = np.random.default_rng(0).multinomial(n, np.full(parts, 1 / parts), size=_SIMULATED).cumsum(axis=1)[:, :-1]
    tails = 2 * np.minimum(binom.cdf(counts, n, points), binom.sf(counts - 1, n, points))
    level = np.quantile(tails.min(axis=1), 1 - PROBABILITY)
    return points, binom.ppf(level / 2, n, points) / n, binom.isf(level / 2, n, points) / n


def _leave_one_out_weights(log_likelihood: FloatArray) -> FloatArray:
    """Weights of the draws (S, n) for the posterior without each observation, by Pareto-smoothed importance sampling."""
    log_likelihood = np.ascontiguousarray(log_likelihood.T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about single observations, which hardly move the curve
        try:
            log_weights, _ = array_stats.psislw(log_likelihood)
        except ValueError:  # too few draws to be smoothed
            log_weights = -log_likelihood
    with np.errstate(under="ignore"):
        return np.asarray(softmax(log_weights, axis=1).T)
