"""Starts of EM on rows read in passes: from a sample of them, as in ``fit_em``, and by k-means|| on all of them.

uv run --extra tests python benchmarks/starts.py          some ten minutes on two cores; prints a table

The data are two Gaussians, with a rare third one between them. It does not lie at the ends of the range, because every
sample contains the rows there. A million rows stand for many more: the sample holds one of ten.

k-means|| (Bahmani, Moseley, Vattani, Kumar & Vassilvitskii 2012, doi:10.14778/2180912.2180915) makes five passes. Each draws
some 2 K rows with probabilities proportional to the squared distance from the rows drawn before. All rows drawn, weighted
by how many rows are nearest to each, are then clustered into K by k-means++.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from scipy.spatial.distance import cdist

import bayesgmm as bg
from bayesgmm.data.sources import scan_of
from bayesgmm.em.starts import choose

N, N_SAMPLE, SEEDS, STARTS, ROUNDS, K = 10**6, 10**5, 10, 10, 5, 3
PLACES = {"D = 1": ([-20.0, 20.0], [0.0])}  # of the large ones, and of the rare one
SHARES = 1e-3, 1e-4, 3e-5


def rows_of(d, places, share, seed):
    """Rows (n, D), and the mean of the rare component."""
    (low, high), (middle,) = places
    means = np.array([np.full(d, low), np.full(d, high), np.full(d, middle)])
    mixture = bg.Mixture([(1 - share) / 2, (1 - share) / 2, share], means if d > 1 else means[:, 0], *spread_of(d))
    return mixture.sample(N, np.random.default_rng(seed))[0].reshape(N, d), means[2]


def spread_of(d):
    """Unit variances."""
    return ([1.0] * K,) if d == 1 else (np.array([np.eye(d)] * K),)


def by_k_means_parallel(x, rng):
    """Rows that k-means|| draws, with the number of rows nearest to each."""
    drawn = x[rng.integers(len(x), size=1)]
    distances, nearest = ((x - drawn[0]) ** 2).sum(axis=1), np.zeros(len(x), dtype=int)
    for _ in range(ROUNDS):
        new = x[rng.random(len(x)) < np.minimum(1.0, 2 * K * distances / distances.sum())]
        if len(new):
            squares = cdist(x, new, "sqeuclidean")
            at = squares.argmin(axis=1)
            least = squares[np.arange(len(x)), at]
            nearer = least < distances
            distances[nearer], nearest[nearer] = least[nearer], len(drawn) + at[nearer]
            drawn = np.concatenate([drawn, new])
    return drawn, np.bincount(nearest, minlength=len(drawn)).astype(float)


def starts_of(x, rng):
    """Mixtures to begin with, from ten runs of k-means||."""
    for _ in range(STARTS):
        drawn, counts = by_k_means_parallel(x, rng)
        unit = drawn.std(axis=0) + 1e-9
        mixture = choose([drawn / unit], counts, K, 1, rng)[0][1]
        yield mixture.rescaled(np.zeros(x.shape[1]), unit)


def has_found(em, rare):
    """Whether the best optimum has a component where the rare one is."""
    return bool(np.abs(em.mixture.mu - rare).max(axis=1).min() < 1.0)


def main():
    """Print the table."""
    print("| | share of the rows | rows of it | found from a sample | found by k-means\\|\\| |\n|---|---|---|---|---|")
    for title, places in PLACES.items():
        d = int(title.split()[-1])
        for share in SHARES:
            found = np.zeros(2, dtype=int)
            for seed in range(SEEDS):
                x, rare = rows_of(d, places, share, seed)
                with tempfile.TemporaryDirectory() as folder, patch("bayesgmm.data.scan._SAMPLE", (N_SAMPLE, 2**23)):
                    np.save(Path(folder, "x.npy"), x)
                    scan = scan_of(np.load(Path(folder, "x.npy"), mmap_mode="r"))
                    from_sample = bg.fit_em(scan, K, random_seed=seed, n_init=STARTS)
                    given = list(starts_of(x, np.random.default_rng(seed)))
                    by_parallel = bg.fit_em(replace(scan, left_off={}), K, start=given)
                found += [has_found(from_sample, rare), has_found(by_parallel, rare)]
            print(f"| {title} | {share:g} | {share * N:.0f} | {found[0]} of {SEEDS} | {found[1]} of {SEEDS} |", flush=True)


if __name__ == "__main__":
    main()
