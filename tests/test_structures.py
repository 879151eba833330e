"""Several covariance structures compared at once: the joint table, the recommendation, the shell, folders and report."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm.cli.documents import comparison_document, to_json
from bayesgmm.cli.results import write_comparison
from bayesgmm.cli.stored_results import read_results
from tests.statistics import SEED, rng

SHORT = {"method": "gibbs", "draws": 100, "chains": 2, "n_init": 2, "random_seed": SEED, "progressbar": False}
STRUCTURES = ["full", "tied_diag", "spherical"]


@pytest.fixture(scope="module")
def x():
    """Two clusters of independent features with the same variances."""
    made = rng(1).normal(size=(120, 2)) * [1.0, 4.0]
    made[60:] += [6.0, 0.0]
    return pd.DataFrame(made, columns=["a", "b"])


@pytest.fixture(scope="module")
def compared(x):
    return bg.compare(x, [1, 2], covariance=STRUCTURES, **SHORT)


def test_each_structure_is_compared_as_it_would_be_alone(compared, x):
    alone = bg.compare(x, [1, 2], covariance="tied_diag", **SHORT)
    pd.testing.assert_frame_equal(
        compared.comparisons["tied_diag"].table.drop(columns="seconds"), alone.table.drop(columns="seconds")
    )


def test_the_table_compares_all_rows(compared):
    table = compared.table
    assert list(zip(table["covariance"], table["k"], strict=True)) == [(name, k) for name in STRUCTURES for k in (1, 2)]
    assert table["n_parameters"].tolist() == [5, 11, 4, 7, 3, 7]
    best = table["elpd_loo"].idxmax()
    np.testing.assert_allclose(table["elpd_diff"], table["elpd_loo"] - table["elpd_loo"][best])
    assert table["dse"][best] == 0
    pointwise = [compared.comparisons[name].loo[str(k)].elpd_i.values for name in STRUCTURES for k in (1, 2)]
    apart = pointwise[0] - pointwise[best]
    assert table["dse"][0] == pytest.approx(np.sqrt(120 * apart.var(ddof=1)), rel=0.01)
    assert table["weight"].sum() == pytest.approx(1)
    np.testing.assert_allclose(np.log(table["p_k"]), table["log_evidence"] - logsumexp(table["log_evidence"]), atol=1e-9)


def test_the_true_structure_and_k_are_recommended(compared):
    assert compared.recommended == ("tied_diag", 2)
    assert compared.best["bic"] == ("tied_diag", 2)
    assert compared.best["log_evidence"] == ("tied_diag", 2)
    assert repr(compared).startswith("Recommended: tied_diag with k = 2, with the fewest parameters")
    assert compared.reading(("tied_diag", 2)).draws.n_components == 2


def with_rows(compared, **columns):
    """The comparison with other values in its table of one structure."""
    one = compared.comparisons["full"]
    return replace(compared, comparisons={"full": replace(one, table=one.table.assign(**columns))})


def test_what_cannot_be_compared_is_said(compared):
    nothing = with_rows(compared, elpd_loo=np.nan, log_evidence=np.nan)
    assert nothing.recommended is None
    assert "no model can be compared" in nothing.verdict
    contradictory = with_rows(compared, log_evidence=[0.0, -100.0], mcse=[0.01, 0.01])
    assert contradictory.recommended == ("full", 1)
    assert "the largest evidence, because prediction or evidence rules out every model" in contradictory.verdict
    without = with_rows(compared, log_evidence=np.nan, p_k=np.nan)
    assert without.recommended == ("full", 2)
    assert "the evidence prefers" not in without.verdict


@pytest.mark.parametrize(
    ("covariance", "said"),
    [
        ([], "covariance must hold at least one structure"),
        (["full", "round"], "covariance must be one of"),
        (["full", "EEE"], "got mclust's 'EEE'; use 'tied'"),
        (3, "covariance must be the name of a structure, or several"),
    ],
)
def test_wrong_structures_get_a_sentence(x, covariance, said):
    with pytest.raises((ValueError, TypeError), match=said):
        bg.compare(x, [1, 2], covariance=covariance, **SHORT)


def test_trees_have_their_own_structure(compared):
    with pytest.raises(ValueError, match="covariance cannot be given with trees"):
        bg.compare(dict(compared.comparisons["full"].fits), covariance=["full", "tied"])


def test_nothing_is_fitted_before_all_structures_have_been_checked(x, monkeypatch):
    def fitted(*args, **options):
        raise AssertionError

    monkeypatch.setattr("bayesgmm.comparison.comparing.judged_fit", fitted)
    collinear = x.assign(c=x["a"] + x["b"])
    with pytest.raises(ValueError, match="collinear"):
        bg.compare(collinear, [1, 2], covariance=["diag", "full"], **SHORT)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_values_rounded_for_one_structure_are_rounded_for_all(faithful_as_published):
    with pytest.warns(bg.exceptions.DataWarning, match="rounded"):
        spherical = bg.compare(faithful_as_published, [3], covariance=["tied", "full"], **SHORT)
    steps = [each.reading(3).observations.steps.tolist() for each in spherical.comparisons.values()]
    assert steps[0] == steps[1]


@pytest.mark.slow
def test_folder_json_and_report(compared, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    assert write_comparison(compared, folder) == []
    again = read_results(folder)
    pd.testing.assert_frame_equal(again.table, compared.table)
    assert again.recommended == compared.recommended
    document = json.loads(to_json(comparison_document(again, ["a", "b"])))
    assert document["document"] == "structures"
    assert document["recommended"] == {"covariance": "tied_diag", "k": 2}
    assert set(document["comparisons"]) == set(STRUCTURES)
    page = (folder / "report.html").read_text()
    text = re.sub("<[^>]+>", " ", page)
    assert "Which covariance structure" in text
    assert "recommended: tied_diag with k = 2" in text.lower()
    assert (folder / "tied_diag" / "report.html").exists()
    (folder / "spherical" / "comparison.json").unlink()
    with pytest.raises(ValueError, match=r"got no spherical/comparison\.json; run compare again"):
        read_results(folder)


@pytest.mark.slow
def test_the_shell_takes_several(x, tmp_path, capsys, monkeypatch):
    from bayesgmm.cli import main

    monkeypatch.chdir(tmp_path)
    x.to_csv("x.csv", index=False)
    command = (
        "compare x.csv --columns a b --k 1,2 --covariance full,tied_diag --method gibbs --draws 100 --chains 2 --seed 1"
    )
    monkeypatch.setattr("sys.argv", ["bayesgmm", *command.split(), "--out", "out", "--quiet"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    assert "Recommended: tied_diag with k = 2" in capsys.readouterr().out
    assert read_results(tmp_path / "out").recommended == ("tied_diag", 2)
