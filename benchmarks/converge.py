"""How many fits converge by default, by which engine and in what time, compared with NUTS alone; writes converge.md.

uv run --extra benchmarks python benchmarks/converge.py              an hour or two on two cores
uv run --extra benchmarks python benchmarks/converge.py --seeds 1    a fifth of it
"""

import argparse
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from problems import ten_features

import bayesgmm as bg
from bayesgmm.analysis.attempts import read_attempts

OUTPUT = Path(__file__).parent / "converge.md"
MANY = 100_000  # observations x components x features, above which NUTS alone is not run


def sample(weights, means, *, n, **spread) -> Callable[[int], np.ndarray]:
    """A function that draws data of a mixture from a seed."""
    return lambda seed: bg.Mixture(weights, means, **spread).sample(n, random_seed=seed)[0]


def skewed(seed):
    """Three groups of one feature, one of them skewed."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.gamma(2, 1, 750), rng.normal(8, 1, 500), rng.normal(14, 1.5, 250)])


def well_apart(d, k, n):
    return lambda seed: bg.Mixture(np.full(k, 1 / k), 6 * np.eye(k, d), np.stack([np.eye(d)] * k)).sample(
        n, random_seed=seed
    )[0]


def problems():
    """Data for a seed, and the numbers of components to fit, by name."""
    from sklearn.datasets import load_iris

    galaxies, iris = np.asarray(bg.datasets.galaxies()), load_iris().data
    faithful = bg.jitter(bg.datasets.old_faithful(), random_seed=0).to_numpy()
    two, three = bg.datasets.two_gaussians, bg.datasets.three_gaussians
    pair = {"weights": [0.4, 0.6], "sigma": [1.0, 1.0]}
    return {
        "galaxies": (lambda _: galaxies, range(1, 9)),
        "Old Faithful": (lambda _: faithful, range(1, 7)),
        "Old Faithful, waiting": (lambda _: faithful[:, 1], range(1, 5)),
        "iris": (lambda _: iris, range(1, 5)),
        **{f"pair 1.5 sd apart, n = {n}": (sample(means=[0.0, 1.5], n=n, **pair), [2]) for n in (50, 200, 1_000, 5_000)},
        **{f"pair 2 sd apart, n = {n}": (sample(means=[0.0, 2.0], n=n, **pair), [2, 3]) for n in (100, 400, 2_000)},
        "pair 3 sd apart, n = 500": (sample(means=[0.0, 3.0], n=500, **pair), [2, 3]),
        "two Gaussians, n = 10 000": (lambda seed: two(random_seed=seed).x, [2, 3]),
        "three Gaussians, n = 500": (lambda seed: three(n=500, random_seed=seed).x, [3, 4, 5]),
        "three Gaussians, n = 10 000": (lambda seed: three(random_seed=seed).x, [3, 4]),
        "a skewed group and two others": (skewed, [3, 4, 5]),
        "one Gaussian, n = 300": (sample([1.0], [0.0], n=300, sigma=[1.0]), [1, 2, 3]),
        "rare cluster, 20 of 2 000": (sample([0.01, 0.99], [8.0, 0.0], n=2_000, sigma=[1.0, 1.0]), [2, 3]),
        "three clusters, D = 3, n = 600": (well_apart(3, 3, 600), [3, 4]),
        "five clusters, D = 5, n = 2 000": (well_apart(5, 5, 2_000), [5]),
        "four clusters, D = 8, n = 20 000": (well_apart(8, 4, 20_000), [4]),
        "five clusters, D = 10, n = 10 000": (lambda _: ten_features(), [5]),
    }


def run(x, k, method, seed):
    """Whether the fit is sound, the seconds of the call, the engine kept, how many were tried, and the smallest ESS."""
    begin = time.perf_counter()
    tree = bg.fit(x, k, method=method, random_seed=seed, progressbar=False)
    seconds = time.perf_counter() - begin
    found = bg.diagnose(tree)
    if "ess_bulk" in found.invariants:
        worst = found.invariants["ess_bulk"].min()
    else:
        worst = tree.attrs["importance_efficiency"] * tree["posterior"]["w"][..., 0].size
    sound = found.converged and not any(each.kind in ("divergences", "energy", "tree depth") for each in found.findings)
    kept = next((each.method for each in read_attempts(tree) if each.kept), tree.attrs["method"])
    return {"sound": sound, "seconds": seconds, "kept": kept, "tried": len(read_attempts(tree)), "ess": worst}


def cells(runs):
    """How many fits are sound, median seconds, median effective sample size."""
    sound = sum(each["sound"] for each in runs)
    middle = [statistics.median(each[name] for each in runs) for name in ("seconds", "ess")]
    return [f"{sound} of {len(runs)}", f"{middle[0]:.1f}", f"{middle[1]:,.0f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    rows, everything = [], {"default": [], "nuts": []}
    warnings.simplefilter("ignore")
    bg.fit(bg.datasets.galaxies(), 6, random_seed=0, progressbar=False)  # compiles
    for name, (data, ks) in problems().items():
        for k in ks:
            found = {"default": [], "nuts": []}
            for seed in range(1, options.seeds + 1):
                x = data(seed)
                comparable = x.size * k <= MANY
                for method in found if comparable else ["default"]:  # in turns
                    fitted = run(x, k, None if method == "default" else method, seed)
                    found[method].append(fitted | {"comparable": comparable})
            for method, runs in found.items():
                everything[method] += runs
            engines = Counter(each["kept"] for each in found["default"])
            kept = ", ".join(f"{engine} {count}" for engine, count in engines.most_common())
            again = sum(each["tried"] > 1 for each in found["default"])
            other = cells(found["nuts"]) if found["nuts"] else ["", "", ""]
            rows.append(f"| {name} | {k} | " + " | ".join([*cells(found["default"]), kept, str(again), *other]) + " |")
            print(rows[-1], flush=True)
    told = []
    for method, runs in everything.items():
        share = statistics.fmean(each["sound"] for each in runs)
        told.append(f"By {'default' if method == 'default' else 'NUTS alone'} {share:.1%} of {len(runs)} fits are sound.")
    both = "the median time of a call was {:.2f} s by default and {:.2f} s by NUTS alone".format(*_medians(everything))
    text = (
        "# Fits that converge\n\nHow many fits are sound? Sound means: R-hat and effective sample sizes within their limits "
        "(`bg.diagnose`), and no divergent transitions. Seconds are those of a whole call in a warm process on two cores. "
        "The table shows medians over the seeds; each seed has its own data if these are simulated. NUTS alone is "
        "`method=\"nuts\"`; it was not run if n k D is above "
        f"{MANY:,}.\n\n{' '.join(told)} Where NUTS alone was sound, {both}.\n\n"
        "| data | k | sound | seconds | ESS | engine kept | took over in | NUTS alone: sound | seconds | ESS |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )  # fmt: skip
    OUTPUT.write_text(text)


def _medians(everything):
    """Median seconds by default and by NUTS alone, for the problems and seeds where NUTS alone was sound."""
    asked = [each for each in everything["default"] if each["comparable"]]
    pairs = [
        (ours["seconds"], nuts["seconds"]) for ours, nuts in zip(asked, everything["nuts"], strict=True) if nuts["sound"]
    ]
    return [statistics.median(each) for each in zip(*pairs, strict=True)]


if __name__ == "__main__":
    main()
