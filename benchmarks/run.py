"""All problems, all peers, in fresh processes, taking turns; writes results.json and the tables of README.md.

uv run --python 3.12 --extra benchmarks python benchmarks/run.py            over an hour on two cores
uv run --python 3.12 --extra benchmarks python benchmarks/run.py --smoke    a minute, writes nothing
"""

import argparse
import json
import os
import pickle
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import kernel
from memory import PeakMemory
from peers import PEERS
from problems import prior_of, problems, start_of

HERE = Path(__file__).parent
MAX_R_HAT, MIN_ESS, Z = 1.01, 400, 5.0
PACKAGES = "bayesgmm pymc pytensor nutpie numpyro blackjax jax pystan httpstan scikit-learn numba numpy"


def run(peer, path, seed, limit, caches=None, *, memory=False):
    """The result of one fresh process, or why there is none. With a directory ``caches``, all compilers start cold in it.

    ``memory`` adds the peak memory. Measuring it slows the process a little.
    """
    environment = {**os.environ, "BENCHMARK_BEGAN": repr(time.time())}
    if caches:
        environment |= {
            "NUMBA_CACHE_DIR": f"{caches}/numba",
            "PYTENSOR_FLAGS": f"base_compiledir={caches}/pytensor",
            "XDG_CACHE_HOME": f"{caches}/xdg",
        }
    command = [sys.executable, "-W", "ignore", str(HERE / "one.py"), path, peer, str(seed)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            with PeakMemory(process.pid) if memory else nullcontext() as peak:
                out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # and the processes that it began
            return {"failed": f"not finished in {limit} s"}
    if "\nRESULT" not in out:
        return {"failed": (err.strip().splitlines() or ["no output"])[-1]}
    return json.loads(out.split("\nRESULT")[1]) | ({"peak_mb": peak.mb} if memory else {})


def converged(result):
    """Whether the chains have converged, and to the same answer as bayesgmm's."""
    return has_converged(result) and not result.get("elsewhere")


def has_converged(result):
    return "ess" in result and result["r_hat"] <= MAX_R_HAT and result["ess"] >= MIN_ESS


def mark_other_answers(results):
    """Mark the converged runs in which the mean of a label-invariant quantity differs from bayesgmm's beyond the errors.

    If the posterior has several solutions, all chains of a run may agree on another one. The speed of such a run is not
    counted, because it is not a way to the same answer. The table says how many there were.
    """
    for found in results.values():
        for run in runs_of(found):
            run["elsewhere"] = has_converged(run) and largest_z(pooled(results["bayesgmm"]), (run["mean"], run["mcse"])) >= Z


def assert_same_answers(results):
    """Most of each peer's converged runs agree with bayesgmm's, and so does the mean of those that do.

    If most runs of a peer have not converged, they need not agree, because it has no figure.
    """
    for peer, found in results.items():
        runs = runs_of(found)
        agreeing = [not run["elsewhere"] for run in runs if has_converged(run)]
        if 2 * len(agreeing) >= len(runs):
            assert 2 * sum(agreeing) >= len(agreeing), f"{peer}: {sum(agreeing)} of {len(agreeing)} runs agree with bayesgmm"
        assert largest_z(pooled(results["bayesgmm"]), pooled(found)) < Z, f"{peer} and bayesgmm differ in their means"


def largest_z(one, other):
    """The largest difference of two sets of means in its own standard errors; 0 where there is nothing to compare."""
    (means, errors), (others, other_errors) = one, other
    shared = means.keys() & others.keys()
    return max(
        (abs(means[at] - others[at]) / (errors[at] ** 2 + other_errors[at] ** 2) ** 0.5 for at in shared), default=0.0
    )


def runs_of(found):
    return [found[name] for name in ("first_use", "check") if name in found] + found["runs"]


def pooled(found):
    """Means of the quantities over the converged runs, and their Monte Carlo errors."""
    runs = [each for each in runs_of(found) if converged(each)]
    names = runs[0]["mean"] if runs else ()
    means = {name: statistics.fmean(each["mean"][name] for each in runs) for name in names}
    errors = {name: sum(each["mcse"][name] ** 2 for each in runs) ** 0.5 / len(runs) for name in names}
    return means, errors


def measure(problem, peers, seeds, say, first_use=False):
    """Runs of each peer over the seeds, after a first use or a check of its answers. An error if answers differ.

    Without seeds, the run of the check stands for them.
    """
    given = {"x": problem.x, "k": problem.k, "prior": prior_of(problem.x), "start": start_of(problem.x, problem.k)}
    given |= {"draws": problem.draws, "tune": problem.tune}
    results = {peer: {"runs": []} for peer in peers}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/given.pickle"
        Path(path).write_bytes(pickle.dumps(given))
        for peer in peers:  # before anything is timed: the answers, and first use where asked
            caches = f"{folder}/{list(peers).index(peer)}" if first_use else None
            first = run(peer, path, 0, problem.limit, caches, memory=True)
            results[peer]["first_use" if first_use else "check"] = first
            say(f"  {peer}, {'first use' if first_use else 'check'}: {brief(first)}")
            mark_other_answers(results)
        if not seeds:
            for found in results.values():
                found["runs"].append(found["check"])
        for seed in range(1, seeds + 1):
            for peer in peers:
                runs = results[peer]["runs"]
                last = runs[-1] if runs else results[peer].get("check", {})
                too_slow = last.get("failed", "").startswith("not finished")
                runs.append(last if too_slow else run(peer, path, seed, problem.limit))
                say(f"  {peer}, seed {seed}: {brief(runs[-1])}")
                mark_other_answers(results)
    assert_same_answers(results)
    return results


def brief(result):
    if "failed" in result:
        return result["failed"]
    text = "{fresh_process:.1f} s, the call {call:.2f}, of which sampling {sampling:.2f}".format(**result)
    text += "; ESS {ess:.0f}, R-hat {r_hat:.3f}".format(**result) if "ess" in result else ", a point estimate"
    return text + (f", {result['peak_mb']:.0f} MB" if "peak_mb" in result else "")


def median(runs, figure):
    good = [figure(each) for each in runs if converged(each)]
    return statistics.median(good) if len(good) > len(runs) / 2 else None


def shares(runs):
    """How many runs converged, and how many of the others converged to another solution."""
    elsewhere = sum(run.get("elsewhere", False) for run in runs)
    return f"{sum(map(converged, runs))} of {len(runs)}" + (f" ({elsewhere} on another solution)" if elsewhere else "")


def number(value):
    return "not converged" if value is None else f"{value:,.0f}" if value >= 20 else f"{value:.2g}"


def table(results):
    """One row for each problem and peer: the median rate of the converged runs, its ratio to bayesgmm's, and median times.

    Times are those of all runs that finished.
    """
    lines = [
        "| problem | sampler | worst bulk ESS per second of sampling | bayesgmm is faster by | converged | compiling, s | "
        "whole call, s | fresh process to posterior, s | first use, s | peak memory, MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for problem, by_peer in results.items():
        ours = median(by_peer["bayesgmm"]["runs"], lambda run: run["ess"] / run["sampling"])
        for peer, found in by_peer.items():
            runs = found["runs"]
            rate = median(runs, lambda run: run["ess"] / run["sampling"])
            finished = [run for run in runs if "failed" not in run]
            middle = {
                name: number(statistics.median(run[name] for run in finished)) if finished else runs[0]["failed"]
                for name in ("compiling", "call", "fresh_process")
            }
            is_point = finished and "ess" not in finished[0]
            ratio = f"{number(ours / rate)} x" if ours and rate and peer != "bayesgmm" else ""
            first = found.get("first_use", {"failed": ""})
            memory = found.get("check", first)
            cells = [
                problem, peer, "a point estimate" if is_point else number(rate), ratio,
                "" if is_point else shares(runs), middle["compiling"], middle["call"],
                middle["fresh_process"], number(first["fresh_process"]) if "failed" not in first else first["failed"],
                number(memory["peak_mb"]) if "failed" not in memory else memory["failed"],
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def versions():
    found = {"python": platform.python_version(), "cores": len(os.sched_getaffinity(0)), "machine": platform.machine()}
    for name in PACKAGES.split():
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def render(report):
    """Put the tables between the markers of README.md."""
    text = (HERE / "README.md").read_text()
    head, rest = text.split("<!-- tables -->\n")
    _, tail = rest.split("<!-- end of tables -->")
    used = ", ".join(f"{name} {value}" for name, value in report["versions"].items() if value is not None)
    tables = f"{table(report['posterior'])}\n\n{kernel.table(report['kernel'])}\n\nVersions: {used}.\n"
    (HERE / "README.md").write_text(f"{head}<!-- tables -->\n{tables}<!-- end of tables -->{tail}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="small problems, bayesgmm and PyMC with nutpie, one run each")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problem", action="append", help="only the problems whose name contains this")
    parser.add_argument("--peer", action="append", help="beside bayesgmm only this one; other figures stay as they are")
    options = parser.parse_args()
    peers = ["bayesgmm", "PyMC + nutpie"] if options.smoke else list(PEERS)
    output = HERE / "results.json"
    report = {"posterior": {}}
    if options.problem and output.exists():
        report = json.loads(output.read_text())
    report |= {"kernel": kernel.measure(options.smoke), "versions": versions()}
    chosen_problems = problems(options.smoke)
    for name, problem in chosen_problems.items():
        if options.problem and not any(part in name for part in options.problem):
            continue
        print(name, flush=True)
        chosen = peers if problem.peers else ["bayesgmm"]
        seeds = 0 if options.smoke else options.seeds
        if options.peer:
            chosen = [peer for peer in chosen if peer in ("bayesgmm", *options.peer)]
        first_use = not options.smoke and name == next(iter(chosen_problems))  # compiling does not depend on the problem
        found = measure(problem, chosen, seeds, lambda text: print(text, flush=True), first_use)
        report["posterior"][name] = report["posterior"].get(name, {}) | found
        if not options.smoke:
            output.write_text(json.dumps(report, indent=1))
            render(report)
    if options.smoke:
        runs = [run for found in report["posterior"].values() for peer in found.values() for run in peer["runs"]]
        failures = [run["failed"] for run in runs if "failed" in run]
        assert not failures, failures
        print(table(report["posterior"]), kernel.table(report["kernel"]), sep="\n\n")


if __name__ == "__main__":
    main()
