"""ADVI: a Gaussian fitted to the posterior on the unconstrained space by maximising the evidence lower bound.

The target supplies the objective and its gradients. The optimiser starts at the Laplace approximation, works in that
approximation's whitened coordinates, averages its iterates, and stops when the averages of two successive windows agree.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import Progress

from bayesgmm.arguments import FloatArray
from bayesgmm.engines.importance import FEWEST_POINTS, weighted
from bayesgmm.engines.interface import Gaussian, Loss, Sampled, Target
from bayesgmm.engines.laplace import laplace
from bayesgmm.engines.options import Options
from bayesgmm.engines.phases import DeferredInterrupt, Phases
from bayesgmm.posterior import LogPosterior

_WINDOW = 500  # iterations of the first window; each following one is twice as long
_LONG_ENOUGH = 2_000  # iterations of the shortest window with an average that is accepted
_STEP = 0.02  # Adam's step in whitened coordinates (standard deviations) in the first window
_SMALLEST = 0.05  # a diagonal entry of the factor never falls below this share of its Laplace value
_MEAN_TOL, _SD_TOL = 0.05, 0.05  # windows agree: means within 0.05 sd, standard deviations within 5 %


def sample_advi(
    target: Target, start: FloatArray, options: Options, seed: int, phases: Phases, own: LogPosterior | None = None
) -> Sampled:
    """Fit the Gaussian approximation from a start, and draw from it.

    If the posterior is the package's (``own``), C0 is drawn from its exact conditional: see ``importance.weighted``.
    """
    fit_seed, draw_seed = np.random.SeedSequence(seed).spawn(2)
    family, chains, size = options.approximation, options.chains, options.chains * options.draws
    with phases("compile", target.compiling), DeferredInterrupt(raise_at_end=True):
        log_density, loss = target.for_advi(family, int(fit_seed.generate_state(1)[0]))
        nearby = laplace(log_density, start, mean_field=family == "meanfield")
        loss(*nearby)
    with DeferredInterrupt(raise_at_end=False) as interrupt:
        with phases("optimisation", f"maximising the evidence lower bound ({family})"):
            (mean, factor), losses, converged = _maximise(loss, nearby, options, interrupt, progressbar=phases.announce)
        with phases("draws", "drawing from the approximation and computing its k-hat"):
            rng = np.random.default_rng(draw_seed)
            approximation = [(1.0, Gaussian(mean, factor))]
            # PSIS k-hat of the importance ratios p/q (Yao, Vehtari, Simpson & Gelman 2018), and their efficiency
            found = weighted(target.log_densities, approximation, max(size, FEWEST_POINTS), rng, own)
            posterior = target.constrained(found.points[:size].reshape(chains, options.draws, -1))
    kept = {"lp": found.log_p, "log_q": found.log_q}
    by_chain = {name: (("chain", "draw"), each[:size].reshape(chains, -1)) for name, each in kept.items()}
    history = xr.Dataset(
        {"elbo": ("iteration", -losses)},
        attrs={
            "family": family,
            "pareto_k": found.k_hat,
            "importance_efficiency": found.efficiency,
            "converged": int(converged),
        },
    )
    return Sampled(posterior, xr.Dataset(by_chain, coords=posterior.coords), interrupt.requested, history)


def _maximise(
    objective: Loss, start: Gaussian, options: Options, interrupt: DeferredInterrupt, *, progressbar: bool
) -> tuple[Gaussian, FloatArray, bool]:
    """Adam (Kingma & Ba 2015) with iterate averaging over windows of doubling length.

    In whitened coordinates mean = start + W d and factor = W B, with d = 0 and B = I at the start. Gradients are W' g_mean
    and W' g_factor. Steps are in posterior standard deviations, whatever n and the units of the data. Returns the Gaussian,
    the history of the objective, and whether it has converged.
    """
    (mean, whitener), size, max_iter = start, len(start.mean), options.max_iter
    entries = np.tril_indices(size) if options.approximation == "fullrank" else np.diag_indices(size)
    diagonal = size + np.flatnonzero(entries[0] == entries[1])

    def unpack(theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        factor = np.zeros((size, size))
        factor[entries] = theta[size:]
        return mean + whitener @ theta[:size], whitener @ factor

    best = theta = np.concatenate([np.zeros(size), np.eye(size)[entries]])
    first, second, updates = np.zeros_like(theta), np.zeros_like(theta), 0
    losses: list[float] = []
    window, converged = _WINDOW, False
    with Progress(console=Console(stderr=True), disable=not progressbar) as progress:
        task = progress.add_task("ADVI, at most", total=max_iter)
        while len(losses) < max_iter and not converged and not interrupt.requested:
            step = _STEP * np.sqrt(_WINDOW / window)
            total, count = np.zeros_like(theta), 0
            for _ in range(min(window, max_iter - len(losses))):
                loss, mean_gradient, factor_gradient = objective(*unpack(theta))
                losses.append(loss)
                progress.update(task, advance=1)
                gradient = np.concatenate([whitener.T @ mean_gradient, (whitener.T @ factor_gradient)[entries]])
                if np.isfinite(gradient).all():  # else skip a draw so far out that the density overflows
                    updates += 1
                    first = 0.9 * first + 0.1 * gradient
                    second = 0.999 * second + 0.001 * gradient**2
                    momentum, size_of_gradient = first / (1 - 0.9**updates), np.sqrt(second / (1 - 0.999**updates))
                    theta = theta - step * momentum / (size_of_gradient + 1e-12)
                    theta[diagonal] = np.maximum(theta[diagonal], _SMALLEST)
                    total += theta
                    count += 1
                if interrupt.requested:
                    break
            if count >= window / 2 or (count and window == _WINDOW):
                previous, best = best, total / count
                converged = count >= _LONG_ENOUGH and _agree(unpack(previous)[1], unpack(best)[1], previous - best, whitener)
            window *= 2
    return Gaussian(*unpack(best)), np.array(losses), converged


def _agree(old: FloatArray, new: FloatArray, shift: FloatArray, whitener: FloatArray) -> bool:
    """Whether two successive windows give the same means and standard deviations."""
    old_sd, new_sd = (np.sqrt((factor**2).sum(axis=1)) for factor in (old, new))
    moved = np.abs(whitener @ shift[: len(whitener)]) / new_sd
    return bool(moved.max() < _MEAN_TOL and np.abs(np.log(new_sd / old_sd)).max() < _SD_TOL)
