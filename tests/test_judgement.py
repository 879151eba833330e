"""The judgement of a fit: what follows from each problem, and that report, text and JSON say the same."""

from dataclasses import replace

import pytest

import bayesgmm as bg
from bayesgmm.analysis.findings import Finding
from bayesgmm.analysis.judgement import sentence
from bayesgmm.analysis.tree import add_optima, read_em
from bayesgmm.cli.documents import fit_document
from bayesgmm.cli.printed import fit_text
from bayesgmm.html_report.fitted import Fitted
from tests.conftest import half_turned, make_tree, one_chain_elsewhere, shifted

NOVEL = Finding("novel", "something of a kind that nobody knows yet", "do something about it")


def with_another_solution(tree):
    """EM found a second solution, in which no chain began."""
    em, _ = read_em(tree)
    other = bg.Mixture(em.weights[::-1], em.means + 4, sigma=em.sigma)
    return add_optima(tree, [(em, -100.0, 0.7, 4), (other, -101.0, 0.3, 0)])


@pytest.fixture(scope="module")
def cases(two_small):
    """Fits by name. The name says what is wrong."""
    sound, em_differs = make_tree(two_small), make_tree(two_small, change=shifted)
    fitted = Fitted.of(sound)
    return {
        "nothing": Fitted.of(sound),
        "EM": Fitted.of(em_differs),
        "another solution": Fitted.of(with_another_solution(sound)),
        "both": Fitted.of(with_another_solution(em_differs)),
        "labels": Fitted.of(make_tree(two_small, change=half_turned)),
        "chains": Fitted.of(make_tree(two_small, change=one_chain_elsewhere)),
        "a kind of its own": replace(fitted, diagnosis=replace(fitted.diagnosis, findings=(NOVEL,))),
        "a kind of its own, hopeless": replace(
            fitted, diagnosis=replace(fitted.diagnosis, findings=(NOVEL,), converged=False)
        ),
    }


JUDGED = {
    "nothing": ("good", "The sampling can be relied on", ()),
    "EM": ("caution", "The draws agree with one another, but not with EM", ("em",)),
    "another solution": ("caution", "The draws agree with one another, but EM found another solution", ("missed",)),
    "both": ("caution", "The draws agree with one another, but EM found another solution", ("missed", "em")),
    "labels": ("caution", "The sampling can be relied on, single clusters cannot", ("labels",)),
    "chains": ("bad", "Not to be relied on as it stands", ("solutions",)),
    "a kind of its own": ("caution", "To be used with reservations", ("novel",)),
    "a kind of its own, hopeless": ("bad", "Not to be relied on as it stands", ("novel",)),
}


@pytest.mark.parametrize("name", JUDGED)
def test_every_place_tells_the_same_judgement(cases, name):
    fitted, (level, title, kinds) = cases[name], JUDGED[name]
    judgement = fitted.judgement
    assert (judgement.level, judgement.title) == (level, title)
    assert tuple(each.kind for each in judgement.grounds) == kinds
    assert (level == "good") == (fitted.diagnosis.ok and fitted.check.ok)
    box = fitted.trust()
    assert (box.level, box.title) == (level, title)
    text = " ".join(fit_text(fitted).split())
    assert title in text
    document = fit_document(fitted, ["x"])
    assert document["ok"] == (level == "good")
    assert (document["judgement"]["level"], document["judgement"]["title"]) == (level, title)
    for said in judgement.sentences:
        assert said in box.text
        assert said in document["judgement"]["sentences"]
    for each in judgement.grounds:
        assert f"- {each.problem.split(' (')[0][:40]}" in text  # text in brackets is worded for the shell there
        assert "remedy: " in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EM", "another solution", "both"])
def test_what_another_solution_means_stands_in_the_answer(cases, name, tmp_path):
    source = bg.report(cases[name].tree, tmp_path / "report.html").read_text(encoding="utf-8")
    answer = source[source.index('<section id="answer"') : source.index('<section id="data"')]
    assert "verdict good" not in answer
    assert "verdict caution" in answer
    for said in cases[name].judgement.sentences:
        assert said.replace("'", "&#39;").replace(">", "&gt;").replace("<", "&lt;") in answer
    if name != "EM":
        assert "EM found another solution (log-likelihood" in answer
        assert "some 30% of the posterior" in answer
        assert "In that part the clusters are those of EM&#39;s other solution" in answer
    if name != "another solution":
        assert "EM lies outside the joint 95% interval of mu[1]" in answer


def test_a_reason_against_does_not_read_as_one_for(cases):
    for name in ("another solution", "labels", "both"):
        assert "relied on:" not in fit_text(cases[name])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("k = 3 is best", "k = 3 is best."), ("k-hat is high", "k-hat is high."), ("a draw is odd", "A draw is odd."),
        ("EM's BIC prefers k = 3", "EM's BIC prefers k = 3."), ("the chains agree.", "The chains agree."),
    ],
)  # fmt: skip
def test_sentences_begin_with_a_capital_but_symbols_do_not(text, said):
    assert sentence(text) == said
