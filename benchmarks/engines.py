"""Gibbs and NUTS with their default settings: galaxies for K = 2 to 8, two Gaussians, Old Faithful; writes engines.md.

uv run --extra benchmarks python benchmarks/engines.py       some five minutes
"""

import statistics
import warnings
from pathlib import Path

import numpy as np

import bayesgmm as bg

SEEDS = (1, 2, 3, 4, 5)
PROBLEMS = {f"galaxies, K = {k}": (bg.datasets.galaxies(), k) for k in range(2, 9)}
PROBLEMS |= {
    "two Gaussians, n = 10 000, K = 2": (bg.datasets.two_gaussians().x, 2),
    "Old Faithful, D = 2, K = 2": (bg.jitter(bg.datasets.old_faithful(), random_seed=0), 2),
    "Old Faithful, D = 2, K = 3": (bg.jitter(bg.datasets.old_faithful(), random_seed=0), 3),
}


def one_run(x, k, method, seed):
    """Worst effective sample size of the label-invariant quantities, largest R-hat, seconds, and sweeps or steps made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)
        tree = bg.fit(x, k, method=method, random_seed=seed, progressbar=False)
    table = bg.diagnose(tree).invariants
    chains, draws = (tree["posterior"].sizes[name] for name in ("chain", "draw"))
    steps = chains * (tree.attrs["tune"] + draws * tree.attrs["thin"])
    return table["ess_bulk"].min(), table["r_hat"].max(), tree.attrs["seconds_sampling"], steps


def main():
    heads = "problem, engine, ESS per second of sampling, worst ESS, largest R-hat, converged, us a sweep or step, seconds"
    lines = ["| " + " | ".join(heads.split(", ")) + " |", "|---" * len(heads.split(", ")) + "|"]
    cores = 2  # on which the four chains run
    for name, (x, k) in PROBLEMS.items():
        for method in ("gibbs", "nuts"):
            one_run(x, k, method, 0)  # compiles
            ess, r_hat, seconds, steps = np.array([one_run(x, k, method, seed) for seed in SEEDS]).T
            converged = (ess >= 400) & (r_hat <= 1.01)
            cells = [name, method, f"{statistics.median(ess / seconds):,.0f}", f"{ess.min():,.0f}", f"{r_hat.max():.3f}"]
            cells += [f"{converged.sum()} of {len(SEEDS)}", f"{statistics.median(cores * seconds / steps) * 1e6:.1f}"]
            lines.append("| " + " | ".join([*cells, f"{statistics.median(seconds):.2f}"]) + " |")
            print(lines[-1], flush=True)
    (Path(__file__).parent / "engines.md").write_text("# Gibbs and NUTS\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
