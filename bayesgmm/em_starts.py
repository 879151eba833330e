"""Where EM starts: mixtures that the user gives, or that are chosen from standardised data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayesgmm.mixture import Mixture
from bayesgmm.validation import FloatArray


def read(start: Mixture | Sequence[Mixture], k: int) -> list[Mixture]:
    """Check the mixtures given, in the data's units."""
    if not isinstance(start, Mixture | Sequence):
        raise TypeError(f"start must be a Mixture or a sequence of them, got {type(start).__name__}")
    mixtures = [start] if isinstance(start, Mixture) else list(start)
    for mixture in mixtures:
        found: Any = mixture.n_components if isinstance(mixture, Mixture) else type(mixture).__name__
        if found != k or mixture.n_features != 1:
            raise ValueError(f"start must be one Mixture or several with k = {k} components and one feature, got {found}")
    if not mixtures:
        raise ValueError("start must hold at least one Mixture, got none")
    return mixtures


def choose(
    x: FloatArray, weight: FloatArray, k: int, tied: bool, n_init: int, rng: np.random.Generator
) -> list[tuple[str, Mixture]]:
    """Starts by name, k-means++ and random ones in turn."""
    starts = []
    for i in range(n_init):
        if i % 2 == 0:
            starts.append(("k-means++", _by_kmeans(x, weight, k, tied, rng)))
        else:
            starts.append(("random", _at_random(x, k, rng)))
    return starts


def _by_kmeans(x: FloatArray, weight: FloatArray, k: int, tied: bool, rng: np.random.Generator) -> Mixture:
    """Centres drawn with probability proportional to the squared distance from those drawn before (k-means++)."""
    centres = [rng.choice(x, p=weight / weight.sum())]
    distances = (x - centres[0]) ** 2
    nearest = np.zeros(len(x), dtype=int)
    for j in range(1, k):
        mass = weight * distances
        total = mass.sum()
        centres.append(rng.choice(x, p=mass / total) if total > 0 else rng.choice(x))
        closer = (x - centres[-1]) ** 2 < distances
        nearest[closer] = j
        distances[closer] = (x[closer] - centres[-1]) ** 2
    counts = np.bincount(nearest, weights=weight, minlength=k)
    counts = np.maximum(counts, 1e-3 * weight.sum() / k)
    means = np.array(centres)
    variances = np.bincount(nearest, weights=weight * distances, minlength=k) / counts
    if tied:
        variances = np.full(k, (counts * variances).sum() / counts.sum())
    # a group of one or two points has next to no variance of its own: start no narrower than a K-th of the data
    return Mixture(counts / counts.sum(), means, np.maximum(variances, 0.1 / k**2))


def _at_random(x: FloatArray, k: int, rng: np.random.Generator) -> Mixture:
    """Means at random distinct observations, equal weights, the variance of the data."""
    return Mixture(np.full(k, 1 / k), rng.choice(np.unique(x), size=k, replace=False), np.ones(k))
