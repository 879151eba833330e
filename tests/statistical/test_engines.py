"""Engine against engine, against quadrature and against the truth; with controls that must fail."""

import warnings

import numpy as np
import pymc as pm
import pytest
from scipy import stats

import bayesgmm as bg
from bayesgmm.analysis.tree import build_tree
from bayesgmm.data.observations import Observations
from bayesgmm.exceptions import ApproximationWarning
from tests.statistics import SEED, Z, assert_same_means

pytestmark = pytest.mark.statistical

EXAMPLES = {"two": (bg.datasets.two_gaussians, 2), "three": (bg.datasets.three_gaussians, 3)}


@pytest.fixture(scope="module", params=EXAMPLES)
def example(request):
    """Data, truth, and the posterior of a worked example by NUTS and by ADVI."""
    make, k = EXAMPLES[request.param]
    x, _, truth = make()
    nuts, advi = (bg.fit(x, k, method=method, random_seed=SEED, progressbar=False) for method in ("nuts", "advi"))
    return x, truth.sorted(), nuts, advi


def parameters(tree):
    return bg.check_against_em(tree).table


def assert_close_to_nuts(approximate, nuts):
    """Means within 0.2 NUTS standard deviations of NUTS's, standard deviations within 15 %."""
    one, two = parameters(nuts), parameters(approximate)
    assert ((two["mean"] - one["mean"]).abs() / one["sd"]).max() < 0.2
    assert (two["sd"] / one["sd"] - 1).abs().max() < 0.15


def test_nuts_converges_covers_the_truth_and_agrees_with_em(example):
    _, truth, nuts, _ = example
    diagnosis, check = bg.diagnose(nuts), bg.check_against_em(nuts)
    assert diagnosis.ok, diagnosis
    assert check.ok, check
    true = np.concatenate([truth.weights, truth.means, truth.sigma])
    z = (check.table["mean"] - true) / check.table["sd"]
    assert z.abs().max() < Z, z
    assert check.table["z"].abs().max() < 0.5, "with n = 10 000 the posterior mean is nearly the EM estimate"
    # half the number of parameters, as it must be if the posterior is normal and the prior weak
    deficit = check.em_log_likelihood - check.log_likelihood["mean"]
    free = 3 * truth.n_components - 1
    assert deficit == pytest.approx(free / 2, rel=0.15)


def test_advi_agrees_with_nuts_and_em(example):
    _, _, nuts, advi = example
    assert bg.check_against_em(advi).ok
    assert advi["approximation"].attrs["pareto_k"] < 0.7
    assert_close_to_nuts(advi, nuts)


def test_control_mean_field_is_caught(example):
    """The comparison must notice an approximation that is known to be too narrow."""
    x, truth, nuts, _ = example
    if truth.n_components == 3:
        x = x[x < 6.5]  # the overlapping two of the three, whose parameters are correlated
        nuts = bg.fit(x, 2, random_seed=SEED, progressbar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ApproximationWarning)
        narrow = bg.fit(x, 2, method="advi", approximation="meanfield", random_seed=SEED, progressbar=False)
    with pytest.raises(AssertionError):
        assert_close_to_nuts(narrow, nuts)


def by_quadrature(x, prior, c0=None):
    """Posterior mean and sd of mu and sigma for one component under the conjugate prior, on a fine grid."""
    c0 = prior.c0 if c0 is None else c0
    mu = np.linspace(x.mean() - 8 * x.std() / np.sqrt(len(x)), x.mean() + 8 * x.std() / np.sqrt(len(x)), 601)
    log_sigma = np.linspace(np.log(x.std()) - 1.5, np.log(x.std()) + 1.5, 601)[:, None]
    sigma = np.exp(log_sigma)
    squares = ((x - x.mean()) ** 2).sum() + len(x) * (x.mean() - mu) ** 2
    log_density = -len(x) * log_sigma - squares / (2 * sigma**2)
    log_density = log_density + stats.norm(prior.b0, np.sqrt(prior.B0)).logpdf(mu)
    log_density = log_density + stats.invgamma(c0, scale=prior.C0).logpdf(sigma**2) + 2 * log_sigma
    mass = np.exp(log_density - log_density.max())
    mass /= mass.sum()
    sigma = np.broadcast_to(sigma, mass.shape)
    means = {"mu[0]": (mass * mu).sum(), "sigma[0]": (mass * sigma).sum()}
    spread = {
        "mu[0]": (mass * (mu - means["mu[0]"]) ** 2).sum(),
        "sigma[0]": (mass * (sigma - means["sigma[0]"]) ** 2).sum(),
    }
    return {name: (means[name], np.sqrt(spread[name])) for name in means}


def test_one_component_agrees_with_quadrature_and_a_wrong_prior_does_not():
    x = bg.datasets.galaxies().to_numpy()[:20]
    prior = bg.ConjugatePrior(b0=20, B0=100, c0=3, C0=20)
    tree = bg.fit(x, 1, prior=prior, draws=2000, random_seed=SEED, progressbar=False)
    table = parameters(tree)

    def check(exact):
        for name, (mean, sd) in exact.items():
            row = table.loc[name]
            assert_same_means(row["mean"], row["mcse_mean"], mean, 0, name)
            assert row["sd"] == pytest.approx(sd, rel=Z * np.sqrt(1 / (2 * row["ess_bulk"])) + 0.02)

    check(by_quadrature(x, prior.scaled_to(x)))
    with pytest.raises(AssertionError):
        check(by_quadrature(x, prior.scaled_to(x), c0=5))


@pytest.fixture(scope="module")
def plain(galaxies):
    """PyMC's own NUTS on the model as it stands, brought into a tree by hand."""
    model = bg.build_model(galaxies, 3)
    em = bg.fit_em(galaxies, 3, random_seed=SEED)
    start = {"w": em.mixture.weights, "mu": em.mixture.means, "sigma2": em.mixture.covariances}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = pm.sample(
            1000, tune=1000, chains=4, cores=2, model=model, initvals=start, nuts_sampler="pymc", target_accept=0.9,
            random_seed=SEED, progressbar=False, compute_convergence_checks=False,
        )  # fmt: skip
    posterior = tree["posterior"].to_dataset().drop_vars("sigma2")
    stats_of_draws = tree["sample_stats"].to_dataset()[["lp"]]
    return build_tree(posterior, stats_of_draws, Observations.read(galaxies), em, {"method": "nuts", "k": 3})


def assert_same_posterior(one, two, *, with_log_posterior=False):
    """Means of label-invariant quantities agree. PyMC's log posterior is in the data's units, not in standardised ones."""
    a, b = bg.diagnose(one).invariants, bg.diagnose(two).invariants
    for name in a.index.intersection(b.index).drop([] if with_log_posterior else "log posterior"):
        assert_same_means(a.loc[name, "mean"], a.loc[name, "mcse_mean"], b.loc[name, "mean"], b.loc[name, "mcse_mean"], name)


def test_gibbs_has_the_same_posterior(nuts_tree, galaxies):
    gibbs = bg.fit(galaxies, 3, method="gibbs", random_seed=SEED, progressbar=False)
    assert_same_posterior(nuts_tree, gibbs, with_log_posterior=True)


def test_fit_agrees_with_plain_pymc(nuts_tree, plain):
    assert_same_posterior(nuts_tree, plain)


@pytest.mark.parametrize(
    ("covariance", "prior"), [("full", bg.HierarchicalPrior(alpha=2.0)), ("tied", bg.ConjugatePrior())], ids=["full", "tied"]
)
def test_compiled_and_pymc_engines_agree(covariance, prior):
    """A skewed, overlapping target; 4 000 draws by each engine."""
    x = bg.Mixture([0.3, 0.7], [0.0, 2.5], sigma=[1.0, 0.8]).sample(300, random_seed=SEED)[0]
    options = {"covariance": covariance, "prior": prior, "progressbar": False}
    one, two = (
        bg.fit(x, 2, engine=engine, random_seed=SEED + i, **options) for i, engine in enumerate(("compiled", "pymc"))
    )
    assert_same_posterior(one, two)
    a, b = parameters(one), parameters(two)
    for name in a.index:
        assert_same_means(a.loc[name, "mean"], a.loc[name, "mcse_mean"], b.loc[name, "mean"], b.loc[name, "mcse_mean"], name)


def test_compiled_and_pymc_advi_end_at_the_same_approximation():
    x = bg.datasets.two_gaussians().x
    one, two = (
        bg.fit(x, 2, method="advi", engine=engine, random_seed=SEED, draws=4_000, progressbar=False)
        for engine in ("compiled", "pymc")
    )
    a, b = parameters(one), parameters(two)
    assert ((a["mean"] - b["mean"]).abs() / a["sd"]).max() < 0.1
    assert (a["sd"] / b["sd"] - 1).abs().max() < 0.05


def test_control_another_prior_is_noticed(plain, galaxies):
    other = bg.fit(galaxies, 3, prior=bg.ConjugatePrior(), random_seed=SEED, progressbar=False)
    with pytest.raises(AssertionError):
        assert_same_posterior(other, plain)
