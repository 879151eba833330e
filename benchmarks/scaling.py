"""Rows read in passes: whole fits, what a pass costs, workers, and peers; writes scaling.json and scaling.md.

uv run --extra tests python benchmarks/scaling.py --data FOLDER --spark-python PYTHON     some forty minutes on two cores
uv run --extra tests python benchmarks/scaling.py --data FOLDER --part workers            one part again, the others stay
uv run --extra tests python benchmarks/scaling.py --render                                scaling.md from scaling.json
uv run --extra tests python benchmarks/scaling.py --smoke                                 half a minute, writes nothing

FOLDER gets 1.2 GB of Parquet, once. PYTHON is the interpreter of an environment with pyspark and numpy, beside a Java that
suits it; without it Spark is left out. Every figure comes from a process of its own.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

import numpy as np
from memory import PeakMemory

HERE = Path(__file__).parent
PACKAGES = "bayesgmm numpy numba scikit-learn dask distributed pyarrow"
PARTS = "fits", "passes", "cores", "workers", "peers"
EVERY = 0.25  # seconds between two looks at memory, each of which takes some milliseconds
SMALL = 1_000  # rows of small partitions, with which latency is measured
MANY = 100  # mixtures in one pass
TIMES = 5  # measurements of a pass, of which the median counts


@dataclass(frozen=True)
class Problem:
    """A mixture, and the files that hold rows drawn from it."""

    title: str
    weights: tuple
    means: tuple
    spread: tuple  # standard deviations of all features of a component
    correlation: float
    n: int
    files: int
    group: int  # rows of a row group

    @property
    def k(self):
        return len(self.weights)

    @property
    def d(self):
        return np.size(self.means[0])

    def mixture(self, shift=0.0, wider=1.0):
        """The mixture that rows are drawn from, or a start near it."""
        import bayesgmm as bg

        means, spread = np.array(self.means) + shift, np.sqrt(wider) * np.array(self.spread)
        if self.d == 1:
            return bg.Mixture(self.weights, means, sigma=spread)
        shape = (1 - self.correlation) * np.eye(self.d) + self.correlation
        return bg.Mixture(self.weights, means, spread[:, None, None] ** 2 * shape)

    def start(self):
        return self.mixture(0.4, 1.5)


ONE = Problem("D = 1, K = 3", (0.5, 0.3, 0.2), (-3.0, 0.0, 4.0), (1.0, 0.7, 1.5), 0.0, 10**8, 10, 10**6)
FIVE = Problem(
    "D = 5, K = 4", (0.4, 0.3, 0.2, 0.1),
    ((0.0,) * 5, (3.0, 0.0, 3.0, 0.0, 0.0), (0.0, 3.0, 0.0, 3.0, 1.0), (-2.0, -2.0, 2.0, -2.0, 4.0)),
    (1.0, 0.8, 1.2, 0.6), 0.3, 10**7, 5, 2 * 10**5,
)  # fmt: skip
PROBLEMS = {"one": ONE, "five": FIVE}


def write(folder, name, smoke):
    """Paths of a problem's files, which are written unless they are there: float64, not compressed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    problem, folder = PROBLEMS[name], Path(folder) / name
    group = problem.group // (400 if smoke else 1)
    n_groups, mixture = problem.n // problem.group // problem.files, problem.mixture()
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(problem.files):
        path = folder / f"{number}.parquet"
        if path.exists():
            continue
        rng = np.random.default_rng([number, problem.d])
        with pq.ParquetWriter(f"{path}.part", _schema(problem.d), compression="none", use_dictionary=False) as file:
            for _ in range(1 if smoke else n_groups):
                x = mixture.sample(group, rng)[0].reshape(group, -1)
                file.write_table(pa.table(list(x.T), schema=_schema(problem.d)), row_group_size=group)
        os.replace(f"{path}.part", path)
    small = folder / "small.parquet"  # a million rows in ten row groups
    if not small.exists():
        table = pq.read_table(folder / "0.parquet").slice(0, 10**6)
        pq.write_table(table, small, compression="none", use_dictionary=False, row_group_size=max(1, len(table) // 10))
    return [str(folder / f"{number}.parquet") for number in range(problem.files)], str(small)


def _schema(d):
    import pyarrow as pa

    return pa.schema([(name, pa.float64()) for name in ("x" if d == 1 else "abcde")])


# ------------------------------------------------------------------------------------------- what a process of its own does


def fit(files, name):
    """A fit by the defaults, from files to the posterior: seconds of its phases, and of every pass."""
    import bayesgmm as bg
    from bayesgmm.data.scan import Scan

    warm(files[:1], name)
    passes, sums = [], Scan.sums

    def watched(scan, weights, means, factors, nu=None, *, units=None):
        began = time.perf_counter()
        found = sums(scan, weights, means, factors, nu, units=units)
        passes.append((len(means) if means.ndim == 3 else 1, time.perf_counter() - began))
        return found

    began = time.perf_counter()
    scan = bg.scan_parquet(files)
    n = len(scan)
    first = time.perf_counter() - began
    with patch.object(Scan, "sums", watched):
        tree = bg.fit(scan, PROBLEMS[name].k, random_seed=1, progressbar=False)
    seconds = time.perf_counter() - began
    names = "method", "pareto_k", "importance_efficiency", "seconds_em", "seconds_geometry", "seconds_draws"
    found = {name: tree.attrs.get(name) for name in names}
    em = tree["em_baseline"].attrs
    found |= {"n": n, "n_iter": int(em["n_iter"]), "log_likelihood": float(em["log_likelihood"])}
    return found | {"first": first, "seconds": seconds, "passes": passes}


def warm(files, name):
    """Load the compiled code, or compile it at a first use of the package."""
    import bayesgmm as bg

    x = PROBLEMS[name].mixture().sample(30_000, np.random.default_rng(0))[0]
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x"
        np.memmap(path, dtype=float, mode="w+", shape=x.shape)[:] = x
        bg.fit(np.memmap(path, dtype=float, mode="r", shape=x.shape), PROBLEMS[name].k, random_seed=1, progressbar=False)


def passes(files, name):
    """Seconds of a pass at one mixture and at many."""
    import bayesgmm as bg

    scan = bg.scan_parquet(files)
    found = {"n": len(scan), "parts": len(scan.parts), "bytes": scan.n_bytes}
    for points in (1, MANY):
        found[str(points)] = timed(scan, mixtures(name, points))
    return found


def mixtures(name, points):
    """Parameters of one mixture, or of several stacked, as a pass takes them."""
    if points == 1:
        return PROBLEMS[name].mixture().parameters
    shifts = np.linspace(-0.1, 0.1, points)
    return tuple(
        np.stack(each) for each in zip(*(PROBLEMS[name].mixture(shift).parameters for shift in shifts), strict=True)
    )


def timed(scan, parameters, used=None, enough=5):
    """Seconds of a pass, measured five times unless it takes long: median, least, and median processor time."""
    used, seconds = used or processor, []
    scan.sums(*mixtures("one", 1))  # loads the code
    while len(seconds) < TIMES and sum(each for each, _ in seconds) < enough:
        before, began = used(), time.perf_counter()
        scan.sums(*parameters)
        taken = time.perf_counter() - began
        seconds.append((taken, used() - before))
    (median, of_processor), least = np.median(seconds, axis=0), min(seconds)[0]
    return {"seconds": float(median), "least": least, "used": float(of_processor)}


def busy(at, seconds):
    """Passes a second over rows in memory on one core, from a given time on."""
    import bayesgmm as bg

    rows, parameters, count = bg.Observations(ONE.mixture().sample(10**5, 1)[0]), mixtures("one", 1), 0
    rows.sums(*parameters)
    time.sleep(max(0.0, at - time.time()))
    began, used = time.perf_counter(), processor()
    while time.perf_counter() < began + seconds:
        rows.sums(*parameters)
        count += 1
    return {"rate": count / (time.perf_counter() - began), "rate_used": count / (processor() - used)}


def workers(n_workers, n, chunks, tiny):
    """Seconds of passes over a persisted Dask array of few large and of many tiny partitions."""
    from distributed import Client, LocalCluster

    local = {"processes": True, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with LocalCluster(n_workers=n_workers, **local) as cluster, Client(cluster) as client:
        asked = [(n, chunks, points) for points in (1, 10, MANY)]
        asked += [(rows * parts, parts, points) for points, rows, each in tiny for parts in each]
        return {"measured": [_of_workers(client, n_workers, *each) for each in asked]}


def _of_workers(client, n_workers, n, parts, points):
    import dask.array as da
    from distributed import wait

    from bayesgmm.data.sources import scan_of

    rows = da.map_blocks(_drawn, dtype=float, chunks=((n // parts,) * parts,), size=n // parts).persist()
    wait(rows)
    scan = scan_of(rows)
    held = [len(each) for each in client.has_what().values()]
    found = timed(scan, mixtures("one", points), lambda: sum(client.run(time.process_time).values()))
    return {"workers": n_workers, "rows": len(scan), "parts": parts, "points": points, "held": held} | found


def _drawn(size, block_info=None):
    """Rows of a partition. It runs on a worker, without the rest of this file, so it imports NumPy itself."""
    import numpy as np

    rng = np.random.default_rng(block_info[None]["chunk-location"])
    which = rng.choice(3, size, p=[0.5, 0.3, 0.2])
    return rng.normal(np.array([-3.0, 0.0, 4.0])[which], np.array([1.0, 0.7, 1.5])[which])


def em(files, name, in_memory):
    """EM by bayesgmm from a given start: what an iteration adds, and a whole run to the optimum."""
    import bayesgmm as bg

    x = _read(files) if in_memory else bg.scan_parquet(files)
    n, k, start = len(x), PROBLEMS[name].k, PROBLEMS[name].start()

    def run(iterations):
        began = np.array([time.perf_counter(), processor()])
        bg.fit_em(x, k, start=start, max_iter=iterations, tol=1e-300)
        return np.array([time.perf_counter(), processor()]) - began

    run(2)
    iteration, used = np.median([run(12) - run(2) for _ in range(3)], axis=0) / 10
    began = time.perf_counter()
    found = bg.fit_em(x if in_memory else bg.scan_parquet(files), k, start=start)
    seconds, mixture = time.perf_counter() - began, found.mixture
    answer = mixture.weights, mixture.means, mixture.covariances
    found = {"n": n, "iteration": iteration, "used": used, "seconds": seconds, "n_iter": found.n_iter}
    return found | _told(*answer)


def _told(weights, means, covariances):
    return {"mixture": [np.asarray(each).tolist() for each in (weights, means, covariances)]}


def _read(files):
    """All rows, in memory."""
    import pyarrow.parquet as pq

    columns = [[c.to_numpy() for c in pq.read_table(file).columns] for file in files]
    return np.concatenate([np.column_stack(each) for each in columns])


def scikit(files, name):
    """EM by scikit-learn from the same start: what an iteration adds, and a whole run to the optimum."""
    from sklearn.mixture import GaussianMixture

    x, k, start = _read(files), PROBLEMS[name].k, PROBLEMS[name].start()
    means, d = start.means.reshape(k, -1), PROBLEMS[name].d
    given = {"weights_init": start.weights, "means_init": means}
    given |= {"precisions_init": np.linalg.inv(start.covariances.reshape(k, d, d)), "init_params": "random_from_data"}

    def run(**options):
        began = np.array([time.perf_counter(), processor()])
        model = GaussianMixture(k, **given, **options).fit(x)
        return np.array([time.perf_counter(), processor()]) - began, model

    iteration, used = (run(tol=0.0, max_iter=12)[0] - run(tol=0.0, max_iter=2)[0]) / 10
    (seconds, _), model = run()
    found = {"n": len(x), "iteration": iteration, "used": used, "seconds": seconds, "n_iter": int(model.n_iter_)}
    return found | _told(model.weights_, model.means_, model.covariances_)


def spark(files, k):
    """EM by Spark's MLlib on two cores, from its own start. It runs in the interpreter that has pyspark."""
    from pyspark import __version__
    from pyspark.ml.clustering import GaussianMixture
    from pyspark.ml.feature import VectorAssembler
    from pyspark.sql import SparkSession

    built = SparkSession.builder.master("local[2]").config("spark.driver.memory", "8g").config("spark.ui.enabled", "false")
    session = built.config("spark.driver.host", "127.0.0.1").getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    rows = session.read.parquet(*files)
    rows = VectorAssembler(inputCols=rows.columns, outputCol="features").transform(rows).select("features").cache()
    n = rows.count()

    java = session.sparkContext._gateway.proc.pid

    def run(**options):
        began = np.array([time.perf_counter(), processor_of(java)])
        model = GaussianMixture(k=k, seed=1, **options).fit(rows)
        return np.array([time.perf_counter(), processor_of(java)]) - began, model

    run(tol=0.0, maxIter=12)  # compiles
    iteration, used = (run(tol=0.0, maxIter=12)[0] - run(tol=0.0, maxIter=2)[0]) / 10
    (seconds, _), model = run()
    each = model.gaussiansDF.collect()
    found = {"n": n, "iteration": iteration, "used": used, "seconds": seconds, "n_iter": model.summary.numIter}
    runtime = session.sparkContext._jvm.java.lang.System.getProperty("java.version")
    means, covariances = ([one[i].toArray() for one in each] for i in range(2))
    found |= {"version": __version__, "java": runtime} | _told(model.weights, means, covariances)
    session.stop()
    return found


def likelihoods(files, answers):
    """Log-likelihoods of all rows under mixtures, by one and the same code."""
    import bayesgmm as bg

    scan, found = bg.scan_parquet(files), {}
    for who, (weights, means, covariances) in answers.items():
        means, d = np.reshape(means, (len(weights), -1)), scan.n_features
        weights, covariances = np.array(weights) / np.sum(weights), np.reshape(covariances, (len(weights), d, d))
        mixture = bg.Mixture(weights, means[:, 0] if d == 1 else means, covariances[:, 0, 0] if d == 1 else covariances)
        found[who] = float(scan.sums(*mixture.parameters).log_likelihood)
    return found


TASKS = {each.__name__: each for each in (fit, passes, busy, workers, em, scikit, spark, likelihoods)}


# ---------------------------------------------------------------------------------------------------- what is asked of them


def processor():
    """Seconds of processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def processor_of(process):
    """Seconds of processor time of another process, which is still running."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def apart(task, python=sys.executable, **given):
    """The result of a task in a process of its own, with its peak memory."""
    command = [python, "-W", "ignore", str(HERE / "scaling.py"), "--task", task, "--given", json.dumps(given)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(command, **piped, start_new_session=True, env=environment) as process,
        PeakMemory(process.pid, EVERY) as peak,
    ):
        out, err = process.communicate()
    if "\nRESULT" not in out:
        raise RuntimeError(f"{task} failed:\n{err[-3000:]}")
    return json.loads(out.split("\nRESULT")[1]) | {"peak_mb": peak.mb}


def at_once(task, **given):
    """The result of a task in this process, which is quicker."""
    return TASKS[task](**given) | {"peak_mb": 0.0}


def measured_fits(at, run, smoke, spark_python):
    return {name: run("fit", files=at[name][0], name=name) for name in (("one",) if smoke else PROBLEMS)}


def measured_passes(at, run, smoke, spark_python):
    files, small = at["one"]
    return [run("passes", files=each, name="one") for each in (([small],) if smoke else ([small], files[:1], files))]


def measured_cores(at, run, smoke, spark_python):
    """Passes a second of one process alone, and of two at the same time."""
    found = {}
    for count in (1, 2):
        given = {"at": time.time() + 12, "seconds": 8}
        with ThreadPoolExecutor(count) as pool:
            each = list(pool.map(lambda _, given=given: run("busy", **given), range(count)))
        found[str(count)] = [[one["rate"], one["rate_used"]] for one in each]
    described = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    return found | {name.strip(): value.strip() for name, _, value in described if name.strip() in ("siblings", "cpu cores")}


def measured_workers(at, run, smoke, spark_python):
    tiny = [(1, SMALL, (4, 8))] if smoke else [(1, SMALL, (1, 8, 40, 160, 640, 2_560)), (MANY, SMALL, (40, 160, 640))]
    large = {"n": 40_000, "chunks": 4} if smoke else {"n": 2 * 10**7, "chunks": 40}
    each = [run("workers", n_workers=count, tiny=tiny, **large)["measured"] for count in ((1,) if smoke else (1, 2))]
    return [one for some in each for one in some]


def measured_peers(at, run, smoke, spark_python):
    """EM by bayesgmm and its peers on the same rows."""
    found = {}
    for name in ("one",) if smoke else PROBLEMS:
        files, small = at[name]
        for rows in ([small],) if smoke else ([small], files[: 10**7 * len(files) // PROBLEMS[name].n]):
            by = {"bayesgmm, in memory": run("em", files=rows, name=name, in_memory=True)}
            if not smoke:
                by["bayesgmm, in passes"] = run("em", files=rows, name=name, in_memory=False)
            by["scikit-learn"] = run("scikit", files=rows, name=name)
            if spark_python and rows == [small]:
                by["Spark MLlib"] = run("spark", spark_python, files=rows, k=PROBLEMS[name].k)
            answers = {who: each["mixture"] for who, each in by.items()}
            reached = run("likelihoods", files=rows, answers=answers)
            for who, each in by.items():
                each["log_likelihood"] = reached[who]
                print(f"  {who}, {name}: {brief(each)}", flush=True)
            found[f"{PROBLEMS[name].title}, n = {by['scikit-learn']['n']:,}"] = by
    return found


def brief(found):
    return json.dumps({name: value for name, value in found.items() if name not in ("mixture", "passes")})


MEASURED = {
    "fits": measured_fits, "passes": measured_passes, "cores": measured_cores, "workers": measured_workers,
    "peers": measured_peers,
}  # fmt: skip


# --------------------------------------------------------------------------------------------- a model of what was measured


TOGETHER = 8  # results that one task merges
TERMS = {
    "of each pass": lambda m: 1,
    "of each partition": lambda m: m["parts"],
    "of each level of the tree of merges": lambda m: depth(m["parts"]),
    "of each partition and mixture": lambda m: m["parts"] * m["points"],
    "of each row": lambda m: m["rows"],
    "of each row and mixture": lambda m: m["rows"] * m["points"],
}
LATENCY, WORK = tuple(TERMS)[:4], ("of each partition", *tuple(TERMS)[3:])


def depth(parts):
    """Levels of the tree in which results are merged."""
    levels = 0
    while parts > 1:
        parts, levels = -(-parts // TOGETHER), levels + 1
    return levels


def modelled(measured):
    """Work is the workers' processor time. Latency is the other time of one worker's passes over small partitions."""
    small = [m for m in measured if m["workers"] == 1 and m["rows"] // m["parts"] == SMALL]
    beside = [max(m["least"] - m["used"], 1e-3) for m in small]
    return {"latency": _fitted(small, beside, LATENCY), "work": _fitted(measured, [m["used"] for m in measured], WORK)}


def modelled_by_clock(measured):
    """A model of clock time alone, with one worker and with two. Rows are counted by worker."""
    terms = "of each pass", "of each partition", "of each level of the tree of merges", "of each row and mixture"
    each = [m | {"rows": m["rows"] / m["workers"]} for m in measured]
    return {"clock": _fitted(each, [m["least"] for m in measured], terms)}


def _fitted(measured, seconds, terms):
    """Nonnegative coefficients by least squares of relative errors. BIC chooses the terms, but keeps that of each pass."""
    from scipy.optimize import nnls

    seconds, best = np.array(seconds), None
    for size in range(1, len(terms) + 1):
        for names in combinations(terms, size):
            if "of each pass" in terms and "of each pass" not in names:
                continue
            columns = np.array([[TERMS[name](m) for name in names] for m in measured]) / seconds[:, None]
            unit = columns.max(axis=0)
            found, rest = nnls(columns / unit, np.ones(len(seconds)))
            if (found <= 0).any():
                continue
            bic = len(seconds) * np.log(rest**2 / len(seconds)) + size * np.log(len(seconds))
            if best is None or bic < best[0]:
                best = bic, dict(zip(names, found / unit, strict=True))
    return best[1]


def predicted(model, workers, **m):
    """Seconds of a pass: the latency, and a share of the work."""
    if "clock" in model:
        return sum(value * TERMS[name](m | {"rows": m["rows"] / workers}) for name, value in model["clock"].items())
    latency, work = (sum(value * TERMS[name](m) for name, value in model[what].items()) for what in ("latency", "work"))
    return latency + work / workers


def line(found, points):
    """Seconds as a + b n, by least squares of relative errors."""
    n, seconds = (np.array(each) for each in zip(*((one["n"], one[points]["seconds"]) for one in found), strict=True))
    (a, b), *_ = np.linalg.lstsq(np.column_stack([1 / seconds, n / seconds]), np.ones(len(n)), rcond=None)
    return a, b, (a + b * n) / seconds - 1


# ---------------------------------------------------------------------------------------------------------------- scaling.md


def table(head, rows):
    lines = [" | ".join(map(str, each)) for each in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {each} |" for each in lines) + "\n"


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def duration(seconds):
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds)} s"


NOTE = """# Rows read in passes

Written by `scaling.py`. Every figure comes from a process of its own.

```
uv run --extra tests python benchmarks/scaling.py --data FOLDER --spark-python PYTHON
uv run --extra tests python benchmarks/scaling.py --data FOLDER --part workers
uv run --extra tests python benchmarks/scaling.py --render
```

The machine: two cores of one virtual machine, with hardly any other work. Before each part, the load average of
the last minute was {loads}. {cores}

Files had just been written or read: they came from the page cache, not from a disk. Peak memory is that of a process and
all that it begins, shared pages counted once, measured every quarter of a second.

Versions: {versions}.

## Against peers

EM on the same rows, by the clock. Factors are relative to bayesgmm, which reads Parquet in passes on both cores.
What a peer calls its optimum is where it stops by its own defaults: see the last column, and [below](#peers).

{ratios}
## Whole fits

`bg.fit(bg.scan_parquet(files), k)` by the defaults. The files are not compressed: ten with row groups of 1 000 000 rows
(D = 1), five with row groups of 200 000 rows (D = 5). Compiled code was loaded before the clock started. "All else" is the
search for starts on a sample of the rows, a pass for the classification likelihood (ICL), relabelling and the diagnosis.
Processor time is that of the whole process, its imports included.

{fits}
The targets were 15 minutes and 1 GB.
{targets}

## What a pass costs

`Scan.sums` over Parquet, D = 1, K = 3, on two threads; medians of up to five passes. 10^6 rows are in ten row groups of
100 000.

{passes}

## Workers

`distributed.LocalCluster`, one process with one thread for each worker, a persisted Dask array, D = 1, K = 3; up to five
passes. Scheduler and client share the cores with the workers, and so does other work: the least time is the least disturbed.
Processor time is that of the workers.

{workers}
## A model of latency and throughput

A pass evaluates P mixtures at R rows in B partitions, with W workers. Its time is latency, plus work divided by W. Work
is fitted to the workers' processor time, with one worker and with two. Latency is fitted to the least time of one worker
with small partitions, less its processor time. Both are fitted by least squares of relative errors, with
costs that are not negative. BIC chooses the terms; the cost of each pass is always among them.

Does work divide by W? In the table of workers, two workers share two cores with scheduler and client. They are 1.5 to 1.9
times as fast as one on large partitions at 1 to 100 mixtures. On tiny partitions, which are all latency, they are no faster.
The model is far off for the latency of the smallest passes. So the simpler of its two forms, in the last column of the
extrapolation, is the more cautious one if partitions are many and rows are few.

{model}

A partition has a task of its own; {together} results are merged by one task, level after level.

This form was chosen after comparing the residuals of other forms, fitted to the clock times of one and of two workers. The
simplest of those, a + b B + c R P / W + d depth, gives: {clock}. The last column shows what it extrapolates to.

### Extrapolated by the model, not measured

D = 1, K = 3; a first pass and {em_passes} passes of EM, {n_mode} passes in search of the mode, two Hessians at {hessian}
mixtures each (d = {n_dim}), and {points} mixtures for the importance weights.

{extrapolation}
If a pass is all latency, more workers with more partitions make it slower, because one scheduler hands out all tasks.

The extrapolation assumes:

- Work divides by the number of workers. This was measured for two workers. Where all is latency, the last two columns differ
  by a factor of up to 32: so much depends on the model alone.
- Every worker has a core like those measured, to itself. Here two workers, scheduler and client had two cores between them.
- The rows stay in the workers' memory. Where the fifth column says more than a machine has, more workers are needed.
- There are four partitions for each worker, or more, so that none has over 10^8 rows. All are alike; no worker is lost.
- With a thousand workers the scheduler needs no more time for each task than with two. This was not measured.
- The network costs nothing: all was measured on one machine. At {points} mixtures a partition's result is {result:.0f} KB
  (D = 1, K = 3), and with 4 000 partitions {results:.0f} MB pass through the first level of merges.
- The first pass costs as much as one at a single mixture, and EM needs no more passes than a fit on fewer rows does.

## Peers

scikit-learn holds the rows in memory and starts at the same mixture as bayesgmm: the means 0.4 off the truth, the variances
half as large again. Spark's MLlib (`local[2]`, the rows cached, 8 GB for its heap) takes no given start, only random
ones. An iteration is the difference between 12 and 2 iterations, divided by ten. The optimum is where each stops by its own
defaults (bayesgmm: a relative change of 1e-10; scikit-learn: a change of 0.001 of the mean log-likelihood; Spark: a change
of 0.01 of the log-likelihood, or 100 iterations). bayesgmm in memory works on one core. Its time in passes includes the
first pass; the time to read rows into memory is not counted for anyone. All log-likelihoods were computed by the same code.
{without}

{peers}"""


SPARK = """Spark ran only on 10^6 rows, because a fit of 10^7 would take minutes on these cores. It ran
without a native BLAS."""


def spent(found):
    """The passes of a fit by their purpose, each with its number of mixtures and its seconds."""
    passes = found["passes"]
    begin = next(i for i, (points, _) in enumerate(passes) if points > 1)
    em, mode = passes[:begin], [each for each in passes[begin:] if each[0] == 1]
    hessians = [each for each in passes[begin:-1] if each[0] > 1]
    return {"em": em, "mode": mode, "hessians": hessians, "weights": passes[-1:]}


def of_fits(fits):
    rows = []
    for name, found in fits.items():
        by = spent(found)
        in_all = {what: sum(seconds for _, seconds in each) for what, each in by.items()}
        last = in_all["weights"]
        laplace = in_all["mode"] + in_all["hessians"]
        rest = found["seconds"] - found["first"] - sum(in_all.values())
        many, points = len(by["mode"]) + len(by["hessians"]), " + ".join(str(points) for points, _ in by["hessians"])
        rows.append([
            f"{PROBLEMS[name].title}, n = {found['n']:,}", number(found["first"]),
            f"{number(in_all['em'])} ({len(by['em'])})",
            f"{number(laplace)} ({many}, of them {len(by['hessians'])} at {points} mixtures)", number(last), number(rest),
            f"**{number(found['seconds'])}**", number(found["processor"]), f"**{found['peak_mb']:,.0f}**",
            f"{found['pareto_k']:.2f}", f"{found['importance_efficiency']:.2%}", found["method"],
        ])  # fmt: skip
    head = [
        "rows", "first pass, s", "EM, s (passes)", "Laplace's approximation, s (passes)", "weights at 1 000 points, s",
        "all else, s", "in all, s", "processor time, s", "peak memory, MB", "k-hat", "efficiency", "method used",
    ]  # fmt: skip
    return table(head, rows)


def of_targets(fits):
    said, met = [], ["missed", "met"]
    for name, found in fits.items():
        in_time, in_memory = met[found["seconds"] <= 900], met[found["peak_mb"] <= 1000]
        said.append(
            f"{PROBLEMS[name].title}: 15 minutes {in_time} ({duration(found['seconds'])}, in "
            f"{duration(found['processor'])} of processor time), "
            f"1 GB {in_memory} ({found['peak_mb'] / 1000:.2f} GB)."
        )
    return "\n- ".join(["", *said])


def of_passes(found):
    rows, lines = [], {points: line(found, points) for points in ("1", str(MANY))}
    for i, each in enumerate(found):
        row = [f"{each['n']:,}", each["parts"]]
        for points, (_, _, off) in lines.items():
            used = each[points]["used"] / each["n"] / int(points) * 1e9
            row += [f"{each[points]['seconds']:.3g}", f"{off[i]:+.1%}", f"{used:.2f}"]
        rows.append(row)
    head = ["n", "row groups"]
    for points in lines:
        what = f"{points} mixture{'s' * (points != '1')}"
        head += [f"{what}, s", "the line is off by", "processor time for each row and mixture, ns"]
    said = [
        f"{p} mixture{'s' * (p != '1')}: {a:.2g} s + {b * 1e9:.3g} s for each 10^9 rows" for p, (a, b, _) in lines.items()
    ]
    return table(head, rows) + "\nThe lines. " + ". ".join(said) + "."


def of_workers(found, model):
    by = {(m["rows"], m["parts"], m["points"], m["workers"]): m for m in found}
    rows = []
    for n, parts, points in dict.fromkeys(key[:3] for key in by):
        cells = [f"{n:,}", f"{parts:,}", depth(parts), points]
        both = [by[n, parts, points, count] for count in (1, 2)]
        for m in both:
            cells += [f"{m['seconds']:.3g}", f"{m['least']:.3g}", f"{m['used']:.3g}"]
        off = [predicted(model, rows=n, parts=parts, points=points, workers=m["workers"]) / m["least"] - 1 for m in both]
        rows.append([*cells, f"{both[0]['least'] / both[1]['least']:.2f} x", *(f"{each:+.0%}" for each in off)])
    head = ["rows", "partitions", "depth of the tree", "mixtures"]
    for who in ("1 worker", "2 workers"):
        head += [f"{who}, median s", "least s", "processor time s"]
    return table([*head, "2 workers are faster by", "model off by, 1 worker", "2 workers"], rows)


def of_model(found, model):
    rows = []
    for what, which in (("latency", "latency, whoever works"), ("work", "work, divided by W")):
        rows += [[which, name, f"{value:.3g} s"] for name, value in model[what].items()]
    said = []
    for count in (1, 2):
        some = [m for m in found if m["workers"] == count]
        off = [
            predicted(model, **{key: m[key] for key in ("rows", "parts", "points", "workers")}) / m["least"] - 1
            for m in some
        ]
        root = np.sqrt(np.mean(np.square(off)))
        said.append(f"{count} worker{'s' * (count > 1)}: {root:.0%} (root mean square), {max(map(abs, off)):.0%} at most")
    left = [
        f"{name} ({what})" for what, of in (("latency", LATENCY), ("work", WORK)) for name in of if name not in model[what]
    ]
    return (
        table(["part", "what", "cost"], rows)
        + f"\nResiduals of {len(found)} measurements by the clock. {'. '.join(said)}.\n"
        f"Terms that BIC leaves out: {', '.join(left) or 'none'}."
    )


EM_PASSES, N_DIM, POINTS = 20, 9, 1_000  # of the fit that is extrapolated: D = 1, K = 3


def extrapolated(fits, model, by_clock):
    n_mode = len(spent(fits["one"])["mode"])
    rows = []
    for n in (10**9, 10**10, 10**11):
        for count in (10, 100, 1_000):
            parts = max(4 * count, n // 10**8)
            each = {points: predicted(model, rows=n, parts=parts, points=points, workers=count) for points in (1, POINTS)}
            hessian = predicted(model, rows=n, parts=parts, points=2 * N_DIM, workers=count)
            whole = (1 + EM_PASSES + n_mode) * each[1] + 2 * hessian + each[POINTS]
            other = {p: predicted(by_clock, rows=n, parts=parts, points=p, workers=count) for p in (1, 2 * N_DIM, POINTS)}
            clock = (1 + EM_PASSES + n_mode) * other[1] + 2 * other[2 * N_DIM] + other[POINTS]
            latency = predicted(model, rows=0, parts=parts, points=1, workers=count) / each[1]
            rows.append([
                f"10^{len(str(n)) - 1}", count, f"{parts:,}", f"{8 * n / count / 1e9:.3g}", duration(each[1]),
                f"{latency:.0%}",
                duration(hessian), duration(each[POINTS]), duration(whole), duration(clock),
            ])  # fmt: skip
    head = [
        "rows", "workers", "partitions", "GB of rows in a worker's memory", "a pass at 1 mixture", "of it latency",
        f"at {2 * N_DIM}", f"at {POINTS:,}", "a whole fit", "by the simpler model",
    ]  # fmt: skip
    return table(head, rows), n_mode


def of_peers(peers):
    rows = []
    for title, by in peers.items():
        base = by["bayesgmm, in passes"]
        best = max(each["log_likelihood"] for each in by.values())
        for who, each in by.items():
            ours = who.startswith("bayesgmm")
            times = {
                key: "" if ours else f"**{number(each[key] / base[key])} x**" for key in ("iteration", "seconds", "peak_mb")
            }
            rows.append([
                title, who, f"{each['iteration']:.3g}", times["iteration"], f"{each['used']:.3g}", number(each["seconds"]),
                each["n_iter"],
                times["seconds"], f"{each['peak_mb']:,.0f}", times["peak_mb"], f"{each['log_likelihood']:,.2f}",
                f"{max(0.0, best - each['log_likelihood']):.3g}",
            ])  # fmt: skip
    head = [
        "rows", "who", "an iteration, s", "times bayesgmm's in passes", "its processor time, s", "to the optimum, s",
        "iterations",
        "times bayesgmm's in passes", "peak memory, MB", "times bayesgmm's in passes", "log-likelihood",
        "below the best by",
    ]  # fmt: skip
    return table(head, rows)


def ratios(peers):
    said = []
    for title, by in peers.items():
        base = by["bayesgmm, in passes"]
        for who, each in by.items():
            if not who.startswith("bayesgmm"):
                times = [number(each[key] / base[key]) for key in ("iteration", "used", "seconds", "peak_mb")]
                below = base["log_likelihood"] - each["log_likelihood"]
                said.append([title, who, *(f"**{one} x**" for one in times), f"{below:,.2f}"])
    head = ["rows", "peer", "an iteration takes", "its processor time is", "the peer's own optimum takes", "peak memory is"]
    head.append("log-likelihood there is below bayesgmm's by")
    return table(head, said)


def of_cores(cores):
    (alone, alone_used), both = cores["1"][0], cores["2"]
    together, used = sum(rate for rate, _ in both) / alone, sum(each for _, each in both) / 2 / alone_used
    return CORES.format(cores=cores["cpu cores"], siblings=cores["siblings"], together=together, used=used)


CORES = """/proc/cpuinfo says {cores} cores and {siblings} siblings; a virtual machine does not
tell whether they are hyperthreads of one core. In a second of clock time two processes together did {together:.2f} times
the work of one alone. In a second of processor time each of them did {used:.2f} times as much as one alone."""


def render(report):
    """Write scaling.md."""
    model = modelled(report["workers"])
    by_clock = modelled_by_clock(report["workers"])
    clock = ", ".join(f"{value:.3g} s {name}" for name, value in by_clock["clock"].items())
    of = [predicted(by_clock, **{key: m[key] for key in ("rows", "parts", "points", "workers")}) for m in report["workers"]]
    off = [one / m["least"] - 1 for one, m in zip(of, report["workers"], strict=True)]
    clock += f" (residuals {np.sqrt(np.mean(np.square(off))):.0%} root mean square, {max(map(abs, off)):.0%} at most)"
    extrapolation, n_mode = extrapolated(report["fits"], model, by_clock)
    peers = report["peers"]
    sparks = [each for by in peers.values() for who, each in by.items() if who.startswith("Spark")]
    used = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    if sparks:
        used += f", Spark {sparks[0]['version']} with Java {sparks[0]['java']}"
    loads = " to ".join(dict.fromkeys(f"{end(report['loads'].values()):.0f}" for end in (min, max)))
    absent = [title for title in (f"{each.title}, n = {10**7:,}" for each in PROBLEMS.values()) if title not in peers]
    without = SPARK if sparks else "Spark was left out: `--spark-python` was not given."
    without += f"\nNot measured: {'; '.join(absent)}." if absent else ""
    (HERE / "scaling.md").write_text(
        NOTE.format(
            ratios=ratios(peers), fits=of_fits(report["fits"]), targets=of_targets(report["fits"]),
            passes=of_passes(report["passes"]), workers=of_workers(report["workers"], model),
            clock=clock,
            model=of_model(report["workers"], model), extrapolation=extrapolation, n_mode=n_mode, peers=of_peers(peers),
            cores=of_cores(report["cores"]),
            loads=loads,
            versions=used, without=without, together=TOGETHER,
            result=POINTS * 10 * 8 / 1000, results=4000 * POINTS * 10 * 8 / 1e6, em_passes=EM_PASSES, hessian=2 * N_DIM,
            points=f"{POINTS:,}", n_dim=N_DIM,
        )
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of the rows, which are written if they are not there")
    parser.add_argument("--spark-python", help="an interpreter that has pyspark and numpy")
    parser.add_argument("--part", action="append", choices=list(MEASURED), help="only this; other figures stay as they are")
    parser.add_argument("--render", action="store_true", help="write scaling.md from what was measured")
    parser.add_argument("--smoke", action="store_true", help="few rows, a part of everything, writes nothing")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--given", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        found = TASKS[options.task](**json.loads(options.given))
        print("\nRESULT" + json.dumps(found | {"processor": processor()}))
        return
    output = HERE / "scaling.json"
    report = json.loads(output.read_text()) if output.exists() and not options.smoke else {}
    if options.render:
        render(report)
        return
    if options.data is None and not options.smoke:
        parser.error("--data FOLDER is needed")
    parts = options.part or [name for name in MEASURED if not (options.smoke and name == "cores")]
    with tempfile.TemporaryDirectory() if options.smoke else nullcontext(options.data) as folder:
        at = {name: write(folder, name, options.smoke) for name in PROBLEMS}
        for part in parts:
            print(part, flush=True)
            report.setdefault("loads", {})[part] = os.getloadavg()[0]
            report[part] = MEASURED[part](at, at_once if options.smoke else apart, options.smoke, options.spark_python)
            print(report[part] if part not in ("peers", "fits") else "", flush=True)
            if not options.smoke:
                output.write_text(json.dumps(report | {"versions": versions()}, indent=1))
    if options.smoke:
        modelled(report["workers"])
    elif report.keys() >= MEASURED.keys():
        render(json.loads(output.read_text()))


def versions():
    return {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES.split()}


if __name__ == "__main__":
    main()
