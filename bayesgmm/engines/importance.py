"""Importance sampling on the unconstrained space, and how well its draws represent the posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp
from scipy.stats import multivariate_t

from bayesgmm.arguments import FloatArray
from bayesgmm.engines.interface import Gaussian, Sampled
from bayesgmm.engines.laplace import laplace, log_normal
from bayesgmm.engines.phases import Phases
from bayesgmm.engines.problem import Problem
from bayesgmm.engines.starts import Optimum
from bayesgmm.posterior import LogPosterior, SummedPosterior

MAX_K_HAT = 0.7  # above it importance weights are unreliable
MIN_EFFICIENCY = 0.4  # below it draws may miss a part of the posterior, and the weights do not show it
FEWEST_POINTS = 1_000  # draws from which k-hat is estimated, at least
_ENOUGH = 10  # effective draws for each coordinate from which a covariance is estimated
_EXACT = 0.9  # efficiency from which a posterior counts as Gaussian
_GOOD = 0.7  # efficiency from which a t distribution is not improved; with n degrees of freedom, 0.86 is the best there is
_ROUNDS = 2  # t distributions that are tried
_FEWEST_FREEDOM = 4  # degrees of freedom, at least, so that matched moments exist


@dataclass(frozen=True)
class Weighted:
    """Points (S, n_dim), their log densities under posterior (p) and proposal (q), and smoothed log weights.

    The weights add to one. ``k_hat`` is the tail shape of the raw weights (Vehtari, Simpson, Gelman, Yao & Gabry 2024).
    """

    points: FloatArray
    log_p: FloatArray
    log_q: FloatArray
    log_weights: FloatArray
    k_hat: float

    @property
    def efficiency(self) -> float:
        """Effective sample size divided by the number of points."""
        return float(1 / np.exp(2 * self.log_weights).sum() / len(self.log_weights))

    @property
    def reliable(self) -> bool:
        """Whether the weighted points represent the density."""
        return self.k_hat <= MAX_K_HAT and self.efficiency >= MIN_EFFICIENCY

    def matched(self) -> Gaussian | None:
        """The Gaussian with the mean and covariance of the weighted points; None if too few points have weight."""
        if self.efficiency * len(self.points) < _ENOUGH * self.points.shape[1]:
            return None
        weights = np.exp(self.log_weights)
        mean = weights @ self.points
        roots = np.sqrt(weights)[:, None] * (self.points - mean)
        return Gaussian(mean, np.linalg.qr(roots, mode="r").T)

    def log_mass(self) -> tuple[float, float]:
        """Log of the integral of the density, and its standard error."""
        ratios = self.log_p - self.log_q
        value = float(logsumexp(ratios) - np.log(len(ratios)))
        return value, float(np.exp(ratios - value).std() / np.sqrt(len(ratios)))

    def resampled(self, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices of ``size`` points chosen by systematic resampling, in random order."""
        ends = np.cumsum(np.exp(self.log_weights))
        at = (np.arange(size) + rng.random()) / size * ends[-1]
        return rng.permutation(np.minimum(np.searchsorted(ends, at), len(ends) - 1))


def weighted(
    log_densities: Callable[[FloatArray], FloatArray],
    proposals: Sequence[tuple[float, Gaussian]],
    size: int,
    rng: np.random.Generator,
    own: LogPosterior | None = None,
    freedom: float = np.inf,
) -> Weighted:
    """Importance-weighted draws from a mixture of Gaussians, given with their shares.

    With finite ``freedom`` they are t distributions with this number of degrees of freedom. For the package's posterior
    (``own``) under the hierarchical prior, C0 is drawn from its exact conditional given the drawn covariances. The tail of
    log C0 is not Gaussian, and the exact conditional can only bring the draws closer to the posterior.
    """
    shares = np.array([share for share, _ in proposals])
    chosen = rng.choice(len(shares), size, p=shares) if len(shares) > 1 else np.zeros(size, dtype=int)
    noise = rng.standard_normal((size, len(proposals[0][1].mean)))
    if np.isfinite(freedom):
        noise /= np.sqrt(rng.chisquare(freedom, size) / freedom)[:, None]
    means, factors = (np.array(each) for each in zip(*(gaussian for _, gaussian in proposals), strict=True))
    points = np.empty_like(noise)
    for i, (mean, factor) in enumerate(zip(means, factors, strict=True)):
        points[chosen == i] = mean + noise[chosen == i] @ factor.T
    rest = np.arange(points.shape[1])
    log_q = np.zeros(size)
    if own is not None and own.hierarchical:
        rest = own.beside_scale
        points, log_q = own.with_exact_scale(points, rng)
    log_q = log_q + logsumexp(
        [
            np.log(share) + _log_density(points[:, rest], mean[rest], factor[rest], freedom)
            for share, mean, factor in zip(shares, means, factors, strict=True)
        ],
        axis=0,
    )
    log_p = log_densities(points)
    log_p = np.where(np.isfinite(log_p), log_p, -np.inf)
    log_weights, k_hat = array_stats.psislw(log_q - log_p)
    return Weighted(points, log_p, log_q, log_weights, float(k_hat))


def _log_density(points: FloatArray, mean: FloatArray, factor: FloatArray, freedom: float) -> FloatArray:
    """Log density of N(mean, factor factor'), or of the t distribution, for some rows of a triangular factor."""
    if factor.shape[0] < factor.shape[1]:
        factor = np.linalg.qr(factor.T, mode="r").T  # triangular again, up to signs
    noise = solve_triangular(factor, (points - mean).T, lower=True).T
    if np.isinf(freedom):
        return log_normal(noise, factor)
    log_determinant = np.log(np.abs(np.diagonal(factor))).sum()
    return multivariate_t.logpdf(noise, shape=np.eye(noise.shape[1]), df=freedom) - log_determinant


def sample_laplace(
    problem: Problem, optima: Sequence[Optimum], draws: int, chains: int, seed: int, phases: Phases
) -> tuple[Sampled | None, dict[str, float]]:
    """Draws from Laplace's approximation at each solution, weighted and resampled, and diagnostics of the weights.

    If the posterior is not almost Gaussian, its tails may be heavier, and its mean is not at the mode. Then draws of t
    distributions are weighted instead (Geweke 1989), with as many degrees of freedom as coordinates. A thousand draws decide
    this. If there is a single solution, weighted draws give the t distribution the posterior's mean and covariance
    (Paananen et al. 2021). For rows that are read in passes, which are very many, this is tried only if the Gaussians fail.
    The draws are None if the diagnostics show that the last weights do not represent the posterior.

    References
    ----------
    Geweke (1989), Bayesian inference in econometric models using Monte Carlo integration, Econometrica 57, 1317-1339.
    doi:10.2307/1913710

    Paananen, Piironen, Bürkner & Vehtari (2021), Implicitly adaptive importance sampling, Statistics and Computing 31, 16.
    doi:10.1007/s11222-020-09982-2
    """
    own, rng = problem.own, np.random.default_rng(seed)
    assert own is not None
    in_passes = isinstance(own, SummedPosterior)
    points = f", {2 * own.n_dim} points in a pass" if in_passes else ""
    with phases("geometry", f"Laplace's approximation{points}"):
        proposals = [(each.mass, each.approximation or laplace(own, each.point)) for each in optima]
    size, freedom = max(draws * chains, FEWEST_POINTS), float(max(own.n_dim, _FEWEST_FREEDOM))
    with phases("draws", f"weighing {size} draws{' in one pass' if in_passes else ''}"):
        found = weighted(own.values, proposals, FEWEST_POINTS, rng, own)
        if found.reliable and (in_passes or found.efficiency >= _EXACT):
            found = found if size == FEWEST_POINTS else weighted(own.values, proposals, size, rng, own)
        else:
            for _ in range(_ROUNDS):
                if len(proposals) == 1 and (better := found.matched()) is not None:
                    proposals = [(1.0, better)]
                found = weighted(own.values, proposals, size, rng, own, freedom)
                if found.reliable and found.efficiency >= _GOOD:
                    break
    told = {"pareto_k": found.k_hat, "importance_efficiency": found.efficiency}
    if not found.reliable:
        return None, told
    chosen = found.resampled(draws * chains, rng)
    posterior = problem.target.constrained(found.points[chosen].reshape(chains, draws, -1))
    stats = {name: values[chosen].reshape(chains, draws) for name, values in (("lp", found.log_p), ("log_q", found.log_q))}
    sample_stats = xr.Dataset({name: (("chain", "draw"), each) for name, each in stats.items()}, coords=posterior.coords)
    log_mass, mcse = found.log_mass()
    images = float(gammaln(np.bincount(own.classes) + 1).sum())  # relabellings of the solutions
    told |= {"log_evidence": log_mass + images - problem.log_unit, "log_evidence_mcse": mcse}
    told |= {"log_evidence_ess": found.efficiency * size, "log_evidence_overlap": found.efficiency}
    return Sampled(posterior, sample_stats), told
