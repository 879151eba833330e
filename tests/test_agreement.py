"""The check against EM must pass on sound draws, and fail on spoilt ones for the right reason."""

import re

import numpy as np
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm import Mixture, check_against_em
from bayesgmm.analysis import em_check
from bayesgmm.analysis.densities import log_density
from bayesgmm.analysis.draws import read_draws
from bayesgmm.analysis.tree import permute
from bayesgmm.data.observations import Observations
from tests.conftest import (
    first_chain_turned,
    half_turned,
    make_tree,
    one_chain_elsewhere,
    shifted,
    slow,
    turned,
)
from tests.statistics import SEED


def test_says_yes_where_all_is_well(good):
    check = check_against_em(good)
    assert check.ok, check
    assert "the posterior agrees with EM" in check.verdict


def test_the_table_is_what_it_says(good):
    table, posterior = check_against_em(good).table, good["posterior"].to_dataset()
    assert list(table.index) == ["w[0]", "w[1]", "mu[0]", "mu[1]", "sigma[0]", "sigma[1]"]
    em, draws = float(good["em_baseline"]["mu"][1]), posterior["mu"][:, :, 1].values
    row = table.loc["mu[1]"]
    assert row["em"] == em
    assert row["mean"] == pytest.approx(draws.mean())
    assert row["sd"] == pytest.approx(draws.std())
    assert row["z"] == pytest.approx((em - draws.mean()) / draws.std())
    assert (row["lower"], row["upper"]) == tuple(np.quantile(draws, [0.025, 0.975]))
    assert row["inside"] == (row["lower"] <= em <= row["upper"])
    assert row["mcse_mean"] == pytest.approx(draws.std() / np.sqrt(draws.size), rel=0.3)  # independent draws
    assert row["r_hat"] == pytest.approx(1, abs=0.01)


def test_likelihood_and_distance_are_what_they_say(good, two_small):
    check = check_against_em(good)
    em = bg.fit_em(two_small, 2, random_seed=0)
    assert check.em_log_likelihood == pytest.approx(em.log_likelihood)
    values = bg.add_log_likelihood(good)["log_likelihood"]["x"].values.sum(axis=2)
    assert check.log_likelihood["mean"] == pytest.approx(values.mean())
    assert check.log_likelihood["max"] == pytest.approx(values.max())
    grid = np.linspace(-10, 30, 20_001)
    predictive = np.exp(log_density(read_draws(good), Observations.made(grid[:, None]))).mean(axis=0)
    distance = 0.5 * np.trapezoid(np.abs(predictive - np.exp(em.mixture.log_density(grid))), grid)
    assert check.total_variation == pytest.approx(distance, rel=0.1)
    assert 0 < check.total_variation < check.total_variation_limit < 0.2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shifted, r"EM lies outside the joint 95% interval of mu\[1\] \(-4"),
        (turned, "100% of the draws carry other labels than EM's components \\(bayesgmm.relabel mends this"),
    ],
)
def test_says_no_to_spoilt_draws(two_small, change, reason):
    check = check_against_em(make_tree(two_small, change=change))
    assert not check.ok
    assert any(re.search(reason, each) for each in check.reasons), check.reasons
    assert "does not agree" in check.verdict


@pytest.mark.parametrize("change", [first_chain_turned, half_turned])
def test_labels_that_mean_nothing_are_no_disagreement(two_small, change):
    """Raw labels are to be relabelled first. If labels still switch afterwards, only densities are compared."""
    raw = make_tree(two_small, change=change)
    check = check_against_em(raw)
    assert not check.ok
    assert not check.reasons
    assert check.unjudged == (
        "the labels are still the sampler's, so that only likelihoods and densities were compared (bayesgmm.relabel "
        "mends this, unless the clusters cannot be told apart)",
    )
    order = np.broadcast_to(np.arange(2), raw["posterior"]["w"].shape)
    relabelled = check_against_em(permute(raw, order[..., ::-1]))
    assert relabelled.unjudged == (
        "single clusters cannot be told apart, so that only likelihoods and densities were compared",
    )
    assert "the densities differ by" in relabelled.verdict
    assert "relabel" not in relabelled.verdict


def test_densities_are_judged_even_where_labels_are_not(two_small):
    check = check_against_em(make_tree(two_small, change=half_turned), Mixture([0.5, 0.5], [0, 20], sigma=1))
    assert any(each.startswith("the densities differ by") for each in check.reasons)
    assert check.verdict.startswith("the posterior does not agree with EM: ")


@pytest.mark.slow
def test_six_clusters_of_galaxies_are_compared_as_densities(galaxies):
    tree = bg.fit(galaxies, 6, method="gibbs", random_seed=SEED, progressbar=False)
    check = check_against_em(tree)
    assert not check.labels.trusted
    assert not check.reasons
    assert "relabel" not in check.verdict


@pytest.mark.parametrize("change", [one_chain_elsewhere, slow])
def test_does_not_judge_by_draws_that_have_not_converged(two_small, change):
    check = check_against_em(make_tree(two_small, change=change))
    assert not check.ok
    assert any("not converged" in each or "too few effective draws" in each for each in check.unjudged)


def test_does_not_judge_by_draws_of_a_sampler_in_trouble(good):
    tree = good.copy()
    stats = tree["sample_stats"].to_dataset()
    tree["sample_stats"] = xr.DataTree(stats.assign(diverging=xr.ones_like(stats["lp"], dtype=bool)))
    check = check_against_em(tree)
    assert not check.ok
    assert not check.reasons
    assert check.verdict.startswith("whether the posterior agrees with EM cannot be judged: 1000 divergent transitions")


def test_does_not_judge_by_an_estimate_that_has_not_converged(good):
    tree = good.copy(deep=True)
    tree["em_baseline"].attrs["converged"] = 0
    check = check_against_em(tree)
    assert not check.ok
    assert not check.reasons
    assert check.unjudged[0].startswith("EM itself has not converged")


def test_an_offset_hides_nothing(two_small):
    """A large offset must not make the points at which densities are followed look equal."""
    spoilt = check_against_em(make_tree(two_small + 1e6, change=one_chain_elsewhere))
    assert not spoilt.ok
    assert check_against_em(make_tree(two_small + 1e6)).ok


def test_one_draw_is_judged_by_nobody(two_small):
    check = check_against_em(make_tree(two_small, chains=1, draws=1))
    assert not check.ok
    assert len(check.table) == 0


def test_common_parameters_count_once(two_small):
    tied = make_tree(two_small, change=lambda w, mu, sigma: (w, mu, np.broadcast_to(sigma[..., :1], sigma.shape)))
    tied["em_baseline"]["sigma"][:] = float(tied["em_baseline"]["sigma"][0])
    assert em_check._n_free(check_against_em(tied).table) == 4  # one weight, two means, one standard deviation
    assert em_check._n_free(check_against_em(make_tree(two_small)).table) == 5


def test_another_estimate_of_the_same_data_may_be_given(good, two_small):
    em = bg.fit_em(two_small, 2, random_seed=9)
    assert repr(check_against_em(good, em)) == repr(check_against_em(good, em.mixture))
    assert not check_against_em(good, Mixture([0.5, 0.5], [0, 20], sigma=1)).ok
    with pytest.raises(ValueError, match="em must be fitted to the data of the tree"):
        check_against_em(good, bg.fit_em(two_small + 1, 2))
    with pytest.raises(TypeError, match="em must be an EMResult or a Mixture, got dict"):
        check_against_em(good, {})


def test_relabelling_mends_turned_draws(two_small):
    for change in (turned, first_chain_turned, half_turned):
        assert check_against_em(bg.relabel(make_tree(two_small, change=change))).ok


def test_says_no_to_another_k(good, two_small):
    check = check_against_em(good, bg.fit_em(two_small, 3, random_seed=1))
    assert not check.ok
    assert "EM has 3 components, the posterior 2" in check.reasons
    assert len(check.table) == 0
    assert "EM has 3 components" in repr(check)


def test_says_no_where_em_stopped_at_a_local_optimum(galaxies):
    tree = make_tree(galaxies, 4, seed=1)
    starts = [bg.fit_em(galaxies, 4, n_init=1, random_seed=seed) for seed in range(30)]
    worst = min(starts, key=lambda each: each.log_likelihood)
    assert worst.log_likelihood < tree["em_baseline"].attrs["log_likelihood"] - 5
    assert any("local optimum (raise n_init)" in each for each in check_against_em(tree, worst).reasons)
