"""ADVI: a Gaussian fitted to the posterior on the unconstrained space by maximising the evidence lower bound.

PyMC supplies the approximation, its objective and the gradients. The optimiser is ours: it starts at the Laplace
approximation, works in that approximation's whitened coordinates, averages its iterates, and stops when the averages
of two successive windows agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pymc as pm
import pytensor
import xarray as xr
from arviz_stats.base import array_stats
from pymc.blocking import DictToArrayBijection, RaveledVars
from pymc.pytensorf import compile as compile_function
from rich.console import Console
from rich.progress import Progress
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.special import gammaln

from bayesgmm.inference.nuts import Sampled
from bayesgmm.inference.phases import DeferredInterrupt, Phases
from bayesgmm.inference.starts import Start, unconstrained
from bayesgmm.priors import HierarchicalPrior
from bayesgmm.validation import FloatArray

_WINDOW = 500  # iterations of the first window; each following one is twice as long
_LONG_ENOUGH = 2_000  # shortest window whose average is accepted
_STEP = 0.02  # Adam's step in whitened coordinates (standard deviations) in the first window
_K_HAT_DRAWS = 1_000  # draws that k-hat is estimated from, at the least
_SMALLEST = 0.05  # a diagonal entry of the factor never falls below this share of its Laplace value
_MEAN_TOL, _SD_TOL = 0.05, 0.05  # windows agree: means within 0.05 sd, standard deviations within 5 %

LossAndGradient = Callable[[FloatArray, FloatArray], tuple[float, FloatArray, FloatArray]]


@dataclass(frozen=True)
class AdviSettings:
    """Size of the sample to draw, the family, and when to give up."""

    draws: int
    chains: int
    seed: int
    family: str
    max_iter: int
    progressbar: bool


@dataclass(frozen=True)
class GaussianFit:
    """A fitted Gaussian N(mean, factor factor') and the history of its objective."""

    mean: FloatArray
    factor: FloatArray
    loss: FloatArray
    converged: bool


def sample_advi(
    model: pm.Model,
    start: Start,
    settings: AdviSettings,
    phases: Phases,
    prior: HierarchicalPrior | None = None,
) -> Sampled:
    """Fit the approximation from a start in the model's constrained variables, and draw from it.

    With the hierarchical prior, C0 is drawn from its exact conditional given the drawn variances instead of from the
    Gaussian: that can only bring the approximation nearer to the posterior, and log C0 has a tail no Gaussian has.
    """
    fit_seed, draw_seed = np.random.SeedSequence(settings.seed).spawn(2)
    with phases("compile", "compiling the posterior for ADVI (up to half a minute)"), DeferredInterrupt(raise_at_end=True):
        log_posterior = model.logp_dlogp_function(ravel_inputs=True)
        log_posterior.set_extra_values({})
        initial = unconstrained(model, start)
        mean, factor = _laplace(log_posterior, initial.data, mean_field=settings.family == "meanfield")
        objective = _pymc_objective(model, settings.family, int(fit_seed.generate_state(1)[0]))
        objective(mean, factor)
    with DeferredInterrupt(raise_at_end=False) as interrupt:
        with phases("optimisation", f"maximising the evidence lower bound ({settings.family})"):
            fit = _maximise(objective, mean, factor, settings, interrupt)
        with phases("draws", "drawing from the approximation and computing its k-hat"):
            rng = np.random.default_rng(draw_seed)
            size = settings.chains * settings.draws
            noise = rng.standard_normal((max(size, _K_HAT_DRAWS), len(fit.mean)))
            points = fit.mean + noise @ fit.factor.T
            if prior is None:
                log_q = _log_normal(noise, fit.factor)
            else:
                points, log_q = _with_exact_scale(points, fit, initial, prior, rng)
            log_p = np.array([float(log_posterior(point)[0]) for point in points])
            k_hat, efficiency = _pareto_k(log_p - log_q)
            posterior = _constrained(model, initial, points[:size], (settings.chains, settings.draws))
    dims = ("chain", "draw")
    coords = {"chain": np.arange(settings.chains), "draw": np.arange(settings.draws)}
    stats = xr.Dataset(
        {
            "lp": (dims, log_p[:size].reshape(settings.chains, settings.draws)),
            "log_q": (dims, log_q[:size].reshape(settings.chains, settings.draws)),
        },
        coords=coords,
    )
    approximation = xr.Dataset(
        {"elbo": ("iteration", -fit.loss)},
        attrs={
            "family": settings.family,
            "pareto_k": k_hat,
            "importance_efficiency": efficiency,
            "converged": int(fit.converged),
        },
    )
    return Sampled(posterior, stats, interrupt.requested, approximation)


def _laplace(
    log_posterior: pm.model.core.ValueGradFunction, initial: FloatArray, *, mean_field: bool
) -> tuple[FloatArray, FloatArray]:
    """Mode near the start, and the Cholesky factor of the inverse negative Hessian there.

    For the mean-field family the factor is diagonal with the conditional standard deviations, which is what the
    optimum of a mean-field approximation to a Gaussian is.
    """

    def negative(point: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = log_posterior(point)
        return -float(value), -np.asarray(gradient)

    mode = minimize(negative, initial, jac=True, method="BFGS", options={"gtol": 1e-4}).x
    step = 1e-5
    columns = [(negative(mode + step * e)[1] - negative(mode - step * e)[1]) / (2 * step) for e in np.eye(len(mode))]
    hessian = np.nan_to_num(np.array(columns), posinf=0.0, neginf=0.0)
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    values = np.maximum(values, 1e-2)  # flat or saddle directions: at most 10 units wide
    if mean_field:
        return mode, np.diag(1 / np.sqrt((vectors**2) @ values))
    # the triangular factor of V diag(1/values) V', without forming that matrix, which may be singular to working precision
    upper = np.linalg.qr((vectors / np.sqrt(values)).T, mode="r")
    return mode, (upper * np.sign(np.diagonal(upper))[:, None]).T


def _pymc_objective(model: pm.Model, family: str, seed: int) -> LossAndGradient:
    """PyMC's negative evidence lower bound, one draw at a time, and its gradient for the mean and the factor."""
    seed = seed % 2**30
    inference = (pm.FullRankADVI if family == "fullrank" else pm.ADVI)(model=model, random_seed=seed)
    parameters = {p.name: p for p in inference.approx.params}
    mean_parameter = parameters["mu"]
    shape_parameter = parameters["L_tril" if family == "fullrank" else "rho"]
    loss = inference.objective(1)
    gradients = pytensor.grad(loss, [mean_parameter, shape_parameter])
    function = compile_function([], [loss, *gradients], random_seed=seed)
    size = inference.approx.ddim
    entries = np.tril_indices(size) if family == "fullrank" else np.diag_indices(size)
    on_diagonal = entries[0] == entries[1]

    def objective(mean: FloatArray, factor: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        # PyMC keeps the diagonal of the factor as softplus of its parameter
        raw = factor[entries]
        diagonal = raw[on_diagonal]
        raw[on_diagonal] = diagonal + np.log(-np.expm1(-diagonal))
        mean_parameter.set_value(mean)
        shape_parameter.set_value(raw)
        value, mean_gradient, raw_gradient = function()
        raw_gradient = np.array(raw_gradient)
        raw_gradient[on_diagonal] /= -np.expm1(-diagonal)
        factor_gradient = np.zeros((size, size))
        factor_gradient[entries] = raw_gradient
        return float(value), np.asarray(mean_gradient), factor_gradient

    return objective


def _maximise(
    objective: LossAndGradient,
    mean: FloatArray,
    whitener: FloatArray,
    settings: AdviSettings,
    interrupt: DeferredInterrupt,
) -> GaussianFit:
    """Adam (Kingma & Ba 2015) with iterate averaging over windows of doubling length.

    In whitened coordinates mean = start + W d and factor = W B, so that at the start d = 0 and B = I; gradients are
    W' g_mean and W' g_factor. A step is measured in posterior standard deviations whatever the data's n or units.
    """
    size = len(mean)
    entries = np.tril_indices(size) if settings.family == "fullrank" else np.diag_indices(size)
    diagonal = size + np.flatnonzero(entries[0] == entries[1])

    def unpack(theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        factor = np.zeros((size, size))
        factor[entries] = theta[size:]
        return mean + whitener @ theta[:size], whitener @ factor

    best = theta = np.concatenate([np.zeros(size), np.eye(size)[entries]])
    first, second, updates = np.zeros_like(theta), np.zeros_like(theta), 0
    losses: list[float] = []
    window, converged = _WINDOW, False
    with Progress(console=Console(stderr=True), disable=not settings.progressbar) as progress:
        task = progress.add_task("ADVI, at most", total=settings.max_iter)
        while len(losses) < settings.max_iter and not converged and not interrupt.requested:
            step = _STEP * np.sqrt(_WINDOW / window)
            total, count = np.zeros_like(theta), 0
            for _ in range(min(window, settings.max_iter - len(losses))):
                loss, mean_gradient, factor_gradient = objective(*unpack(theta))
                losses.append(loss)
                progress.update(task, advance=1)
                gradient = np.concatenate([whitener.T @ mean_gradient, (whitener.T @ factor_gradient)[entries]])
                if np.isfinite(gradient).all():  # else a draw far out, where the density overflows: no information
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
    return GaussianFit(*unpack(best), np.array(losses), converged)


def _agree(old: FloatArray, new: FloatArray, shift: FloatArray, whitener: FloatArray) -> bool:
    """Whether two successive windows give the same means and standard deviations."""
    old_sd, new_sd = (np.sqrt((factor**2).sum(axis=1)) for factor in (old, new))
    moved = np.abs(whitener @ shift[: len(whitener)]) / new_sd
    return bool(moved.max() < _MEAN_TOL and np.abs(np.log(new_sd / old_sd)).max() < _SD_TOL)


def _log_normal(noise: FloatArray, factor: FloatArray) -> FloatArray:
    """Log density of mean + factor noise, for standard normal noise (S, d) and a triangular factor."""
    log_determinant = np.log(np.abs(np.diagonal(factor))).sum()
    return -0.5 * (noise**2 + np.log(2 * np.pi)).sum(axis=1) - log_determinant


def _with_exact_scale(
    points: FloatArray, fit: GaussianFit, initial: RaveledVars, prior: HierarchicalPrior, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Replace log C0 by draws from C0 | sigma2 ~ Gamma(g0 + m c0, G0 + sum 1/sigma2), m variances; and log q of it all."""
    names = [name for name, *_ in initial.point_map_info]
    ends = np.cumsum([size for _, _, size, _ in initial.point_map_info])
    place = {name: slice(end - info[2], end) for name, end, info in zip(names, ends, initial.point_map_info, strict=True)}
    log_sigma2 = points[:, place["sigma2_log__"]]
    shape = prior.g0 + log_sigma2.shape[1] * prior.c0
    rate = prior.G0 + np.exp(-log_sigma2).sum(axis=1)
    log_scale = np.log(rng.gamma(shape, 1 / rate))
    rest = np.delete(np.arange(len(fit.mean)), place["C0_log__"].start)
    factor = np.linalg.qr(fit.factor[rest].T, mode="r").T  # of the other variables' covariance, up to signs
    log_q = _log_normal(solve_triangular(factor, (points[:, rest] - fit.mean[rest]).T, lower=True).T, factor)
    log_q = (
        log_q + shape * (np.log(rate) + log_scale) - rate * np.exp(log_scale) - gammaln(shape)
    )  # with the Jacobian of log
    points = points.copy()
    points[:, place["C0_log__"]] = log_scale[:, None]
    return points, log_q


def _pareto_k(log_ratios: FloatArray) -> tuple[float, float]:
    """PSIS k-hat of the importance ratios p/q (Yao, Vehtari, Simpson & Gelman 2018), and their effective share."""
    log_weights, k_hat = array_stats.psislw(-log_ratios)
    return float(k_hat), float(1 / np.exp(2 * log_weights).sum() / len(log_weights))


def _constrained(model: pm.Model, initial: RaveledVars, points: FloatArray, shape: tuple[int, int]) -> xr.Dataset:
    """Draws of the model's own variables from draws on the unconstrained space."""
    variables = model.unobserved_RVs
    function = model.compile_fn(
        model.replace_rvs_by_values(variables), inputs=model.value_vars, mode="FAST_COMPILE", point_fn=True
    )
    rows = [function(DictToArrayBijection.rmap(RaveledVars(point, initial.point_map_info))) for point in points]
    data = {}
    for variable, *values in zip(variables, *rows, strict=True):
        array = np.array(values)
        dims = model.named_vars_to_dims.get(variable.name) or [f"{variable.name}_dim_{j}" for j in range(array.ndim - 1)]
        data[variable.name] = (("chain", "draw", *dims), array.reshape(*shape, *array.shape[1:]))
    return xr.Dataset(data, coords={"chain": np.arange(shape[0]), "draw": np.arange(shape[1])})
