"""The generative story: z ~ Categorical(w), x | z = k ~ Normal(mu_k, Sigma_k)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp, softmax

from bayesgmm import estep
from bayesgmm.validation import FloatArray, read_count, read_data, read_numbers, read_seed

_LOG_2PI = float(np.log(2 * np.pi))
_BLOCK = 2**20  # elements of scratch in one block of observations


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Mixture:
    r"""A Gaussian mixture with known parameters, :math:`p(x) = \sum_k w_k N(x; \mu_k, \Sigma_k)`.

    Parameters
    ----------
    weights : (K,) array
        Probabilities; not negative, summing to one.
    means : (K,) array for one feature, (K, D) array for D features
    covariances : (K,) array of variances for one feature, (K, D, D) array of covariance matrices for D features
        Give these or ``sigma``. A scalar or one (D, D) matrix stands for all components.
    sigma : (K,) array or scalar, optional
        Standard deviations, for one feature only, in place of ``covariances``.

    Raises
    ------
    ValueError
        If shapes do not fit, weights are not probabilities, or a covariance is not positive definite.

    Examples
    --------
    >>> mixture = Mixture([0.25, 0.75], [5.0, 10.0], sigma=[1.5, 2.0])
    >>> x, z = mixture.sample(3, random_seed=1)
    >>> mixture.responsibilities(x).sum(axis=1)
    array([1., 1., 1.])
    """

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray

    def __init__(
        self,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike | None = None,
        *,
        sigma: ArrayLike | None = None,
    ) -> None:
        checked_means = _read_means(means)
        n_components = len(checked_means)
        for name, value in (
            ("weights", _read_weights(weights, n_components)),
            ("means", checked_means),
            ("covariances", _read_covariances(covariances, sigma, checked_means)),
        ):
            value.flags.writeable = False
            object.__setattr__(self, name, value)

    @property
    def n_components(self) -> int:
        """K, the number of components."""
        return len(self.weights)

    @property
    def n_features(self) -> int:
        """D, the number of features."""
        return 1 if self.means.ndim == 1 else self.means.shape[1]

    @property
    def sigma(self) -> FloatArray:
        """Standard deviations: (K,) for one feature, (K, D) per feature otherwise."""
        if self.n_features == 1:
            return np.sqrt(self.covariances)
        return np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))

    def sample(self, n: int, random_seed: int | np.random.Generator | None = None) -> tuple[FloatArray, NDArray[np.int64]]:
        """Draw z from the weights, then x from the component that z names.

        Parameters
        ----------
        n : int
            How many observations.
        random_seed : int, Generator or None

        Returns
        -------
        x : (n,) or (n, D) array
            Observations.
        z : (n,) array of int
            The component each came from.
        """
        n = read_count(n, "n", minimum=0)
        rng = random_seed if isinstance(random_seed, np.random.Generator) else np.random.default_rng(read_seed(random_seed))
        z = rng.choice(self.n_components, size=n, p=self.weights)
        if self.n_features == 1:
            return self.means[z] + self.sigma[z] * rng.standard_normal(n), z
        factors = np.linalg.cholesky(self.covariances)
        noise = rng.standard_normal((n, self.n_features))
        return self.means[z] + np.einsum("nij,nj->ni", factors[z], noise), z

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Log p(x) at each observation, shape (n,)."""
        values = self._read(x)
        if self.n_features == 1:
            return estep.log_density(values, self.weights, self.means, self.sigma)
        result = np.empty(len(values))
        for block, log_joint in self._blocks(values):
            result[block] = logsumexp(log_joint, axis=1)
        return result

    def responsibilities(self, x: ArrayLike) -> FloatArray:
        """Probability of each component given each observation, shape (n, K); rows sum to one."""
        values = self._read(x)
        if self.n_features == 1:
            return estep.responsibilities(values, self.weights, self.means, self.sigma)
        result = np.empty((len(values), self.n_components))
        for block, log_joint in self._blocks(values):
            result[block] = softmax(log_joint, axis=1)
        return result

    def sorted(self) -> Mixture:
        """The same density with components in increasing order of their means (first feature first)."""
        keys = self.means[None] if self.n_features == 1 else self.means.T[::-1]
        order = np.lexsort(keys)
        return Mixture(self.weights[order], self.means[order], self.covariances[order])

    def rescaled(self, shift: float, scale: float) -> Mixture:
        """The mixture of ``shift + scale * x``, for one feature."""
        return Mixture(self.weights, shift + scale * self.means, sigma=scale * self.sigma)

    def _read(self, x: ArrayLike) -> FloatArray:
        data = read_data(x)
        if data.n_features != self.n_features:
            raise ValueError(f"x must have {self.n_features} feature(s) like the mixture, got {data.n_features}")
        return data.values

    def _blocks(self, values: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
        """Log w_k N(x_i; mu_k, Sigma_k) for D features, one block of observations after another."""
        width = max(1, _BLOCK // (self.n_components * self.n_features))
        with np.errstate(divide="ignore"):
            log_weights = np.log(self.weights)
        for begin in range(0, len(values), width):
            block = slice(begin, begin + width)
            yield block, log_weights + self._log_components(values[block])

    def _log_components(self, values: FloatArray) -> FloatArray:
        """Log N(x_i; mu_k, Sigma_k) for D features, shape (n, K)."""
        result = np.empty((len(values), self.n_components))
        for j, (mean, factor) in enumerate(zip(self.means, np.linalg.cholesky(self.covariances), strict=True)):
            z = solve_triangular(factor, (values - mean).T, lower=True)
            log_determinant = 2 * np.log(np.diagonal(factor)).sum()
            result[:, j] = -0.5 * ((z**2).sum(axis=0) + log_determinant + self.n_features * _LOG_2PI)
        return result

    def __repr__(self) -> str:
        third = f"sigma={_short(self.sigma)}" if self.n_features == 1 else f"covariances={_short(self.covariances)}"
        return f"Mixture(weights={_short(self.weights)}, means={_short(self.means)}, {third})"


def _read_means(means: ArrayLike) -> FloatArray:
    array = read_numbers(means, "means")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"means must have shape (K,) or (K, D), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"means must be finite, got {array.tolist()}")
    return array


def _read_weights(weights: ArrayLike, n_components: int) -> FloatArray:
    array = read_numbers(weights, "weights")
    if array.shape != (n_components,):
        raise ValueError(f"weights must have shape ({n_components},) like the means, got shape {array.shape}")
    if not (array >= 0).all():
        raise ValueError(f"weights must not be negative, got {array.tolist()}")
    total = array.sum()
    if not abs(total - 1) < 1e-6:
        raise ValueError(f"weights must sum to 1, got {array.tolist()} with sum {total:g}; divide them by their sum")
    return array / total


def _read_covariances(covariances: ArrayLike | None, sigma: ArrayLike | None, means: FloatArray) -> FloatArray:
    if (covariances is None) == (sigma is None):
        raise ValueError("give exactly one of covariances and sigma")
    if sigma is not None:
        if means.ndim == 2:
            raise ValueError(f"sigma is for one feature, got means with {means.shape[1]}; give covariances")
        scales = np.array(np.broadcast_to(read_numbers(sigma, "sigma"), means.shape))
        if not (np.isfinite(scales).all() and (scales > 0).all()):
            raise ValueError(f"sigma must be positive and finite, got {scales.tolist()}")
        variances = scales**2
        if not (np.isfinite(variances).all() and (variances > 0).all()):
            raise ValueError(f"sigma must have a square within the range of a float, got {scales.tolist()}")
        return variances
    array = read_numbers(covariances, "covariances")  # type: ignore[arg-type]
    if means.ndim == 1:
        if array.ndim == 3 and array.shape[1:] == (1, 1):
            array = array[:, 0, 0]
        if array.shape not in ((), means.shape):
            raise ValueError(f"covariances must have shape {means.shape} like the means, got shape {array.shape}")
        array = np.array(np.broadcast_to(array, means.shape))
        if not (np.isfinite(array).all() and (array > 0).all()):
            raise ValueError(f"covariances must be positive and finite, got {array.tolist()}")
        return array
    n_components, n_features = means.shape
    shape = (n_components, n_features, n_features)
    if array.shape not in (shape, shape[1:]):
        raise ValueError(f"covariances must have shape {shape} for these means, got shape {array.shape}")
    array = np.array(np.broadcast_to(array, shape))
    if not np.isfinite(array).all() or not np.allclose(array, array.transpose(0, 2, 1), rtol=1e-8, atol=0):
        raise ValueError("covariances must be finite and symmetric")
    for j, matrix in enumerate(array):
        if np.linalg.eigvalsh(matrix).min() <= 0:
            raise ValueError(f"covariances must be positive definite, but that of component {j} is not")
    return array


def _short(array: FloatArray) -> str:
    return np.array2string(array, precision=4, separator=", ").replace("\n", "")
