"""Features given others, against quotients of densities, quadrature, least squares, and samples."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import cumulative_trapezoid

import bayesgmm as bg
from bayesgmm import Mixture
from bayesgmm.analysis import densities
from bayesgmm.analysis.draws import read_draws
from bayesgmm.data.observations import Observations
from tests.statistics import SEED, Z, rng

NAMES = ["length", "width", "depth"]


def a_mixture(nu=None, offset=0):
    generator = rng(offset)
    roots = generator.normal(size=(3, 4, 6))
    return Mixture([0.2, 0.5, 0.3], 3 * generator.normal(size=(3, 4)), roots @ roots.swapaxes(1, 2), nu=nu)


@pytest.fixture(scope="module", params=["gaussian", "t"])
def tree(request):
    """Two clusters in three features, with 200 draws."""
    generator = rng(1)
    z = np.arange(150) % 3 == 0
    x = generator.normal(size=(150, 3)) @ np.array([[1, 0.8, 0], [0, 0.6, 0.5], [0, 0, 1]]) + np.where(z, 4, 0)[:, None]
    table = pd.DataFrame(x, columns=NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)  # any draws will do
        return bg.fit(
            table, 2, family=request.param, method="gibbs", draws=100, chains=2, random_seed=SEED, progressbar=False
        )


def mixtures(tree):
    draws = read_draws(tree)
    nu = [None] * len(draws.w) if draws.nu is None else draws.nu
    covariances = draws.factors @ draws.factors.swapaxes(-1, -2)
    return [
        Mixture(*each) if of_nu is None else Mixture(*each, nu=of_nu)
        for *each, of_nu in zip(draws.w, draws.mu, covariances, nu, strict=True)
    ]


@pytest.mark.parametrize("nu", [None, [1.5, 4.0, 30.0]], ids=["gaussian", "t"])
@pytest.mark.parametrize("known", [[0], [3, 1], [0, 1, 2]])
def test_a_conditional_is_the_joint_over_the_marginal(nu, known):
    mixture, others = a_mixture(nu), [j for j in range(4) if j not in known]
    x = 4 * rng(2).normal(size=(20, 4))
    for each in x:
        conditional = mixture.conditional(dict(zip(known, each[known], strict=True)))
        here = x.copy()
        here[:, known] = each[known]
        of_others = here[:, others[0]] if len(others) == 1 else here[:, others]
        wanted = mixture.log_density(here) - mixture.marginal(known).log_density(here[:1, known].reshape(1, -1))
        np.testing.assert_allclose(conditional.log_density(of_others), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("nu", [None, [3.0, 4.0, 30.0]], ids=["gaussian", "t"])
def test_a_marginal_is_the_distribution_of_some_columns(nu):
    mixture = a_mixture(nu)
    both, alone = mixture.sample(40_000, rng(3))[0][:, [2, 0]], mixture.marginal([2, 0]).sample(40_000, rng(4))[0]
    for name, of in {"a mean": np.mean, "a product": np.prod, "a difference": np.ptp}.items():
        p = stats.ks_2samp(of(both, axis=1), of(alone, axis=1)).pvalue
        assert p > 2 * stats.norm.sf(Z), f"{name}: p = {p:.1g}, seed {SEED}"
    assert mixture.marginal(1).n_features == 1
    assert Mixture([1.0], [[0, 1]], np.eye(2), noise=0.2).marginal([1]).noise == 0.2


def test_features_given_one_after_another_are_features_given_together():
    mixture = a_mixture([2.0, 5.0, 9.0])
    together = mixture.conditional({0: 1.0, 2: -2.0})
    in_turn = mixture.conditional({0: 1.0}).conditional({1: -2.0})  # feature 2 of all is feature 1 of the others
    for name in ("weights", "means", "covariances", "nu"):
        np.testing.assert_allclose(getattr(in_turn, name), getattr(together, name), rtol=1e-10)


def test_the_mean_is_that_of_the_draws_joint_over_marginal(tree):
    grid = np.linspace(-40, 40, 4_001)
    density = bg.conditional(tree, {"width": 1.0, "length": 2.0}, grid).sel(statistic="mean").values
    points = np.column_stack([np.full(len(grid), 2.0), np.ones(len(grid)), grid])
    joint = densities.log_density(read_draws(tree), Observations.made(points))
    known = np.array([each.marginal([0, 1]).log_density([[2.0, 1.0]]) for each in mixtures(tree)])
    np.testing.assert_allclose(density, np.exp(joint - known).mean(axis=0), rtol=1e-8, atol=1e-12)


def test_predictions_are_those_of_the_density_by_quadrature(tree):
    grid = np.sinh(np.linspace(-14, 14, 8_001))
    density = bg.conditional(tree, {"length": 3.0}, grid, of="depth").sel(statistic="mean").values
    cdf = cumulative_trapezoid(density, grid, initial=0)
    found = bg.predict(tree, {"length": 3.0}, of="depth", probabilities=[0.02, 0.5, 0.9]).isel(obs=0, feature=0)
    assert cdf[-1] == pytest.approx(1, abs=1e-5)
    assert found["mean"].item() == pytest.approx(np.trapezoid(density * grid, grid), abs=1e-3)
    np.testing.assert_allclose(np.interp(found["quantile"], grid, cdf), [0.02, 0.5, 0.9], atol=2e-5)
    if read_draws(tree).nu is None:
        variance = np.trapezoid(density * (grid - found["mean"].item()) ** 2, grid)
        assert found["sd"].item() == pytest.approx(np.sqrt(variance), rel=1e-5)


def test_the_band_is_that_of_the_draws(tree):
    each = [mixture.conditional({1: 2.5}) for mixture in mixtures(tree)]
    means = [(one.weights @ one.means)[0] for one in each]
    found = bg.predict(tree, {"width": 2.5}, of="length", probabilities=[0.1, 0.8])["quantile_of_mean"].values.ravel()
    np.testing.assert_allclose(found, np.quantile(means, [0.1, 0.8]), rtol=1e-8)
    there = np.exp([one.marginal(0).log_density([1.0])[0] for one in each])
    band = bg.conditional(tree, {"width": 2.5}, [1.0], of="length", interval=0.6)
    np.testing.assert_allclose(band.values.ravel(), [there.mean(), *np.quantile(there, [0.2, 0.8])], rtol=1e-8)


def test_each_row_is_predicted_from_what_is_known_of_it(tree):
    table = pd.DataFrame({"depth": [0.5, np.nan, 0.5, np.nan], "length": [1.0, 2.0, np.nan, np.nan]})
    together = bg.predict(tree, table)
    assert together["feature"].values.tolist() == ["width"]
    for i, given in enumerate(({"length": 1.0, "depth": 0.5}, {"length": 2.0}, {"depth": 0.5})):
        alone = bg.predict(tree, given, of="width").isel(obs=0)
        for name in together:
            np.testing.assert_allclose(together[name].isel(obs=i), alone[name], rtol=1e-9)
    whole = bg.predictive_quantiles(tree, [0.05, 0.5, 0.95], "width").sel(statistic="predictive")
    np.testing.assert_allclose(together["quantile"].isel(obs=3, feature=0), whole, rtol=1e-6)
    np.testing.assert_allclose(
        bg.predict(tree, {"length": [1.0, 2.0], "depth": 0.5}, of="width")["mean"][0], together["mean"][0]
    )


def test_no_rows_have_no_predictions(tree):
    found = bg.predict(tree, pd.DataFrame({"length": [], "width": []}, dtype=float))
    assert dict(found.sizes) == {"obs": 0, "feature": 1, "probability": 3}


def test_one_cluster_is_least_squares():
    generator = rng(5)
    x = generator.normal(size=(400, 2))
    y = 1 + x @ [2.0, -1.0] + 0.5 * generator.normal(size=400)
    tree = bg.fit(np.column_stack([x, y]), 1, method="gibbs", draws=250, random_seed=SEED, progressbar=False)
    design = np.column_stack([np.ones(400), x])
    slopes, (rest,), *_ = np.linalg.lstsq(design, y)
    at = np.array([[0.0, 0.0], [1.0, 1.0], [-2.0, 0.5], [20.0, -30.0]])  # the last is far from all data
    rows = np.column_stack([np.ones(len(at)), at])
    found = bg.predict(tree, {0: at[:, 0], 1: at[:, 1]}, of=2)
    error = np.sqrt(rest / 397 * (rows @ np.linalg.inv(design.T @ design) * rows).sum(axis=1))
    np.testing.assert_allclose(found["mean"].values[:, 0], slopes[0] + at @ slopes[1:], atol=0.3 * error.max())
    np.testing.assert_allclose(found["sd"].values[:, 0], np.hypot(np.sqrt(rest / 397), error), rtol=0.05)
    width = np.diff(found["quantile_of_mean"].values[[0, 2], :, 0], axis=0)[0]
    np.testing.assert_allclose(width, 2 * 1.645 * error, rtol=0.2)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (
            {"height": 1.0},
            {},
            "given must name some of the features 'length', 'width', 'depth', each of them once, got 'height'",
        ),
        ({}, {}, "given must name some of the features .* got none"),
        ({"length": np.inf}, {}, "given must be finite, got an infinity; replace what is not known by NaN"),
        ({"length": 1e200}, {}, "given must lie nearer to the data"),
        ({"length": [1.0, 2.0], "width": [1.0]}, {}, r"given must hold arrays of the same length, got \[1, 2\]"),
        ({"length": [[1.0]]}, {}, "given must map names of features to numbers or arrays"),
        (dict.fromkeys(NAMES, 1.0), {}, "given must leave at least one feature to be predicted"),
        ([1.0, 2.0], {}, "given must be a mapping or a table with named columns, got 1 dimension"),
        ({"length": 1.0}, {"of": "length"}, r"of must name features that are not given \('width', 'depth'\)"),
        ({"length": 1.0}, {"of": 2.5}, "of must name features that are not given .* got 2.5"),
        ({"length": 1.0}, {"of": []}, "of must name features that are not given .* got none"),
        ({"length": 1.0}, {"probabilities": [1.0]}, "probabilities must lie between 0 and 1"),
    ],
)
def test_bad_arguments_get_a_sentence(tree, given, options, message):
    with pytest.raises(ValueError, match=message):
        bg.predict(tree, given, **options)


def test_arguments_of_the_wrong_type_get_a_sentence(tree):
    for given in (None, "length", 3.0):
        with pytest.raises(TypeError, match="given must be a mapping or a table with named columns, got "):
            bg.predict(tree, given)
    with pytest.raises(TypeError, match=r"of must name features, got \[\['depth'\]\]"):
        bg.predict(tree, {"length": 1.0}, of=[["depth"]])
    for probabilities in ("a", [[0.1], [0.2]]):
        with pytest.raises(TypeError, match="probabilities must be numbers between 0 and 1"):
            bg.predict(tree, {"length": 1.0}, probabilities=probabilities)


def test_extreme_quantiles_are_numbers(tree):
    found = bg.predict(tree, {"length": 1.0}, of="width", probabilities=[1e-300, 1e-9, 0.5, 1 - 1e-15])["quantile"].values
    assert (np.diff(found, axis=0) > 0).all()


def test_bad_arguments_of_a_density_get_a_sentence(tree):
    with pytest.raises(ValueError, match="given must hold one finite value for each feature, got 2 rows; use predict"):
        bg.conditional(tree, {"length": [1.0, 2.0], "width": 1.0})
    with pytest.raises(ValueError, match="given must hold one finite value for each feature, got NaN; leave out what is"):
        bg.conditional(tree, {"length": np.nan}, of="width")
    with pytest.raises(ValueError, match="of must name one of the features that are not given: 'width', 'depth'"):
        bg.conditional(tree, {"length": 1.0})
    with pytest.raises(TypeError, match=r"given\['length'\] must hold numbers"):
        bg.conditional(tree, {"length": "long"}, of="width")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.conditional({4: 1.0}), "given must name features by their positions, from 0 to 3, got 4"),
        (lambda m: m.conditional({}), "given must hold some, but not all, of the 4"),
        (lambda m: m.conditional(dict.fromkeys(range(4), 0.0)), "given must hold some, but not all, of the 4"),
        (lambda m: m.conditional({0: np.nan}), "given must hold one finite value for each feature"),
        (lambda m: m.conditional({0: 1e200}), "given must lie nearer to the means"),
        (lambda m: m.marginal([1, 1]), "features must name at least one feature, each of them once"),
        (lambda m: m.marginal([]), "features must name at least one feature"),
        (lambda m: m.marginal(None), "features must name features by their positions, from 0 to 3, got None"),
        (lambda m: m.marginal(1.0), "features must name features by their positions, from 0 to 3, got 1.0"),
        (lambda m: m.marginal(True), "features must name features by their positions, from 0 to 3, got True"),
        (lambda m: m.marginal("length"), "features must name features by their positions, from 0 to 3, got 'l'"),
    ],
)
def test_bad_arguments_of_a_mixture_get_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(a_mixture())
    with pytest.raises(TypeError, match="given must map positions of features to values, got list"):
        a_mixture().conditional([1.0])
