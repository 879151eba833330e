"""Rows that may be noise: laws for every kind of row, and agreement of densities, engines and evidence."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm.analysis.reading import Reading
from bayesgmm.data.known import Known
from bayesgmm.data.noise import as_asked, as_in, box_of
from bayesgmm.data.observations import Observations
from bayesgmm.kernels.number import draw_number, number_tables
from bayesgmm.model.strays import core
from tests.rows import (
    assert_as_stated_by_pymc,
    assert_evidence_is_an_integral,
    assert_nuts_and_gibbs_agree,
    assert_p_k_is_that_of_evidence,
)
from tests.statistics import rng

pytestmark = [
    pytest.mark.filterwarnings("ignore:the chains have not converged"),
    pytest.mark.filterwarnings("ignore:too few effective draws"),
    pytest.mark.filterwarnings("ignore:fewer than 100 effective draws"),
]

KINDS = [("exact", 1), ("labels", 1), ("errors", 1), ("intervals", 1), ("exact", 3), ("gaps", 3), ("errors", 2)]
KINDS += [("intervals", 2), ("weights", 1), ("weights", 3)]


def values(d, n=60, strays=6):
    """Two clusters, and strays among them."""
    generator = rng(d)
    x = np.where(generator.uniform(size=(n, 1)) < 0.4, -2.0, 2.0) + generator.normal(size=(n, d))
    x[:strays] = generator.uniform(-20, 30, (strays, d))
    return x


def bare(kind, d, **others):
    """Rows of this kind, without noise."""
    x, generator = values(d, **others), rng(9)
    if kind == "labels":
        return Observations(x, labels=generator.integers(-1, 2, len(x)))
    if kind == "weights":
        # weights so small that components which shrink onto two of the rows do not make the posterior improper
        return Observations(x, weight=generator.integers(1, 6, len(x)) / 2)
    if kind == "errors":
        return Observations(x, error=generator.choice([0.0, 0.3, 2.0], x.shape))
    if kind == "gaps":
        gaps = generator.uniform(size=x.shape) < 0.3
        gaps[:, 0] &= ~gaps.all(axis=1)
        return Observations(np.where(gaps, np.nan, x), missing="at_random")
    if kind == "intervals":
        seen = generator.uniform(size=x.shape) < 0.3
        return Observations(lower=np.where(seen, x, np.floor(x)), upper=np.where(seen, x, np.floor(x) + 1))
    return Observations(x)


def noisy(kind, d, **others):
    return bare(kind, d, **others).with_noise()


def a_mixture(k, d, kind):
    """Weights, of which the last is noise's; means; and factors, diagonal for intervals."""
    generator = rng(4)
    shares, means = generator.dirichlet(np.ones(k)), generator.normal(0, 2, (k, d))
    factors = np.tril(0.3 * generator.normal(size=(k, d, d)), -1) + np.eye(d) * generator.uniform(0.5, 2, (k, d, 1))
    if kind == "intervals":
        factors = np.diagonal(factors, axis1=1, axis2=2).copy()
    return np.append(0.8 * shares, 0.2), means, factors


@pytest.mark.parametrize(("kind", "d"), KINDS)
def test_density_and_sums_are_those_of_the_rest_and_of_a_constant(kind, d):
    observed = noisy(kind, d)
    weights, means, factors = a_mixture(2, d, kind)
    plain = Observations.made(observed.x, Known(*observed.known.arrays[:5]))
    known = plain.known.labels is not None and plain.known.labels >= 0
    of_noise = np.where(known, -np.inf, np.log(0.2) + observed.known.noise)
    of_rest = np.log(0.8) + plain.log_density(weights[:2] / 0.8, means, factors)
    total = np.logaddexp(of_rest, of_noise)
    np.testing.assert_allclose(observed.log_density(weights, means, factors), total, rtol=1e-12)
    r = np.exp(of_rest - total)[:, None] * plain.responsibilities(weights[:2] / 0.8, means, factors)
    got = observed.responsibilities(weights, means, factors)
    np.testing.assert_allclose(got, np.hstack([r, np.exp(of_noise - total)[:, None]]), atol=1e-12)
    # sums of the components: each row is weighted by its probability of not being noise
    share = observed.counts * np.exp(of_rest - total)
    wanted = plain.weighing(share).sums(weights[:2] / 0.8, means, factors)
    sums = observed.sums(weights, means, factors)
    assert sums.log_likelihood == pytest.approx(observed.counts @ total, rel=1e-12)
    np.testing.assert_allclose(sums.counts, np.append(wanted.counts, observed.total - share.sum()), rtol=1e-10)
    for mine, exact in zip(sums[2:], wanted[2:], strict=True):
        np.testing.assert_allclose(mine, exact, rtol=1e-9, atol=1e-9)


def test_data_without_strays_have_next_to_no_noise():
    """With a box that ended at the extreme observations, two per cent of the data would be taken for noise."""
    found = []
    for seed in range(10):
        x = bg.datasets.two_gaussians(n=2_000, random_seed=seed).x
        found.append(bg.fit_em(x, 2, noise=True, random_seed=1).mixture.noise)
    assert np.mean(found) < 2e-3


def test_far_rows_are_noise_and_nothing_overflows():
    mixture = bg.Mixture([0.5, 0.5], [0.0, 3.0], sigma=[1.0, 1.0], noise=0.1)
    found = mixture.responsibilities(Observations([0.0, 3.0, 1e6, -1e160]).with_noise(-400.0))
    np.testing.assert_array_equal(found[2:], [[0, 0, 1], [0, 0, 1]])
    assert found[0, 2] < 1e-100


@pytest.mark.parametrize(
    ("noise", "log_density"), [(True, -np.log(60)), (-2.5, -2.5), (np.linspace(-3, -1, 4), np.linspace(-3, -1, 4))]
)
def test_what_noise_may_be(noise, log_density):
    observed = Observations([-20.0, 0.0, 1.0, 30.0]).with_noise(noise)
    np.testing.assert_allclose(observed.known.noise, np.broadcast_to(log_density, 4))


def test_of_a_bin_noise_is_its_share_of_the_range():
    observed = Observations.binned([3, 0, 1], [0.0, 1.0, 2.0, 5.0]).with_noise()
    np.testing.assert_allclose(np.exp(observed.known.noise), [1 / 6, 3 / 6])
    with_gap = Observations([[0.0, 1.0], [4.0, np.nan], [1.0, 2.0]], missing="at_random").with_noise()
    assert with_gap.known.noise[1] == pytest.approx(-np.log(4.8))


def structures_of(kind, d):
    """Structures for this kind of row. One feature has two; intervals need those without correlations."""
    if d == 1:
        return ("full", "tied")
    return ("diag", "spherical") if kind == "intervals" else ("full", "tied", "diag", "spherical")


STRUCTURES = [(kind, d, each) for kind, d in KINDS for each in structures_of(kind, d)]


@pytest.mark.parametrize(("kind", "d", "covariance"), STRUCTURES)
def test_density_and_gradient_are_those_of_the_pymc_model(kind, d, covariance):
    observed = noisy(kind, d, n=12, strays=2)
    assert_as_stated_by_pymc(observed, covariance)


@pytest.mark.parametrize(("kind", "d"), KINDS)
def test_em_never_decreases_and_moves_with_the_data(kind, d):
    observed, shift, scale = noisy(kind, d), 100.0, 7.0
    settings = {"covariance": "diag", "random_seed": 1, "tol": 1e-12, "max_iter": 20_000}
    one = bg.fit_em(observed, 2, **settings)
    assert (np.diff(one.history) >= -1e-9 * abs(one.log_likelihood)).all()
    assert one.log_likelihood == pytest.approx(observed.log_likelihood(*one.mixture.parameters), rel=1e-9)
    plain = bare(kind, d).known
    moved = Known(
        plain.weight,
        plain.labels,
        None if plain.error is None else scale * plain.error,
        *(None if end is None else shift + scale * end for end in (plain.lower, plain.upper)),
    )
    other = bg.fit_em(Observations.made(shift + scale * observed.x, moved).with_noise(), 2, **settings)
    back = other.mixture.rescaled(-shift / scale, 1 / scale)
    np.testing.assert_allclose(back.mu, one.mixture.mu, atol=2e-3)
    assert back.noise == pytest.approx(one.mixture.noise, abs=1e-3)
    volume = (observed.counts @ observed.has_density).sum() * np.log(scale)
    assert other.log_likelihood == pytest.approx(one.log_likelihood - volume, abs=1e-5)


def test_noise_without_density_is_none():
    x = values(1, strays=0)
    settings = {"random_seed": 1, "tol": 1e-14, "max_iter": 20_000}
    plain, noise = bg.fit_em(x, 2, **settings), bg.fit_em(x, 2, noise=-500.0, **settings)
    assert noise.mixture.noise < 1e-100
    assert noise.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-8)
    np.testing.assert_allclose(noise.mixture.mu, plain.mixture.mu, atol=1e-5)


@pytest.mark.parametrize(("d", "share"), [(1, 0.1), (2, 0.3), (4, 0.3)])
def test_em_finds_clusters_among_strays(d, share):
    """The strays are spread so widely that k-means++ chooses only strays as centres."""
    generator, truth = rng(d), np.array([-10.0, 0.0, 10.0])
    found = 0
    for seed in range(10):
        x = truth[generator.integers(0, 3, 300), None] + generator.normal(size=(300, d))
        strays = generator.uniform(size=300) < share
        x[strays] = generator.uniform(-300, 300, (strays.sum(), d))
        mixture = bg.fit_em(x, 3, noise=True, random_seed=seed).mixture
        found += bool((abs(mixture.mu - truth[:, None]) < 1).all() and abs(mixture.noise - strays.mean()) < 0.05)
    assert found == 10


def test_k_is_drawn_given_those_that_are_not_noise():
    """p(K | partition) depends only on the rows that are not noise. If all are noise, it is the prior."""
    prior, generator = np.array([0.2, 0.5, 0.3]), rng(1)
    for gamma in (np.ones(3), 0.7 / np.arange(1, 4)):
        noisy_tables = number_tables(prior, gamma, 9, noise=True)
        for counts in (np.array([3.0, 2.0]), np.array([6.0]), np.array([])):
            got, n = np.empty(3), counts.sum()
            draw_number(generator, counts, noisy_tables, got)
            if n == 0:
                np.testing.assert_allclose(got, prior, rtol=1e-12)
                continue
            wanted = np.empty(3)
            draw_number(generator, counts, number_tables(prior, gamma, int(n)), wanted)
            np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_the_default_prior_is_scaled_without_strays():
    x = np.append(values(1, n=300, strays=0)[:, 0], 500.0)
    tree = bg.fit(x, 2, noise=True, method="gibbs", draws=50, tune=100, random_seed=1, progressbar=False)
    low, high = core(x)
    assert f'"B0": {(high - low) ** 2}' in tree.attrs["prior"]
    assert tree["posterior"]["w_noise"].dims == ("chain", "draw")
    r = bg.responsibilities(tree)
    np.testing.assert_allclose(r["mean"].sum("cluster") + r["noise"], 1.0)
    assert r["noise"].values[-1] > 0.999
    assert bg.responsibilities(tree, [600.0])["noise"].values[0] > 0.999
    assert bg.partition(tree).values[-1] == -1
    assert bg.partition(tree).attrs["n_clusters"] == 2
    assert (bg.sample_assignments(tree, 1).values[..., -1] == -1).mean() > 0.99
    replicated = bg.add_posterior_predictive(tree, 1)["posterior_predictive"]["x"].values
    assert (replicated > 50).mean() == pytest.approx(0.83 * tree["posterior"]["w_noise"].mean().item(), rel=0.5)


def test_a_tree_keeps_its_noise(tmp_path):
    observed = noisy("exact", 2)
    tree = bg.fit(observed, 2, method="gibbs", draws=50, tune=100, random_seed=1, progressbar=False)
    tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    loaded = Reading.of(xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf").load())
    np.testing.assert_array_equal(loaded.observations.known.noise, observed.known.noise)
    np.testing.assert_array_equal(loaded.draws.noise, tree["posterior"]["w_noise"].values.ravel())
    assert loaded.em[0].noise == tree["em_baseline"]["w_noise"].item()
    assert loaded.em[1] == pytest.approx(observed.log_likelihood(*loaded.em[0].parameters), rel=1e-9)


def test_further_points_are_as_dense_as_the_range_says():
    """For bins of equal width, noise has the same probability in each; for a point it has a density."""
    binned = Observations.binned(*np.histogram(values(1)[:, 0], 50)).with_noise()
    assert np.ptp(binned.known.noise) < 1e-9
    assert as_in(binned, Observations([0.0, 99.0])).known.noise == pytest.approx(-np.log(np.ptp(box_of(binned))))


@pytest.mark.parametrize(
    ("noise", "asked"), [(False, False), (True, True), (-2.5, -2.5), (np.linspace(-3, -1, 4), None), (-np.log(60), True)]
)
def test_what_was_asked_is_read_from_rows(noise, asked):
    assert as_asked(Observations([-20.0, 0.0, 1.0, 30.0]).with_noise(noise)) == asked


def test_the_check_against_em_heeds_the_share():
    tree = bg.fit(noisy("exact", 1, n=200, strays=20), 2, method="gibbs", draws=200, random_seed=1, progressbar=False)
    check = bg.check_against_em(tree)
    assert check.ok
    assert check.table.loc["w_noise", "em"] == tree["em_baseline"]["w_noise"].item()
    em = bg.Mixture(
        *(tree["em_baseline"][name].values for name in ("w", "mu")), sigma=tree["em_baseline"]["sigma"], noise=0.5
    )
    assert "w_noise" in bg.check_against_em(tree, em).reasons[0]


@pytest.mark.filterwarnings("ignore:The effect of Potentials on other parameters is ignored")
def test_what_pymc_draws_beside_noise_is_of_the_clusters():
    observed = noisy("exact", 2, n=100, strays=10)
    tree = bg.fit(observed, 2, method="gibbs", draws=20, random_seed=1, progressbar=False)
    full = bg.for_pymc(tree)
    assert full["posterior"]["w_noise"].equals(tree["posterior"]["w_noise"])
    drawn = pm.sample_posterior_predictive(full, model=bg.build_model(observed, 2), progressbar=False, random_seed=1)
    assert abs(drawn["posterior_predictive"]["x"]).max() < 12


def test_data_and_noise_that_have_no_meaning_are_refused():
    x = values(1)
    for noise, said in (("yes", "noise"), (np.nan, "finite"), (np.zeros(3), "shape"), (np.full(60, np.inf), "finite")):
        with pytest.raises((TypeError, ValueError), match=said):
            bg.fit_em(x, 2, noise=noise)
    with pytest.raises(ValueError, match="open end"):
        Observations.censored(x, below=-2.0).with_noise()
    with pytest.raises(ValueError, match="probabilities"):
        bg.fit_em(x, 2, noise=True, labels=np.full((60, 2), 0.5))
    with pytest.raises(ValueError, match="k"):
        bg.fit_em(x, 0, noise=True)
    tree = bg.fit(x, 2, noise=np.linspace(-5, -4, 60), method="gibbs", draws=20, tune=20, random_seed=1, progressbar=False)
    with pytest.raises(ValueError, match="must be Observations that hold log densities of noise"):
        bg.responsibilities(tree, [1.0])
    assert bg.responsibilities(tree, Observations([1.0]).with_noise(-4.0))["noise"].shape == (1,)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "d"), [("exact", 1), ("weights", 1), ("intervals", 1), ("gaps", 3), ("errors", 2)])
def test_nuts_and_gibbs_agree(kind, d):
    observed = noisy(kind, d, n=150, strays=15)
    assert_nuts_and_gibbs_agree(observed, "diag" if kind == "intervals" else "full")


@pytest.mark.slow
def test_evidence_is_an_integral():
    """The likelihood is first averaged over noise's share under its Beta prior, then over mu and log variance."""
    x = values(1, n=12, strays=2)[:, 0]
    observed = Observations(x).with_noise()
    nodes, node_weights = np.polynomial.legendre.leggauss(20)
    share, of_share = (nodes + 1) / 2, node_weights / 2 * stats.beta.pdf((nodes + 1) / 2, 1, 9)

    def log_likelihood(mu, sigma):
        densities = stats.norm.pdf(x, mu[..., None], sigma[..., None])
        parts = [
            np.log(p) + np.log((1 - s) * densities + s / (1.2 * np.ptp(x))).sum(axis=-1)
            for s, p in zip(share, of_share, strict=True)
        ]
        return logsumexp(parts, axis=0)

    assert_evidence_is_an_integral(observed, log_likelihood)


@pytest.mark.slow
def test_p_k_is_that_of_evidence():
    assert_p_k_is_that_of_evidence(noisy("exact", 1, n=24, strays=3))
