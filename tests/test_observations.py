"""Rows with missing values or measurement errors: laws at every entry point that takes data."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import integrate, stats

import bayesgmm as bg
from bayesgmm.analysis.impropriety import look_at
from bayesgmm.analysis.reading import Reading
from bayesgmm.data.known import Known
from bayesgmm.data.observations import Observations
from bayesgmm.posterior import LogPosterior, standardised_posterior
from tests.families import COVARIANCES, OF_SKLEARN, prior_of
from tests.oracles.incomplete import extreme_deconvolution, row_by_row, textbook_em
from tests.rows import (
    assert_as_stated_by_pymc,
    assert_evidence_is_an_integral,
    assert_nuts_and_gibbs_agree,
    assert_p_k_is_that_of_evidence,
    rows,
)
from tests.statistics import rng

pytestmark = [
    pytest.mark.filterwarnings("ignore:the chains have not converged"),
    pytest.mark.filterwarnings("ignore:too few effective draws"),
    pytest.mark.filterwarnings("ignore:fewer than 100 effective draws"),
    pytest.mark.filterwarnings(r"ignore:\d+ divergent transitions"),  # where errors leave room for a variance near zero
]

# (kind, number of features)
KINDS = [("errors", 1), ("gaps", 3), ("errors", 3), ("covariances", 3), ("gaps and errors", 3), ("gaps and covariances", 3)]
SEVERAL = [kind for kind, d in KINDS if d > 1]


def seen(kind, d, **others):
    x, error = rows(kind, d, **others)
    return Observations(x, error=error, missing="at_random")


def a_mixture(k, d, generator, *, diagonal=False):
    factors = np.tril(generator.normal(size=(k, d, d)) / 2)
    factors[:, range(d), range(d)] = np.exp(generator.normal(size=(k, d)) / 2)
    if diagonal:
        factors = np.diagonal(factors, axis1=1, axis2=2)
    return generator.dirichlet(np.ones(k)), generator.normal(0, 2, (k, d)), factors


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(("kind", "d"), KINDS)
def test_sums_and_densities_are_those_row_by_row(kind, d, diagonal):
    x, error = rows(kind, d)
    generator = rng(3)
    weights, means, factors = a_mixture(3, d, generator, diagonal=diagonal)
    counts, labels = generator.uniform(0.1, 3, len(x)), generator.integers(-1, 3, len(x))
    observed = Observations(x, error=error, missing="at_random", weight=counts, labels=labels)
    roots = factors[..., None] * np.eye(d) if diagonal else factors
    joint, mean, cov = row_by_row(x, error, weights, means, roots @ roots.swapaxes(1, 2))
    joint = np.where((labels[:, None] == np.arange(3)) | (labels[:, None] < 0), joint, -np.inf)
    log_density = np.logaddexp.reduce(joint, axis=1)
    r = np.exp(joint - log_density[:, None])
    np.testing.assert_allclose(observed.log_density(weights, means, factors), log_density, rtol=1e-11)
    many = observed.log_density(weights[None], means[None], factors[None])
    np.testing.assert_allclose(many[0], log_density, rtol=1e-11)
    np.testing.assert_allclose(observed.responsibilities(weights, means, factors), r, atol=1e-12)
    got = observed.sums(weights, means, factors)
    r *= counts[:, None]
    second = np.einsum("ik,ikd,ike->kde", r, mean, mean) + np.einsum("ik,ikde->kde", r, cov)
    wanted = counts @ log_density, r.sum(axis=0), np.einsum("ik,ikd->kd", r, mean)
    for mine, exact in zip(got[:3], wanted, strict=True):
        np.testing.assert_allclose(mine, exact, rtol=1e-10, atol=1e-10)
    second = np.diagonal(second, axis1=1, axis2=2) if diagonal else second
    np.testing.assert_allclose(got.second, second, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("largest", [1.0, 1e3, 1e9])
@pytest.mark.parametrize("k", [1, 2])
def test_one_and_two_components_have_sums_of_their_own(k, largest):
    """Sums without weights equal those with unit weights, also far from all components and with huge errors."""
    generator = rng(k)
    x, error = 3 * generator.normal(size=(150, 1)), largest * generator.uniform(size=(150, 1))
    x[20], x[80] = 1e6, -1e160
    mixture = a_mixture(k, 1, generator)
    found = Observations(x, error=error).sums(*mixture)
    wanted = Observations(x, error=error, weight=np.ones(150)).sums(*mixture)
    for mine, exact in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, exact, rtol=1e-11)


def test_the_density_of_a_measurement_is_an_integral_over_the_value():
    x, error = np.array([-1.0, 0.3, 4.0]), np.array([0.5, 2.0, 1.0])
    mixture = bg.Mixture([0.3, 0.7], [0.0, 2.0], sigma=[1.0, 0.4])
    for value, sd, found in zip(x, error, mixture.log_density(Observations(x, error=error)), strict=True):
        density = lambda xi: np.exp(mixture.log_density([xi])[0]) * stats.norm.pdf(value, xi, sd)  # noqa: B023, E731
        integral = integrate.quad(density, -10, 10, points=[0, 2, value], epsabs=1e-13)[0]
        assert found == pytest.approx(np.log(integral), abs=1e-10)


@pytest.mark.parametrize("size", [0.0, 1e-200, 1e-3, 1e20, 1e49])
def test_errors_of_any_size_and_points_out_of_reach(size):
    """With a narrow and a wide component, log densities equal scipy's wherever the points lie."""
    x = np.array([-1e3, 0.0, 1.0, 50.0, 1e4])
    weights, means, sigma = np.array([0.4, 0.6]), np.array([[0.0], [50.0]]), np.array([[1e-6], [1e3]])
    found = Observations(x, error=np.full(5, size)).log_density(weights, means, sigma)
    with np.errstate(divide="ignore"):
        joint = np.log(weights) + stats.norm.logpdf(x[:, None], means[:, 0], np.hypot(sigma[:, 0], size))
    np.testing.assert_allclose(found, np.logaddexp.reduce(joint, axis=1), rtol=1e-11)


QUICK = [("errors", 1, "full"), ("gaps", 3, "diag"), ("gaps and covariances", 3, "full")]
OF_PYMC = [
    pytest.param(kind, d, covariance, marks=() if (kind, d, covariance) in QUICK else pytest.mark.slow)
    for kind, d in KINDS
    for covariance in (COVARIANCES if kind in ("gaps", "errors") else OF_SKLEARN)  # the others are made of the same parts
]


@pytest.mark.parametrize(("kind", "d", "covariance"), OF_PYMC)
def test_density_and_gradient_are_those_of_the_pymc_model(kind, d, covariance):
    observed = seen(kind, d, n=12)
    assert_as_stated_by_pymc(observed, covariance)


OF_EM = [
    pytest.param(kind, d, covariance, marks=pytest.mark.slow if kind == "gaps and errors" else ())
    for kind, d in KINDS
    for covariance in COVARIANCES
]


@pytest.mark.parametrize(("kind", "d", "covariance"), OF_EM)
def test_em_never_decreases_and_moves_with_the_data(kind, d, covariance):
    x, error = rows(kind, d, n=60)
    shift, scale = np.arange(1, d + 1) * 100.0, np.full(d, 7.0) if covariance.endswith("spherical") else 10.0 ** np.arange(d)
    moved = None if error is None else error * (scale if error.ndim == 2 else np.outer(scale, scale))
    settings = {"covariance": covariance, "random_seed": 1, "tol": 1e-12, "max_iter": 20_000}
    one = bg.fit_em(Observations(x, error=error, missing="at_random"), 2, **settings)
    other = bg.fit_em(Observations(shift + scale * x, error=moved, missing="at_random"), 2, **settings)
    assert (np.diff(one.history) >= -1e-9 * abs(one.log_likelihood)).all()
    moved_back = other.mixture.rescaled(-shift / scale, 1 / scale)
    np.testing.assert_allclose(moved_back.mu, one.mixture.mu, atol=1e-3)
    np.testing.assert_allclose(moved_back.sd, one.mixture.sd, rtol=1e-3)
    volume = (~np.isnan(x)).sum(axis=0) @ np.log(scale)
    assert other.log_likelihood == pytest.approx(one.log_likelihood - volume, abs=1e-6)


def started(d):
    spread = np.broadcast_to(np.eye(d) * 2.0, (2, d, d))
    return np.array([0.5, 0.5]), np.array([[-1.0] * d, [1.0] * d]), spread


def assert_same_steps(observed, found, steps):
    """The same number of plain EM iterations from the same start gives the same mixture."""
    start = bg.Mixture(*started(observed.n_features))
    with pytest.warns(bg.exceptions.ConvergenceWarning, match="did not converge in 20 iterations"):
        em = bg.fit_em(observed, 2, start=start, tol=1e-15, max_iter=steps)
    for mine, wanted in zip((em.mixture.weights, em.mixture.mu, em.mixture.cov), found, strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("plain_em")
def test_em_with_gaps_is_the_textbook_algorithm():
    x, _ = rows("gaps", 3, n=80)
    assert_same_steps(Observations(x, missing="at_random"), textbook_em(x, *started(3), 20), 20)


@pytest.mark.usefixtures("plain_em")
@pytest.mark.parametrize(("kind", "d"), [("errors", 1), ("gaps and covariances", 3)])
def test_em_with_errors_is_extreme_deconvolution(kind, d):
    x, error = rows(kind, d, n=80)
    observed = Observations(x, error=error, missing="at_random")
    assert_same_steps(observed, extreme_deconvolution(x, error, *started(d), 20), 20)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("d", [1, 3])
def test_zero_errors_are_none(covariance, d):
    x, _ = rows("exact", d)
    one = standardised_posterior(Observations(x), 2, bg.HierarchicalPrior().scaled_to(x, covariance), covariance)[0]
    zeros = [np.zeros_like(x), np.zeros((len(x), d, d))]
    for error in zeros:
        other = LogPosterior(Observations.made(one.standardised.x, Known(error=error)), 2, one.prior, covariance)
        point = rng(1).normal(size=one.n_dim)
        assert other(point)[0] == pytest.approx(one(point)[0], rel=1e-12)
        np.testing.assert_allclose(other(point)[1], one(point)[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_missing_value_is_one_with_an_infinite_error(diagonal):
    x, _ = rows("gaps", 3)
    gaps = np.isnan(x)
    weights, means, factors = a_mixture(2, 3, rng(2), diagonal=diagonal)
    missing = Observations(x, missing="at_random").sums(weights, means, factors)
    far = Observations(np.where(gaps, 0.0, x), error=np.where(gaps, 1e7, 0.0)).sums(weights, means, factors)
    assert far.log_likelihood + gaps.sum() * np.log(1e7 * np.sqrt(2 * np.pi)) == pytest.approx(
        missing.log_likelihood, abs=1e-6
    )
    for one, other in zip(far[1:], missing[1:], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("kind", "d"), KINDS)
def test_weights_count_and_the_order_does_not_matter(kind, d):
    x, error = rows(kind, d)
    counts, generator = rng(1).integers(1, 4, len(x)), rng(2)
    labels, order = generator.integers(-1, 2, len(x)), generator.permutation(len(x))

    def of(places, weight=None):
        known = None if error is None else error[places]
        return Observations(x[places], error=known, missing="at_random", weight=weight, labels=labels[places])

    one = LogPosterior(of(order, counts[order]), 2, prior_of("conjugate, all given", "full", d), "full")
    other = LogPosterior(of(np.repeat(np.arange(len(x)), counts)), 2, one.prior, "full")
    point = generator.normal(size=one.n_dim)
    assert one(point)[0] == pytest.approx(other(point)[0], rel=1e-11)
    np.testing.assert_allclose(one(point)[1], other(point)[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "d"), KINDS)
def test_rows_behind_have_their_mean_and_variance(kind, d):
    observed = seen(kind, d, n=6)
    weights, means, factors = a_mixture(2, d, rng(4))
    joint, mean, cov = row_by_row(observed.x, observed.known.error, weights, means, factors @ factors.swapaxes(1, 2))
    r = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
    expected = np.einsum("ik,ikd->id", r, means + mean)
    squares = np.einsum("ik,ikde->ide", r, cov) + np.einsum("ik,ikd,ike->ide", r, means + mean, means + mean)
    drawn = np.array(
        [observed.completed((weights, means, factors), generator) for generator in [rng(6)] for _ in range(4_000)]
    )
    products = drawn[..., :, None] * drawn[..., None, :]
    for values, wanted in ((drawn, expected), (products, squares)):
        error = values.std(axis=0) / np.sqrt(len(values))
        assert (abs(values.mean(axis=0) - wanted) < 5 * error + 1e-9).all()


@pytest.mark.parametrize(("kind", "d"), [("errors", 1), ("gaps and errors", 3)])
def test_a_tree_holds_what_is_known(kind, d, tmp_path):
    observed = seen(kind, d)
    tree = bg.fit(observed, 1, method="gibbs", draws=20, tune=20, thin=1, chains=2, random_seed=1, progressbar=False)
    tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")

    read = Reading.of(xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf").load()).observations
    np.testing.assert_array_equal(read.x, observed.x)
    assert read.known.equals(observed.known)
    again = pickle.loads(pickle.dumps(observed))
    parameters = a_mixture(2, d, rng(1))
    np.testing.assert_array_equal(again.log_density(*parameters), observed.log_density(*parameters))


@pytest.mark.parametrize("missing", ["raise", "drop", "at_random"])
def test_a_tree_says_what_was_done_with_missing_values(missing):
    x = np.array([[1.0, 2.0], [2.0, 5.0], [3.0, 1.0], [5.0, 4.0], [4.0, 1.0], [2.0, 3.0 if missing == "raise" else np.nan]])
    settings = {"method": "advi", "max_iter": 10, "draws": 5, "chains": 1, "random_seed": 1, "progressbar": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for given in ({"x": x, "missing": missing}, {"x": Observations(x, missing=missing)}):
            tree = bg.fit(k=1, **given, **settings)
            assert tree.attrs["missing"] == missing
            assert tree["observed_data"].sizes["obs"] == (5 if missing == "drop" else 6)


def test_a_table_with_gaps_makes_observations():
    table = pd.DataFrame({"a": [1.0, None, 3.0, 2.0, 5.0], "b": [1.0, 2.0, None, 4.0, 3.0]})
    em = bg.fit_em(table, 1, missing="at_random", random_seed=0)
    assert em.n_observations == 5
    with pytest.warns(bg.exceptions.DataWarning, match="1 of 5 observations with NaN .at positions 1. are left out"):
        assert bg.fit_em(table["a"], 1, missing="at_random").n_observations == 4
    assert repr(Observations(table, missing="at_random")) == "Observations(n = 5, 2 features, 2 values missing)"


WRONG = [
    ({"x": [1.0, 2.0], "error": [1.0]}, r"error must be standard deviations of shape \(2,\) like x, got shape \(1,\)"),
    (
        {"x": [1.0, 2.0], "error": [1.0, -1.0]},
        "error must hold finite, non-negative standard deviations for all known values.*in row 1",
    ),
    ({"x": [1.0, 2.0], "error": [np.nan, 1.0]}, "error must hold finite, non-negative standard deviations.*in row 0"),
    ({"x": [1.0, 2.0], "error": [np.inf, 1.0]}, "error must hold finite, non-negative standard deviations.*in row 0"),
    ({"x": [[1.0, 2.0]] * 2, "error": [1.0, 1.0]}, r"shape \(2, 2\), or covariances \(2, 2, 2\) like x, got shape \(2,\)"),
    ({"x": [[1.0, 2.0]], "error": [[[1.0, 2.0], [2.0, 1.0]]]}, "error must hold symmetric covariances without a neg"),
    ({"x": [[1.0, 2.0]], "error": [[[1.0, 0.5], [0.2, 1.0]]]}, "error must hold symmetric covariances"),
    ({"x": [[1.0, np.nan]]}, r"x must be finite, got 1 of 1 observations with NaN or infinity"),
    ({"x": [[1.0, np.inf]], "missing": "at_random"}, "x must be finite, got 1 of 1 observations with infinity"),
    (
        {"x": [[1.0, 2.0], [np.nan, np.nan]], "missing": "at_random"},
        r"x must have a value in every row.*\(at positions 1\)",
    ),
    ({"x": [1.0], "missing": "maybe"}, "missing must be one of"),
    ({"x": [1.0, 2.0], "weight": [1.0]}, "weight must hold one weight for each observation"),
]


@pytest.mark.parametrize(("given", "sentence"), WRONG, ids=[sentence[:40] for _, sentence in WRONG])
def test_bad_input_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        Observations(**given)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="column 1 of x must hold some value, got only NaN; leave it out"):
        bg.fit_em(Observations([[1.0, np.nan], [2.0, np.nan]], missing="at_random"), 1)
    observed = Observations([1.0, 2.0, 4.0], weight=[1.0, 2.0, 1.0])
    with pytest.raises(ValueError, match="sample_weight must not be given beside Observations"):
        bg.fit_em(observed, 1, sample_weight=[1, 1, 1])
    with pytest.raises(ValueError, match="missing must not be given beside Observations"):
        bg.fit_em(observed, 1, missing="drop")
    with pytest.raises(ValueError, match="labels cannot be given to posterior_k"):
        bg.posterior_k(Observations([1.0, 2.0, 4.0], labels=[0, 0, -1]))
    with pytest.raises(ValueError, match="labels must be below k = 1, got 1"):
        bg.Mixture([1.0], [0.0], sigma=[1.0]).log_density(Observations([1.0, 2.0], labels=[0, 1]))
    with pytest.raises(ValueError, match="error must not be given beside Observations"):
        Observations(observed, error=[1.0, 1.0, 1.0])
    with pytest.raises(
        ValueError, match=r"error must be at most 1e[+]50 times the range of its feature, got a larger one in row 1"
    ):
        bg.fit_em(Observations([1.0, 2.0, 4.0], error=[1.0, 1e60, 1.0]), 1)


def test_a_model_of_ones_own_takes_plain_rows():
    import pymc as pm

    with pm.Model() as model:
        w, mu = pm.Dirichlet("w", np.ones(2), shape=2), pm.Normal("mu", 0, 3, shape=2)
        pm.NormalMixture("x", w=w, mu=mu, sigma=pm.HalfNormal("sigma", 1, shape=2), observed=[1.0, 2.0, 4.0])
    for known in ({"error": np.ones(3)}, {"weight": [1, 2, 1]}, {"labels": [0, 1, -1]}):
        with pytest.raises(
            ValueError, match="x must be exact, complete rows without weights, labels and noise beside model"
        ):
            bg.fit(Observations([1.0, 2.0, 4.0], **known), 2, model=model)


def test_values_are_spread_before_more_is_known_of_them():
    with pytest.raises(TypeError, match="x must be values, got Observations; pass values"):
        bg.jitter(Observations([1.0, 1.0, 2.0]))


@pytest.mark.parametrize(("kind", "d"), [("errors", 2), ("covariances", 2)])
def test_replicated_data_are_measured_with_the_errors(kind, d):
    observed, generator = seen(kind, d, n=5), rng(1)
    drawn = np.array([observed.measured(np.zeros((5, d)), generator) for _ in range(20_000)])
    error = observed.known.error if observed.known.error.ndim == 3 else observed.known.error[:, :, None] ** 2 * np.eye(d)
    products = drawn[..., :, None] * drawn[..., None, :]
    assert (abs(products.mean(axis=0) - error) < 5 * products.std(axis=0) / np.sqrt(20_000) + 1e-9).all()


def test_ties_among_values_with_errors_are_no_fault():
    x = np.repeat([1.0, 2.0, 3.0, 7.0], 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bg.build_model(Observations(x, error=np.full(80, 0.1)), 2)
    prior = bg.HierarchicalPrior().scaled_to(x)
    assert look_at(Observations(x), [2], prior, "full")[2].improper is not None
    assert look_at(Observations(x, error=np.full(80, 0.1)), [2], prior, "full")[2].improper is None


@pytest.mark.slow
@pytest.mark.parametrize("covariance", ["full", "diag"])
@pytest.mark.parametrize(("kind", "d"), [("errors", 1), ("gaps", 3), ("gaps and errors", 3), ("gaps and covariances", 2)])
def test_nuts_and_gibbs_agree(kind, d, covariance):
    assert_nuts_and_gibbs_agree(seen(kind, d, n=60), covariance)


@pytest.mark.slow
def test_evidence_of_one_component_is_an_integral():
    x, error = rows("errors", 1, n=15)

    def log_likelihood(mu, sd):
        return sum(
            stats.norm.logpdf(value, mu, np.hypot(sd, each)) for value, each in zip(x[:, 0], error[:, 0], strict=True)
        )

    assert_evidence_is_an_integral(Observations(x, error=error), log_likelihood)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "d"), [("errors", 1), ("gaps", 2)])
def test_the_number_of_components_agrees_with_evidence(kind, d):
    """The data are a single cluster, for which one, two and three components are all plausible."""
    x, error = rows(kind, d, n=30)
    x = x - 4.0 * (x > 0)
    observed = Observations(x, error=error, missing="at_random")
    assert_p_k_is_that_of_evidence(observed)


def test_what_is_imputed_moves_with_the_data():
    """Data far from zero, or in units whose fourth powers underflow, lose no digits beyond those of the values."""
    x = np.array([[0.0, 1.0], [1.0, np.nan], [3.0, 2.0], [2.0, 5.0], [5.0, 4.0], [np.nan, 3.0]])
    settings = {"method": "gibbs", "draws": 20, "tune": 20, "thin": 1, "chains": 1, "random_seed": 1, "progressbar": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, *others = (
            bg.impute(bg.fit(shift + scale * x, 1, missing="at_random", **settings))
            for shift, scale in ((0.0, 1.0), (2.0**30, 1.0), (0.0, 2.0**-450))
        )
    assert (one["sd"].values[np.isnan(x)] > 0.5).all()
    for (shift, scale), other in zip(((2.0**30, 1.0), (0.0, 2.0**-450)), others, strict=True):
        np.testing.assert_allclose(other["sd"] / scale, one["sd"], rtol=1e-5)
        np.testing.assert_allclose((other["mean"] - shift) / scale, one["mean"], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_imputed_values_are_those_that_were_lost():
    """Standardised by the imputed means and sds, the hidden values have mean zero and variance one."""
    x, _ = rows("exact", 3, n=400)
    gaps = rng(1).uniform(size=x.shape) < 0.15
    gaps[gaps.all(axis=1), 0] = False
    seen_of_x = Observations(np.where(gaps, np.nan, x), missing="at_random")
    tree = bg.fit(seen_of_x, 2, random_seed=1, progressbar=False)
    found = bg.impute(tree, draws=400, random_seed=1)
    mean, sd = found["mean"].values, found["sd"].values
    np.testing.assert_array_equal(mean[~gaps], x[~gaps])
    assert (sd[~gaps] == 0).all()
    assert (sd[gaps] > 0).all()
    z = (x - mean)[gaps] / sd[gaps]
    assert abs(z.mean()) < 5 / np.sqrt(len(z))
    assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / len(z))
    drawn = found["draws"].values
    assert (abs(drawn.mean(axis=0) - mean)[gaps] < 6 * sd[gaps] / 20).all()
    again = bg.impute(tree, seen_of_x)  # for new observations, draws are weighted by their density at each
    np.testing.assert_allclose(again["mean"].values[gaps], mean[gaps], atol=0.3)


WRONG_ERRORS = [
    ([1.0, 2.0], r"observed must be one error for all points: a number, got shape \(2,\)"),
    (-1.0, "observed must hold"),
]


def test_the_predictive_density_of_measurements_is_wider(good):
    grid = np.linspace(-40, 60, 2_001)
    values, measured = (bg.predictive_density(good, grid, observed=sd).sel(statistic="mean") for sd in (None, 2.0))
    for each in (values, measured):
        assert float(each.sum()) * 0.05 == pytest.approx(1, abs=1e-3)
    kernel = stats.norm.pdf(np.arange(-400, 401) * 0.05, 0, 2.0) * 0.05
    np.testing.assert_allclose(np.convolve(values, kernel, "same"), measured, atol=1e-6)
    for wrong, sentence in WRONG_ERRORS:
        with pytest.raises(ValueError, match=sentence):
            bg.predictive_density(good, grid, observed=wrong)
