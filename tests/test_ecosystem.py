"""What comes in from other libraries, what goes out to them, what is logged, and what a type checker makes of it."""

import logging
from importlib.resources import files
from pathlib import Path

import arviz as az
import bambi
import kulprit
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr
from mypy import api as mypy

import bayesgmm as bg
from bayesgmm.analysis.tree import build_tree, features_of
from bayesgmm.data.observations import Observations
from tests.conftest import make_tree
from tests.statistics import SEED


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


VALUES = [1.0, 2.0, 5.0, 6.0, 7.5]
COLUMNS = {"a": VALUES, "b": [3, 1, 4, 1, 5]}
TABLE = np.array(list(COLUMNS.values()), dtype=float).T
ONE = {
    "Series": pd.Series(VALUES, name="v"),
    "nullable Series": pd.Series(VALUES, name="v", dtype="Float64"),
    "Arrow Series": pd.Series(VALUES, name="v", dtype="float64[pyarrow]"),
    "DataFrame": pd.DataFrame({"v": VALUES}),
    "DataArray": xr.DataArray(VALUES, dims="obs", name="v"),
    "polars Series": pl.Series("v", VALUES),
    "polars DataFrame": pl.DataFrame({"v": VALUES}),
    "Arrow table": pa.table({"v": VALUES}),
}
SEVERAL = {
    "DataFrame": pd.DataFrame(COLUMNS),
    "nullable": pd.DataFrame(COLUMNS).convert_dtypes(),
    "Arrow-backed": pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow"),
    "DataArray": xr.DataArray(TABLE, dims=("row", "column"), coords={"column": ["a", "b"]}, name="not a column"),
    "polars": pl.DataFrame(COLUMNS),
    "polars of decimals": pl.DataFrame(COLUMNS).cast(pl.Decimal(10, 2)),
    "Arrow table": pa.table(COLUMNS),
    "Arrow table in chunks": pa.concat_tables([pa.table(COLUMNS).slice(0, 2), pa.table(COLUMNS).slice(2)]),
    "record batch": pa.RecordBatch.from_pydict(COLUMNS),
}


@pytest.mark.parametrize("kind", ONE)
def test_one_feature_with_its_name(kind):
    data = Observations.read(ONE[kind])
    np.testing.assert_array_equal(data.x[:, 0], VALUES)
    assert data.names == ("v",)


@pytest.mark.parametrize("kind", SEVERAL)
def test_several_features_with_their_names(kind):
    data = Observations.read(SEVERAL[kind])
    np.testing.assert_array_equal(data.x, TABLE)
    assert data.names == ("a", "b")
    assert data.x.flags.c_contiguous


@pytest.mark.parametrize(
    "x", [pl.Series(VALUES), pa.chunked_array([VALUES]), xr.DataArray(VALUES), pd.Series(VALUES), VALUES]
)
def test_without_a_name(x):
    data = Observations.read(x)
    np.testing.assert_array_equal(data.x[:, 0], VALUES)
    assert data.names is None


MISSING = {
    "pandas": pd.DataFrame(
        {"a": pd.array([1, None, 3], dtype="Int64"), "b": pd.array([True, False, None], dtype="boolean")}
    ),
    "polars": pl.DataFrame({"a": [1, None, 3], "b": [True, False, None]}),
    "Arrow": pa.table({"a": [1, None, 3], "b": [True, False, None]}),
}


@pytest.mark.parametrize("kind", MISSING)
def test_nulls_are_missing(kind):
    with pytest.raises(
        ValueError, match=r"x must be finite, got 2 of 3 observations .*\(at positions 1, 2\).*missing='drop'"
    ):
        Observations.read(MISSING[kind])
    kept = Observations.read(MISSING[kind], missing="drop")
    np.testing.assert_array_equal(kept.x, [[1, 1]])
    assert kept.positions.tolist() == [0]


@pytest.mark.parametrize("series", [pl.Series("v", [1, None, 3]), pa.chunked_array([[1, None, 3]])], ids=["polars", "Arrow"])
def test_nulls_of_one_column_are_missing(series):
    with pytest.raises(ValueError, match="x must be finite, got 1 of 3"):
        Observations.read(series)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (pl.DataFrame({"a": [1, 2], "b": ["x", None]}), r"x must hold numeric columns, got b \(String\); convert"),
        (pa.table({"a": [1, 2], "b": ["x", None]}), r"x must hold numeric columns, got b \(string\); convert"),
        (pl.DataFrame({"d": [1, 2]}).cast(pl.Date), r"x must hold numeric columns, got d \(Date\)"),
        (pl.DataFrame({"l": [[1], [2]]}), r"got l \(List\(Int64\)\)"),
        (pl.DataFrame({"a": [1, 2]}).lazy(), r"x must be a table in memory, got a LazyFrame; call its collect\(\) first"),
        (pl.Series(["x", "y"]), "x must hold numbers, got elements of type"),
    ],
)
def test_other_columns_are_refused_by_name(x, message):
    with pytest.raises(TypeError, match=message):
        bg.fit_em(x, 1)


def test_arrow_columns_of_one_name_are_refused():
    twice = pa.table([pa.array(VALUES), pa.array(VALUES[::-1])], names=["a", "a"])
    with pytest.raises(ValueError, match="x must have columns of different names, got a, a"):
        bg.fit_em(twice, 1)


def test_the_same_fit_whatever_the_table(faithful):
    fits = [bg.fit_em(x, 2, random_seed=SEED) for x in (faithful, pl.from_pandas(faithful), pa.Table.from_pandas(faithful))]
    for other in fits[1:]:
        np.testing.assert_array_equal(other.mixture.means, fits[0].mixture.means)


def named_tree(x):
    """A tree of data with a name."""
    tree = make_tree(x, draws=20)
    em, parts = bg.fit_em(x, 2, random_seed=0), (tree[name].to_dataset() for name in ("posterior", "sample_stats"))
    return build_tree(*parts, Observations.read(x), em, tree.attrs)


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # the name is all that is looked at
def test_the_name_of_one_feature_goes_with_the_tree(tmp_path):
    x = bg.datasets.galaxies()
    tree = named_tree(x)
    assert features_of(tree) == ["velocity"]
    assert bg.plots.plot_fit(tree).axes[0].get_xlabel() == "velocity"
    assert bg.plots.plot_responsibilities(tree).axes[0].get_xlabel() == "velocity"
    tree.to_netcdf(tmp_path / "tree.nc")
    assert features_of(az.from_netcdf(tmp_path / "tree.nc")) == ["velocity"]
    assert bg.predictive_cdf(tree, [20.0], "velocity").sizes["grid"] == 1
    assert features_of(named_tree(x.to_numpy())) == ["x"]
    of_k = bg.posterior_k(x, draws=200, chains=1, random_seed=SEED, progressbar=False)
    assert of_k["observed_data"]["x"].attrs["long_name"] == "velocity"


@pytest.mark.parametrize("form", ["netcdf", pytest.param("zarr", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "which", ["nuts_tree", *(pytest.param(each, marks=pytest.mark.slow) for each in ("faithful_tree", "advi_tree"))]
)
def test_nothing_is_lost_in_a_file(form, which, request, tmp_path):
    tree = request.getfixturevalue(which).isel(draw=slice(100), missing_dims="ignore")
    if form == "netcdf":
        tree.to_netcdf(tmp_path / "tree")
        loaded = az.from_netcdf(tmp_path / "tree").load()
    else:
        tree.to_zarr(tmp_path / "tree", consolidated=False)
        loaded = xr.open_datatree(tmp_path / "tree", engine="zarr", consolidated=False).load()
    assert set(loaded.groups) == set(tree.groups)
    assert dict(loaded.attrs) == dict(tree.attrs)
    for group in tree.groups:
        xr.testing.assert_identical(loaded[group].to_dataset(), tree[group].to_dataset())
        for name, values in tree[group].to_dataset().variables.items():
            assert loaded[group][name].dtype.kind == values.dtype.kind, f"{group}/{name}"
    assert repr(bg.diagnose(loaded)) == repr(bg.diagnose(tree))
    assert repr(bg.check_against_em(loaded)) == repr(bg.check_against_em(tree))


def test_draws_as_a_table(faithful_tree):
    table = az.extract(faithful_tree, var_names=["w", "mu"]).to_dataframe()
    mean = table.groupby(["cluster", "feature"], observed=True)["mu"].mean().unstack()
    expected = faithful_tree["posterior"]["mu"].mean(("chain", "draw")).to_pandas()
    np.testing.assert_allclose(mean[expected.columns], expected)
    assert pl.from_pandas(faithful_tree["posterior"]["w"].to_dataframe().reset_index()).columns == [
        "chain",
        "draw",
        "cluster",
        "w",
    ]
    r = bg.responsibilities(faithful_tree)["mean"].to_pandas()
    assert isinstance(r, pd.DataFrame)
    assert r.shape == (272, 2)


PLOTS = {
    "plot_trace_dist": {}, "plot_trace": {}, "plot_rank_dist": {}, "plot_forest": {}, "plot_pair": {}, "plot_dist": {}, "plot_ess": {},
    "plot_autocorr": {}, "plot_energy": {},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", PLOTS)
def test_arviz_plots_take_the_tree(name, request):
    """By matplotlib, in turn on a tree of one feature and on one of two; tests/test_arviz.py has all plots on both."""
    tree = request.getfixturevalue(("nuts_tree", "faithful_tree")[list(PLOTS).index(name) % 2])
    options = {} if name == "plot_energy" else {"var_names": ["mu"]}
    assert getattr(az, name)(tree, backend="matplotlib", **options).viz is not None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Estimated shape parameter")  # of an outlying galaxy, which bg.loo refits without
def test_arviz_compares_the_fits(nuts_tree, galaxies):
    other = bg.fit(galaxies, 1, method="gibbs", random_seed=SEED, progressbar=False, log_likelihood=True)
    by_trees = az.compare({"one": other, "three": nuts_tree}, round_to="none")
    assert by_trees.index.tolist() == ["three", "one"]
    both = bg.compare([other, nuts_tree])
    assert az.compare(dict(both.loo), round_to="none").loc["1", "elpd"] == pytest.approx(
        by_trees.loc["one", "elpd"], rel=1e-3
    )
    az.plot_compare(az.compare(dict(both.loo)), backend="matplotlib")


def test_phases_are_logged(galaxies, caplog, capfd):
    with caplog.at_level(logging.DEBUG, logger="bayesgmm"):
        tree = bg.fit(galaxies, 1, method="gibbs", draws=500, random_seed=SEED, progressbar=False)
    assert all(record.name.startswith("bayesgmm.") for record in caplog.records)
    infos = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert infos[0].startswith("EM: k = 1, n = 82: ")
    assert any(f"{tree.attrs['seconds_sampling']:.2f} s" in message for message in infos)
    details = "\n".join(record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG)
    assert f"seed = {SEED}" in details
    assert "geometry: " in details
    said = capfd.readouterr().err.splitlines()
    assert [
        line for line in said if not line.startswith(("bayesgmm: compiling ", "bayesgmm: another process compiles "))
    ] == []  # the first fit may compile


def test_nothing_is_said_twice(galaxies, capfd):
    """Without a handler of the user, the log prints nothing, not even by logging's handler of last resort."""
    bg.fit(galaxies, 1, method="gibbs", draws=500, random_seed=SEED, progressbar=True)
    assert capfd.readouterr().err.count("EM: k = 1") == 1
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("bayesgmm").handlers)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # kulprit's calls of bambi
def test_kulprit_takes_a_tree_as_its_reference(faithful):
    data = faithful.rename(columns={"waiting": "x"})  # kulprit needs the tree's name of the observed variable
    tree = bg.fit(
        data["x"],
        2,
        method="gibbs",  # 250 draws of NUTS may be too few
        draws=250,
        random_seed=SEED,
        progressbar=False,
        log_likelihood=True,
        posterior_predictive=True,
    )
    regression = bambi.Model("x ~ eruptions", data)
    regression.build()
    projected = kulprit.ProjectionPredictive(regression, tree, rng=SEED)
    projected.project()
    table = projected.compare()
    assert table.loc["reference", "elpd"] == pytest.approx(az.loo(tree).elpd)
    assert set(table.index) == {"reference", "Intercept", "eruptions"}


def checked(path, *options):
    """What mypy says of a file. Errors in the package's own modules are not reported."""
    root = str(Path(bg.__file__).parents[1])
    out, err, _ = mypy.run(
        ["--strict", "--follow-imports=silent", "--ignore-missing-imports", "--config-file=", *options, str(path)]
    )
    return f"{out}{err}".replace(root, "")


@pytest.mark.slow
def test_a_users_program_is_well_typed(tmp_path):
    assert files("bayesgmm").joinpath("py.typed").is_file()
    example = Path(__file__).with_name("typed_example.py")
    assert "Success: no issues found in 1 source file" in checked(example)
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        example.read_text().replace('covariance="tied"', 'covariance="round"').replace("best: int", "best: str")
    )
    found = checked(wrong)
    for said in (
        'Argument "covariance" to "fit" has incompatible type',
        'variable has type "str"',
        '"tuple[str, float]", expected',
    ):
        assert said in found
    assert "Found 3 errors" in found
