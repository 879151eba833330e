"""When ties make the posterior improper: the condition against quadrature, and the results that are refused then."""

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.special import betaln, gammaln, logsumexp, multigammaln

import bayesgmm as bg
from bayesgmm.analysis.impropriety import existence, impropriety, look_at
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior
from tests.conftest import make_tree
from tests.statistics import rng

DISTINCT = [0.3, 1.7, 3.1, 4.4, 5.2, 6.6, 8.0]
QUIET = {"random_seed": 1, "progressbar": False}


def is_improper(x, k, covariance="full", prior=None, *, noise=False, family="gaussian"):
    x = np.asarray(x, dtype=float).reshape(len(x), -1)
    prior = (prior or HierarchicalPrior()).scaled_to(x, covariance, noise=noise)
    names = [f"x{j}" for j in range(x.shape[1])]
    return impropriety(x, names, k, prior, covariance, noise=noise, family=family) is not None


def log_evidence_cut(x, k, cuts, c0=2.0, g0=0.2, step=0.5, noise=False):
    """Exact log evidence for one feature under the default prior, with all variances restricted to above e^-cut.

    It is a sum over all allocations. The density of noise is 0.1.
    """
    values, counts = np.unique(x, return_counts=True)
    spread, n = float(np.ptp(values)), len(x)
    b0, B0, G0 = values[0] + spread / 2, spread**2, 50 * g0 / spread**2
    log_C0, log_v = np.arange(-200, 6, step), np.arange(-200, 8, step)
    v = np.exp(log_v)
    prior = c0 * log_C0[:, None] - math.lgamma(c0) - c0 * log_v - np.exp(np.minimum(log_C0[:, None] - log_v, 700))
    of_C0 = g0 * math.log(G0) - math.lgamma(g0) + g0 * log_C0 - G0 * np.exp(log_C0)

    def likelihood(m, total, squares):  # of one component given its variance, its mean integrated out
        if m == 0:
            return np.zeros_like(v)
        within = max(squares - total**2 / m, 0.0)
        within = 0.0 if within < 1e-12 else within
        log_scale = -m / 2 * math.log(2 * math.pi) - (m - 1) / 2 * log_v - np.log(v + m * B0) / 2
        return log_scale - within / (2 * v) - m * (total / m - b0) ** 2 / (2 * (v + m * B0))

    groups = [np.array(each) for each in itertools.product(*[range(count + 1) for count in counts])]
    parts = [likelihood(int(each.sum()), each @ values, each @ values**2) for each in groups]
    found = []
    for cut in cuts:
        kept = log_v >= -cut
        of_group = {
            tuple(each): logsumexp(prior[:, kept] + part[kept], axis=1) + math.log(step)
            for each, part in zip(groups, parts, strict=True)
        }
        memo = {}

        def over_allocations(left, components, of_group=of_group, memo=memo):
            """Log sum over the allocations of what is left, with weights integrated out, up to a constant."""
            if components == 1:
                return of_group[left] + gammaln(sum(left) + 1)
            if (left, components) not in memo:
                terms = []
                for one in itertools.product(*[range(count + 1) for count in left]):
                    rest = tuple(a - b for a, b in zip(left, one, strict=True))
                    ways = sum(math.log(math.comb(a, b)) for a, b in zip(left, one, strict=True))
                    terms.append(ways + of_group[one] + gammaln(sum(one) + 1) + over_allocations(rest, components - 1))
                memo[left, components] = logsumexp(terms, axis=0)
            return memo[left, components]

        whole = []
        for strays in itertools.product(*[range(count + 1 if noise else 1) for count in counts]):
            left, m = tuple((counts - strays).tolist()), sum(strays)
            ways = sum(math.log(math.comb(a, b)) for a, b in zip(counts.tolist(), strays, strict=True))
            of_share = betaln(1 + m, 9 + n - m) - betaln(1, 9) + m * math.log(0.1) if noise else 0.0
            whole.append(ways + of_share + over_allocations(left, k) + gammaln(k) - gammaln(k + n - m))
        whole = logsumexp(whole, axis=0)
        found.append(float(logsumexp(whole + of_C0) + math.log(step)))
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("k", "ties", "improper"),
    [(2, (5,), False), (2, (6,), True), (3, (5,), False), (3, (6,), True), (3, (3, 3), False), (3, (4, 3), True)],
)
def test_the_condition_for_one_feature_is_that_of_quadrature(k, ties, improper):
    """A cut-off of the variances changes nothing where the posterior is proper, and everything where it is not."""
    x = np.concatenate([np.repeat([2.0, 5.0][: len(ties)], ties), DISTINCT])[:9]
    values = log_evidence_cut(x, k, [40, 80, 160])
    rises = np.diff(values)
    assert is_improper(x, k) is improper
    if improper:
        gain = sum(m - 1 for m in ties) / 2 - 2.2
        np.testing.assert_allclose(rises, gain * np.array([40, 80]), rtol=0.02, atol=0.5)
    else:
        assert np.abs(rises).max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("k", "ties", "g0", "improper"),
    [(1, (2,), 0.2, True), (1, (5,), 2.2, False), (1, (6,), 2.2, True), (2, (3, 3), 2.2, False), (2, (4, 3), 2.2, True)],
)
def test_beside_noise_no_component_needs_to_stay(k, ties, g0, improper):
    """All other rows may be noise, so that every component can collapse. The default of g0 is then 2.2."""
    x = np.concatenate([np.repeat([2.0, 5.0][: len(ties)], ties), DISTINCT])[:8]
    rises = np.diff(log_evidence_cut(x, k, [40, 80, 160], g0=g0, noise=True))
    for covariance in ("full", "tied", "diag"):
        assert is_improper(x, k, covariance, HierarchicalPrior(g0=g0), noise=True) is improper
    assert is_improper(x, k, noise=True) is (improper and g0 > 1)
    if improper:
        np.testing.assert_allclose(rises, (sum(m - 1 for m in ties) / 2 - g0) * np.array([40, 80]), rtol=0.02, atol=0.5)
    else:
        assert np.abs(rises).max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("n", "ties", "improper"), [(5, 3, False), (6, 3, False), (6, 4, True), (8, 5, True)])
def test_a_t_distribution_shrinks_onto_more_than_half_of_the_observations(n, ties, improper):
    """K = 1. Mean, variance, nu and C0 are integrated out; the mean on a grid of (mu - ties) / sd."""
    x = np.concatenate([np.full(ties, 2.0), DISTINCT])[:n]
    spread = np.ptp(x)
    log_v, u, log_C0 = np.arange(-170, 8, 1.0), np.arange(-100, 100, 0.125), np.arange(-180, 6, 0.5)
    nu = 1 + np.exp(np.arange(-9, 5, 0.5))
    of_nu = stats.gamma(2, scale=10).logpdf(nu) + np.log(nu - 1)
    by_v = np.empty(len(log_v))
    for i, log_variance in enumerate(log_v):
        sd = math.exp(log_variance / 2)
        mu = 2.0 + sd * np.sinh(u)
        near = abs(mu) < 1e3
        terms = stats.norm(x.min() + spread / 2, spread).logpdf(mu[near]) + np.log(sd * np.cosh(u[near]))
        distances = ((x[:, None] - mu[near]) / sd) ** 2
        distances[:ties] = np.sinh(u[near]) ** 2
        of_t = [(stats.t.logpdf(0, v) - math.log(sd)) * n - (v + 1) / 2 * np.log1p(distances / v).sum(axis=0) for v in nu]
        by_v[i] = logsumexp(terms + np.array(of_t) + of_nu[:, None])
    of_C0 = 0.2 * log_C0 - 10 / spread**2 * np.exp(log_C0)
    prior = 2 * log_C0[:, None] - 2 * log_v - np.exp(np.minimum(log_C0[:, None] - log_v, 700))
    joint = of_C0[:, None] + prior + by_v
    rises = np.diff([logsumexp(joint[:, log_v >= -cut]) for cut in (40, 80, 160)])
    assert is_improper(x, 1, family="t") is improper
    if improper:  # grows as a power of the cut-off variance, apart from what the integral over nu adds
        gain = (ties - 1) / 2 - (n - ties) / 2 - 0.2
        np.testing.assert_allclose(rises, gain * np.array([40, 80]), atol=1.5)
    else:
        assert abs(rises[-1]) < 0.01


@pytest.mark.slow
def test_all_observations_on_as_many_values_as_components():
    """With so few values every component can collapse, and fewer ties of each value are enough."""
    x = np.repeat([1.0, 2.0], [2, 2])
    assert is_improper(x, 2)
    assert is_improper(x, 2, "tied")
    assert np.diff(log_evidence_cut(x, 2, [40, 80]))[0] > 20
    assert not is_improper(np.append(x, 3.0), 2)
    assert abs(np.diff(log_evidence_cut(np.append(x, 3.0), 2, [40, 80]))[0]) < 0.01


def integrand_over_scale(groups, c0=3.0, g0=1.0):
    """Log joint density of groups of rows with two features, as a function of log d. Each group has its own full covariance.

    C0 = [[A, A b], [A b, d + A b^2]], so d is the second feature's scale given the first. Means, covariances, A and b are
    integrated out.
    """
    x = np.vstack(groups)
    spread = np.ptp(x, axis=0)
    b0, B0, G0 = x.min(axis=0) + spread / 2, spread**2, 100 * g0 / c0 / spread**2
    log_A, u, log_d = np.arange(-12, 8, 0.5), np.arange(-14, 14.01, 0.25), np.arange(-120.0, -60, 12)
    log_A, u, log_d = np.meshgrid(log_A, u, log_d, indexing="ij")
    A, d = np.exp(log_A), np.exp(log_d)
    b = np.sinh(u) * np.sqrt(d)
    C11, C12, C22 = A, A * b, d + A * b**2
    value = g0 * np.log(G0.prod()) - multigammaln(g0, 2) + (g0 - 1.5) * (log_A + log_d) - G0[0] * C11 - G0[1] * C22
    value += 2 * log_A + 1.5 * log_d + np.log(np.cosh(u))  # Jacobian
    s = np.exp(np.arange(-40, 8, 0.5))
    for rows in groups:
        m, centre = len(rows), rows.mean(axis=0)
        S = (rows - centre).T @ (rows - centre) / 2
        S[abs(S) < 1e-12] = 0
        determinant = C11 * d + S[0, 0] * C22 + C11 * S[1, 1] + S[0, 0] * S[1, 1] - S[0, 1] ** 2 - 2 * C12 * S[0, 1]
        shape, e = c0 + m / 2, b0 - centre
        parts = []
        for each in s:  # a t density over the mean is a mixture of normal ones
            v, w, c = (
                (C11 + S[0, 0]) / (each * m) + B0[0],
                (C22 + S[1, 1]) / (each * m) + B0[1],
                (C12 + S[0, 1]) / (each * m),
            )
            both = v * w - c * c
            distance = (w * e[0] ** 2 - 2 * c * e[0] * e[1] + v * e[1] ** 2) / both
            parts.append((shape - 1) * np.log(each) - each - np.log(both) / 2 - distance / 2)
        value += c0 * (log_A + log_d) - (shape - 0.5) * np.log(determinant) + logsumexp(parts, axis=0)
    return log_d[0, 0], logsumexp(value, axis=(0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("ties", [6, 8, 9, 12])
def test_the_condition_for_full_covariances_is_that_of_quadrature(ties):
    """Some rows share their second feature. If they are nine, the integrand over log d no longer vanishes as d goes to 0."""
    on_a_line = np.column_stack([rng(0).normal(size=ties), np.zeros(ties)])
    others = rng(1).normal(size=(5, 2)) + [0, 3]
    log_d, value = integrand_over_scale([on_a_line, others])
    slopes = np.diff(value) / np.diff(log_d)
    np.testing.assert_allclose(slopes, 4 - (ties - 1) / 2, atol=0.01)
    x = np.vstack([on_a_line, others])
    assert is_improper(x, 2) is (ties >= 9)
    assert not is_improper(x, 1)
    assert not is_improper(x, 2, "tied")
    assert not is_improper(x, 2, prior=ConjugatePrior())


def test_ties_across_features_are_seen_by_full_covariances():
    """Rows with the same difference between their two features lie on a line that is not parallel to an axis."""
    a = np.arange(12.0)
    x = np.vstack([np.column_stack([a, a + 3]), np.column_stack([np.arange(12.0), rng(0).permutation(12) * 1.0])])
    found = impropriety(x, ["a", "b"], 2, HierarchicalPrior().scaled_to(x), "full")
    assert found.ties.name == "a - b"
    assert "observations have a - b = -3" in found.problem
    assert not is_improper(x, 2, "diag")


def test_ties_of_one_feature_are_seen_beside_another_without_an_exact_value():
    x = np.column_stack([np.resize([1.0, 2.0, 3.0], 60), rng(1).normal(size=60)])
    error = np.broadcast_to([0.0, 0.5], x.shape)
    prior = HierarchicalPrior().scaled_to(x)
    found = look_at(bg.Observations(x, error=error), [2], prior, "full")[2].improper
    assert "20 observations have column 0 = 1" in found.problem
    assert look_at(bg.Observations(x, error=np.maximum(error, 0.1)), [2], prior, "full")[2].improper is None


def test_independent_features_are_improper_each_by_itself_and_spheres_by_whole_rows():
    x = rng(0).normal(size=(40, 3))
    x[:6, 1] = 0.5
    assert is_improper(x, 2, "diag")
    assert not is_improper(x, 2, "spherical")
    assert not is_improper(x, 2, "full")
    y = rng(0).normal(size=(40, 3))
    y[:2] = y[2]  # 3 (3 - 1) / 2 = 3 above c0 + g0 = 2.2
    assert is_improper(y, 2, "spherical")
    assert not is_improper(y[1:], 2, "spherical")


def test_old_faithful_and_iris_are_improper_and_spread_again_they_are_not(faithful_as_published):
    found = impropriety(
        faithful_as_published.to_numpy(),
        list(faithful_as_published),
        2,
        HierarchicalPrior().scaled_to(faithful_as_published.to_numpy()),
        "full",
    )
    assert "15 observations have waiting = 78" in found.problem
    assert "the values of waiting look rounded to 1" in found.remedy
    assert "bayesgmm.jitter(x), or use covariance='tied'" in found.remedy
    assert not is_improper(bg.jitter(faithful_as_published, random_seed=1), 6)
    assert not is_improper(faithful_as_published, 6, "tied")


@pytest.fixture(scope="module")
def rounded():
    """A hundred and fifty rounded numbers, like the sepal widths of irises."""
    return np.round(rng(3).normal(3.05, 0.43, 150), 1)


@pytest.fixture(scope="module")
def improper_comparison(rounded):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bg.compare(rounded, [1, 2, 3], rounding=None, draws=50, thin=1, **QUIET)


def test_fit_names_an_improper_posterior_before_sampling(rounded):
    with warnings.catch_warnings():
        warnings.simplefilter("error", bg.exceptions.ImproperPosteriorWarning)
        with pytest.raises(bg.exceptions.ImproperPosteriorWarning, match=r"observations have x = .* rounded to 0.1"):
            bg.fit(rounded, 2, rounding=None, **QUIET)


def test_what_does_not_exist_is_refused(improper_comparison, rounded):
    tree = improper_comparison.fits[2]
    for function in (bg.loo, bg.log_evidence):
        with pytest.raises(ValueError, match=r"cannot be computed: the posterior is improper: .*bayesgmm\.jitter\(x\)"):
            function(tree)
    with pytest.raises(ValueError, match=r"p\(k \| x\) cannot be computed: the posterior is improper"):
        bg.posterior_k(rounded, rounding=None, **QUIET)
    assert "improper" in {each.kind for each in bg.diagnose(tree).findings}
    assert not bg.diagnose(tree).ok


def test_a_comparison_leaves_out_what_does_not_exist_and_says_so_first(improper_comparison):
    by_k = improper_comparison.table.set_index("k")
    assert by_k.loc[[2, 3], ["elpd_loo", "se", "elpd_diff", "weight", "log_evidence", "p_k"]].isna().all(axis=None)
    assert by_k.loc[1, ["weight", "p_k"]].tolist() == [1, 1]
    assert improper_comparison.verdict.startswith("k = 2, 3 left out of prediction and evidence: the posterior is improper")
    assert set(improper_comparison.loo) == {"1"}
    assert improper_comparison.best["elpd_loo"] == improper_comparison.best["log_evidence"] == 1
    assert "left out of prediction" in repr(improper_comparison)


@pytest.mark.slow
def test_a_comparison_of_nothing_but_improper_posteriors_has_em_alone(rounded):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        comparison = bg.compare(rounded, [2, 3], rounding=None, draws=50, thin=1, **QUIET)
    assert comparison.table["elpd_loo"].isna().all()
    assert "elpd_loo" not in comparison.best
    assert comparison.verdict.startswith("k = 2, 3 left out")
    repr(comparison)


def test_posterior_k_knows_draws_that_sit_on_ties():
    """With a fixed scale the posterior is proper, but it may still describe nothing but ties."""
    x = np.concatenate([np.repeat(2.0, 20), rng(0).normal(6, 1, 40)])
    with pytest.warns(bg.exceptions.ConvergenceWarning, match="a component has shrunk onto equal observations"):
        tree = bg.posterior_k(x, prior=bg.ConjugatePrior(C0=1e-9), draws=100, **QUIET)
    assert tree.attrs["verdict"].startswith("p(k | x) is not given: in ")


@pytest.mark.slow
@pytest.mark.parametrize("remedy", ["jitter", "tied"])
def test_the_remedies_work(rounded, remedy):
    """With jittered data, or a common variance, evidence and p(k | x) exist."""
    x, covariance = (bg.jitter(rounded, random_seed=1), "full") if remedy == "jitter" else (rounded, "tied")
    comparison = bg.compare(x, [1, 2], covariance=covariance, method="gibbs", draws=500, **QUIET)
    assert comparison.table["converged"].all()
    assert comparison.table["p_k"].sum() == pytest.approx(1)
    assert comparison.best["log_evidence"] == 1  # they come from one normal distribution


def collapsed_tree(x, sd, covariance="full"):
    def change(w, mu, sigma):
        sigma = sigma.copy()
        mu = mu.copy()
        mu[0, :5, 0], sigma[0, :5, 0] = 2.0, sd
        return w, mu, sigma

    return make_tree(x, 2, draws=100, change=change)


@pytest.mark.parametrize(("sd", "share"), [(1e-5, 0.0125), (1e-80, 0.0125), (0.01, 0.0)])
def test_draws_on_ties_have_collapsed(sd, share):
    x = np.concatenate([np.repeat(2.0, 4), rng(0).normal(6, 1, 100), rng(1).normal(0, 1, 50)])
    tree = collapsed_tree(x, sd)
    assert existence(tree).collapsed == pytest.approx(share)
    diagnosis = bg.diagnose(tree)
    assert (diagnosis.finding("collapse") is not None) is (share > 0)
    if share:
        assert not diagnosis.converged
        with pytest.raises(ValueError, match="LOO cannot be computed: in 1% of the draws a component has shrunk onto equal"):
            bg.loo(tree)


def test_a_narrow_cluster_is_no_collapse():
    """Components may be narrow compared with the range: with log-normal values, and beside far strays."""
    x = np.exp(rng(0).normal(0, 3, 2_000))
    assert existence(collapsed_tree(x, 1e-7 * np.ptp(x))).collapsed == 0
    y = np.concatenate([rng(0).normal(size=300), [1e6, 1.01e6]])
    assert existence(collapsed_tree(y, 1.0)).collapsed == 0


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning")
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_ties_of_two_features_collapse_in_the_direction_of_the_ties():
    x = np.vstack([np.column_stack([rng(0).normal(size=10), np.full(10, 2.0)]), rng(1).normal(size=(60, 2)) + 4])
    tree = bg.fit(x, 2, method="gibbs", draws=50, chains=2, prior=ConjugatePrior(), **QUIET)
    assert existence(tree).collapsed == 0
    cov, mu = tree["posterior"]["cov"].values.copy(), tree["posterior"]["mu"].values.copy()
    mu[0, :10, 0] = [0, 2.0]
    cov[0, :10, 0] = [[1, 0], [0, 1e-12]]
    spoilt = tree.copy()
    spoilt["posterior"] = type(tree)(
        tree["posterior"]
        .to_dataset()
        .assign(mu=(tree["posterior"]["mu"].dims, mu), cov=(tree["posterior"]["cov"].dims, cov))
    )
    assert existence(spoilt).collapsed == pytest.approx(0.1)
