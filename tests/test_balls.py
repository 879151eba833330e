"""The credible ball against its definition: every distance by pairs or entropies, every bound by looking at all draws."""

import math
from collections import Counter
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.analysis import balls
from bayesgmm.analysis.partitions import distances, sampled_labels
from tests.statistics import SEED, rng

pytestmark = pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # no convergence is needed
FEW = {"method": "gibbs", "draws": 100, "chains": 2, "random_seed": SEED, "progressbar": False}
BOUNDS = ("horizontal", "upper", "lower")


@pytest.fixture(scope="module")
def tree():
    """Two overlapping clusters, fitted with three components: numbers of clusters differ between draws."""
    generator = rng(7)
    x = np.concatenate([generator.normal(0, 1, 12), generator.normal(3, 1, 8)])
    return bg.fit(x, 3, **FEW)


def distance(one, other, counts, loss):
    """The distance of two partitions by its definition; Binder's as an exact fraction."""
    total = sum(counts)
    if loss == "binder":
        n = len(one)
        differ = sum(
            (1 if i == j else 2) * counts[i] * counts[j] * ((one[i] == one[j]) != (other[i] == other[j]))
            for i, j in combinations_with_replacement(range(n), 2)
        )
        return Fraction(differ, total**2) if isinstance(differ, int) else differ / total**2

    def entropy(labels):
        sums = Counter()
        for label, count in zip(labels, counts, strict=True):
            sums[label] += count
        return -math.fsum(c / total * math.log2(c / total) for c in sums.values())

    return 2 * entropy(list(zip(one, other, strict=True))) - entropy(one) - entropy(other)


def as_sets(labels):
    """A partition without numbers; noise (-1) is left out."""
    return frozenset(frozenset(np.flatnonzero(labels == j).tolist()) for j in np.unique(labels[labels >= 0]))


def by_definition(labels, z, counts, loss, probability):
    """Radius, share, and each bound as a set of partitions, with all draws looked at one by one."""
    rest = labels >= 0
    weight = np.asarray(counts)[rest].tolist()
    found = [round(float(distance(labels[rest].tolist(), each[rest].tolist(), weight, loss)), 10) for each in z]
    radius = next(r for r in sorted(set(found)) if sum(d <= r for d in found) >= probability * len(z) - 1e-9)
    inside = [s for s, d in enumerate(found) if d <= radius]
    sets = [as_sets(np.where(rest, each, -1)) for each in z]
    bounds = {}
    for name, choose in (("horizontal", None), ("upper", min), ("lower", max)):
        of = None if choose is None else choose(len(sets[s]) for s in inside)
        those = [s for s in inside if of is None or len(sets[s]) == of]
        farthest = max(found[s] for s in those)
        bounds[name] = {sets[s] for s in those if found[s] == farthest}
    return radius, len(inside) / len(z), bounds


def require_the_same(ball, z, counts, loss, probability):
    labels = ball.estimate.values
    radius, share, bounds = by_definition(labels, z, counts, loss, probability)
    assert ball.radius == pytest.approx(radius, abs=1e-9)
    assert ball.share == pytest.approx(share)
    for name, expected in bounds.items():
        found = getattr(ball, name).values
        assert {as_sets(each) for each in found} == expected
        assert len(found) == len(expected) == ball.table["partitions"][name]
        assert ball.table["n_clusters"][name] == len(next(iter(expected)))
        moved = (found != labels) @ np.asarray(counts, dtype=float)
        assert ball.table["moved"][name] == pytest.approx(moved.min())
        assert (np.diff(moved) >= 0).all()


@pytest.mark.parametrize("loss", ["vi", "binder"])
@pytest.mark.parametrize("probability", [0.05, 0.5, 0.95])
def test_radius_and_bounds_are_those_of_the_definition(tree, loss, probability):
    ball = bg.credible_ball(tree, loss=loss, probability=probability)
    xr.testing.assert_equal(ball.estimate, bg.partition(tree, loss))
    z = sampled_labels(tree, 1000, np.random.default_rng(0))[2]
    require_the_same(ball, z, [1] * 20, loss, probability)
    assert ball.distances.mean() == pytest.approx(bg.partition(tree, loss).attrs["expected_loss"])


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_ties_are_kept_together(loss):
    """Of four observations there are 15 partitions only, so that most distances are equal to others."""
    for s in range(20):
        z = rng(100 + s).integers(0, 4, (60, 4)).astype(np.int16)
        labels = rng(200 + s).integers(0, 3, 4)
        found = balls._equal_if_tied(distances(labels, z, loss, None), balls._TIED[loss])
        exact = [round(float(distance(labels.tolist(), each.tolist(), [1] * 4, loss)), 10) for each in z]
        np.testing.assert_allclose(found, exact, atol=1e-9)
        assert len(set(found)) == len(set(exact)) < 15


def test_a_partition_is_at_distance_zero_from_itself_renumbered(tree):
    labels = bg.partition(tree).values
    z = np.array([2 - labels, labels], dtype=np.int16)
    assert balls._equal_if_tied(distances(labels, z, "vi", None), 1e-11).tolist() == [0.0, 0.0]
    assert (distances(labels, (z + np.arange(20)) % 2, "vi", None) > 0.1).all()  # a control


@pytest.mark.parametrize("loss", ["vi", "binder"])
@pytest.mark.parametrize("kind", ["counts", "fractions"])
def test_weights_count_as_repeated_observations(tree, loss, kind):
    counts = rng(8).integers(1, 4, 20) * (1.0 if kind == "counts" else 0.37)
    weighted = tree.copy()
    weighted["observed_data"] = xr.DataTree(tree["observed_data"].to_dataset().assign(weight=("obs", counts)))
    ball = bg.credible_ball(weighted, loss=loss, probability=0.8)
    z = sampled_labels(weighted, 1000, np.random.default_rng(0))[2]
    require_the_same(ball, z, counts.tolist(), loss, 0.8)
    if kind == "counts":
        times = counts.astype(int)
        repeated = distances(np.repeat(ball.estimate.values, times), np.repeat(z, times, axis=1), loss, None)
        np.testing.assert_allclose(ball.distances, repeated, atol=1e-11)
    table = ball.contingency("lower")
    assert table.values.sum() == pytest.approx(counts.sum())
    assert np.abs(distances(ball.estimate.values, z, loss, None) - ball.distances).max() > 0.01  # a control: weights matter


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_noise_is_left_out_or_one_cluster(loss):
    generator = rng(9)
    x = np.concatenate([generator.normal(0, 1, 15), generator.normal(9, 1, 10), [4.5, 30.0, 2.8]])
    tree = bg.fit(x, 2, noise=True, **FEW)
    ball = bg.credible_ball(tree, loss=loss, probability=0.9)
    z = sampled_labels(tree, 1000, np.random.default_rng(0))[2]
    labels = ball.estimate.values
    assert labels[26] == -1
    assert (z[:, labels >= 0] < 0).any()  # noise in some draws, where the estimate has a cluster
    require_the_same(ball, z, [1] * 28, loss, 0.9)
    assert (ball.horizontal.values[:, 26] == -1).all()
    assert ball.contingency().values.sum() == (labels >= 0).sum()


def test_the_number_of_components_may_vary(galaxies):
    of_k = bg.posterior_k(galaxies, draws=100, chains=2, thin=20, random_seed=SEED, progressbar=False)
    z = of_k["components"]["z"].values.reshape(-1, 82)
    ball = bg.credible_ball(of_k, probability=0.9)
    xr.testing.assert_equal(ball.estimate.drop_attrs(), of_k["partition"]["partition"].drop_attrs())
    require_the_same(ball, z, [1] * 82, "vi", 0.9)
    assert ball.table["n_clusters"]["upper"] < ball.table["n_clusters"]["lower"]
    assert len(bg.credible_ball(of_k, loss="binder", draws=50).distances) == 50


def test_any_partition_may_be_the_centre(tree):
    labels = np.repeat([0, 5], [12, 8])  # the truth, with a number left out
    ball = bg.credible_ball(tree, labels)
    np.testing.assert_array_equal(ball.estimate, labels)
    z = sampled_labels(tree, 1000, np.random.default_rng(0))[2]
    require_the_same(ball, z, [1] * 20, "vi", 0.95)
    assert set(np.unique(ball.upper.values[0])) <= {0, 5}  # numbers of the estimate, where clusters match
    partly = bg.credible_ball(tree, np.where(np.arange(20) < 3, -1, labels))
    require_the_same(partly, z, [1] * 20, "vi", 0.95)


def test_the_numbering_of_the_tree_does_not_matter(tree):
    one, other = bg.credible_ball(tree), bg.credible_ball(bg.raw_order(tree))
    assert one.radius == other.radius
    for name in BOUNDS:
        xr.testing.assert_identical(getattr(one, name), getattr(other, name))


def test_a_certain_partition_has_a_ball_of_radius_zero():
    x = rng(3).normal(size=40) + np.repeat([0.0, 1_000.0], 20)
    ball = bg.credible_ball(bg.fit(x, 2, **FEW))
    assert (ball.radius, ball.share) == (0.0, 1.0)
    assert ball.table["moved"].tolist() == [0.0] * 3
    assert ball.table["partitions"].tolist() == [1] * 3
    assert ball.table["draws"].tolist() == [len(ball.distances)] * 3
    assert "100.0% of the 200 sampled partitions lie within 0 of the estimate with 2 clusters" in repr(ball).replace(
        "\n    ", " "
    )
    assert bg.credible_ball(bg.fit(x[:20], 1, **FEW)).table["n_clusters"].tolist() == [1] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "rand"}, "loss must be one of 'vi', 'binder', got 'rand'"),
        ({"probability": 1.0}, "probability must lie between 0 and 1, got 1.0"),
        ({"draws": 0}, "draws must be an integer of at least 1, got 0"),
        (
            {"estimate": [0, 1]},
            r"estimate must be integer labels of the 20 observations, -1 for noise, got an array of shape",
        ),
        ({"estimate": [0.5] * 20}, r"estimate must be integer labels .* got an array of shape \(20,\) of float64"),
        ({"estimate": [-2] * 20}, "estimate must be labels from 0, or -1 for noise, got -2"),
        ({"estimate": [-1] * 20}, "estimate must hold a cluster, got noise for all 20 observations"),
    ],
)
def test_bad_arguments_get_a_sentence(tree, arguments, message):
    with pytest.raises(ValueError, match=message):
        bg.credible_ball(tree, **arguments)
    ball = bg.credible_ball(tree, draws=10)
    with pytest.raises(ValueError, match="bound must be one of 'horizontal', 'upper', 'lower', got 'inner'"):
        ball.contingency("inner")
