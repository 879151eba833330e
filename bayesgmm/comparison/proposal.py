r"""A proposal close to the posterior with a known density: a mixture of full conditionals, over all relabellings.

Given one draw of the parameters, allocations z are drawn. Their sufficient statistics are kept for each cluster: counts n_j,
means, and scatter about the draw's means. The kernel is the next step of a Gibbs sweep,

.. math::
    w \sim \mathrm{Dirichlet}(\alpha + n_j), \quad \Sigma_j \sim p(\Sigma \mid \mu_t, z, C_{0t}), \quad
    \mu_j \sim p(\mu \mid \Sigma_j, z).

The likelihood given z is raised to a power of at most 1, because the parameters vary less given z than under the posterior.
The kernel is a product over clusters, apart from constants and the factor of a tied covariance. Densities are those of the
unconstrained coordinates of :mod:`bayesgmm.posterior` without C0.

In a certain basis B0 is the identity and the precision of component i is diagonal, with eigenvalues lambda_id. There the
mean's conditional under counts n_j has precisions 1 + n_j lambda_id, so that no matrix is factorised for a pair of component
and cluster. References are in :func:`bayesgmm.log_evidence`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import betaln, digamma, gammaln, multigammaln

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.allocations import allocate_at, draw_parameters
from bayesgmm.kernels.permanents import MOST_AT_ONCE, mixture_log_densities, subset_steps
from bayesgmm.kernels.points import OF_NOISE
from bayesgmm.kernels.prior import compiled_prior
from bayesgmm.kernels.student import LARGEST, LEAST, PRIOR, SMALLEST, Student, nu_of
from bayesgmm.model import wishart
from bayesgmm.posterior import LogPosterior, SummedPosterior

_TEMPERS = (1.0, 0.6, 0.3)  # powers to which the likelihood given z is raised, in turn
_GRID = 2_000  # values of log(nu - 1)
_BATCHES = 4  # for each core
_CHUNK = 64  # points handled together


@dataclass(frozen=True, eq=False)
class Proposal:
    """Kernels at some points (T, n_dim) of the posterior, in a mixture with equal weights."""

    own: LogPosterior
    counts: FloatArray  # (T, K), or (T, K + 1) with the count of noise last
    means: FloatArray  # (T, K, D), of the observations allocated; zero where there are none
    shapes: FloatArray  # (T, m), of the precisions
    rates: FloatArray  # (T, m, D, D) or (T, m, V)
    scales: FloatArray  # (T, K), effective counts for the means
    of_nu: FloatArray  # (T, K, 2), location and scale of log(nu - 1), or (T, 0, 2)

    @classmethod
    def at(cls, own: LogPosterior, points: FloatArray, rng: np.random.Generator) -> Proposal:
        """Kernels given allocations drawn at these points, or expected ones if rows are read in passes."""
        t, k, d, mu = len(points), own.k, own.n_features, own.means(points)
        sums = _expected(own, points) if isinstance(own, SummedPosterior) else _drawn(own, points, rng)
        counts, first, second, tails = sums
        some = counts[:, :k, None] > 0
        means = np.where(some, mu + first / np.where(some, tails[:, 0, :, None], 1), 0.0)
        power = np.resize(_TEMPERS, t)
        counts, second = power[:, None] * counts, power[:, None, None, None] * second
        tails *= power[:, None, None]
        of_nu = location_and_scale(counts[:, :k], tails[:, 1]) if own.n_nu else np.empty((t, 0, 2))
        within, n_per_block = second, counts[:, :k]
        if own.spread.structure.shared:
            within, n_per_block = second.sum(axis=1, keepdims=True), n_per_block.sum(axis=1, keepdims=True)
        C0, c0 = own.scales(points, rng), own.hyper.c0
        free = c0 > 0  # other covariances are fixed
        shapes = np.where(free, c0 + n_per_block / 2, 0.0)
        if own.spread.structure.correlated:
            rates = C0 + within / 2
        else:
            squares = np.diagonal(within, axis1=2, axis2=3)
            if own.spread.structure.one_unit:
                squares, shapes = squares.sum(axis=2, keepdims=True), np.where(free, c0 + n_per_block * d / 2, 0.0)
            rates = C0 + squares / 2
        rates = rates * free.reshape(-1, *(1,) * (rates.ndim - 2))
        return cls(own, counts, means, shapes, rates, tails[:, 0].copy(), of_nu)

    def draw(self, times: int, rng: np.random.Generator) -> FloatArray:
        """Stratified draws (T x times, n_dim) of the mixture, ``times`` from each kernel. C0 is left at zero."""
        own, prior, spread = self.own, compiled_prior(self.own.hyper), self.own.spread
        n_kernels = len(self.counts)
        result = np.zeros((n_kernels, times, sum(own.sizes.values())))
        result[:] = 0.0 if own.held is None else own.held.base

        def fill(each: tuple[int, np.random.Generator]) -> None:
            t, own_rng = each
            draw_parameters(
                own_rng, spread.compiled, self.counts[t], self.scales[t], self.means[t], self.shapes[t], self.rates[t],
                self.of_nu[t], prior, own.places[spread.name].start, result[t],
            )  # fmt: skip

        on_all_cores(fill, list(enumerate(rng.spawn(n_kernels))))
        return own.reduced(result.reshape(-1, result.shape[2]))

    def log_density(self, points: FloatArray) -> FloatArray:
        """Log density of all coordinates except C0 at points (S, n_dim), averaged over relabellings within classes."""
        result, k = np.empty(len(points)), self.own.k
        steps = subset_steps(k) if k <= MOST_AT_ONCE else None

        def fill(part: slice) -> None:
            sides, jacobian = self._of_points(points[part])
            out = np.empty(len(jacobian))
            mixture_log_densities(sides, self._of_kernels, self.own.classes, steps, out)
            result[part] = out + jacobian

        on_all_cores(fill, [slice(begin, begin + _CHUNK) for begin in range(0, len(points), _CHUNK)])
        return result - gammaln(np.bincount(self.own.classes) + 1).sum()

    def _of_points(self, points: FloatArray) -> tuple[tuple[FloatArray, ...], FloatArray]:
        """What kernel densities need of points, and log Jacobians.

        These are log weights; means in the eigenvectors of R'PR, with P the precisions and R the root of B0; the precisions'
        log determinants and entries; eigenvalues, and eigenvectors times R'P; log shares of noise and the rest; log(nu - 1).
        """
        own, coordinates = self.own, self.own.coordinates(points)
        factors = own.spread.precision_factors(coordinates)
        scaled = factors @ own.hyper.root_of_B0
        eigenvalues, rotations = np.linalg.eigh(scaled.swapaxes(-1, -2) @ scaled)
        pulls = rotations.swapaxes(-1, -2) @ scaled.swapaxes(-1, -2) @ factors
        inverse = np.broadcast_to(own.hyper.inverse_root, (own.k, own.n_features, own.n_features))
        nu = np.einsum("kde,ske->skd", inverse, own.means(points) - own.hyper.b0)
        nu = np.einsum("skd,skde->ske", nu, np.broadcast_to(rotations, (*nu.shape, own.n_features)))
        jacobian, free = np.zeros(len(points)), np.broadcast_to(own.hyper.c0 > 0, own.spread.n_blocks)
        if own.spread.structure.correlated:
            diagonal, _ = wishart.diagonal_entries(own.n_features)
            logs = coordinates[..., diagonal]
            log_determinants = 2 * logs.sum(axis=-1)
            jacobian = (logs * (2 * np.arange(1, own.n_features + 1) - own.n_features - 1))[:, free].sum(axis=(1, 2))
            entries = wishart.pack(factors.swapaxes(-1, -2) @ factors)
        else:
            log_determinants, entries = -coordinates.sum(axis=-1), np.exp(-coordinates)
        log_w, log_shares, eigenvalues = own.log_weights(points), own.log_shares(points), np.maximum(eigenvalues, 0.0)
        sides = log_w, nu, log_determinants, entries, eigenvalues, pulls, log_shares, own.nu_coordinates(points)
        return tuple(np.ascontiguousarray(side) for side in sides), jacobian

    @cached_property
    def _of_kernels(self) -> tuple[FloatArray, ...]:
        """What densities need of kernels.

        These are effective counts, Dirichlet parameters, constants of each cluster, shapes, rates, centres, common
        constants, Beta parameters of noise's share, and location and scale of log(nu - 1).
        """
        hyper, spread, (_, k, d) = self.own.hyper, self.own.spread, self.means.shape
        centres = self.means - hyper.b0
        counts, of_noise = self.counts[:, :k], self.counts[:, k:]
        free = np.broadcast_to(hyper.alpha > 0, k)  # other weights are fixed
        powers = np.where(free, hyper.alpha + counts, 0.0)
        common = np.broadcast_to(hyper.log_normaliser_of_means, k).sum() + np.zeros(len(counts))
        if free.any():
            log_rest = 0.0 if self.own.held is None else self.own.held.log_w[-1]
            totals = powers.sum(axis=1)
            common += gammaln(totals) + np.log(free.sum()) - totals * log_rest
        has_prior = self.shapes > 0
        if spread.structure.correlated:
            some = np.where(has_prior, self.shapes, d)
            of_precisions = d * np.log(2) - multigammaln(some.ravel(), d).reshape(some.shape)
            of_precisions += some * np.linalg.slogdet(np.where(has_prior[..., None, None], self.rates, np.eye(d)))[1]
            doubled = self.rates * (2 - np.eye(d))  # an off-diagonal entry counts twice
            rates = wishart.pack(doubled)
        else:
            rates = self.rates
            some = np.where(has_prior, self.shapes, 1.0)
            of_precisions = some * np.log(np.where(has_prior[..., None], rates, 1.0)).sum(axis=-1)
            of_precisions -= rates.shape[-1] * gammaln(some)
        of_precisions = np.where(has_prior, of_precisions, 0.0)
        constants = -gammaln(np.where(free, powers, 1.0))
        if spread.n_blocks == k:
            constants = constants + of_precisions
        else:
            common = common + of_precisions[:, 0]
        shares = np.empty((len(counts), 0))
        if self.own.noise:
            shares = np.hstack([of_noise, counts.sum(axis=1, keepdims=True)]) + OF_NOISE
            common = common - betaln(*shares.T)
        arrays = self.scales, powers, constants, self.shapes, rates, centres, common, shares, self.of_nu
        return tuple(map(np.ascontiguousarray, arrays))


def _drawn(own: LogPosterior, points: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, ...]:
    """Sufficient statistics of allocations drawn at points: counts, first and second moments, sums for nu; (T, ...) each."""
    t, k, d = len(points), own.k, own.n_features
    mu, log_w = own.means(points), own.log_weights(points)
    factors = own.spread.precision_factors(own.coordinates(points))
    if own.noise:
        shares = own.log_shares(points)
        log_w = np.hstack([log_w + shares[:, 1:], shares[:, :1]])
    counts, first, second = np.empty(log_w.shape), np.empty((t, k, d)), np.empty((t, k, d, d))
    tails, nu = np.zeros((t, 2, k)), nu_of(own.nu_coordinates(points))

    def fill(each: tuple[int, np.random.Generator]) -> None:
        s, own_rng = each
        rows = own.distribution.rows(own.rows, nu[s])
        allocate_at(own_rng, rows, log_w[s], mu[s], factors[s], counts[s], first[s], second[s])
        tails[s, 0] = counts[s, :k]
        if isinstance(rows.known, Student):
            tails[s] = rows.known.tails

    on_all_cores(fill, list(enumerate(rng.spawn(t))))
    second += np.tril(second, -1).swapaxes(-1, -2)
    return counts, first, second, tails


def _expected(own: SummedPosterior, points: FloatArray) -> tuple[FloatArray, ...]:
    """Expected values of the statistics that :func:`_drawn` draws, found in one pass.

    Kernels then lie a little closer together. With a fraction f of missing information the variance of their mixture is
    1 - f + f^2 times that of the posterior, at least three quarters of it.
    """
    parameters = own.parameters(points)
    _, counts, first, second, tails = own.source.sums(*parameters, units=own.units)
    if second.ndim == first.ndim:  # only diagonals, for diagonal covariances
        second = second[..., None] * np.eye(own.n_features)
    if not own.n_nu:
        of_components = counts[:, : own.k]
        return counts, first, second, np.stack([of_components, np.zeros_like(of_components)], axis=1)
    half = parameters[-1] / 2
    of_logs = counts[:, : own.k] * (digamma(half + own.n_features / 2) - np.log(half)) - tails[:, 1]
    return counts, first, second, np.stack([tails[:, 0], of_logs - tails[:, 0]], axis=1)


def location_and_scale(counts: FloatArray, of_logs: FloatArray) -> FloatArray:
    """Mean and standard deviation of log(nu - 1) given the scales drawn, for each cluster, (T, K, 2)."""
    grid = np.linspace(np.log(SMALLEST), np.log(LARGEST), _GRID)
    half = (LEAST + np.exp(grid)) / 2
    log_density = (PRIOR[0] - 1) * np.log(half) - 2 * PRIOR[1] * half + grid
    log_density = log_density + counts[..., None] * (half * np.log(half) - gammaln(half))
    log_density += of_logs[..., None] * half
    p = np.exp(log_density - log_density.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    mean = p @ grid
    sd = np.sqrt((p * (grid - mean[..., None]) ** 2).sum(axis=-1))
    return np.stack([mean, np.maximum(sd, grid[1] - grid[0])], axis=-1)


def on_all_cores(function: Any, parts: list[Any]) -> None:
    """Call a function that releases the GIL with each part, on all cores."""

    def call_with_each(some: list[Any]) -> None:
        for part in some:
            function(part)

    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:  # in a few batches: handing over a part may take longer than the call
        list(pool.map(call_with_each, [parts[i :: _BATCHES * cores] for i in range(_BATCHES * cores)]))
