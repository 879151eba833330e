"""The verdicts must say yes where all is well, and no, for the right reason, where something was spoilt."""

import re

import numpy as np
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm import check_against_em, diagnose
from tests.conftest import make_tree
from tests.statistics import rng


def kinds(diagnosis):
    return {finding.kind for finding in diagnosis.findings}


def turned(**parameters):
    return [parameters[name][..., ::-1] for name in ("w", "mu", "sigma")]


def first_chain_turned(**parameters):
    for values in parameters.values():
        values[0] = values[0, :, ::-1]
    return parameters.values()


def half_turned(**parameters):
    which = rng(0).random(parameters["w"].shape[:2]) < 0.5
    return [np.where(which[..., None], values[..., ::-1], values) for values in parameters.values()]


def shifted(w, mu, sigma):
    return w, mu + [0, 4 * mu[..., 1].std()], sigma


def one_chain_elsewhere(w, mu, sigma):
    mu[0] += 3
    return w, mu, sigma


def slow(w, mu, sigma):
    return tuple(np.repeat(values[:, ::50], 50, axis=1) for values in (w, mu, sigma))


@pytest.fixture(scope="module")
def good(two_small):
    return make_tree(two_small)


def test_says_yes_where_all_is_well(good):
    check, diagnosis = check_against_em(good), diagnose(good)
    assert check.ok, check.verdict
    assert diagnosis.ok
    assert diagnosis.converged
    assert "agrees with EM" in check.verdict


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
    predictive = np.exp(bg.predictive.log_density(bg.tree.read_draws(good), grid)).mean(axis=0)
    distance = 0.5 * np.trapezoid(np.abs(predictive - np.exp(em.mixture.log_density(grid))), grid)
    assert check.total_variation == pytest.approx(distance, rel=0.1)
    assert 0 < check.total_variation < check.total_variation_limit < 0.2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shifted, r"EM lies outside the joint 95% interval of mu\[1\] \(-4"),
        (turned, "100% of the draws carry other labels than EM's components"),
        (first_chain_turned, "25% of the draws carry other labels"),
        (half_turned, "5.% of the draws carry other labels|4.% of the draws carry other labels"),
        (one_chain_elsewhere, "the posterior cannot be judged: the chains have not converged"),
        (slow, "the posterior cannot be judged: .*(not converged|too few effective draws)"),
    ],
)
def test_says_no_to_spoilt_draws(two_small, change, reason):
    check = check_against_em(make_tree(two_small, change=change))
    assert not check.ok
    assert any(re.search(reason, each) for each in check.reasons), check.reasons
    assert "does not agree" in check.verdict


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


def test_one_component_is_dull():
    tree = make_tree(bg.datasets.galaxies(), 1)
    assert check_against_em(tree).ok
    assert diagnose(tree).ok
    assert list(check_against_em(tree).table.index) == ["mu[0]", "sigma[0]"]  # the weight is constant


def test_label_switching_alone_leaves_the_density_converged(two_small):
    diagnosis = diagnose(make_tree(two_small, change=first_chain_turned))
    assert diagnosis.converged
    assert kinds(diagnosis) == {"labels"}
    assert "single clusters have not" in diagnosis.findings[0].problem


@pytest.mark.parametrize(("change", "kind"), [(one_chain_elsewhere, "r_hat"), (slow, "r_hat")])
def test_chains_that_disagree_have_not_converged(two_small, change, kind):
    diagnosis = diagnose(make_tree(two_small, change=change))
    assert not diagnosis.converged
    assert kind in kinds(diagnosis)
    assert all(finding.remedy for finding in diagnosis.findings)


def test_few_chains_and_few_draws(two_small):
    assert kinds(diagnose(make_tree(two_small, chains=1, draws=1000))) == {"chains"}
    short = diagnose(make_tree(two_small, chains=2, draws=3))
    assert kinds(short) == {"draws"}
    assert not short.converged
    assert kinds(diagnose(make_tree(two_small, chains=4, draws=60))) >= {"ess_bulk"}


def with_stats(tree, **stats):
    changed = tree["sample_stats"].to_dataset().assign({name: (("chain", "draw"), value) for name, value in stats.items()})
    result = tree.copy()
    result["sample_stats"] = xr.DataTree(changed)
    return result


def test_sampler_trouble_is_named(good):
    shape = good["posterior"]["w"].shape[:2]
    diverging = np.zeros(shape, dtype=bool)
    diverging[0, :3] = True
    found = diagnose(with_stats(good, diverging=diverging))
    assert kinds(found) == {"divergences"}
    assert found.findings[0].problem.startswith("3 divergent transitions")
    assert found.converged
    energy = np.cumsum(rng(1).standard_normal(shape), axis=1)
    assert kinds(diagnose(with_stats(good, energy=energy))) == {"energy"}
    assert diagnose(with_stats(good, energy=rng(1).standard_normal(shape))).ok
    deep = np.zeros(shape, dtype=bool)
    deep[:, ::10] = True
    assert kinds(diagnose(with_stats(good, reached_max_treedepth=deep))) == {"tree depth"}


def test_advi_is_judged_by_its_approximation(good):
    def advi(**attrs):
        tree = good.copy()
        tree.attrs = {**good.attrs, "method": "advi"}
        tree["approximation"] = xr.DataTree(
            xr.Dataset(attrs={"pareto_k": 0.3, "importance_efficiency": 0.9, "converged": 1, **attrs})
        )
        return tree

    assert diagnose(advi()).ok
    assert kinds(diagnose(advi(pareto_k=0.9))) == {"k_hat"}
    assert kinds(diagnose(advi(pareto_k=np.nan))) == {"k_hat"}
    assert kinds(diagnose(advi(converged=0))) == {"elbo"}
    assert not check_against_em(advi(pareto_k=0.9)).ok
    bare = good.copy()
    bare.attrs = {"method": "advi"}
    with pytest.raises(ValueError, match="tree must have a group approximation"):
        diagnose(bare)


def test_both_print_as_tables(good):
    assert "sigma[1]" in repr(check_against_em(good))
    text = repr(diagnose(good))
    assert text.index("label-invariant") < text.index("labelled parameters")
    assert "log posterior" in text
