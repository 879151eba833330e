"""Starts of EM: mixtures that the user gives, or that are chosen from standardised data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from bayesgmm.arguments import FloatArray
from bayesgmm.data.units import Units
from bayesgmm.model.fixed import Fixed
from bayesgmm.model.mixture import Mixture

_LLOYD_STEPS = 10
_DENSEST = 0.75, 0.5, 1.0  # shares of the rows, the densest ones, that starts are chosen from if rows may be noise
_NEIGHBOUR = 10  # neighbours: the distance to the last one measures density
_BLOCK = 2**16  # rows in a block of distances
_IMPOSSIBLE = -30.0  # log probability that counts as zero
_FORBIDDEN = 1e100
_RIDGE = 1e-3  # added to the standardised features' variances where a start may need it


class Start(NamedTuple):
    """Start of a run: how it was found, a mixture, curvature pairs of a climb to it, and how many starts led there."""

    name: str
    mixture: Mixture
    pairs: Sequence[tuple[FloatArray, FloatArray]] = ()
    found: int = 1

    def rescaled(self, shift: float | FloatArray, scale: float | FloatArray) -> Start:
        """The start for data ``scale * x + shift``. Curvature pairs have no unit."""
        return self._replace(mixture=self.mixture.rescaled(shift, scale))


def read(start: Mixture | Sequence[Mixture], k: int, n_features: int) -> list[Mixture]:
    """Check the mixtures given, in the data's units."""
    if not isinstance(start, Mixture | Sequence):
        raise TypeError(f"start must be a Mixture or a sequence of them, got {type(start).__name__}")
    mixtures = [start] if isinstance(start, Mixture) else list(start)
    for mixture in mixtures:
        found: Any = mixture.n_components if isinstance(mixture, Mixture) else type(mixture).__name__
        if found != k:
            raise ValueError(f"start must be one Mixture or several with k = {k} components, got {found}")
        if mixture.n_features != n_features:
            raise ValueError(f"start must have {n_features} feature(s) like x, got {mixture.n_features}")
    if not mixtures:
        raise ValueError("start must hold at least one Mixture, got none")
    return mixtures


def choose(rows: Iterable[FloatArray], weight: FloatArray, k: int, n_init: int, rng: np.random.Generator) -> list[Start]:
    """Starts by k-means++ and at random in turn, each from the next array (n, D) of ``rows``."""
    return [_one(i, x, weight, k, rng) for i, x in zip(range(n_init), rows, strict=False)]


def choose_among_noise(
    rows: Iterable[FloatArray], weight: FloatArray, k: int, n_init: int, rng: np.random.Generator, *, one_unit: bool
) -> list[Start]:
    """Starts by k-means++ and at random for rows that may be noise: from the densest rows, with different shares in turn.

    Density is measured by the distance to the tenth neighbour (Byers & Raftery 1998).

    References
    ----------
    Byers & Raftery (1998), Nearest-neighbor clutter removal for estimating features in spatial point processes, Journal of
    the American Statistical Association 93, 577-584. doi:10.1080/01621459.1998.10473711
    """
    starts = []
    for i, x in zip(range(n_init), rows, strict=False):
        share = _DENSEST[i % len(_DENSEST)]
        distance = KDTree(x).query(x, min(_NEIGHBOUR + 1, len(x)))[0][:, -1]
        dense = np.flatnonzero(distance <= np.quantile(distance, share))
        if len(np.unique(x[dense], axis=0)) <= k:
            dense = np.arange(len(x))
        units = Units.of(x[dense], weight[dense], one_unit=one_unit)
        starts.append(_one(i, units.standardised(x[dense]), weight[dense], k, rng).rescaled(units.shift, units.scale))
    return starts


def _one(i: int, x: FloatArray, weight: FloatArray, k: int, rng: np.random.Generator) -> Start:
    if i % 2 == 0:
        return Start("k-means++", _by_kmeans(x, weight, k, rng))
    return Start("random", _at_random(x, weight, k, rng))


def sample(
    x: FloatArray, weight: FloatArray | None, unit: Any, k: int, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], FloatArray]:
    """A coreset: about ``size`` rows that represent all rows, and their weights, with a mean of one.

    K centres are drawn as in k-means++. The probability that a row is included is the mean of three parts: equal for all
    rows, proportional to the squared distance from the nearest centre, and equal in total for the rows of each centre. In
    each part, a row of weight c counts as c rows. A rare group far from all others is thus included, though a random sample
    may miss it. A row's weight is divided by its probability.
    """
    blocks = [slice(begin, min(begin + _BLOCK, len(x))) for begin in range(0, len(x), _BLOCK)]
    mass = np.broadcast_to(1.0, len(x)) if weight is None else weight / weight.max()
    distances, nearest = np.full(len(x), np.inf), np.zeros(len(x), dtype=np.int16)

    def chance(part: slice) -> FloatArray:
        """Unnormalised probabilities of the next centre."""
        with np.errstate(invalid="ignore"):  # zero weight times an infinite distance
            return np.where(mass[part] > 0, mass[part] * distances[part], 0.0)

    totals = np.array([mass[part].sum() for part in blocks])
    whole = totals.sum()
    for j in range(k):
        if not totals.sum() > 0:
            break
        part = blocks[rng.choice(len(blocks), p=totals / totals.sum())]
        within = mass[part] if j == 0 else chance(part)
        centre = x[part.start + rng.choice(len(within), p=within / within.sum())]
        for i, part in enumerate(blocks):
            with np.errstate(over="ignore", invalid="ignore"):
                squares = (((x[part] - centre) / unit) ** 2).sum(axis=1)
            nearer = squares < distances[part]
            distances[part][nearer], nearest[part][nearer] = squares[nearer], j
            totals[i] = chance(part).sum()
    of_cell = np.sum([np.bincount(nearest[part], mass[part], minlength=k) for part in blocks], axis=0)
    of_cell *= np.count_nonzero(of_cell)
    found: list[tuple[NDArray[np.int64], FloatArray]] = []
    for part in blocks:
        parts = [mass[part] / whole, mass[part] / of_cell[nearest[part]]]
        parts += [chance(part) / totals.sum()] if totals.sum() > 0 else []
        p = np.minimum(size * np.mean(parts, axis=0), 1.0)
        chosen = np.flatnonzero(rng.random(len(p)) < p)
        found.append((part.start + chosen, mass[part][chosen] / p[chosen]))
    rows, weights = (np.concatenate(each) for each in zip(*found, strict=True))
    return rows, weights / weights.mean()


def led_by_labels(start: Mixture, x: FloatArray, counts: FloatArray, log_labels: FloatArray) -> Mixture:
    """A start in the order that suits labels best. A component with certain observations starts at their mean."""
    shares = counts[:, None] * start.responsibilities(x)
    order = linear_sum_assignment(-np.maximum(log_labels, _IMPOSSIBLE) @ shares)[1]
    mixture, possible = start.reordered(order), np.isfinite(log_labels)
    sure, means = possible.sum(axis=0) == 1, mixture.mu.copy()
    for j in np.flatnonzero((possible & sure).any(axis=1)):
        own = possible[j] & sure
        means[j] = np.average(x[own], axis=0, weights=counts[own])
    return Mixture(mixture.weights, means, mixture.cov, noise=mixture.noise, nu=mixture.nu)


def led_by_fixed(start: Mixture, fixed: Fixed, classes: NDArray[np.int64]) -> Mixture:
    """A start in the order that suits fixed parameters best, within ``classes`` that labels tell apart; it holds these.

    The distance of a component from a place is measured by means, in standardised units, and logarithms of standard
    deviations and weights.
    """
    given = np.sqrt(np.diagonal(fixed.cov, axis1=1, axis2=2))
    with np.errstate(divide="ignore"):
        pairs = (
            (start.mu, fixed.mu),
            (np.log(start.sd), np.log(given)),
            (np.log(start.weights)[:, None], np.log(fixed.w)[:, None]),
        )
    cost = sum(np.nan_to_num((own[:, None] - other) ** 2).sum(axis=2) for own, other in pairs)
    cost = np.where(classes[:, None] == classes, cost, _FORBIDDEN)
    return fixed.holding(start.reordered(linear_sum_assignment(cost.T)[1]))


def _by_kmeans(x: FloatArray, weight: FloatArray, k: int, rng: np.random.Generator) -> Mixture:
    """Centres drawn with probability proportional to the squared distance from those drawn before (k-means++).

    With several features this is often poor. Each centre is then the best of several candidates, and some steps of k-means
    follow.
    """
    n_features = x.shape[1]
    n_candidates = 1 if n_features == 1 else 2 + int(np.log(k))
    centres = x[[rng.choice(len(x), p=weight / weight.sum())]]
    distances = _squared_distances(x, centres)[:, 0]
    for _ in range(1, k):
        mass = weight * distances
        total = mass.sum()
        candidates = x[rng.choice(len(x), p=mass / total if total > 0 else None, size=n_candidates)]
        left = np.minimum(distances[:, None], _squared_distances(x, candidates))
        best = int((weight @ left).argmin())
        centres = np.concatenate([centres, candidates[[best]]])
        distances = left[:, best]
    for _ in range(_LLOYD_STEPS if n_features > 1 else 0):
        members = _members(x, centres) * weight[:, None]
        counts = members.sum(axis=0)
        centres = np.where(counts[:, None] > 0, members.T @ x / np.maximum(counts, 1e-300)[:, None], centres)
    members = _members(x, centres) * weight[:, None]
    found = members.sum(axis=0)
    counts = np.maximum(found, 1e-3 * weight.sum() / k)
    if n_features == 1:
        variances = (members * (x - centres[:, 0]) ** 2).sum(axis=0) / counts
        # one or two points have next to no variance: start at no less than 0.1 / K^2 of that of the data
        return Mixture(counts / counts.sum(), centres, np.maximum(variances, 0.1 / k**2))
    scatters = np.array([(x - c).T @ (members[:, [j]] * (x - c)) for j, c in enumerate(centres)])
    pooled = scatters.sum(axis=0) / found.sum() + _RIDGE * np.eye(n_features)
    prior_size = n_features + 1  # shrinks the covariance of a small group towards the pooled one
    covariances = (scatters + prior_size * pooled) / (found + prior_size)[:, None, None]
    return Mixture(counts / counts.sum(), centres, covariances)


def _at_random(x: FloatArray, weight: FloatArray, k: int, rng: np.random.Generator) -> Mixture:
    """Means at random distinct observations, equal weights, and the covariance of the data."""
    if x.shape[1] == 1:
        distinct, covariance = np.unique(x)[:, None], np.ones(k)
    else:
        distinct = np.unique(x, axis=0)
        covariance = np.cov(x, rowvar=False, aweights=weight, ddof=0) + _RIDGE * np.eye(x.shape[1])
    return Mixture(np.full(k, 1 / k), rng.choice(distinct, size=k, replace=False), covariance)


def _squared_distances(points: FloatArray, centres: FloatArray) -> FloatArray:
    return cdist(points, centres, "sqeuclidean")


def _members(points: FloatArray, centres: FloatArray) -> FloatArray:
    """Indicators (n, K) of the nearest centre of each point."""
    return np.eye(len(centres))[_squared_distances(points, centres).argmin(axis=1)]
