"""A posterior's draws of the mixture's parameters, as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm.analysis.contract import (
    HYPERPARAMETERS,
    IMPOSSIBLE,
    group_of,
    parameter_dims,
    read_tree,
    require_draws,
    require_hyperparameters,
)
from bayesgmm.arguments import FamilyName, FloatArray
from bayesgmm.data.units import Units
from bayesgmm.families import name_of
from bayesgmm.model.mixture import NOISE, NU, with_share

_COLLAPSED = 1e-13  # floor for the eigenvalues of a correlation matrix that is singular to rounding


@dataclass(frozen=True)
class Draws:
    """Draws of the mixture's parameters as arrays, with the chains concatenated: S = chains x draws."""

    w: FloatArray  # (S, K)
    mu: FloatArray  # (S, K, D)
    factors: FloatArray  # (S, K, D, D), lower Cholesky factors of the covariances
    n_chains: int
    n_draws: int
    noise: FloatArray | None = None  # (S,), share of noise, if the model has noise; w are the weights within the rest
    nu: FloatArray | None = None  # (S, K), degrees of freedom of t distributions

    @property
    def parameters(self) -> tuple[FloatArray, ...]:
        """Weights, means, Cholesky factors and nu, as the E-step takes them. With noise, its share is the last weight."""
        return with_share(self.w, self.noise), self.mu, self.factors, *(() if self.nu is None else (self.nu,))

    @property
    def family(self) -> FamilyName:
        """Family of the components' distributions."""
        return name_of(self.nu)

    def each(self) -> Iterator[tuple[FloatArray, ...]]:
        """Iterate over the draws: the parameters of one draw at a time."""
        return zip(*self.parameters, strict=True)

    @property
    def n_components(self) -> int:
        """Number of components, K."""
        return self.w.shape[1]

    @property
    def n_features(self) -> int:
        """Number of features, D."""
        return self.mu.shape[2]

    def by_chain(self, values: NDArray[Any]) -> NDArray[Any]:
        """Reshape (S, ...) to (chain, draw, ...)."""
        return values.reshape(self.n_chains, self.n_draws, *values.shape[1:])

    def reordered(self, order: NDArray[np.int64]) -> Draws:
        """Draws with the clusters of each draw in the given order (S, K)."""
        rows = np.arange(len(order))[:, None]
        nu = None if self.nu is None else self.nu[rows, order]
        return replace(self, w=self.w[rows, order], mu=self.mu[rows, order], factors=self.factors[rows, order], nu=nu)

    def of(self, rows: Any, n_chains: int, n_draws: int) -> Draws:
        """The selected draws, as ``n_chains`` chains of ``n_draws`` draws."""
        noise, nu = (None if each is None else each[rows] for each in (self.noise, self.nu))
        return Draws(self.w[rows], self.mu[rows], self.factors[rows], n_chains, n_draws, noise, nu)

    def thinned(self, most: int) -> Draws:
        """At most ``most`` draws, evenly spaced, as one chain."""
        keep = np.linspace(0, len(self.w) - 1, min(most, len(self.w))).astype(int)
        return self.of(keep, 1, len(keep))

    def standardised(self, units: Units) -> Draws:
        """The draws in standardised units."""
        mu, factors = units.standardised(self.mu), self.factors / units.scale[:, None]
        return replace(self, mu=mu, factors=factors)

    def halves(self) -> Draws:
        """A single chain split into halves, as two chains."""
        half = self.n_draws // 2
        return self.of(slice(2 * half), 2, half)

    def sample(self, s: int, n: int, rng: np.random.Generator) -> FloatArray:
        """Sample observations (n, D) from the clusters of draw s, without noise."""
        z = rng.choice(self.n_components, size=n, p=self.w[s] / self.w[s].sum())
        noise = rng.standard_normal((n, self.n_features))
        if self.nu is not None:
            noise /= np.sqrt(rng.chisquare(self.nu[s, z]) / self.nu[s, z])[:, None]
        return self.mu[s, z] + np.einsum("nij,nj->ni", self.factors[s, z], noise)

    @property
    def among_all(self) -> Draws:
        """The draws with weights as shares of all observations. With noise the weights add to less than one."""
        return replace(self, w=self.parameters[0][:, : self.n_components], noise=None)

    def cluster(self, j: int) -> Draws:
        """One cluster with its weight."""
        w, mu, factors = self.w[:, [j]], self.mu[:, [j]], self.factors[:, [j]]
        nu = None if self.nu is None else self.nu[:, [j]]
        return replace(self, w=w, mu=mu, factors=factors, noise=None, nu=nu)

    @property
    def sd(self) -> FloatArray:
        """Standard deviations of every feature, (S, K, D)."""
        return np.sqrt((self.factors**2).sum(axis=-1))

    def marginal(self, feature: int) -> Draws:
        """The marginal mixtures of one feature."""
        if self.n_features == 1:
            return self
        return replace(self, mu=self.mu[..., [feature]], factors=self.sd[..., [feature], None])

    def along(self, axis: FloatArray) -> Draws:
        """The mixtures of a weighted sum of the features, with weights ``axis`` (D,)."""
        sd = np.sqrt(((axis @ self.factors) ** 2).sum(axis=-1))
        return replace(self, mu=(self.mu @ axis)[..., None], factors=sd[..., None, None])


def read_draws(tree: xr.DataTree) -> Draws:
    """Read and check the draws of the mixture's parameters."""
    posterior = read_tree(tree)["posterior"].to_dataset()
    require_draws(posterior, tree.attrs.get("covariance"))
    require_hyperparameters(group_of(tree, HYPERPARAMETERS))
    return draws_of(posterior)


def draws_of(posterior: xr.Dataset) -> Draws:
    """The draws of the mixture's parameters in a posterior group."""
    n_chains, n_draws, k = posterior["w"].shape
    names = list(parameter_dims(1 if posterior["mu"].ndim == 3 else 2))
    arrays = (np.asarray(posterior[name].values, dtype=float) for name in names)
    w, mu, spread = (values.reshape(-1, k, *values.shape[3:]) for values in arrays)
    factors = roots(spread) if spread.ndim == 4 else spread[..., None, None]
    noise = np.asarray(posterior[NOISE].values, dtype=float).ravel() if NOISE in posterior else None
    nu = np.asarray(posterior[NU].values, dtype=float).reshape(w.shape) if NU in posterior else None
    return Draws(w, mu.reshape(*w.shape, -1), factors, n_chains, n_draws, noise, nu)


def roots(cov: FloatArray) -> FloatArray:
    """Cholesky factors. Covariances that are singular to rounding get larger eigenvalues before they are factorised."""
    try:
        return np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        sd = np.sqrt(np.maximum(np.diagonal(cov, axis1=-2, axis2=-1), np.finfo(float).tiny))
        units = sd[..., :, None] * sd[..., None, :]
        values, vectors = np.linalg.eigh(cov / units)
        if values.min() < IMPOSSIBLE:
            wrong = (values < IMPOSSIBLE).any(axis=-1)
            raise ValueError(
                "tree must hold covariance matrices cov that are positive definite, got "
                f"{wrong.sum()} of {wrong.size} that are not; pass what fit returned"
            ) from None
        values = np.maximum(values, _COLLAPSED)
        return np.linalg.cholesky((vectors * values[..., None, :]) @ vectors.swapaxes(-1, -2) * units)
