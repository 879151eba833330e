"""Whether data and model conflict: where observations fall in what the fit without them predicts.

The probability of a smaller value, given all other observations (LOO-PIT), is uniform where the model is right, of each
feature, and along any axis. Whether it is uniform is told by a band around its distribution function, which sees what goes
on far out, and by Neyman's smooth test, which looks at the first eight Legendre polynomials and sees what the band does
not: two clusters that a single component stands for (benchmarks/model_check.md).

References
----------
Neyman (1937), Smooth test for goodness of fit, Skandinavisk Aktuarietidskrift 20, 149-199.
doi:10.1080/03461238.1937.10404821

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

PROBABILITY = 0.95  # with which the whole curve of a model that is right stays in the band
MOST_OBSERVATIONS, _MOST_DRAWS = 2_000, 2_000
_POINTS = 200  # at which curve and band are compared
_SIMULATED = 4_000  # curves of uniform numbers, from which the band is made
_POLYNOMIALS = 8  # four do not see two clusters in the place of one; twelve have less power
_MOST_AXES = 6


@dataclass(frozen=True)
class Calibration:
    r"""LOO-PIT of a feature: :math:`p_i = P(X_i \leq x_i \mid x_{-i})`, uniform where the model is right; arrays (P,)."""

    feature: str
    n: int  # observations that were looked at
    points: FloatArray  # probabilities at which the share of the p_i up to there is compared with the probability itself
    shares: FloatArray
    lower: FloatArray  # the shares of independent uniform numbers lie between lower
    upper: FloatArray  # and upper at all points at once, with probability 0.95
    values: FloatArray  # of the feature, of which the model says that a share of points lies below; with errors, about
    p_smooth: float  # of the smooth test

    @property
    def inside(self) -> bool:
        """Whether the curve stays in its band."""
        return bool(((self.lower <= self.shares) & (self.shares <= self.upper)).all())

    @property
    def worst(self) -> int:
        """The point that is farthest outside the band, or else that of the largest difference."""
        outside = np.maximum(self.lower - self.shares, self.shares - self.upper)
        return int(np.argmax(np.abs(self.shares - self.points) if self.inside else outside))


def smooth_test(values: FloatArray) -> float:
    """Probability that so many uniform numbers (n,) are as uneven as these, by Neyman's smooth test."""
    sums = [np.sqrt(2 * j + 1) * eval_legendre(j, 2 * values - 1).sum() for j in range(1, _POLYNOMIALS + 1)]
    return float(chi2.sf(np.square(sums).sum() / max(len(values), 1), _POLYNOMIALS))


def calibrations(reading: Reading, features: list[str]) -> list[Calibration]:
    """The check of each feature, by its marginal predictive distribution; of many observations, of a sample.

    Values that are missing are left out; of those with errors, what is predicted is the value with its error; of those in
    an interval p_i is drawn evenly between the probabilities of its ends. An observation with a weight is looked at as
    often as that says, as far as that can be. Where observations may be noise, its distribution function is known if it is
    uniform on a box; else nothing is looked at.
    """
    box = uniform_on(reading.observations)
    if reading.draws.noise is not None and box is None:
        return []
    few, rows, weights = reading.ask(_looked_at)
    found, generator = [], np.random.default_rng(1)
    for place, name in enumerate(features):
        share, column = weights[:, ~np.isnan(rows.x[:, place])], rows.of_feature(place)
        ends = None if box is None else (float(box[0][place]), float(box[1][place]))
        pit = _probabilities(few.marginal(place), column, share, generator, ends)
        found.append(_judged(name, pit, column.x[:, 0]))
    return found


def along_axes(reading: Reading) -> list[Calibration]:
    """The same along principal axes of the standardised features, in units of these: how features depend on each other.

    Of two features these are their sum and their difference. Nothing of one feature, of values that are not known as they
    are, or that may be noise.
    """
    rows, x = reading.observations, reading.x
    partly = rows.known.error is not None or rows.bounded.any() or bool(np.isnan(x).any())
    if x.shape[1] == 1 or partly or rows.known.noise is not None or rows.known.weight is not None:
        return []
    units, (few, rows, weights) = Units.of(x, one_unit=False), reading.ask(_looked_at)
    z = units.standardised(x)
    axes = np.linalg.eigh(z.T @ z)[1][:, ::-1][:, :_MOST_AXES]
    found, generator = [], np.random.default_rng(1)
    for place, axis in enumerate(axes.T, start=1):
        values = units.standardised(rows.x) @ axis
        pit = _probabilities(few.standardised(units).along(axis), Observations.made(values[:, None]), weights, generator)
        found.append(_judged(f"principal axis {place} of the standardised features", pit, values))
    return found


def _looked_at(reading: Reading) -> tuple[Draws, Observations, FloatArray]:
    """Some draws and observations, and the shares (S, n) of the draws in the posterior without each of these."""
    few, rows = reading.draws.thinned(_MOST_DRAWS), reading.observations
    some = np.random.default_rng(0).permutation(len(rows))
    if rows.known.weight is not None:
        counted = np.cumsum(rows.known.weight[some])
        size = max(1, min(MOST_OBSERVATIONS, int(counted[-1])))
        some = some[np.searchsorted(counted, (np.arange(size) + 0.5) * counted[-1] / size)]
    rows = rows.of(some[:MOST_OBSERVATIONS])
    return few, rows, _leave_one_out_weights(few, rows)


def _judged(name: str, pit: FloatArray, values: FloatArray) -> Calibration:
    """Of the probabilities (n,) of a feature's values (n,)."""
    points, lower, upper = band(len(pit))
    shares = np.searchsorted(np.sort(pit), points, side="right") / len(pit)
    at = np.interp(points, np.sort(pit), np.sort(values))
    return Calibration(name, len(pit), points, shares, lower, upper, at, smooth_test(pit))


def _probabilities(
    draws: Draws,
    column: Observations,
    share: FloatArray,
    rng: np.random.Generator,
    noise: tuple[float, float] | None = None,
) -> FloatArray:
    """P(X_i <= x_i) of one feature, (n,), with shares (S, n) of the draws; noise is uniform between two ends."""
    sd = 0.0 if column.error_sd is None else column.error_sd[:, 0]

    def below(values: FloatArray) -> FloatArray:
        found = distribution_function(draws.among_all, np.broadcast_to(values, share.shape), sd)
        if draws.noise is not None and noise is not None:
            found += draws.noise[:, None] * np.clip((values - noise[0]) / (noise[1] - noise[0]), 0.0, 1.0)
        return np.asarray((share * found).sum(axis=0))

    ends = column.known.lower, column.known.upper
    low, high = (below(values[:, 0]) for values in (column.x if end is None else end for end in ends))
    found: FloatArray = low + rng.uniform(size=len(column)) * (high - low)
    return found


@cache
def band(n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points, and bounds between which the shares of n uniform numbers lie at all of them (Säilynoja et al. 2022)."""
    parts = min(n, _POINTS) + 1
    points = np.arange(1, parts) / parts
    counts = np.random.default_rng(0).multinomial(n, np.full(parts, 1 / parts), size=_SIMULATED).cumsum(axis=1)[:, :-1]
    tails = 2 * np.minimum(binom.cdf(counts, n, points), binom.sf(counts - 1, n, points))
    level = np.quantile(tails.min(axis=1), 1 - PROBABILITY)
    return points, binom.ppf(level / 2, n, points) / n, binom.isf(level / 2, n, points) / n


def _leave_one_out_weights(draws: Draws, rows: Observations) -> FloatArray:
    """Share of each draw in the posterior without an observation, by Pareto-smoothed importance sampling, (S, n)."""
    log_likelihood = np.ascontiguousarray(log_density(draws, rows).T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of single observations, which do not move the curve
        try:
            log_weights, _ = array_stats.psislw(log_likelihood)
        except ValueError:  # too few draws to be smoothed
            log_weights = -log_likelihood
    with np.errstate(under="ignore"):
        return np.asarray(softmax(log_weights, axis=1).T)
