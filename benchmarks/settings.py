"""How the settings of NUTS were chosen: every one of them on every problem; writes settings.md.

uv run --extra benchmarks python benchmarks/settings.py       some twenty minutes
"""

from itertools import product
from pathlib import Path

import numpy as np
from problems import problems

import bayesgmm as bg
from bayesgmm.density import log_posterior
from bayesgmm.diagnostics import invariant_quantities, summarise
from bayesgmm.inference.compiled_target import CompiledTarget
from bayesgmm.inference.laplace import departure
from bayesgmm.inference.nuts import NutsSettings, choose_adaptation, sample_nuts
from bayesgmm.inference.phases import Phases
from bayesgmm.standardisation import location_and_scale
from bayesgmm.tree import draws_of

SEEDS = range(1, 7)
GRID = list(product(("low_rank", "diag"), (200, 400, 800), (0.8, 0.9, 0.95)))
MORE = {  # beside the problems of the comparison, so that the rule is not judged by what it was made for alone
    "galaxies, K = 4": (np.asarray(bg.datasets.galaxies()), 4),
    "three, close together, n = 500": (bg.Mixture([0.3, 0.3, 0.4], [0, 2, 5], sigma=1.0).sample(500, random_seed=1)[0], 3),
    "two, half apart, n = 2 000": (bg.Mixture([0.5, 0.5], [0, 2.5], sigma=[1, 1.3]).sample(2_000, random_seed=1)[0], 2),
    "two, far apart, n = 300": (bg.Mixture([0.5, 0.5], [0, 6], sigma=[1, 1.3]).sample(300, random_seed=1)[0], 2),
}


def posterior_and_start(x, k):
    em = bg.fit_em(x, k, random_seed=1)
    shift, scale = location_and_scale(x)
    prior = bg.HierarchicalPrior().scaled_to(x).rescaled(shift, scale)
    own = log_posterior((x - shift) / scale, k, prior, "full")
    return own, own.at(em.mixture.rescaled(-shift / scale, 1 / scale))


def one_run(own, start, adaptation, tune, target_accept, seed):
    phases = Phases(announce=False)
    settings = NutsSettings(1000, tune, 4, seed, target_accept, progressbar=False, adaptation=adaptation)
    sampled = sample_nuts(CompiledTarget(own), [start], settings, phases)
    table = summarise(invariant_quantities(draws_of(sampled.posterior), own.x, sampled.sample_stats["lp"].values))
    ess = table["ess_bulk"].min()
    return ess / phases.seconds["sampling"], ess, int(sampled.sample_stats["diverging"].sum())


def main():
    cases = {name: (each.x, each.k) for name, each in problems().items() if each.peers} | MORE
    lines = [
        "| problem | nats from its Laplace approximation, and so | adaptation | tuning steps | target_accept | "
        "ESS per second, median | ESS of the worst seed | divergences of the worst seed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (x, k) in cases.items():
        own, start = posterior_and_start(x, k)
        far, chosen = departure(own, start), choose_adaptation(own, start)
        for adaptation, tune, target_accept in GRID:
            runs = np.array([one_run(own, start, adaptation, tune, target_accept, seed) for seed in SEEDS])
            cells = [name, f"{far:.2f}, {chosen.kind}", adaptation, tune, target_accept]
            cells += [f"{np.median(runs[:, 0]):,.0f}", f"{runs[:, 1].min():,.0f}", f"{runs[:, 2].max():.0f}"]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
            print(lines[-1], flush=True)
    Path(__file__).with_suffix(".md").write_text("# NUTS settings, measured\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
