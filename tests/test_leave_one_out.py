"""LOO: equal to ArviZ's where that can be trusted, to refits where it cannot, in chunks and from a sample."""

import arviz as az
import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm import leave_one_out
from bayesgmm.leave_one_out import bad_k_hats, refitted
from bayesgmm.predictive import log_density
from bayesgmm.tree import read_draws, read_observations
from tests.conftest import make_tree
from tests.statistics import SEED, rng


@pytest.fixture(scope="module")
def tree(two_small):
    return make_tree(two_small[:150])


@pytest.fixture(scope="module")
def with_outlier():
    """Thirty points and a thirty-first far off, without which the posterior is another."""
    x = np.append(rng(1).normal(size=30), 9.0)
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
    # the posterior of all others under the same prior, by another way
    prior = bg.HierarchicalPrior().scaled_to(x)
    others = bg.fit(x[:-1], 1, prior=prior, method="gibbs", random_seed=2, draws=5000, progressbar=False)
    draws, _ = _parts(others)
    densities = np.exp(log_density(draws, x[-1:]))[:, 0]
    error = densities.std() / densities.mean() / np.sqrt(1000)
    assert after.elpd_i.values[worst] == pytest.approx(np.log(densities.mean()), abs=5 * error + 0.05)
    assert before.elpd_i.values[worst] > after.elpd_i.values[worst]
    np.testing.assert_array_equal(after.elpd_i[:-1], before.elpd_i[:-1])
    assert after.elpd == pytest.approx(float(after.elpd_i.sum()))


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
