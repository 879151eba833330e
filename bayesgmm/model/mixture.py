"""The generative story: z ~ Categorical(w), x | z = k ~ Normal(mu_k, Sigma_k)."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from bayesgmm.arguments import FloatArray, read_count, read_probability, read_seed, require_memory
from bayesgmm.data.known import require_labels_of
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import as_shown
from bayesgmm.data.tables import read_numbers
from bayesgmm.digits import with_digits
from bayesgmm.model.conditioning import Split
from bayesgmm.words import about

NOISE, NU = "w_noise", "nu"  # names of the share of noise and of the degrees of freedom
_LARGE, _SMALL = 1e8, 1e-3  # larger means, or smaller standard deviations, need more than NumPy's four decimals


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Mixture:
    r"""A Gaussian mixture with known parameters, :math:`p(x) = \sum_k w_k N(x; \mu_k, \Sigma_k)`.

    Parameters
    ----------
    weights : (K,) array
        Probabilities; not negative, summing to one.
    means : (K,) array for one feature, (K, D) array for D features
    covariances : (K,) array of variances for one feature, (K, D, D) array of covariance matrices for D features
        Give these or ``sigma``. A scalar or one (D, D) matrix is used for all components.
    sigma : (K,) array or scalar, optional
        Standard deviations, for one feature only, instead of ``covariances``.
    noise : float, optional
        Share of the observations that are noise and belong to no component. The weights are shares of all other
        observations. ``sample`` draws no noise. Densities are those of the components, unless the
        :class:`bayesgmm.Observations` may be noise.
    nu : (K,) array or scalar, optional
        Degrees of freedom, if the components are Student's t distributions. ``covariances`` or ``sigma`` are then scales,
        which are close to covariances and standard deviations if nu is large.

    Attributes
    ----------
    mu : (K, D) array
        The means, for one feature too.
    cov : (K, D, D) array
        The covariances, for one feature too.

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
    mu: FloatArray
    cov: FloatArray
    noise: float | None
    nu: FloatArray | None

    def __init__(
        self,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike | None = None,
        *,
        sigma: ArrayLike | None = None,
        noise: float | None = None,
        nu: ArrayLike | None = None,
    ) -> None:
        checked_means = _read_means(means)
        n_components = len(checked_means)
        for name, value in (
            ("weights", _read_weights(weights, n_components)),
            ("mu", checked_means),
            ("cov", _read_covariances(covariances, sigma, checked_means)),
        ):
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        freedom = None if nu is None else _read_of_components(read_numbers(nu, "nu"), "nu", n_components)
        object.__setattr__(self, "nu", freedom)
        object.__setattr__(self, "noise", None if noise is None else read_probability(noise, "noise"))

    @property
    def n_components(self) -> int:
        """K, the number of components."""
        return len(self.weights)

    @property
    def n_features(self) -> int:
        """D, the number of features."""
        return self.mu.shape[1]

    @property
    def means(self) -> FloatArray:
        """Means: (K,) for one feature, (K, D) otherwise."""
        return as_shown(self.mu)

    @property
    def covariances(self) -> FloatArray:
        """Variances (K,) for one feature, covariance matrices (K, D, D) otherwise."""
        return as_shown(as_shown(self.cov))

    @property
    def sd(self) -> FloatArray:
        """Standard deviations of every feature, (K, D)."""
        return np.sqrt(np.diagonal(self.cov, axis1=1, axis2=2))

    @property
    def sigma(self) -> FloatArray:
        """Standard deviations: (K,) for one feature, (K, D) otherwise."""
        return as_shown(self.sd)

    @property
    def parameters(self) -> tuple[FloatArray, ...]:
        """Weights (K,), means (K, D), Cholesky factors (K, D, D) and nu (K,) (t distributions), as the E-step takes them.

        With noise the weights are (K + 1,), and its share is the last.
        """
        nu = () if self.nu is None else (self.nu,)
        return with_share(self.weights, self.noise), self.mu, self.factors, *nu

    @cached_property
    def factors(self) -> FloatArray:
        """Lower Cholesky factors (K, D, D) of the covariances."""
        return np.linalg.cholesky(self.cov)

    def sample(self, n: int, random_seed: int | np.random.Generator | None = None) -> tuple[FloatArray, NDArray[np.int64]]:
        """Draw labels z from the weights, then observations x from the components with these labels.

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
        require_memory(8 * n * (3 * self.n_features + self.n_features**2 + 2), f"a sample of {n} observations", "draw fewer")
        rng = random_seed if isinstance(random_seed, np.random.Generator) else np.random.default_rng(read_seed(random_seed))
        z = rng.choice(self.n_components, size=n, p=self.weights)
        noise = rng.standard_normal((n, self.n_features))
        if self.nu is not None:
            noise /= np.sqrt(rng.chisquare(self.nu[z]) / self.nu[z])[:, None]
        return as_shown(self.mu[z] + np.einsum("nij,nj->ni", self.factors[z], noise)), z

    def log_density(self, x: ArrayLike | Observations) -> FloatArray:
        """Log p(x) at each observation, shape (n,)."""
        return self._read(x).log_density(*self.parameters)

    def responsibilities(self, x: ArrayLike | Observations) -> FloatArray:
        """Probability of each component given each observation, shape (n, K); rows sum to one.

        If the mixture has noise and the :class:`bayesgmm.Observations` may be noise, one more column, the last, is noise.
        """
        return self._read(x).responsibilities(*self.parameters)

    def sorted(self) -> Mixture:
        """The same density with components in increasing order of their means (first feature first)."""
        return self.reordered(np.lexsort(self.mu.T[::-1]))

    def reordered(self, order: NDArray[np.int64]) -> Mixture:
        """The same density with components in another order, (K,)."""
        nu = None if self.nu is None else self.nu[order]
        return Mixture(self.weights[order], self.mu[order], self.cov[order], noise=self.noise, nu=nu)

    def rescaled(self, shift: float | FloatArray, scale: float | FloatArray) -> Mixture:
        """The distribution of ``shift + scale * x``. Shift and scale may hold a number for each feature."""
        scales = np.broadcast_to(scale, (self.n_features,))
        cov = self.cov * np.outer(scales, scales)
        return Mixture(self.weights, shift + scale * self.mu, cov, noise=self.noise, nu=self.nu)

    def marginal(self, features: int | Sequence[int]) -> Mixture:
        """The distribution of some features alone.

        Parameters
        ----------
        features : int or sequence of int
            Positions of the features, from 0 to D - 1, in the order wanted.

        Returns
        -------
        Mixture

        Raises
        ------
        ValueError
            If ``features`` are not different features of this mixture.

        Examples
        --------
        >>> Mixture([0.5, 0.5], [[0, 5], [9, 7]], [[1, 0.5], [0.5, 4]]).marginal(1)
        Mixture(weights=[0.5, 0.5], means=[5., 7.], sigma=[2., 2.])
        """
        chosen: list[Any] = list(features) if isinstance(features, Sequence | np.ndarray) else [features]
        places = [self._read_feature(each, "features") for each in chosen]
        if not places or len(set(places)) < len(places):
            raise ValueError(about("features", f"must name at least one feature, each of them once, got {chosen}"))
        return Mixture(self.weights, self.mu[:, places], self.cov[:, places][:, :, places], noise=self.noise, nu=self.nu)

    def conditional(self, given: Mapping[int, float]) -> Mixture:
        r"""The distribution of the other features, if some are known, for observations that are not noise.

        Parameters
        ----------
        given : mapping of int to float
            Values of the known features, by their positions from 0 to D - 1.

        Returns
        -------
        Mixture
            Of the other features, in their order. Its weights are the probabilities of the components given the known
            values. Components of t distributions have more degrees of freedom, and other scales, than in this mixture.

        Raises
        ------
        ValueError
            If the values are not finite, or are not those of some, but not all, features.

        Notes
        -----
        For normal components, with 1 the known and 2 the other features,

        .. math::
            p(x_2 \mid x_1) = \sum_k \frac{w_k N(x_1; \mu_{k1}, \Sigma_{k11})}{\sum_l w_l N(x_1; \mu_{l1}, \Sigma_{l11})}
            N(x_2;\ \mu_{k2} + \Sigma_{k21} \Sigma_{k11}^{-1} (x_1 - \mu_{k1}),\
            \Sigma_{k22} - \Sigma_{k21} \Sigma_{k11}^{-1} \Sigma_{k12}).

        Examples
        --------
        >>> Mixture([0.5, 0.5], [[0, 5], [9, 7]], [[1, 0.5], [0.5, 4]]).conditional({0: 1.0}).means
        array([5.5, 3. ])
        """
        if not isinstance(given, Mapping):
            raise TypeError(about("given", f"must map positions of features to values, got {type(given).__name__}"))
        places = [self._read_feature(each, "given") for each in given]
        if not 0 < len(places) < self.n_features:
            rule = f"must hold some, but not all, of the {self.n_features} feature(s)"
            raise ValueError(about("given", f"{rule}, got {list(given)}"))
        values = read_numbers(list(given.values()), "given")
        if values.ndim > 1 or not np.isfinite(values).all():
            raise ValueError(about("given", f"must hold one finite value for each feature, got {values.tolist()}"))
        split = Split(self.mu, self.factors, self.nu, places)
        known = split.at(values)
        if not np.isfinite(known.log_density).any():
            raise ValueError(
                about("given", f"must lie nearer to the means, where densities can be computed, got {values.tolist()}")
            )
        with np.errstate(divide="ignore", under="ignore"):
            weights = softmax(known.log_density + np.log(self.weights))
        factors = known.stretch[:, None, None] * split.factors
        return Mixture(weights, known.mean, factors @ factors.swapaxes(-1, -2), nu=known.nu)

    def _read_feature(self, feature: Any, name: str) -> int:
        is_place = isinstance(feature, numbers.Integral) and not isinstance(feature, bool)
        place = int(feature) if is_place else -1
        if not 0 <= place < self.n_features:
            rule = f"must name features by their positions, from 0 to {self.n_features - 1}"
            raise ValueError(about(name, f"{rule}, got {feature!r}"))
        return place

    def _read(self, x: ArrayLike | Observations) -> Observations:
        data = Observations.read(x)
        if data.n_features != self.n_features:
            raise ValueError(about("x", f"must have {self.n_features} feature(s) like the mixture, got {data.n_features}"))
        require_labels_of(data.known, self.n_components)
        return data

    def __repr__(self) -> str:
        third = f"sigma={_short(self.sigma)}" if self.n_features == 1 else f"covariances={_short(self.covariances)}"
        noise = "" if self.noise is None else f", noise={self.noise:.4g}"
        nu = "" if self.nu is None else f", nu={_short(self.nu)}"
        return f"Mixture(weights={_short(self.weights)}, means={_located(self.means, self.sigma)}, {third}{noise}{nu})"


def with_share(weights: FloatArray, noise: float | FloatArray | None) -> FloatArray:
    """Weights (..., K + 1) with noise's share (...) last, from the components' weights (..., K); unchanged without noise."""
    if noise is None:
        return weights
    share = np.asarray(noise)[..., None]
    return np.concatenate([weights * (1 - share), share], axis=-1)


def _read_means(means: ArrayLike) -> FloatArray:
    array = read_numbers(means, "means")
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(about("means", f"must have shape (K,) or (K, D), got shape {array.shape}"))
    if not np.isfinite(array).all():
        raise ValueError(about("means", f"must be finite, got {array.tolist()}"))
    return array.reshape(len(array), -1)


def _read_weights(weights: ArrayLike, n_components: int) -> FloatArray:
    array = read_numbers(weights, "weights")
    if array.shape != (n_components,):
        raise ValueError(about("weights", f"must have shape ({n_components},) like the means, got shape {array.shape}"))
    if not (array >= 0).all():
        raise ValueError(about("weights", f"must not be negative, got {array.tolist()}"))
    with np.errstate(over="ignore"):
        total = array.sum()
    if not abs(total - 1) < 1e-6:
        raise ValueError(
            about("weights", f"must sum to 1, got {array.tolist()} with sum {total:g}; divide them by their sum")
        )
    return array / total


def _read_covariances(covariances: ArrayLike | None, sigma: ArrayLike | None, means: FloatArray) -> FloatArray:
    if (covariances is None) == (sigma is None):
        raise ValueError("give exactly one of covariances and sigma")
    n_components, n_features = means.shape
    if sigma is not None:
        if n_features > 1:
            raise ValueError(f"sigma is for one feature, got means with {n_features}; give covariances")
        scales = _read_of_components(read_numbers(sigma, "sigma"), "sigma", n_components)
        with np.errstate(over="ignore", under="ignore"):
            variances = scales**2
        if not (np.isfinite(variances).all() and (variances > 0).all()):
            raise ValueError(about("sigma", f"must have a square within the range of a float, got {scales.tolist()}"))
        return variances[:, None, None]
    array, shape = read_numbers(covariances, "covariances"), (n_components, n_features, n_features)  # type: ignore[arg-type]
    if n_features == 1:
        variances = array.reshape(n_components) if array.shape == shape else array
        return _read_of_components(variances, "covariances", n_components)[:, None, None]
    if array.shape not in (shape, shape[1:]):
        raise ValueError(about("covariances", f"must have shape {shape} for these means, got shape {array.shape}"))
    array = np.array(np.broadcast_to(array, shape))
    sd = np.sqrt(np.maximum(np.diagonal(array, axis1=1, axis2=2), 0))
    with np.errstate(all="ignore"):  # entries that are not finite and zero variances are refused below
        scaled = array / sd[:, :, None] / sd[:, None, :]
        symmetric = abs(array - array.transpose(0, 2, 1)) <= 1e-8 * sd[:, :, None] * sd[:, None, :]
    if not np.isfinite(array).all() or not symmetric.all():
        raise ValueError(about("covariances", "must be finite and symmetric"))
    array = array / 2 + array.transpose(0, 2, 1) / 2
    for j in range(n_components):
        if not (sd[j] > 0).all() or np.linalg.eigvalsh(scaled[j]).min() <= 0 or not _has_factor(array[j]):
            raise ValueError(about("covariances", f"must be positive definite, but that of component {j} is not"))
    return array


def _read_of_components(values: FloatArray, name: str, n_components: int) -> FloatArray:
    """A positive number for each component, (K,), or one for all."""
    if values.shape not in ((), (n_components,)):
        rule = f"must be a number or have shape ({n_components},) like the means"
        raise ValueError(about(name, f"{rule}, got shape {values.shape}"))
    values = np.array(np.broadcast_to(values, (n_components,)))
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(about(name, f"must be positive and finite, got {values.tolist()}"))
    return values


def _has_factor(covariance: FloatArray) -> bool:
    try:
        return bool(np.isfinite(np.linalg.cholesky(covariance)).all())
    except np.linalg.LinAlgError:
        return False


def _located(means: FloatArray, sigma: FloatArray) -> str:
    """Means as text, with more digits than four decimals if their standard deviations require it."""
    if abs(means).max() < _LARGE and sigma.min() > _SMALL:
        return _short(means)
    texts = [with_digits(*each, least=5) for each in zip(means.ravel(), sigma.ravel(), strict=True)]
    rows = np.array(texts, dtype=object).reshape(means.shape).tolist()
    return str(rows).replace("'", "")


def _short(array: FloatArray) -> str:
    return np.array2string(array, precision=4, separator=", ").replace("\n", "")
