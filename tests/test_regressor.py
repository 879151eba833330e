"""The regressor against scikit-learn's checks, and against the functions that its answers come from."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import bayesgmm as bg
from tests.conftest import as_judged
from tests.statistics import SEED, Z, assert_counts, rng

SMALL = {"method": "gibbs", "draws": 50, "tune": 100, "chains": 2, "n_init": 2, "random_state": SEED}
_NOT_OURS = {"check_sample_weight_equivalence_on_dense_data": "fewer repeated rows than features"}


SHORT = SMALL | {"draws": 20, "fit_options": {"thin": 1}}
_COLLINEAR = "its y is a linear combination of X, for which full covariances are refused"
_WITH_FULL = _NOT_OURS | {
    "check_sample_weights_shape": _COLLINEAR,
    "check_sample_weights_not_overwritten": _COLLINEAR,
    "check_regressors_no_decision_function": _COLLINEAR,
    "check_regressor_multioutput": "with fewer rows than features full covariances are refused",
}


@pytest.mark.slow
@parametrize_with_checks(
    [
        bg.BayesianGMMRegressor(2, **SHORT),
        bg.BayesianGMMRegressor(2, covariance_type="diag", prior=bg.ConjugatePrior(), rounding=None, **SHORT),
    ],
    expected_failed_checks=lambda each: _WITH_FULL if each.covariance_type == "full" else _NOT_OURS,
)
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # 20 draws of noise
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning")
@pytest.mark.filterwarnings("ignore:.* rounded:bayesgmm.exceptions.DataWarning")  # iris, and integers
def test_scikit_learn_takes_it_for_a_regressor(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def curve():
    """A parabola whose noise grows with x."""
    generator = rng(1)
    x = generator.uniform(-2, 2, 300)
    return x[:, None], x**2 + (0.1 + 0.1 * (x + 2)) * generator.normal(size=300)


@pytest.fixture(scope="module")
def model(curve):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)  # of the components, not of the curve
        return bg.BayesianGMMRegressor(4, **SMALL | {"draws": 500, "tune": 300}).fit(*curve)


def test_answers_are_those_of_predict(model):
    at = np.array([[-1.5], [0.0], [1.0]])
    found = bg.predict(model.posterior_, {0: at[:, 0]}, of=1, probabilities=[0.1, 0.9])
    mean, sd = model.predict(at, return_std=True)
    np.testing.assert_array_equal(mean, found["mean"].values[:, 0])
    np.testing.assert_array_equal(sd, found["sd"].values[:, 0])
    np.testing.assert_array_equal(model.predict_quantiles(at, [0.1, 0.9]), found["quantile"].values[:, :, 0].T)


def test_the_truth_is_found():
    truth = bg.Mixture([0.4, 0.6], [[-1, 0], [2, 3]], [[[1, 0.8], [0.8, 1]], [[1, -1.2], [-1.2, 4]]])
    x, _ = truth.sample(2_000, rng(2))
    model = bg.BayesianGMMRegressor(2, **SMALL | {"draws": 500}).fit(x[:, :1], x[:, 1])
    at = np.linspace(-2.5, 3.5, 13)
    found = bg.predict(model.posterior_, {0: at}, of=1, probabilities=stats.norm.cdf([-1, 1])).isel(feature=0)
    error = np.diff(found["quantile_of_mean"].values, axis=0)[0] / 2
    each = [truth.conditional({0: value}) for value in at]
    true_mean = np.array([one.weights @ one.means for one in each])
    true_sd = np.sqrt([one.weights @ (one.covariances + one.means**2) for one in each] - true_mean**2)
    assert (abs(found["mean"].values - true_mean) < Z * error).all()
    assert (error < 0.2).all()
    np.testing.assert_allclose(found["sd"], true_sd, rtol=0.12)
    fresh, _ = truth.sample(2_000, rng(3))
    low, high = model.predict_quantiles(fresh[:, :1], [0.05, 0.95]).T
    inside = ((fresh[:, 1] > low) & (fresh[:, 1] < high)).sum()
    assert_counts([inside, 2_000 - inside], [0.9, 0.1])


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_names_and_several_targets_are_kept(curve):
    x, y = curve
    table = pd.DataFrame({"x": x[:, 0], "other": rng(3).normal(size=300)})
    targets = pd.DataFrame({"y": y, "z": 2 * y + rng(4).normal(size=300)})
    model = bg.BayesianGMMRegressor(2, **SMALL).fit(table, targets)
    assert model.posterior_["posterior"]["feature"].values.tolist() == ["x", "other", "y", "z"]
    assert model.predict(table[:5]).shape == (5, 2)
    assert model.predict_quantiles(table[:5]).shape == (5, 3, 2)
    assert model.score(table, targets) > 0.3
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[["other", "x"]])
    alone = bg.BayesianGMMRegressor(2, **SMALL).fit(table, y)
    assert alone.posterior_["posterior"]["feature"].values.tolist() == ["x", "other", "y"]
    assert alone.predict(table[:5]).shape == (5,)


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_a_target_with_the_name_of_a_feature_is_told_apart(curve):
    x, y = curve
    model = bg.BayesianGMMRegressor(2, **SMALL).fit(pd.DataFrame({"y": x[:, 0]}), y)
    assert model.posterior_["posterior"]["feature"].values.tolist() == ["y", "target y"]
    targets = pd.DataFrame(np.column_stack([y, y + rng(6).normal(size=300)]), columns=["q", "q"])
    model = bg.BayesianGMMRegressor(2, **SMALL).fit(pd.DataFrame({"target q": x[:, 0]}), targets)
    assert model.posterior_["posterior"]["feature"].values.tolist() == ["target q", "q", "target target q"]


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_it_works_in_a_search(curve):
    scores = cross_val_score(bg.BayesianGMMRegressor(3, **SMALL), *curve, cv=3)
    assert scores.min() > 0.7


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.InterruptedWarning")
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_an_interrupt_leaves_the_draws(curve, monkeypatch):
    whole = bg.fit

    def interrupted(x, k, **options):
        tree = whole(x, k, **options)
        tree.attrs["interrupted"] = 1
        return tree

    monkeypatch.setattr("bayesgmm.estimators.mixture.judged_fit", as_judged(interrupted))
    model = bg.BayesianGMMRegressor(2, **SMALL)
    with pytest.raises(KeyboardInterrupt, match="the draws made by then are kept"):
        model.fit(*curve)
    assert np.isfinite(model.predict(curve[0])).all()


def test_bad_input_gets_a_sentence(curve):
    x, y = curve
    with pytest.raises(AttributeError, match="posterior_ is there after fit"):
        _ = bg.BayesianGMMRegressor(2).posterior_
    with pytest.raises(TypeError, match="y must hold numbers, got elements of type <U1"):
        bg.BayesianGMMRegressor(2, **SMALL).fit(x, np.full(300, "a"))
    with pytest.raises(ValueError, match="fit_options may hold"):
        bg.BayesianGMMRegressor(2, fit_options={"colour": 1}).fit(x, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        bg.BayesianGMMRegressor(2, **SMALL).fit(x, y[:-1])
