"""EM for several features: against loops, scikit-learn, mclust's published figures; its laws; near-singular components."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.mixture import GaussianMixture

import bayesgmm as bg
from bayesgmm import Mixture, fit_em
from bayesgmm.exceptions import CollapsedComponentWarning, DataWarning
from tests.families import COVARIANCES, OF_SKLEARN
from tests.statistics import rng


def a_start(x, k):
    order = np.argsort(x[:, 0])
    means = x[order[((np.arange(k) + 0.5) / k * len(x)).astype(int)]]
    return Mixture(np.full(k, 1 / k), means, np.diag(x.var(axis=0)))


def pooled(covariances, weights, covariance):
    """Covariances of another structure from full ones, as each M-step pools them."""
    if covariance == "full":
        return covariances
    if covariance.startswith("tied"):
        covariances = np.broadcast_to(np.tensordot(weights, covariances, axes=1), covariances.shape)
    if covariance == "tied":
        return covariances
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    if covariance.endswith("spherical"):
        variances = np.broadcast_to(variances.mean(axis=1, keepdims=True), variances.shape)
    return variances[:, :, None] * np.eye(covariances.shape[1])


def em_by_loop(x, mixture, n_iter, covariance):
    """The algorithm as it is written on paper; every structure is derived from the full one."""
    weights, means = mixture.weights, mixture.means
    covariances = pooled(mixture.covariances, weights, covariance)
    for _ in range(n_iter):
        joint = np.array(
            [w * stats.multivariate_normal(m, c).pdf(x) for w, m, c in zip(weights, means, covariances, strict=True)]
        )
        r = (joint / joint.sum(axis=0)).T
        counts = r.sum(axis=0)
        weights, means = counts / len(x), r.T @ x / counts[:, None]
        covariances = np.array([(r[:, [j]] * (x - m)).T @ (x - m) / counts[j] for j, m in enumerate(means)])
        covariances = pooled(covariances, weights, covariance)
    return Mixture(weights, means, covariances).sorted()


def assert_same_mixture(one, other, rtol):
    np.testing.assert_allclose(one.weights, other.weights, rtol=rtol)
    np.testing.assert_allclose(one.means, other.means, rtol=rtol)
    np.testing.assert_allclose(one.covariances, other.covariances, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_iterations_are_those_on_paper(faithful, covariance):
    x = faithful.to_numpy()
    start = a_start(x, 3)
    result = fit_em(x, 3, covariance=covariance, start=start, max_iter=3)
    assert_same_mixture(result.mixture, em_by_loop(x, start, 3, covariance), rtol=1e-9)
    np.testing.assert_allclose(result.history[-1], result.mixture.log_density(x).sum(), rtol=1e-12)


@pytest.mark.parametrize("covariance", OF_SKLEARN)
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # both stop after 300 iterations
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_agrees_with_scikit_learn_on_the_same_start(faithful, k, covariance):
    x = faithful.to_numpy()
    start = a_start(x, k)
    moments = pooled(start.covariances, start.weights, covariance)
    precisions = {
        "full": lambda: np.linalg.inv(moments),
        "tied": lambda: np.linalg.inv(moments[0]),
        "diag": lambda: 1 / np.diagonal(moments, axis1=1, axis2=2),
        "spherical": lambda: 1 / moments[:, 0, 0],
    }[covariance]()
    theirs = GaussianMixture(
        k, covariance_type=covariance, reg_covar=0, tol=0, max_iter=300,
        weights_init=start.weights, means_init=start.means, precisions_init=precisions,
    ).fit(x)  # fmt: skip
    mine = fit_em(x, k, covariance=covariance, start=start, tol=1e-300, max_iter=300)
    np.testing.assert_allclose(mine.log_likelihood, theirs.score(x) * len(x), rtol=1e-9)
    np.testing.assert_allclose(mine.bic(), theirs.bic(x), rtol=1e-9)
    np.testing.assert_allclose(mine.aic(), theirs.aic(x), rtol=1e-9)
    order = np.argsort(theirs.means_[:, 0])
    np.testing.assert_allclose(mine.mixture.weights, theirs.weights_[order], rtol=1e-5)
    np.testing.assert_allclose(mine.mixture.means, theirs.means_[order], rtol=1e-5)
    np.testing.assert_allclose(mine.responsibilities, theirs.predict_proba(x)[:, order], atol=1e-5)


def test_reaches_what_mclust_reports_on_old_faithful(faithful_as_published):
    """For tied K = 3 mclust stops just below -1126.316, at -1126.326. Its BIC of full K = 2 is -2322.19 (opposite sign)."""
    tied = fit_em(faithful_as_published, 3, covariance="tied", random_seed=1)
    assert tied.log_likelihood == pytest.approx(-1126.316, abs=1e-3)
    full = fit_em(faithful_as_published, 2, random_seed=1)
    assert full.bic() == pytest.approx(2322.19, abs=0.01)


# BIC of mclust's EM on iris, k = 1, 2, 3 (mclust's table of BIC, which R prints for mclustBIC(iris[, 1:4]); sign as in mclust)
IRIS = {
    "full": [-829.9782, -574.0178, -580.8396],
    "tied": [-829.9782, -688.0972, -632.9647],
    "diag": [-1522.1202, -857.5515, -744.6382],
    "spherical": [-1804.0854, -1012.2352, -853.8144],
    "tied_diag": [-1522.1202, -1042.9679, -813.0504],
    "tied_spherical": [-1804.0854, -1123.4117, -878.7650],
}


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_reaches_what_mclust_reports_on_iris(covariance):
    """mclust stops a little below each maximum. With three diagonal covariances there is a higher one than it finds."""
    x = bg.datasets.iris().iloc[:, :4]
    found = [-fit_em(x, k, covariance=covariance, random_seed=1).bic() for k in (1, 2, 3)]
    above = np.subtract(found, IRIS[covariance])
    assert above.min() > -1e-4
    assert above[:2].max() < 1e-3
    assert above[2] < (1 if covariance == "diag" else 0.02)


# BIC that mclustBIC(diabetes[, 2:4]) of mclust 6.0.0 prints, k = 1, 2, 3, 4
DIABETES = {
    "full": [-5136.44597, -4825.04592, -4751.31640, -4784.32213],
    "tied": [-5136.44597, -5010.98585, -4976.83891, -4865.87589],
    "diag": [-5530.12950, -4988.29483, -4827.81845, -4812.99545],
    "spherical": [-5863.92260, -5327.77803, -5206.39477, -5193.22480],
    "tied_diag": [-5530.12950, -5169.39943, -4998.44293, -4937.62569],
    "tied_spherical": [-5863.92260, -5449.51758, -5412.58665, -5236.00151],
}


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_reaches_what_mclust_reports_on_diabetes_or_a_higher_maximum(covariance):
    """Its data have a glucose of 45 where Reaven and Miller have 455, and call the columns by other names."""
    x = bg.datasets.diabetes()[["fasting", "glucose", "insulin"]]
    x.loc[103, "glucose"] = 45
    found = [-fit_em(x, k, covariance=covariance, random_seed=1).bic() for k in (1, 2, 3, 4)]
    above = np.subtract(found, DIABETES[covariance])
    assert above.min() > -1e-4
    assert above[0] < 1e-4
    if covariance == "full":
        assert above[2] < 0.02  # the three groups that the diagnosis has


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning")
def test_log_likelihood_never_decreases(faithful, k, covariance):
    for seed in range(4):
        history = fit_em(faithful, k, covariance=covariance, n_init=1, random_seed=seed).history
        assert (np.diff(history) >= -1e-10 * np.abs(history[1:])).all()


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
def test_units_of_each_feature_do_not_matter(faithful, covariance):
    """Scales that differ by 1e12 and more are legal, and so are offsets."""
    scale, shift = np.array([1e-150, 1e12]), np.array([0.0, 1e6])
    plain = fit_em(faithful, 2, covariance=covariance, random_seed=1)
    moved = fit_em(scale * (faithful.to_numpy() + shift), 2, covariance=covariance, random_seed=1)
    np.testing.assert_allclose(moved.mixture.weights, plain.mixture.weights, rtol=1e-7)
    np.testing.assert_allclose(moved.mixture.means / scale - shift, plain.mixture.means, rtol=1e-7)
    np.testing.assert_allclose(
        moved.mixture.covariances / np.outer(scale, scale), plain.mixture.covariances, rtol=1e-6, atol=1e-12
    )
    expected = plain.log_likelihood - len(faithful) * np.log(scale).sum()
    np.testing.assert_allclose(moved.log_likelihood, expected, rtol=1e-10)


def test_one_unit_for_all_features_does_not_matter_to_spheres(faithful):
    plain = fit_em(faithful, 2, covariance="spherical", random_seed=1)
    moved = fit_em(faithful * 1e100, 2, covariance="spherical", random_seed=1)
    np.testing.assert_allclose(moved.mixture.covariances / 1e200, plain.mixture.covariances, rtol=1e-8, atol=1e-12)


def test_spheres_are_told_when_some_features_hardly_count(faithful_as_published):
    with pytest.warns(
        DataWarning, match=r"ranges go from 3.5e-09 \(column 'eruptions' of x\) to 53 \(column 'waiting' of x\)"
    ):
        fit_em(faithful_as_published * [1e-9, 1], 2, covariance="spherical", random_seed=1)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_sample_weight_counts_observations(faithful, covariance):
    x, counts = faithful.to_numpy(), rng(1).integers(0, 4, len(faithful))
    start = a_start(x, 2)
    weighted = fit_em(x, 2, covariance=covariance, sample_weight=counts, start=start)
    repeated = fit_em(np.repeat(x, counts, axis=0), 2, covariance=covariance, start=start)
    assert_same_mixture(weighted.mixture, repeated.mixture, rtol=1e-5)
    assert weighted.log_likelihood == pytest.approx(repeated.log_likelihood, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_starts_work_in_twenty_dimensions(covariance):
    """Ten clusters, 5 000 points: the best of the starts is as good as a start at the truth."""
    generator = rng(20)
    means = generator.normal(0, 2, (10, 20))
    truth = Mixture(generator.dirichlet(np.full(10, 5.0)), means, np.eye(20))
    x, _ = truth.sample(5_000, generator)
    found = fit_em(x, 10, covariance=covariance, random_seed=1)
    best = fit_em(x, 10, covariance=covariance, start=truth)
    assert found.log_likelihood >= best.log_likelihood - 1e-3
    assert found.converged
    assert not found.collapsed


def test_many_observations_start_on_a_sample():
    truth = Mixture([0.3, 0.7], [[0, 0], [3, 1]], [[[1, 0.5], [0.5, 1]], [[0.5, 0], [0, 2]]])
    x, _ = truth.sample(60_000, 1)
    found, best = fit_em(x, 2, random_seed=1), fit_em(x, 2, start=truth)
    assert found.log_likelihood == pytest.approx(best.log_likelihood, rel=1e-9)


def test_a_flat_component_is_named_and_held_at_the_floor(faithful):
    """Twenty points on a line: their covariance is singular, whatever the units."""
    line = np.linspace(0, 1, 20)[:, None] * [1.0, 30.0] + [8.0, 10.0]
    x = np.concatenate([faithful.to_numpy(), line])
    start = Mixture([0.9, 0.1], [[3.5, 70], [8.5, 25]], [np.diag([1.0, 180]), [[0.1, 2.9], [2.9, 90]]])
    with pytest.warns(CollapsedComponentWarning, match=r"for k = 2 \(component 1\) sits on the variance floor .* 'diag' or"):
        result = fit_em(x, 2, start=start, variance_floor=1e-8)
    assert result.collapsed
    units = x.std(axis=0)
    eigenvalues = np.linalg.eigvalsh(result.mixture.covariances[1] / np.outer(units, units))
    assert eigenvalues[0] == pytest.approx(1e-8, rel=1e-3)
    sound = fit_em(x, 2, covariance="diag", random_seed=1)
    assert not sound.collapsed


def test_the_best_result_is_not_a_collapsed_one():
    """Iris, whose petal widths are rounded to 0.1: some starts end on a component of equal widths."""
    from sklearn.datasets import load_iris

    result = fit_em(load_iris().data, 3, random_seed=1)
    assert not result.collapsed
    assert result.log_likelihood == pytest.approx(-180.19, abs=0.01)  # mclust's VVV, 3


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_criteria_count_the_free_parameters(faithful, covariance):
    result = fit_em(faithful, 3, covariance=covariance, random_seed=1)
    expected = 2 + 6 + {"full": 9, "tied": 3, "diag": 6, "spherical": 3, "tied_diag": 2, "tied_spherical": 1}[covariance]
    assert result.n_parameters == expected
    assert result.icl() >= result.bic()


def test_a_start_of_another_width_gets_a_sentence(faithful):
    with pytest.raises(ValueError, match=r"start must have 2 feature\(s\) like x, got 1"):
        fit_em(faithful, 2, start=Mixture([0.5, 0.5], [1, 2], sigma=1))


@pytest.mark.slow
def test_two_points_far_off_do_not_break_the_floor():
    """A component holds only the two points. Its variance across their line is rounded away beside the one along it."""
    x = np.concatenate([rng(1).normal(size=(2_000, 2)), [[1e3, 1e3], [-1e3, -1e3]]])
    for seed in range(4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapsedComponentWarning)
            result = fit_em(x, 3, n_init=2, random_seed=seed)
        assert np.isfinite(result.log_likelihood)


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_sample_weight_has_no_unit(faithful, unit):
    plain = fit_em(faithful, 2, random_seed=1)
    scaled = fit_em(faithful, 2, sample_weight=np.full(len(faithful), unit), random_seed=1)
    np.testing.assert_allclose(scaled.mixture.means, plain.mixture.means, rtol=1e-6)


def test_observations_without_weight_are_no_starts(faithful):
    far = faithful + 1_000
    x, weight = np.concatenate([faithful, far]), np.repeat([1.0, 0.0], len(faithful))
    result = fit_em(x, 3, covariance="tied", sample_weight=weight, random_seed=1)
    assert not any(end.collapsed for end in result.restarts)
