"""Relabelling: its laws, and data where the true permutation is known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import bayesgmm as bg
from bayesgmm import Mixture
from bayesgmm.analysis import labels
from bayesgmm.analysis.draws import Draws, read_draws
from bayesgmm.analysis.labels import match
from bayesgmm.analysis.tree import build_tree, permute, read_permutation
from bayesgmm.data.observations import Observations
from tests.conftest import make_tree
from tests.statistics import rng


@pytest.fixture(scope="module")
def tree():
    return make_tree(bg.datasets.three_gaussians(n=500).x, 3)


def shuffled(tree, seed=0):
    """The tree with the clusters of each draw in random order, and the permutations."""
    shape = tree["posterior"]["w"].shape
    permutation = rng(seed).permuted(np.broadcast_to(np.arange(shape[-1]), shape), axis=2)
    return permute(tree, permutation), permutation


@pytest.fixture(params=["stephens", "ecr", "pivot"])
def method(request):
    return request.param


def test_finds_the_true_permutation(tree, method):
    mixed, permutation = shuffled(tree)
    assert (permutation != np.arange(3)).any()
    mended = bg.relabel(mixed, method)
    for name in ("w", "mu", "sigma"):
        np.testing.assert_array_equal(mended["posterior"][name], tree["posterior"][name])


def test_is_idempotent_and_permutes_everything_together(tree, method):
    once = bg.relabel(shuffled(tree)[0], method)
    xr.testing.assert_identical(bg.relabel(once, method), once)
    xr.testing.assert_equal(bg.relabel(tree, method)["posterior"].to_dataset(), once["posterior"].to_dataset())
    triples = np.stack([tree["posterior"][name].values for name in ("w", "mu", "sigma")])
    again = np.stack([once["posterior"][name].values for name in ("w", "mu", "sigma")])
    order = np.argsort(triples[1], axis=-1), np.argsort(again[1], axis=-1)
    for i in range(3):
        np.testing.assert_array_equal(
            np.take_along_axis(triples[i], order[0], -1), np.take_along_axis(again[i], order[1], -1)
        )


def test_labels_of_clusters_far_apart_are_trusted(tree):
    quality = bg.label_quality(tree)
    assert quality == bg.LabelQuality(0.0, 0.0)
    assert quality.trusted
    assert bg.label_quality(make_tree(bg.datasets.galaxies(), 1)) == bg.LabelQuality(0.0, 0.0)
    mixed = bg.label_quality(shuffled(tree)[0])
    assert mixed.ambiguous > 0.95  # every order is equally plausible, although the components are far apart
    assert not mixed.trusted


def test_labels_of_clusters_that_cannot_be_told_apart_are_not_trusted(two_small):
    def one_place(w, mu, sigma):
        generator = rng(1)
        return (
            generator.dirichlet([5, 5], w.shape[:2]),
            generator.normal(size=mu.shape),
            np.exp(generator.normal(size=mu.shape)),
        )

    tree = make_tree(two_small, change=one_place)
    quality = bg.label_quality(tree)
    assert 0.3 < quality.non_permutation_rate < 0.7  # one cloud: half of the draws have both components in one half
    assert "clusters cannot be told apart" in str(quality)
    diagnosis = bg.diagnose(tree)
    assert [finding.kind for finding in diagnosis.findings] == ["labels"]
    assert "clusters cannot be told apart" in repr(diagnosis)
    assert "clusters cannot be told apart" in repr(bg.check_against_em(tree))


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_labels_of_clusters_that_cross_are_trusted():
    """Two clusters with equal means and standard deviations, told apart by their correlations alone."""
    mixture = Mixture([0.5, 0.5], np.zeros((2, 2)), [[[1, 0.95], [0.95, 1]], [[1, -0.95], [-0.95, 1]]])
    tree = bg.fit(mixture.sample(600, random_seed=1)[0], 2, draws=300, random_seed=1, progressbar=False)
    assert bg.label_quality(tree).trusted


def test_ambiguous_draws_are_those_whose_exchange_is_plausible(two_small):
    """Two clusters allow one exchange. Its odds follow from scipy's normal density."""

    def near(w, mu, sigma):
        return (
            rng(1).dirichlet([9, 6], w.shape[:2]),
            np.mean(mu, axis=-1, keepdims=True) + [-1, 1] + rng(2).normal(size=mu.shape),
            1 + 0 * sigma,
        )

    draws = read_draws(tree := make_tree(two_small, change=near))
    columns = np.stack([draws.mu[..., 0], np.log(draws.w)], axis=-1)
    given = stats.norm.logpdf(columns, columns.mean(axis=0), columns.std(axis=0)).sum(axis=(1, 2))
    turned = stats.norm.logpdf(columns[:, ::-1], columns.mean(axis=0), columns.std(axis=0)).sum(axis=(1, 2))
    expected = np.mean(np.exp(given - np.logaddexp(given, turned)) < 0.95)
    assert 0 < expected < 1
    assert bg.label_quality(tree).ambiguous == pytest.approx(expected)


def test_hyperparameters_and_densities_stay(tree):
    mixed = shuffled(tree)[0]
    mended = bg.relabel(mixed)
    np.testing.assert_array_equal(mended["posterior"]["C0"], tree["posterior"]["C0"])
    grid = np.linspace(-3, 12, 20)
    np.testing.assert_allclose(bg.predictive_density(mended, grid), bg.predictive_density(mixed, grid), rtol=1e-12)


def test_raw_order_can_be_had_back(tree):
    mixed, permutation = shuffled(tree)
    mended = bg.relabel(mixed)
    assert (read_permutation(mended) == np.arange(3)).all()  # two permutations that cancel
    np.testing.assert_array_equal(read_permutation(mixed), permutation)
    for each in (mixed, mended):
        raw = bg.raw_order(each)
        np.testing.assert_array_equal(raw["posterior"]["mu"], tree["posterior"]["mu"])
        np.testing.assert_array_equal(read_permutation(raw), np.broadcast_to(np.arange(3), permutation.shape))


def test_does_not_change_its_argument(tree):
    mixed = shuffled(tree)[0]
    before = mixed.copy(deep=True)
    bg.relabel(mixed)
    xr.testing.assert_identical(mixed, before)


def overlapping_tree():
    """Draws around the true parameters of three overlapping clusters in five dimensions, without label switching."""
    generator = rng(5)
    truth = Mixture([0.3, 0.3, 0.4], generator.normal(0, 0.9, (3, 5)), [np.eye(5) * s for s in (0.6, 1.0, 1.5)])
    x, _ = truth.sample(400, generator)
    far = Mixture([0.3, 0.3, 0.4], truth.means + generator.normal(0, 1.2, (3, 5)), truth.covariances)
    em = replace(bg.fit_em(x, 3, random_seed=1), mixture=far)  # a poor estimate, as overlap may cause
    shape, dims = (2, 200, 3), ("chain", "draw", "cluster", "feature", "feature_bis")
    coords = {"chain": [0, 1], "draw": np.arange(200)}
    posterior = xr.Dataset(
        {
            "w": (dims[:3], generator.dirichlet(400 * truth.weights, shape[:2])),
            "mu": (dims[:4], truth.means + 0.3 * generator.normal(size=(*shape, 5))),
            "cov": (dims, truth.covariances * np.exp(0.2 * generator.normal(size=(*shape, 1, 1)))),
        },
        coords=coords,
    )
    return build_tree(
        posterior, xr.Dataset({"lp": (dims[:2], np.zeros(shape[:2]))}, coords=coords), Observations.read(x), em, {}
    )


def test_overlapping_clusters_are_told_apart_by_whom_they_hold():
    """This is why "pivot" is not the default: it compares with one poor estimate, the others with all observations."""
    tree = overlapping_tree()
    wrong = {}
    for method in ("stephens", "ecr", "pivot"):
        order = read_permutation(bg.relabel(shuffled(tree)[0], method)).reshape(-1, 3)
        _, counts = np.unique(order, axis=0, return_counts=True)
        wrong[method] = 1 - counts.max() / len(order)  # one order common to all draws is no error
    assert wrong["stephens"] == 0
    assert wrong["ecr"] < 0.02
    assert wrong["pivot"] > wrong["stephens"]


def test_of_many_draws_few_observations_tell_the_order(monkeypatch):
    x = bg.datasets.three_gaussians(n=5_000).x
    tree = make_tree(x, 3, draws=50)
    mixed = shuffled(tree)[0]
    seen, refined = [], labels._refined
    monkeypatch.setattr(
        labels, "_refined", lambda draws, few, *a, **b: seen.append(len(few)) or refined(draws, few, *a, **b)
    )
    for judges, n in ((2_500, 5_000), (labels._JUDGES, 2_000), (100, 100)):
        monkeypatch.setattr(labels, "_JUDGES", judges)
        np.testing.assert_array_equal(bg.relabel(mixed)["posterior"]["mu"], tree["posterior"]["mu"])
        assert seen.pop() == n


def test_judges_are_of_all_components_and_stand_for_all():
    """One row in 500 is from the third cluster, and most of these are judges. Their weighted sums are those of all rows."""
    generator = rng(2)
    x = np.concatenate([generator.normal(0, 1, 10_000), generator.normal(6, 1, 10_000), generator.normal(12, 0.3, 40)])
    for weight in (None, generator.uniform(0, 3, len(x))):
        rows = Observations(x, weight=weight)
        em = bg.Mixture([0.499, 0.499, 0.002], [0.0, 6.0, 12.0], sigma=[1.0, 1.0, 0.3])
        judges = labels._judges(rows, em)
        assert 30 < (judges.x > 10).sum() <= 40  # of the 40 that exist
        assert judges.counts.sum() == pytest.approx(rows.total, rel=0.02)
        np.testing.assert_allclose(
            judges.counts @ judges.responsibilities(*em.parameters),
            rows.counts @ rows.responsibilities(*em.parameters), rtol=0.03,
        )  # fmt: skip


def test_control_a_relabelling_of_the_means_alone_is_noticed(tree):
    mixed, _ = shuffled(tree)
    half = mixed.copy()
    half["posterior"] = xr.DataTree(mixed["posterior"].to_dataset().assign(w=tree["posterior"]["w"]))
    grid = np.linspace(-3, 12, 20)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            bg.predictive_density(bg.relabel(half), grid), bg.predictive_density(tree, grid), rtol=1e-3
        )


def test_an_unknown_method_gets_a_sentence(tree):
    with pytest.raises(ValueError, match="method must be one of 'stephens', 'ecr', 'pivot', got 'order'"):
        bg.relabel(tree, "order")


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_match_minimises_over_all_permutations(scale):
    generator, k = rng(4), 4
    w, mu = (generator.normal(size=(20, k)) for _ in range(2))
    sigma = np.exp(generator.normal(size=(20, k)))
    draws = Draws(w, mu[..., None], sigma[..., None, None], 1, 20)
    reference = Mixture(np.full(k, 1 / k), generator.normal(size=k), sigma=np.exp(generator.normal(size=k)))
    moved = Draws(draws.w, scale * draws.mu, scale * draws.factors, 1, 20)
    found = match(moved, reference.rescaled(0, scale))
    for i, order in enumerate(found):
        costs = {
            p: sum((mu[i, p[j]] - reference.means[j]) ** 2 + (sigma[i, p[j]] - reference.sigma[j]) ** 2 for j in range(k))
            for p in itertools.permutations(range(k))
        }  # fmt: skip
        assert tuple(order) == min(costs, key=costs.get)


def test_one_component_is_dull():
    tree = make_tree(bg.datasets.galaxies(), 1)
    xr.testing.assert_identical(bg.relabel(tree), tree)
