"""Merged components against the definitions, sums of single components, and clusters whose truth is known."""

import warnings

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.analysis import merging
from bayesgmm.analysis.draws import read_draws
from bayesgmm.analysis.tree import permute
from tests.statistics import SEED, rng

FEW = {"method": "gibbs", "draws": 100, "chains": 2, "random_seed": SEED, "progressbar": False}


def fitted(x, k, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)  # components of one cluster mix slowly
        return bg.fit(x, k, **FEW | options)


@pytest.fixture(scope="module")
def skewed():
    """A skewed cluster and a Gaussian one, far apart; and which is which."""
    generator = rng(1)
    x = np.concatenate([generator.gamma(2.0, 1.0, 300), generator.normal(20, 1, 150)])
    return x, np.repeat([0, 1], [300, 150])


@pytest.fixture(scope="module")
def tree(skewed):
    return fitted(skewed[0], 4)


def a_table(n=40, k=5):
    r = rng(2).dirichlet(np.full(k, 0.4), size=n)
    return r, rng(3).uniform(0.5, 3, n)


def test_overlap_is_the_probability_of_misclassification():
    r, counts = a_table()
    found = merging._overlaps(r.T, counts)
    for a in range(5):
        for b in range(a):
            sides = [
                sum(c * each[i] for c, each in zip(counts, r, strict=True) if each.argmax() == j)
                / sum(c * each[i] for c, each in zip(counts, r, strict=True))
                for i, j in ((a, b), (b, a))
            ]
            assert found[a, b] == found[b, a] == pytest.approx(max(sides))


def test_the_entropy_falls_by_what_is_said():
    r, counts = a_table()

    def entropy(groups):
        shares = np.stack([r[:, list(group)].sum(axis=1) for group in groups], axis=1)
        return -(counts[:, None] * shares * np.log(shares)).sum()

    groups = [(j,) for j in range(5)]
    for merger in merging._mergers(r, counts, "entropy"):
        options = {}
        for i, a in enumerate(groups):
            for b in groups[:i]:
                rest = [each for each in groups if each not in (a, b)]
                options[frozenset((a, b))] = entropy(groups) - entropy([*rest, a + b])
        best = max(options, key=options.get)
        assert frozenset(merger.pair) == best
        assert merger.value == pytest.approx(options[best])
        groups = [each for each in groups if each not in best] + [tuple(sorted(sum(best, ())))]
    assert groups == [(0, 1, 2, 3, 4)]


def test_what_is_assigned_to_noise_is_assigned_to_no_component():
    r, counts = a_table(k=6)
    noise, rest = r[:, 5], r[:, :5]
    assert (noise > rest.max(axis=1)).any()
    found = merging._overlaps(rest.T, counts)
    for a in range(5):
        for b in range(a):
            own = r.argmax(axis=1)
            sides = [(counts * r[:, i])[own == j].sum() / (counts @ r[:, i]) for i, j in ((a, b), (b, a))]
            assert found[a, b] == pytest.approx(max(sides))


def test_the_bend_is_where_two_lines_meet():
    counts, drops = [10.0] * 5, [9.0, 8.5, 9.5, 0.1, 0.05]  # three mergers matter
    mergers = [merging._Merger(((0,), (1,)), drop, count) for drop, count in zip(drops, counts, strict=True)]
    assert merging._number(mergers, 6, "entropy", 0.0) == 3
    assert merging._number(mergers, 6, "overlap", 1.0) == 3
    assert merging._number(mergers[:1], 2, "entropy", 0.0) == 2  # two points have no bend
    nothing = [merging._Merger(((0,), (1,)), drop, 10.0) for drop in (1e-3, 1e-9)]  # as all drops are for clusters far apart
    assert merging._number(nothing, 3, "entropy", 0.0) == 3
    one = [merging._Merger(((0,), (1,)), drop, 10.0) for drop in (5.0, 1e-9, 1e-12)]
    assert merging._number(one, 4, "entropy", 0.0) == 3


def test_a_skewed_cluster_is_put_together(tree, skewed):
    found = bg.merge_components(tree)
    assert len(found.groups) == 2
    assert sorted(j for group in found.groups for j in group) == [0, 1, 2, 3]
    assert (found.labels.values != skewed[1]).sum() <= 1
    assert found.steps["overlap"].iloc[-1] < 0.025 <= found.steps["overlap"].iloc[-2]
    assert found.counts.sum() == pytest.approx(1)
    assert found.counts[2] > 0.8
    assert repr(found).startswith("4 components in 2 clusters (cluster 0: components ")


@pytest.mark.parametrize("noise", [False, True])
def test_merged_numbers_are_sums_over_components(skewed, noise):
    tree = fitted(skewed[0], 3, noise=noise)
    found, single = bg.merge_components(tree, n_clusters=2), bg.responsibilities(tree)
    for i, group in enumerate(found.groups):
        np.testing.assert_allclose(
            found.responsibilities["mean"][:, i], single["mean"][:, list(group)].sum("cluster"), atol=0.02
        )
        w = tree["posterior"]["w"].values[..., list(group)].sum(axis=-1)
        assert found.weights.loc[i].tolist() == pytest.approx([w.mean(), *np.quantile(w, [0.05, 0.95])])
    total = found.responsibilities["mean"].sum("cluster") + (found.responsibilities["noise"] if noise else 0)
    np.testing.assert_allclose(total, 1)
    grid = np.linspace(-5, 30, 71)
    draws, whole = read_draws(tree), bg.predictive_density(tree, grid).sel(statistic="mean").values
    summed = found.density(grid).sel(statistic="mean").sum("cluster").values
    if noise:
        assert (summed < whole).all()
        each = np.exp(merging.log_density(draws.among_all, bg.Observations(grid)))
        np.testing.assert_allclose(summed, each.mean(axis=0), rtol=1e-9)
    else:
        np.testing.assert_allclose(summed, whole, rtol=1e-9)


def test_the_spread_over_draws_is_told(tree):
    found = bg.merge_components(tree, n_clusters=2)
    group = list(found.groups[0])
    draws = read_draws(tree)
    each = [
        bg.Observations(tree["observed_data"]["x"].values).responsibilities(*one)[:, group].sum(axis=1)
        for one in draws.each()
    ]
    np.testing.assert_allclose(found.responsibilities["mean"][:, 0], np.mean(each, axis=0))
    np.testing.assert_allclose(found.responsibilities["sd"][:, 0], np.std(each, axis=0), atol=1e-7)


def test_all_and_one_are_the_ends(tree):
    assert bg.merge_components(tree, n_clusters=4).groups == ((0,), (1,), (2,), (3,))
    one = bg.merge_components(tree, "entropy", n_clusters=1)
    assert one.groups == ((0, 1, 2, 3),)
    assert one.together.values.min() == pytest.approx(1)
    assert one.counts.to_dict() == {1: 1.0}
    np.testing.assert_allclose(one.responsibilities["mean"], 1)


def test_clusters_apart_stay_apart(galaxies):
    x = rng(5).normal(size=90) + np.repeat([0.0, 10.0, 20.0], 30)
    for by in ("overlap", "entropy"):
        assert bg.merge_components(fitted(x, 3), by).groups == ((0,), (1,), (2,))
        single = bg.merge_components(fitted(galaxies, 1), by)
        assert single.groups == ((0,),)
        assert repr(single).startswith("1 component in 1 cluster (cluster 0: component 0)\n         mean")
        assert (single.labels == 0).all()


def test_counts_of_rows_are_rows(skewed):
    r, _ = a_table()
    counts = rng(4).integers(1, 4, len(r)).astype(float)
    repeated = np.repeat(r, counts.astype(int), axis=0)
    for by in ("overlap", "entropy"):
        weighted, by_rows = merging._mergers(r, counts, by), merging._mergers(repeated, np.ones(len(repeated)), by)
        assert [each.pair for each in weighted] == [each.pair for each in by_rows]
        np.testing.assert_allclose([each.value for each in weighted], [each.value for each in by_rows])


@pytest.mark.parametrize("kind", ["t", "weights", "gaps", "noise"])
@pytest.mark.parametrize("by", ["overlap", "entropy"])
def test_a_skewed_cluster_is_put_together_in_rows_of_every_kind(skewed, kind, by):
    x, truth = skewed
    options = {"t": {"family": "t"}, "weights": {"sample_weight": rng(6).integers(1, 4, len(x))}, "noise": {"noise": True}}
    if kind == "gaps":
        x = np.column_stack([x, 8 * truth + rng(7).normal(size=len(x))])
        x[::9, 0] = np.nan
        options["gaps"] = {"missing": "at_random"}
    found = bg.merge_components(fitted(x, 3, **options[kind]), by)
    assert (found.labels.values != truth).mean() < 0.02
    assert len(found.groups) == 2
    assert found.agreement > 0.8
    total = found.responsibilities["mean"].sum("cluster") + found.responsibilities.get("noise", 0)
    np.testing.assert_allclose(total, 1)


def test_observations_may_all_be_noise_but_for_one_cluster(skewed):
    x = np.append(skewed[0], [200.0, -150.0])
    found = bg.merge_components(fitted(x, 3, noise=True), n_clusters=1)
    assert found.labels.values[-2:].tolist() == [-1, -1]
    assert (found.labels.values[:450] == 0).all()


def test_groups_that_few_draws_share_are_called_in_question(tree):
    found = bg.merge_components(tree)
    shares = [
        merging._groups(each, 4, merging._number(each, 4, "overlap", 0.025)) == found.groups
        for r in merging._probabilities(read_draws(tree).thinned(100), bg.Observations(tree["observed_data"]["x"].values))
        for each in [merging._mergers(r, np.ones(450), "overlap")]
    ]
    assert found.agreement == np.mean(shares) > 0.8
    assert "in most draws other components" not in repr(found)
    draws = np.argsort(rng(8).random((2, 100, 4)), axis=2)  # labels without a meaning
    switched = bg.merge_components(permute(tree, draws), n_clusters=2)
    assert switched.counts.to_dict() == {2: 1.0}
    assert switched.agreement < 0.5
    assert "in most draws other components belong together, or labels switch" in " ".join(repr(switched).split())


def test_the_number_of_clusters_is_that_of_the_draws_where_labels_switch(skewed):
    """Averages of switching labels overlap although the clusters of no draw do."""
    sides = fitted(np.where(skewed[1] == 0, 0.0, 20.0) + rng(9).normal(size=450), 2)
    often = np.where(rng(10).random((2, 100, 1)) < 0.2, [1, 0], [0, 1])
    found = bg.merge_components(permute(sides, often))
    assert found.steps["overlap"].iloc[0] > 0.025
    assert found.groups == ((0,), (1,))
    assert found.counts.to_dict() == {2: 1.0}


def test_names_of_components_become_names_of_clusters(tree):
    x = rng(5).normal(size=150) + np.repeat([0.0, 10.0, 20.0], 50)
    numbered = fitted(x, 3, draws=200)
    named = bg.rename_clusters(numbered, ["low", "middle", "high"])
    found, plain = bg.merge_components(named, n_clusters=2), bg.merge_components(numbered, n_clusters=2)
    assert found.groups == plain.groups
    called = [" + ".join(["low", "middle", "high"][j] for j in group) for group in found.groups]
    assert found.weights.index.tolist() == found.responsibilities["cluster"].values.tolist() == called
    assert found.density([1.0])["cluster"].values.tolist() == called
    assert found.together.index.tolist() == ["low", "middle", "high"]
    assert "{low} + {middle}" in " ".join(found.steps["pair"]) or "{middle} + {high}" in " ".join(found.steps["pair"])
    np.testing.assert_array_equal(found.weights, plain.weights)
    short = found.renamed({0: "first", called[1]: "second"})
    assert short.weights.index.tolist() == short.density([1.0])["cluster"].values.tolist() == ["first", "second"]
    assert "(first: component" in repr(short)
    assert plain.renamed(["a", "b"]).weights.index.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="names must be one for each of the 2 clusters, got 3"):
        plain.renamed(["a", "b", "c"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "ridge"}, "by must be one of 'overlap', 'entropy', got 'ridge'"),
        ({"n_clusters": 5}, "n_clusters must be at most the number of components, 4, got 5"),
        ({"n_clusters": 0}, "n_clusters must be an integer of at least 1, got 0"),
        ({"by": "entropy", "cutoff": 0.1}, "cutoff is for by='overlap' without n_clusters; leave it out"),
        ({"n_clusters": 2, "cutoff": 0.1}, "cutoff is for by='overlap' without n_clusters; leave it out"),
        ({"cutoff": 0.0}, "cutoff must be a positive finite number, got 0.0"),
        ({"cutoff": 2.0}, "cutoff must lie between 0 and 1, got 2.0"),
    ],
)
def test_bad_arguments_get_a_sentence(tree, arguments, message):
    with pytest.raises(ValueError, match=message):
        bg.merge_components(tree, **arguments)


def test_a_sample_of_the_rows_gets_a_sentence(tree):
    sample = tree.copy()
    sample["observed_data"].attrs |= {"rows": 1_000, "total": 1_000.0}
    with pytest.raises(ValueError, match="tree must hold all rows, got a sample of those that were read in passes"):
        bg.merge_components(sample)
