"""Log-likelihood, predictive density and replicated data against the mixture itself, draw by draw."""

from types import SimpleNamespace

import arviz as az
import numpy as np
import pymc as pm
import pytest
from scipy import stats

import bayesgmm as bg
from bayesgmm import Mixture, arguments
from bayesgmm.analysis import densities
from bayesgmm.analysis.draws import Draws, read_draws
from bayesgmm.data.observations import Observations
from tests.conftest import make_tree
from tests.statistics import SEED, assert_mean, rng


@pytest.fixture(scope="module")
def tree(two_small):
    return make_tree(two_small)


def mixture_of(tree, chain, draw):
    point = tree["posterior"].to_dataset().isel(chain=chain, draw=draw)
    return Mixture(point["w"].values, point["mu"].values, sigma=point["sigma"].values)


def test_log_likelihood_is_the_mixtures(tree, two_small):
    group = bg.add_log_likelihood(tree)["log_likelihood"]["x"]
    assert group.dims == ("chain", "draw", "obs")
    for chain, draw in ((0, 0), (3, 249)):
        np.testing.assert_allclose(group[chain, draw], mixture_of(tree, chain, draw).log_density(two_small), rtol=1e-12)
    assert "log_likelihood" not in tree.children


def test_log_likelihood_is_the_sum_of_pointwise_ones(tree, two_small):
    draws, x = read_draws(tree), two_small[:, None]
    pointwise = densities.log_density(draws, Observations.made(x))
    np.testing.assert_allclose(densities.log_likelihood(draws, Observations.made(x)), pointwise.sum(axis=1), rtol=1e-12)


def test_predictive_density_integrates_to_one_within_its_band(tree):
    grid = np.linspace(-20, 40, 6_001)
    density = bg.predictive_density(tree, grid, interval=0.8)
    mean, lower, upper = (density.sel(statistic=name).values for name in ("mean", "lower", "upper"))
    assert np.trapezoid(mean, grid) == pytest.approx(1, abs=1e-6)
    assert (lower <= upper).all()
    each = np.exp([mixture_of(tree, c, d).log_density([8.0])[0] for c in range(4) for d in range(250)])
    at = density.sel(grid=8.0, method="nearest")
    np.testing.assert_allclose(at, [each.mean(), *np.quantile(each, [0.1, 0.9])], rtol=1e-6)


def test_the_cdf_is_the_integral_of_the_density(tree):
    grid = np.linspace(-20, 40, 6_001)
    density = bg.predictive_density(tree, grid).sel(statistic="mean").values
    integral = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))])
    cdf = bg.predictive_cdf(tree, grid, interval=0.8)
    np.testing.assert_allclose(cdf.sel(statistic="mean"), integral, atol=1e-6)
    at = cdf.sel(grid=8.0, method="nearest")
    draws = read_draws(tree)
    each = (draws.w * stats.norm.cdf(8.0, draws.mu[..., 0], draws.sd[..., 0])).sum(axis=1)
    np.testing.assert_allclose(at, [each.mean(), *np.quantile(each, [0.1, 0.9])])


def test_quantiles_undo_the_cdf(tree):
    wanted = [1e-9, 0.05, 0.5, 0.95]
    quantiles = bg.predictive_quantiles(tree, wanted)
    predictive_one = quantiles.sel(statistic="predictive").values
    np.testing.assert_allclose(bg.predictive_cdf(tree, predictive_one).sel(statistic="mean"), wanted, rtol=1e-6)
    assert (quantiles.sel(statistic="lower") <= predictive_one).all()
    assert (predictive_one <= quantiles.sel(statistic="upper")).all()
    one = bg.predictive_quantiles(make_tree(bg.datasets.galaxies(), 1, chains=1, draws=1), 0.3)
    posterior = make_tree(bg.datasets.galaxies(), 1, chains=1, draws=1)["posterior"]
    expected = stats.norm.ppf(0.3, float(posterior["mu"].item()), float(posterior["sigma"].item()))
    np.testing.assert_allclose(one.values[:, 0], expected, rtol=1e-12)


def test_cdf_and_quantiles_of_one_of_several_features(faithful_tree, faithful):
    tree = faithful_tree.isel(draw=slice(50), missing_dims="ignore")
    median = float(bg.predictive_quantiles(tree, 0.5, "waiting").sel(statistic="predictive").item())
    assert abs(median - faithful["waiting"].median()) < 3
    draws = read_draws(tree)
    sd = np.sqrt((draws.factors[:, :, 1] ** 2).sum(axis=-1))
    below = (draws.w * stats.norm.cdf(median, draws.mu[:, :, 1], sd)).sum(axis=1).mean()
    assert below == pytest.approx(0.5)
    with pytest.raises(ValueError, match="feature must be one of 'eruptions', 'waiting', got None"):
        bg.predictive_cdf(tree, [1.0])


def test_prior_predictive_is_the_priors(galaxies):
    prior = bg.ConjugatePrior(alpha=2.0, b0=20.0, B0=9.0, c0=5.0, C0=20.0)
    tree = bg.prior_predictive(galaxies, 2, prior=prior, draws=2_000, random_seed=SEED)
    assert set(tree.children) == {"prior", "prior_predictive", "observed_data"}
    x = tree["prior_predictive"]["x"]
    assert x.shape == (1, 2_000, 82)
    assert_mean(x.values[0, :, 0], 20.0, "E[x]")
    assert_mean((x.values[0, :, 0] - 20) ** 2, 9.0 + 20.0 / 4, "Var[x]")
    az.plot_ppc_dist(tree, group="prior_predictive", backend="matplotlib")


@pytest.mark.parametrize("d", [1, 2])
def test_log_likelihoods_of_draws_do_not_depend_on_how_many_are_taken_together(monkeypatch, galaxies, d):
    x = galaxies.to_numpy() if d == 1 else np.column_stack([galaxies, galaxies[::-1]])
    generator, s = rng(d), 7
    factors = np.tril(generator.standard_normal((s, 2, d, d)) / 3) + 3 * np.eye(d)
    draws = Draws(generator.dirichlet([2.0, 2.0], s), generator.normal(20, 3, (s, 2, d)), factors, 1, s)
    rows = Observations(x, weight=generator.uniform(0, 3, len(x)))
    wanted = [rows.log_likelihood(*one) for one in draws.each()]
    for together in (1, 3 * len(x), densities._ON_A_CORE):
        monkeypatch.setattr(densities, "_ON_A_CORE", together)
        np.testing.assert_allclose(densities.log_likelihood(draws, rows), wanted, rtol=1e-12)


CONJUGATE_2 = bg.ConjugatePrior(
    alpha=2.0, b0=[3.0, 70.0], B0=[[1.0, 2.0], [2.0, 90.0]], c0=4.0, C0=[[1.0, 3.0], [3.0, 80.0]]
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "options"),
    [
        (1, {}),
        (1, {"covariance": "tied"}),
        (1, {"family": "t"}),
        (2, {}),
        (2, {"covariance": "diag"}),
        (2, {"covariance": "spherical"}),
        (2, {"covariance": "tied", "prior": CONJUGATE_2, "family": "t"}),
    ],
    ids=str,
)
def test_prior_draws_are_those_of_pymc(faithful_as_published, d, options):
    """Every variable has the same name, dimensions and, for each entry, distribution. So have the data."""
    x = faithful_as_published if d == 2 else faithful_as_published["eruptions"]
    mine = bg.prior_predictive(x, 3, draws=4_000, random_seed=SEED, **options)
    with bg.build_model(x, 3, **options):
        theirs = pm.sample_prior_predictive(4_000, random_seed=SEED)
    assert set(mine["prior"].data_vars) == set(theirs["prior"].data_vars)
    pairs = [(mine["prior"][name], theirs["prior"][name]) for name in mine["prior"].data_vars]
    several = [group["prior_predictive"]["x"].isel(obs=[0, 5]) for group in (mine, theirs)]
    for one, other in (*pairs, several):
        assert one.dims == other.dims
        assert all((one[dim] == other[dim]).all() for dim in one.dims if dim in other.coords and dim in one.coords)
        assert one.shape == other.shape
        for a, b in zip(one.values.reshape(4_000, -1).T, other.values.reshape(4_000, -1).T, strict=True):
            constant = np.ptp(a) == np.ptp(b) == 0
            assert constant or stats.ks_2samp(a, b).pvalue > 1e-5, one.name


def test_data_from_the_prior_have_the_errors_and_the_rows_of_the_data():
    data = Observations([1.0, 2.0, 5.0, 9.0], error=[0.0, 0.0, 0.0, 1e6])
    x = bg.prior_predictive(data, 2, draws=300, random_seed=1)["prior_predictive"]["x"].values[0]
    assert np.abs(x[:, 3]).mean() > 1e5 > np.abs(x[:, :3]).mean()
    gaps = np.array([[1.0, 2.0], [np.nan, 3.0], [4.0, 1.0], [2.0, np.nan]])
    tree = bg.prior_predictive(gaps, 2, draws=5, random_seed=1, missing="at_random")
    assert tree["prior_predictive"]["x"].shape == (1, 5, 4, 2)
    again = bg.prior_predictive(gaps, 2, draws=5, random_seed=1, missing="at_random")
    np.testing.assert_array_equal(tree["prior_predictive"]["x"], again["prior_predictive"]["x"])


def test_loo_pit_on_the_tree(nuts_tree):
    """If the model fits, the LOO-PIT values of the observations are uniform."""
    loo_pit = az.loo_pit(nuts_tree)["x"].values
    assert stats.kstest(loo_pit, "uniform").pvalue > 1e-6
    az.plot_loo_pit(nuts_tree, backend="matplotlib")
    shifted = nuts_tree.copy()
    shifted["posterior_predictive"] = nuts_tree["posterior_predictive"].to_dataset() + 10
    assert stats.kstest(az.loo_pit(shifted)["x"].values, "uniform").pvalue < 1e-6


def test_posterior_predictive_follows_the_predictive_density(tree):
    replicated = bg.add_posterior_predictive(tree, random_seed=SEED)["posterior_predictive"]["x"]
    grid = np.linspace(-20, 40, 6_001)
    density = bg.predictive_density(tree, grid).sel(statistic="mean").values
    below = replicated.values.reshape(-1, replicated.sizes["obs"]) < 8  # draws are independent, their entries are not
    assert_mean(below.mean(axis=1), np.trapezoid(np.where(grid < 8, density, 0), grid), "P(x < 8)")
    again = bg.add_posterior_predictive(tree, random_seed=SEED)["posterior_predictive"]["x"]
    np.testing.assert_array_equal(again, replicated)


def test_memory_is_guarded_beforehand(tree, two_small, monkeypatch):
    with pytest.raises(MemoryError, match=r"4 x 6000000000000 steps of 2 components would take .* ask for fewer draws"):
        bg.fit(two_small, 2, draws=10**12)
    with pytest.raises(MemoryError, match=r"4 x \(600000000 \+ 6000\) steps .* ask for fewer draws or a smaller tune"):
        bg.fit(two_small, 2, tune=600_000_000)
    with pytest.raises(MemoryError, match=r"1000000000 starts of EM would take .* ask for a smaller n_init"):
        bg.fit_em(two_small, 2, n_init=10**9)
    monkeypatch.setattr(arguments.psutil, "virtual_memory", lambda: SimpleNamespace(available=1_200_000))
    for call in (bg.add_log_likelihood, bg.add_posterior_predictive):
        with pytest.raises(
            MemoryError, match=r"of 1000 draws x 400 observations would take 0.0 GB, more than .* keep fewer draws"
        ):
            call(tree)
    with pytest.raises(MemoryError, match="the group log_likelihood of 4000 draws x 400 observations"):
        bg.fit(two_small, 2, method="gibbs", log_likelihood=True)
    monkeypatch.undo()
    thinned = tree.isel(draw=slice(None, None, 10))  # the remedy that the message names
    assert bg.add_log_likelihood(thinned)["log_likelihood"]["x"].shape == (4, 25, 400)


def test_loo_agrees_with_leaving_out(tree):
    """``az.loo`` reads the group. Its elpd is lower than the in-sample log predictive density, by about p."""
    with_group = bg.add_log_likelihood(tree)
    values = with_group["log_likelihood"]["x"].values.reshape(-1, 400)
    in_sample = np.log(np.exp(values).mean(axis=0)).sum()
    loo = az.loo(with_group)
    assert loo.elpd < in_sample
    assert loo.p == pytest.approx(in_sample - loo.elpd, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": [1, np.nan]}, "grid must be finite, got 1 of 2 observations"),
        ({"grid": np.ones((2, 2))}, r"grid must have 1 feature\(s\) like the data, got 2"),
        ({"grid": [1.0], "interval": 1}, "interval must lie between 0 and 1"),
    ],
)
def test_bad_input_gets_a_sentence(tree, options, message):
    with pytest.raises(ValueError, match=message):
        bg.predictive_density(tree, **options)
