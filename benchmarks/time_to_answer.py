"""How long does one wait for a process, a whole call, EM of overlapping clusters, or a prediction?

uv run --extra tests python benchmarks/time_to_answer.py                      three minutes; writes time_to_answer.md
uv run --extra tests python benchmarks/time_to_answer.py --before CHECKOUT      another commit beside it, in turns
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NOTE = """"Of which processor" is processor
time, added over the cores. "Over EM and sampling" is the time of the call, divided by that of its EM and its sampling."""
HERE = Path(__file__).parent
ROOT = HERE.parent
SEEDS = range(5)
WARM = {"two Gaussians, n = 10 000": 2, "three Gaussians, n = 10 000": 3, "Old Faithful": 2, "iris": 3, "galaxies": 6}
HARD = {"n = 10 000, two 1 sd apart": (10_000, 2), "n = 200 000, three 1 sd apart": (200_000, 3)}


def fresh(code, checkout, folder):
    """Seconds and processor seconds of a process that runs code, or of the command line."""
    command = ["-c", code] if isinstance(code, str) else ["-m", "bayesgmm", *code]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONPYCACHEPREFIX": f"{folder}/pyc"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def processes(checkout, folder, seed):
    """What a new process costs."""
    report = ["fit", str(ROOT / "bayesgmm/datasets/old_faithful.csv"), "-k", "2", "--columns", "eruptions", "waiting"]
    galaxies = (
        "import bayesgmm as bg\n"
        f"tree = bg.fit(bg.datasets.galaxies(), 3, random_seed={seed}, progressbar=False)\n"
        "print(float(tree['posterior']['mu'].mean()))"
    )
    asked = {
        "bayesgmm --help": ["--help"],
        "bayesgmm fit nofile.csv -k 3": ["fit", "nofile.csv", "-k", "3"],
        "bayesgmm fit, Old Faithful, with folder and report": [*report, "--out", f"{checkout.name}-{seed}"],
        "the galaxies' posterior, K = 3": galaxies,
        "import arviz": "import arviz; arviz.plot_trace",
        "import pymc": "import pymc",
    }
    return {name: dict(zip(("seconds", "cpu"), fresh(code, checkout, folder), strict=False)) for name, code in asked.items()}


def inside(seed):
    """What a call costs in a process that has made one before."""
    import numpy as np

    import bayesgmm as bg

    def timed(function):
        began = time.perf_counter()
        result = function()
        return time.perf_counter() - began, result

    from sklearn.datasets import load_iris

    data = [bg.datasets.two_gaussians(n=10_000).x, bg.datasets.three_gaussians(n=10_000).x, bg.datasets.old_faithful()]
    data += [load_iris().data, bg.datasets.galaxies()]
    found = {"whole": {}, "em": {}}
    for (name, k), x in zip(WARM.items(), data, strict=True):
        bg.fit(x, k, random_seed=seed, progressbar=False)
        seconds, tree = timed(lambda x=x, k=k: bg.fit(x, k, random_seed=seed, progressbar=False))
        kept = {**tree.attrs, **tree["posterior"].attrs}
        found["whole"][name] = {"seconds": seconds, "em": kept["seconds_em"], "sampling": kept["seconds_sampling"]}
    for name, (n, k) in HARD.items():
        generator = np.random.default_rng(seed)
        x = generator.choice(np.arange(float(k)), n) + generator.standard_normal(n)
        seconds, em = timed(lambda x=x, k=k: bg.fit_em(x, k, random_seed=seed))
        found["em"][name] = {"seconds": seconds, "n_iter": em.n_iter, "log_likelihood": em.log_likelihood}
        found["em"][name]["converged"] = bool(em.converged)
    generator = np.random.default_rng(seed)
    means = 3 * generator.standard_normal((4, 8))
    x = means[generator.integers(4, size=20_000)] + generator.standard_normal((20_000, 8))
    model = bg.BayesianGMM(4, random_state=seed).fit(x[:2_000])
    model.predict(x[:10])
    found["predict_proba, 20 000 rows, D = 8, K = 4"] = timed(lambda: model.predict_proba(x))[0]
    found["predict, 2 000 rows"] = timed(lambda: model.predict(x[:2_000]))[0]
    found["prior_predictive, Old Faithful"] = timed(lambda: bg.prior_predictive(data[2], 2, random_seed=seed))[0]
    return found


def measure(checkouts, folder):
    """All measurements, with commits in turn."""
    found = {name: [] for name in checkouts}
    warm = "import arviz, bayesgmm as bg; arviz.plot_trace; bg.fit(bg.datasets.galaxies(), 3, progressbar=False)"
    own = f"import json, sys; sys.path.append({str(HERE)!r}); import time_to_answer"
    for checkout in checkouts.values():  # which fills the caches
        fresh(warm, checkout, folder)
    for seed in SEEDS:
        for name, checkout in checkouts.items():
            out = fresh(f"{own}; print('RESULT', json.dumps(time_to_answer.inside({seed})))", checkout, folder)[2]
            found[name].append({"processes": processes(checkout, folder, seed)} | json.loads(out.split("RESULT")[1]))
            print(name, seed, flush=True)
    return found


def rows_of(result):
    """Name and number of all that was measured with a seed."""
    for name, each in result["processes"].items():
        yield f"`{name}`: seconds" if name.startswith("bayesgmm ") else f"{name}: seconds", each["seconds"]
        yield "of which processor", each["cpu"]
    for name, each in result["whole"].items():
        yield f"`fit`, {name}: seconds", each["seconds"]
        yield "over EM and sampling", each["seconds"] / (each["em"] + each["sampling"])
    for name, each in result["em"].items():
        yield f"`fit_em`, {name}: seconds", each["seconds"]
        yield "iterations of the best run", each["n_iter"]
        yield "log-likelihood", each["log_likelihood"]
    for name, value in result.items():
        if not isinstance(value, dict):
            yield f"`{name.split(',')[0]}`,{name.split(',', 1)[1]}: seconds", value


def table(found):
    """Medians over the seeds, of each commit."""
    columns = {name: [list(rows_of(result)) for result in results] for name, results in found.items()}
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for i, (label, _) in enumerate(next(iter(columns.values()))[0]):
        values = [statistics.median(each[i][1] for each in of_commit) for of_commit in columns.values()]
        form = "{:.3f}" if label == "log-likelihood" else "{:.3g}" if label.endswith("seconds") else "{:.4g}"
        lines.append(f"| {label} | {' | '.join(form.format(value) for value in values)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout of another commit")
    asked = parser.parse_args()
    checkouts = {"before": asked.before.resolve()} if asked.before else {}
    with tempfile.TemporaryDirectory() as folder:
        found = measure(checkouts | {"now": ROOT}, folder)
    (HERE / "time_to_answer.json").write_text(json.dumps(found, indent=1) + "\n")
    text = f"# Time to answer\n\n{__doc__.splitlines()[0]} Medians over {len(SEEDS)} seeds. {NOTE}\n\n{table(found)}\n"
    (HERE / "time_to_answer.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
