"""The command line: answers on standard output, one sentence for an error, folders whole or not at all."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
from typing import get_args

import arviz as az
import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm import cli, fitting
from bayesgmm.cli.simulate import Dataset
from bayesgmm.model.priors import prior_of

COMPILING = re.compile(r"bayesgmm: (compiling|another process compiles) ")  # said by the first command that has to compile


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in a temporary folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["bayesgmm", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, "".join(line for line in err.splitlines(keepends=True) if not COMPILING.match(line))

    return command


@pytest.fixture
def csv(tmp_path, two_small):
    path = tmp_path / "data.csv"
    pd.DataFrame({"velocity": two_small, "name": "a", "gap": np.where(np.arange(400) == 7, np.nan, two_small)}).to_csv(path)
    return path


def test_help_names_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    for name in ("demo", "simulate", "fit", "compare", "fit-many"):
        assert name in out
    for name in ("fit", "compare", "fit-many", "simulate", "demo"):
        code, out, _ = run(name, "--help")
        assert code == 0
        assert "--seed" in out


def test_version(run):
    assert run("--version")[:2] == (0, f"{bg.__version__}\n")


def test_force_replaces_nothing_but_results(run, csv, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").touch()
    code, _, err = run("fit", csv, "--column", "velocity", "-k", 1, "--out", "precious", "--force")
    assert code == 1
    assert "--force replaces only a folder of earlier results, and never the working directory" in err
    assert (tmp_path / "precious" / "thesis.tex").exists()


def test_force_keeps_data_that_lie_in_the_results(run, csv, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "verdict.txt").touch()
    data = csv.rename(tmp_path / "results" / "data.csv")
    code, _, err = run("fit", data, "--column", "velocity", "-k", 1, "--out", "results", "--force")
    assert code == 1
    assert "results holds the data" in err
    assert data.exists()


def test_simulate_writes_the_story(run, tmp_path):
    code, out, _ = run("simulate", "-n", 5, "--seed", 3)
    x, z = bg.Mixture([0.25, 0.75], [5, 10], sigma=[1.5, 2]).sample(5, 3)
    lines = [line.split(",") for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["x", "z"]
    np.testing.assert_array_equal([float(a) for a, _ in lines[1:]], x)
    np.testing.assert_array_equal([int(b) for _, b in lines[1:]], z)
    assert run("simulate", "--weights", "1", "--means", "0", "--sigma", "2", "--out", "x.csv")[0] == 0
    assert len(pd.read_csv("x.csv")) == 10_000
    code, _, err = run("simulate", "--out", "x.csv")
    assert (code, err) == (1, "error: x.csv exists; choose another --out, or replace a file with --force\n")
    assert run("simulate", "-n", 3, "--out", "x.csv", "--force")[0] == 0
    assert len(pd.read_csv("x.csv")) == 3


@pytest.mark.parametrize("name", get_args(Dataset))
def test_every_data_set_of_the_package_can_be_written(run, name):
    code, out, err = run("simulate", "--dataset", name)
    data = getattr(bg.datasets, name)()
    assert code == 0, err
    assert len(out.splitlines()) == 1 + len(data.x if isinstance(data, bg.datasets.Simulated) else data)


def test_fit_writes_a_folder(run, csv, two_small):
    arguments = ("fit", csv, "--column", "velocity", "-k", 2, "--seed", 5, "--out", "results")
    code, out, err = run(*arguments)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[2].startswith("2 clusters in velocity: ")
    assert lines[3].startswith("The sampling can be relied on. All diagnostics passed")
    assert "400 observations, described by a mixture of 2 Gaussians" in out
    assert (
        out.index("The clusters: posterior means") < out.index("The posterior agrees with EM: ") < out.index("log posterior")
    )
    assert "velocity: n = 400, k = 2, seed 5" in out
    assert "results" in out.splitlines()[-1]
    phases = ["sampling 4 chains", "checking against EM ...", "pictures ...", "writing the report ..."]
    assert sorted(phases, key=err.index) == phases
    assert sorted(os.listdir("results")) == [
        "check_against_em.csv", "clusters.csv", "digests.json", "fit.png", "parameters.csv", "posterior.nc", "report.html", "summary.json", "trace.png",
        "verdict.txt",
    ]  # fmt: skip
    tree = az.from_netcdf("results/posterior.nc").load()
    np.testing.assert_array_equal(tree["observed_data"]["x"], two_small)
    assert tree.attrs["seed"] == 5
    assert os.listdir(".") == ["results"] or sorted(os.listdir(".")) == [
        "data.csv",
        "results",
    ]  # no half-written folder beside it
    code, _, err = run(*arguments)
    assert (code, err) == (1, "error: results exists; choose another --out, or replace earlier results with --force\n")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of a run of 300 draws
def test_earlier_results_are_replaced_and_options_reach_the_fit(run, csv, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "posterior.nc").write_bytes(b"\x89HDF\r\n\x1a\n of earlier draws")
    (tmp_path / "results" / "verdict.txt").write_text("of earlier draws")
    arguments = ("fit", csv, "--column", "velocity", "-k", 2, "--seed", 5, "--out", "results", "--force", "--quiet")
    code, _, err = run(*arguments, "--draws", 300, "--prior", "conjugate", "--prior-scale", "core", "--covariance", "tied")
    assert code == 0, err
    assert "..." not in err
    assert "earlier" not in (tmp_path / "results" / "verdict.txt").read_text()
    tree = az.from_netcdf("results/posterior.nc").load()
    assert tree["posterior"].sizes["draw"] == 300
    assert "ConjugatePrior" in tree.attrs["prior"]
    assert prior_of(tree.attrs["prior"]).scale == "core"
    assert tree.attrs["covariance"] == "tied"


@pytest.mark.slow
def test_compare_writes_a_folder_that_report_reads(run, csv, tmp_path):
    code, out, err = run(
        "compare", csv, "--column", "velocity", "--k", "1:2", "--draws", 300, "--seed", 1, "--out", "results", "--id", "name"
    )
    assert code == 0, err
    assert pd.read_csv("results/k2/clusters.csv").columns.tolist()[:3] == ["obs", "name", "velocity"]
    assert out.splitlines()[1].startswith("Recommended: k = 2, ")
    assert "Which k predicts new observations best? (LOO)  2" in out
    assert "velocity: n = 400, seed 1" in out
    assert pd.read_csv("results/comparison.csv")["k"].tolist() == [1, 2]
    pictures = ["compare.png", "fits.png"]
    assert sorted(os.listdir("results")) == sorted(
        [
            *pictures,
            "comparison.csv",
            "comparison.json",
            "digests.json",
            "k1",
            "k2",
            "loo.nc",
            "report.html",
            "summary.json",
            "verdict.txt",
        ]
    )
    assert os.path.exists("results/k2/posterior.nc")
    # and the report is written again from it
    written = (tmp_path / "results" / "report.html").read_bytes()
    code, _, err = run("report", "results")
    assert (code, err) == (1, "error: results/report.html exists; choose another --out, or replace it with --force\n")
    code, out, err = run("report", "results", "--out", "again.html")
    assert (code, out) == (0, "The report is in again.html\n"), err
    assert (tmp_path / "again.html").read_bytes() == written
    assert run("report", "results", "--force", "-k", 1, "--title", "One cluster")[0] == 0
    assert "<h1>One cluster</h1>" in (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    assert run("report", "results/k2/posterior.nc", "--out", "k2.html")[0] == 0
    code, _, err = run("report", csv)
    assert code == 1
    assert err.startswith(f"error: {csv} must be a tree in NetCDF")
    assert err.count("\n") == 1


def test_compare_goes_on_from_its_cache(run, csv):
    csv.write_text("".join(csv.read_text().splitlines(keepends=True)[:61]))  # fewer rows, for a quicker comparison
    again = ("compare", csv, "--column", "velocity", "--seed", 1, "--cache", "fits", "--draws", 100, "--quiet")
    first, second = run(*again, "--k", "1"), run(*again, "--k", "1:2")
    assert first[0] == second[0] == 0, second
    assert len(os.listdir("fits")) == 2
    one, other = (next(line for line in out.splitlines() if line.startswith("1 ")) for _, out, _ in (first, second))
    assert one.split()[1] == other.split()[1]  # elpd of k = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "nothing.csv", "-k", 2), "nothing.csv is not a file; give one that exists, or - for standard input"),
        (("fit", "data.csv", "-k", 2), "--columns must name one or several of 'Unnamed: 0', 'velocity', 'name', 'gap', got none"),
        (("fit", "data.csv", "-k", 2, "--column", "speed"), "--columns must name one or several of 'Unnamed: 0', 'velocity', 'name', 'gap', got 'speed'"),
        (("fit", "data.csv", "-k", 2, "--column", "name"), "column name of data.csv must hold numbers, got 'a' (line 2); correct it"),
        (("fit", "data.csv", "-k", 2, "--column", "gap"), "gap of data.csv must have no gaps, got 1 of 400 observations with missing or infinite values (line 9); correct them, or leave these observations out with --missing drop"),
        (("fit", "data.csv", "-k", 0, "--column", "velocity"), "k must be an integer of at least 1, got 0"),
        (("fit", "data.csv", "-k", 2, "--column", "velocity", "--max-draws", 5), "--max-draws limits a run with --target-ess, got it alone"),
        (("fit", "data.csv", "-k", 2, "--column", "velocity", "--method", "advi", "--tune", 5), "tune is an option of --method nuts and --method gibbs, got --method advi; leave it out"),
        (("compare", "data.csv", "--column", "velocity", "--k", "3-5"), "--k must be a range such as 1:6 or a list such as 2,3,5, got '3-5'"),
        (("compare", "data.csv", "--column", "velocity", "--k", "5:2"), "--k must be a range"),
        (("simulate", "--weights", "a,b"), "--weights must be numbers separated by commas, got 'a,b'"),
        (("simulate", "--weights", "1,1"), "weights must sum to 1"),
        (("fit", "binary.csv", "-k", 2), "binary.csv must be text in UTF-8, got the byte 0xff"),
        (("fit", "empty.csv", "-k", 2), "empty.csv is empty; it must hold a header line and observations"),
        (("fit", "bare.csv", "-k", 2), "bare.csv must begin with a header line of column names, got the numbers 1.5"),
        (("fit", "header.csv", "-k", 2), "header.csv must hold at least one observation under its header line, got none"),
        (("fit", "blank.csv", "-k", 2), "velocity of blank.csv must have no gaps, got 1 of 4 observations with missing or infinite values (line 4)"),
        (("fit", "blank.csv", "-k", 2, "--missing", "drop", "--out", "data.csv/sub"), "data.csv"),
        (("fit", "blank.csv", "-k", 2, "--missing", "drop", "--out", ".", "--force"), "--out must name a folder of its own, got .; add a name, such as results"),
        (("fit", "blank.csv", "-k", 2, "--missing", "drop", "--out", "b" * 250), "cannot be written: File name too long; choose another --out"),
        (("fit", "blank.csv", "-k", 2, "--missing", "drop", "--out", "data.csv", "--force"), "--force replaces only a folder of earlier results, and never the working directory"),
        (("fit", "data.csv", "-k", 2, "--column", "velocity", "--id", "name"), "--id names observations in clusters.csv, which only --out writes, got no --out; give it too"),
        (("fit", "data.csv", "-k", 2, "--column", "velocity", "--id", "nam", "--out", "new"), "got 'nam'; did you mean 'name'?"),
        (("fit", "data.csv", "-k", 2, "--column", "velocity", "--separator", "::"), "--separator must be a character"),
        (("fit", "data.csv", "-k", 2, "--column", "velocity", "--encoding", "klingon"), "--encoding must be one such as utf-8, latin-1 or utf-16, got 'klingon'"),
        (("fit", "data.csv", "-k", 2, "--column", "velocity", "--missing-values", "a", "--comment", "%", "--thousands", "''"), "--thousands must be a character"),
        (("simulate", "--seed", "-1"), "--seed must be an integer of at least 0, got -1"),
    ],
)  # fmt: skip
def test_errors_are_one_sentence(run, csv, arguments, message, tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81" * 50)
    (tmp_path / "empty.csv").touch()
    (tmp_path / "bare.csv").write_text("1.5\n2.5\n3.5\n")
    (tmp_path / "header.csv").write_text("velocity\n")
    (tmp_path / "blank.csv").write_text("velocity\n1.5\n2.5\n\n3.5\n")
    before = sorted(os.listdir(tmp_path))
    code, out, err = run(*arguments)
    assert code == 1
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == before


def test_wrong_words_are_usage_errors(run, csv):
    assert run("dance")[0] == 2
    for arguments, message in [
        (("fit", csv, "-k", "two"), "'-k' / '--k': must be an integer, got 'two'"),
        (("fit", csv, "-k", 2, "--method", "nutz"), "'--method': must be one of nuts, gibbs, advi, laplace, got 'nutz'"),
        (("fit", csv, "-k", 2, "--target-ess", "many"), "'--target-ess': must be a number, got 'many'"),
        (("simulate", "-n", 2.5), "'-n': must be an integer, got '2.5'"),
    ]:
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert message in " ".join(err.replace("│", " ").split())
    code, out, err = run("fit", csv, "-k", 2, "--colum", "velocity")
    assert (code, out) == (2, "")
    assert "No such option: --colum. Did you mean --column?" in err
    assert "Did you mean --version?" in run("--verison")[2]


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of a run of 200 draws
def test_missing_observations_can_be_dropped(run, csv):
    code, out, _ = run("fit", csv, "--column", "gap", "-k", 2, "--missing", "drop", "--draws", 200, "--seed", 1, "--quiet")
    assert code == 0
    assert out.startswith("gap: n = 399 (1 left out, with missing or infinite values), k = 2, seed 1\n")
    assert "with EM" in out


def fails(*_, **__):
    raise ValueError("zero-size array to reduction operation")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of a run of 200 draws
def test_a_picture_that_fails_is_left_out_and_named(run, csv, monkeypatch, tmp_path):
    monkeypatch.setattr(bg.plots, "plot_fit", fails)
    monkeypatch.setattr(importlib.import_module("bayesgmm.html_report.fit_sections"), "_worst", fails)  # in EM's table
    code, _, err = run("fit", csv, "--column", "velocity", "-k", 1, "--draws", 200, "--quiet", "--out", "results")
    assert code == 0, err
    assert (
        err.splitlines()[-1] == "fit.png is left out, because it cannot be written: zero-size array to reduction operation"
    )
    assert {"posterior.nc", "trace.png", "clusters.csv", "report.html"} <= set(os.listdir("results"))
    assert "fit.png" not in os.listdir("results")
    report = (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    for what, why in (("picture", "drawn"), ("section", "written")):
        assert f"This {what} is left out, because it cannot be {why}: zero-size array to reduction operation" in report


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of a run of 200 draws
def test_an_error_after_sampling_keeps_the_draws(run, csv, monkeypatch, tmp_path):
    monkeypatch.setattr("bayesgmm.html_report.fitted.check_against_em", fails)
    code, _, err = run("fit", csv, "--column", "velocity", "-k", 1, "--draws", 200, "--quiet", "--out", "results")
    assert code == 1
    assert err.splitlines()[-1] == "error: zero-size array to reduction operation; what had been finished is in results"
    assert sorted(os.listdir("results")) == ["digests.json", "posterior.nc", "verdict.txt"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of runs of 200 draws
def test_an_error_in_a_comparison_keeps_its_fits(run, csv, monkeypatch, tmp_path):
    monkeypatch.setattr("bayesgmm.comparison.judging.loo", fails)
    arguments = ("compare", csv, "--column", "velocity", "-k", "1,2", "--draws", 200, "--seed", 1, "--quiet")
    code, _, err = run(*arguments, "--out", "results")
    assert code == 1
    assert err.splitlines()[-1].endswith("; what had been finished is in results")
    assert len(os.listdir("results/fits")) == 2
    monkeypatch.undo()
    monkeypatch.setattr("bayesgmm.comparison.comparing.judged_fit", fails)
    monkeypatch.chdir(tmp_path)
    assert run(*arguments, "--cache", "results/fits")[0] == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of a run of 200 draws
def test_what_appears_under_the_name_is_kept_beside_the_results(run, csv, monkeypatch, tmp_path):
    def fit(*arguments, **options):
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "thesis.tex").write_text("precious")
        return original(*arguments, **options)

    original = fitting.judged_fit
    monkeypatch.setattr("bayesgmm.fitting.judged_fit", fit)
    code, out, err = run("fit", csv, "--column", "velocity", "-k", 1, "--draws", 200, "--quiet", "--out", "results")
    assert code == 0, err
    assert err.splitlines()[-1] == "the name results has been taken meanwhile: the results are in results-2"
    assert out.splitlines()[-1] == "Posteriors, tables and pictures are in results-2"
    assert os.listdir("results") == ["thesis.tex"]
    assert "posterior.nc" in os.listdir("results-2")


def test_python_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "bayesgmm", "simulate", "-n", "2", "--seed", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("x,z\n")


STAGES = {  # stream and line that come before the interrupt, and what is finished by then
    "sampling": ("stdout", "The posterior by ADVI", {"nuts", "gibbs"}),
    "writing": ("stderr", "writing each observation's clusters", {"nuts"}),
    "comparing": ("stderr", "EM: k = 2", {"nuts", "gibbs", "advi"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupted_demo_leaves_what_was_finished(tmp_path, stage):
    stream, before, finished = STAGES[stage]
    program = subprocess.Popen(
        [sys.executable, "-m", "bayesgmm", "demo"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"}, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    for line in getattr(program, stream):
        if before in line:
            break
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=120)
    assert program.returncode == 130, out + err
    assert "interrupted: what had been finished is in" in err
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["bayesgmm-demo"]
    assert finished <= set(os.listdir(tmp_path / "bayesgmm-demo"))
    assert all(os.path.exists(tmp_path / "bayesgmm-demo" / method / "posterior.nc") for method in finished)


@pytest.mark.slow
def test_fits_several_columns(run, tmp_path, faithful):
    faithful.to_csv(tmp_path / "data.csv", index=False)
    arguments = ("fit", "data.csv", "--columns", "eruptions", "waiting", "-k", 2, "--seed", 1, "--quiet")
    code, out, err = run(*arguments, "--covariance", "tied", "--out", "results")
    assert code == 0, err
    assert out.startswith("eruptions, waiting: n = 272, k = 2, seed 1\n")
    assert "cov[0, eruptions, waiting]" in out
    assert "no room" not in out  # said on terminals only
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "posterior.nc", "verdict.txt", "parameters.csv", "check_against_em.csv", "clusters.csv", "digests.json", "pairs.png", "report.html",
        "summary.json", "trace.png",
    }  # fmt: skip
    tree = az.from_netcdf(tmp_path / "results" / "posterior.nc")
    assert list(tree["posterior"]["feature"].values) == ["eruptions", "waiting"]
    for columns in (("--columns=eruptions", "waiting"), ("--column", "eruptions", "--column=waiting")):
        code, other, err = run("fit", *columns, "data.csv", "-k", 2, "--seed", 1, "--quiet", "--covariance", "tied")
        assert code == 0, err
        assert out.startswith(other)
    code, _, err = run("fit", "data.csv", "--columns", "waiting", "waiting", "-k", 2)
    assert (code, err) == (1, "error: --columns must name each column once, got waiting, waiting\n")
    code, _, err = run("fit", "data.csv", "--columns", "eruptions", "wait", "-k", 2)
    assert (code, err) == (
        1,
        "error: --columns must name one or several of 'eruptions', 'waiting', got 'wait'; did you mean 'waiting'?\n",
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning", "ignore:the data|x. .* are left out")
def test_missing_values_and_errors_go_through_every_command(run, tmp_path):
    generator, n = np.random.default_rng(3), 80
    x = np.where(generator.uniform(size=(n, 1)) < 0.5, -3.0, 3.0) + generator.normal(size=(n, 2))
    error = generator.uniform(0.1, 1.0, (n, 2))
    frame = pd.DataFrame(np.hstack([x, error]), columns=["a", "b", "ea", "eb"])
    frame.loc[2:9, "a"], frame.loc[20:24, "b"] = np.nan, np.nan
    frame.to_csv("data.csv", index=False)
    quick = ("--method", "gibbs", "--draws", 100, "--thin", 2, "--seed", 1, "--quiet")
    given = ("data.csv", "--columns", "a", "b", "--error", "ea", "--error", "eb", "--missing", "at_random")
    code, out, err = run("fit", *given, "-k", 2, *quick, "--out", "results")
    assert (code, err) == (0, "")
    assert "a, b: n = 80, 13 values missing, measured with errors, k = 2, seed 1" in out
    assert {"pairs.png", "report.html", "trace.png", "clusters.csv"} <= set(os.listdir("results"))
    clusters = pd.read_csv("results/clusters.csv")
    np.testing.assert_allclose(clusters[["a", "b"]], frame[["a", "b"]], rtol=1e-14)
    np.testing.assert_allclose(clusters[["p[0]", "p[1]"]].sum(axis=1), 1)
    observed = az.from_netcdf("results/posterior.nc").load()["observed_data"]
    np.testing.assert_allclose(
        observed["error"].where(observed["x"].notnull()), frame[["ea", "eb"]].where(frame[["a", "b"]].notna().values)
    )
    document = json.loads((tmp_path / "results" / "summary.json").read_text())["data"]
    assert document["missing"] == {"a": 8, "b": 5}
    assert document["errors"]["a"] == pytest.approx(
        [frame["ea"][frame["a"].notna()].min(), frame["ea"][frame["a"].notna()].max()]
    )
    assert run("report", "results", "--force")[0] == 0
    code, out, _ = run("compare", *given, "--k", "1,2", *quick, "--out", "comparison")
    assert code == 0
    assert "a, b: n = 80, 13 values missing, measured with errors, seed 1" in out
    assert run("report", "comparison", "-k", 2, "--force")[0] == 0
    assert "--error NAME NAME" in (tmp_path / "comparison" / "report.html").read_text()
    one = ("fit", "data.csv", "--column", "a", "--error", "ea", "-k", 2, *quick)
    assert "must have no gaps" in run(*one)[2]
    assert "n = 72 (8 left out" in run(*one, "--missing", "drop")[1]
    assert run(*one, "--missing", "at_random", "--out", "one")[0] == 0
    assert list(pd.read_csv("one/clusters.csv")["obs"]) == np.flatnonzero(frame["a"].notna()).tolist()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_bins_and_limits_go_through_every_command(run, tmp_path):
    x = np.where(np.random.default_rng(3).uniform(size=400) < 0.4, -3.0, 3.0) + np.random.default_rng(4).normal(size=400)
    counts, edges = np.histogram(x, 20)
    pd.DataFrame({"from": edges[:-1], "to": edges[1:], "events": counts}).to_csv("bins.csv", index=False)
    quick = ("--method", "gibbs", "--draws", 100, "--thin", 2, "--seed", 1, "--quiet")
    bins = ("bins.csv", "--lower", "from", "--upper", "to", "--counts", "events")
    code, out, err = run("fit", *bins, "-k", 2, *quick, "--out", "results")
    assert (code, err) == (0, "")
    filled = (counts > 0).sum()
    assert f"from to to: n = {filled}" in out
    assert f"counting as 400, {filled} values in intervals, k = 2, seed 1" in out
    document = json.loads((tmp_path / "results" / "summary.json").read_text())["data"]
    assert document["intervals"] == {"from to to": filled}
    clusters = pd.read_csv("results/clusters.csv")
    assert clusters["from to to"].isna().all()
    np.testing.assert_allclose(clusters["from to to to"], edges[1:][counts > 0])
    observed = az.from_netcdf("results/posterior.nc").load()["observed_data"]
    np.testing.assert_array_equal(observed["upper"], edges[1:][counts > 0])
    assert "--weight NAME --lower NAME --upper NAME -k 2" in (tmp_path / "results" / "report.html").read_text()
    code, out, _ = run("compare", *bins, "--k", "1,2", *quick)
    assert code == 0
    pd.DataFrame({"a": np.where(x < -3, np.nan, x), "limit": np.where(x < -3, -3, np.nan)}).to_csv("limits.csv", index=False)
    code, out, _ = run("fit", "limits.csv", "--column", "a", "--upper", "limit", "-k", 2, *quick)
    assert (code, f"a: n = 400, {(x < -3).sum()} values in intervals" in out) == (0, True)


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (
            {"a": [1, 3], "b": [2, 2]},
            ("--lower", "a", "--upper", "b"),
            "a, b of data.csv must not cross, got 1 of 2 .* (line 3)",
        ),
        ({"a": [1, 3], "b": [2, 2]}, ("--lower", "a"), "--lower and --upper must name equally many columns .* got 1 and 0"),
        ({"a": [1, 3], "b": [2, 2]}, ("--column", "b", "--upper", "a"), "must hold a value or an interval, got 2 of 2"),
        (
            {"a": [1, None], "b": [2, None], "c": 1},
            ("--lower", "a", "--upper", "b"),
            "must have a value or an interval in every row, got 1 of 2",
        ),
        ({"a": [1, 3], "b": [2, 2]}, ("--column", "a", "--upper", "b", "--error", "b"), "--error must not be given beside"),
        (
            {"a": [1, 3], "b": [2, 4]},
            ("--lower", "a", "--upper", "b", "--jitter"),
            "--jitter must not be given beside --lower",
        ),
        ({"a": [1, 3], "b": [2, 4]}, ("--lower", "a", "--upper", "c"), "--upper must name one of 'a', 'b', got 'c'"),
        (
            {"a": [1, 3], "b": [2, 4], "c": [1, None]},
            ("--lower", "a", "--upper", "b", "--counts", "c"),
            "c of data.csv must have no",
        ),
    ],
)
def test_ends_that_make_no_intervals_are_refused(run, table, arguments, message):
    pd.DataFrame(table).to_csv("data.csv", index=False)
    code, _, err = run("fit", "data.csv", *arguments, "-k", 1)
    assert code == 1
    assert re.search(message.replace("(", r"\(").replace(")", r"\)"), err)


@pytest.mark.slow
def test_noise_goes_through_every_command(run, tmp_path):
    generator = np.random.default_rng(3)
    x = np.concatenate([generator.normal(-3, 1, 80), generator.normal(3, 1, 120), generator.uniform(-50, 50, 12)])
    pd.DataFrame({"a": x}).to_csv("data.csv", index=False)
    quick = ("data.csv", "--noise", "--method", "gibbs", "--draws", 400, "--seed", 1, "--quiet")
    code, out, err = run("fit", *quick, "-k", 2, "--out", "results")
    assert (code, err) == (0, "")
    clusters = pd.read_csv("results/clusters.csv")
    probabilities = clusters[["p[0]", "p[1]", "p[noise]"]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(clusters["cluster"], np.array([0, 1, -1])[probabilities.argmax(axis=1)])
    strays = clusters["obs"][clusters["p[noise]"] > 0.5].tolist()
    assert f"{len(strays)} observations are more probably noise than not" in " ".join(out.split())
    tree = az.from_netcdf("results/posterior.nc").load()
    same = bg.fit(x, 2, noise=True, method="gibbs", draws=400, random_seed=1, progressbar=False)
    np.testing.assert_array_equal(tree["posterior"]["w_noise"], same["posterior"]["w_noise"])
    assert tree.attrs["prior"] == same.attrs["prior"]
    document = json.loads((tmp_path / "results" / "summary.json").read_text())["noise"]
    assert document["observations"] == strays
    assert document["share"]["mean"] == pytest.approx(same["posterior"]["w_noise"].mean().item())
    assert "--column a --noise -k 2" in (tmp_path / "results" / "report.html").read_text()
    code, out, _ = run("compare", *quick, "--k", "1,2", "--out", "comparison")
    assert code == 0
    assert (pd.read_csv("comparison/k1/clusters.csv")["cluster"].isin([-1, 0])).all()
    fits = json.loads((tmp_path / "comparison" / "summary.json").read_text())["fits"]
    assert [len(each["noise"]["observations"]) > 0 for each in fits] == [True, True]
    code, out, _ = run("fit", *(each for each in quick if each != "--noise"), "-k", 2, "--json")
    assert (code, json.loads(out)["noise"]) == (0, None)


@pytest.mark.slow
def test_t_distributions_go_through_every_command(run, tmp_path):
    generator = np.random.default_rng(3)
    x = np.concatenate([generator.standard_t(3, 80) - 6, 6 + generator.standard_t(3, 120)])
    pd.DataFrame({"a": x}).to_csv("data.csv", index=False)
    quick = ("data.csv", "--family", "t", "--method", "gibbs", "--draws", 400, "--seed", 1, "--quiet")
    code, out, _ = run("fit", *quick, "-k", 2, "--out", "results")
    assert code == 0
    assert "a mixture of 2 Student's t distributions" in out
    tree = az.from_netcdf("results/posterior.nc").load()
    same = bg.fit(x, 2, family="t", method="gibbs", draws=400, random_seed=1, progressbar=False)
    np.testing.assert_array_equal(tree["posterior"]["nu"], same["posterior"]["nu"])
    assert tree.attrs["prior"] == same.attrs["prior"]
    report = (tmp_path / "results" / "report.html").read_text()
    assert "--family t" in report
    assert "2 t-distributed clusters" in report
    code, out, _ = run("compare", *quick, "--k", "1,2", "--json")
    assert (code, json.loads(out)["best"]["log_evidence"]) == (0, 2)
    assert run("fit", "data.csv", "--family", "cauchy", "-k", 2)[0] == 2


def test_noise_that_has_no_range_is_refused(run):
    pd.DataFrame({"a": [0, np.nan, 2.0] * 9, "b": [1, 2, 3.0] * 9}).to_csv("data.csv", index=False)
    code, _, err = run("fit", "data.csv", "--lower", "a", "--upper", "b", "-k", 1, "--noise")
    assert (code, "error: --noise must not be given beside intervals with an open end" in err) == (1, True)


def test_fit_and_report_take_names(run, galaxies, tmp_path):
    names, x = ["near", "middle", "far & wide"], np.random.default_rng(1).normal(size=60) + np.repeat([0, 10, 40], 20)
    pd.DataFrame({"velocity": x}).to_csv("data.csv", index=False)
    few = ("--method", "gibbs", "--seed", "1", "--quiet")
    code, out, err = run("fit", "data.csv", "-k", 3, "--names", *names, "--out", "results", *few)
    assert (code, err) == (0, "")
    assert re.search(r"near with 3\d%", out)
    assert pd.read_csv("results/parameters.csv")["parameter"].tolist()[:3] == [f"w[{name}]" for name in names]
    table = pd.read_csv("results/clusters.csv")
    assert set(table["cluster"]) == set(names)
    assert {f"p[{name}]" for name in names} <= set(table)
    assert json.loads((tmp_path / "results/summary.json").read_text())["clusters"] == names
    code, out, _ = run("report", "results", "--names", "a", "b", "c", "--force")
    assert code == 0
    page = (tmp_path / "results/report.html").read_text()
    assert "a holds" in page
    code, out, err = run("fit", "data.csv", "-k", 2, "--names", "a", "b", "c", *few)
    assert (code, out) == (1, "")
    assert "--names must be one for each of the 2 clusters, got 3" in err
    code, out, err = run("fit", "data.csv", "-k", 2, "--names", "a", "noise", "--noise", *few)
    assert (code, out) == (1, "")
    assert "--names must not be noise for a cluster" in err
    pd.DataFrame({"velocity": galaxies}).to_csv("galaxies.csv", index=False)
    code, out, err = run("fit", "galaxies.csv", "-k", 6, "--names", *"abcdef", *few)
    assert code == 0
    assert "--names is left out: tree must have clusters that can be told apart, or they have no identity to name" in err
    code, out, err = run("fit", "data.csv", "-k", 3, "--json", *few)
    assert json.loads(out)["clusters"] is None


def test_a_comparison_has_no_names(run):
    x = np.random.default_rng(1).normal(size=60) + np.repeat([0, 40], 30)
    pd.DataFrame({"velocity": x}).to_csv("data.csv", index=False)
    few = ("--draws", 50, "--method", "gibbs", "--seed", 1, "--quiet")
    assert run("compare", "data.csv", "-k", "1:2", *few, "--out", "results")[0] == 0
    code, _, err = run("report", "results", "--names", "a", "b", "--force")
    assert code == 1
    assert "--names must be for the results of fit, got a comparison; give the folder of one k in it" in err
    assert run("report", "results/k2", "--names", "a", "b")[0] == 0
