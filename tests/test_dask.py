"""Dask collections: answers are those in memory, results for single rows are lazy, and workers may be lost."""

import os
import signal
import time

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster

import bayesgmm as bg
from bayesgmm.data.dask_rows import PERSIST
from bayesgmm.data.sources import scan_of
from tests.scanned import QUIET, N, assert_same_posterior
from tests.statistics import rng


@pytest.fixture(scope="module")
def cluster():
    quiet = {"dashboard_address": ":0", "host": "127.0.0.1", "silence_logs": 50}
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **quiet) as made:
        yield made


COLLECTIONS = {
    "uneven chunks, one empty": lambda x: da.from_array(x, chunks=((1_000, 0, 25_000, 4_000), *x.shape[1:])),
    "unknown chunks": lambda x: (lambda a: a[a.reshape(len(x), -1)[:, 0] > -1e9])(da.from_array(x, chunks=(7_000, *x.shape[1:]))),
    "columns apart": lambda x: da.from_array(x, chunks=(7_000, 1)) if x.ndim > 1 else da.from_array(x, chunks=7_000),
    "a frame, one partition empty": lambda x: (
        lambda d: d[(d[d.columns[0]] > -1e9)].repartition(npartitions=9).map_partitions(lambda part: part.iloc[: len(part)])
    )(dd.from_pandas(pd.DataFrame(x.reshape(len(x), -1)).rename(columns=str), npartitions=5)),
}  # fmt: skip


@pytest.mark.parametrize("kind", COLLECTIONS)
@pytest.mark.parametrize("k", [3, 2], ids=["one feature", "three features"])
def test_em_finds_the_same_optimum(kind, k, one, three):
    x = one if k == 3 else three
    given = COLLECTIONS[kind](x)
    whole, scanned = (bg.fit_em(each, k, random_seed=1) for each in (x, given))
    assert scanned.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-8)
    assert scanned.n_observations == N
    assert scanned.icl() == pytest.approx(whole.icl(), rel=1e-6)


def test_weights_and_gaps_are_those_in_memory(three):
    weight = rng(1).integers(0, 3, N).astype(float)
    x = three.copy()
    x[5] = np.nan
    given = da.from_array(x, chunks=(7_000, 3)), da.from_array(weight, chunks=4_000)
    found = bg.fit_em(given[0], 2, sample_weight=given[1], missing="drop", random_seed=1)
    whole = bg.fit_em(x, 2, sample_weight=weight, missing="drop", random_seed=1)
    assert found.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-9)
    frame = dd.from_pandas(pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "w": weight}), npartitions=4)
    of_frame = bg.fit_em(frame[["a", "b"]], 2, sample_weight=frame["w"], missing="drop", random_seed=1)
    whole = bg.fit_em(x[:, :2], 2, sample_weight=weight, missing="drop", random_seed=1)
    assert of_frame.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-9)


def test_a_posterior_on_threads(one):
    tree = bg.fit(da.from_array(one, chunks=7_000), 3, **QUIET)
    assert tree.attrs["method"] == "laplace"
    assert_same_posterior(tree, bg.fit(one, 3, method="laplace", **QUIET))
    assert tree["observed_data"].attrs["rows"] == N


def test_few_rows_are_read_as_a_whole(one):
    tree = bg.fit(da.from_array(one[:500], chunks=200), 3, **QUIET)
    np.testing.assert_array_equal(tree["observed_data"]["x"], one[:500])


def test_names_of_columns_are_kept(three):
    frame = dd.from_pandas(pd.DataFrame(three, columns=["x", "y", "z"]), npartitions=4)
    tree = bg.fit(frame, 2, **QUIET)
    assert tree["posterior"]["feature"].values.tolist() == ["x", "y", "z"]


def test_persisting_is_advised_and_not_done(one, capsys):
    made = da.from_array(one, chunks=7_000)
    computed = made + 0
    assert scan_of(computed).advice == PERSIST
    bg.fit(computed, 3, random_seed=1)
    assert PERSIST in capsys.readouterr().err
    assert not any(hasattr(each, "key") and hasattr(each, "status") for each in dict(computed.__dask_graph__()).values())


def test_results_of_single_rows_are_lazy(three, monkeypatch):
    made = da.from_array(three, chunks=(7_000, 3))
    gmm = bg.BayesianGMM(2, random_state=1).fit(made)
    passes = []
    monkeypatch.setattr("bayesgmm.data.scan.Scan.summary", property(lambda scan: passes.append(scan)))
    labels, shares, scores = gmm.labels_, gmm.predict_proba(made), gmm.score_samples(made)
    assert all(isinstance(each, da.Array) for each in (labels, shares, scores, gmm.predict(made)))
    assert not passes
    few = slice(0, 2_000)
    np.testing.assert_array_equal(labels[few].compute(), gmm.predict(three[few]))
    np.testing.assert_allclose(shares[few].compute(), gmm.predict_proba(three[few]), atol=1e-12)
    np.testing.assert_allclose(scores[few].compute(), gmm.score_samples(three[few]), rtol=1e-9)
    found = bg.responsibilities(gmm.posterior_, made)
    assert isinstance(found["mean"].data, da.Array)
    assert found.sizes == {"obs": N, "cluster": 2}


def test_lengths_must_be_known_where_they_are_needed(one):
    gmm = bg.BayesianGMM(3, random_state=1).fit(da.from_array(one, chunks=7_000))
    made = da.from_array(one[:500], chunks=200)
    with pytest.raises(ValueError, match=r"must have chunks of known length, .*; call compute_chunk_sizes\(\)"):
        bg.responsibilities(gmm.posterior_, made[made > 0])
    assert len(gmm.predict(made[made > 0]).compute()) == (one[:500] > 0).sum()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: (da.from_array(np.array(["a", "b"])), {}), TypeError, "must hold numbers"),
        (lambda: (da.zeros((2, 2, 2)), {}), ValueError, "must have shape"),
        (lambda: (da.from_array(np.array([1.0, np.nan] * 10), chunks=5), {}), ValueError, r"got nan in row \d of partition \d"),
        (lambda: (dd.from_pandas(pd.DataFrame({"a": ["x", "y"]}), npartitions=1), {}), TypeError, "must hold num"),
        (lambda: (da.arange(10.0), {"sample_weight": np.ones(10)}), TypeError, "must be a Dask array or Series"),
        (lambda: (da.arange(10.0), {"sample_weight": da.ones(9)}), ValueError, r"one weight for each observation, shape \(10,\)"),
        (lambda: (da.arange(10.0)[:0], {}), ValueError, "at least one observation"),
        (lambda: (da.arange(10.0), {"labels": np.zeros(10, int)}), ValueError, "labels cannot be given"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence(make, error, message):
    x, options = make()
    with pytest.raises(error, match=message):
        bg.fit_em(x, 2, **options)


@pytest.mark.slow
def test_an_existing_client_is_used(cluster, one):
    x = bg.fit_em(one, 3, random_seed=1)
    with Client(cluster) as client:
        made = da.from_array(one, chunks=4_000).persist()
        assert scan_of(made).advice == ""
        before = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.transition_log))
        em = bg.fit_em(made, 3, random_seed=1)
        assert em.log_likelihood == pytest.approx(x.log_likelihood, rel=1e-8)
        assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.transition_log)) > before
        tree = bg.fit(made, 3, **QUIET)
        assert_same_posterior(tree, bg.fit(one, 3, method="laplace", **QUIET))


@pytest.mark.slow
def test_a_lost_worker_costs_a_recomputation(one):
    quiet = {"dashboard_address": ":0", "host": "127.0.0.1", "silence_logs": 50}
    expected = bg.fit_em(one, 3, random_seed=1)
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **quiet) as made, Client(made) as client:
        x = da.from_array(one, chunks=2_000).persist()
        victim = next(iter(client.run(os.getpid).values()))
        scan, passes = scan_of(x), []
        workers = scan.workers

        def killing(work, parts, merge):
            passes.append(len(parts))
            if len(passes) == 3:
                os.kill(victim, signal.SIGKILL)
                time.sleep(0.5)
            return workers(work, parts, merge)

        em = bg.fit_em(type(scan)(scan.parts, 1, None, n_stored=N, workers=killing), 3, random_seed=1)
        assert len(passes) > 3
        assert em.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-8)


def dies(block):
    os.kill(os.getpid(), signal.SIGKILL)
    return block


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_is_named(one):
    quiet = {"dashboard_address": ":0", "host": "127.0.0.1", "silence_logs": 50}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=1, threads_per_worker=1, processes=True, **quiet) as made,
        Client(made),
    ):
        x = da.from_array(one, chunks=10_000).map_blocks(dies, dtype=float, meta=np.empty(0))
        with pytest.raises(RuntimeError, match="workers died repeatedly at one partition"):
            bg.fit_em(x, 3, random_seed=1)


@pytest.mark.slow
def test_a_client_that_closes_is_named(one):
    quiet = {"dashboard_address": ":0", "host": "127.0.0.1", "silence_logs": 50}
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, **quiet) as made:
        client = Client(made)
        scan, passes = scan_of(da.from_array(one, chunks=10_000)), []
        workers = scan.workers

        def closing(work, parts, merge):
            passes.append(len(parts))
            if len(passes) == 3:
                client.loop.add_callback(client._close)
            return workers(work, parts, merge)

        given = type(scan)(scan.parts, 1, None, n_stored=N, workers=closing)
        try:
            bg.fit_em(given, 3, random_seed=1)
        except RuntimeError as error:
            assert "client was closed or lost its cluster" in str(error)  # noqa: PT017 - or threads have taken over
        em = bg.fit_em(given, 3, random_seed=1)
        assert em.log_likelihood == pytest.approx(bg.fit_em(one, 3, random_seed=1).log_likelihood, rel=1e-8)
