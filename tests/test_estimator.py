"""The estimator against scikit-learn's checks, and against the functions that its answers come from."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import bayesgmm as bg
from bayesgmm.analysis import densities
from bayesgmm.analysis.draws import read_draws
from bayesgmm.data.observations import Observations
from tests.conftest import as_judged
from tests.families import COVARIANCES, OF_SKLEARN
from tests.statistics import SEED, assert_mean

SMALL = {"draws": 50, "tune": 100, "chains": 2, "n_init": 2, "random_state": SEED}


SHORT = SMALL | {"draws": 20, "fit_options": {"thin": 1}}


# the repeated rows of this check are fewer than its 30 features; and draws for weighted and for repeated rows agree only in
# distribution
_NOT_OURS = {"check_sample_weight_equivalence_on_dense_data": "see tests/test_weights.py"}


@parametrize_with_checks([bg.BayesianGMM(2, method="gibbs", **SHORT)], expected_failed_checks=lambda _: _NOT_OURS)
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # 20 draws of noise
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning")
@pytest.mark.filterwarnings("ignore:.* rounded:bayesgmm.exceptions.DataWarning")  # iris, and integers
def test_scikit_learn_takes_it_for_an_estimator(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([bg.BayesianGMM(2, **SHORT)], expected_failed_checks=lambda _: _NOT_OURS)
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning")
@pytest.mark.filterwarnings("ignore:.* rounded:bayesgmm.exceptions.DataWarning")
def test_scikit_learn_takes_it_for_an_estimator_by_nuts(estimator, check):
    check(estimator)


def fitted(x, k=2, sample_weight=None, **options):
    """A fitted estimator, without warnings of convergence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)
        return bg.BayesianGMM(k, **SMALL | {"method": "gibbs"} | options).fit(x, sample_weight=sample_weight)


@pytest.fixture(scope="module")
def faithful_gmm(faithful):
    return bg.BayesianGMM(2, random_state=SEED).fit(faithful)


@pytest.fixture(scope="module")
def iris_like():
    return make_blobs(150, 3, centers=3, cluster_std=[0.5, 1, 1.5], random_state=SEED)[0]


def test_it_is_the_fit_of_the_same_seed(faithful_gmm, faithful_tree):
    np.testing.assert_array_equal(faithful_gmm.posterior_["posterior"]["mu"], faithful_tree["posterior"]["mu"])
    assert faithful_gmm.posterior_["posterior"]["feature"].values.tolist() == ["eruptions", "waiting"]
    assert faithful_gmm.feature_names_in_.tolist() == ["eruptions", "waiting"]
    assert (faithful_gmm.n_features_in_, faithful_gmm.n_components_, faithful_gmm.converged_) == (2, 2, True)
    assert (faithful_gmm.comparison_, faithful_gmm.selection_) == (None, None)


def test_probabilities_are_the_responsibilities(faithful_gmm, faithful):
    new = faithful.iloc[:50] + 0.1
    r = bg.responsibilities(faithful_gmm.posterior_, new)["mean"].values
    np.testing.assert_array_equal(faithful_gmm.predict_proba(new), r)
    np.testing.assert_array_equal(faithful_gmm.predict(new), r.argmax(axis=1))
    np.testing.assert_allclose(r.sum(axis=1), 1, rtol=1e-12)


def test_scores_are_the_log_of_the_mean_density(faithful_gmm, faithful):
    by_draw = densities.log_density(read_draws(faithful_gmm.posterior_), Observations.made(faithful.to_numpy()))
    expected = logsumexp(by_draw, axis=0) - np.log(len(by_draw))
    np.testing.assert_allclose(faithful_gmm.score_samples(faithful), expected, rtol=1e-12)
    assert faithful_gmm.score(faithful) == pytest.approx(expected.mean(), rel=1e-12)
    few = faithful_gmm.posterior_.isel(draw=slice(0, 500), missing_dims="ignore")  # which predictive_density does not thin
    other = clone(faithful_gmm)
    other.__dict__.update(faithful_gmm.__dict__, posterior_=few)
    density = bg.predictive_density(few, faithful).sel(statistic="mean").values
    np.testing.assert_allclose(np.exp(other.score_samples(faithful)), density, rtol=1e-10)


def test_many_points_are_scored_in_parts(faithful_gmm, faithful, monkeypatch):
    whole = faithful_gmm.score_samples(faithful)
    monkeypatch.setattr(densities, "_TOGETHER", 7 * 4000)
    np.testing.assert_allclose(faithful_gmm.score_samples(faithful), whole, rtol=1e-13)


def test_the_score_is_near_that_of_the_maximum(faithful_gmm, faithful):
    """On the data fitted, the log predictive density is below the maximum by about half the number of parameters."""
    theirs = GaussianMixture(2, n_init=5, tol=1e-8, max_iter=1000, random_state=0).fit(faithful)
    behind = (theirs.score(faithful) - faithful_gmm.score(faithful)) * len(faithful)
    assert 0 < behind < 11


@pytest.mark.parametrize("covariance", OF_SKLEARN)
def test_shapes_and_counts_are_scikit_learns(iris_like, covariance):
    ours = fitted(iris_like, 3, covariance_type=covariance)
    theirs = GaussianMixture(3, covariance_type=covariance, n_init=5, tol=1e-9, max_iter=2000, random_state=0).fit(iris_like)
    for name in ("weights_", "means_", "covariances_"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
    order = np.argsort(theirs.means_[:, 0])
    sd = np.asarray(ours.posterior_["posterior"]["mu"].std(("chain", "draw")))
    assert (abs(ours.means_[np.argsort(ours.means_[:, 0])] - theirs.means_[order]) < 4 * sd.max()).all()
    assert ours.weights_.sum() == pytest.approx(1, rel=1e-12)
    # both criteria are computed at the EM estimate, with the same number of parameters
    assert ours.bic(iris_like) == pytest.approx(theirs.bic(iris_like), rel=1e-6)
    assert ours.aic(iris_like) == pytest.approx(theirs.aic(iris_like), rel=1e-6)
    em = bg.fit_em(iris_like, 3, covariance=covariance, random_seed=0)
    assert ours.bic(iris_like) == pytest.approx(em.bic(), rel=1e-6)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_means_are_the_posteriors(iris_like, covariance):
    gmm = fitted(iris_like, 3, covariance_type=covariance)
    draws = read_draws(gmm.posterior_)
    matrices = (draws.factors @ draws.factors.swapaxes(-1, -2)).mean(axis=0)
    np.testing.assert_allclose(gmm.means_, draws.mu.mean(axis=0), rtol=1e-12)
    rebuilt = {
        "full": lambda c: c,
        "tied": lambda c: np.broadcast_to(c, (3, 3, 3)),
        "diag": lambda c: c[:, :, None] * np.eye(3),
        "spherical": lambda c: c[:, None, None] * np.eye(3),
        "tied_diag": lambda c: np.broadcast_to(np.diag(c), (3, 3, 3)),
        "tied_spherical": lambda c: np.broadcast_to(c * np.eye(3), (3, 3, 3)),
    }[covariance](gmm.covariances_)
    np.testing.assert_allclose(rebuilt, matrices, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("covariance", "shape"),
    [("full", (2, 1, 1)), ("tied", (1, 1)), ("diag", (2, 1)), ("spherical", (2,)), ("tied_diag", (1,))],
)
def test_one_column(two_small, covariance, shape):
    gmm = fitted(two_small[:, None], covariance_type=covariance)
    assert gmm.covariances_.shape == shape
    assert gmm.means_.shape == (2, 1)
    sigma = gmm.posterior_["posterior"]["sigma"].values
    np.testing.assert_allclose(gmm.covariances_.ravel()[0], (sigma[..., 0] ** 2).mean(), rtol=1e-12)
    x, labels = gmm.sample(5)
    assert (x.shape, labels.shape) == ((5, 1), (5,))
    assert gmm.predict(two_small[:, None]).shape == (400,)
    assert gmm.bic(two_small[:, None]) == pytest.approx(
        bg.fit_em(two_small, 2, covariance=covariance, random_seed=0).bic(), rel=1e-6
    )


def test_the_name_of_one_column_is_kept(galaxies):
    gmm = fitted(galaxies.to_frame(), 3)
    assert gmm.feature_names_in_.tolist() == ["velocity"]
    assert bg.plots.plot_fit(gmm.posterior_).axes[0].get_xlabel() == "velocity"


def test_samples_follow_the_predictive_distribution(faithful_gmm, faithful):
    x, labels = faithful_gmm.sample(20_000)
    draws = read_draws(faithful_gmm.posterior_)
    for j in (0, 1):
        assert_mean((labels == j).astype(float), draws.w[:, j].mean(), f"P(z = {j})")
        mean = (draws.w[:, j, None] * draws.mu[:, j]).mean(axis=0)  # E[x 1(z = j)]
        for d in (0, 1):
            assert_mean(np.where(labels == j, x[:, d], 0), mean[d], f"E[x{d}; z = {j}]")
    mu, cov = draws.mu, draws.factors @ draws.factors.swapaxes(-1, -2)
    product = (draws.w * (mu[:, :, 0] * mu[:, :, 1] + cov[:, :, 0, 1])).sum(axis=1).mean()
    assert_mean(x[:, 0] * x[:, 1], product, "E[x0 x1]")
    below = bg.predictive_cdf(faithful_gmm.posterior_, [3.0], "eruptions").sel(statistic="mean").item()
    assert_mean((x[:, 0] < 3).astype(float), below, "P(eruptions < 3)")


@pytest.mark.slow
def test_random_states(two_small):
    x = two_small[:60, None]
    state = np.random.RandomState(SEED)
    one, two = fitted(x, random_state=state), fitted(x, random_state=state)
    assert one.posterior_.attrs["seed"] != two.posterior_.attrs["seed"]
    first, second = one.sample(3)[0], one.sample(3)[0]
    assert not np.array_equal(first, second)
    again = fitted(x)
    np.testing.assert_array_equal(again.sample(3)[0], again.sample(3)[0])
    np.random.seed(SEED)  # noqa: NPY002 - None means this generator in scikit-learn
    third = fitted(x, random_state=None).posterior_.attrs["seed"]
    np.random.seed(SEED)  # noqa: NPY002
    assert fitted(x, random_state=None).posterior_.attrs["seed"] == third


@pytest.mark.slow
def test_clones_and_pickles_answer_alike(faithful_gmm, faithful, iris_like):
    loaded = pickle.loads(pickle.dumps(faithful_gmm))
    np.testing.assert_array_equal(loaded.predict_proba(faithful), faithful_gmm.predict_proba(faithful))
    assert loaded.score(faithful) == faithful_gmm.score(faithful)
    gmm = fitted(iris_like, 3, prior=bg.ConjugatePrior(scale="core"), fit_options={"thin": 2}, candidates=range(1, 4))
    other = clone(gmm)
    assert not hasattr(other, "posterior_")
    assert repr(other.get_params()) == repr(gmm.get_params())  # priors, which may hold arrays, have no equality
    np.testing.assert_array_equal(_fit(other, iris_like), gmm.means_)
    assert gmm.posterior_.attrs["thin"] == 2
    assert "Conjugate" in gmm.posterior_.attrs["prior"]
    assert '"scale": "core"' in gmm.posterior_.attrs["prior"]


def _fit(gmm, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)
        return gmm.fit(x).means_


@pytest.mark.slow
def test_every_parameter_reaches_the_fit(iris_like):
    gmm = fitted(iris_like, 2, method="nuts", draws=60, tune=150, chains=3, n_init=4, fit_options={"target_accept": 0.85})
    attrs, sizes = gmm.posterior_.attrs, gmm.posterior_["posterior"].sizes
    assert (sizes["draw"], sizes["chain"]) == (60, 3)
    assert {name: attrs[name] for name in ("method", "tune", "n_init", "target_accept", "seed")} == {
        "method": "nuts", "tune": 150, "n_init": 4, "target_accept": 0.85, "seed": SEED,
    }  # fmt: skip
    advi = fitted(iris_like, 3, method="advi", tune=None)
    assert advi.posterior_.attrs["method"] == "advi"
    assert fitted(iris_like, method=None).posterior_.attrs["method"] == "nuts"


def test_progress_is_for_those_who_ask(iris_like, capfd):
    fitted(iris_like)
    assert "EM" not in capfd.readouterr().err
    fitted(iris_like, verbose=True)
    assert "EM: k = 2, n = 150" in capfd.readouterr().err


@pytest.mark.slow
def test_pipelines_and_searches(faithful):
    pipeline = make_pipeline(StandardScaler(), bg.BayesianGMM(2, method="gibbs", draws=200, random_state=SEED))
    pipeline.set_output(transform="pandas")
    labels = pipeline.fit_predict(faithful)
    assert isinstance(labels, np.ndarray)
    assert pipeline[-1].feature_names_in_.tolist() == ["eruptions", "waiting"]
    assert bg.adjusted_rand(labels, faithful["eruptions"] > 3) > 0.95
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)
        search = GridSearchCV(bg.BayesianGMM(method="gibbs", **SMALL), {"n_components": [1, 2]}, cv=3).fit(
            faithful.sample(frac=1, random_state=1)
        )
    assert search.best_params_ == {"n_components": 2}
    held_out = search.cv_results_["mean_test_score"]
    assert held_out[1] - held_out[0] > 0.3  # per observation; elpd differs by 147 for all 272


@pytest.fixture(scope="module")
def automatic(two_small):
    gmm = bg.BayesianGMM("auto", candidates=(3, 1, 2), draws=500, random_state=SEED)
    return gmm.fit(two_small[:, None])


@pytest.mark.slow
def test_the_number_is_chosen_and_said_how(automatic, two_small):
    comparison = bg.compare(two_small, [1, 2, 3], draws=500, random_seed=SEED, progressbar=False)
    np.testing.assert_allclose(automatic.comparison_.table["elpd_loo"], comparison.table["elpd_loo"], rtol=1e-9)
    by_k = comparison.table.set_index("k")
    expected = min(k for k in by_k.index if by_k.loc[k, "elpd_diff"] >= -2 * by_k.loc[k, "dse"])
    assert automatic.n_components_ == expected == len(automatic.weights_)
    assert automatic.posterior_ is automatic.comparison_.fits[expected]
    assert automatic.selection_.endswith(f"k = {expected} is the smallest that predicts as well within two standard errors")
    assert automatic.converged_ == comparison.diagnoses[expected].converged


@pytest.mark.parametrize(
    ("criterion", "column", "best"),
    [
        ("bic", "bic", "min"),
        ("icl", "icl", "min"),
        ("evidence", "p_k", "max"),
    ],
)
@pytest.mark.slow
def test_other_criteria(two_small, criterion, column, best):
    gmm = fitted(two_small[:, None], "auto", candidates=[1, 2], criterion=criterion, draws=200)
    by_k = gmm.comparison_.table.set_index("k")[column]
    assert gmm.n_components_ == (by_k.idxmax() if best == "max" else by_k.idxmin())
    refitted = gmm.set_params(n_components=1)
    _fit(refitted, two_small[:, None])
    assert (refitted.comparison_, refitted.selection_, refitted.n_components_) == (None, None, 1)


@pytest.mark.slow
def test_what_was_chosen_warns_if_it_has_not_converged(two_small):
    gmm = bg.BayesianGMM("auto", candidates=[2], method="gibbs", draws=10, random_state=SEED)
    with pytest.warns(bg.exceptions.ConvergenceWarning, match=r"has not passed its diagnostics \((ess_bulk|ess_tail|r_hat)"):
        gmm.fit(two_small[:40, None])
    assert not gmm.converged_
    assert gmm.selection_.endswith("; the draws of k = 2 have not converged, so this is provisional")


@pytest.mark.slow
@pytest.mark.parametrize("components", [2, "auto"])
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.InterruptedWarning")
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_an_interrupt_ends_a_search_and_leaves_the_draws(two_small, monkeypatch, components):
    whole = bg.fit

    def interrupted(x, k, **options):
        tree = whole(x, k, **options)
        tree.attrs["interrupted"] = int(k == 2)
        return tree

    for module in ("estimators.mixture", "comparison.comparing"):
        monkeypatch.setattr(f"bayesgmm.{module}.judged_fit", as_judged(interrupted))
    gmm = bg.BayesianGMM(components, candidates=[1, 2, 3], method="gibbs", draws=200, random_state=SEED)
    with pytest.raises(
        KeyboardInterrupt, match="the draws made by then are kept in posterior_, means_ and the other attributes"
    ):
        gmm.fit(two_small[:, None])
    assert gmm.means_.shape == (gmm.n_components_, 1)
    assert np.isfinite(gmm.score(two_small[:, None]))
    assert components == 2 or gmm.comparison_.unfinished == (2, 3)


GOOD = np.array([[1.0, 2.0], [2.0, 1.0], [5.0, 4.0], [6.0, 7.5], [7.5, 6.0], [3.0, 3.5]])
WRONG = {
    "count": ({"n_components": 0}, GOOD, ValueError, "n_components must be an integer of at least 1, got 0"),
    "float": ({"n_components": 2.0}, GOOD, TypeError, "n_components must be an integer of at least 1, got 2.0"),
    "word": ({"n_components": "best"}, GOOD, ValueError, "n_components must be an integer of at least 1 or 'auto', got 'best'"),
    "too many": ({"n_components": 7}, GOOD, ValueError, r"n_components must be at most the number of distinct observations, got 7 for 6 of them \(n_samples = 6\)"),
    "ties": ({"n_components": 3}, GOOD[[0, 1] * 4], ValueError, r"got 3 for 2 of them \(n_samples = 8\); use fewer components"),
    "candidates": ({"n_components": "auto", "candidates": (1, 9)}, GOOD, ValueError, "candidates must be at most the number of distinct .* got 9 for 6"),
    "no candidates": ({"n_components": "auto", "candidates": ()}, GOOD, ValueError, r"candidates must hold at least one number of components, got \(\)"),
    "one candidate": ({"n_components": "auto", "candidates": 3}, GOOD, ValueError, "candidates must hold at least one number of components, got 3"),
    "half a candidate": ({"n_components": "auto", "candidates": (1, 1.5)}, GOOD, TypeError, "every one of candidates must be an integer of at least 1, got 1.5"),
    "criterion": ({"n_components": "auto", "criterion": "waic"}, GOOD, ValueError, "criterion must be one of 'loo', 'evidence', 'bic', 'icl', got 'waic'"),
    "evidence by ADVI": ({"n_components": "auto", "candidates": [1], "criterion": "evidence", "method": "advi"}, GOOD, ValueError, "criterion='evidence' needs draws of the posterior itself, got method='advi'"),
    "covariance": ({"covariance_type": "round"}, GOOD, ValueError, "covariance_type must be one of 'full', 'tied', 'diag', 'spherical', 'tied_diag', 'tied_spherical', got 'round'"),
    "method": ({"method": "vb"}, GOOD, ValueError, "method must be one of 'nuts', 'gibbs', 'advi', 'laplace', got 'vb'"),
    "options": ({"fit_options": {"relabel": False}}, GOOD, ValueError, "fit_options may hold approximation, .*, got relabel; leave these out"),
    "foreign option": ({"fit_options": {"max_iter": 3}}, GOOD, TypeError, "max_iter is an option of method='advi', got method='nuts'"),
    "draws": ({"draws": 0}, GOOD, ValueError, "draws must be an integer of at least 1, got 0"),
    "seed": ({"random_state": -1}, GOOD, ValueError, "random_seed must be an integer of at least 0, got -1"),
    "constant": ({}, GOOD * [1, 0], ValueError, "column 1 of x must vary"),
    "one dimension": ({}, GOOD[:, 0], ValueError, "Reshape your data"),
    "nan": ({}, np.where(GOOD > 7, np.nan, GOOD), ValueError, r"X must be finite, got 2 of 6 observations with NaN or infinity .at positions 3, 4.; clean the data, or pass bayesgmm.Observations.X, missing='drop'.$"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_parameters_get_a_sentence(case):
    options, x, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        bg.BayesianGMM(**{"n_components": 2} | options).fit(x)


def test_wrong_questions_get_a_sentence(faithful_gmm, faithful):
    with pytest.raises(NotFittedError):
        bg.BayesianGMM().sample()
    with pytest.raises(ValueError, match="n_samples must be an integer of at least 1, got 0"):
        faithful_gmm.sample(0)
    with pytest.raises(ValueError, match="3 features, but BayesianGMM is expecting 2"):
        fitted(faithful.to_numpy()).predict(np.ones((2, 3)))
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        faithful_gmm.predict(faithful[["waiting", "eruptions"]])


def test_tags():
    assert get_tags(bg.BayesianGMM()).estimator_type == get_tags(GaussianMixture()).estimator_type == "density_estimator"


def test_far_points_have_a_finite_score(faithful_gmm):
    far = pd.DataFrame({"eruptions": [1e4], "waiting": [-1e4]})
    assert -np.inf < faithful_gmm.score_samples(far)[0] < -1e6


@pytest.mark.parametrize("covariance", OF_SKLEARN)
def test_precisions_and_em_are_scikit_learns(iris_like, covariance):
    ours = fitted(iris_like, 3, covariance_type=covariance)
    theirs = GaussianMixture(3, covariance_type=covariance, n_init=5, tol=1e-9, max_iter=2000, random_state=0).fit(iris_like)
    for name in ("precisions_", "precisions_cholesky_"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
    assert isinstance(ours.n_iter_, int)
    assert ours.n_iter_ >= 1
    assert ours.lower_bound_ == pytest.approx(theirs.score(iris_like), rel=1e-6)
    # scikit-learn computes the same precisions from these parameters
    other = GaussianMixture(3, covariance_type=covariance)
    other.weights_, other.means_, other.covariances_ = ours.weights_, ours.means_, ours.covariances_
    other._set_parameters((ours.weights_, ours.means_, ours.covariances_, ours.precisions_cholesky_))
    np.testing.assert_allclose(ours.precisions_, other.precisions_, rtol=1e-9)
    if covariance in ("full", "tied"):
        np.testing.assert_allclose(ours.precisions_, np.linalg.inv(ours.covariances_), rtol=1e-8)
        assert (np.tril(ours.precisions_cholesky_, -1) == 0).all()
    else:
        np.testing.assert_allclose(ours.precisions_ * ours.covariances_, 1, rtol=1e-12)


HIDDEN = {
    "masked": (np.ma.masked_equal([[1.0], [2.0], [-9999.0]], -9999.0), ValueError, "X must be finite, got 1 of 3"),
    "dates": (np.array([["2020-01-01"], ["2020-01-02"]], dtype="datetime64[ns]"), TypeError, "X must hold numbers, got elements of type datetime64"),
    "spans": (np.array([[1], [2]], dtype="timedelta64[s]"), TypeError, "X must hold numbers, got elements of type timedelta64"),
    "text": (np.array([["1.5"], ["2.5"]]), TypeError, "X must hold numbers, got elements of type <U3"),
    "text among objects": (np.array([[1.5], ["2.5"]], dtype=object), TypeError, "X must hold numbers, got elements of type object"),
    "a column of dates": (pd.DataFrame({"a": pd.to_datetime(["2020-01-01", "2020-01-02"])}), TypeError, r"X must hold numeric columns, got a \(datetime64"),
    "a column of text": (pd.DataFrame({"a": ["1.5", "2.5"]}), TypeError, r"X must hold numeric columns, got a \("),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("case", HIDDEN)
def test_what_is_masked_or_no_number_is_not_taken_for_data(faithful_gmm, case):
    x, error, message = HIDDEN[case]
    with pytest.raises(error, match=message):
        bg.BayesianGMM(1).fit(x)
    if not isinstance(x, pd.DataFrame):
        with pytest.raises(error, match=message):
            faithful_gmm.score_samples(np.hstack([x, x]) if case != "masked" else np.ma.hstack([x, x]))


@pytest.mark.slow
def test_candidates_may_be_an_array(two_small):
    gmm = fitted(two_small[:60, None], "auto", candidates=np.array([1, 2]), method="gibbs")
    assert gmm.comparison_.table["k"].tolist() == [1, 2]


@pytest.mark.slow
def test_auto_says_that_candidates_have_not_converged(two_small):
    with pytest.warns(bg.exceptions.ConvergenceWarning) as said:
        bg.BayesianGMM("auto", candidates=[1, 5], draws=20, tune=20, chains=2, random_state=SEED).fit(two_small[:60, None])
    assert any("some candidates have not converged" in str(each.message) for each in said)


@pytest.mark.slow
def test_warnings_of_many_fits_are_alike(iris_like):
    """Warnings have one text for each kind of finding. Numbers that differ between fits are left to ``diagnose``."""
    texts = set()
    for seed in range(3):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            bg.BayesianGMM(5, **SMALL | {"draws": 20, "random_state": seed}).fit(iris_like[seed:])
        texts |= {str(each.message) for each in said}
    assert texts
    assert not any(character.isdigit() for text in texts for character in text)


def test_strays_are_noise():
    """Noise has label -1, as in DBSCAN, and the remaining probability. Densities and criteria include it."""
    x = np.concatenate([np.random.default_rng(1).normal(size=(80, 2)), np.random.default_rng(2).uniform(-40, 60, (8, 2))])
    gmm = fitted(x, 1, noise=True)
    found = bg.responsibilities(gmm.posterior_, x)
    of_noise = 1 - gmm.predict_proba(x).sum(axis=1)
    np.testing.assert_allclose(of_noise, found["noise"], atol=1e-12)
    np.testing.assert_array_equal(gmm.predict(x), np.where(of_noise > 0.5, -1, 0))
    assert (gmm.predict([[500.0, 0.0], [0.0, 0.0]]) == [-1, 0]).all()
    draws, uniform = read_draws(gmm.posterior_), -np.log(1.2 * np.ptp(x, axis=0)).sum()
    of_clusters = Observations.made(x).log_density(*draws.parameters)
    either = np.logaddexp(np.log1p(-draws.noise)[:, None] + of_clusters, (np.log(draws.noise) + uniform)[:, None])
    np.testing.assert_allclose(gmm.score_samples(x), logsumexp(either, axis=0) - np.log(len(either)), rtol=1e-10)
    em = bg.fit_em(x, 1, noise=True, random_seed=0)
    assert gmm.bic(x) == pytest.approx(em.bic(), rel=1e-6)
    assert gmm.aic(x) == pytest.approx(em.aic(), rel=1e-6)
    assert (
        fitted(x, 1, noise=float(uniform)).posterior_["posterior"]["w_noise"].equals(gmm.posterior_["posterior"]["w_noise"])
    )
    assert fitted(x, "auto", candidates=(1, 2), noise=True, criterion="bic").n_components_ == 1
    for wrong in ("yes", np.nan, np.zeros(88)):
        with pytest.raises(ValueError, match="noise must be True, False, or a finite log density"):
            fitted(x, 1, noise=wrong)


@pytest.mark.slow
def test_observations_are_fitted_and_asked_about_as_they_are(faithful):
    """Errors, gaps and weights: the answers are those of the functions."""
    x, generator = faithful.to_numpy()[:90], np.random.default_rng(1)
    gaps = np.where(generator.uniform(size=x.shape) < [0.0, 0.3], np.nan, x)
    rows = Observations(pd.DataFrame(gaps, columns=list(faithful)), missing="at_random")
    gmm = fitted(rows, 2)
    assert list(gmm.feature_names_in_) == list(faithful)
    assert bool(np.isnan(gmm.posterior_["observed_data"]["x"]).any())
    found = bg.responsibilities(gmm.posterior_, rows)
    np.testing.assert_array_equal(gmm.predict_proba(rows), found["mean"])
    np.testing.assert_array_equal(gmm.predict(rows), found["mean"].argmax("cluster"))
    assert gmm.predict(faithful[:90]).shape == (90,)
    em = bg.fit_em(rows, 2, random_seed=0)
    assert gmm.bic(rows) == pytest.approx(em.bic(), rel=1e-6)
    measured = Observations(x[:, :1], error=np.full(90, 0.2))
    sharp, blurred = (fitted(each, 1) for each in (x[:, :1], measured))
    assert (blurred.covariances_ < sharp.covariances_ - 0.02).all()
    draws = read_draws(blurred.posterior_)
    of_all = logsumexp(measured.log_density(*draws.parameters), axis=0) - np.log(len(draws.w))
    np.testing.assert_allclose(blurred.score_samples(measured), of_all, rtol=1e-10)
    counts = generator.integers(1, 4, 90)
    weighted, given = fitted(Observations(x, weight=counts), 1), fitted(x, 1, sample_weight=counts)
    np.testing.assert_array_equal(weighted.means_, given.means_)
    with pytest.raises(ValueError, match="sample_weight must not be given beside Observations"):
        bg.BayesianGMM(1, **SMALL).fit(Observations(x), sample_weight=counts)
    with pytest.raises(ValueError, match=r"X must have 2 feature\(s\) like the data, got 1"):
        gmm.predict(measured)


@pytest.mark.slow
def test_components_may_be_t_distributions():
    x = np.random.default_rng(1).standard_t(2, (150, 2))
    gmm = fitted(x, 1, family="t")
    assert gmm.posterior_.attrs["family"] == "t"
    em = bg.fit_em(x, 1, family="t", random_seed=0)
    assert gmm.bic(x) == pytest.approx(em.bic(), rel=1e-6)
    drawn = gmm.sample(4_000)[0]
    assert stats.kurtosis(drawn[:, 0]) > 3
    with pytest.raises(ValueError, match="family"):
        fitted(x, 1, family="cauchy")
