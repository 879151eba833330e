"""Ten thousand columns of two hundred values: how long many fits take, how many converge, and whether intervals are right.

uv run --extra tests python benchmarks/many_fits.py [--columns 10000] [--workers 2] [--table FILE] [--smoke]
"""

import argparse
import json
import resource
import time

import numpy as np
import pandas as pd

import bayesgmm as bg

N = 200


def simulated(n_columns, rng):
    """Columns of two Gaussians, from overlapping (2.5 standard deviations apart) to separate ones (5), and the truth."""
    w, gap, sd = rng.uniform(0.3, 0.7, n_columns), rng.uniform(2.5, 5, n_columns), rng.uniform(0.7, 1.4, n_columns)
    first = rng.random((N, n_columns)) < w
    x = np.where(first, rng.standard_normal((N, n_columns)), gap + sd * rng.standard_normal((N, n_columns)))
    truth = pd.DataFrame({"w[0]": w, "mu[0]": 0.0, "mu[1]": gap, "sigma[0]": 1.0, "sigma[1]": sd})
    return x, truth


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", help="keep the table in this file, as a run would that must not lose anything")
    parser.add_argument("--smoke", action="store_true", help="24 columns")
    asked = parser.parse_args()
    x, truth = simulated(24 if asked.smoke else asked.columns, np.random.default_rng(1))
    begin = time.perf_counter()
    fits = bg.fit_many(x, 2, random_seed=1, workers=asked.workers, path=asked.table, progressbar=not asked.smoke)
    seconds = time.perf_counter() - begin
    used = [resource.getrusage(each) for each in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    if fits.interrupted:
        raise SystemExit(f"interrupted after {seconds:.0f} s: {len(fits)} of {x.shape[1]} columns are finished")
    assert len(fits) == x.shape[1], "a column is missing"
    sound = fits.table["converged"].to_numpy()
    assert sound.mean() > 0.9, f"only {sound.mean():.0%} of the fits have converged"
    table, covered = fits.table[sound], {}
    for name, values in truth[sound].items():
        inside = (table[f"{name} 5%"].to_numpy() <= values) & (values <= table[f"{name} 95%"].to_numpy())
        covered[name] = round(float(inside.mean()), 3)
    told = {
        "columns": len(fits),
        "workers": asked.workers,
        "seconds": round(seconds, 1),
        "core_seconds": round(sum(each.ru_utime + each.ru_stime for each in used), 1),  # imports included
        "ms_per_fit": round(1e3 * seconds / len(fits), 1),
        "converged": round(float(sound.mean()), 4),
        "verdicts": fits.table["verdict"].value_counts().to_dict(),
        "methods": fits.table["method"].value_counts().to_dict(),
        "coverage of 90 % intervals": covered,
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
