"""How often the check of the model finds a conflict, for correct and for wrong models; writes model_check.md.

uv run --extra benchmarks python benchmarks/model_check.py       some ten minutes on two cores
"""

import argparse
import warnings
from pathlib import Path

import numpy as np

import bayesgmm as bg
from bayesgmm.html_report.fitted import Fitted

OUTPUT = Path(__file__).parent / "model_check.md"


def sample(n, weights, means, **spread):
    return lambda rng: bg.Mixture(weights, means, **spread).sample(n, rng)[0]


def pairs(n, draw):
    """Two groups of one feature."""
    return lambda rng: np.where(rng.uniform(size=n) < 0.5, -5, 5) + draw(rng, n)


def banana(rng):
    x = rng.normal(size=300)
    return np.column_stack([x, x**2 + 0.3 * rng.normal(size=300)])


TWO_FEATURES = {"means": [[0, 0], [3, 2]], "covariances": [np.eye(2), [[1.0, 0.5], [0.5, 1.0]]]}
RIGHT = {
    "two, 4 sd apart, n = 300": (sample(300, [0.4, 0.6], [0.0, 4.0], sigma=[1.0, 1.5]), 2),
    "two that overlap, n = 300": (sample(300, [0.4, 0.6], [0.0, 2.0], sigma=[1.0, 1.5]), 2),
    "two, n = 1 000, K = 3": (sample(1_000, [0.4, 0.6], [0.0, 4.0], sigma=[1.0, 1.5]), 3),
    "two, n = 50": (sample(50, [0.4, 0.6], [0.0, 4.0], sigma=[1.0, 1.5]), 2),
    "two, D = 2, n = 300": (sample(300, [0.4, 0.6], **TWO_FEATURES), 2),
}
WRONG = {
    "three (0, 3, 8) by two, n = 300": (sample(300, [1 / 3] * 3, [0.0, 3.0, 8.0], sigma=[1.0] * 3), 2),
    "two t with 3 degrees of freedom, n = 300": (pairs(300, lambda rng, n: rng.standard_t(3, size=n)), 2),
    "two uniform distributions, n = 300": (pairs(300, lambda rng, n: rng.uniform(-2, 2, size=n)), 2),
    "two skewed ones (Gamma, shape 2), n = 300": (pairs(300, lambda rng, n: rng.gamma(2.0, size=n)), 2),
    "a banana by two, D = 2, n = 300": (banana, 2),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--right", type=int, default=40, help="data sets of each right model")
    parser.add_argument("--wrong", type=int, default=40, help="data sets of each wrong one")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, alarms = [], []
    for kind, problems, many in (("right", RIGHT, options.right), ("wrong", WRONG, options.wrong)):
        for name, (draw, k) in problems.items():
            found = []
            for seed in range(many):
                x = draw(np.random.default_rng([seed, len(rows)]))
                fitted = Fitted.of(bg.fit(x, k, draws=500, random_seed=seed, progressbar=False))
                band = not all(each.inside for each in fitted.calibrations)
                found.append((band, fitted.adequacy().level == "caution"))
            alarms += found if kind == "right" else []
            by_band, by_all = np.mean(found, axis=0)
            rows.append(f"| {name} | {kind} | {by_band:.0%} | {by_all:.0%} |")
            print(rows[-1], flush=True)
    by_band, by_all = np.mean(alarms, axis=0)
    OUTPUT.write_text(
        "# The check of the model\n\nIn which share of data sets does the report find a conflict between data and model? "
        "The first column uses the band around LOO-PIT alone. The second uses the band and the smooth test together. With "
        "several features both also look along the principal axes of the standardised features. "
        f"For {len(alarms)} right models the shares are {by_band:.1%} and {by_all:.1%}.\n\n"
        "| data | model | band alone | all |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )  # fmt: skip


if __name__ == "__main__":
    main()
