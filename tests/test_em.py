"""EM against loops, scikit-learn and closed forms; its laws; and what it does when a component collapses."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln
from sklearn.mixture import GaussianMixture

import bayesgmm as bg
from bayesgmm import Mixture, fit_em
from bayesgmm.em import starts as em_starts
from bayesgmm.em.result import are_one
from bayesgmm.exceptions import CollapsedComponentWarning, ConvergenceWarning
from tests.statistics import SEED, Z, assert_mean, rng

COVARIANCES = ["full", "tied"]


def em_by_loop(x, mixture, n_iter, *, tied):
    """The algorithm as it is written on paper."""
    weights, means, sigma = mixture.weights, mixture.means, mixture.sigma
    for _ in range(n_iter):
        joint = np.array(
            [[w * stats.norm.pdf(each, m, s) for w, m, s in zip(weights, means, sigma, strict=True)] for each in x]
        )
        r = joint / joint.sum(axis=1, keepdims=True)
        counts = r.sum(axis=0)
        weights, means = counts / len(x), r.T @ x / counts
        squares = r * (x[:, None] - means) ** 2
        variances = np.full(len(means), squares.sum() / len(x)) if tied else squares.sum(axis=0) / counts
        sigma = np.sqrt(variances)
    return Mixture(weights, means, sigma=sigma)


def assert_same_mixture(one, other, rtol):
    np.testing.assert_allclose(one.weights, other.weights, rtol=rtol)
    np.testing.assert_allclose(one.means, other.means, rtol=rtol)
    np.testing.assert_allclose(one.sigma, other.sigma, rtol=rtol)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_iterations_are_those_on_paper(two_small, covariance):
    start = Mixture([0.5, 0.5], [4, 9], sigma=[1, 3] if covariance == "full" else 2)
    with pytest.warns(ConvergenceWarning, match="did not converge in 3 iterations for k = 2; raise max_iter"):
        result = fit_em(two_small, 2, covariance=covariance, start=start, max_iter=3)
    assert_same_mixture(result.mixture, em_by_loop(two_small, start, 3, tied=covariance == "tied"), rtol=1e-12)
    assert result.n_iter == 3
    assert len(result.history) == 4
    np.testing.assert_allclose(result.history[0], start.log_density(two_small).sum(), rtol=1e-12)
    np.testing.assert_allclose(result.history[-1], result.mixture.log_density(two_small).sum(), rtol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.usefixtures("plain_em")
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # both stop after 300 iterations
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_agrees_with_scikit_learn_on_the_same_start(galaxies, k, covariance):
    """Both run the same iterations, without acceleration."""
    x = galaxies.to_numpy()
    start = Mixture(np.full(k, 1 / k), np.quantile(x, (np.arange(k) + 0.5) / k), sigma=x.std())
    precision = np.full((k, 1, 1), 1 / x.var()) if covariance == "full" else np.full((1, 1), 1 / x.var())
    theirs = GaussianMixture(
        k, covariance_type=covariance, reg_covar=0, tol=0, max_iter=300,
        weights_init=start.weights, means_init=start.means[:, None], precisions_init=precision,
    ).fit(x[:, None])  # fmt: skip
    mine = fit_em(x, k, covariance=covariance, start=start, tol=1e-300, max_iter=300)
    variances = np.broadcast_to(theirs.covariances_.ravel(), k)
    assert_same_mixture(mine.mixture, Mixture(theirs.weights_, theirs.means_[:, 0], variances).sorted(), rtol=1e-6)
    np.testing.assert_allclose(mine.log_likelihood, theirs.score(x[:, None]) * len(x), rtol=1e-9)
    np.testing.assert_allclose(mine.bic(), theirs.bic(x[:, None]), rtol=1e-9)
    np.testing.assert_allclose(mine.aic(), theirs.aic(x[:, None]), rtol=1e-9)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_component_is_closed_form(galaxies, covariance):
    result = fit_em(galaxies, 1, covariance=covariance)
    assert_same_mixture(result.mixture, Mixture([1], [galaxies.mean()], sigma=galaxies.std(ddof=0)), rtol=1e-12)
    expected = stats.norm(galaxies.mean(), galaxies.std(ddof=0)).logpdf(galaxies).sum()
    assert result.log_likelihood == pytest.approx(expected, rel=1e-12)
    assert result.converged
    assert result.icl() == pytest.approx(result.bic(), rel=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # one start may be a slow one
def test_log_likelihood_never_decreases(galaxies, k, covariance):
    for seed in range(5):
        history = fit_em(galaxies, k, covariance=covariance, n_init=1, random_seed=seed).history
        assert (np.diff(history) >= -1e-10 * np.abs(history[1:])).all()


@pytest.mark.parametrize(("scale", "shift"), [(1e-150, 0), (1e150, 3), (1, 1e9), (1e3, -1e12)])
def test_units_do_not_matter(galaxies, scale, shift):
    plain = fit_em(galaxies, 3, random_seed=SEED)
    moved = fit_em(scale * (galaxies.to_numpy() + shift), 3, random_seed=SEED)
    rtol = max(1e-8, 1e-14 * abs(shift))  # an offset costs the data digits
    np.testing.assert_allclose(moved.mixture.weights, plain.mixture.weights, rtol=rtol)
    np.testing.assert_allclose(moved.mixture.means / scale - shift, plain.mixture.means, rtol=rtol)
    np.testing.assert_allclose(moved.mixture.sigma / scale, plain.mixture.sigma, rtol=rtol)
    np.testing.assert_allclose(moved.log_likelihood, plain.log_likelihood - len(galaxies) * np.log(scale), rtol=rtol)


def test_sample_weight_counts_observations(two_small):
    counts = rng(1).integers(0, 4, len(two_small))
    start = Mixture([0.5, 0.5], [4, 9], sigma=[1, 3])
    weighted = fit_em(two_small, 2, sample_weight=counts, start=start)
    repeated = fit_em(np.repeat(two_small, counts), 2, start=start)
    assert_same_mixture(weighted.mixture, repeated.mixture, rtol=1e-6)
    for criterion in ("bic", "aic", "icl"):
        assert getattr(weighted, criterion)() == pytest.approx(getattr(repeated, criterion)(), rel=1e-9)
    doubled = fit_em(two_small, 2, sample_weight=2 * np.ones(len(two_small)), random_seed=1)
    assert doubled.log_likelihood == pytest.approx(2 * fit_em(two_small, 2, random_seed=1).log_likelihood, rel=1e-8)


def test_sample_weight_has_no_unit(galaxies):
    plain, light = fit_em(galaxies, 3, random_seed=1), fit_em(galaxies, 3, sample_weight=np.full(82, 1e-13), random_seed=1)
    assert_same_mixture(plain.mixture, light.mixture, rtol=1e-5)
    assert not light.collapsed


def test_a_narrow_component_of_many_observations_is_no_collapse():
    generator = rng(7)
    x = np.concatenate([generator.normal(0, 1e-5, 500), generator.normal(1, 0.3, 500)])
    result = fit_em(x, 2, random_seed=SEED)
    assert not result.collapsed
    np.testing.assert_allclose(result.mixture.sigma, [1e-5, 0.3], rtol=0.15)


def test_optima_are_the_distinct_solutions_near_the_best(galaxies):
    result = fit_em(galaxies, 2, n_init=20, random_seed=SEED)
    best, other = result.optima()
    assert best is result.mixture
    assert other.log_density(galaxies).sum() == pytest.approx(-220.36, abs=0.01)
    assert len(result.optima(within=0.01)) == 1
    assert len(result.optima(within=50)) == 3
    x = bg.datasets.two_gaussians(n=1000).x
    assert len(fit_em(x, 2, random_seed=SEED).optima()) == 1
    mirrored = np.concatenate([x, -x])
    one, two = fit_em(mirrored, 3, n_init=20, random_seed=SEED).optima()[:2]
    np.testing.assert_allclose(one.means, -two.means[::-1], atol=0.05)


def test_solutions_are_the_same_in_any_order_of_their_components():
    one = Mixture([0.3, 0.3, 0.4], [0, 5, 9], sigma=[1, 1, 2])
    turned = Mixture([0.4, 0.3, 0.3], [9, 0.01, 5], sigma=[2, 1, 1])
    moved = Mixture([0.4, 0.3, 0.3], [9, 0, 5], sigma=[1, 2, 1])
    assert are_one(one, turned)
    assert not are_one(one, moved)


def test_solutions_beside_an_outlying_group_are_told_apart():
    """The outlying group is so far away that all others lie close together in units of the data's standard deviation."""
    generator = rng(11)
    x = np.concatenate([generator.normal(at, 0.05, 30) for at in (0, 1.05, 2.1, 112)])
    low = fit_em(x, 3, start=Mixture([0.5, 0.25, 0.25], [0.5, 2.1, 112], sigma=[0.5, 0.05, 0.05]))
    high = fit_em(x, 3, start=Mixture([0.25, 0.5, 0.25], [0, 1.5, 112], sigma=[0.05, 0.5, 0.05]))
    assert not are_one(low.mixture, high.mixture)


def test_keeps_the_best_restart_where_restarts_differ(galaxies):
    result = fit_em(galaxies, 4, n_init=20, random_seed=SEED)
    ends = np.array([each.log_likelihood for each in result.restarts])
    started = [each.start for each in result.restarts if each.start != "split and merged"]
    assert len(started) == 20
    assert ends.max() - ends.min() > 1  # else this test shows nothing
    assert result.log_likelihood == ends[0] == ends.max()
    assert set(started) == {"k-means++", "random"}
    assert result.n_found == (ends > ends.max() - 0.01).sum() > 1
    assert result.log_likelihood == pytest.approx(-197.71, abs=0.01)


def test_criteria_are_their_formulas(galaxies):
    for covariance, parameters in (("full", 8), ("tied", 6)):
        result = fit_em(galaxies, 3, covariance=covariance, random_seed=SEED)
        assert result.n_parameters == parameters
        assert result.bic() == pytest.approx(-2 * result.log_likelihood + parameters * np.log(82))
        assert result.aic() == pytest.approx(-2 * result.log_likelihood + 2 * parameters)
        z = result.mixture.responsibilities(galaxies).argmax(axis=1)
        own = [galaxies[z == j] for j in range(3)]
        spread = [np.std(x) for x in own]
        if covariance == "tied":
            spread = 3 * [np.sqrt(sum(len(x) * np.var(x) for x in own) / 82)]
        completed = sum(
            stats.norm(x.mean(), sd).logpdf(x).sum() + len(x) * np.log(len(x) / 82)
            for x, sd in zip(own, spread, strict=True)
        )
        assert result.icl() == pytest.approx(-2 * completed + parameters * np.log(82))
        assert result.icl() >= result.bic()


def exact_icl(x, z, k, prior):
    """-2 log p(x, z) under a normal-inverse-gamma prior and weights uniform on the simplex, in closed form."""
    m0, k0, a0, b0 = prior
    value = gammaln(k) - gammaln(k + len(x))
    for own in (x[z == j] for j in range(k)):
        n = len(own)
        kn, an = k0 + n, a0 + n / 2
        bn = b0 + 0.5 * n * own.var() + 0.5 * k0 * n * (own.mean() - m0) ** 2 / kn
        value += gammaln(1 + n) + gammaln(an) - gammaln(a0) + a0 * np.log(b0) - an * np.log(bn)
        value += 0.5 * np.log(k0 / kn) - n / 2 * np.log(2 * np.pi)
    return -2 * value


@pytest.mark.slow
@pytest.mark.parametrize("prior", [(5.0, 0.01, 2.0, 2.0), (0.0, 0.001, 1.0, 1.0)])
def test_icl_differs_from_the_integral_that_it_approximates_by_a_constant(prior):
    differences, plugged_in = [], []
    for n in (1_000, 10_000):
        x = bg.datasets.three_gaussians(n).x
        result = fit_em(x, 3, random_seed=SEED)
        exact = exact_icl(x, result.responsibilities.argmax(axis=1), 3, prior)
        differences.append(result.icl() - exact)
        plugged_in.append(result.bic() - 2 * np.log(result.responsibilities.max(axis=1)).sum() - exact)
    # the constant: 2 log of the prior density at the estimates + p log(2 pi) - log |information in one observation|
    assert abs(differences[1] - differences[0]) < 2
    assert abs(plugged_in[1] - plugged_in[0]) > 20  # the control grows with n


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # four components are slow
def test_icl_finds_three_gaussians():
    x = bg.datasets.three_gaussians().x
    found = {k: fit_em(x, k, random_seed=SEED).icl() for k in range(1, 5)}
    assert min(found, key=found.__getitem__) == 3


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_icl_of_components_that_labels_do_not_determine(covariance):
    x = np.concatenate([rng(2).standard_normal(40), [9.0]])  # one observation on its own
    start = Mixture([0.9, 0.1], [0.0, 9.0], sigma=[1.0, 1.0])
    with pytest.warns(CollapsedComponentWarning) if covariance != "tied" else nullcontext():
        result = fit_em(x, 2, covariance=covariance, start=start)
    assert np.isfinite(result.icl())


def test_components_of_two_galaxies_are_spurious(galaxies):
    result = bg.fit_em(galaxies, 6, random_seed=SEED)
    two = np.flatnonzero(np.bincount(result.responsibilities.argmax(axis=1)) == 2).tolist()
    assert list(result.spurious) == two != []
    assert bg.fit_em(galaxies, 3, random_seed=SEED).spurious == ()  # the smallest holds three
    assert bg.fit_em(galaxies, 6, covariance="tied", random_seed=SEED).spurious == ()


@pytest.mark.parametrize(("covariance", "fewest"), [("full", 4), ("diag", 2), ("spherical", 2)])
def test_as_many_observations_as_determine_a_component_make_it_spurious(covariance, fewest):
    rng = np.random.default_rng(SEED)
    for more in (0, 1):
        x = np.concatenate([rng.standard_normal((50, 3)), 1_000 + rng.standard_normal((fewest + more, 3))])
        result = bg.fit_em(x, 2, covariance=covariance, random_seed=SEED)
        assert result.spurious == ((1,) if more == 0 else ())


def test_recovers_the_worked_examples():
    for make, k in ((bg.datasets.two_gaussians, 2), (bg.datasets.three_gaussians, 3)):
        x, _, truth = make()
        result = fit_em(x, k, random_seed=SEED)
        truth = truth.sorted()
        errors = np.sqrt(1 / (len(x) * truth.weights)) * truth.sigma  # at best; overlap makes them larger
        assert (np.abs(result.mixture.means - truth.means) < 15 * errors).all()
        assert result.log_likelihood > truth.log_density(x).sum()


def test_a_collapsing_component_is_caught_at_the_floor_marked_and_warned_of():
    x = np.concatenate([rng(3).normal(0, 1, 100), np.full(8, 4.0)])  # eight equal points: the likelihood is unbounded
    spike = Mixture([0.9, 0.1], [0, 4], sigma=[1, 0.01])
    for floor in (1e-12, 1e-6):
        with pytest.warns(
            CollapsedComponentWarning,
            match=r"component of the best EM solution for k = 2 \(component 1\) sits on the variance floor",
        ):
            result = fit_em(x, 2, start=spike, variance_floor=floor)
        assert result.collapsed
        assert result.restarts[0].collapsed
        assert result.mixture.sigma.min() == pytest.approx(np.sqrt(floor) * x.std())
        assert (np.diff(result.history) >= -1e-10 * np.abs(result.history[1:])).all()


def test_an_interior_solution_is_preferred_to_a_higher_collapsed_one(galaxies):
    spike = Mixture([1 / 82, 81 / 82], [galaxies.iloc[40], 21], sigma=[1e-4, 4.5])
    interior = Mixture([0.1, 0.9], [10, 22], sigma=[1, 3])
    result = fit_em(galaxies, 2, start=[spike, interior], variance_floor=1e-12)
    kept, left = result.restarts
    assert left.collapsed
    assert not kept.collapsed
    assert not result.collapsed


def test_distinct_points_as_many_as_components():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapsedComponentWarning)
        result = fit_em([1.0, 1.0, 2.0, 5.0], 3, random_seed=SEED)
    np.testing.assert_allclose(result.mixture.weights.sum(), 1)
    assert np.isfinite(result.log_likelihood)


def test_missing_observations_can_be_dropped(galaxies):
    x = np.insert(galaxies.to_numpy(), [3, 50], [np.nan, np.inf])
    weights = np.insert(np.ones(82), [3, 50], [9, 9])
    plain = fit_em(galaxies, 2, random_seed=1)
    assert fit_em(x, 2, random_seed=1, missing="drop").log_likelihood == plain.log_likelihood
    assert fit_em(x, 2, random_seed=1, missing="drop", sample_weight=weights).log_likelihood == pytest.approx(
        plain.log_likelihood, rel=1e-14
    )


def test_is_seeded(galaxies):
    first, second = (fit_em(galaxies, 5, random_seed=4) for _ in range(2))
    assert first.restarts == second.restarts
    assert first.restarts != fit_em(galaxies, 5, random_seed=5).restarts


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sample_weight": [1, 2]}, ValueError, r"sample_weight must hold one weight for each observation, shape \(400,\)"),
        ({"sample_weight": -np.ones(400)}, ValueError, "sample_weight must be finite and not negative"),
        (
            {"sample_weight": np.zeros(400)},
            ValueError,
            "sample_weight must hold at least one positive weight, got only zeros",
        ),
        (
            {"sample_weight": np.eye(400)[0]},
            ValueError,
            r"of the observations with a positive sample_weight: x must vary, got 1 observation\(s\)",
        ),
        ({"n_init": 0}, ValueError, "n_init must be an integer of at least 1, got 0"),
        ({"max_iter": 1.5}, TypeError, "max_iter must be an integer"),
        ({"tol": 0}, ValueError, "tol must be a positive finite number, got 0"),
        ({"tol": "small"}, TypeError, "tol must be a positive number, got 'small'"),
        ({"variance_floor": -1}, ValueError, "variance_floor must be a positive finite number"),
        (
            {"covariance": "iso"},
            ValueError,
            "covariance must be one of 'full', 'tied', 'diag', 'spherical', 'tied_diag', 'tied_spherical', got 'iso'",
        ),
        ({"start": Mixture([1], [0], sigma=1)}, ValueError, "start must be one Mixture or several with k = 2 components"),
        ({"start": 3}, TypeError, "start must be a Mixture or a sequence of them, got int"),
        ({"start": []}, ValueError, "start must hold at least one Mixture"),
        ({"start": ["k-means"]}, ValueError, "start must be one Mixture or several .* got str"),
        ({"random_seed": 1.5}, TypeError, "random_seed must be an integer"),
    ],
)
def test_bad_options_get_a_sentence(two_small, options, error, message):
    with pytest.raises(error, match=message):
        fit_em(two_small, 2, **options)


def test_observations_without_weight_do_not_count_at_all(galaxies):
    plain = fit_em(galaxies, 2, random_seed=1)
    weighted = fit_em([*galaxies, 1e20], 2, random_seed=1, sample_weight=[1.0] * 82 + [0.0])
    np.testing.assert_allclose(weighted.mixture.means, plain.mixture.means, rtol=1e-6)
    with pytest.raises(ValueError, match="sample_weight must have a finite sum"):
        fit_em(galaxies, 2, sample_weight=np.full(82, 1e307))


def test_long_data_start_where_em_ends_on_a_sample_of_them():
    x, _, truth = bg.datasets.three_gaussians(n=40_000)
    em = fit_em(x, 3, random_seed=1)
    assert len(em.restarts) < 10  # starts that end in the same place are continued only once
    assert 5 <= em.n_found <= 10
    np.testing.assert_allclose(em.mixture.means, np.sort(truth.means), atol=0.1)
    weighted = fit_em(x, 3, random_seed=1, sample_weight=np.ones(len(x)))
    assert weighted.log_likelihood == pytest.approx(em.log_likelihood, rel=1e-9)


def test_a_result_stays_what_it_was_when_the_users_array_changes():
    x = np.random.default_rng(0).normal(size=(200, 2))
    weight = np.ones(200)
    em = bg.fit_em(x, 2, sample_weight=weight, random_seed=1)
    icl, other = em.icl(), bg.fit_em(x.copy(), 2, sample_weight=weight.copy(), random_seed=1)
    x[:], weight[:] = 0, 5
    assert em.icl() == icl
    np.testing.assert_array_equal(em.responsibilities, other.responsibilities)
    with pytest.raises(ValueError, match="read-only"):
        em.x[0] = 1


def three_and_a_rare_one(n=60_000, rare=10, where=50.0):
    generator = rng(1)
    many = [generator.normal(size=(n // 3, 2)) + centre for centre in ([0, 0], [4, 0], [0, 4])]
    return np.vstack([*many, generator.normal(size=(rare, 2)) + where])


@pytest.mark.parametrize("seed", range(4))
def test_a_rare_cluster_far_away_is_found(seed):
    """The cluster has ten of 60 010 rows, and a random sample of 16 384 rows would hold too few of them to start from."""
    em = fit_em(three_and_a_rare_one(), 4, random_seed=seed)
    np.testing.assert_allclose(em.mixture.means[-1], [50, 50], atol=Z / np.sqrt(10))
    assert em.mixture.weights[-1] == pytest.approx(10 / 60_010, rel=1e-6)
    assert em.converged


@pytest.mark.parametrize("weighted", [False, True])
def test_the_sample_for_starts_stands_for_all_rows(weighted):
    x = three_and_a_rare_one(6_000, 5) + 1e6
    weight = np.where(np.arange(len(x)) % 7, 2.0, 0.0) if weighted else None
    mass = np.ones(len(x)) if weight is None else weight
    quantities = np.column_stack([np.ones(len(x)), x - x.mean(axis=0), (x - x.mean(axis=0)) ** 2])
    z = []
    for seed in range(50):
        few, inverse = em_starts.sample(x, weight, x.std(axis=0), 3, 1_000, rng(seed))
        assert set(np.flatnonzero(mass[6_000:])) <= set(few - 6_000)  # the rare ones are all there
        assert mass[few].all()
        assert inverse.mean() == pytest.approx(1.0)
        assert 500 < len(few) < 1_200
        z.append(inverse @ quantities[few] / inverse.sum() - mass @ quantities / mass.sum())
    for error in np.transpose(z)[1:]:
        assert_mean(error, 0.0)
