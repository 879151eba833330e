"""Rows that are read in passes: the same answers as in memory, whatever computes the sums, and messages for bad input."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import dask.array as da
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bayesgmm as bg
from bayesgmm.analysis.reading import Reading
from bayesgmm.comparison.evidence import _bridged
from bayesgmm.comparison.joint import read_posterior
from bayesgmm.comparison.proposal import _drawn, _expected
from bayesgmm.data.scan import Scan, on_threads
from bayesgmm.data.sources import scan_of
from bayesgmm.engines.together import Together
from bayesgmm.model.priors import read_prior
from bayesgmm.posterior import SummedPosterior, standardised_posterior
from tests.families import STRUCTURES
from tests.scanned import ONE, QUIET, THREE, N, assert_same_posterior, rows_of
from tests.statistics import assert_same_means, rng


def parquet(folder, x, *, weight=None, files=3, row_group_size=4_000, name="part"):
    """Files with the rows of x in columns a, b, ..., and a column of text."""
    x = x.reshape(len(x), -1)
    columns = dict(zip("abcdefgh", x.T, strict=False)) | {"text": np.repeat("t", len(x))}
    columns |= {} if weight is None else {"w": weight}
    table = pa.table(columns)
    cuts = np.linspace(0, len(x), files + 1).astype(int)
    for i, (begin, end) in enumerate(pairwise(cuts)):
        pq.write_table(table.slice(begin, end - begin), folder / f"{name}{i}.parquet", row_group_size=row_group_size)
    return str(folder / f"{name}*.parquet")


def memmap(path, x):
    np.save(path, x)
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize(("covariance", "n_features"), STRUCTURES)
@pytest.mark.parametrize("options", [{}, {"noise": True}, {"family": "t"}], ids=["gaussian", "noise", "t"])
def test_a_posterior_of_sums_is_that_of_the_rows(covariance, n_features, options):
    generator = rng(1)
    x = bg.Observations(generator.normal(7, 3, (500, n_features)), weight=generator.uniform(0.5, 2, 500))
    x, family = x.with_noise(options.get("noise", False)), options.get("family", "gaussian")
    prior = read_prior(None, x, covariance, family, [2])
    own, units = standardised_posterior(x, 3, prior, covariance, family)
    summed = SummedPosterior(own.observations, 3, own.prior, covariance, family, source=x, units=units)
    points = generator.normal(0, 0.3, (5, own.n_dim))
    np.testing.assert_allclose(summed.values(points), own.values(points), rtol=1e-12)
    slopes = own.gradients(points)
    np.testing.assert_allclose(summed.gradients(points), slopes, rtol=1e-9, atol=1e-11 * abs(slopes).max())
    value, gradient = summed(points[0])
    assert value == pytest.approx(own.values(points[:1])[0], rel=1e-12)
    np.testing.assert_allclose(gradient, slopes[0], rtol=1e-9, atol=1e-11 * abs(slopes).max())


def test_a_posterior_of_sums_is_nowhere_beyond_the_range_of_a_float(one):
    x = bg.Observations(one)
    own, units = standardised_posterior(x, 2, read_prior(None, x, "full", "gaussian", [2]), "full")
    summed = SummedPosterior(own.observations, 2, own.prior, "full", source=x, units=units)
    far = np.full((1, own.n_dim), 1e200)
    assert np.isnan(summed.values(far)).all()


@pytest.mark.parametrize("made", [parquet, memmap], ids=["parquet", "memmap"])
@pytest.mark.parametrize(("mixture", "k"), [(ONE, 3), (THREE, 2)], ids=["one feature", "three features"])
def test_em_finds_the_same_optimum(tmp_path, made, mixture, k):
    x = rows_of(mixture)
    given = bg.scan_parquet(parquet(tmp_path, x), columns=list("abc"[: mixture.n_features])) if made is parquet else None
    given = memmap(tmp_path / "x.npy", x) if given is None else given
    whole, scanned = bg.fit_em(x, k, random_seed=1), bg.fit_em(given, k, random_seed=1)
    assert scanned.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-8)
    sd = np.sqrt(1 / (N * whole.mixture.weights.min()))  # about the standard error of a mean
    np.testing.assert_allclose(scanned.mixture.mu, whole.mixture.mu, atol=0.3 * sd)
    assert scanned.n_observations == N
    for criterion in ("bic", "aic", "icl"):
        assert getattr(scanned, criterion)() == pytest.approx(getattr(whole, criterion)(), rel=1e-6)
    assert len(scanned.x) == 20_000  # a sample


def test_the_first_pass_tells_what_the_rows_are(tmp_path, three):
    generator = rng(4)
    weight = generator.integers(0, 3, N).astype(float)
    x = three * [1, 100, 1e-3] + [0, 1e6, 0]
    scan = bg.scan_parquet(parquet(tmp_path, x, weight=weight), columns=["a", "b"], weight="w")
    assert repr(scan) == f"Scan(n = {N}, 2 features, with weights)"
    used, counts = x[weight > 0][:, :2], weight[weight > 0]
    assert len(scan) == len(used)
    assert scan.total == counts.sum()
    mean = np.average(used, axis=0, weights=counts)
    np.testing.assert_allclose(scan.summary.mean, mean, rtol=1e-12)
    spread = np.sqrt((counts[:, None] * (used - mean) ** 2).sum(axis=0))
    np.testing.assert_allclose(scan.summary.spread, spread, rtol=1e-10)
    for sample in (scan.sample, scan.shown):  # both hold the extremes, which scale the prior
        np.testing.assert_array_equal(sample.x.min(axis=0), used.min(axis=0))
        np.testing.assert_array_equal(sample.x.max(axis=0), used.max(axis=0))
        rows = {tuple(row) for row in used}
        assert all(tuple(row) in rows for row in sample.x[:50])
    assert len(scan.shown) <= 20_000


@pytest.mark.parametrize("unit", [1e-151, 5e150])  # at 5e150, weights times squares overflow
def test_the_unit_of_the_rows_does_not_matter(tmp_path, one, unit):
    given = {"sample_weight": np.full(N, 1e6), "random_seed": 1}
    em = bg.fit_em(memmap(tmp_path / "x.npy", one), 3, **given)
    in_unit = bg.fit_em(memmap(tmp_path / "y.npy", one * unit), 3, **given)
    np.testing.assert_allclose(in_unit.mixture.mu / unit, em.mixture.mu, rtol=1e-4)
    assert in_unit.log_likelihood == pytest.approx(em.log_likelihood - 1e6 * N * np.log(unit), rel=1e-9)


def test_a_sample_is_as_likely_to_hold_one_row_as_another(tmp_path):
    x = np.arange(float(10 * N))
    shown = scan_of(memmap(tmp_path / "x.npy", x)).shown.x[:-2, 0]
    assert len(np.unique(shown)) == len(shown)
    z = (shown.mean() - x.mean()) / (x.std() / np.sqrt(len(shown)))
    assert abs(z) < 5


@pytest.mark.parametrize("missing", ["drop", "at_random"])
def test_gaps_are_dealt_with_as_in_memory(tmp_path, three, missing):
    x = three.copy()
    x[rng(5).random(x.shape) < 0.1] = np.nan
    x = x[~np.isnan(x).all(axis=1)]
    scan = bg.scan_parquet(parquet(tmp_path, x), columns=["a", "b", "c"], missing=missing)
    whole, scanned = (bg.fit_em(each, 2, random_seed=1, missing=missing) for each in (x, scan))
    assert scanned.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-8)
    assert scanned.n_observations == whole.n_observations


@pytest.mark.parametrize(
    "options", [{"noise": True}, {"noise": -4.0}, pytest.param({"family": "t"}, marks=pytest.mark.slow)], ids=str
)
def test_strays_are_dealt_with_as_in_memory(tmp_path, one, options):
    x = np.concatenate([one, rng(6).uniform(-40, 60, 600)])
    given = memmap(tmp_path / "x.npy", x)
    whole, scanned = (bg.fit_em(each, 3, random_seed=1, **options) for each in (x, given))
    assert scanned.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-7)
    assert scanned.icl() == pytest.approx(whole.icl(), rel=1e-4)


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, one):
    """A fit of rows on disk, and one of the same rows in memory."""
    given = memmap(tmp_path_factory.mktemp("rows") / "x.npy", one)
    return bg.fit(given, 3, **QUIET), bg.fit(one, 3, method="laplace", **QUIET)


def test_the_posterior_is_that_of_the_rows_in_memory(scanned):
    tree, in_memory = scanned
    assert tree.attrs["method"] == "laplace"
    assert tree.attrs["pareto_k"] <= 0.7
    assert tree.attrs["importance_efficiency"] > 0.9
    assert dict(tree["posterior"].sizes) == {"chain": 4, "draw": 250, "cluster": 3}
    assert_same_posterior(tree, in_memory)
    assert tree.attrs["log_evidence"] == pytest.approx(in_memory.attrs["log_evidence"], abs=0.02)


def test_importance_sampling_tells_the_evidence_that_bridge_sampling_tells(scanned):
    tree, in_memory = scanned
    by_bridge = bg.log_evidence(in_memory, random_seed=1)
    told = bg.log_evidence(tree)
    assert told.mcse < 0.01
    assert_same_means(told.value, told.mcse, by_bridge.value, by_bridge.mcse, "log evidence")
    assert told.ess == pytest.approx(tree.attrs["importance_efficiency"] * 1000)


def test_a_tree_tells_of_how_many_rows_it_holds_a_sample(scanned, one):
    tree, _ = scanned
    observed = tree["observed_data"].to_dataset()
    assert observed.sizes["obs"] == 20_000
    assert observed.attrs == {"rows": N, "total": float(N)}
    assert set(observed["x"].values) <= set(one)


@pytest.mark.slow
def test_analyses_of_a_sample_speak_of_all_rows(scanned):
    tree, in_memory = scanned
    assert bg.diagnose(tree).ok
    assert "PSIS k-hat" in bg.diagnose(tree).sampler
    assert bg.check_against_em(tree).ok
    sampled, exact = bg.loo(tree), bg.loo(in_memory)
    assert sampled.n_data_points == N
    assert abs(sampled.elpd - exact.elpd) < 4 * np.hypot(sampled.subsampling_se, exact.subsampling_se)
    assert sampled.subsampling_se < 2
    assert sampled.se == pytest.approx(exact.se, rel=0.05)
    assert sampled.p == pytest.approx(exact.p, rel=0.3)
    assert bg.responsibilities(tree).sizes["obs"] == 20_000


@pytest.mark.slow
def test_numbers_of_components_are_compared(tmp_path, one):
    comparison = bg.compare(memmap(tmp_path / "x.npy", one), [2, 3], **QUIET)
    table = comparison.table.set_index("k")
    in_memory = bg.compare(one, [2, 3], method="laplace", **QUIET).table.set_index("k")
    assert comparison.best["log_evidence"] == 3
    for name, tolerance in (("log_evidence", 0.1), ("elpd_loo", 3.0), ("bic", 0.1), ("elpd_diff", 3.0)):
        np.testing.assert_allclose(table[name], in_memory[name], atol=tolerance)
    assert table["dse"][2] == pytest.approx(in_memory["dse"][2], rel=0.3)


def test_few_rows_are_read_as_a_whole(tmp_path, one):
    x = one[:2_000]
    tree = bg.fit(memmap(tmp_path / "x.npy", x), 3, **QUIET)
    np.testing.assert_array_equal(tree["observed_data"]["x"].values, x)
    assert not tree["observed_data"].attrs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mixture", "k", "n"), [(ONE, 3, 200_000), (THREE, 2, 200_000)], ids=["one feature", "three features"]
)
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # short chains; the errors allow for that
def test_three_ways_agree_on_many_rows(tmp_path, mixture, k, n):
    """NUTS in memory, and in passes importance sampling and NUTS."""
    x = rows_of(mixture, n)
    given = memmap(tmp_path / "x.npy", x)
    by_nuts = bg.fit(x, k, method="nuts", draws=500, **QUIET)
    evidence = bg.log_evidence(by_nuts, random_seed=1)
    for tree in (bg.fit(given, k, **QUIET), bg.fit(given, k, method="nuts", draws=400, **QUIET)):
        assert_same_posterior(tree, by_nuts)
        told = bg.log_evidence(tree)
        assert_same_means(told.value, told.mcse, evidence.value, evidence.mcse, "log evidence")


@dataclass(frozen=True, eq=False)
class OnDevice(Scan):
    """Rows whose sums are computed elsewhere. ``asked`` lists the number of mixtures in each call."""

    asked: list = field(default_factory=list)

    def sums(self, weights, means, factors, nu=None, *, units=None):
        self.asked.append(1 if means.ndim == 2 else len(means))
        return self.read().sums(weights, means, factors, nu, units=units)


def test_whoever_sums_nothing_else_changes(tmp_path, one):
    """A source on a device needs only a method ``sums``."""
    scan = scan_of(memmap(tmp_path / "x.npy", one))
    device = OnDevice(scan.parts, scan.n_features, scan.names, n_stored=scan.n_stored)
    tree = bg.fit(device, 3, **QUIET)
    assert_same_posterior(tree, bg.fit(scan, 3, **QUIET))
    assert device.asked.count(1_000) == 1  # all importance weights in one pass
    assert device.asked.count(18) <= 4  # each is a Hessian of nine parameters
    assert len(device.asked) < 100


def test_parts_are_worked_on_by_whoever_is_given(tmp_path, one):
    asked = []

    def workers(work, parts, merge):
        asked.append(len(parts))
        return on_threads(work, parts, merge)

    scan = scan_of(memmap(tmp_path / "x.npy", one))
    counted = Scan(scan.parts, 1, None, n_stored=scan.n_stored, workers=workers)
    em = bg.fit_em(counted, 3, random_seed=1)
    assert len(asked) <= em.n_iter + 4
    assert bg.fit_em(scan, 3, random_seed=1).log_likelihood == em.log_likelihood


class Interrupted:
    """Workers that count passes, and fail in pass ``at``."""

    def __init__(self, at, error=KeyboardInterrupt):
        self.at, self.passes, self.error = at, 0, error

    def __call__(self, work, parts, merge):
        self.passes += 1
        if self.passes == self.at:
            raise self.error
        return on_threads(work, parts, merge)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_em_goes_on_from_where_it_was_interrupted(tmp_path, error, monkeypatch):
    monkeypatch.setattr("bayesgmm.data.scan._SAMPLE", (20_000, 2**23))  # less than there are rows
    x = rows_of(bg.Mixture([0.5, 0.5], [0.0, 0.8], sigma=[1.0, 1.1]), 60_000)  # on which EM is slow
    scan = scan_of(memmap(tmp_path / "x.npy", x))
    whole = Interrupted(None)
    em = bg.fit_em(Scan(scan.parts, 1, None, n_stored=len(x), workers=whole), 2, random_seed=1)
    assert whole.passes > 10
    broken = Interrupted(whole.passes - 2, error)
    again = Scan(scan.parts, 1, None, n_stored=len(x), workers=broken)
    with pytest.raises(error):
        bg.fit_em(again, 2, random_seed=1)
    passed = broken.passes
    resumed = bg.fit_em(again, 2, random_seed=1)
    assert broken.passes - passed < whole.passes / 2
    assert resumed.restarts[0].start == "left off"
    assert resumed.log_likelihood == pytest.approx(em.log_likelihood, abs=0.02)
    assert bg.fit_em(again, 2, random_seed=1).restarts[0].start != "left off"


def test_no_start_is_lost_by_an_interrupt(tmp_path, one):
    scan = scan_of(memmap(tmp_path / "x.npy", one))
    given = Scan(scan.parts, 1, None, n_stored=N, workers=Interrupted(4))
    other = bg.Mixture([0.5, 0.5], [-3.0, 5.0], sigma=[1.0, 5.0])
    with pytest.raises(KeyboardInterrupt):
        bg.fit_em(given, 2, start=[other, bg.Mixture([0.5, 0.5], [1.0, 10.0], sigma=[2.0, 1.0])])
    resumed = bg.fit_em(given, 2)
    assert [end.start for end in resumed.restarts] == ["left off"] * 2
    assert resumed.log_likelihood == pytest.approx(bg.fit_em(one, 2, random_seed=1).log_likelihood, abs=0.01)


def test_a_fit_goes_on_from_em(tmp_path, one):
    scan = scan_of(memmap(tmp_path / "x.npy", one))
    workers = Interrupted(None)
    given = Scan(scan.parts, 1, None, n_stored=N, workers=workers)
    bg.fit(given, 3, **QUIET)
    workers.at, workers.passes = workers.passes - 1, 1  # the first pass has been made
    with pytest.raises(KeyboardInterrupt):
        bg.fit(given, 3, **QUIET)
    tree = bg.fit(given, 3, **QUIET)
    assert tree["em_baseline"].attrs["n_iter"] <= 3
    assert tree.attrs["method"] == "laplace"


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_nuts_takes_over_where_importance_weights_fail(capsys):
    tree = bg.fit(bg.datasets.galaxies(), 3, method="laplace", draws=50, random_seed=1)
    assert tree.attrs["method"] == "nuts"
    assert "diverging" in tree["sample_stats"]
    assert "NUTS takes over" in capsys.readouterr().err


def test_many_observations_are_weighed_by_default():
    x = bg.datasets.three_gaussians(n=100_000).x
    assert bg.fit(x, 3, draws=250, **QUIET).attrs["method"] == "laplace"
    assert bg.fit(x[:1_000], 3, **QUIET).attrs["method"] == "nuts"


def with_gaps(x, generator):
    x = np.where(generator.random(x.shape) < 0.2, np.nan, x)
    return bg.Observations(x[~np.isnan(x).all(axis=1)], missing="at_random")


KINDS = {
    "gaps": with_gaps,
    "errors": lambda x, g: bg.Observations(x[:, 0], error=g.uniform(0.1, 0.5, len(x))),
    "bins": lambda x, g: bg.Observations.binned(*np.histogram(x[:, 0], 40)),
    "weights": lambda x, g: bg.Observations(x, weight=g.uniform(0.5, 2, len(x))),
    "labels": lambda x, g: bg.Observations(x, labels=np.where(g.random(len(x)) < 0.1, x[:, 0] > 2, -1).astype(int)),
    "noise": lambda x, g: bg.Observations(np.concatenate([x, g.uniform(-30, 30, (60, x.shape[1]))])).with_noise(),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_importance_sampling_agrees_with_nuts_on_every_kind_of_rows(kind):
    data = KINDS[kind](rows_of(THREE, 3_000), rng(7))
    trees = [bg.fit(data, 2, method=method, **QUIET) for method in ("laplace", "nuts")]
    assert trees[0].attrs["method"] == "laplace"
    assert_same_posterior(*trees)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"family": "t"}, {"covariance": "tied"}, {"covariance": "diag"}, {"covariance": "spherical"}]
)
def test_importance_sampling_agrees_with_nuts_on_every_family(options):
    x = rows_of(THREE, 3_000)
    trees = [bg.fit(x, 2, method=method, **QUIET, **options) for method in ("laplace", "nuts")]
    assert trees[0].attrs["method"] == "laplace"
    assert_same_posterior(*trees)


def test_probabilities_of_all_rows(tmp_path, scanned, one):
    tree, _ = scanned
    scan = bg.scan_parquet(parquet(tmp_path, one[:6_000]), columns=["a"])
    few = tree.isel(draw=slice(0, 25))
    exact = bg.responsibilities(few, one[:6_000])
    found = bg.responsibilities(few, scan)
    np.testing.assert_allclose(found["mean"], exact["mean"], atol=1e-12)
    np.testing.assert_allclose(found["sd"], exact["sd"], atol=1e-9)
    file = tmp_path / "clusters.parquet"
    bg.write_responsibilities(few, scan, file)
    written = pq.read_table(file).to_pandas()
    np.testing.assert_array_equal(written["cluster"], exact["mean"].argmax("cluster"))
    np.testing.assert_allclose(written["mean_1"], exact["mean"].sel(cluster=1), atol=1e-12)
    with pytest.raises(FileExistsError, match="exists; choose another name"):
        bg.write_responsibilities(few, scan, file)
    with pytest.raises(TypeError, match="must be rows that are read in parts"):
        bg.write_responsibilities(few, one, tmp_path / "other.parquet")


def test_rows_that_are_left_out_keep_their_places(tmp_path, scanned, one):
    x = one[:5_000].copy()
    x[[3, 4_000]] = np.nan
    scan = bg.scan_parquet(parquet(tmp_path, x, row_group_size=1_000), columns=["a"], missing="drop")
    few = scanned[0].isel(draw=slice(0, 5))
    bg.write_responsibilities(few, scan, tmp_path / "out.parquet")
    written = pq.read_table(tmp_path / "out.parquet").to_pandas()
    assert np.flatnonzero(written["cluster"] == -1).tolist() == [3, 4_000]
    assert len(written) == 5_000


def test_nothing_is_left_of_a_file_where_the_disk_is_full(tmp_path, scanned, one, monkeypatch):
    scan = scan_of(memmap(tmp_path / "x.npy", one[:4_000]))

    def full(self, table):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="cannot be written: No space left on device; free some space, and write it again"):
        bg.write_responsibilities(scanned[0].isel(draw=slice(0, 5)), scan, tmp_path / "out.parquet")
    assert [each.name for each in tmp_path.iterdir()] == ["x.npy"]


def test_a_report_of_a_sample_says_so(scanned, tmp_path):
    bg.report(scanned[0], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert re.search(r"sample of 20[\s,]?000", re.sub(r"<[^>]+>|&#8239;|&nbsp;", " ", page).replace("\u202f", " "))


def test_bad_files_get_a_sentence(tmp_path, one):
    pattern = parquet(tmp_path, one[:3_000])
    whole = (tmp_path / "part1.parquet").read_bytes()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\*.parquet; check the name"):
        bg.scan_parquet(str(tmp_path / "none*.parquet"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no files"):
        bg.scan_parquet(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"columns must be in every file, got a, text in .*part0.parquet, which lacks b"):
        bg.scan_parquet(pattern, columns=["a", "b"])
    with pytest.raises(TypeError, match=r"columns must hold numbers, got text \(string\) in .*part0"):
        bg.scan_parquet(pattern)
    with pytest.raises(TypeError, match="columns must be a sequence of names"):
        bg.scan_parquet(pattern, columns="a")
    with pytest.raises(ValueError, match="none twice"):
        bg.scan_parquet(pattern, columns=["a", "a"])
    with pytest.raises(TypeError, match="paths must be the name of a file"):
        bg.scan_parquet(7)
    (tmp_path / "part1.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"part1\.parquet cannot be read as Parquet, or is cut short"):
        bg.scan_parquet(pattern, columns=["a"])
    pq.write_table(pa.table({"z": [1.0]}), tmp_path / "part1.parquet")
    with pytest.raises(ValueError, match=r"part1.parquet, which lacks a"):
        bg.scan_parquet(pattern, columns=["a"])


def test_a_damaged_row_group_is_named(tmp_path, one):
    pattern = parquet(tmp_path, one[:30_000], files=1)
    content = bytearray((tmp_path / "part0.parquet").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4_000] = bytes(4_000)
    (tmp_path / "part0.parquet").write_bytes(bytes(content))
    try:
        scan = bg.scan_parquet(pattern, columns=["a"])
        summary = scan.summary
    except ValueError as error:
        assert "part0.parquet" in str(error)  # noqa: PT017 - what was damaged may still be readable
    else:
        assert summary.n == 30_000


@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (np.inf, "inf")])
def test_a_value_that_is_no_number_is_named_by_file_and_row(tmp_path, three, value, said):
    x = three.copy()
    x[25_123, 1] = value
    scan = bg.scan_parquet(parquet(tmp_path, x), columns=["a", "b", "c"])
    at = r"row 25123 \(row 5123 of .*part2.parquet\)"
    with pytest.raises(
        ValueError, match=rf"x must be finite, got {said} of column b in {at}; clean the data, or pass missing="
    ):
        bg.fit_em(scan, 2)
    assert len(bg.scan_parquet(parquet(tmp_path, x), columns=["a", "b", "c"], missing="drop")) == N - 1


def test_nulls_are_gaps(tmp_path, one):
    table = pa.table({"a": pa.array([*one[:5_000].tolist(), None], pa.float64())})
    pq.write_table(table, tmp_path / "n.parquet")
    with pytest.raises(ValueError, match=r"got nan of column a in row 5000"):
        bg.fit_em(bg.scan_parquet(tmp_path / "n.parquet"), 2)
    assert len(bg.scan_parquet(tmp_path / "n.parquet", missing="drop")) == 5_000


def test_columns_of_any_numbers_are_read(tmp_path):
    g = rng(8)
    frame = pd.DataFrame({"i": g.integers(0, 100, 500), "f": g.normal(size=500).astype("f4"), "b": g.random(500) < 0.5})
    frame.to_parquet(tmp_path / "x.parquet")
    scan = bg.scan_parquet(tmp_path / "x.parquet")
    np.testing.assert_array_equal(scan.read().x, frame.astype(float).to_numpy())


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_bad_weights_are_named(tmp_path, one, bad):
    weight = np.ones(N)
    weight[12_000] = bad
    scan = bg.scan_parquet(parquet(tmp_path, one, weight=weight), columns=["a"], weight="w")
    with pytest.raises(ValueError, match=r"weight must not be negative, NaN or infinite, got .* in row 12000"):
        bg.fit_em(scan, 2)
    given = memmap(tmp_path / "x.npy", one)
    with pytest.raises(ValueError, match=r"sample_weight must hold one weight for each observation, shape \(30000,\)"):
        bg.fit_em(given, 2, sample_weight=np.ones(3))


def test_what_is_not_possible_is_refused(tmp_path, one):
    scan = scan_of(memmap(tmp_path / "x.npy", one))
    quiet = {"progressbar": False}
    for options, message in (
        ({"labels": np.zeros(N, int)}, "labels cannot be given for rows that are read in parts"),
        ({"method": "gibbs"}, "method='gibbs' cannot be used on rows that are read in passes"),
        ({"method": "advi"}, "method='advi' cannot be used on rows that are read in passes"),
        ({"engine": "pymc"}, "engine='pymc' cannot be used on rows that are read in passes"),
        ({"noise": np.zeros(N)}, "noise must be True, False or one log density"),
        ({"sample_weight": np.ones(N)}, "sample_weight must not be given beside a scan"),
        ({"missing": "drop"}, "missing must not be given beside a scan"),
    ):
        with pytest.raises(ValueError, match=message):
            bg.fit(scan, 2, **options, **quiet)
    with pytest.raises(TypeError, match=r"must be a table in memory, got a LazyFrame; call its collect\(\) first"):
        bg.fit(pl.DataFrame({"a": one[:10]}).lazy(), 2, **quiet)
    with pytest.raises(ValueError, match="must have shape"):
        bg.fit_em(memmap(tmp_path / "y.npy", one.reshape(10, 10, -1)), 2)
    with pytest.raises(TypeError, match="must hold numbers"):
        bg.fit_em(memmap(tmp_path / "z.npy", np.array(["a", "b"])), 2)
    with pytest.raises(ValueError, match="missing must be one of"):
        bg.scan_parquet(parquet(tmp_path, one), columns=["a"], missing="never")


def test_what_would_not_fit_into_memory_is_refused_beforehand(tmp_path, scanned, one, monkeypatch):
    scan = scan_of(memmap(tmp_path / "x.npy", one))
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": 10_000})())
    with pytest.raises(MemoryError, match="write them to a file, by write_responsibilities"):
        bg.responsibilities(scanned[0], scan)


def test_a_scan_of_other_columns_is_refused(tmp_path, scanned, three):
    scan = bg.scan_parquet(parquet(tmp_path, three), columns=["a", "b"])
    with pytest.raises(ValueError, match=r"x must have 1 feature\(s\) like the data, got 2 column\(s\)"):
        bg.responsibilities(scanned[0], scan)


@pytest.mark.parametrize("attrs", [{"rows": 10}, {"total": -1.0}, {"rows": "many"}], ids=str)
def test_a_tree_whose_rows_have_been_miscounted_is_refused(scanned, attrs):
    tree = scanned[0].copy()
    tree["observed_data"].attrs |= attrs
    with pytest.raises(ValueError, match="observed_data of tree must have the attributes rows "):
        bg.loo(tree)


def test_the_estimator_takes_rows_in_parts(tmp_path, three):
    given = memmap(tmp_path / "x.npy", three)
    gmm = bg.BayesianGMM(2, random_state=1).fit(given)
    assert gmm.n_features_in_ == 3
    np.testing.assert_allclose(gmm.means_, THREE.mu, atol=0.1)
    few = three[:500]
    np.testing.assert_array_equal(gmm.predict(memmap(tmp_path / "f.npy", few)), gmm.predict(few))
    np.testing.assert_allclose(gmm.score_samples(memmap(tmp_path / "f.npy", few)), gmm.score_samples(few))
    assert gmm.bic(given) == pytest.approx(gmm.bic(three), rel=1e-9)


def test_questions_of_threads_are_answered_together():
    asked = []

    def answers(points):
        asked.append(len(points))
        return points.sum(axis=1), 2 * points

    together = Together(answers, 4)
    with ThreadPoolExecutor(4) as pool:
        for turn in range(50):
            found = list(pool.map(together, [np.array([turn, i]) for i in range(4)]))
            assert [value for value, _ in found] == [turn + i for i in range(4)]
            assert [gradient[1] for _, gradient in found] == [2 * i for i in range(4)]
    assert sum(asked) == 200
    assert len(asked) < 120  # alone, there would be 200
    assert together(np.array([1.0, 2.0]))[0] == 3  # the others have finished


def test_what_goes_wrong_in_an_answer_is_told_to_all_who_asked():
    def fails(points):
        raise OSError("gone")

    together = Together(fails, 3)
    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(together, np.zeros(2)) for _ in range(3)]:
            with pytest.raises(OSError, match="gone"):
                future.result()


def test_who_needs_rows_in_memory_says_so(tmp_path, one):
    scan = scan_of(memmap(tmp_path / "x.npy", one))
    with pytest.raises(TypeError, match=r"x must be in memory here, got a Scan; call its read\(\)"):
        bg.posterior_k(scan, progressbar=False)
    with pytest.raises(TypeError, match=r"x must be in memory here, got a Array; call its compute\(\)"):
        bg.build_model(da.from_array(one), 2)
    assert len(scan.read()) == N


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_nuts_in_passes_keeps_its_draws_when_interrupted(tmp_path, one, monkeypatch):
    scan, passes, evaluated = scan_of(memmap(tmp_path / "x.npy", one)), [], SummedPosterior.evaluated

    def counted(own, points):
        passes.append(len(points))
        if len(passes) == 2_000:  # after tuning
            os.kill(os.getpid(), signal.SIGINT)
        return evaluated(own, points)

    monkeypatch.setattr(SummedPosterior, "evaluated", counted)
    with pytest.warns(bg.exceptions.InterruptedWarning, match="interrupted"):
        tree = bg.fit(scan, 3, method="nuts", draws=5_000, tune=100, **QUIET)
    assert 0 < tree["posterior"].sizes["draw"] < 5_000


def test_passes_are_announced_beforehand(tmp_path, one, capsys):
    scan = bg.scan_parquet(parquet(tmp_path, one), columns=["a"])
    assert not scan.has_been_read
    bg.fit(scan, 3, random_seed=1)
    said = capsys.readouterr().err
    order = [
        "first pass over 30000 rows, 0.00",
        "EM: k = 3, n = 30000, in passes",
        "18 points in a pass",
        "1000 draws in one",
    ]
    assert [said.index(each) for each in order] == sorted(said.index(each) for each in order)


def test_functions_without_progress_say_what_they_read(tmp_path, scanned, one, capsys):
    given = memmap(tmp_path / "x.npy", one)
    bg.fit_em(given, 2, random_seed=1)
    assert capsys.readouterr().err == "bayesgmm: a first pass, and then those of EM, over 30000 rows, 0.00024 GB\n"
    bg.write_responsibilities(scanned[0].isel(draw=slice(0, 5)), given, tmp_path / "out.parquet")
    assert capsys.readouterr().err == "bayesgmm: one pass over 30000 rows, 0.00024 GB\n"
    bg.fit(given, 2, random_seed=1, progressbar=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("options", [{"engine": "pymc"}, {"model": "model"}], ids=str)
def test_weights_are_those_of_the_packages_own_density(options, one):
    import pymc as pm

    given = options if "engine" in options else {"model": pm.Model()}
    with pytest.raises(TypeError, match=r"weighs draws by the package's own density, got it with"):
        bg.fit(one[:100], 2, method="laplace", **given, **QUIET)


def summed_from(tree):
    """The posterior of a tree's data, from sums and from rows, and the draws as unconstrained points."""
    reading = Reading.of(tree)
    own, points, units = reading.ask(read_posterior)
    given = own.k, own.prior, own.covariance, own.family
    return SummedPosterior(own.observations, *given, source=reading.observations, units=units), own, points


OF_EVIDENCE = {
    "galaxies, a component too many": lambda: (bg.datasets.galaxies(), 4, {}),
    "noise": lambda: (np.append(rows_of(ONE, 150), [30.0, -25.0]), 3, {"noise": True}),
    "t": lambda: (rows_of(ONE, 150), 2, {"family": "t"}),
    "three features": lambda: (rows_of(THREE, 120), 2, {}),
    "three features, tied": lambda: (rows_of(THREE, 120), 2, {"covariance": "tied"}),
    "three features, diagonal": lambda: (rows_of(THREE, 120), 2, {"covariance": "diag"}),
    "three features, spherical": lambda: (rows_of(THREE, 120), 2, {"covariance": "spherical"}),
}


@pytest.mark.parametrize("kind", OF_EVIDENCE)
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # any few points will do
def test_what_is_expected_of_allocations_is_the_mean_of_what_is_drawn(kind):
    x, k, options = OF_EVIDENCE[kind]()
    summed, own, points = summed_from(bg.fit(x, k, method="gibbs", draws=4, chains=1, tune=100, **QUIET, **options))
    few = points.reshape(-1, own.n_dim)[:2]
    generator, expected = rng(2), _expected(summed, few)
    drawn = [_drawn(own, few, generator) for _ in range(400)]
    for each, *many in zip(expected, *drawn, strict=True):
        many = np.array(many)
        error = many.std(axis=0) / np.sqrt(len(many))
        assert each.shape == many.shape[1:]
        if each.ndim == 4 and not own.spread.structure.correlated:  # only the diagonal is computed and used
            each, many, error = (np.diagonal(part, axis1=-2, axis2=-1) for part in (each, many, error))
        assert (abs(many.mean(axis=0) - each) < 5 * error + 1e-3 * abs(many).max()).all()  # 1e-3: rare allocations


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_EVIDENCE)
def test_the_evidence_from_sums_is_that_from_rows(kind):
    x, k, options = OF_EVIDENCE[kind]()
    tree = bg.fit(x, k, method="gibbs", **QUIET, **options)
    summed, _, points = summed_from(tree)
    log_unit = summed.units.log_volume(summed.source.counts_known)
    found = _bridged(summed, points, log_unit, 0.25, rng(1))
    by_rows = bg.log_evidence(tree, effort=4, random_seed=1)
    assert found.mcse < 0.15
    assert_same_means(found.value, found.mcse, by_rows.value, by_rows.mcse, "log evidence")


def test_draws_of_nuts_in_passes_that_were_interrupted_tell_no_evidence(scanned):
    tree = scanned[0].copy()
    for name in ("log_evidence", "log_evidence_mcse", "pareto_k", "importance_efficiency"):
        del tree.attrs[name]
    tree.attrs["method"] = "nuts"
    with pytest.raises(
        ValueError, match=r"tree must hold the evidence, got none; for rows that are read in passes, .* run .*; fit again"
    ):
        bg.log_evidence(tree)
