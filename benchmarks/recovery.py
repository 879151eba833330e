"""How often each criterion finds the k that data were simulated with; writes recovery.md.

uv run --extra benchmarks python benchmarks/recovery.py       some ten minutes on two cores
"""

import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import bayesgmm as bg

N_SETS, N, KS, MOST = 50, 200, range(1, 7), 4
CRITERIA = {
    "p(k given x), compare": "p_k",
    "p(k given x), posterior_k": "counted",
    "LOO, smallest k within 2 standard errors": "simplest",
    "LOO, highest": "elpd_loo",
    "stacking weight": "weight",
    "BIC": "bic",
    "ICL": "icl",
    "AIC": "aic",
}


def simulated(rng):
    """K from 1 to 4 and data: neighbours three to five standard deviations apart, weights of 1 / (5 k) or more."""
    k = int(rng.integers(1, MOST + 1))
    sigma = rng.uniform(0.7, 1.3, k)
    gaps = rng.uniform(3, 5, k - 1) * (sigma[1:] + sigma[:-1]) / 2
    weights = 0.2 / k + 0.8 * rng.dirichlet(np.full(k, 3.0))
    return k, bg.Mixture(weights, np.concatenate([[0], gaps.cumsum()]), sigma=sigma).sample(N, rng)[0]


def choices(x, seed):
    """What each criterion chooses."""
    comparison = bg.compare(x, KS, draws=500, random_seed=seed, progressbar=False)
    table = comparison.table.set_index("k")
    within = table["elpd_diff"].abs() <= 2 * table["dse"]
    telescoped = bg.posterior_k(x, prior_k=bg.priors.Uniform(max(KS)), draws=500, random_seed=seed, progressbar=False)
    return dict(comparison.best) | {
        "simplest": int(table.index[within | (table["elpd_diff"] == 0)].min()),
        "counted": int(telescoped["p_k"].idxmax("k")),
    }


def main():
    warnings.simplefilter("ignore")
    rng, rows = np.random.default_rng(2026), []
    began = time.perf_counter()
    for i in range(N_SETS):
        truth, x = simulated(rng)
        rows.append({"truth": truth, **choices(x, i)})
        print(f"{i + 1}: {rows[-1]}, {time.perf_counter() - began:.0f} s", flush=True)
    found = pd.DataFrame(rows)
    lines = [
        f"# Which k? {N_SETS} data sets of {N} observations with a known k\n",
        f"Neighbours lie 3 to 5 standard deviations apart; k = {min(KS)} to {max(KS)} were compared.\n",
        "| criterion | found the truth | too few | too many | " + " | ".join(f"k = {k}" for k in range(1, MOST + 1)) + " |",
        "|---" * (4 + MOST) + "|",
    ]
    for name, column in CRITERIA.items():
        right = found[column] == found["truth"]
        each = [f"{right[found['truth'] == k].sum()} of {(found['truth'] == k).sum()}" for k in range(1, MOST + 1)]
        few, many = (found[column] < found["truth"]).sum(), (found[column] > found["truth"]).sum()
        lines.append(f"| {name} | {right.mean():.0%} | {few} | {many} | " + " | ".join(each) + " |")
    (Path(__file__).parent / "recovery.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
