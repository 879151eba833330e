"""Chains are grouped by quantities that do not depend on labels. Groups are described, weighed and reported."""

import arviz as az
import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.analysis.solutions import group
from tests.conftest import make_tree, one_chain_elsewhere
from tests.statistics import SEED, rng


def two_elsewhere(w, mu, sigma):
    mu[[0, 2]] += 3
    return w, mu, sigma


def one_moves(w, mu, sigma):
    mu[1, :100] += 3
    return w, mu, sigma


def test_chains_that_agree_are_one_solution(good):
    found = bg.solutions(good, weigh="stacking")
    assert found.of_chain.tolist() == [0, 0, 0, 0]
    assert found.table["share"].tolist() == found.table["weight"].tolist() == [1.0]
    assert repr(found).startswith("one solution")


def test_chains_elsewhere_are_another_solution(two_small):
    found = bg.solutions(make_tree(two_small, change=one_chain_elsewhere))
    assert found.of_chain.tolist() == [1, 0, 0, 0]
    assert found.table["chains"].tolist() == ["1-3", "0"]
    assert found.table["share"].tolist() == [0.75, 0.25]
    assert found.table["steady"].all()
    halves = bg.solutions(make_tree(two_small, change=two_elsewhere))
    assert halves.of_chain.tolist() == [0, 1, 0, 1]
    assert "2 solutions, in which different chains sit" in repr(halves)


def test_what_is_said_of_a_solution_is_said_of_its_chains(two_small):
    tree = make_tree(two_small, change=one_chain_elsewhere)
    row = bg.solutions(tree).table.loc[1]
    posterior, lp = tree["posterior"].to_dataset().isel(chain=0), tree["sample_stats"]["lp"][0]
    assert row["log_posterior"] == pytest.approx(float(lp.mean()))
    each = [
        bg.Mixture(w, mu, sigma=sigma).log_density(two_small).sum()
        for w, mu, sigma in zip(*(posterior[name].values for name in ("w", "mu", "sigma")), strict=True)
    ]
    assert row["log_likelihood"] == pytest.approx(np.mean(each))
    assert row["w, rank 0"] == pytest.approx(float(posterior["w"].max("cluster").mean()))


def test_a_chain_that_moves_about_is_called_so(two_small):
    found = bg.solutions(make_tree(two_small, change=one_moves))
    assert dict(zip(found.table["chains"], found.table["steady"], strict=True)) == {"0, 2-3": True, "1": False}
    assert ", not steady" in found.in_words()


@pytest.mark.slow
@pytest.mark.parametrize("n_draws", [10, 20, 50, 100, 400])
def test_chains_that_differ_by_chance_are_not_told_apart(n_draws):
    """Thirteen independent quantities and four chains, as from a sampler that mixes perfectly."""
    for seed in range(20):
        invariants = {str(i): values for i, values in enumerate(rng(seed).normal(size=(13, 4, n_draws)))}
        assert group(invariants).tolist() == [0, 0, 0, 0]
        invariants["0"][3] += 8
        assert group(invariants).tolist() == ([0, 0, 0, 1] if n_draws > 10 else [0, 0, 0, 0])


def test_labels_do_not_matter(two_small):
    def and_turned(w, mu, sigma):
        w, mu, sigma = one_chain_elsewhere(w, mu, sigma)
        turn = rng(3).random(w.shape[:2])[..., None] < 0.5
        return [np.where(turn, values[..., ::-1], values) for values in (w, mu, sigma)]

    assert bg.solutions(make_tree(two_small, change=and_turned)).of_chain.tolist() == [1, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
def test_stacking_takes_the_mixture_of_solutions_that_predicts_best(two_small):
    tree = make_tree(two_small, change=two_elsewhere)
    found = bg.solutions(tree, weigh="stacking")
    parts = [bg.add_log_likelihood(tree.isel(chain=chains, missing_dims="ignore")) for chains in ([0, 2], [1, 3])]
    left_out = np.exp([az.loo(part, pointwise=True).elpd_i.values for part in parts])
    weights = np.linspace(0, 1, 1001)
    scores = np.log(weights[:, None] * left_out[0] + (1 - weights[:, None]) * left_out[1]).sum(axis=1)
    best = weights[scores.argmax()]
    assert 0 < best < 0.1  # chains 1 and 3 were left where the data are
    np.testing.assert_allclose(found.table["weight"], [best, 1 - best], atol=0.002)


def test_diagnose_says_what_is_going_on(two_small):
    diagnosis = bg.diagnose(make_tree(two_small, change=one_chain_elsewhere))
    (finding,) = (each for each in diagnosis.findings if each.kind == "solutions")
    assert "solution 0: 75% of the draws" in finding.problem
    assert "solution 1: 25% of the draws" in finding.problem
    assert "do not average over the solutions" in finding.remedy
    assert "2 solutions" in repr(diagnosis)
    assert not diagnosis.converged


def test_a_solution_that_no_chain_is_in_is_named(galaxies):
    """Two components in the galaxies: the likelier solution has a fiftieth of the posterior, and no chain begins there."""
    tree = bg.fit(galaxies, 2, random_seed=SEED, progressbar=False)
    diagnosis = bg.diagnose(tree)
    assert diagnosis.converged
    assert [each.kind for each in diagnosis.findings] == ["missed"]
    assert (
        "EM found another solution (log-likelihood -220.19) with some 2% of the posterior" in diagnosis.findings[0].problem
    )
    tree["optima"]["mass"][:] = [0.995, 0.005]
    assert bg.diagnose(tree).ok


def test_bad_input(good):
    with pytest.raises(ValueError, match="weigh must be one of 'stacking', got 'evidence'"):
        bg.solutions(good, weigh="evidence")
    with pytest.raises(ValueError, match="tree must have at least 4 draws in each chain to be judged, got 3"):
        bg.solutions(good.isel(draw=slice(3), missing_dims="ignore"))
    with pytest.raises(TypeError, match="tree must be the DataTree that fit returns"):
        bg.solutions(good["posterior"].to_dataset())
