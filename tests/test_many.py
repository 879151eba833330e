"""Many small fits: each is that of ``fit``, failures stay apart, and neither processes nor interrupts change a bit."""

import json
import os
import signal
import subprocess
import sys
import time

import numba.core.event as events
import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm import cli, many
from bayesgmm.many import one
from bayesgmm.many.keyed import read_keyed
from bayesgmm.many.table import as_table
from tests.statistics import SEED, Z, rng

QUIET = {"progressbar": False, "workers": 1}
FAST = {"random_seed": 1, **QUIET}
BAD = {"one": [1.0], "equal": [2.0] * 30, "gap": [1.0, np.nan, 3.0, 4.5], "text": ["a", "b", "c"]}


def two(n, n_columns, gap=5.0, offset=0):
    """Columns of two Gaussians."""
    draw = rng(offset)
    return np.where(draw.random((n, n_columns)) < 0.4, 0.0, gap) + draw.standard_normal((n, n_columns))


@pytest.fixture(scope="module")
def matrix():
    return pd.DataFrame(two(80, 6), columns=list("abcdef"))


@pytest.fixture(scope="module")
def fits(matrix):
    return bg.fit_many(matrix, 2, **FAST)


def test_a_row_is_the_summary_of_a_fit_with_its_seed(matrix, fits):
    assert set(fits.table["method"]) == {"laplace"}
    for key, row in fits.table.iterrows():
        tree = bg.fit(matrix[key], 2, method="laplace", draws=500, n_init=4, random_seed=int(row["seed"]), progressbar=False)
        for name in ("w", "mu", "sigma"):
            for j in range(2):
                draws = tree["posterior"][name].values[..., j].ravel()
                expected = [draws.mean(), draws.std(), *np.quantile(draws, [0.05, 0.95])]
                found = [row[f"{name}[{j}]{each}"] for each in ("", " sd", " 5%", " 95%")]
                np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=f"{key} {name}")
        assert row["pareto_k"] == tree.attrs["pareto_k"]
        assert row["bic"] == tree["em_baseline"].attrs["bic"]
        assert (row["verdict"], row["converged"]) == ("ok", bg.diagnose(tree).converged)


def test_where_laplace_does_not_suit_gibbs_takes_over_with_its_settings_recorded():
    close = two(60, 3, gap=2.0)
    found = bg.fit_many(close, 2, **FAST).table
    row = found[found["method"] == "gibbs"].iloc[0]
    given = {"draws": 500, "n_init": 4, "tune": int(row["tune"]), "thin": int(row["thin"])}
    tree = bg.fit(close[:, row.name], 2, method="gibbs", random_seed=int(row["seed"]), progressbar=False, **given)
    assert row["engines_tried"] >= 1
    assert row["mu[1]"] == pytest.approx(float(tree["posterior"]["mu"].values[..., 1].mean()), rel=1e-12)
    assert row["r_hat"] == bg.diagnose(tree).invariants["r_hat"].max()


def test_a_method_that_is_asked_for_is_that_of_fit(matrix):
    row = bg.fit_many(matrix[["a"]], 2, method="gibbs", tune=50, thin=2, **FAST).table.loc["a"]
    given = {"draws": 500, "n_init": 4, "tune": 50, "thin": 2, "random_seed": int(row["seed"]), "progressbar": False}
    tree = bg.fit(matrix["a"], 2, method="gibbs", **given)
    assert (row["method"], row["tune"], row["thin"]) == ("gibbs", 50, 2)
    assert row["sigma[0]"] == pytest.approx(float(tree["posterior"]["sigma"].values[..., 0].mean()), rel=1e-12)


def test_a_key_depends_on_itself_alone(matrix, fits):
    some = bg.fit_many(matrix[["e", "b"]], 2, **FAST).table
    pd.testing.assert_frame_equal(some, fits.table.loc[["e", "b"]], check_exact=True)
    other = bg.fit_many(matrix[["b"]], 2, random_seed=2, **QUIET).table
    assert other.loc["b", "mu[0]"] != some.loc["b", "mu[0]"]


def test_groups_columns_and_mappings_are_the_same_fits(matrix, fits):
    tall = matrix.melt(var_name="column", value_name="x").sample(frac=1, random_state=1).sort_index(kind="stable")
    mixed = tall.iloc[np.argsort(np.tile(np.arange(80), 6), kind="stable")]
    for table, given in (
        (tall, {"by": "column"}),
        (mixed, {"by": "column", "columns": "x"}),
        (tall["x"].to_numpy(), {"by": tall["column"].to_numpy()}),
        ({key: matrix[key].to_numpy() for key in matrix}, {}),
    ):
        found = bg.fit_many(table, 2, **given, **FAST).table
        pd.testing.assert_frame_equal(found, fits.table, check_names=False, check_exact=True)


@pytest.mark.parametrize("kind", ["polars", "pyarrow"])
def test_other_tables(kind, matrix, fits):
    module = pytest.importorskip(kind)
    table = module.DataFrame(matrix.to_dict("list")) if kind == "polars" else module.table(matrix.to_dict("list"))
    found = bg.fit_many(table, 2, columns=["a", "c"], **FAST).table
    pd.testing.assert_frame_equal(found, fits.table.loc[["a", "c"]], check_exact=True)


def test_several_features_are_fitted_together():
    draw = rng(3)
    table = pd.DataFrame(draw.standard_normal((160, 2)) + 6 * (np.arange(160) % 2)[:, None], columns=["u", "v"])
    table["plate"] = np.repeat([1, 2], 80)
    found = bg.fit_many(table, 2, by="plate", **FAST)
    assert found.table.index.tolist() == [1, 2]
    assert {"mu[0, u]", "mu[1, v]", "cov[0, u, v]"} <= set(found.parameters)
    tree = bg.fit(
        table.loc[:79, ["u", "v"]], 2, method="laplace", draws=500, n_init=4, random_seed=int(found.table["seed"].iloc[0]),
        progressbar=False,
    )  # fmt: skip
    assert found.table.loc[1, "mu[1, v]"] == pytest.approx(float(tree["posterior"]["mu"].values[..., 1, 1].mean()))


def test_failures_are_named_and_kept_apart(matrix, fits):
    found = bg.fit_many({"a": matrix["a"], **BAD, "b": matrix["b"]}, 2, **FAST)
    pd.testing.assert_frame_equal(
        found.table.loc[["a", "b"]], fits.table.loc[["a", "b"]], check_names=False, check_exact=True
    )
    assert found.failed.index.tolist() == list(BAD)
    assert (found.table.loc[list(BAD), "verdict"] == "failed").all()
    assert not found.table.loc[list(BAD), "converged"].any()
    for key, words in {"one": "must vary", "equal": "all equal to 2", "gap": "NaN", "text": "must hold numbers"}.items():
        assert words in found.failed[key]
    assert "6 fits: 2 ok, 4 failed" in repr(found)


def test_a_group_smaller_than_k_fails_alone(matrix):
    found = bg.fit_many({"a": matrix["a"], "small": [1.0, 2.0]}, 3, **FAST)
    assert found.failed.to_dict().keys() == {"small"}
    assert "at most the number of observations, got k = 3 for n = 2" in found.failed["small"]


def test_a_repeated_name_fails_alone(matrix, fits):
    twice = pd.concat([matrix[["a", "b"]], matrix[["b"]]], axis=1)
    found = bg.fit_many(twice, 2, **FAST)
    assert found.failed.to_dict() == {"b": "keys must differ as text, got 'b' more than once; rename them"}
    assert found.table.loc["a", "mu[0]"] == fits.table.loc["a", "mu[0]"]
    assert bg.fit_many({1: matrix["a"], "1": matrix["b"]}, 2, **FAST).failed.index.tolist() == [1]


def test_missing_values_are_dropped_on_request(matrix):
    gap = matrix[["a"]].copy()
    gap.iloc[3, 0] = np.nan
    assert bg.fit_many(gap, 2, missing="drop", **FAST).table.loc["a", "n"] == 79


def test_bic_chooses_k_for_each_key(matrix):
    one_of_two = pd.DataFrame({"two": matrix["a"], "one": two(80, 1, gap=0.0, offset=2)[:, 0]})
    found = bg.fit_many(one_of_two, [1, 2], **FAST).table
    assert found["k"].tolist() == [2, 1]
    for key, row in found.iterrows():
        seed = int(row["seed"])
        bic = np.array([bg.fit_em(one_of_two[key], k, n_init=4, random_seed=seed).bic() for k in (1, 2)])
        weights = np.exp(-(bic - bic.min()) / 2)
        assert row["bic"] == pytest.approx(bic.min())
        assert row["p_k"] == pytest.approx(weights.max() / weights.sum())
    assert np.isnan(found.loc["one", "mu[1]"])
    assert found.loc["one", ["w[0]", "w[0] sd"]].tolist() == [1.0, 0.0]


def test_the_evidence_chooses_k(matrix):
    found = bg.fit_many(matrix[["a"]], [1, 2], criterion="evidence", **FAST).table.loc["a"]
    seed = int(found["seed"])
    given = {"method": "laplace", "draws": 500, "n_init": 4, "random_seed": seed, "progressbar": False}
    evidence = [bg.log_evidence(bg.fit(matrix["a"], k, **given), random_seed=seed).value for k in (1, 2)]
    assert found["k"] == 2
    assert found["log_evidence"] == pytest.approx(max(evidence), rel=1e-12)
    assert found["p_k"] == pytest.approx(1 / (1 + np.exp(evidence[0] - evidence[1])))


def test_auto_takes_the_k_that_a_small_group_allows():
    found = bg.fit_many({"small": [1.0, 2.0, 4.0]}, "auto", **FAST).table.loc["small"]
    assert found["k"] <= 3
    assert found["verdict"] != "failed"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_gives_back_every_bit(matrix, fits, tmp_path, ending, monkeypatch):
    path = tmp_path / f"fits.{ending}"
    given = {**{key: matrix[key] for key in "ab"}, **BAD}
    first = bg.fit_many(given, 2, path=path, **FAST)
    monkeypatch.setattr(many, "fitted", None)  # nothing is fitted again
    again = bg.fit_many(given, 2, path=path, progressbar=False)
    assert again.seed == 1  # that of the file
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)
    stored = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path).reset_index()
    assert stored["key"].tolist() == list(given)
    assert stored["mu[0]"][0] == fits.table.loc["a", "mu[0]"]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_interrupted_run_goes_on_where_it_stopped(matrix, fits, tmp_path, ending, monkeypatch):
    path, made = tmp_path / f"fits.{ending}", []

    def interrupted(keys, values, how):
        if len(made) == 4:
            os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C: this task ends, no other begins
        made.extend(keys)
        return one.fitted(keys, values, how)

    monkeypatch.setattr(many, "fitted", interrupted)
    with pytest.warns(bg.exceptions.InterruptedWarning, match="5 of 6 fits are finished and kept in"):
        begun = bg.fit_many(matrix, 2, path=path, **FAST)
    assert begun.interrupted
    assert "interrupted before all keys were fitted" in repr(begun)
    pd.testing.assert_frame_equal(begun.table, fits.table.head(5), check_exact=True)
    whole = bg.fit_many(matrix, 2, path=path, **FAST)
    assert made == list("abcdef")
    assert not whole.interrupted
    pd.testing.assert_frame_equal(whole.table, fits.table, check_exact=True)


def test_a_second_interrupt_stops_at_once_and_keeps_what_is_finished(matrix, tmp_path, monkeypatch):
    def interrupted(keys, values, how):
        if keys == ["c"]:
            raise KeyboardInterrupt
        return one.fitted(keys, values, how)

    monkeypatch.setattr(many, "fitted", interrupted)
    with pytest.warns(bg.exceptions.InterruptedWarning, match="2 of 6"):
        bg.fit_many(matrix, 2, path=tmp_path / "fits.csv", **FAST)
    assert len(pd.read_csv(tmp_path / "fits.csv")) == 2


def test_the_file_is_replaced_while_fits_are_made(matrix, tmp_path, monkeypatch):
    monkeypatch.setattr("bayesgmm.many.table._PATIENCE", (0.0, 0.0))
    path, sizes = tmp_path / "fits.csv", []

    def looking(keys, values, how):
        sizes.append(len(pd.read_csv(path)) if path.exists() else 0)
        return one.fitted(keys, values, how)

    monkeypatch.setattr(many, "fitted", looking)
    bg.fit_many(matrix, 2, path=path, **FAST)
    assert sizes == [0, 1, 2, 3, 4, 5]


def test_a_file_of_other_settings_or_data_is_refused(matrix, tmp_path):
    path = tmp_path / "fits.csv"
    bg.fit_many(matrix[["a"]], 2, path=path, **FAST)
    before = path.read_bytes()
    for given, words in (
        ({"k": 3}, r"got k = 2 in .*fits.csv and 3 now"),
        ({"random_seed": 2}, r"got seed = 1 in .* and 2 now"),
        ({"draws": 400}, r"got draws = its default in .* and 400 now"),
        ({"prior": bg.ConjugatePrior()}, r"got prior = its default"),
        ({"k": [1, 2]}, r"got k = 2 in .* and \[1, 2\] now"),
        ({"table": matrix[["b"]]}, r"the same data, but column a is not among them"),
        ({"table": matrix[["a"]] + 1}, r"the same data, but column a has other values"),
    ):
        asked = {"table": matrix[["a"]], "k": 2, "path": path, **FAST} | given
        with pytest.raises(ValueError, match=words):
            bg.fit_many(**asked)
    assert path.read_bytes() == before
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="must be a new file, or one that fit_many has written"):
        bg.fit_many(matrix, 2, path=tmp_path / "other.csv", **FAST)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"by": "gene"}, ValueError, r"by must name one column of the table \('a', 'b'.*got 'gene'"),
        ({"columns": ["a", "x"]}, ValueError, r"columns must name columns of the table .*got 'x'"),
        ({"columns": []}, ValueError, "got none"),
        ({"columns": ["a", "a"]}, ValueError, "got one twice"),
        ({"by": [1, 2]}, ValueError, "by must have a key for each of the 80 rows, got 2"),
        ({"k": 0}, ValueError, "k must be an integer of at least 1"),
        ({"k": 2.0}, TypeError, "k must be an integer"),
        ({"k": True}, TypeError, "k must be an integer"),
        ({"k": "two"}, ValueError, "k must be an integer, several, or \"auto\", got 'two'"),
        ({"k": []}, ValueError, "at least one number of components"),
        ({"k": [1, 2.5]}, TypeError, "every k must be an integer"),
        ({"criterion": "aic"}, ValueError, "criterion must be one of 'bic', 'evidence'"),
        ({"covariance": "round"}, ValueError, "covariance must be one of"),
        ({"method": "mh"}, ValueError, "method must be one of"),
        ({"missing": "maybe"}, ValueError, "missing must be one of"),
        ({"family": "cauchy"}, ValueError, "family must be one of"),
        ({"prior": "flat"}, TypeError, "prior must be a HierarchicalPrior"),
        ({"noise": [1.0, 2.0]}, ValueError, "noise must be True, False, or one log density"),
        ({"draws": 100}, ValueError, "draws x chains must be at least 1000"),
        ({"n_init": 0}, ValueError, "n_init must be an integer of at least 1"),
        ({"target_accept": 0.9, "method": "gibbs"}, TypeError, "target_accept is an option of"),
        ({"model": None}, TypeError, "unexpected keyword argument 'model'"),
        ({"labels": [0, 1]}, TypeError, "unexpected keyword argument 'labels'"),
        ({"warmup": 10}, TypeError, "unexpected keyword argument 'warmup'"),
        ({"workers": 0}, ValueError, "workers must be an integer of at least 1"),
        ({"workers": "all"}, TypeError, "workers must be an integer .* or pass a Dask client"),
        ({"path": "fits.xlsx"}, ValueError, r"path must end in .csv or .parquet"),
        ({"path": "nowhere/fits.csv"}, ValueError, "whose folder does not exist"),
        ({"path": 3}, TypeError, "path must be the name of a file"),
        ({"table": np.zeros((2, 2, 2))}, ValueError, r"table must have shape \(n,\) or \(n, p\), got 3 dimensions"),
        ({"table": {}}, ValueError, "at least one column or group"),
        ({"table": "data.csv"}, TypeError, "table must hold numbers"),
        ({"table": {"a": [1.0, 2.0]}, "by": "a"}, ValueError, "by cannot be given with a mapping"),
    ],
)  # fmt: skip
def test_what_concerns_all_keys_gets_one_sentence(matrix, given, error, words):
    asked = {"table": matrix, "k": 2, **FAST} | given
    with pytest.raises(error, match=words) as caught:
        bg.fit_many(**asked)
    assert "\n" not in str(caught.value)


def test_rows_without_a_key(matrix):
    table = pd.DataFrame({"x": matrix["a"], "gene": ["g"] * 79 + [None]})
    with pytest.raises(ValueError, match="by must have a key in every row, got 1 of 80 without"):
        bg.fit_many(table, 2, by="gene", **FAST)
    assert bg.fit_many(table, 2, by="gene", missing="drop", **FAST).table.loc["g", "n"] == 79
    with pytest.raises(ValueError, match="must have a column to fit beside that of the keys"):
        bg.fit_many(table[["gene"]], 2, by="gene", **FAST)
    with pytest.raises(TypeError, match=r"must hold numeric columns|must hold numbers"):
        bg.fit_many(table, 2, by="x", columns="gene", **FAST)


def test_a_dask_table_is_refused():
    dask = pytest.importorskip("dask.array")
    with pytest.raises(TypeError, match="table must be in memory"):
        bg.fit_many(dask.zeros((10, 2)), 2, **FAST)


def test_a_key_may_have_the_name_of_a_column_of_the_table():
    rows = [{"key": "g", "verdict": "failed", "converged": False, "problem": "none", "seed": 1}]
    assert as_table(rows, "k").index.name == "key"
    assert as_table(rows, "gene").index.name == "gene"


def test_digests_tell_data_apart():
    keyed = read_keyed(np.array([[1.0, 1.0], [2.0, 2.5]]), None, None, "raise")
    assert keyed.digest("0") != keyed.digest("1")
    assert keyed.digest("0") == read_keyed({"0": [1, 2]}, None, None, "raise").digest("0")


def test_nothing_is_compiled_for_a_fit(matrix, fits):
    class Counter(events.Listener):
        compiled = 0

        def on_start(self, _):
            Counter.compiled += 1

        def on_end(self, _):
            """Nothing to do."""

    with events.install_listener("numba:compile", Counter()):
        bg.fit_many(matrix * 2 + 1, 2, **FAST)
    assert Counter.compiled == 0


@pytest.mark.slow
def test_processes_change_no_bit(matrix, fits, tmp_path):
    found = bg.fit_many({**{key: matrix[key] for key in matrix}, **BAD}, 2, random_seed=1, progressbar=False, workers=2)
    pd.testing.assert_frame_equal(found.table.head(6), fits.table, check_names=False, check_exact=True)
    assert found.failed.index.tolist() == list(BAD)


@pytest.mark.slow
def test_a_dask_client_changes_no_bit(matrix, fits):
    distributed = pytest.importorskip("distributed")
    with distributed.Client(n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        found = bg.fit_many(matrix, 2, random_seed=1, progressbar=False, workers=client)
    pd.testing.assert_frame_equal(found.table, fits.table, check_exact=True)


@pytest.mark.slow
def test_a_script_needs_no_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, bayesgmm as bg\n"
        "print('begins')\n"
        "x = np.random.default_rng(1).standard_normal((50, 4)) + 5 * (np.arange(50) % 2)[:, None]\n"
        "print(len(bg.fit_many(x, 2, random_seed=1, workers=2, progressbar=False)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=200)
    assert done.stdout.split() == ["begins", "4"], done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_ctrl_c_in_the_shell_keeps_what_is_finished(tmp_path):
    data, table = tmp_path / "data.csv", tmp_path / "fits.csv"
    pd.DataFrame(two(100, 400)).add_prefix("g").to_csv(data, index=False)
    call = [sys.executable, "-m", "bayesgmm", "fit-many", data, "-k", "2", "--seed", "1", "--workers", "2", "--table", table]
    running = subprocess.Popen(call, stderr=subprocess.PIPE, text=True, stdout=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 200
    while not table.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: all processes get it
    out, err = running.communicate(timeout=100)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted before all keys were fitted" in out
    kept = pd.read_csv(table)
    assert 0 < len(kept) < 400
    few = [f"g{i}" for i in range(5)]
    assert (kept["column"].head(5) == few).all()


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """The command within this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bayesgmm", "fit-many", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def genes(matrix, tmp_path):
    path = tmp_path / "genes.csv"
    table = matrix[["a", "b"]].melt(var_name="gene", value_name="expression")
    pd.concat([table, pd.DataFrame({"gene": ["few"], "expression": [1.0]})]).to_csv(path, index=False)
    return path


def test_the_shell_fits_groups(command, genes, fits):
    given = (genes, "--by", "gene", "--column", "expression", "-k", 2, "--seed", 1, "--quiet")
    code, out, err = command(*given, "--table", "fits.csv")
    assert code == 0
    assert "3 fits: 2 ok, 1 failed" in out
    assert "failed: few: the data must vary" in out
    assert "The table is in fits.csv" in out
    stored = pd.read_csv("fits.csv").set_index("gene")
    assert stored.loc["a", "mu[0]"] == fits.table.loc["a", "mu[0]"]
    code, out, err = command(*given, "--table", "fits.csv", "--json", "--strict")
    assert code == 3
    assert "some fits cannot be trusted" in err
    document = json.loads(out)
    assert set(document) == {"document", "seed", "interrupted", "ok", "fits"}
    assert (document["document"], document["ok"]) == ("fits", False)
    assert document["fits"][0]["gene"] == "a"
    assert document["fits"][2]["problem"] == "the data must vary, got 1 observation(s) all equal to 1"


def test_the_shell_fits_columns(command, matrix, tmp_path):
    matrix[["a", "b"]].to_csv("wide.csv", index=False)
    code, out, _ = command("wide.csv", "-k", "1:2", "--seed", 1, "--quiet", "--json")
    assert code == 0
    assert [row["k"] for row in json.loads(out)["fits"]] == [2, 2]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--by", "genes"), "--by must name one of 'gene', 'expression', got 'genes'; did you mean 'gene'?"),
        (("--by", "gene", "--column", "x"), "--columns must name one or several of"),
        (("--by", "gene", "-k", "many"), "--k must be a range such as 1:6 or a list such as 2,3,5, got 'many'"),
        (("--by", "gene", "--table", "fits.txt"), "--table must end in .csv or .parquet"),
        (("--by", "gene", "--draws", 10), "draws x chains must be at least 1000"),
        (("--by", "expression", "--column", "gene"), "column gene of"),
    ],
)
def test_the_shell_refuses_in_a_sentence(command, genes, given, words):
    code, _, err = command(genes, *given, "--quiet")
    assert code == 1
    assert words in err


def covered(table, truth, times=1.0):
    """Share of keys whose 90 % interval, made ``times`` as wide about its middle, holds the true parameter."""
    inside = {}
    for name, values in truth.items():
        low, high = table[f"{name} 5%"].to_numpy(), table[f"{name} 95%"].to_numpy()
        inside[name] = np.abs(values - (low + high) / 2) <= times * (high - low) / 2
    return inside


@pytest.mark.statistical
def test_intervals_are_calibrated():
    """Truth drawn from the prior, with clusters so far apart that their numbers are certain. Narrow intervals must fail."""
    prior, draw = bg.ConjugatePrior(alpha=5.0, b0=0.0, B0=100.0, c0=5.0, C0=4.0), rng(17)
    keys, truth = {}, {"w[0]": [], "mu[0]": [], "mu[1]": [], "sigma[0]": [], "sigma[1]": []}
    while len(keys) < 300:
        w, mu, sd = draw.dirichlet([5.0, 5.0]), draw.normal(0, 10, 2), 1 / np.sqrt(draw.gamma(5.0, 1 / 4.0, 2))
        if abs(mu[1] - mu[0]) < 6 * sd.sum() / 2:
            continue
        order = np.argsort(mu)
        z = draw.choice(2, size=60, p=w)
        keys[len(keys)] = draw.normal(mu[z], sd[z])
        for name, value in zip(truth, [w[order[0]], *mu[order], *sd[order]], strict=True):
            truth[name].append(value)
    truth = {name: np.array(values) for name, values in truth.items()}
    found = bg.fit_many(keys, 2, prior=prior, random_seed=SEED, **QUIET).table
    assert found["converged"].mean() > 0.97
    error = np.sqrt(0.9 * 0.1 / 300)
    for name, inside in covered(found, truth).items():
        z = (inside.mean() - 0.9) / error
        assert abs(z) < Z, f"{name}: {inside.mean():.3f} (z = {z:.1f}, seed {SEED})"
    narrow = [(inside.mean() - 0.9) / error for inside in covered(found, truth, times=0.7).values()]
    assert max(narrow) < -Z, narrow
