"""LOO: equal to ArviZ's where PSIS can be trusted, to refits where it cannot; also in chunks and from a sample."""

import warnings

import arviz as az
import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.analysis.densities import log_density
from bayesgmm.analysis.draws import read_draws
from bayesgmm.analysis.tree import read_observations
from bayesgmm.comparison import leave_one_out
from bayesgmm.comparison.leave_one_out import bad_k_hats, refitted
from bayesgmm.data.observations import Observations
from bayesgmm.exceptions import CollapsedComponentWarning, DataWarning
from tests.conftest import make_tree
from tests.statistics import SEED, Z, rng


@pytest.fixture(scope="module")
def tree(two_small):
    return make_tree(two_small[:150])


@pytest.fixture(scope="module")
def with_outlier():
    """Thirty points and an outlier. Without the outlier the posterior is very different."""
    x = np.append(rng(1).normal(size=30), 9.0)
    with pytest.warns(DataWarning, match="observation 30"):
        return x, bg.fit(x, 1, method="gibbs", random_seed=SEED, progressbar=False)


def test_equals_arviz(tree):
    ours = bg.loo(tree)
    theirs = az.loo(bg.add_log_likelihood(tree), pointwise=True, reff=leave_one_out._relative_efficiency(*_parts(tree)))
    np.testing.assert_allclose(ours.elpd_i, theirs.elpd_i, rtol=1e-10)
    np.testing.assert_allclose(ours.pareto_k, theirs.pareto_k, rtol=1e-8)
    for name in ("elpd", "se", "p", "n_samples", "n_data_points", "good_k", "warning"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-8), name


def _parts(tree):
    return read_draws(tree), read_observations(tree)


def test_chunks_change_nothing(tree, monkeypatch):
    whole = bg.loo(tree)
    monkeypatch.setattr(leave_one_out, "_NUMBERS", 1000 * 7)
    np.testing.assert_allclose(bg.loo(tree).elpd_i, whole.elpd_i, rtol=1e-12)


def test_bad_points_are_refitted(with_outlier):
    x, tree = with_outlier
    before, after = bg.loo(tree, refit=False), bg.loo(tree, random_seed=1)
    assert bad_k_hats(before) == 1 == refitted(after)
    assert bad_k_hats(after) == 0 == refitted(before)
    assert before.warning
    assert not after.warning
    worst = int(before.pareto_k.values.argmax())
    assert worst == 30
    assert after.influence_pareto_k.values[worst] == before.pareto_k.values[worst]
    # a separate fit of the other observations under the same prior
    prior = bg.HierarchicalPrior().scaled_to(x)
    others = bg.fit(x[:-1], 1, prior=prior, method="gibbs", random_seed=2, draws=5000, progressbar=False)
    draws, _ = _parts(others)
    densities = np.exp(log_density(draws, Observations.made(x[-1:, None])))[:, 0]
    error = densities.std() / densities.mean() / np.sqrt(1000)
    assert after.elpd_i.values[worst] == pytest.approx(np.log(densities.mean()), abs=5 * error + 0.05)
    assert before.elpd_i.values[worst] > after.elpd_i.values[worst]
    np.testing.assert_array_equal(after.elpd_i[:-1], before.elpd_i[:-1])
    assert after.elpd == pytest.approx(float(after.elpd_i.sum()))


@pytest.mark.slow
def test_refits_of_several_features_and_by_nuts(monkeypatch):
    x = np.vstack([rng(2).normal(size=(25, 2)), [[4.5, -4.5]]])
    tree = bg.fit(x, 1, method="gibbs", random_seed=SEED, progressbar=False)
    by_gibbs = bg.loo(tree)
    assert refitted(by_gibbs) >= 1
    monkeypatch.setattr(leave_one_out, "_FEW_OPERATIONS", 0)
    by_nuts = bg.loo(tree)
    again = by_gibbs.influence_pareto_k.values > by_gibbs.good_k
    np.testing.assert_allclose(by_nuts.elpd_i[again], by_gibbs.elpd_i[again], atol=0.3)


def test_a_refit_of_too_large_an_error_is_not_believed(with_outlier, monkeypatch):
    monkeypatch.setattr(leave_one_out, "_LARGEST_ERROR", 0.0)
    left = bg.loo(with_outlier[1])
    assert bad_k_hats(left) == 1
    assert refitted(left) == 0
    assert left.warning


@pytest.fixture(scope="module")
def with_stray():
    """Few observations with a stray, and more components than they support."""
    x = np.append(rng(3).normal(size=29), 6.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapsedComponentWarning)  # EM's
        warnings.simplefilter("ignore", DataWarning)  # of the stray
        return x, bg.fit(x, 3, method="gibbs", random_seed=SEED, progressbar=False)


@pytest.mark.slow
def test_few_observations_are_refitted_from_one_half(with_stray, monkeypatch):
    """With few observations PSIS is inaccurate even for k-hat from 0.5 to 0.7. Here refits begin at 0.3."""
    _, tree = with_stray
    monkeypatch.setattr(leave_one_out, "_FAIR_K", 0.3)
    before, after = bg.loo(tree, refit=False), bg.loo(tree)
    assert ((before.pareto_k > 0.3) & (before.pareto_k <= before.good_k)).any()
    assert not (after.pareto_k > 0.3).any()
    assert refitted(after) == (before.pareto_k > 0.3).sum()
    monkeypatch.setattr(leave_one_out, "_to_refit", lambda k_hat, good_k, operations: np.argsort(-k_hat)[:6])
    most = bg.loo(tree, random_seed=1)
    assert after.elpd == pytest.approx(most.elpd, abs=5 * np.hypot(after.elpd_mcse, most.elpd_mcse))
    assert abs(before.elpd - most.elpd) > 5 * most.elpd_mcse  # a control: the approximation alone says something else


@pytest.mark.parametrize(("operations", "expected"), [(1_000, [3, 0, 2]), (1_001, [3, 0])])
def test_which_are_refitted(operations, expected):
    k_hat = np.array([0.9, 0.4, 0.6, np.inf, -0.1])
    assert leave_one_out._to_refit(k_hat, 0.7, operations).tolist() == expected


def test_what_is_not_refitted_is_mentioned(with_stray, monkeypatch):
    monkeypatch.setattr(leave_one_out, "_FAIR_K", 0.3)
    monkeypatch.setattr(leave_one_out, "_CHEAP", 0)
    found = bg.loo(with_stray[1])
    fair = int((found.pareto_k > 0.3).sum())
    assert fair > 0
    assert f"Pareto k is above 0.3, but within its limit, at {fair} observation(s) without a refit." in str(found)
    assert "Monte Carlo standard error of elpd: 0." in str(found)
    assert "Monte Carlo" not in str(bg.loo(with_stray[1], refit=False))  # a bad k-hat: the error is unknown


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of short chains
def test_the_monte_carlo_error_is_that_of_other_seeds():
    x = rng(1).normal(size=40)
    found = [
        bg.loo(bg.fit(x, 1, method="gibbs", draws=200, chains=2, thin=1, random_seed=seed, progressbar=False), refit=False)
        for seed in range(SEED, SEED + 25)
    ]
    variance = np.var([each.elpd for each in found], ddof=1)
    expected = np.mean([each.elpd_mcse**2 for each in found])
    assert abs(np.log(variance / expected)) < Z * np.sqrt(2 / 24), f"{variance:.3g} against {expected:.3g}"


@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_no_density_is_a_sentence(tree, monkeypatch, value):
    def broken(draws, rows):
        densities = log_density(draws, rows)
        densities[0, 0] = value
        return densities

    monkeypatch.setattr(leave_one_out, "log_density", broken)
    with pytest.raises(
        ValueError, match=r"LOO needs densities within the range of a float .*, got densities beyond it at 1 of 150 observ"
    ):
        bg.loo(tree, refit=False)


def test_a_tail_of_equal_values_is_no_error(tree, monkeypatch):
    """Draws that do not move give equal values. No tail can be fitted then, and k-hat counts as infinite."""

    def still(draws, rows):
        densities = log_density(draws, rows)
        densities[:, 0] = np.log(2.0)
        return densities

    monkeypatch.setattr(leave_one_out, "log_density", still)
    found = bg.loo(tree, refit=False)
    assert found.elpd_i.values[0] == pytest.approx(np.log(2.0))
    assert found.pareto_k.values[0] == np.inf
    assert np.isfinite(found.pareto_k.values[1:]).all()
    assert found.warning
    assert np.isnan(found.elpd_mcse)


def test_a_sample_of_the_observations(two_small):
    tree = make_tree(two_small)
    whole, part = bg.loo(tree), bg.loo(tree, sample=150, random_seed=SEED)
    assert part.subsample_size == 150
    assert int(np.isfinite(part.elpd_i).sum()) == 150
    assert abs(part.elpd - whole.elpd) < 5 * part.subsampling_se
    assert part.subsampling_se < 0.1 * whole.se
    assert part.p == pytest.approx(whole.p, rel=0.3)
    np.testing.assert_allclose(part.elpd_i.values[part.loo_subsample_observations],
                               whole.elpd_i.values[part.loo_subsample_observations], rtol=1e-10)  # fmt: skip
    other = bg.loo(make_tree(two_small, 1), sample=150, random_seed=SEED)
    compared = az.compare({"2": part, "1": other}, round_to="none")
    assert compared.index[0] == "2"


def test_bad_sample_is_refused(tree):
    with pytest.raises(ValueError, match="sample must be an integer of at least 1, got 0"):
        bg.loo(tree, sample=0)


def test_a_tree_of_another_package_is_refused(tree):
    with pytest.raises(TypeError, match="tree must be the DataTree"):
        bg.loo({"posterior": 1})
