"""The number of components: its priors, the telescoping step, the sweeps, and the tree."""

import itertools
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats
from scipy import integrate, stats
from scipy.special import gammaln

import bayesgmm as bg
from bayesgmm import counting, priors
from bayesgmm.analysis.quantities import followed
from bayesgmm.exceptions import ConvergenceWarning, DataWarning, InterruptedWarning
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.number import draw_number, log_partition, number_tables
from bayesgmm.model.mixture import Mixture
from tests.families import COVARIANCES, KINDS, STRUCTURES
from tests.oracles.unknown_k import AXES, PRIOR, Problem, concentrations_of, summary
from tests.statistics import SEED, assert_counts, assert_same_means, rng
from tests.test_clusters import expected_loss


def run(x, **options):
    return bg.posterior_k(x, **{"random_seed": SEED, "progressbar": False} | options)


def run_short(x, **options):
    """A run that is too short to converge, without the warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return run(x, **{"draws": 50, "tune": 20, "thin": 2, "chains": 2} | options)


# priors


@pytest.mark.parametrize(
    ("prior", "scipys"),
    [
        (priors.Uniform(7), stats.randint(1, 8)),
        (priors.Geometric(0.3), stats.geom(0.3)),
        (priors.Poisson(2.5), stats.poisson(2.5, loc=1)),
        (priors.NegativeBinomial(2.5, 0.4), stats.nbinom(2.5, 0.4, loc=1)),
        (priors.BetaNegativeBinomial(1, 4, 3), stats.betanbinom(1, 4, 3, loc=1)),
        (priors.BetaNegativeBinomial(3, 5, 0.7), stats.betanbinom(3, 5, 0.7, loc=1)),
    ],
)
def test_a_prior_is_scipys(prior, scipys):
    k = np.arange(-2, 60)
    np.testing.assert_allclose(prior.log_pmf(k), scipys.logpmf(k), rtol=1e-9)
    assert prior.log_pmf(1.5) == -np.inf
    p = prior.probabilities()
    assert p.sum() == pytest.approx(1, abs=1e-14)
    expected = scipys.pmf(np.arange(1, len(p) + 1))
    np.testing.assert_allclose(p, expected / expected.sum(), rtol=1e-9)
    assert len(p) == 200 or scipys.sf(len(p)) < 1.1e-12


def test_probabilities_may_be_given():
    prior = priors.Probabilities([0.2, 0, 0.8, 0])
    assert prior.probabilities().tolist() == [0.2, 0, 0.8]
    np.testing.assert_array_equal(np.exp(prior.log_pmf([0, 1, 2, 3, 4, 5])).round(12), [0, 0.2, 0, 0.8, 0, 0])
    assert prior.to_json() == '{"name": "Probabilities", "values": [0.2, 0.0, 0.8, 0.0]}'


@pytest.mark.parametrize(
    ("prior", "error", "message"),
    [
        ([0.5, -0.1, 0.6], ValueError, "prior_k must hold probabilities, which are finite and not negative"),
        ([0.5, np.nan], ValueError, "finite and not negative"),
        ([0.5, np.inf], ValueError, "finite and not negative"),
        ([0.0, 0.0], ValueError, "add to one, got a sum of 0; make at least one k possible"),
        ([1.0, 1.0, 1.0], ValueError, "add to one, got a sum of 3; divide them by their sum"),
        ([], ValueError, r"probabilities of k = 1, ..., m for an m up to 1000, got shape \(0,\)"),
        ([[1.0]], ValueError, r"got shape \(1, 1\)"),
        (["a"], TypeError, "prior_k must hold numbers"),
        ("uniform", TypeError, "prior_k must be one of bayesgmm.priors.Uniform, Geometric, .* got 'uniform'"),
        (5, TypeError, "prior_k must be one of"),
        (priors.Uniform, TypeError, "prior_k must be one of"),
        (lambda k: 1 / k, TypeError, "prior_k must be one of"),
        (priors.Geometric(0.001), ValueError, r"all but 0.0001 of its probability on k = 1, ..., 200, got 0.82 on larger k under Geo"),
        (priors.BetaNegativeBinomial(1, 0.1, 1), ValueError, "give probabilities of k = 1, ..., m as a sequence"),
    ],
)  # fmt: skip
def test_an_improper_prior_gets_a_sentence(galaxies, prior, error, message):
    with pytest.raises(error, match=message):
        run(galaxies, prior_k=prior)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: priors.Uniform(0), ValueError, "most must be an integer of at least 1, got 0"),
        (lambda: priors.Uniform(np.inf), TypeError, "most must be an integer of at least 1, got inf"),
        (lambda: priors.Uniform(2000), ValueError, "most must be at most 1000, got 2000"),
        (lambda: priors.Geometric(0), ValueError, "p must be a positive finite number, got 0"),
        (lambda: priors.Geometric(1.2), ValueError, "p must lie between 0 and 1, got 1.2"),
        (lambda: priors.Poisson(np.inf), ValueError, "rate must be a positive finite number, got inf"),
        (lambda: priors.NegativeBinomial(-1, 0.5), ValueError, "r must be a positive finite number, got -1"),
        (lambda: priors.BetaNegativeBinomial(1, 0, 3), ValueError, "a_pi must be a positive finite number, got 0"),
    ],
)
def test_a_wrong_parameter_gets_a_sentence(make, error, message):
    with pytest.raises(error, match=message):
        make()


# the telescoping step


def probability_of(z, k, concentration):
    """p(z | k) by a Pólya urn: each observation goes to a component in proportion to its count plus the concentration."""
    p, counts = 1.0, np.zeros(k)
    for i, j in enumerate(z):
        p *= (counts[j] + concentration) / (i + k * concentration)
        counts[j] += 1
    return p


def canonical(z):
    seen = {}
    return tuple(seen.setdefault(j, len(seen)) for j in z)


@compiled(fastmath=STRICT)
def numbers_drawn(rng, counts, tables, probabilities, found):
    for s in range(len(found)):
        found[s] = draw_number(rng, counts, tables, probabilities)


@pytest.mark.parametrize("weights", ["static", "dynamic"])
@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_the_number_given_the_partition_is_that_of_all_allocations(weights, alpha, monkeypatch):
    n, most = 5, 4
    concentrations = concentrations_of(weights, alpha, most)
    tables = [number_tables(PRIOR, concentrations, n)]
    if weights == "dynamic":  # also with a table that ends below the largest size
        monkeypatch.setattr("bayesgmm.kernels.number._NUMBERS", 8)
        tables.append(number_tables(PRIOR, concentrations, n))
        assert len(tables[1].rising) == 3
    joint = {}
    for k in range(1, most + 1):
        for z in itertools.product(range(k), repeat=n):
            row = joint.setdefault(canonical(z), np.zeros(most))
            row[k - 1] += PRIOR[k - 1] * probability_of(z, k, concentrations[k - 1])
    assert sum(row.sum() for row in joint.values()) == pytest.approx(1)
    for partition, row in joint.items():
        counts, found = np.bincount(partition).astype(float), np.empty(4_000, np.int64)
        for each in tables:
            probabilities = np.empty(most)
            numbers_drawn(rng(1), counts, each, probabilities, found)
            np.testing.assert_allclose(probabilities, row / row.sum(), rtol=1e-10, atol=1e-300)
        possible = row > 0
        assert_counts(np.bincount(found, minlength=most + 1)[1:][possible], (row / row.sum())[possible] - 1e-12, "numbers")


# the sweeps


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("covariance", "n_features"), STRUCTURES)
def test_mixtures_and_data_drawn_in_turn_follow_the_prior(covariance, n_features, kind):
    """Geweke (2004, doi:10.1198/016214504000001132): if sweeps and new data alternate, mixtures follow the prior."""
    weights = "static" if (kind == "hierarchical") == (covariance in ("full", "diag")) else "dynamic"
    problem, generator, length = Problem(covariance, n_features, kind, weights), rng(2), 12_000
    components, found = problem.begin(generator), []
    mixture, sampler = problem.mixtures(1, generator)[0], problem.sampler()
    for _ in range(length):
        problem.own.x[:], _ = problem.data(mixture, generator)
        draws, kept = problem.one_draw()
        sampler(generator, components, np.zeros((0, n_features)), 1, draws, kept)
        mixture = problem.mixture_at(components, kept, draws.scale)
        found.append([*summary(mixture), draws.occupied[0], *draws.p_k[0]])
    found = np.array(found)[100:]
    independent = problem.mixtures(length, rng(3))
    expected = np.array([[*summary(each), problem.data(each, generator)[1]] for each in independent])
    for i in np.flatnonzero(np.ptp(expected, axis=0) > 0):
        error = expected[:, i].std() / np.sqrt(length)
        name = f"{i} of {covariance}, {n_features}, {kind}, {weights}"
        assert_same_means(found[:, i].mean(), mcse(found[None, :, i]), expected[:, i].mean(), error, name)
    for k in range(len(PRIOR)):
        p = np.ascontiguousarray(found[None, :, expected.shape[1] + k])
        assert_same_means(p.mean(), mcse(p), PRIOR[k], 0, f"p(k = {k + 1})")


def mcse(values):
    return float(array_stats.mcse(np.ascontiguousarray(values), **AXES))


def exact(x, prior, p, concentrations):
    """p(k | x) and p(K+ | x) as sums over all allocations. Means are integrated in closed form, variances by quadrature."""

    @cache
    def marginal(members):
        cluster = x[list(members)]
        n, mean = len(cluster), cluster.mean()
        within = ((cluster - mean) ** 2).sum()

        def density(log_variance):
            variance = np.exp(log_variance)
            log_p = stats.invgamma.logpdf(variance, prior.c0, scale=prior.C0) + log_variance - 0.5 * within / variance
            log_p -= 0.5 * (n - 1) * np.log(2 * np.pi * variance) + 0.5 * np.log(n)
            return np.exp(log_p + stats.norm.logpdf(mean, prior.b0, np.sqrt(prior.B0 + variance / n)))

        return integrate.quad(density, -12, 12, epsabs=0, epsrel=1e-9, limit=200)[0]

    joint = np.zeros((len(p), len(x)))
    for k in range(1, len(p) + 1):
        for z in itertools.product(range(k), repeat=len(x)):
            clusters = [tuple(np.flatnonzero(np.equal(z, j))) for j in set(z)]
            value = p[k - 1] * probability_of(z, k, concentrations[k - 1]) * np.prod([marginal(each) for each in clusters])
            joint[k - 1, len(clusters) - 1] += value
    joint /= joint.sum()
    return joint.sum(axis=1), joint.sum(axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["static", "dynamic"])
def test_few_observations_have_the_posterior_of_all_allocations(weights):
    x, p = np.array([-1.3, -0.9, 0.2, 1.6, 2.4]), np.array([0.3, 0.3, 0.4])
    prior = bg.ConjugatePrior(b0=0.5, B0=4.0, c0=2.5, C0=0.6)
    tree = run(x, prior_k=p, alpha=0.7, weights=weights, prior=prior, draws=5_000)
    p_k, p_occupied = exact(x, prior, p, concentrations_of(weights, 0.7, 3))
    for k in range(3):
        for name, expected in (("p_k", p_k), ("p_occupied", p_occupied)):
            error = tree[f"{name}_mcse"].values[k]
            assert 0 < error < 0.01
            assert_same_means(tree[name].values[k], error, expected[k], 0, f"{name}({k + 1})")
    counted = tree["posterior"]["n_components"].values
    for k in (1, 2, 3):
        assert_same_means((counted == k).mean(), mcse((counted == k).astype(float)), p_k[k - 1], 0, f"draws of {k}")


@pytest.mark.slow
def test_one_possible_number_is_the_sampler_of_that_number(galaxies):
    tree = run(galaxies, prior_k=[0, 0, 1.0])
    assert (tree["posterior"]["n_components"] == 3).all()
    assert tree["p_k"].values.tolist() == [0, 0, 1]
    points = followed(galaxies.to_numpy()[:, None])[:, 0]
    fixed = bg.fit(galaxies, 3, method="gibbs", random_seed=SEED + 1, progressbar=False)
    w, mu, sigma = (fixed["posterior"][name].values[..., None] for name in ("w", "mu", "sigma"))
    other = np.log((w * stats.norm.pdf(points, mu, sigma)).sum(axis=2))
    own = tree["posterior"]["log_density"].values
    for i, point in enumerate(points):
        one, two = np.ascontiguousarray(own[..., i]), np.ascontiguousarray(other[..., i])
        assert_same_means(one.mean(), mcse(one), two.mean(), mcse(two), f"log p({point:.1f})")
        assert_same_means((one**2).mean(), mcse(one**2), (two**2).mean(), mcse(two**2), f"log p({point:.1f}), squared")
    one, two = tree["posterior"]["C0"].values, fixed["hyperparameters"]["C0"].values
    assert_same_means(one.mean(), mcse(one), two.mean(), mcse(two), "C0")


def test_the_galaxies_have_the_posterior_of_richardson_and_green(galaxies):
    """Their table 1 is from 200 000 sweeps. Its error is taken to be rounding, plus that of 5 000 independent sweeps."""
    published = np.array([0.061, 0.128, 0.182, 0.199, 0.160, 0.109, 0.071, 0.040, 0.023, 0.013, 0.006, 0.003])
    tree = run(galaxies)
    found, error = tree["p_k"].sel(k=slice(3, 14)).values, tree["p_k_mcse"].sel(k=slice(3, 14)).values
    theirs = np.sqrt(published * (1 - published) / 5_000) + 0.0005
    for k, each in enumerate(zip(found, error, published, theirs, strict=True)):
        assert_same_means(*each, f"p({k + 3})")
    assert error.max() < 0.015
    assert tree["p_k"].sel(k=slice(1, 2)).sum() < 1e-3


def assert_alike(one, other):
    for k in range(3, 9):
        numbers = [tree[name].sel(k=k).item() for tree in (one, other) for name in ("p_k", "p_k_mcse")]
        assert_same_means(*numbers, f"p({k})")


@pytest.mark.slow
def test_neither_order_nor_unit_matters(galaxies):
    tree = run(galaxies, draws=1_000, random_seed=SEED + 2)
    x = galaxies.to_numpy()
    assert_alike(tree, run(rng(5).permutation(x), draws=1_000, random_seed=SEED + 3))
    other = run(-1e-30 * x + 5e-29, draws=1_000, random_seed=SEED + 4)
    assert_alike(tree, other)
    ratio = other["posterior"]["C0"].median() / tree["posterior"]["C0"].median() / 1e-60
    assert 0.9 < ratio < 1.1


# the tree


@pytest.mark.slow
@pytest.mark.parametrize("kind", [bg.HierarchicalPrior, bg.ConjugatePrior])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("n_features", [1, 2])
def test_the_tree_tells_one_story(faithful, covariance, kind, n_features, tmp_path):
    x = faithful if n_features == 2 else faithful["waiting"]
    tree = run_short(x, covariance=covariance, prior=kind(), draws=30, prior_k=priors.BetaNegativeBinomial())
    posterior, components = tree["posterior"].to_dataset(), tree["components"].to_dataset()
    for name in ("p_k", "p_occupied"):
        assert tree[name].sum() == pytest.approx(1, abs=1e-6)
        assert (tree[f"{name}_mcse"] >= 0).all()
    kept = posterior.isel(draw=components["kept"].values)
    k, w = kept["n_components"].values, components["w"].values
    assert (np.isfinite(w).sum(axis=-1) == k).all()
    np.testing.assert_allclose(np.nansum(w, axis=-1), 1)
    assert ("C0" in posterior) == (kind is bg.HierarchicalPrior)
    points = followed(x.to_numpy().reshape(len(x), -1))
    for chain, draw in np.ndindex(k.shape):
        size = k[chain, draw]
        at = {"chain": chain, "kept": draw, "cluster": slice(0, size)}
        one = components.isel(at)
        spread = {"sigma": one["sigma"].values} if n_features == 1 else {"covariances": one["cov"].values}
        mixture = Mixture(one["w"].values, one["mu"].values, **spread)
        np.testing.assert_allclose(mixture.log_density(points), kept["log_density"].values[chain, draw], rtol=1e-8)
        occupied = kept["occupied"].values[chain, draw]
        assert np.unique(one["z"]).tolist() == list(range(occupied))
        assert occupied <= size
        if n_features == 2 and covariance != "full":
            cov = one["cov"].values
            if covariance.startswith("tied"):
                np.testing.assert_allclose(cov, cov[[0]].repeat(size, axis=0))
            if covariance != "tied":
                assert (cov[:, 0, 1] == 0).all()
                assert (cov[:, 0, 0] == cov[:, 1, 1]).all() == covariance.endswith("spherical")
    labels = tree["partition"]["partition"].values
    loss = expected_loss(labels, components["z"].values.reshape(-1, len(x)), "vi")
    assert tree["partition"].attrs["expected_loss"] == pytest.approx(loss)
    tree.to_netcdf(tmp_path / "k.nc")
    xr.testing.assert_identical(xr.open_datatree(tmp_path / "k.nc").load(), tree)


def test_the_components_are_those_of_the_allocations():
    """If clusters are far apart, a component's mean is near that of the observations allocated to it."""
    x = np.concatenate([rng(6).normal(at, 1, 40) for at in (0, 100, 1000)])
    tree = run_short(x, draws=200, prior_k=priors.Poisson(2))
    components = tree["components"].to_dataset().stack(sample=("chain", "kept"))
    for s in range(components.sizes["sample"]):
        one = components.isel(sample=s)
        z, mu = one["z"].values, one["mu"].values
        means = np.array([x[z == j].mean() for j in range(z.max() + 1) if (z == j).sum() > 20])
        assert (abs(means - mu[: z.max() + 1][np.bincount(z) > 20]) < 5).all()
    assert bg.adjusted_rand(tree["partition"]["partition"], np.repeat([0, 1, 2], 40)) == 1
    assert tree["partition"]["partition"].values.max() == 2


def test_settings_are_on_record(galaxies):
    tree = run_short(galaxies, alpha=0.5, weights="dynamic", prior_k=priors.Geometric(0.2))
    attrs = tree.attrs
    assert (attrs["method"], attrs["alpha"], attrs["weights"]) == ("telescoping", 0.5, "dynamic")
    assert (attrs["prior_k"], attrs["seed"], attrs["thin"], attrs["tune"]) == (
        '{"name": "Geometric", "p": 0.2}',
        SEED,
        2,
        20,
    )
    assert '"alpha": 0.5' in attrs["prior"]
    assert "with a probability of at least 90 %" in " ".join(attrs["verdict"].split())
    assert dict(tree["posterior"].sizes) == {"chain": 2, "draw": 50, "point": 9, "k": tree.sizes["k"]}
    assert "verdict" in repr(tree)
    default = run_short(galaxies, draws=4, tune=None, thin=None)
    assert (default.attrs["tune"], default.attrs["thin"]) == (1000, 50)
    assert default.sizes["k"] == 30


def test_a_seed_repeats_the_run(galaxies):
    one, two, other = (run_short(galaxies, random_seed=seed) for seed in (1, 1, 2))
    xr.testing.assert_identical(one["posterior"].to_dataset(), two["posterior"].to_dataset())
    xr.testing.assert_identical(one["components"].to_dataset(), two["components"].to_dataset())
    assert (one["posterior"]["log_density"] != other["posterior"]["log_density"]).any()
    assert (one["posterior"]["log_density"][0] != one["posterior"]["log_density"][1]).any()


def test_of_long_data_few_allocations_are_kept(monkeypatch, two_small):
    monkeypatch.setattr("bayesgmm.engines.telescoping._NUMBERS", 10 * len(two_small))
    tree = run_short(two_small)
    assert dict(tree["components"].sizes)["kept"] == 5
    assert tree["components"]["kept"].values.tolist() == [0, 10, 20, 30, 40]
    monkeypatch.setattr("bayesgmm.engines.telescoping.STRETCH", 1)  # check for interrupts after every draw
    xr.testing.assert_identical(run_short(two_small)["components"].to_dataset(), tree["components"].to_dataset())


def test_k_may_exceed_the_observations_and_they_may_be_few():
    tree = run_short([1.0, 2.0], prior_k=[0, 0, 0, 0.5, 0.5])
    assert set(np.unique(tree["posterior"]["n_components"])) <= {4, 5}
    assert (tree["posterior"]["occupied"] <= 2).all()
    tree = run_short([1.0, 2.0, 4.0], prior_k=[1.0], chains=1, draws=1)
    assert tree["p_k"].values.tolist() == [1.0]
    assert dict(run_short([1.0, 2.0, 4.0, np.nan], missing="drop")["observed_data"].sizes)["obs"] == 3


def test_chains_that_disagree_and_short_ones_are_told(galaxies):
    x = np.concatenate([rng(7).normal(at, 1, 300) for at in (0, 1.5, 3, 40)])
    with pytest.warns(
        ConvergenceWarning, match=r"R-hat of .* above 1.01: .*raise draws, thin or tune|fewer than 100 effective"
    ):
        run(x, draws=10, tune=5, thin=1)
    with pytest.warns(ConvergenceWarning, match="fewer than 100 effective draws for each chain: fewer than 4"):
        run(galaxies, draws=2, tune=5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"alpha": 0}, ValueError, "alpha must be a positive finite number, got 0"),
        ({"alpha": -1}, ValueError, "alpha must be a positive finite number, got -1"),
        ({"alpha": 2, "prior": bg.HierarchicalPrior(alpha=3)}, ValueError, "alpha must be that of the prior if both are given, got alpha = 2 with prior.alpha = 3; give one"),
        ({"weights": "sparse"}, ValueError, "weights must be one of 'static', 'dynamic', got 'sparse'"),
        ({"covariance": "round"}, ValueError, "covariance must be one of 'full', 'tied', 'diag', 'spherical', 'tied_diag', 'tied_spherical', got 'round'"),
        ({"prior": "flat"}, TypeError, "prior must be a HierarchicalPrior or a ConjugatePrior, got str"),
        ({"draws": 0}, ValueError, "draws must be an integer of at least 1, got 0"),
        ({"chains": 0}, ValueError, "chains must be an integer of at least 1, got 0"),
        ({"tune": 0}, ValueError, "tune must be an integer of at least 1, got 0"),
        ({"thin": 1.5}, TypeError, "thin must be an integer of at least 1, got 1.5"),
        ({"missing": "keep"}, ValueError, "missing must be one of 'raise', 'drop', 'at_random', got 'keep'"),
        ({"random_seed": -1}, ValueError, "random_seed must be an integer of at least 0"),
        ({"x": [1.0]}, ValueError, r"x must vary, got 1 observation\(s\) all equal to 1"),
        ({"x": [2.0, 2.0]}, ValueError, r"x must vary, got 2 observation\(s\) all equal to 2"),
        ({"x": [1.0, np.nan]}, ValueError, "x must be finite, got 1 of 2 observations"),
        ({"draws": 10**9}, MemoryError, "draws of the probabilities of k = 1, ..., 30 would take"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_input_gets_a_sentence(galaxies, options, error, message):
    with pytest.raises(error, match=message):
        run(**{"x": galaxies} | options)


def test_the_priors_alpha_is_taken():
    x = rng(8).normal(size=30)
    assert run_short(x, prior=bg.ConjugatePrior(alpha=3)).attrs["alpha"] == 3
    assert run_short(x, prior=bg.ConjugatePrior(alpha=3), alpha=3).attrs["alpha"] == 3
    assert run_short(x, prior=bg.ConjugatePrior(), alpha=2).attrs["alpha"] == 2


def test_a_sphere_that_sees_one_feature_only_is_told():
    x = rng(9).normal(size=(20, 2)) * [1, 1e5]
    with pytest.warns(DataWarning, match="covariance='spherical' measures all features in one unit"):
        run_short(x, covariance="spherical")


INTERRUPTED = """
import warnings
import bayesgmm as bg
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tree = bg.posterior_k(bg.datasets.two_gaussians().x, draws=20_000, tune=100, random_seed=1)
print([w.category.__name__ for w in caught], dict(tree["posterior"].sizes), tree.attrs["interrupted"])
"""


@pytest.mark.slow
def test_an_interrupt_keeps_what_there_is():
    program = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"}, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    for line in program.stderr:
        if line.startswith("sampling"):
            break
    try:
        program.wait(4)
    except subprocess.TimeoutExpired:
        program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=120)
    assert program.returncode == 0, err
    assert "InterruptedWarning" in out, out + err
    assert out.rstrip().endswith("1")


def test_draws_that_do_not_suffice_are_made_again_with_more_sweeps_between_them(monkeypatch, galaxies):
    """Unless ``thin`` is given, a second run has four times as many sweeps. If it is interrupted, the first run is kept."""
    made, sample = [], counting.sample_telescoping

    def sampled(own, tables, points, settings, phases):
        made.append(settings.thin)
        return sample(own, tables, points, replace(settings, thin=1, tune=20), phases)

    monkeypatch.setattr(counting, "sample_telescoping", sampled)
    monkeypatch.setattr(counting, "_trouble", lambda *_: "too few effective draws")
    with pytest.warns(ConvergenceWarning):
        tree = run(galaxies, draws=500, chains=2)
    assert made == [50, 200]
    assert (tree.attrs["thin"], tree.attrs["interrupted"]) == (200, 0)
    made.clear()
    with pytest.warns(ConvergenceWarning):
        assert run(galaxies, draws=500, chains=2, thin=7).attrs["thin"] == 7
    assert made == [7]

    def interrupted(own, tables, points, settings, phases):
        if settings.thin == 200:
            raise KeyboardInterrupt
        return sampled(own, tables, points, settings, phases)

    monkeypatch.setattr(counting, "sample_telescoping", interrupted)
    with pytest.warns(InterruptedWarning, match="2 x 500"), pytest.warns(ConvergenceWarning):
        tree = run(galaxies, draws=500, chains=2)
    assert (tree.attrs["thin"], tree.attrs["interrupted"]) == (50, 1)
    assert tree["posterior"].sizes["draw"] == 500


def test_the_prior_of_a_partition_is_a_sum_over_k():
    """This holds for static and dynamic concentrations, and also with noise, where n varies."""
    p = np.array([0.4, 0.3, 0.2, 0.1])
    for dynamic, noise in itertools.product([False, True], repeat=2):
        gamma = 0.7 / np.arange(1, 5) if dynamic else np.full(4, 0.7)
        tables = number_tables(p, gamma, 9, noise=noise)
        for sizes in ([9], [4, 5], [1, 2, 6], [2, 2, 2, 3], [3, 4]):
            if sum(sizes) < 9 and not noise:
                continue
            t, n = len(sizes), sum(sizes)
            total = sum(
                p[k - 1]
                * np.exp(
                    gammaln(k + 1)
                    - gammaln(k - t + 1)
                    + gammaln(gamma[k - 1] * k)
                    - gammaln(n + gamma[k - 1] * k)
                    + sum(gammaln(size + gamma[k - 1]) - gammaln(gamma[k - 1]) for size in sizes)
                )
                for k in range(t, 5)
            )
            assert log_partition(np.array([*sizes, 0.0]), tables) == pytest.approx(np.log(total), rel=1e-12)
        assert log_partition(np.array([1.0, 2, 2, 2, 2]), tables) == -np.inf
