"""Distributions of some features given the others, for normal and t distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from bayesgmm.arguments import FloatArray


class Given(NamedTuple):
    """Components given known features: the density of these, and the distribution of the R other features."""

    log_density: FloatArray  # (..., K), of the known features
    mean: FloatArray  # (..., K, R)
    stretch: FloatArray  # (..., K), by which the factors grow; 1 for normal distributions
    nu: FloatArray | None  # (..., K), degrees of freedom of t distributions


class Split:
    r"""Components whose features are split into G known ones and the R others.

    The Cholesky factor of a covariance with the known features first is

    .. math::
        \begin{pmatrix} L_1 & 0 \\ C & L_2 \end{pmatrix}, \quad u = L_1^{-1} (x_1 - \mu_1),

    so that the others have mean :math:`\mu_2 + C u` and covariance :math:`L_2 L_2'` given the known :math:`x_1`. A t
    distribution has :math:`\nu + G` degrees of freedom then, and its scale grows with :math:`u'u` (Ding 2016,
    doi:10.1080/00031305.2016.1164756).

    Parameters
    ----------
    mu : (..., K, D) array
    factors : (..., K, D, D) array
        Lower Cholesky factors of the covariances.
    nu : (..., K) array or None
    known : sequence of int
        Indices of the known features.
    """

    def __init__(self, mu: FloatArray, factors: FloatArray, nu: FloatArray | None, known: Sequence[int]) -> None:
        n_features, n_known = mu.shape[-1], len(known)
        self.others = [j for j in range(n_features) if j not in known]
        ordered = factors[..., [*known, *self.others], :]
        lower = np.linalg.qr(ordered.swapaxes(-1, -2), mode="r").swapaxes(-1, -2)  # triangular again
        self.factors = lower[..., n_known:, n_known:]
        """(..., K, R, R): each times its transpose is a covariance of the others; diagonals may be negative."""
        self._own, self._cross = lower[..., :n_known, :n_known], lower[..., n_known:, :n_known]
        self._mu, self._of_others, self._nu = mu[..., known], mu[..., self.others], nu

    @property
    def sd(self) -> FloatArray:
        """Standard deviations of the others before they are stretched, (..., K, R)."""
        return np.sqrt((self.factors**2).sum(axis=-1))

    def at(self, values: FloatArray) -> Given:
        """Given known features (..., G). Their leading axes are broadcast against those of the components, without K."""
        n_known = values.shape[-1]
        deviations = values[..., None, :] - self._mu
        u = (np.linalg.inv(self._own) @ deviations[..., None])[..., 0]
        mean = self._of_others + (self._cross @ u[..., None])[..., 0]
        with np.errstate(over="ignore"):
            distance = (u**2).sum(axis=-1)
        log_volume = np.log(abs(np.diagonal(self._own, axis1=-2, axis2=-1))).sum(axis=-1)
        if self._nu is None:
            log_density = -0.5 * (distance + n_known * np.log(2 * np.pi)) - log_volume
            return Given(log_density, mean, np.ones(distance.shape), None)
        nu, more = self._nu, self._nu + n_known
        constant = gammaln(more / 2) - gammaln(nu / 2) - n_known / 2 * np.log(np.pi * nu) - log_volume
        log_density = constant - more / 2 * np.log1p(distance / nu)
        return Given(log_density, mean, np.sqrt((nu + distance) / more), np.broadcast_to(more, distance.shape))
