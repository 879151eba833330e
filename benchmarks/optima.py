"""How often EM's starts find the best known maximum of the likelihood; writes optima.md.

uv run --extra tests python benchmarks/optima.py                           some fifteen minutes
uv run --extra tests python benchmarks/optima.py --before CHECKOUT         another commit beside it: twice that

Forty problems, each fitted from twenty seeds. The best known maximum is the highest that any of the runs found, or that EM
finds from the truth. Maxima with components that are narrow because they hold few observations do not count.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

OUTPUT = Path(__file__).parent / "optima.md"
HEADING = """# EM: how often the best maximum known is found

{} seeds for each problem. `found` counts the seeds that ended within .01 of the best maximum. `worst` is how far below it
the worst seed ended. It is inf if that seed found only maxima with a narrow component on few observations.

"""
SAME = 0.01  # units of log-likelihood
WANTED = 0.95  # share of the seeds
NARROW = 0.1  # narrow: a least standard deviation below this part of the largest among the components
FEW = 5  # few: below this multiple of the observations that determine a full covariance


def mixture(weights, means, cov=None, sigma=None):
    """A mixture that rows are drawn from: a truth."""
    import bayesgmm as bg

    return bg.Mixture(weights, means, cov, sigma=sigma)


def drawn(truth, n, k=None, **options):
    """Rows of a truth, k, and EM's options; and the truth as a further start, if it has k components."""
    x = truth.sample(n, random_seed=20261128)[0]
    k = truth.n_components if k is None else k
    return x, k, options, truth if k == truth.n_components else None


def rare(d, n, few, distance):
    """A cluster of few rows beside a large one."""
    means = np.zeros((2, d))
    means[1] = distance / np.sqrt(d)
    return mixture([1 - few / n, few / n], means, np.stack([np.eye(d)] * 2))


def parallel(d, k):
    """Long clusters side by side."""
    cov = np.eye(d)
    cov[0, 0] = 400.0
    turn = np.linalg.qr(np.random.default_rng(d).normal(size=(d, d)))[0]
    means = np.zeros((k, d))
    means[:, 1] = 6.0 * np.arange(k)
    return mixture(np.full(k, 1 / k), means @ turn.T, np.stack([turn @ cov @ turn.T] * k))


def informative(d, k):
    """Three features that tell the clusters apart, among many."""
    means = np.zeros((k, d))
    means[:, :3] = np.random.default_rng(k).normal(0, 3.0, (k, 3))
    return mixture(np.full(k, 1 / k), means, np.stack([np.eye(d)] * k))


def many(d, k):
    """Clusters of different sizes and spreads at random places."""
    rng = np.random.default_rng(100 * d + k)
    roots = rng.normal(0, 0.5, (k, d, d)) + np.eye(d)
    return mixture(
        rng.dirichlet(np.full(k, 3.0)), rng.normal(0, 5.0, (k, d)), roots @ roots.swapaxes(1, 2) + 0.1 * np.eye(d)
    )


def acidity_like():
    """Two clusters of rounded values, like the log acidities of lakes."""
    rng = np.random.default_rng(3)
    return np.round(np.concatenate([rng.normal(4.3, 0.37, 92), rng.normal(6.3, 0.53, 63)]), 2)


def problems():
    """Rows, k, options of fit_em and the truth if it has that k, by name."""
    from sklearn.datasets import load_iris

    import bayesgmm as bg

    galaxies, iris = np.asarray(bg.datasets.galaxies()), load_iris().data
    faithful = bg.jitter(bg.datasets.old_faithful(), random_seed=0).to_numpy()
    acidity = np.asarray(bg.jitter(acidity_like(), random_seed=0))
    iris = np.asarray(bg.jitter(iris, random_seed=0))
    found = {f"10 of 50 000, D = {d}": drawn(rare(d, 50_000, 10, 12.0), 50_000) for d in range(1, 6)}
    found |= {f"8 of 2 000, D = {d}": drawn(rare(d, 2_000, 8, 12.0), 2_000) for d in (1, 2)}
    found["10 of 60 000 far out, D = 2"] = drawn(rare(2, 60_000, 10, 1_000.0), 60_000)
    for d, k in ((2, 2), (2, 3), (3, 4), (5, 3)):
        found[f"long and parallel, D = {d}, K = {k}"] = drawn(parallel(d, k), 1_500)
    for d, k in ((20, 3), (20, 5), (30, 3), (30, 4)):
        found[f"three of {d} features, K = {k}"] = drawn(informative(d, k), 2_000, covariance="diag")
    for d, k in ((1, 10), (2, 10), (2, 15), (5, 10), (5, 15), (3, 12)):
        found[f"D = {d}, K = {k}"] = drawn(many(d, k), 3_000)
    found |= {f"Old Faithful, K = {k}": (faithful, k, {}, None) for k in (2, 3, 4, 5)}
    found |= {f"Old Faithful, tied, K = {k}": (faithful, k, {"covariance": "tied"}, None) for k in (3, 5)}
    found |= {f"galaxies, K = {k}": (galaxies, k, {}, None) for k in (3, 4, 5, 6)}
    found |= {f"acidity-like, K = {k}": (acidity, k, {}, None) for k in (3, 5)}
    found |= {f"iris, K = {k}": (iris, k, {}, None) for k in (2, 3, 4)}
    found |= {f"iris, tied, K = {k}": (iris, k, {"covariance": "tied"}, None) for k in (4, 6)}
    three = bg.datasets.three_gaussians(random_seed=1).mixture
    found["three Gaussians, n = 10 000, K = 4"] = drawn(three, 10_000, 4)
    return found


def highest(found, x):
    """Log-likelihood of the highest maximum found without components that are narrow because of few observations."""
    from bayesgmm.em.result import spurious

    def credible(end):
        narrowest = np.sqrt(np.linalg.eigvalsh(end.mixture.cov)[:, 0])
        few = end.mixture.weights * found.n_observations < FEW * (x.shape[1] + 1 if x.ndim > 1 else 2)
        narrow = (narrowest < NARROW * narrowest.max()) & few
        return not (end.collapsed or narrow.any() or spurious(end.mixture, found.covariance, found.n_observations))

    return max((end.log_likelihood for end in found.restarts if credible(end)), default=-np.inf)


def fitted(seeds):
    """Print a line of JSON for each problem: log-likelihood and CPU seconds by seed, and log-likelihood from the truth."""
    import bayesgmm as bg

    warnings.simplefilter("ignore")
    for name, (x, k, options, truth) in problems().items():
        bg.fit_em(x, k, n_init=1, random_seed=0, **options)  # compiled
        values, seconds = [], []
        for seed in range(seeds):
            began = time.process_time()
            found = bg.fit_em(x, k, random_seed=seed, **options)
            seconds.append(time.process_time() - began)
            values.append(highest(found, x))
        from_truth = None if truth is None else highest(bg.fit_em(x, k, start=truth, **options), x)
        print(json.dumps({"name": name, "values": values, "seconds": seconds, "truth": from_truth}), flush=True)


def asked(checkout, seeds):
    """What ``fitted`` prints for the package in a checkout."""
    command = [sys.executable, str(Path(__file__).resolve()), "--fit", "--seeds", str(seeds)]
    done = subprocess.run(command, cwd=checkout, env=environment(checkout), stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def environment(checkout):
    """The environment in which the package in a checkout is found first."""
    return os.environ | {"PYTHONPATH": str(checkout)}


def table(found):
    """A Markdown table: by problem and commit, how many seeds found the best, how far below the worst is, and seconds."""
    names = list(found)
    lines = ["| problem | " + " | ".join(f"found{of} | worst{of} | CPU seconds{of}" for of in _of(names)) + " |"]
    lines.append("|---|" + "---:|---:|---:|" * len(names))
    good = dict.fromkeys(names, 0)
    for cells in zip(*found.values(), strict=True):
        best = max(value for each in cells for value in [*each["values"], each["truth"]] if value is not None)
        line = [cells[0]["name"]]
        for name, each in zip(names, cells, strict=True):
            below = best - np.array(each["values"])
            good[name] += np.mean(below <= SAME) >= WANTED
            line += [f"{np.sum(below <= SAME)}", f"{below.max():.2f}", f"{np.median(each['seconds']):.3f}"]
        lines.append("| " + " | ".join(line) + " |")
    totals = [f"in {good[name]} of {len(lines) - 2} problems {name}" for name in names]
    ratio = (
        [np.median(each["seconds"]) for each in found[names[-1]]],
        [np.median(each["seconds"]) for each in found[names[0]]],
    )
    ratios = np.divide(*ratio)
    spent = (
        f'"Before" is an earlier commit. CPU time is {np.median(ratios):.2f} times that before in the median over the '
        f"problems, and {ratios.max():.2f} times at most."
    ) * (len(names) > 1)
    said = " and ".join(totals)
    return "\n".join([*lines, "", f"At least 19 of 20 seeds found the best maximum {said}. {spent}".strip(), ""])


def _of(names):
    return [f", {name}" if len(names) > 1 else "" for name in names]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of another commit")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--fit", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fit:
        fitted(given.seeds)
        return
    checkouts = ({"before": given.before.resolve()} if given.before else {}) | {"now": Path(__file__).parents[1]}
    text = table({name: asked(checkout, given.seeds) for name, checkout in checkouts.items()})
    OUTPUT.write_text(HEADING.format(given.seeds) + text)
    print(text)


if __name__ == "__main__":
    main()
