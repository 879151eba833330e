"""Rounded values: their intervals or errors, their likelihood, and when fits treat values as rounded."""

import warnings
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import norm

import bayesgmm as bg
from bayesgmm.analysis.reading import Reading
from bayesgmm.cli.options import Source
from bayesgmm.data.observations import Observations
from bayesgmm.data.rounding import with_rounding
from bayesgmm.data.ties import steps_of
from tests.statistics import rng

QUIET = {"random_seed": 1, "progressbar": False}
FEW = {"method": "gibbs", "draws": 100, "thin": 1, "tune": 100, **QUIET}
WEIGHTS, MEANS, SDS = np.array([0.3, 0.7]), np.array([[-1.0], [2.0]]), np.array([[[0.6]], [[1.3]]])
PETALS = np.round(np.concatenate([rng(1).normal(0.25, 0.1, 50), rng(2).normal(1.6, 0.4, 100)]), 1)


def two_groups(n=150, seed=3):
    generator = rng(seed)
    return np.where(generator.random(n) < 0.3, generator.normal(-1, 0.6, n), generator.normal(2, 1.3, n))


def unwarned(door, *given, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return door(*given, **options)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.round(two_groups(), 1), 0.1),
        (np.round(two_groups() / 0.25) * 0.25, 0.25),
        (rng(0).poisson(20, 300).astype(float), 1.0),
        (two_groups(), 0.0),
        (np.concatenate([np.zeros(40), two_groups()]), 0.0),
    ],
    ids=["tenths", "quarters", "counts", "continuous", "zeros among continuous"],
)
def test_the_step_is_found(values, step):
    assert steps_of(values[:, None], ["x"]) == pytest.approx([step], rel=1e-9)


def test_a_value_is_the_interval_around_it():
    """This holds for one feature and for independent ones. Missing values and given intervals stay as they are."""
    lower, upper = [np.nan, np.nan, 3.0, np.nan], [np.nan, np.nan, 5.0, np.nan]
    given = Observations([1.0, 2.0, np.nan, 2.5], lower=lower, upper=upper)
    rounded = bg.rounded(given, 0.5)
    np.testing.assert_allclose(rounded.known.lower[:, 0], [0.75, 1.75, 3, 2.25])
    np.testing.assert_allclose(rounded.known.upper[:, 0], [1.25, 2.25, 5, 2.75])
    assert rounded.known.width[:, 0].tolist() == [0.5, 0.5, 0, 0.5]
    assert (rounded.bounded[:, 0].tolist(), rounded.has_density[:, 0].tolist()) == ([0, 0, 1, 0], [1, 1, 0, 1])
    np.testing.assert_array_equal(rounded.x, given.x)
    table = np.array([[1.0, np.nan], [2.0, 10.0], [3.0, 20.0]])
    gaps = bg.rounded(table, [1, 10], covariance="diag", missing="at_random")
    np.testing.assert_array_equal(gaps.known.lower, [[0.5, -np.inf], [1.5, 5], [2.5, 15]])
    assert gaps.known.width[:, 1].tolist() == [0, 10, 10]


def test_features_that_are_correlated_have_an_error():
    """If errors are given, one feature gets an error, too. Values that had an error keep it."""
    x = np.round(rng(0).normal(size=(20, 2)), 1)
    rounded = bg.rounded(x, [0.1, 0], covariance="full")
    np.testing.assert_allclose(rounded.known.error, np.broadcast_to([0.1 / np.sqrt(12), 0], x.shape))
    assert not rounded.has_errors
    beside = with_rounding(Observations(x[:, 0], error=np.where(np.arange(20) < 5, 0.3, 0.0)), np.array([0.1]), "full")
    np.testing.assert_allclose(beside.known.error[:, 0], np.where(np.arange(20) < 5, 0.3, 0.1 / np.sqrt(12)))
    assert beside.has_errors


def test_the_log_likelihood_is_that_of_probabilities_over_widths():
    x, counts = np.round(two_groups(), 1), rng(4).integers(1, 4, 150).astype(float)
    rounded = with_rounding(Observations(x, weight=counts), np.array([0.1]), "full")
    p = norm.cdf(x[:, None] + 0.05, MEANS.T, SDS[:, 0].T) - norm.cdf(x[:, None] - 0.05, MEANS.T, SDS[:, 0].T)
    expected = np.log(p @ WEIGHTS / 0.1)
    np.testing.assert_allclose(rounded.log_density(WEIGHTS, MEANS, SDS), expected, rtol=1e-9)
    assert rounded.sums(WEIGHTS, MEANS, SDS).log_likelihood == pytest.approx(counts @ expected, rel=1e-12)
    units = rounded.units(one_unit=False)
    standard = rounded.standardised(units)
    mixture = (WEIGHTS, (MEANS - units.shift) / units.scale, SDS / units.scale[:, None])
    np.testing.assert_allclose(standard.log_density(*mixture), expected + np.log(units.scale[0]), rtol=1e-9)
    in_passing = rounded.sums(*mixture, units=units).log_likelihood
    assert in_passing == pytest.approx(counts @ (expected + np.log(units.scale[0])), rel=1e-10)


def test_fine_rounding_is_none():
    """Finely rounded values have the density, noise and evidence of exact ones."""
    x = two_groups(60)
    for noise in (False, True, -2.0):
        exact, fine = (bg.Observations(x).with_noise(noise), bg.rounded(x, 1e-6).with_noise(noise))
        shares = WEIGHTS if noise is False else np.append(0.9 * WEIGHTS, 0.1)
        parameters = shares, MEANS, SDS
        np.testing.assert_allclose(fine.log_density(*parameters), exact.log_density(*parameters), atol=1e-5)
        np.testing.assert_allclose(fine.responsibilities(*parameters), exact.responsibilities(*parameters), atol=1e-5)
    values = []
    for rounding in (None, 1e-6):
        tree = unwarned(bg.fit, x, 2, rounding=rounding, **FEW | {"draws": 500})
        values.append(bg.log_evidence(tree, random_seed=1))
    assert abs(values[0].value - values[1].value) < 4 * np.hypot(values[0].mcse, values[1].mcse)


def test_noise_beside_rounded_values_is_as_dense_as_it_was():
    x = np.round(two_groups(), 1)
    uniform = with_rounding(Observations(x).with_noise(), np.array([0.1]), "full")
    given = with_rounding(Observations(x).with_noise(-2.5), np.array([0.1]), "full")
    margin = 1.2 * (np.ptp(x) + 0.1)
    np.testing.assert_allclose(uniform.known.noise, -np.log(margin))
    assert (given.known.noise == -2.5).all()


def test_the_unit_does_not_matter():
    """If values are 1 000 times larger, log evidence and elpd fall by log 1 000 for each of them."""
    found = []
    for unit in (1.0, 1000.0):
        tree = unwarned(bg.fit, unit * PETALS, 2, rounding=unit * 0.1, **FEW)
        found.append((bg.log_evidence(tree, random_seed=1).value, tree.attrs.get("k"), bg.loo(tree).elpd))
    n_log = len(PETALS) * np.log(1000)
    assert found[0][0] - n_log == pytest.approx(found[1][0], abs=1e-6)
    assert found[0][2] - n_log == pytest.approx(found[1][2], abs=1e-6)


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of a hundred draws
def test_values_are_taken_for_rounded_where_they_must_be_and_it_is_said():
    expected = (
        r"x \(0\.1\) looks rounded, and values taken as exact would make the posterior of k = 2 improper; each value is "
        "treated as an interval around it"
    )
    with pytest.warns(bg.exceptions.DataWarning, match=expected):
        tree = bg.fit(PETALS, 2, **FEW)
    seen = Reading.of(tree).observations
    np.testing.assert_allclose(seen.known.upper - seen.known.lower, 0.1)
    assert "improper" not in {each.kind for each in bg.diagnose(tree).findings}
    assert np.isfinite([bg.log_evidence(tree, random_seed=1).value, bg.loo(tree).elpd]).all()
    with pytest.warns(bg.exceptions.ImproperPosteriorWarning):
        exact = bg.fit(PETALS, 2, rounding=None, **FEW | {"draws": 20})
    assert Reading.of(exact).observations.steps is None
    alone = unwarned(bg.fit, PETALS, 1, **FEW)  # with one component the posterior is proper
    assert Reading.of(alone).observations.steps is None


@pytest.mark.slow
def test_all_doors_take_the_same_rows():
    """So do all k of a comparison, even if only one of them would be improper."""
    by_hand = bg.rounded(PETALS)
    comparison = unwarned(bg.compare, PETALS, [1, 2], **FEW)
    for tree in comparison.fits.values():
        assert Reading.of(tree).known.equals(by_hand.known)
    estimator = unwarned(bg.BayesianGMM(2, method="gibbs", draws=100, random_state=1).fit, PETALS[:, None])
    assert Reading.of(estimator.posterior_).known.equals(by_hand.known)
    of_k = unwarned(bg.posterior_k, PETALS, draws=50, thin=1, **QUIET)
    np.testing.assert_allclose(of_k["observed_data"]["width"], 0.1)
    with pytest.raises(ValueError, match="rounding cannot be given with trees, which hold their own; leave it out"):
        bg.compare(comparison.fits, rounding=0.1)
    direct = unwarned(bg.fit, by_hand, 2, **FEW)
    again = unwarned(bg.fit, PETALS, 2, rounding=0.1, **FEW)
    np.testing.assert_array_equal(direct["posterior"]["mu"], again["posterior"]["mu"])


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning")
def test_a_t_distribution_takes_values_as_they_are():
    with pytest.warns(bg.exceptions.ImproperPosteriorWarning):
        tree = bg.fit(np.repeat([1.0, 2.0, 4.0], 12), 2, family="t", **FEW | {"draws": 20})
    assert Reading.of(tree).observations.steps is None


def test_a_tree_holds_the_steps(tmp_path):
    table = np.round(rng(6).normal(size=(40, 2)), 1)
    for covariance in ("diag", "full"):
        tree = unwarned(bg.fit, table, 2, covariance=covariance, rounding=[0.1, 0], **FEW)
        tree.to_netcdf(tmp_path / f"{covariance}.nc")
        import arviz as az

        again = az.from_netcdf(tmp_path / f"{covariance}.nc")
        before, after = (Reading.of(each).observations for each in (tree, again))
        assert before.known.equals(after.known)
        assert after.steps.tolist() == [0.1, 0]
        page = bg.report(again, tmp_path / f"{covariance}.html").read_text()
        assert "rounding=[0.1, 0.0]" in page
        assert "--rounding 0.1 0" in page
        assert "Values are rounded: column 0 to 0.1." in page.replace("<i>", "").replace("</i>", "") or "to 0.1" in page
        assert "measured with errors" not in page


@pytest.mark.parametrize(
    ("rounding", "sentence"),
    [
        (-0.1, "rounding must be finite and not negative"),
        (np.nan, "rounding must be finite and not negative"),
        ([0.1, 0.2], r"rounding must be a number, or one number for each of the 1 feature\(s\), got shape \(2,\)"),
        ("coarse", "rounding must be 'auto', None, or the width of a step, got 'coarse'"),
    ],
)
def test_wrong_steps_are_refused(rounding, sentence):
    for door in (bg.fit, bg.compare, bg.posterior_k):
        with pytest.raises(ValueError, match=sentence):
            door(PETALS, *([] if door is bg.posterior_k else [[1, 2] if door is bg.compare else 2]), rounding=rounding)


def test_what_cannot_be_rounded_is_refused(tmp_path):
    import pymc as pm

    with pytest.raises(ValueError, match="must be exact, complete rows for a mixture of t distributions"):
        bg.fit(PETALS, 2, rounding=0.1, family="t")
    with pm.Model() as model:
        pm.NormalMixture("x", w=[0.5, 0.5], mu=pm.Normal("mu", shape=2), sigma=[1, 1], observed=PETALS)
    with pytest.raises(ValueError, match="rounding cannot be used beside model"):
        bg.fit(PETALS, 2, rounding=0.1, model=model)
    stored = np.memmap(tmp_path / "x", dtype=float, mode="w+", shape=(60_000,))
    stored[:] = np.round(two_groups(60_000), 1)
    with pytest.raises(ValueError, match="rounding cannot be given for rows that are read in parts"):
        bg.fit(stored, 2, rounding=0.1, progressbar=False)
    with pytest.raises(
        ValueError, match="x must be rounded, got 40 observations equal to 0 among values with no common step"
    ):
        bg.rounded(np.concatenate([np.zeros(40), two_groups()]))


def test_the_shell_reads_steps():
    read = {words: Source("file.csv", rounding=words.split() or None).steps for words in ("", "auto", "none", "0.1 1")}
    assert read == {"": "auto", "auto": "auto", "none": None, "0.1 1": [0.1, 1.0]}
    with pytest.raises(ValueError, match=r"--rounding must be auto, none, or numbers: .*, got fine"):
        _ = Source("file.csv", rounding=["fine"]).steps


@pytest.mark.statistical
def test_coarse_rounding_does_not_bias_the_spread():
    """With a step of 1.5 standard deviations, sigma is that before rounding. If values count as exact, it is too large."""
    inside, n = [], 400
    for seed in range(40):
        x = np.round(rng(seed).normal(0.3, 1.0, n) / 1.5) * 1.5
        sigma = bg.fit(x, 1, rounding=1.5, **QUIET)["posterior"]["sigma"].values
        inside.append(np.mean(sigma < 1.0))
        biased = bg.fit(x, 1, rounding=None, **QUIET)["posterior"]["sigma"].values
        assert biased.mean() > 1.0
    z = [NormalDist().inv_cdf(min(max(p, 1e-4), 1 - 1e-4)) for p in inside]
    assert abs(np.mean(z)) < 4 / np.sqrt(40)


@pytest.mark.slow
def test_rounding_half_as_finely_again_changes_little():
    """p(k | x) by evidence hardly depends on how finely the data were rounded."""
    fine = rng(5).permutation(np.concatenate([rng(6).normal(4.3, 0.4, 90), rng(7).normal(6.2, 0.5, 60)]))
    p_k = []
    for step in (0.1, 0.15):
        x = np.round(fine / step) * step
        comparison = unwarned(bg.compare, x, [1, 2, 3], rounding=step, **QUIET)
        p_k.append(comparison.table.set_index("k")["p_k"])
    assert (abs(p_k[0] - p_k[1]) < 0.05).all()
