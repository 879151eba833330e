"""The evidence by bridge sampling from Gibbs draws, and by nested sampling with BlackJAX; writes evidence.md.

uv run --python 3.12 --extra benchmarks python benchmarks/evidence.py
uv run --python 3.12 --extra benchmarks python benchmarks/evidence.py --smoke    one problem, few live points, writes nothing

Both have the same prior and the same data, in their original units. Nested sampling needs neither a start nor earlier draws.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from peers import numpyro_model
from problems import prior_of

import bayesgmm as bg

Z = 5.0  # standard errors by which two answers may differ
SEEDS = 5


def problems(smoke):
    galaxies = np.asarray(bg.datasets.galaxies())
    if smoke:
        return {"galaxies, K = 2": (galaxies, 2)}
    geyser = bg.jitter(bg.datasets.old_faithful(), random_seed=0).to_numpy()
    return {f"galaxies, K = {k}": (galaxies, k) for k in (2, 3, 4)} | {
        "two Gaussians, n = 1 000": (bg.datasets.two_gaussians(n=1_000).x, 2),
        "Old Faithful, D = 2, K = 2": (geyser, 2),
    }


def by_bayesgmm(x, k, seed):
    """Seconds for the posterior and its evidence together; the log evidence and its standard error."""
    began = time.perf_counter()
    tree = bg.fit(x, k, method="gibbs", random_seed=seed, relabel=False, progressbar=False)
    found = bg.log_evidence(tree, random_seed=seed)
    return time.perf_counter() - began, found.value, found.mcse


def by_nested_sampling(x, k, seed, n_live):
    """Seconds, including compilation; the log evidence and its standard error.

    Live points are drawn from the prior, and a tenth of them is replaced at a time, by slice moves.
    """
    began = time.perf_counter()
    model = numpyro_model(x, k, prior_of(x))
    import blackjax
    import jax
    import jax.numpy as jnp
    from blackjax.ns.utils import finalise, log_weights
    from numpyro.handlers import block
    from numpyro.infer import Predictive
    from numpyro.infer.util import potential_energy, unconstrain_fn

    data, unseen = (jnp.asarray(x),), block(model, hide=["x"])

    def log_prior(position):
        return -potential_energy(unseen, data, {}, position)

    def log_likelihood(position):
        return -potential_energy(model, data, {}, position) - log_prior(position)

    key, drawn = jax.random.split(jax.random.PRNGKey(seed))
    from_prior = Predictive(unseen, num_samples=n_live)(drawn, *data)
    values = {name: from_prior[name] for name in ("w", "mu", "C0", "sigma2" if x.ndim == 1 else "precision")}
    live = jax.vmap(lambda each: unconstrain_fn(model, data, {}, each))(values)
    n_dim = sum(value[0].size for value in live.values())
    algorithm = blackjax.nss(log_prior, log_likelihood, num_inner_steps=3 * n_dim, num_delete=n_live // 10)
    state, step, dead = jax.jit(algorithm.init)(live), jax.jit(algorithm.step), []
    while not state.integrator.logZ_live - state.integrator.logZ < -3:
        key, used = jax.random.split(key)
        state, info = step(used, state)
        dead.append(info)
    estimates = jax.scipy.special.logsumexp(log_weights(key, finalise(state, dead)), axis=0)
    value, error = float(estimates.mean()), float(estimates.std())
    return time.perf_counter() - began, value, error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    seeds, n_live = (1, 100) if smoke else (SEEDS, 1_000)
    heads = ["problem", "bayesgmm: posterior and evidence, s", "log evidence", "nested sampling, s", "log evidence"]
    lines = ["| " + " | ".join([*heads, "bayesgmm is faster by"]) + " |", "|---" * (len(heads) + 1) + "|"]
    note = f"Medians over {SEEDS} seeds. Nested sampling uses {n_live} live points. Its seconds include compiling, "
    note += "which every run does again."
    for name, (x, k) in problems(smoke).items():
        by_bayesgmm(x, k, 0)  # compiles, at first use only
        runs = [(*by_bayesgmm(x, k, seed), *by_nested_sampling(x, k, seed, n_live)) for seed in range(1, seeds + 1)]
        ours, value, error, theirs, other, other_error = map(statistics.median, zip(*runs, strict=True))
        cells = [name, f"{ours:.1f}", f"{value:.2f} ± {error:.2f}", f"{theirs:.0f}", f"{other:.2f} ± {other_error:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{theirs / ours:.0f} x"]) + " |")
        print(lines[-1], flush=True)
        assert abs(value - other) < Z * np.hypot(error, other_error), f"{name}: {value:.2f}, {other:.2f}"
        if not smoke:  # after each problem, for the last takes longest
            (Path(__file__).parent / "evidence.md").write_text("# Evidence\n\n" + "\n".join(lines) + f"\n\n{note}\n")


if __name__ == "__main__":
    main()
