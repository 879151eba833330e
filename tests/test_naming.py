"""Names of clusters: nothing but the names changes, and they stay with their clusters."""

import warnings

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.analysis.contract import cluster_names
from bayesgmm.analysis.tree import permute
from bayesgmm.plots.canvas import marks
from tests.statistics import SEED, rng
from tests.test_damaged_trees import READERS

pytestmark = pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
NAMES = ["near", "middle", "far & wide"]
FEW = {"method": "gibbs", "draws": 200, "chains": 2, "random_seed": SEED, "progressbar": False}


@pytest.fixture(scope="module")
def tree():
    """Three clusters, far apart."""
    return bg.fit(rng(1).normal(size=100) + np.repeat([0.0, 10.0, 40.0], [20, 50, 30]), 3, **FEW)


@pytest.fixture(scope="module")
def named(tree):
    return bg.rename_clusters(tree, NAMES)


@pytest.fixture(scope="module")
def geyser(faithful):
    return bg.fit(faithful, 2, **FEW)


def test_tables_say_the_names(named, tree):
    assert az.summary(named, var_names=["mu"]).index.tolist() == [f"mu[{name}]" for name in NAMES]
    for of in (lambda each: bg.diagnose(each).parameters, lambda each: bg.check_against_em(each).table):
        numbered, said = of(tree), of(named)
        renamed = numbered.rename(lambda each: f"{each[: each.index('[')]}[{NAMES[int(each[-2])]}]" if "[" in each else each)
        pd.testing.assert_frame_equal(said, renamed)
    assert bg.check_against_em(named).ok == bg.check_against_em(tree).ok
    found = bg.responsibilities(named)
    assert found["mean"].sel(cluster="near").values.tolist() == bg.responsibilities(tree)["mean"][:, 0].values.tolist()
    assert named["posterior"]["mu"].sel(cluster="far & wide").mean() > 30


def test_only_the_names_change(named, tree):
    assert cluster_names(tree) is None  # the tree that was given stays as it was
    xr.testing.assert_identical(bg.rename_clusters(named, None), tree)
    for group in tree.children:
        for name, values in tree[group].data_vars.items():
            np.testing.assert_array_equal(named[group][name].values, values.values)
    assert bg.partition(named).equals(bg.partition(tree))
    assert bg.log_evidence(named, random_seed=1).value == bg.log_evidence(tree, random_seed=1).value


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2])
def test_everything_that_reads_a_tree_reads_one_with_names(tree, geyser, d, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = {1: tree, 2: geyser}[d].isel(draw=slice(0, 40))
    named = bg.rename_clusters(plain, NAMES[: plain["posterior"].sizes["cluster"]])
    for name, call in READERS.items():
        answers = []
        for each in (plain, named):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    answers.append(call(each))
            except ValueError as error:
                answers.append(str(error))
            finally:
                plt.close("all")
        assert type(answers[0]) is type(answers[1]), (name, answers)
        if isinstance(answers[0], xr.DataArray | xr.Dataset):
            for one, other in zip(*(each.to_dataset(name="a").data_vars.values() if isinstance(each, xr.DataArray) else each.data_vars.values() for each in answers), strict=True):  # fmt: skip
                np.testing.assert_array_equal(one.values, other.values, err_msg=name)


def test_names_stay_with_their_clusters(named, tree):
    raw = bg.raw_order(named)
    assert cluster_names(raw) == (NAMES if raw.equals(named) else None)
    for method in ("stephens", "ecr", "pivot"):
        again = bg.relabel(raw, method)
        assert cluster_names(again) == NAMES
        assert again["posterior"]["mu"].sel(cluster="near").mean() < 2
    turned = permute(named, np.broadcast_to([2, 0, 1], named["posterior"]["w"].shape))
    assert cluster_names(turned) == [NAMES[j] for j in (2, 0, 1)]
    for name in NAMES:
        for group, variable in (("posterior", "mu"), ("sample_stats", "permutation")):
            one, other = (each[group][variable].sel(cluster=name).values for each in (turned, named))
            np.testing.assert_array_equal(one, other)
    assert cluster_names(bg.relabel(turned)) == NAMES
    assert cluster_names(bg.relabel(bg.rename_clusters(turned, ["c", "a", "b"]))) == ["a", "b", "c"]  # EM's order
    mixed = np.array([[0, 1, 2], [1, 0, 2]])[np.arange(400) % 2].reshape(2, 200, 3)
    switched = permute(named, mixed)
    assert cluster_names(switched) is None
    xr.testing.assert_identical(bg.relabel(switched), named)
    with pytest.raises(ValueError, match="have no identity to name; got non-permutation rate"):
        bg.rename_clusters(switched, NAMES)


@pytest.mark.parametrize("engine", ["h5netcdf", "zarr"])
def test_names_survive_a_file(named, tmp_path, engine):
    file = tmp_path / "tree"
    if engine == "zarr":
        named.to_zarr(file, zarr_format=2)
    else:
        named.to_netcdf(file, engine=engine)
    with xr.open_datatree(file, engine=engine) as stored:
        xr.testing.assert_equal(stored.load(), named)
        assert cluster_names(stored) == NAMES
        assert cluster_names(bg.relabel(stored)) == NAMES
        assert bg.diagnose(stored).parameters.index.equals(bg.diagnose(named).parameters.index)


def test_pymc_is_given_numbers(named, tree):
    xr.testing.assert_identical(bg.for_pymc(named)["posterior"].to_dataset(), bg.for_pymc(tree)["posterior"].to_dataset())
    assert bg.add_log_prior(named)["log_prior"]["mu"]["cluster"].values.tolist() == NAMES
    assert bg.rename_clusters(bg.add_log_prior(tree), NAMES).equals(bg.add_log_prior(named))


def test_pictures_say_the_names(named, geyser):
    figure = bg.plots.plot_responsibilities(named)
    assert [each.get_text() for each in figure.axes[0].get_legend().get_texts()][:3] == NAMES
    assert {told.names[told.cluster] for _, told in marks(figure) if told.cluster is not None} == set(NAMES)
    legend = bg.plots.plot_relabelling(named).axes[1].get_legend()
    assert [each.get_text() for each in legend.get_texts()] == NAMES
    figure = bg.plots.plot_pairs(bg.rename_clusters(geyser, ["$short$", "long"]))
    texts = figure.legends[0].get_texts()
    assert [each.get_text() for each in texts[:2]] == ["$short$, posterior mean (90%)", "long, posterior mean (90%)"]
    assert not texts[0].get_parse_math()
    plt.close("all")


def test_plotly_says_the_names(named):
    pytest.importorskip("plotly")
    figure = bg.plots.plot_responsibilities(named, backend="plotly")
    told = "".join(str(each.hovertemplate) for each in figure.data)
    assert all(f"<extra>{name}</extra>" in told for name in NAMES)
    assert "cluster 0" not in told


def test_the_report_says_the_names(named, tmp_path):
    bg.report(named, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "near holds" in page
    assert "far &amp; wide" in page
    assert 'data-name="far &amp; wide"' in page
    assert "cluster 0" not in page
    assert "cluster 1" not in page


def test_rows_in_parts_have_the_names(named, tmp_path):
    np.save(tmp_path / "x.npy", np.array([0.0, 10.0, 40.0]))
    bg.write_responsibilities(named, np.load(tmp_path / "x.npy", mmap_mode="r"), tmp_path / "out.parquet")
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table["cluster"].tolist() == NAMES
    assert list(table)[1:4] == [f"mean_{name}" for name in NAMES]


def test_noise_and_rows_left_out_are_told_apart(tmp_path):
    x = np.concatenate([np.random.default_rng(1).normal(0, 1, 40), np.random.default_rng(2).normal(20, 1, 40), [100.0]])
    tree = bg.rename_clusters(bg.fit(x, 2, noise=True, **FEW), ["a", "b"])
    np.save(tmp_path / "x.npy", np.array([0.0, 60.0, 20.0]))
    bg.write_responsibilities(tree, np.load(tmp_path / "x.npy", mmap_mode="r"), tmp_path / "out.parquet")
    assert pd.read_parquet(tmp_path / "out.parquet")["cluster"].tolist() == ["a", "noise", "b"]
    pd.DataFrame({"x": [0.0, np.nan, 60.0]}).to_parquet(tmp_path / "x.parquet")
    bg.write_responsibilities(tree, bg.scan_parquet(tmp_path / "x.parquet", missing="drop"), tmp_path / "gap.parquet")
    assert pd.read_parquet(tmp_path / "gap.parquet")["cluster"].fillna("left out").tolist() == ["a", "left out", "noise"]
    with pytest.raises(ValueError, match="names must not be noise for a cluster, because the model has noise"):
        bg.rename_clusters(tree, {0: "noise"})


def test_some_names_leave_the_others(tree, named):
    assert cluster_names(bg.rename_clusters(tree, {2: "far"})) == ["0", "1", "far"]
    assert cluster_names(bg.rename_clusters(named, {"near": "nearest", 1: "next"})) == ["nearest", "next", "far & wide"]
    assert cluster_names(bg.rename_clusters(named, pd.Series(["a", "b", "c"]))) == ["a", "b", "c"]
    assert cluster_names(bg.rename_clusters(bg.fit(np.arange(20.0), 1, **FEW), ["all"])) == ["all"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b"], "names must be one for each of the 3 clusters, got 2"),
        (["a", "b", "a"], "names must differ from one another, got a more than once"),
        ({0: "1"}, "names must differ from one another, got 1 more than once"),
        (["a", "b", ""], "names must be text in one line that does not begin with an underscore, got ''"),
        (["a", "b", " "], "names must be text in one line .* got ' '"),
        (["a", "b", "c\nd"], r"names must be text in one line .* got 'c\\nd'"),
        (["a", "b", "_c"], "names must be text in one line .* got '_c'"),
        (["a", "b", 3], r"names must be text, got 3 \(int\)"),
        ({0: None}, r"names must be text, got None \(NoneType\)"),
        ({3: "d"}, r"names must be by the number of a cluster, 0, \.\.\., 2, got 3"),
        ({-1: "d"}, r"names must be by the number of a cluster, 0, \.\.\., 2, got -1"),
        ({"near": "d"}, r"names must be by the number of a cluster, 0, \.\.\., 2, got 'near'"),
        ({True: "d"}, r"names must be by the number of a cluster, 0, \.\.\., 2, got True"),
        ("abc", "names must be a list of 3 names, or names by the number of the cluster, got 'abc'"),
        ({"a", "b", "c"}, "names must be a list of 3 names"),
        (3, "names must be a list of 3 names, or names by the number of the cluster, got 3"),
    ],
)
def test_wrong_names_get_a_sentence(tree, names, message):
    with pytest.raises((ValueError, TypeError), match=message):
        bg.rename_clusters(tree, names)


def test_a_tree_with_repeated_names_gets_a_sentence(tree):
    wrong = tree.copy()
    wrong["posterior"] = xr.DataTree(tree["posterior"].to_dataset().assign_coords(cluster=["a", "b", "a"]))
    with pytest.raises(ValueError, match=r"tree must hold a different name for each of its clusters, got \['a', 'b', 'a'\]"):
        bg.diagnose(wrong)


def test_components_without_identity_have_no_names(galaxies):
    tree = bg.fit(galaxies, 6, **FEW)
    with pytest.raises(ValueError, match="tree must have clusters that can be told apart, or they have no identity to name"):
        bg.rename_clusters(tree, list("abcdef"))
