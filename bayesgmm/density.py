"""The log posterior on the unconstrained space, with its gradient, compiled once for any data, K and prior.

It states what :func:`bayesgmm.build_model` states, in the same coordinates and with the same constants; the tests hold
the two against each other. The likelihood and its gradient come from the E-step kernel:

* d/d log w_k = N_k,   d/d mu_k = S1_k / sigma_k^2,   d/d log sigma_k^2 = (S2_k / sigma_k^2 - N_k) / 2
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numba import carray, types
from scipy.special import gammaln

from bayesgmm.compiled import STRICT, c_callback, compiled
from bayesgmm.estep import HALF_LOG_2PI, ROOT_HALF, accumulate
from bayesgmm.mixture import Mixture
from bayesgmm.priors import HierarchicalPrior, Prior
from bayesgmm.validation import Covariance, FloatArray

Point = Mapping[str, FloatArray]

_HEADER = 11  # n, K, own variances or one, hierarchical or not, alpha, b0, B0, c0, g0, G0 or C0, the constant
_LARGEST = 600.0  # the logarithm of a variance beyond which a float cannot follow
_FARTHEST = 1e100  # the same of a mean or of a coordinate of the weights


@dataclass(frozen=True, eq=False)
class LogPosterior:
    """Log p(x, w, mu, sigma2, C0) plus the log Jacobian of the transformation to the unconstrained space.

    A point holds, in this order, the K - 1 free coordinates y of the weights, w = softmax([y, -sum y]); the K means;
    log C0 under the hierarchical prior; and the K logarithms of the variances, or the one if they are tied.

    Attributes
    ----------
    x : (n,) array
    k : int
    prior : HierarchicalPrior or ConjugatePrior
        Scaled to the data.
    covariance : {"full", "tied"}
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
    def n_variances(self) -> int:
        """K, or one if they are tied."""
        return self.k if self.covariance == "full" else 1

    @property
    def n_dim(self) -> int:
        """Number of unconstrained coordinates."""
        return 2 * self.k - 1 + self.hierarchical + self.n_variances

    @property
    def places(self) -> dict[str, slice]:
        """Where in a point the coordinates of each variable stand."""
        sizes = {"w": self.k - 1, "mu": self.k, **({"C0": 1} if self.hierarchical else {}), "sigma2": self.n_variances}
        ends = np.cumsum(list(sizes.values()))
        return {name: slice(int(end) - size, int(end)) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    def __call__(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Log posterior and its gradient; NaN where it is beyond the range of a float."""
        gradient = np.empty(self.n_dim)
        value = _log_posterior(np.ascontiguousarray(point, dtype=float), self.user_data, gradient)
        return value, gradient

    def constrained(self, points: FloatArray) -> dict[str, FloatArray]:
        """w, mu, sigma2 and C0 of points (..., n_dim); sigma2 has K entries, all the same if tied."""
        parts = {name: points[..., place] for name, place in self.places.items()}
        logits = np.concatenate([parts["w"], -parts["w"].sum(axis=-1, keepdims=True)], axis=-1)
        w = np.exp(logits - logits.max(axis=-1, keepdims=True))
        sigma2 = np.exp(parts["sigma2"])
        values = {
            "w": w / w.sum(axis=-1, keepdims=True),
            "mu": parts["mu"],
            "sigma2": np.broadcast_to(sigma2, (*sigma2.shape[:-1], self.k)),
        }
        return values | ({"C0": np.exp(parts["C0"][..., 0])} if self.hierarchical else {})

    def unconstrained(self, values: Point) -> FloatArray:
        """The point at which the variables w, mu, sigma2 and C0 have these values."""
        log_weights = np.log(values["w"])
        parts = [(log_weights - log_weights.mean())[:-1], values["mu"]]
        if self.hierarchical:
            parts.append(np.log(np.atleast_1d(values["C0"])))
        return np.concatenate([*parts, np.log(np.atleast_1d(values["sigma2"]))[: self.n_variances]])

    def at(self, mixture: Mixture) -> FloatArray:
        """The point of a mixture."""
        return self.unconstrained(self.values_at(mixture))

    def values_at(self, mixture: Mixture) -> Point:
        """A mixture as values of w, mu, sigma2 (one number if tied) and C0, at its conditional mean given the variances."""
        w = np.maximum(mixture.weights, 1e-6)
        own = self.covariance == "full"
        sigma2 = mixture.covariances if own else np.asarray(mixture.covariances[0])
        values: dict[str, Any] = {"w": w / w.sum(), "mu": mixture.means, "sigma2": sigma2}
        if isinstance(self.prior, HierarchicalPrior):
            prior: Any = self.prior
            shape = prior.g0 + self.n_variances * prior.c0
            values["C0"] = np.asarray(shape / (prior.G0 + np.sum(1 / sigma2)))
        return values

    def values(self, points: FloatArray) -> FloatArray:
        """Log posterior at many points (S, n_dim), shape (S,), computed on all cores."""
        result = np.empty(len(points))
        parts = np.array_split(np.arange(len(points)), os.cpu_count() or 1)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda part: _log_posteriors(points[part], self.user_data, part, result), parts))
        return result

    @cached_property
    def user_data(self) -> FloatArray:
        """Everything the compiled functions need, in one array: the header, then the data."""
        prior: Any = self.prior
        k, m = self.k, self.n_variances
        constant = gammaln(k * prior.alpha) - k * gammaln(prior.alpha) + math.log(k)
        constant -= k * (HALF_LOG_2PI + 0.5 * math.log(prior.B0)) + m * gammaln(prior.c0)
        if self.hierarchical:
            constant += prior.g0 * math.log(prior.G0) - gammaln(prior.g0)
            scale = (prior.g0, prior.G0)
        else:
            constant += m * prior.c0 * math.log(prior.C0)
            scale = (0.0, prior.C0)
        structure = [len(self.x), k, m == k, self.hierarchical]
        header = [*structure, prior.alpha, prior.b0, prior.B0, prior.c0, *scale, constant]
        return np.concatenate([np.array(header, dtype=float), self.x])


@compiled(fastmath=STRICT)
def _log_posterior(point, user_data, gradient):  # type: ignore[no-untyped-def]
    """Value at a point; the gradient is filled in."""
    k, own, hierarchical = int(user_data[1]), user_data[2] != 0.0, user_data[3] != 0.0
    alpha, b0, B0, c0, g0 = user_data[4], user_data[5], user_data[6], user_data[7], user_data[8]
    n_variances = k if own else 1
    at_C0 = 2 * k - 1
    at_sigma2 = at_C0 + 1 if hierarchical else at_C0
    for i in range(len(point)):
        if not abs(point[i]) < (_FARTHEST if i < at_C0 else _LARGEST):
            gradient[:] = np.nan
            return np.nan

    # weights: logits a = (y, -sum y), log w = a - logsumexp(a); Dirichlet density and Jacobian give alpha sum log w
    log_w = np.empty(k)
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

    mu = point[k - 1 : at_C0]
    offsets, precisions = np.empty(k), np.empty(k)
    for j in range(k):
        log_sigma2 = point[at_sigma2 + j] if own else point[at_sigma2]
        offsets[j] = log_w[j] - 0.5 * log_sigma2 - HALF_LOG_2PI
        precisions[j] = ROOT_HALF * math.exp(-0.5 * log_sigma2)
    sums = np.empty((3, k))
    value = accumulate(user_data[_HEADER:], user_data[:0], 0.0, 1.0, offsets, mu, precisions, sums)
    value += user_data[10] + alpha * sum_log_w

    # weights and means
    n = user_data[0]
    last = sums[0, k - 1] + alpha - math.exp(log_w[k - 1]) * (n + k * alpha)
    for j in range(k - 1):
        gradient[j] = sums[0, j] + alpha - math.exp(log_w[j]) * (n + k * alpha) - last
    for j in range(k):
        deviation = mu[j] - b0
        value -= 0.5 * deviation * deviation / B0
        gradient[k - 1 + j] = 2.0 * precisions[j] * precisions[j] * sums[1, j] - deviation / B0

    # variances: log InvGamma(c0, C0) and the Jacobian give c0 log C0 - c0 log sigma2 - C0 / sigma2, up to the constant
    C0 = math.exp(point[at_C0]) if hierarchical else user_data[9]
    sum_inverse = 0.0
    for j in range(n_variances):
        gradient[at_sigma2 + j] = 0.0
    for j in range(k):
        inverse = 2.0 * precisions[j] * precisions[j]
        gradient[at_sigma2 + (j if own else 0)] += 0.5 * (sums[2, j] * inverse - sums[0, j])
    for j in range(n_variances):
        inverse = 2.0 * precisions[j] * precisions[j]
        sum_inverse += inverse
        value -= c0 * point[at_sigma2 + j] + C0 * inverse
        gradient[at_sigma2 + j] += C0 * inverse - c0
    if hierarchical:
        shape, rate = g0 + n_variances * c0, user_data[9]
        value += shape * point[at_C0] - rate * C0
        gradient[at_C0] = shape - C0 * (rate + sum_inverse)
    return value


@compiled(fastmath=STRICT)
def _log_posteriors(points, user_data, places, values):  # type: ignore[no-untyped-def]
    """Values at points (S, n_dim), written to their places among all values."""
    gradient = np.empty(points.shape[1])
    for s in range(len(points)):
        values[places[s]] = _log_posterior(points[s], user_data, gradient)


def _sampler_density(dim, point, gradient, value, user_data):  # type: ignore[no-untyped-def]
    """The density as nutpie calls it: 0 if all is well, 3 or 4 where the gradient or the value is not finite."""
    n = int(carray(user_data, (1,))[0])
    slope = carray(gradient, (dim,))
    result = _log_posterior(carray(point, (dim,)), carray(user_data, (_HEADER + n,)), slope)
    carray(value, (1,))[0] = result
    if not np.isfinite(slope).all():
        return 3
    return 0 if np.isfinite(result) else 4


def _sampler_draw(dim, n_expanded, point, out, user_data):  # type: ignore[no-untyped-def]
    """What nutpie keeps of a draw: the unconstrained point itself."""
    carray(out, (n_expanded,))[:] = carray(point, (dim,))
    return 0


@cache
def sampler_callbacks() -> tuple[Any, Any]:
    """C callbacks of the density and of what is kept of a draw; user data are :attr:`LogPosterior.user_data`."""
    floats = types.CPointer(types.float64)
    return (
        c_callback(types.int64(types.uint64, floats, floats, floats, floats), _sampler_density),
        c_callback(types.int64(types.uint64, types.uint64, floats, floats, floats), _sampler_draw),
    )
