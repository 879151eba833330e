"""What the command line reads and writes: formats, standard input, JSON, clusters, exit codes, a full disk."""

import io
import json
import os
import pickle
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
import xarray as xr

import bayesgmm as bg
from bayesgmm.analysis import sensitivity
from bayesgmm.cli import main
from bayesgmm.cli.commands import app
from bayesgmm.cli.messages import _OPTIONS, _option, in_shell
from bayesgmm.cli.reading import read_observations
from bayesgmm.words import Argument, Either, Words, about, joined, said

FIT = ("-k", "2", "--draws", "100", "--seed", "1", "--quiet")


def read_columns(file, columns=None, **options):
    return read_observations(file, columns, **options).x


@pytest.fixture
def folder(tmp_path, monkeypatch, faithful):
    """A working folder that holds Old Faithful in every format."""
    monkeypatch.chdir(tmp_path)
    faithful.to_csv("geyser.csv", index=False)
    faithful.to_csv("geyser.tsv", index=False, sep="\t")
    faithful.to_csv("geyser.csv.gz", index=False)
    faithful.to_parquet("geyser.parquet")
    faithful.to_xarray().to_netcdf("geyser.nc")
    return tmp_path


def process(*arguments, **options):
    """A process of its own, so that both streams and the exit code are what a shell sees."""
    call = [sys.executable, "-m", "bayesgmm", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, timeout=120, **options)


@pytest.fixture
def command(monkeypatch, capsys):
    """The command within this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bayesgmm", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


@pytest.mark.parametrize("name", ["geyser.csv", "geyser.tsv", "geyser.csv.gz", "geyser.parquet", "geyser.nc"])
def test_every_format_gives_the_same_columns(folder, faithful, name):
    read = read_columns(name, ["waiting", "eruptions"])
    assert list(read.columns) == ["waiting", "eruptions"]
    np.testing.assert_array_equal(read.to_numpy(), faithful[["waiting", "eruptions"]].to_numpy())


@pytest.mark.parametrize("sep", [",", "\t", ";"])
def test_standard_input_is_told_by_its_header_line(monkeypatch, faithful, sep):
    text = faithful.to_csv(index=False, sep=sep).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    np.testing.assert_array_equal(read_columns("-", ["waiting"])["waiting"], faithful["waiting"])


def test_a_format_overrules_the_ending(folder, faithful):
    os.rename("geyser.tsv", "geyser.data")
    with pytest.raises(ValueError, match=r"geyser.data .*--format"):
        read_columns("geyser.data", ["waiting"])
    assert len(read_columns("geyser.data", ["waiting"], format="tsv")) == len(faithful)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("torn.parquet", b"PAR1 and no more", "torn.parquet cannot be read as Parquet"),
        ("torn.nc", b"CDF and no more", "torn.nc cannot be read as NetCDF"),
        ("torn.csv.gz", b"\x1f\x8b and no more", "torn.csv.gz cannot be read"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "ragged.csv cannot be read as CSV: .*line 3"),
        ("twice.csv", b"a,a\n1,2\n3,4\n", "a"),
    ],
)
def test_broken_files_get_a_sentence(folder, name, content, message):
    (folder / name).write_bytes(content)
    if name == "twice.csv":  # of two columns with the same name, the first is read
        assert read_columns(name, ["a"])["a"].tolist() == [1, 3]
        return
    with pytest.raises(ValueError, match=message):
        read_columns(name, ["a"])


def test_a_folder_is_no_file(folder):
    with pytest.raises((ValueError, OSError), match=r"is a folder|is not a file"):
        read_columns(str(folder))


def documented(heading):
    """The names in the first columns of the tables under a heading of the page on JSON."""
    page = (Path(__file__).parents[1] / "docs/guides/json.md").read_text()
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return {name for row in re.findall(r"^\|(.*?)\|", section, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}


def kinds_of_findings():
    """All kinds of findings in the package's source but that of prior_sensitivity, which no document holds."""
    files = set(Path(bg.__file__).parent.glob("analysis/*.py")) - {Path(sensitivity.__file__)}
    source = "".join(file.read_text() for file in files)
    return set(re.findall(r'Finding\(\s*"([a-z_ ]+)"', source)) | {"ess_bulk", "ess_tail"}


def test_the_page_on_json_knows_every_finding():
    assert kinds_of_findings() == documented("Kinds of findings")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of few draws
def test_json_is_one_document_and_the_pipe_carries_it(folder, two_small):
    data = pd.DataFrame({"speed": two_small}).to_csv(index=False)
    done = process("fit", "-", *FIT, "--json", input=data)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["document"] == "fit"
    assert set(document) == documented("A fit")
    assert set(document["diagnosis"]) == documented("The diagnosis")
    assert document["data"] == {"columns": ["speed"], "n": 400}
    assert document["settings"]["seed"] == 1
    tree = bg.fit(two_small, 2, draws=100, random_seed=1, progressbar=False)
    means = {row["parameter"]: row["mean"] for row in document["parameters"]}
    np.testing.assert_allclose(means["mu[0]"], tree["posterior"]["mu"].mean(("chain", "draw"))[0], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of few draws
def test_a_comparison_as_json(folder, command):
    done = command("compare", "geyser.csv", "--column", "waiting", "--k", "1,2", "--draws", 100, "--seed", 1, "-q", "--json")
    document = json.loads(done.stdout)
    assert [row["k"] for row in document["table"]] == [1, 2]
    assert document["best"]["log_evidence"] == 2
    assert [fit["k"] for fit in document["fits"]] == [1, 2]
    assert set(document) == documented("A comparison")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of few draws
def test_each_observation_has_its_clusters(folder, command, faithful):
    holes = faithful.assign(waiting=faithful["waiting"].where(np.arange(len(faithful)) != 5))
    holes["eruption"] = [f"no. {i}" for i in range(len(holes))]
    holes.to_csv("holes.csv", index=False)
    done = command(
        "fit",
        "holes.csv",
        "--columns",
        "eruptions",
        "waiting",
        *FIT,
        "--missing",
        "drop",
        "--id",
        "eruption",
        "--out",
        "results",
    )
    assert done.returncode == 0, done.stderr
    clusters = pd.read_csv("results/clusters.csv", index_col="obs")
    assert clusters.index.tolist() == [i for i in range(len(faithful)) if i != 5]
    assert clusters["eruption"].tolist() == [f"no. {i}" for i in clusters.index]
    np.testing.assert_array_equal(clusters["eruptions"], faithful["eruptions"].drop(index=5))
    np.testing.assert_allclose(clusters["p[0]"] + clusters["p[1]"], 1)
    with xr.open_datatree("results/posterior.nc") as stored:
        expected = bg.responsibilities(stored.load())
    np.testing.assert_allclose(clusters[["p[0]", "p[1]"]], expected["mean"], rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(clusters["cluster"], expected["mean"].argmax("cluster"))
    assert json.loads((folder / "results/summary.json").read_text())["data"]["n"] == len(faithful) - 1


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of few draws
def test_strict_tells_by_its_exit_code(folder, command):
    few = ("fit", "geyser.csv", "--column", "waiting", "-k", 2, "--draws", 10, "--seed", 1, "--quiet")
    assert command(*few).returncode == 0
    strict = command(*few, "--strict")
    assert strict.returncode == 3
    assert "cannot be trusted" in strict.stderr
    assert command("fit", "geyser.csv", "--column", "waiting").returncode == 2


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(folder):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    before = sorted(os.listdir())
    # truncated bytecode would remain in the cache
    without_bytecode = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    asked = "fit", "geyser.csv", "--column", "waiting", *FIT, "--out", "results"
    done = process(*asked, preexec_fn=small_files, env=without_bytecode)
    assert done.returncode == 1, done.stderr
    assert "results could not be written: there is no space left on its disk" in done.stderr
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr
    assert sorted(os.listdir()) == before


def test_a_reader_that_has_gone_is_no_error():
    writer = subprocess.Popen(
        [sys.executable, "-m", "bayesgmm", "simulate", "-n", "300000", "--seed", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert writer.stdout.readline() == b"x,z\n"
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait(timeout=60) == 0


def test_simulate_in_several_features(folder, command):
    done = command("simulate", "--weights", "1", "--means", "1,-2", "--covariance", "4,1,1,2", "-n", 5, "--seed", 3)
    x, z = bg.Mixture([1.0], [[1.0, -2.0]], [[[4.0, 1.0], [1.0, 2.0]]]).sample(5, 3)
    written = pd.read_csv(io.StringIO(done.stdout))
    assert list(written.columns) == ["x1", "x2", "z"]
    np.testing.assert_allclose(written[["x1", "x2"]], x)
    np.testing.assert_array_equal(written["z"], z)


def test_the_packages_own_data(folder, command, faithful_as_published):
    assert command("simulate", "--dataset", "old_faithful", "--out", "own.csv").returncode == 0
    pd.testing.assert_frame_equal(pd.read_csv("own.csv"), faithful_as_published, check_dtype=False)


@pytest.mark.slow
def test_completion_names_columns_and_choices(folder):
    def completed(*words):
        environment = {
            "_BAYESGMM_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }
        program = Path(sys.executable).with_name("bayesgmm")
        done = subprocess.run([program], env=os.environ | environment, capture_output=True, text=True, timeout=60)
        return set(done.stdout.split())

    assert completed("bayesgmm", "fit", "geyser.csv", "--column", "") == {"eruptions", "waiting"}
    assert completed("bayesgmm", "fit", "geyser.csv", "--column", "w") == {"waiting"}
    assert completed("bayesgmm", "fit", "geyser.csv", "--columns", "eruptions", "wa") == {"waiting"}
    assert completed("bayesgmm", "fit", "geyser.csv", "--columns", "eruptions", "--me") == {"--method"}
    assert completed("bayesgmm", "fit", "--method", "") == {"nuts", "gibbs", "advi", "laplace"}


@pytest.mark.parametrize(
    ("words", "python", "shell"),
    [
        (Words("run several: ", Argument("chains", 4)), "run several: chains=4", "run several: --chains 4"),
        (Words(Argument("covariance", "diag", "spherical")), "covariance='diag' or 'spherical'", "--covariance diag or spherical"),
        (Words("raise ", Argument("target_accept"), Either(" here", "")), "raise target_accept here", "raise --target-accept"),
        (Words(Argument("prior_k"), " is no option"), "prior_k is no option", "prior_k is no option"),
        (joined([Words(Argument("random_seed")), "k = 3"]), "random_seed; k = 3", "--seed; k = 3"),
        (about("x", "must vary"), "x must vary", "the data must vary"),
        (about(Words("column 1 of ", Argument("x")), "must vary"), "column 1 of x must vary", "column 1 of the data must vary"),
        (Words("k = 2: ", said(ValueError(about("k", "is odd")))), "k = 2: k is odd", "k = 2: --k is odd"),
        ("as it is written, missing='drop'", "as it is written, missing='drop'", "as it is written, missing='drop'"),
    ],
)  # fmt: skip
def test_remedies_are_in_the_shells_words(words, python, shell):
    assert words == python
    assert in_shell(words) == in_shell(ValueError(words)) == shell
    assert pickle.loads(pickle.dumps(words)) == words
    assert in_shell(pickle.loads(pickle.dumps(words))) == shell


def test_arguments_that_are_options_are_options_of_the_command_line():
    options = {
        option
        for command in typer.main.get_command(app).commands.values()
        for each in command.params
        for option in each.opts
    }
    assert {_option(name) for name in _OPTIONS} <= options
