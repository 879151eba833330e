"""Fixed parameters, and ordered means, at every entry point. Exact answers are sums over all allocations."""

import json

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy import stats

import bayesgmm as bg
from bayesgmm.data.observations import Observations
from bayesgmm.engines.sweeps import sweeps
from bayesgmm.html_report.settings import _python, _unknown_to_shell
from bayesgmm.model.fixed import fixed_of, read_fixed
from bayesgmm.posterior.log_posterior import LogPosterior
from tests.families import KINDS, STRUCTURES, prior_of_each
from tests.oracles.joint import draw_data, prior_points
from tests.oracles.marginal import X, of_each_component
from tests.oracles.pymc_density import Mode, assert_density_is
from tests.statistics import SEED, Z, assert_same_means, rng

pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning"),
]
NAN = np.nan
PRIOR = bg.ConjugatePrior(alpha=1.5, b0=0.3, B0=2.0, c0=3.0, C0=1.5)
LEARNT = bg.HierarchicalPrior(alpha=1.5, b0=0.3, B0=2.0, c0=3.0, g0=2.0, G0=1.5)
OF_TWO = {
    "a mean": {"mu": [NAN, 2.0]},
    "a spread": {"sigma": [0.5, NAN]},
    "equal weights": {"w": [0.5, 0.5]},
    "a component": {"mu": [0.0, NAN], "sigma": [0.3, NAN]},
    "all but a mean": {"w": [0.4, 0.6], "mu": [NAN, 2.0], "sigma": [1.0, 0.5]},
}
OF_THREE = {"w": [0.2, NAN, NAN]}


def some_fixed(covariance, d, k=4):
    """Weights 0 and 2, a mean, one entry of another mean, and where they are not shared a covariance."""
    mu = np.full(k if d == 1 else (k, d), NAN)
    mu[1] = 0.5
    found = {"w": [0.2, NAN, 0.1, NAN], "mu": mu}
    if d > 1:
        mu[2, 1] = 0.7
    if not covariance.startswith("tied") and d == 1:
        found["sigma"] = [NAN, NAN, 0.5, 1.2]
    elif not covariance.startswith("tied"):
        cov = np.full((k, d, d), NAN)
        cov[3] = np.eye(d) * 0.5 + (0.3 if covariance == "full" else 0.0)
        found["cov"] = cov
    return found


def posterior(covariance, d, kind, k=4):
    x = rng(2).normal(size=(12, d))
    prior = prior_of_each(kind, covariance, d, k).scaled_to(x, covariance)
    fixed = read_fixed(some_fixed(covariance, d, k), k, d, covariance)
    return LogPosterior(Observations.made(x), k, prior, covariance, fixed=fixed)


def fit(x, k, fixed, prior=PRIOR, **options):
    return bg.fit(x, k, fixed=fixed, prior=prior, **{"random_seed": SEED, "progressbar": False} | options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("covariance", "d"), STRUCTURES)
def test_the_density_is_the_pymc_models(covariance, d, kind):
    own = posterior(covariance, d, kind)
    model = bg.build_model(own.x, own.k, prior=own.prior, covariance=covariance, fixed=own.fixed.shown)
    start, at = {}, 0
    for variable in model.value_vars:
        shape = model.initial_point()[variable.name].shape
        start[variable.name] = np.zeros(shape)
        at += start[variable.name].size
    assert at == own.n_dim
    pymc = model.logp_dlogp_function(ravel_inputs=True, initial_point=start, mode=Mode("py", "merge"))
    assert_density_is(own, pymc, rng(3))


@pytest.mark.parametrize(("covariance", "d"), STRUCTURES)
def test_points_and_values_belong_together(covariance, d):
    own = posterior(covariance, d, "hierarchical")
    point = rng(1).normal(0, 0.5, own.n_dim)
    values = own.constrained(point)
    np.testing.assert_allclose(own.unconstrained({name: values[name] for name in own.sizes}), point, atol=1e-12)
    mixture, fixed = own.mixture_at(point), own.fixed
    np.testing.assert_allclose(mixture.weights, fixed.holding(mixture).weights, rtol=1e-12)
    np.testing.assert_allclose(mixture.mu, fixed.holding(mixture).mu, rtol=1e-12)
    np.testing.assert_allclose(mixture.cov, fixed.holding(mixture).cov, rtol=1e-12)
    assert own.expanded(point).shape == (sum(own.sizes.values()),)
    np.testing.assert_array_equal(own.reduced(own.expanded(point)), point)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("covariance", "d", "kind"),
    [(*each, KINDS[i % 2]) for i, each in enumerate(STRUCTURES)] + [("full", 1, "conjugate"), ("full", 3, "conjugate")],
)
def test_sweeps_leave_the_joint_distribution_as_it_is(covariance, d, kind):
    """The test of Geweke (2004): data given parameters alternate with sweeps; the free parameters follow their prior."""
    k, n = 3, 6
    x = rng(1).normal(size=(n, d))
    given = {"alpha": 0.8, "b0": 0.5, "B0": 1.0, "c0": 7.0}
    scale = 3.0
    if d > 1:
        given |= {"b0": np.array([0.5, -1.0, 2.0]), "B0": np.array([[1.0, 0.6, -0.2], [0.6, 2.0, 0.3], [-0.2, 0.3, 0.5]])}
        scale = {"diag": np.array([2.0, 4.0, 7.0]), "spherical": 3.0}.get(covariance.removeprefix("tied_"), 4 * np.eye(3))
    prior = (
        bg.HierarchicalPrior(**given, g0=5.0, G0=scale) if kind == "hierarchical" else bg.ConjugatePrior(**given, C0=scale)
    )
    known = some_fixed(covariance, d)
    known = {"w": known["w"][:3], "mu": known["mu"][:3]} | {
        name: known[name][-3:] for name in ("sigma", "cov") if name in known
    }
    own = LogPosterior(
        Observations.made(x), k, prior.scaled_to(x, covariance), covariance, fixed=read_fixed(known, k, d, covariance)
    )
    run, generator, length = sweeps(own), rng(2), 15_000
    state, draws = np.zeros(own.n_dim), np.empty((length, own.n_dim))
    x = own.x
    for s in range(length):
        x[:] = draw_data(own, state, generator)
        run(generator, state, 1, draws[s : s + 1])
    independent = own.reduced(prior_points(own, length, rng(3)))
    for i in range(own.n_dim):
        for power in (1, 2):
            one, other = draws[:, i] ** power, independent[:, i] ** power
            error = other.std() / np.sqrt(length)
            assert_same_means(one.mean(), float(array_stats.mcse(one[None])), other.mean(), error, f"{i}, power {power}")


@pytest.mark.parametrize("prior", [PRIOR, LEARNT], ids=["conjugate", "hierarchical"])
@pytest.mark.parametrize("name", OF_TWO)
def test_the_evidence_is_the_sum_over_allocations(name, prior):
    exact, _ = of_each_component(X, 2, prior, OF_TWO[name])
    found = bg.log_evidence(fit(X, 2, OF_TWO[name], prior, method="gibbs"), random_seed=1)
    assert found.mcse < 0.05
    assert abs(found.value - exact) < Z * found.mcse, (found, exact, SEED)


def test_the_evidence_counts_the_symmetries_that_remain():
    """Of three components one has a fixed weight: 2! images exist, not 3!."""
    exact, _ = of_each_component(X, 3, PRIOR, OF_THREE)
    tree = fit(X, 3, OF_THREE, method="gibbs")
    found = bg.log_evidence(tree, random_seed=1)
    assert abs(found.value - exact) < Z * found.mcse, (found, exact, SEED)
    assert fixed_of(tree.attrs["fixed"]).classes.tolist() == [0, 1, 1]


@pytest.mark.parametrize("method", ["nuts", "gibbs", "advi", "laplace"])
def test_every_engine_holds_what_is_fixed(method):
    x = np.concatenate([rng(1).normal(0, 0.1, 40), rng(2).normal(3, 1, 110), rng(3).normal(8, 0.7, 50)])
    fixed = {"mu": [0.0, NAN, NAN], "sigma": [0.1, NAN, NAN], "w": [0.2, NAN, NAN]}
    tree = fit(x, 3, fixed, prior=bg.HierarchicalPrior(), method=method)
    posterior = tree["posterior"]
    for name, values in fixed.items():
        assert (posterior[name].values[..., 0] == values[0]).all()
    np.testing.assert_allclose(posterior["w"].sum("cluster"), 1, rtol=1e-12)
    assert posterior["mu"].mean(("chain", "draw")).values[1:].round().tolist() == [3.0, 8.0]
    assert bg.diagnose(tree).ok, bg.diagnose(tree)
    again = bg.relabel(tree)
    np.testing.assert_array_equal(again["posterior"]["mu"], posterior["mu"])


@pytest.mark.parametrize("method", ["nuts", "gibbs"])
def test_engines_agree_on_exact_weights(method):
    _, exact = of_each_component(X, 3, PRIOR, OF_THREE)
    tree = fit(X, 3, OF_THREE, method=method, draws=2_000)
    w = tree["posterior"]["w"].values
    np.testing.assert_allclose(w[..., 0], 0.2, rtol=1e-9)
    np.testing.assert_allclose(exact, [0.2, 0.4, 0.4])
    exact_mean, mu = (
        of_mean(X, PRIOR),
        fit(X, 1, {"sigma": [0.7]}, method=method, draws=2_000)["posterior"]["mu"].values[..., 0],
    )
    assert_same_means(mu.mean(), float(array_stats.mcse(mu)), exact_mean, 0.0, "mean of one normal with a known spread")


def of_mean(x, prior):
    precision = 1 / prior.B0 + len(x) / 0.7**2
    return (prior.b0 / prior.B0 + x.sum() / 0.7**2) / precision


@pytest.mark.parametrize(("covariance", "d"), STRUCTURES)
def test_em_finds_a_maximum_over_what_is_free(covariance, d):
    generator = rng(5)
    x = np.concatenate([generator.normal(at, 1, size=(60, d)) for at in (0, 3, 6, 9)])
    x = x[:, 0] if d == 1 else x
    fixed = some_fixed(covariance, d)
    em = bg.fit_em(x, 4, covariance=covariance, fixed=fixed, random_seed=1, tol=1e-9, max_iter=50_000)
    assert (np.diff(em.history) > -1e-8).all()
    held = read_fixed(fixed, 4, d, covariance)
    np.testing.assert_allclose(em.mixture.mu[~held.free_mu], held.mu[~held.free_mu])
    np.testing.assert_allclose(em.mixture.weights[~held.free_w], held.w[~held.free_w], rtol=1e-9)
    np.testing.assert_allclose(em.mixture.cov[~held.free_cov], held.cov[~held.free_cov], rtol=1e-9)
    rows = Observations.made(x.reshape(len(x), -1))
    flat = LogPosterior(rows, 4, bg.HierarchicalPrior().scaled_to(x, covariance), covariance, fixed=held)
    best = flat.at(em.mixture)

    def log_likelihood(point):
        return rows.log_likelihood(*flat.mixture_at(point).parameters)

    free = [i for i in range(flat.n_dim) if i in set(flat.beside_scale)]
    steps = 1e-4 * np.eye(flat.n_dim)[free]
    slopes = [(log_likelihood(best + step) - log_likelihood(best - step)) / 2e-4 for step in steps]
    np.testing.assert_allclose(slopes, 0, atol=0.02)
    assert em.n_parameters == len(free)


def test_pymc_samples_the_same():
    fixed = OF_TWO["a component"]
    ours, theirs = (fit(X, 2, fixed, engine=engine, method="nuts", draws=1_000) for engine in ("compiled", "pymc"))
    for name in ("w", "mu", "sigma"):
        one, other = (tree["posterior"][name].values[..., 1] for tree in (ours, theirs))
        errors = (float(array_stats.mcse(each)) for each in (one, other))
        assert_same_means(one.mean(), next(errors), other.mean(), next(errors), name)


def test_leaving_out_one_observation_keeps_what_is_fixed():
    fixed, n = {"w": [0.5, 0.5], "sigma": [0.7, 0.7]}, len(X)
    tree = bg.add_log_likelihood(fit(X, 2, fixed, method="gibbs", draws=1_000))
    found = bg.loo(tree)
    exact = sum(
        of_each_component(X, 2, PRIOR, fixed)[0] - of_each_component(np.delete(X, i), 2, PRIOR, fixed)[0] for i in range(n)
    )
    assert found.elpd == pytest.approx(exact, abs=0.1)


@pytest.mark.parametrize(
    ("fixed", "k", "error"),
    [
        ({"w": [0.7, 0.6]}, 2, "fixed\\['w'\\] must sum to 1 if all weights are fixed, got the sum 1.3"),
        ({"w": [0.7, 0.4, NAN]}, 3, "fixed\\['w'\\] must sum to less than 1"),
        ({"w": [0.0, NAN]}, 2, "fixed\\['w'\\] must be above 0 and at most 1, got 0"),
        ({"sigma": [-1.0, NAN]}, 2, "fixed\\['sigma'\\] must be positive, got -1"),
        ({"mu": [np.inf, NAN]}, 2, "fixed\\['mu'\\] must be finite, or NaN where free.*got infinite values"),
        ({"mu": [0.0]}, 2, r"with shape \(2,\) for k = 2 and 1 feature\(s\), got shape \(1,\)"),
        ({"cov": np.eye(2)}, 2, "fixed must hold no other names than 'w', 'mu' and 'sigma' for 1 feature"),
        ({"w": [0.5, 0.5], "mu": [0.0, 1.0], "sigma": [1.0, 1.0]}, 2, "fixed must leave at least one parameter free"),
        ([1.0], 2, "fixed must map names of parameters to values, got list"),
    ],
)
def test_what_cannot_be_fixed_gets_a_sentence(fixed, k, error):
    for call in (bg.fit, bg.fit_em, bg.build_model):
        with pytest.raises((ValueError, TypeError), match=error):
            call(X, k, fixed=fixed)


@pytest.mark.parametrize(
    ("cov", "covariance", "error"),
    [
        ([[[1.0, 2.0], [2.0, 1.0]]] * 2, "full", "must be symmetric and positive definite, but that of component 0 is not"),
        ([[[1.0, NAN], [NAN, 1.0]]] * 2, "full", "must hold whole covariances, or NaN in all entries"),
        ([[[1.0, 0.1], [0.1, 1.0]]] * 2, "diag", "must have the structure of covariance='diag'"),
        ([[[1.0, 0.0], [0.0, 2.0]]] * 2, "spherical", "must have the structure of covariance='spherical'"),
        ([np.eye(2), 2 * np.eye(2)], "tied", "must be the same for all components with covariance='tied'"),
        ([np.eye(2), np.full((2, 2), NAN)], "tied", "must be the same for all components with covariance='tied'"),
    ],
)
def test_covariances_that_cannot_be_fixed_get_a_sentence(cov, covariance, error):
    with pytest.raises(ValueError, match=error):
        bg.fit(rng(1).normal(size=(20, 2)), 2, covariance=covariance, fixed={"cov": cov})


def test_nothing_fixed_is_as_if_it_were_not_asked():
    plain, asked = (
        bg.fit(X, 2, prior=PRIOR, method="gibbs", draws=50, random_seed=1, progressbar=False, **each)
        for each in ({}, {"fixed": {"mu": [NAN, NAN]}})
    )
    np.testing.assert_array_equal(plain["posterior"]["mu"], asked["posterior"]["mu"])
    assert "fixed" not in asked.attrs


def test_the_record_holds_the_values():
    tree = fit(X, 2, OF_TWO["a mean"], method="gibbs", draws=50)
    assert json.loads(tree.attrs["fixed"])["mu"] == [[None], [2.0]]


@pytest.mark.parametrize("method", ["nuts", "gibbs"])
def test_ordered_means_increase_in_every_draw_and_change_no_density(method):
    options = {"method": method, "prior": PRIOR, "random_seed": SEED, "progressbar": False}
    plain, tree = bg.fit(X, 2, **options), bg.fit(X, 2, ordered=True, **options)
    mu = tree["posterior"]["mu"].values
    assert (mu[..., 0] < mu[..., 1]).all()
    np.testing.assert_allclose(np.sort(mu), np.sort(plain["posterior"]["mu"].values))
    np.testing.assert_array_equal(bg.relabel(tree)["posterior"]["mu"].values, mu)
    assert bg.log_evidence(tree, random_seed=1).value == pytest.approx(bg.log_evidence(plain, random_seed=1).value)
    means = tree["em_baseline"]["mu"].values
    assert means[0] < means[1]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"fixed": {"mu": [0.0, NAN]}}, "ordered cannot be used beside fixed"),
        ({"labels": [0, -1, -1, -1, 1]}, "ordered cannot be used beside labels"),
        ({"prior": bg.ConjugatePrior(alpha=[1.0, 2.0])}, "ordered cannot be used beside a prior for each component"),
    ],
)
def test_an_order_beside_what_tells_components_apart_is_refused(options, error):
    with pytest.raises(ValueError, match=error):
        bg.fit(X, 2, ordered=True, **options)


def test_means_of_several_features_have_no_order():
    with pytest.raises(ValueError, match="ordered needs one feature, got 2"):
        bg.fit(rng(1).normal(size=(20, 2)), 2, ordered=True)


def test_the_log_prior_is_that_of_what_is_free():
    prior, fixed = PRIOR, {"w": [0.2, NAN, NAN], "mu": [NAN, 2.0, NAN], "sigma": [0.5, NAN, NAN]}
    tree = bg.add_log_prior(fit(X, 3, fixed, prior, method="gibbs", draws=100))
    posterior, found = tree["posterior"], tree["log_prior"]
    shares = posterior["w"].values[..., 1:] / 0.8
    np.testing.assert_allclose(found["w"], stats.beta.logpdf(shares[..., 0], prior.alpha, prior.alpha), rtol=1e-10)
    of_means = stats.norm.logpdf(posterior["mu"].values, prior.b0, np.sqrt(prior.B0))
    np.testing.assert_allclose(found["mu"], np.where([True, False, True], of_means, 0.0), rtol=1e-10)
    of_variances = stats.invgamma.logpdf(posterior["sigma"].values ** 2, prior.c0, scale=prior.C0)
    np.testing.assert_allclose(found["sigma"], np.where([False, True, True], of_variances, 0.0), rtol=1e-10)


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_the_log_prior_of_a_fixed_covariance_is_zero(covariance):
    fixed = {"cov": [np.eye(2), np.full((2, 2), NAN)]}
    prior = bg.ConjugatePrior(c0=3.0, C0=np.diag([0.5, 2.0]) if covariance == "full" else [0.5, 2.0])
    tree = bg.fit(rng(1).normal(size=(30, 2)), 2, fixed=fixed, prior=prior, covariance=covariance, method="gibbs", draws=50,
                  random_seed=SEED, progressbar=False)  # fmt: skip
    cov, found = tree["posterior"]["cov"].values[0, 0, 1], bg.add_log_prior(tree)["log_prior"]["cov"].values
    assert (found[..., 0] == 0).all()
    by_hand = stats.invwishart.logpdf(cov, 6, 2 * prior.C0) if covariance == "full" else (
        stats.invgamma.logpdf(np.diag(cov), 3.0, scale=prior.C0).sum()
    )  # fmt: skip
    assert found[0, 0, 1] == pytest.approx(by_hand, rel=1e-10)


def test_pymc_orders_the_means_and_loses_no_density():
    plain, ordered = (bg.build_model(X, 3, prior=PRIOR, ordered=each) for each in (False, True))
    values = {"w": np.array([0.2, 0.5, 0.3]), "mu": np.array([-1.0, 0.2, 2.0]), "sigma2": np.array([1.0, 0.5, 0.7])}
    of_values = []
    for model in (plain, ordered):
        point = {}
        for rv in model.free_RVs:
            transform, value = model.rvs_to_transforms[rv], model.rvs_to_values[rv]
            own = values[rv.name]
            point[value.name] = own if transform is None else transform.forward(own, *rv.owner.inputs).eval()
        of_values.append(model.compile_logp(jacobian=False)(point))
    assert of_values[1] - of_values[0] == pytest.approx(np.log(6))
    assert np.isfinite(ordered.compile_logp()(ordered.initial_point()))
    tree = bg.fit(X, 2, ordered=True, prior=PRIOR, engine="pymc", draws=300, random_seed=1, progressbar=False)
    assert (np.diff(tree["posterior"]["mu"].values, axis=-1) > 0).all()


def test_the_report_shows_the_call_with_what_is_fixed():
    tree = fit(X, 2, {"mu": [NAN, 2.0], "w": [0.4, 0.6]}, method="gibbs", draws=50)
    call = _python(tree)
    assert call.startswith("from math import nan")
    assert "fixed={'w': [0.4, 0.6], 'mu': [nan, 2.0]}" in " ".join(call.split())
    assert _unknown_to_shell(tree)
    assert not _unknown_to_shell(fit(X, 2, None, method="gibbs", draws=50))
