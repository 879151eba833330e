"""Split-merge moves of clusters leave the joint distribution of parameters and data invariant (Geweke 2004).

Parameters, allocations and data are drawn from their joint distribution. Moves do not change this distribution, so the mean
change of every quantity is zero.
"""

from dataclasses import replace

import numpy as np
import pytest
from numba import njit

from bayesgmm.data.observations import Observations
from bayesgmm.kernels import latent, number, steps
from bayesgmm.kernels.groups import groups_of
from bayesgmm.kernels.number import number_tables
from bayesgmm.kernels.prior import compiled_prior
from bayesgmm.kernels.rows import rows_of
from bayesgmm.kernels.two_parts import FITTED
from bayesgmm.model.priors import ConjugatePrior
from bayesgmm.model.wishart import draw_factors
from bayesgmm.posterior import LogPosterior
from tests.statistics import assert_mean, rng

P_OF_K = np.array([0.3, 0.3, 0.2, 0.2])
MOST, N, MANY = len(P_OF_K), 10, 10
SIZE = 3_000


@njit
def moves(generator, many, known, spread, tied, rows, k, prior, C0, tables, z, mu, blocks, inverse, sums, fitted):
    for _ in range(many):
        k = latent.regroup(generator, known, spread, tied, rows, k, prior, C0, tables, z, mu, blocks, inverse, sums, fitted)
    return k


@njit
def prepared(spread, blocks, inverse):
    offsets = np.empty(len(inverse))
    steps.prepare(spread, np.zeros(len(inverse)), blocks, inverse, offsets)


class Joint:
    """Joint draws of parameters, allocations and data of D features, in the arrays that the moves need."""

    def __init__(self, covariance, d, gamma=1.0, dynamic=False, known=None, fitted=FITTED):
        self.d, self.tied, self.known, self.fitted = d, covariance == "tied", known, fitted
        prior = ConjugatePrior(c0=d + 2.0).scaled_to(rng(0).normal(0.5, 0.4, size=(50, d)), covariance)
        near = replace(prior, B0=prior.B0 / 10)  # so that clusters overlap, and many are split and merged
        own = LogPosterior(Observations(np.zeros((N, d))), MOST, near, covariance)
        self.spread, self.hyper = own.spread.compiled, own.hyper
        self.C0 = np.ascontiguousarray(self.hyper.rate[0])
        self.concentrations = gamma / np.arange(1, MOST + 1) if dynamic else np.full(MOST, gamma)

    @property
    def tables(self):
        return number_tables(P_OF_K, self.concentrations, N)

    def draw_blocks(self, many, generator):
        c0 = self.hyper.c0[0]
        if self.C0.ndim == 1:
            return np.log(self.C0) - np.log(generator.gamma(c0, size=(many, len(self.C0))))
        return draw_factors(c0, np.broadcast_to(self.C0, (many, *self.C0.shape)), generator)

    def draw(self, generator):
        k = generator.choice(MOST, p=P_OF_K) + 1
        w = generator.dirichlet(np.full(k, self.concentrations[k - 1]))
        mu, blocks = (
            np.zeros((MOST, self.d)),
            np.zeros((1 if self.tied else MOST, *self.draw_blocks(1, generator).shape[1:])),
        )
        root = np.linalg.cholesky(self.hyper.B0[0])
        mu[:k] = self.hyper.b0[0] + generator.normal(size=(k, self.d)) @ root.T
        blocks[: 1 if self.tied else k] = self.draw_blocks(1 if self.tied else k, generator)
        z = generator.choice(k, p=w, size=N).astype(np.int16)
        noise, x = generator.normal(size=(N, self.d)), np.empty((N, self.d))
        for i, j in enumerate(z):
            block = blocks[0 if self.tied else j]
            x[i] = mu[j] + (noise[i] * np.exp(block / 2) if block.ndim == 1 else np.linalg.solve(block, noise[i]))
        return k, z, x, mu, blocks

    def sums(self, z, x, mu):
        counts, first = np.zeros(MOST), np.zeros((MOST, self.d))
        second = np.zeros((MOST, self.d) if self.C0.ndim == 1 else (MOST, self.d, self.d))
        for i, j in enumerate(z):
            away = x[i] - mu[j]
            counts[j] += 1
            first[j] += away
            second[j] += away**2 if self.C0.ndim == 1 else np.tril(np.outer(away, away))
        return counts, first, second

    def moved(self, generator):
        """Quantities before and after some moves."""
        k, z, x, mu, blocks = self.draw(generator)
        sums, inverse = self.sums(z, x, mu), np.zeros((MOST, self.d))
        prepared(self.spread, blocks, inverse)
        before = self.quantities(z, mu, blocks)
        given = compiled_prior(self.hyper), self.C0, self.tables
        rows = rows_of(x, None, None) if self.known is None else rows_of(x, None, None, self.known(x, generator))
        settings = rows.known, self.spread, self.tied, rows, k, *given
        moves(generator, MANY, *settings, z, mu, blocks, inverse, sums, self.fitted)
        expected = self.sums(z, x, mu)
        np.testing.assert_array_equal(sums[0], expected[0])
        used = expected[0] > 0
        if self.known is None:
            self.assert_sums(sums, expected, used)
        again = inverse.copy()
        prepared(self.spread, blocks, again)
        np.testing.assert_array_equal(again[used], inverse[used])
        return before, self.quantities(z, mu, blocks)

    def assert_sums(self, sums, expected, used):
        np.testing.assert_allclose(sums[1][used], expected[1][used], atol=1e-9)
        np.testing.assert_allclose(
            np.tril(sums[2][used]) if sums[2].ndim == 3 else sums[2][used], expected[2][used], atol=1e-9
        )

    def quantities(self, z, mu, blocks):
        """Quantities that depend on the number, sizes, means and widths of the clusters."""
        counts = np.bincount(z, minlength=MOST)
        used = counts > 0
        found = [used.sum(), (counts**2).sum(), counts.max(), (counts[:, None] * mu**2).sum(), (counts @ mu).sum()]
        if not self.tied:
            of_used = blocks[used]
            widths = (of_used if self.C0.ndim == 1 else -2 * np.log(np.diagonal(of_used, axis1=1, axis2=2))).sum(axis=1)
            found += [(counts[used] * widths).sum(), widths.max(), widths.min()]
        return np.array(found, dtype=float)


def assert_unchanged(joint):
    """Check that no quantity changes in the mean; return the share of data sets whose number of clusters changed."""
    generator = rng(5)
    pairs = [joint.moved(generator) for _ in range(SIZE)]
    found = np.array([after - before for before, after in pairs])
    for i, each in enumerate(found.T):
        assert_mean(each, 0, f"quantity {i}")
    return np.mean(found[:, 0] != 0)


@pytest.mark.parametrize(
    ("covariance", "d", "dynamic"),
    [
        pytest.param("full", 2, False, marks=pytest.mark.slow),
        pytest.param("full", 1, True, marks=pytest.mark.slow),
        ("tied", 2, True),
        ("diag", 2, False),
        ("spherical", 3, False),
    ],
)
def test_the_joint_distribution_is_left_as_it_is(covariance, d, dynamic):
    assert assert_unchanged(Joint(covariance, d, dynamic=dynamic)) > 0.05  # the number of clusters does change


@pytest.mark.parametrize(("covariance", "d", "fitted"), [("full", 2, 2), ("tied", 1, 1), ("diag", 2, 3)])
@pytest.mark.slow
def test_em_on_some_of_the_members_proposes_correctly(covariance, d, fitted):
    """All steps but the last use i and j, and one in n // ``fitted`` of the n members."""
    assert assert_unchanged(Joint(covariance, d, fitted=fitted)) > 0.05


def with_one_error(x, generator):
    """Rows with the same error covariance, as rounded values of correlated features have."""
    error = np.broadcast_to(0.2**2 * (0.5 + 0.5 * np.eye(x.shape[1])), (len(x), x.shape[1], x.shape[1]))
    return groups_of(x + generator.multivariate_normal(np.zeros(x.shape[1]), error[0], len(x)), np.array(error))


def with_gaps_and_errors(x, generator):
    sd = np.where(np.arange(len(x)) % 3 == 0, 0.3, 0.0)[:, None]
    gaps = (np.arange(len(x)) % 4 == 1)[:, None] & (np.arange(x.shape[1]) == 0)
    error = sd[:, :, None] ** 2 * np.eye(x.shape[1])
    return groups_of(np.where(gaps, np.nan, x + sd * generator.normal(size=x.shape)), error)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
@pytest.mark.parametrize("known", [with_one_error, with_gaps_and_errors])
@pytest.mark.slow
def test_of_what_is_behind_gaps_and_errors_too(covariance, known):
    assert assert_unchanged(Joint(covariance, 2, known=known)) > 0.05


@pytest.mark.slow
def test_control_an_error_that_is_not_there_is_noticed():
    def believed(x, generator):
        return groups_of(x, np.broadcast_to(0.8**2 * np.eye(2), (len(x), 2, 2)).copy())

    with pytest.raises(AssertionError, match="seed"):
        assert_unchanged(Joint("full", 2, known=believed))


@pytest.mark.parametrize("wrong", ["the prior of partitions", "the prior of precisions", "the prior of means"])
@pytest.mark.slow
def test_control_another_prior_is_noticed(wrong, monkeypatch):
    joint = Joint("full", 2)
    if wrong == "the prior of partitions":
        monkeypatch.setattr(number, "log_normaliser", lambda total, n: 0 * total)
    elif wrong == "the prior of precisions":
        draw = joint.draw_blocks
        joint.draw_blocks = lambda many, generator: 1.5 * draw(many, generator)
    else:
        joint.draw = with_other_means(joint)
    with pytest.raises(AssertionError, match="seed"):
        assert_unchanged(joint)


def with_other_means(joint):
    draw = joint.draw

    def drawn(generator):
        k, z, x, mu, blocks = draw(generator)
        return k, z, x + 1.5, mu + 1.5, blocks

    return drawn
