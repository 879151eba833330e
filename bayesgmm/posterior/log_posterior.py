"""What the compiled posteriors of all covariance structures have in common."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import carray, types
from scipy.special import gammaln

from bayesgmm.arguments import Covariance, FloatArray
from bayesgmm.kernels.compiled import STRICT, c_callback, compiled
from bayesgmm.model.mixture import Mixture
from bayesgmm.model.priors import HierarchicalPrior, Prior
from bayesgmm.model.structures import Structure

Point = Mapping[str, FloatArray]

LARGEST = 600.0  # the logarithm of a variance beyond which a float cannot follow
FARTHEST = 1e100  # the same of a mean or of a coordinate of the weights


class Compiled(NamedTuple):
    """The compiled functions of one family of posteriors.

    ``value(point, user_data, gradient)`` fills the gradient; ``values(points, user_data, places, out)`` is the same for many
    points; ``callback()`` is what nutpie calls, compiled when it is asked for.
    """

    value: Any
    values: Any
    callback: Any


@dataclass(frozen=True, eq=False)
class LogPosterior(ABC):
    """Log density of data and parameters plus the log Jacobian of the transformation to the unconstrained space.

    Attributes
    ----------
    x : (n,) or (n, D) array
    k : int
    prior : HierarchicalPrior or ConjugatePrior
        Scaled to the data.
    covariance : {"full", "tied", "diag", "spherical"}
    """

    x: FloatArray
    k: int
    prior: Prior
    covariance: Covariance

    @property
    def hierarchical(self) -> bool:
        """Whether C0 is learnt."""
        return isinstance(self.prior, HierarchicalPrior)

    @property
    def n_features(self) -> int:
        """D."""
        return 1 if self.x.ndim == 1 else self.x.shape[1]

    @property
    def structure(self) -> Structure:
        """Of the covariances."""
        return Structure(self.covariance, self.n_features)

    @property
    def n_dim(self) -> int:
        """Number of unconstrained coordinates."""
        return sum(self.sizes.values())

    @property
    def places(self) -> dict[str, slice]:
        """Where in a point the coordinates of each variable stand."""
        ends = np.cumsum(list(self.sizes.values()))
        return {name: slice(int(end) - size, int(end)) for (name, size), end in zip(self.sizes.items(), ends, strict=True)}

    @property
    def scale_name(self) -> str:
        """The free variable that C0 is made of."""
        return "C0_factor" if "C0_factor" in self.sizes else "C0"

    def __call__(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Log posterior and its gradient; NaN where it is beyond the range of a float."""
        gradient = np.empty(self.n_dim)
        value = self.compiled().value(np.ascontiguousarray(point, dtype=float), self.user_data, gradient)
        return value, gradient

    def values(self, points: FloatArray) -> FloatArray:
        """Log posterior at many points (S, n_dim), shape (S,), computed on all cores."""
        result = np.empty(len(points))
        parts = np.array_split(np.arange(len(points)), os.cpu_count() or 1)
        compute = self.compiled().values
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda part: compute(points[part], self.user_data, part, result), parts))
        return result

    def at(self, mixture: Mixture) -> FloatArray:
        """The point of a mixture, with C0 at its conditional mean given the covariances."""
        return self.unconstrained(self.values_at(mixture))

    def mixture_at(self, point: FloatArray) -> Mixture:
        """The mixture at a point, the other way round."""
        values = self.constrained(point)
        if "cov" in values:
            return Mixture(values["w"], values["mu"], values["cov"])
        return Mixture(values["w"], values["mu"], sigma=np.sqrt(np.broadcast_to(values["sigma2"], values["mu"].shape)))

    @property
    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Number of coordinates of each variable, in their order."""

    @abstractmethod
    def constrained(self, points: FloatArray) -> dict[str, FloatArray]:
        """The model's variables at points (..., n_dim), and ``cov`` and ``C0`` made of them; those tied repeated K times."""

    @abstractmethod
    def unconstrained(self, values: Point) -> FloatArray:
        """The point at which the model's free variables have these values."""

    @abstractmethod
    def values_at(self, mixture: Mixture) -> Point:
        """A mixture as values of the model's free variables, C0 at its conditional mean given the covariances."""

    @abstractmethod
    def with_exact_scale(self, points: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Points with C0 drawn anew from its conditional given the covariances, and that conditional's log density."""

    @property
    @abstractmethod
    def user_data(self) -> FloatArray:
        """Everything the compiled functions need, in one array."""

    @staticmethod
    @abstractmethod
    def compiled() -> Compiled:
        """The compiled functions of the family."""

    def weights_and_means(self, points: FloatArray) -> dict[str, FloatArray]:
        """W and mu at points (..., n_dim)."""
        y, mu = points[..., self.places["w"]], points[..., self.places["mu"]]
        logits = np.concatenate([y, -y.sum(axis=-1, keepdims=True)], axis=-1)
        w = np.exp(logits - logits.max(axis=-1, keepdims=True))
        w = np.maximum(w / w.sum(axis=-1, keepdims=True), np.finfo(float).tiny)  # that of a component as good as empty
        return {"w": w, "mu": mu.reshape(*mu.shape[:-1], self.k, *self.x.shape[1:])}

    def log_constants(self) -> float:
        """Normalising constants of the priors of weights and means, and of the simplex' Jacobian."""
        k, alpha = self.k, self.prior.alpha
        B0: Any = np.atleast_2d(np.asarray(self.prior.B0))
        means = k * (self.n_features * math.log(2 * math.pi) + np.linalg.slogdet(B0)[1]) / 2
        return float(gammaln(k * alpha) - k * gammaln(alpha) + math.log(k) - means)


def weights_of(mixture: Mixture) -> FloatArray:
    """A mixture's weights, none of them zero."""
    w = np.maximum(mixture.weights, 1e-6)
    return w / w.sum()


def weight_coordinates(w: FloatArray) -> FloatArray:
    """The K - 1 free coordinates y, w = softmax([y, -sum y])."""
    log_weights = np.log(w)
    return (log_weights - log_weights.mean())[:-1]


@compiled(fastmath=STRICT)
def is_beyond(point, limit):  # type: ignore[no-untyped-def]
    """Whether any coordinate is not a number within the limit."""
    return not (np.abs(point) < limit).all()


@compiled(fastmath=STRICT)
def log_weights(point, log_w):  # type: ignore[no-untyped-def]
    """Fill log w = a - logsumexp(a) of logits a = (y, -sum y); return their sum, which times alpha is their prior."""
    k = len(log_w)
    log_w[k - 1] = 0.0
    for j in range(k - 1):
        log_w[j] = point[j]
        log_w[k - 1] -= point[j]
    largest = log_w.max()
    total = 0.0
    for j in range(k):
        total += math.exp(log_w[j] - largest)
    log_total = largest + math.log(total)
    sum_log_w = 0.0
    for j in range(k):
        log_w[j] -= log_total
        sum_log_w += log_w[j]
    return sum_log_w


@compiled(fastmath=STRICT)
def weight_slopes(log_w, counts, alpha, n, gradient):  # type: ignore[no-untyped-def]
    """Slopes of y, of likelihood, prior and Jacobian."""
    k = len(log_w)
    last = counts[k - 1] + alpha - math.exp(log_w[k - 1]) * (n + k * alpha)
    for j in range(k - 1):
        gradient[j] = counts[j] + alpha - math.exp(log_w[j]) * (n + k * alpha) - last


@compiled(fastmath=STRICT)
def add_means(mu, b0, inverse_B0, slopes):  # type: ignore[no-untyped-def]
    """Log prior of the means (K, D) up to its constant; its slopes are added."""
    value = 0.0
    k, n_features = mu.shape
    for j in range(k):
        for d in range(n_features):
            pull = 0.0
            for e in range(n_features):
                pull += inverse_B0[d, e] * (mu[j, e] - b0[e])
            value -= 0.5 * pull * (mu[j, d] - b0[d])
            slopes[j, d] -= pull
    return value


@compiled(fastmath=STRICT)
def add_variances(log_variances, log_C0, c0, g0, rate, slopes, C0_slopes):  # type: ignore[no-untyped-def]
    """Log prior of variances (m, V) and, unless log_C0 is empty, of C0 (V), up to constants; slopes are added.

    log InvGamma(c0, C0) and its Jacobian give c0 log C0 - c0 log sigma2 - C0 / sigma2; ``rate`` is G0, or C0 if given.
    """
    value = 0.0
    m, n_scales = log_variances.shape
    for v in range(n_scales):
        C0 = rate[v] if len(log_C0) == 0 else math.exp(log_C0[v])
        sum_inverse = 0.0
        for j in range(m):
            inverse = math.exp(-log_variances[j, v])
            sum_inverse += inverse
            value -= c0 * log_variances[j, v] + C0 * inverse
            slopes[j, v] += C0 * inverse - c0
        if len(log_C0) > 0:
            shape = g0 + m * c0
            value += shape * log_C0[v] - rate[v] * C0
            C0_slopes[v] += shape - C0 * (rate[v] + sum_inverse)
    return value


@compiled(fastmath=STRICT)
def code(value, gradient):  # type: ignore[no-untyped-def]
    """What nutpie is told: 0 if all is well, 3 or 4 where the gradient or the value is not finite."""
    if not np.isfinite(gradient).all():
        return 3
    return 0 if np.isfinite(value) else 4


@compiled(fastmath=STRICT)
def from_whitened(noise, whitener, point):  # type: ignore[no-untyped-def]
    """Fill point = centre + factor noise; a whitener is centre and packed triangular factor, or empty for the identity."""
    dim = len(noise)
    if len(whitener) == 0:
        point[:] = noise
        return
    at = dim
    for i in range(dim):
        point[i] = whitener[i] + np.dot(whitener[at : at + i + 1], noise[: i + 1])
        at += i + 1


@compiled(fastmath=STRICT)
def to_whitened(slopes, whitener, gradient):  # type: ignore[no-untyped-def]
    """Fill gradient = factor' slopes, the slopes of the noise."""
    dim = len(slopes)
    if len(whitener) == 0:
        gradient[:] = slopes
        return
    gradient[:] = 0.0
    at = dim
    for i in range(dim):
        for j in range(i + 1):
            gradient[j] += whitener[at + j] * slopes[i]
        at += i + 1


@compiled(fastmath=STRICT)
def split(sampler_data):  # type: ignore[no-untyped-def]
    """The density's user data and the whitener, out of what :func:`sampler_data` joined."""
    size, n_whitener = carray(sampler_data, (2,))
    whole = carray(sampler_data, (2 + int(size) + int(n_whitener),))
    return whole[2 : 2 + int(size)], whole[2 + int(size) :]


def sampler_data(user_data: FloatArray, *whitener: FloatArray) -> FloatArray:
    """The array that nutpie hands to the callbacks: user data and the parts of a whitener, if any; see :func:`split`."""
    return np.concatenate([[len(user_data), sum(map(len, whitener))], user_data, *whitener])


def density_callback(function: Any) -> Any:
    """Compile the C callback of a density."""
    floats = types.CPointer(types.float64)
    return c_callback(types.int64(types.uint64, floats, floats, floats, floats), function)


@cache
def draw_callback() -> Any:
    """Compile the C callback that keeps a draw: the unconstrained point."""
    floats = types.CPointer(types.float64)
    return c_callback(types.int64(types.uint64, types.uint64, floats, floats, floats), _keep)


def _keep(dim, n_expanded, noise, out, sampler_data):  # type: ignore[no-untyped-def]
    from_whitened(carray(noise, (dim,)), split(sampler_data)[1], carray(out, (n_expanded,)))
    return 0
