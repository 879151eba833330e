"""How the settings of NUTS were chosen: a grid of them on every problem; writes settings.md.

uv run --extra benchmarks python benchmarks/settings.py       some twenty minutes

With hundreds of parameters a run takes minutes. Such problems are run with only a few settings and one seed.
"""

from itertools import product
from pathlib import Path

import numpy as np
from problems import problems

import bayesgmm as bg
from bayesgmm.analysis.draws import draws_of
from bayesgmm.analysis.quantities import invariant_quantities, summarise
from bayesgmm.data.reading import read_fit_data
from bayesgmm.engines.interface import Start
from bayesgmm.engines.laplace import departure, laplace
from bayesgmm.engines.nuts import NutsSettings, choose_geometry, sample_nuts
from bayesgmm.engines.phases import Phases
from bayesgmm.engines.problem import own_problem
from bayesgmm.engines.starts import after_sweeps, weigh

SEEDS = (1, 2, 3, 4, 5, 6)
GRID = list(product(("low_rank", "diag", "whitened"), (200, 400), (0.8, 0.9)))
MANY = [("low_rank", 200, 0.8), ("whitened", 200, 0.8), ("whitened", 200, 0.9)]


def overlapping():
    """Three clusters of four correlated features that overlap."""
    rng = np.random.default_rng(4)
    roots = rng.normal(0, 0.4, (3, 4, 4)) + np.eye(4)
    mixture = bg.Mixture([0.2, 0.3, 0.5], rng.normal(0, 1, (3, 4)), roots @ roots.swapaxes(1, 2))
    return mixture.sample(300, rng)[0]


MORE = {  # beside the problems of run.py, so that the rule is not judged only on those that it was made for
    "galaxies, K = 4": (np.asarray(bg.datasets.galaxies()), 4),
    "three, close together, n = 500": (bg.Mixture([0.3, 0.3, 0.4], [0, 2, 5], sigma=1.0).sample(500, random_seed=1)[0], 3),
    "two, half apart, n = 2 000": (bg.Mixture([0.5, 0.5], [0, 2.5], sigma=[1, 1.3]).sample(2_000, random_seed=1)[0], 2),
    "Old Faithful, K = 3": (bg.jitter(bg.datasets.old_faithful(), random_seed=0).to_numpy(), 3),
    "four features, three overlapping, n = 300": (overlapping(), 3),
    "two, far apart, n = 300": (bg.Mixture([0.5, 0.5], [0, 6], sigma=[1, 1.3]).sample(300, random_seed=1)[0], 2),
}


def posed(x, k):
    """The posterior and its chains' start, in standardised units."""
    data, k = read_fit_data(x, k)
    em = bg.fit_em(x, k, random_seed=1)
    return own_problem(data, em, bg.HierarchicalPrior().scaled_to(x), None, 4)


def one_run(problem, main, whitening, adaptation, tune, target_accept, seed):
    phases, rng = Phases(announce=False), np.random.default_rng(seed)
    starts = [Start(after_sweeps(problem.own, main.point, rng), whitening) for _ in range(4)]
    settings = NutsSettings(1000, tune, 4, seed, target_accept, progressbar=False, adaptation=adaptation)
    sampled = sample_nuts(problem.target, starts, settings, phases)
    draws, stats = draws_of(problem.as_contract(sampled.posterior)), sampled.sample_stats
    ess = summarise(invariant_quantities(draws, problem.x, stats["lp"].values))["ess_bulk"].min()
    return ess / phases.seconds["sampling"], ess, int(stats["diverging"].sum()), float(stats["n_steps"].mean())


def main():
    cases = {name: (each.x, each.k) for name, each in problems().items() if each.peers} | MORE
    heads = ["problem", "nats from the Laplace approximation over root n_dim", "chosen", "adaptation", "tuning steps"]
    heads += ["target_accept", "ESS per second, median", "ESS of the worst seed", "divergences of the worst seed"]
    heads += ["steps a draw"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, (x, k) in cases.items():
        problem = posed(x, k)
        own, optima = problem.own, weigh(problem.own, problem.starts)
        approximation, chosen = laplace(own, optima[0].point), choose_geometry(own, optima, 4, 1, Phases(announce=False))
        far = departure(own, approximation) / np.sqrt(own.n_dim)
        many = own.n_dim > 100
        grid, seeds = (MANY, SEEDS[:1]) if many else (GRID, SEEDS)
        for adaptation, tune, target_accept in grid:
            whitening = approximation if adaptation == "whitened" else None
            settings = optima[0], whitening, adaptation, tune, target_accept
            runs = np.array([one_run(problem, *settings, seed) for seed in seeds])
            cells = [name, f"{far:.2f}", chosen.adaptation, adaptation, tune, target_accept]
            cells += [f"{np.median(runs[:, 0]):,.0f}", f"{runs[:, 1].min():,.0f}", f"{runs[:, 2].max():.0f}"]
            cells += [f"{runs[:, 3].mean():.1f}"]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
            print(lines[-1], flush=True)
    Path(__file__).with_suffix(".md").write_text("# NUTS settings, measured\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
