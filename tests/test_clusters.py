"""Membership probabilities, co-clustering, and the partition of least loss, against enumeration and drawn labels."""

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.special import entr
from scipy.stats import norm
from sklearn.metrics import adjusted_rand_score

import bayesgmm as bg
from bayesgmm.analysis import clusters
from bayesgmm.analysis.draws import read_draws
from bayesgmm.analysis.tree import read_observations
from bayesgmm.data.observations import Observations
from tests.statistics import SEED, Z


@pytest.fixture(scope="module")
def overlapping():
    """The posterior of an overlapping pair, with so few draws that everything can be computed by hand."""
    x, _ = bg.Mixture([0.4, 0.6], [0, 2.5], sigma=1.0).sample(40, random_seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bg.fit(x, 2, method="gibbs", draws=150, chains=2, random_seed=SEED, progressbar=False)


def by_hand(tree, x):
    posterior = tree["posterior"].to_dataset().stack(s=("chain", "draw"))
    draws = [posterior.isel(s=s) for s in range(posterior.sizes["s"])]
    return np.array([bg.Mixture(d["w"], d["mu"], sigma=d["sigma"]).responsibilities(x) for d in draws])


def test_responsibilities_are_averages_over_the_draws(overlapping):
    x = overlapping["observed_data"]["x"].values
    found = bg.responsibilities(overlapping)
    r = by_hand(overlapping, x)
    np.testing.assert_allclose(found["mean"], r.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found["sd"], r.std(axis=0), atol=1e-7)
    np.testing.assert_allclose(found["mean"].sum("cluster"), 1)
    assert found.attrs["draws"] == 300
    assert found["mean"].dims == ("obs", "cluster")


def test_a_further_observation_tells_of_the_parameters_too(overlapping):
    points = np.linspace(-4, 7, 9)
    found = bg.responsibilities(overlapping, points)
    draws = overlapping["posterior"].to_dataset().stack(s=("chain", "draw")).transpose("s", ...)
    joint = draws["w"].values * norm.pdf(points[:, None, None], draws["mu"].values, draws["sigma"].values)
    expected = joint.mean(axis=1) / joint.sum(axis=2).mean(axis=1)[:, None]  # p(z, x | data) / p(x | data)
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-9)
    shares = joint.sum(axis=2) / joint.sum(axis=(1, 2))[:, None]
    spread = np.sqrt(
        (shares[..., None] * (by_hand(overlapping, points).swapaxes(0, 1) - expected[:, None]) ** 2).sum(axis=1)
    )
    np.testing.assert_allclose(found["sd"], spread, atol=1e-7)
    assert np.abs(found["mean"].values - by_hand(overlapping, points).mean(axis=0)).max() > 0.01  # not the plain average


def test_probabilities_are_the_frequencies_of_what_is_predicted(overlapping):
    rng, x = np.random.default_rng(SEED), overlapping["observed_data"]["x"].values
    points = np.linspace(x.min(), x.max(), 200)
    apart = bg.responsibilities(overlapping, points)["mean"].values[:, 1] - by_hand(overlapping, points).mean(axis=0)[:, 1]
    at = points[np.abs(apart).argmax()]  # where the weights of draws matter most
    draws = overlapping["posterior"].to_dataset().stack(s=("chain", "draw")).transpose("s", ...)
    s = rng.integers(draws.sizes["s"], size=1_000_000)
    z = (rng.random(len(s)) > draws["w"].values[s, 0]).astype(int)
    x = rng.normal(draws["mu"].values[s, z], draws["sigma"].values[s, z])
    near = z[np.abs(x - at) < 0.02]
    probability = float(bg.responsibilities(overlapping, [at])["mean"][0, 1])
    assert abs(near.mean() - probability) < 4 * np.sqrt(probability * (1 - probability) / len(near)) + 0.02**2
    plain = by_hand(overlapping, [at]).mean(axis=0)[0, 1]
    assert abs(near.mean() - plain) > 4 * np.sqrt(plain * (1 - plain) / len(near))  # the control


def test_labels_are_drawn_with_these_probabilities(overlapping):
    z, r = bg.sample_assignments(overlapping, SEED), by_hand(overlapping, overlapping["observed_data"]["x"].values)
    assert z.dims == ("chain", "draw", "obs")
    error = np.sqrt((r * (1 - r)).sum(axis=0)[:, 1]) / len(r)
    deviation = (z == 1).mean(("chain", "draw")).values - r.mean(axis=0)[:, 1]
    assert (np.abs(deviation) < Z * error + 1e-9).all()
    again = bg.sample_assignments(overlapping, SEED)
    np.testing.assert_array_equal(z, again)


def test_coclustering_is_the_chance_of_equal_labels(overlapping):
    r = by_hand(overlapping, overlapping["observed_data"]["x"].values)
    expected = np.einsum("sik,sjk->ij", r, r) / len(r)
    np.fill_diagonal(expected, 1)
    found = bg.coclustering(overlapping)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(bg.coclustering(bg.raw_order(overlapping)), found, rtol=1e-9)
    assert bg.coclustering(overlapping, [0.0, 3.0]).shape == (2, 2)


def expected_loss(labels, z, loss):
    """Expected loss by definition: the variation of information by entropies, Binder's loss by pairs."""
    n = len(labels)
    if loss == "binder":
        return ((labels[:, None] == labels) != (z[:, :, None] == z[:, None])).mean()
    one, other = (values[..., None] == np.arange(max(labels.max(), z.max()) + 1) for values in (labels, z))
    table = np.einsum("ia,sib->sab", one.astype(float), other.astype(float)) / n
    first, second, joint = (entr(p).sum(axis=tuple(range(1, p.ndim))) for p in (table.sum(axis=2), table.sum(axis=1), table))
    return (2 * joint - first - second).mean() / np.log(2)


def partitions(n):
    """All partitions of n observations, as labels in order of first appearance."""
    found = [[0]]
    for _ in range(n - 1):
        found = [[*head, label] for head in found for label in range(max(head) + 2)]
    return np.array(found)


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_the_partition_is_the_best_of_all(loss, overlapping):
    few = overlapping.isel(obs=np.arange(0, 40, 6))
    found = bg.partition(few, loss, draws=100, random_seed=1)
    draws, x = read_draws(bg.relabel(few)).thinned(100), read_observations(few)
    z = clusters.draw_assignments(draws, Observations.made(x), np.random.default_rng(1))  # the labels that partition drew
    losses = [expected_loss(each, z, loss) for each in partitions(7)]
    assert found.attrs["expected_loss"] == pytest.approx(min(losses), rel=1e-9)
    assert expected_loss(found.values, z, loss) == pytest.approx(min(losses), rel=1e-9)
    assert found.attrs["n_clusters"] == len(np.unique(found))
    assert (np.diff(np.bincount(found)) <= 0).all()


@pytest.mark.slow
def test_binders_loss_of_too_many_components_leads_to_many_clusters():
    x = np.random.default_rng(0).normal(size=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = bg.fit(x, 6, method="gibbs", draws=200, random_seed=SEED, progressbar=False)
    found = bg.partition(tree, "binder", draws=400)
    draws = read_draws(bg.relabel(tree)).thinned(400)
    z = clusters.draw_assignments(draws, Observations.made(x[:, None]), np.random.default_rng(0))
    assert found.attrs["expected_loss"] == pytest.approx(expected_loss(found.values, z, "binder"))
    assert found.attrs["expected_loss"] <= expected_loss(np.arange(60), z, "binder")
    xr.testing.assert_identical(bg.partition(bg.raw_order(tree), "binder", draws=400), found)


@pytest.mark.slow
def test_clear_clusters_are_found():
    truth = bg.Mixture([0.5, 0.3, 0.2], [[0, 0], [8, 0], [0, 8]], [np.eye(2)] * 3)
    x, z = truth.sample(200, random_seed=1)
    tree = bg.fit(x, 3, method="gibbs", draws=250, random_seed=SEED, progressbar=False)
    for loss in ("vi", "binder"):
        found = bg.partition(tree, loss)
        assert bg.adjusted_rand(found, z) == 1.0
        assert found.attrs["n_clusters"] == 3
    assert (bg.occupied_clusters(tree, SEED) == 3).all()


def test_the_adjusted_rand_index_is_scikit_learns():
    rng = np.random.default_rng(2)
    for one, other in (
        rng.integers(0, 4, (2, 50)),
        (np.zeros(5), np.zeros(5)),
        (np.arange(5), np.arange(5)),
        ([0, 0, 1], [1, 0, 0]),
    ):
        assert bg.adjusted_rand(one, other) == pytest.approx(adjusted_rand_score(one, other))
    assert bg.adjusted_rand([3], [5]) == 1.0
    with pytest.raises(ValueError, match="two partitions must be of the same observations, got 3 and 2"):
        bg.adjusted_rand([0, 1, 1], [0, 1])


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_one_component_is_dull(galaxies):
    tree = bg.fit(galaxies, 1, method="gibbs", draws=10, chains=1, tune=5, random_seed=SEED, progressbar=False)
    assert (bg.responsibilities(tree)["mean"] == 1).all()
    assert (bg.coclustering(tree) == 1).all()
    assert bg.partition(tree).attrs["n_clusters"] == 1
    assert (bg.occupied_clusters(tree) == 1).all()


def test_bad_arguments_get_a_sentence(overlapping, faithful_tree):
    with pytest.raises(ValueError, match="loss must be one of 'vi', 'binder', got 'rand'"):
        bg.partition(overlapping, "rand")
    with pytest.raises(ValueError, match=r"x must have 1 feature\(s\) like the data, got 2 column\(s\)"):
        bg.responsibilities(overlapping, np.ones((3, 2)))
    with pytest.raises(ValueError, match="x must be finite, got 1 of 2 observations"):
        bg.responsibilities(overlapping, [1.0, np.nan])
    with pytest.raises(
        ValueError, match="x must have the columns eruptions, waiting, in this order, got waiting, eruptions"
    ):
        bg.coclustering(faithful_tree, bg.datasets.old_faithful()[["waiting", "eruptions"]])
    with pytest.raises(MemoryError, match=r"200000 x 200000 probabilities would take .* pass some of the observations as x"):
        bg.coclustering(overlapping, np.zeros(200_000))
