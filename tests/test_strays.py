"""Observations that set the scale of a prior are named, with what they do and what to do about it."""

import warnings

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.model.strays import strays
from tests.statistics import rng

pytestmark = [  # EM sits on the stray, and some runs are short
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning"),
]


def found(x):
    return list(strays(np.asarray(x, dtype=float)[:, None], ["x"], np.arange(len(x))))


@pytest.fixture(scope="module")
def two_clusters():
    return np.concatenate([rng(0).normal(0, 1, 120), rng(1).normal(4, 1, 80)])


@pytest.mark.parametrize("sd", [10, 50, 500])
def test_one_far_galaxy_is_named(galaxies, sd):
    x = np.append(galaxies, galaxies.mean() + sd * galaxies.std())
    (stray,) = found(x)
    assert stray.positions == (82,)
    assert stray.factor == pytest.approx(np.ptp(x) / np.ptp(galaxies))
    assert found(galaxies) == []


def test_strays_on_both_sides_and_close_to_each_other_are_named(two_clusters):
    x = np.concatenate([two_clusters, [60.0, 61.0, -200.0]])
    (stray,) = found(x)
    assert sorted(stray.positions) == [200, 201, 202]
    assert stray.factor == pytest.approx(261 / np.ptp(two_clusters))


@pytest.mark.parametrize("shape", ["normal", "uniform"])
def test_the_tails_of_ordinary_data_are_no_strays(shape):
    for seed in range(50):
        assert found(getattr(rng(seed), shape)(size=200)) == []


def test_a_cluster_of_two_in_a_hundred_is_no_stray(two_clusters):
    assert found(np.concatenate([two_clusters, np.linspace(50, 51, 5)])) == []


@pytest.mark.slow
def test_fit_names_a_stray_and_its_remedy_mends_the_prior(two_clusters):
    """Under the range of all, the conjugate prior merges clusters that it tells apart when scaled to the others."""
    x = np.append(two_clusters, 50.0)
    options = {"method": "gibbs", "draws": 500, "thin": 10, "random_seed": 1, "progressbar": False}
    said = r"observation 200 \(x = 50\) lies far from all others, .* which is 5\.69 times that of the others.*scaled_to\(others\)"
    with pytest.warns(bg.exceptions.DataWarning, match=said):
        merged = bg.fit(x, 3, prior=bg.ConjugatePrior(), **options)
    assert bg.diagnose(merged).finding("stray").problem.startswith("observation 200 (x = 50)")
    assert bg.diagnose(merged).converged
    mended = bg.fit(x, 3, prior=bg.ConjugatePrior().scaled_to(two_clusters), **options)
    assert bg.diagnose(mended).finding("stray") is None
    weights = [np.sort(tree["posterior"]["w"].mean(("chain", "draw")).values)[::-1] for tree in (merged, mended)]
    assert weights[0][0] > 0.9
    np.testing.assert_allclose(weights[1], [0.6, 0.39, 0.01], atol=0.06)


def test_a_prior_given_in_full_has_no_scale_from_the_data(two_clusters):
    x = np.append(two_clusters, 50.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", bg.exceptions.DataWarning)
        prior = bg.HierarchicalPrior(b0=2, B0=100, g0=0.2, G0=0.1)
        tree = bg.fit(x, 2, prior=prior, draws=50, method="gibbs", random_seed=1, progressbar=False)
    assert bg.diagnose(tree).finding("stray") is None


@pytest.mark.slow
def test_posterior_k_and_compare_name_it(two_clusters):
    x = np.append(two_clusters, 50.0)
    with pytest.warns(bg.exceptions.DataWarning, match="observation 200"):
        tree = bg.posterior_k(x, draws=50, random_seed=1, progressbar=False)
    assert "observation 200 (x = 50)" in tree.attrs["verdict"]
    with pytest.warns(bg.exceptions.DataWarning, match="observation 200"):
        comparison = bg.compare(x, [1, 2], draws=50, thin=1, random_seed=1, progressbar=False)
    assert "observation 200 (x = 50)" in comparison.verdict


def test_strays_are_named_by_the_users_numbers():
    frame = np.column_stack([rng(0).normal(size=60), rng(1).normal(size=60)])
    frame[3] = np.nan
    frame[10, 1] = 90
    with pytest.warns(bg.exceptions.DataWarning, match=r"observation 10 \(column 1 = 90\)"):
        bg.fit(frame, 1, missing="drop", method="gibbs", draws=20, random_seed=1, progressbar=False)
