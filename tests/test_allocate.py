"""Allocating observations a block at a time gives the same draws and sums as one observation after the other."""

import numpy as np
import pytest

from bayesgmm.kernels import allocate as kernels
from bayesgmm.kernels import steps
from bayesgmm.kernels.rows import rows_of
from bayesgmm.kernels.spread import Factors, Variances
from tests.statistics import rng

N, K = 300, 3  # more than two blocks


def drawn(kernel, rows, spread, generator, blocks, log_w, mu):
    """z and the sums, by one of the kernels."""
    n_features, all_k = spread.n_features, len(log_w)
    offsets, inverse = log_w.copy(), np.empty((K, n_features))
    prepare(spread, log_w[:K], blocks, inverse, offsets)
    scratch = inverse, np.empty((K, n_features)), np.empty(all_k), np.empty(all_k)
    matrices = isinstance(spread, Factors)
    second = np.zeros((K, n_features, n_features) if matrices else (K, n_features))
    z, sums = np.empty(len(rows.x), np.int16), (np.empty(all_k), np.empty((K, n_features)), second)
    kernel(generator, spread, rows, offsets, mu, blocks, scratch, z, sums)
    return z, sums


@kernels.compiled(fastmath=set())
def prepare(spread, log_w, blocks, inverse, offsets):
    steps.prepare(spread, log_w, blocks, inverse, offsets)


@kernels.compiled(fastmath=set())
def one_after_the_other(generator, spread, rows, offsets, mu, blocks, scratch, z, sums):
    kernels._allocate_each(generator, spread, rows, rows.copies, offsets, mu, blocks, scratch, z, sums)


@kernels.compiled(fastmath=set())
def in_blocks(generator, spread, rows, offsets, mu, blocks, scratch, z, sums):
    kernels.allocate(generator, rows.known, spread, rows, offsets, mu, blocks, scratch, z, sums)


def problem(structure, *, noise=False, labels=False, weight=None):
    generator = rng(5)
    n_features = 1 if structure == "one feature" else 3
    mu, x = generator.normal(0, 2, (K, n_features)), generator.normal(0, 3, (N, n_features))
    known = np.empty((0, N))
    if labels:
        known = np.where(generator.random((K, N)) < 0.2, -np.inf, 0.0)
        known[0] = 0.0  # no row is impossible
    if noise:
        known = np.vstack([known, np.full(N, -3.0 * n_features)])
    if structure == "factors":
        spread = Factors(K, n_features, K, n_features * (n_features + 1) // 2)
        blocks = np.tril(generator.normal(0, 0.3, (K, n_features, n_features))) + np.eye(n_features)
    else:
        spread = Variances(K, n_features, K, n_features)
        blocks = generator.normal(0, 0.5, (K, n_features))
    log_w = np.log(generator.dirichlet(np.ones(K + noise)))
    rows = rows_of(x, weight, known if len(known) else None, noise=noise).for_allocation()
    return rows, spread, blocks, log_w, mu


STRUCTURES = ["one feature", "variances", "factors"]


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("known", [{}, {"noise": True}, {"labels": True}, {"noise": True, "labels": True}])
def test_blocks_draw_what_is_drawn_one_after_the_other(structure, known):
    rows, spread, blocks, log_w, mu = problem(structure, **known)
    arguments = blocks, log_w, mu
    z, sums = drawn(in_blocks, rows, spread, rng(1), *arguments)
    expected, expected_sums = drawn(one_after_the_other, rows, spread, rng(1), *arguments)
    np.testing.assert_array_equal(z, expected)  # both use the same random numbers
    assert len(np.unique(z)) == K + known.get("noise", 0)
    for ours, theirs in zip(sums, expected_sums, strict=True):
        np.testing.assert_allclose(np.tril(ours), np.tril(theirs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("noise", [False, True])
def test_copies_are_allocated_independently(structure, noise):
    """Mean counts and sums over many draws agree with the allocation probabilities. Rows without copies do not count."""
    weight = rng(2).choice([0.0, 1.0, 2.0, 7.0], N)
    rows, spread, blocks, log_w, mu = problem(structure, noise=noise, weight=weight)
    one, *_ = problem(structure, noise=noise)
    generator, times = rng(3), 4_000
    counts, first = np.zeros(K + noise), np.zeros_like(mu)
    for _ in range(times):
        _, sums = drawn(in_blocks, rows, spread, generator, blocks, log_w, mu)
        assert sums[0].sum() == weight.sum()
        counts += sums[0] / times
        first += sums[1] / times
    shares = np.zeros((N, K + noise))
    for _ in range(times):
        z, _ = drawn(in_blocks, one, spread, generator, blocks, log_w, mu)
        shares[np.arange(N), z] += 1 / times  # noise is -1: the last column
    variance = weight @ (shares * (1 - shares)) / times + weight**2 @ (shares * (1 - shares)) / times
    assert (np.abs(counts - weight @ shares) < 5 * np.sqrt(variance) + 1e-9).all()
    distances = one.x[:, None, :] - mu
    expected = np.einsum("n,nk,nkd->kd", weight, shares[:, :K], distances)
    per_row = (weight + weight**2)[:, None] * (shares * (1 - shares))[:, :K] / times
    variance = np.einsum("nk,nkd->kd", per_row, distances**2)
    assert (np.abs(first - expected) < 5 * np.sqrt(variance) + 1e-9).all()
