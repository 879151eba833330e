"""Sentences that say which k is preferred, and how clearly; from tables made by hand."""

import numpy as np
import pandas as pd
import pytest

from bayesgmm.comparison.verdict import choose, preferences


def table(**columns):
    rows = {
        "elpd_loo": [-110.0, -100.0, -101.0], "elpd_diff": [-10.0, 0.0, -1.0], "dse": [2.0, 0.0, 1.0],
        "weight": [0.0, 0.7, 0.3], "log_evidence": [-120.0, -110.0, -111.5], "mcse": [0.01, 0.02, 0.05],
        "p_k": [0.0, 0.8, 0.2], "bic": [230.0, 210.0, 211.0], "aic": [225.0, 200.0, 199.0], "icl": [231.0, 215.0, 230.0],
        "converged": [True, True, True], "em_spurious": [0, 0, 0],
    }  # fmt: skip
    return pd.DataFrame(rows | columns, index=pd.Index([1, 2, 3], name="k"))


def test_every_criterion_names_its_k():
    best = preferences(table())
    assert best == {"elpd_loo": 2, "weight": 2, "log_evidence": 2, "p_k": 2, "bic": 2, "aic": 3, "icl": 2}
    text = repr(best)
    for part in ("LOO k = 2", "weight of 0.70", "evidence prefers k = 2", "0.80", "BIC prefers k = 2", "AIC k = 3"):
        assert part in text


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "by LOO k = 2 predicts best and cannot be told apart from k = 3"),
        ({"dse": [2.0, 0.0, 0.4]}, "by LOO k = 2 predicts best and is better than every other k"),
        ({}, "prefers k = 2, which is ahead of k = 3 by a log Bayes factor of 1.5"),
        ({"log_evidence": [-120, -110, -110.9]}, "prefers k = 2, which cannot be told apart from k = 3"),
        ({"mcse": [0.01, 0.02, 0.9]}, "prefers k = 2, which cannot be told apart from k = 3"),
        ({"log_evidence": [np.nan, -110, -112], "mcse": [np.nan, 0.1, 0.1]}, "factor of 2.0 (the evidence of k = 1 is as good as unknown)"),
        ({"mcse": [0.01, 0.02, 3.0]}, "cannot be told apart from k = 3 (Bayes factors below 3, or within two Monte Carlo errors) (the evidence of k = 3 is as good as unknown)"),
        ({}, "BIC prefers k = 2 (k = 3 within 2)"),
        ({"bic": [230.0, 210.0, 213.0]}, "BIC prefers k = 2, AIC"),
    ],
)  # fmt: skip
def test_how_decided_it_is(columns, said):
    assert said in " ".join(preferences(table(**columns)).sentences)


def test_without_evidence_nothing_is_said_of_it():
    best = preferences(table(log_evidence=[np.nan] * 3, mcse=[np.nan] * 3, p_k=[np.nan] * 3))
    assert "log_evidence" not in best
    assert "evidence" not in repr(best)


def test_evidence_of_some_k_only_leaves_p_k_unknown():
    best = preferences(table(log_evidence=[np.nan, -110, np.nan], mcse=[np.nan, 0.1, np.nan], p_k=[np.nan] * 3))
    assert best["log_evidence"] == 2
    assert "p_k" not in best
    assert "stands alone (the evidence of k = 1, 3 is as good as unknown), and p(k | x) is unknown" in best.sentences[2]


@pytest.mark.parametrize(
    ("criterion", "columns", "k", "said"),
    [
        ("loo", {}, 2, "k = 2 is the smallest that predicts as well within two standard errors"),
        ("loo", {"dse": [6.0, 0.0, 1.0]}, 1, "by LOO k = 2 predicts best and cannot be told apart from k = 1, 3"),
        ("loo", {"elpd_diff": [-10.0, -1.0, 0.0], "elpd_loo": [-110.0, -101.0, -100.0], "dse": [2.0, 0.4, 0.0]}, 3, "LOO k = 3"),
        ("evidence", {}, 2, "k = 2 is the most probable"),
        ("evidence", {"p_k": [0.0, 0.3, 0.7]}, 3, "the evidence prefers k = 2"),
        ("bic", {"bic": [230.0, 212.0, 211.0]}, 3, "k = 3 has the lowest BIC"),
        ("icl", {}, 2, "k = 2 has the lowest ICL"),
    ],
)  # fmt: skip
def test_one_k_is_chosen_and_said_why(criterion, columns, k, said):
    chosen, sentence = choose(table(**columns), criterion)
    assert chosen == k
    assert said in sentence
    assert "converged" not in sentence
    assert "hardly more" not in sentence


@pytest.mark.parametrize("criterion", ["loo", "evidence", "bic", "icl"])
def test_a_choice_says_what_stands_against_it(criterion):
    _, sentence = choose(table(converged=[True, False, False], em_spurious=[0, 0, 1]), criterion)
    but = (
        "so this is provisional"
        if criterion in ("loo", "evidence")
        else f"but {criterion.upper()} is computed from EM's estimates"
    )
    assert f"; the draws of k = 2, 3 have not converged, {but}" in sentence
    spurious = "; BIC, AIC and ICL favour components with hardly enough observations to determine them, and EM has such components: k = 3"
    assert sentence.endswith(spurious) == (criterion in ("bic", "icl"))


def test_no_choice_by_an_evidence_that_is_missing():
    missing = table(log_evidence=[-120, -110, np.nan], p_k=[np.nan] * 3)
    with pytest.raises(ValueError, match="criterion='evidence' needs the evidence of every k, got none for k = 3; use more"):
        choose(missing, "evidence")


@pytest.mark.parametrize("width", [50, 80, 110])
def test_answers_come_as_lines(width):
    text = preferences(table()).as_text(width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    said = " ".join(text.split())
    assert said.startswith("Recommended: k = 2, the smallest k that neither prediction")
    for part in (
        "observations best? (LOO) 2 cannot be told apart from k = 3",
        "averaged predictions? 2 stacking weight 0.70",
        "data most probable? 2 is ahead of k = 3 by a log Bayes factor of 1.5",
        "k is most probable? 2 p(k | x) = 0.80",
        "BIC, AIC, ICL? 2, 3, 2 the BIC of k = 3 is nearly as good",
    ):
        assert part in said


def test_one_k_stands_alone():
    alone = preferences(table().loc[[2]])
    assert alone["elpd_loo"] == 2
    assert " ".join(alone.sentences).count("stands alone") == 2
    assert "Recommended" not in alone.as_text(110)
