"""How often intervals contain the truth, and how often checks find fault with a correct fit; writes calibration.md.

uv run --extra tests python benchmarks/calibration.py        some ten minutes on two cores

Two hundred data sets, forty from each of five truths, are fitted with the correct model. Their 90 % intervals should contain
the truth in nine of ten cases. In the long run they do if truths are drawn from the prior
(tests/statistical/test_calibration.py shows it). For fixed truths, as here, this holds approximately.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

import bayesgmm as bg
from bayesgmm.html_report.fitted import Fitted

OUTPUT = Path(__file__).parent / "calibration.md"
HEADING = """# Calibration

How often do 90 % intervals contain the truth, and how often does a check find fault with a correct fit? The scales of t
distributions depend on the degrees of freedom, whose prior has a mean of 20. If the true value is 5, the scales are too
large, by 5 to 7 % on average in the cases examined. If it is 20, their intervals contained the truth in 89 % of cases.
"""
INTERVAL = 0.9
QUANTILES = np.linspace(0.05, 0.95, 19)  # of the data, where the density is checked; for D = 2, at as many observations
TRUTHS = {
    "two, 4 sd apart, n = 300": (bg.Mixture([0.4, 0.6], [0.0, 4.0], sigma=[1.0, 1.5]), 300, {}),
    "two, 2.5 sd apart, n = 300": (bg.Mixture([0.4, 0.6], [0.0, 2.5], sigma=[1.0, 1.0]), 300, {}),
    "three, n = 500": (bg.Mixture([0.2, 0.5, 0.3], [-5.0, 0.0, 4.0], sigma=[1.0, 1.0, 0.7]), 500, {}),
    "two, D = 2, n = 300": (
        bg.Mixture([0.4, 0.6], [[0, 0], [3, 2]], [np.eye(2), [[1.0, 0.5], [0.5, 1.0]]]), 300, {},
    ),
    "two, t with 5 degrees of freedom, n = 500": (
        bg.Mixture([0.4, 0.6], [0.0, 8.0], sigma=[1.0, 1.5], nu=[5.0, 5.0]), 500, {"family": "t"},
    ),
}  # fmt: skip


def holds(draws, truth):
    """Whether the central intervals of draws (S, ...) hold a truth (...)."""
    low, high = np.quantile(draws, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], axis=0)
    return ((low <= truth) & (truth <= high)).ravel()


def looked_at(truth, x, tree):
    """Which intervals hold the truth, by kind, and which checks find fault."""
    posterior = tree["posterior"].to_dataset().stack(s=("chain", "draw")).transpose("s", ...)
    k, d = truth.mu.shape
    mu = posterior["mu"].values.reshape(-1, k, d)
    own = linear_sum_assignment(((mu.mean(axis=0)[:, None] - truth.mu) ** 2).sum(axis=2))[1]
    spread, of_truth = ("sigma", truth.sigma) if d == 1 else ("cov", truth.covariances)
    found = {"weights": holds(posterior["w"].values, truth.weights[own]), "means": holds(mu, truth.mu[own])}
    found["spreads"] = holds(posterior[spread].values, of_truth[own])
    grid = np.quantile(x, QUANTILES) if d == 1 else x[: len(QUANTILES)]
    band = bg.predictive_density(tree, grid, interval=INTERVAL)
    density = np.exp(truth.log_density(grid))
    found["density"] = (band.sel(statistic="lower").values <= density) & (density <= band.sel(statistic="upper").values)
    faults = {
        "diagnose": not bg.diagnose(tree).ok,
        "check_against_em": not bg.check_against_em(tree).ok,
        "check of the model": Fitted.of(tree).adequacy().level == "caution",
    }
    return found, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=40, help="of each truth")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, every = [], []
    for number, (name, (truth, n, options)) in enumerate(TRUTHS.items()):
        results = []
        for seed in range(given.sets):
            x = truth.sample(n, np.random.default_rng([number, seed]))[0]
            tree = bg.fit(x, truth.n_components, random_seed=seed, progressbar=False, **options)
            results.append(looked_at(truth, x, tree))
        every += results
        rows.append(f"| {name} | {' | '.join(shares(results))} |")
        print(rows[-1], flush=True)
    rows.append(f"| **all {len(every)}** | {' | '.join(shares(every))} |")
    head = ["data", *(f"interval: {each}" for each in every[0][0]), *(f"fault: {each}" for each in every[0][1])]
    ruler = f"|---{'|---:' * (len(head) - 1)}|"
    OUTPUT.write_text("\n".join([HEADING, f"| {' | '.join(head)} |", ruler, *rows, ""]))
    print(rows[-1])


def shares(results):
    """Shares of intervals that hold the truth, and of fits that a check finds fault with, in percent."""
    inside = [np.concatenate([found[kind] for found, _ in results]).mean() for kind in results[0][0]]
    at_fault = [np.mean([faults[check] for _, faults in results]) for check in results[0][1]]
    return [f"{each:.0%}" for each in inside] + [f"{each:.1%}" for each in at_fault]


if __name__ == "__main__":
    main()
