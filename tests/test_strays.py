"""Strays that set the scale of a prior are named, with their effect and a remedy."""

import warnings

import numpy as np
import pytest
from arviz_stats.base import array_stats

import bayesgmm as bg
from bayesgmm.model.strays import strays
from tests.statistics import assert_same_means, rng

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
    """Scaled to the range of all, the conjugate prior merges two clusters. Scaled to the others, it tells them apart."""
    x = np.append(two_clusters, 50.0)
    options = {"method": "gibbs", "draws": 500, "thin": 10, "random_seed": 1, "progressbar": False}
    factor = f"{np.ptp(x) / np.ptp(two_clusters):.3g}"
    said = (
        rf"observation 200 \(x = 50\) lies far .* is {factor} times that of the others.*HierarchicalPrior\(scale=\"core\"\)"
    )
    with pytest.warns(bg.exceptions.DataWarning, match=said):
        merged = bg.fit(x, 3, prior=bg.ConjugatePrior(), **options)
    assert bg.diagnose(merged).finding("stray").problem.startswith("observation 200 (x = 50)")
    assert bg.diagnose(merged).converged
    mended = bg.fit(x, 3, prior=bg.ConjugatePrior(scale="core"), **options)
    assert bg.diagnose(mended).finding("stray") is None
    weights = [np.sort(tree["posterior"]["w"].mean(("chain", "draw")).values)[::-1] for tree in (merged, mended)]
    assert weights[0][0] > 0.9
    np.testing.assert_allclose(weights[1], [0.6, 0.39, 0.01], atol=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("sd", [10, 50, 1000])
def test_under_the_core_a_stray_leaves_the_posterior_of_the_others_alone(two_clusters, sd):
    """This is exact if C0 is fixed and the stray has a component of its own."""
    x = np.append(two_clusters, two_clusters.mean() + sd * two_clusters.std())
    labels = np.vstack([np.tile([0.5, 0.5, 0], (200, 1)), [0, 0, 1]])
    without = of_two_clusters(two_clusters, 2, bg.ConjugatePrior())
    agree(of_two_clusters(x, 3, bg.ConjugatePrior(scale="core"), labels), without)
    with pytest.raises(AssertionError, match="seed"), pytest.warns(bg.exceptions.DataWarning, match="observation 200"):
        agree(of_two_clusters(x, 3, bg.ConjugatePrior(), labels), without)


def of_two_clusters(x, k, prior, labels=None):
    """Draws of the means and standard deviations of two clusters, and of the share of the first."""
    options = {"method": "gibbs", "draws": 1000, "thin": 5, "random_seed": 1, "progressbar": False}
    posterior = bg.fit(x, k, prior=prior, labels=labels, **options)["posterior"]
    w, mu, sigma = (posterior[name].values[..., :2] for name in ("w", "mu", "sigma"))
    found = {"share": w[..., 0] / w.sum(axis=-1)}
    return found | {f"{name} {j}": each[..., j] for name, each in (("mu", mu), ("sigma", sigma)) for j in range(2)}


def agree(one, other):
    for (name, a), b in zip(one.items(), other.values(), strict=True):
        errors = (float(array_stats.mcse(each)) for each in (a, b))
        assert_same_means(a.mean(), next(errors), b.mean(), next(errors), name)


@pytest.mark.parametrize(
    "prior",
    [
        bg.HierarchicalPrior(b0=2, B0=100, g0=0.2, G0=0.1),
        bg.HierarchicalPrior(scale="core"),
        bg.ConjugatePrior(scale="core"),
        bg.ConjugatePrior(scale="core", C0=0.5),
    ],
)
def test_a_prior_that_strays_do_not_scale_is_not_warned_of(two_clusters, prior):
    x = np.append(two_clusters, 50.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", bg.exceptions.DataWarning)
        tree = bg.fit(x, 2, prior=prior, draws=50, method="gibbs", random_seed=1, progressbar=False)
    assert bg.diagnose(tree).finding("stray") is None


def test_what_may_be_noise_is_no_stray_unless_it_scales_the_prior(two_clusters):
    x, options = np.append(two_clusters, 50.0), {"draws": 50, "method": "gibbs", "random_seed": 1, "progressbar": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error", bg.exceptions.DataWarning)
        tree = bg.fit(x, 2, noise=True, **options)
    assert bg.diagnose(tree).finding("stray") is None
    with pytest.warns(bg.exceptions.DataWarning, match=r"observation 200 .* treat them as noise \(noise=True\), or"):
        bg.fit(x, 2, **options)
    with pytest.warns(bg.exceptions.DataWarning, match="leave them out of the data, or scale the prior to the others"):
        bg.fit(x, 2, noise=True, prior=bg.HierarchicalPrior(), **options)


@pytest.mark.slow
def test_posterior_k_and_compare_name_it(two_clusters):
    x = np.append(two_clusters, 50.0)
    with pytest.warns(bg.exceptions.DataWarning, match="observation 200"):
        tree = bg.posterior_k(x, draws=50, random_seed=1, progressbar=False)
    assert "observation 200 (x = 50)" in " ".join(tree.attrs["verdict"].split())
    with pytest.warns(bg.exceptions.DataWarning, match="observation 200"):
        comparison = bg.compare(x, [1, 2], draws=50, thin=1, random_seed=1, progressbar=False)
    assert "observation 200 (x = 50)" in " ".join(comparison.verdict.split())


def test_a_value_beside_equal_ones_is_no_stray():
    assert found(np.append(np.zeros(200), 50.0)) == []
    (stray,) = found(np.concatenate([np.zeros(200), [1.0, 50.0]]))
    assert (stray.positions, stray.factor) == ((201,), 50)


def test_strays_are_named_by_the_users_numbers():
    frame = np.column_stack([rng(0).normal(size=60), rng(1).normal(size=60)])
    frame[3] = np.nan
    frame[10, 1] = 90
    with pytest.warns(bg.exceptions.DataWarning, match=r"observation 10 \(column 1 = 90\)"):
        bg.fit(frame, 1, missing="drop", method="gibbs", draws=20, random_seed=1, progressbar=False)
