"""The interface between ``fit`` and its engines: a posterior goes in, draws come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr
from scipy.linalg import solve_triangular

from bayesgmm.arguments import FloatArray

NOTHING_TO_KEEP = "before the first draw: there is nothing to keep"
LogDensity = Callable[[FloatArray], tuple[float, FloatArray]]  # of a point: value and gradient
Loss = Callable[[FloatArray, FloatArray], tuple[float, FloatArray, FloatArray]]  # of a mean and a factor, with gradients


class Gaussian(NamedTuple):
    """N(mean, factor factor') with a triangular factor."""

    mean: FloatArray
    factor: FloatArray

    def noise(self, point: FloatArray) -> FloatArray:
        """The standardised coordinates z of a point = mean + factor z."""
        return np.asarray(solve_triangular(self.factor, point - self.mean, lower=True))


class Start(NamedTuple):
    """The start of a NUTS chain, and the Gaussian that whitens its coordinates, if any."""

    point: FloatArray
    whitening: Gaussian | None = None

    def initial(self, seed: Any) -> FloatArray:
        """The start in the chain's coordinates. The seed, which the sampler passes, has no effect."""
        return self.point.copy() if self.whitening is None else self.whitening.noise(self.point)


class Target(Protocol):
    """A posterior on the unconstrained space."""

    @property
    def compiling(self) -> str | None:
        """The announcement of its compilation, if that takes long."""

    def for_advi(self, family: str, seed: int) -> tuple[LogDensity, Loss]:
        """The log density, and a noisy negative evidence lower bound of a Gaussian."""

    def log_densities(self, points: FloatArray) -> FloatArray:
        """The log density at points (S, n_dim), once :meth:`for_advi` has been called."""

    def for_nuts(self, start: Start) -> Any:
        """A nutpie model for a chain that begins at this start."""

    def sampled(self, posterior: xr.Dataset) -> xr.Dataset:
        """The variables of the mixture from the posterior group that nutpie returns."""

    def constrained(self, points: FloatArray) -> xr.Dataset:
        """The variables of the mixture at points (chain, draw, n_dim)."""


@dataclass(frozen=True)
class Sampled:
    """What an engine returns: draws, its statistics, and whether it was interrupted.

    ``stopped_by`` says what ended an adaptive run: "target_ess" or "max_draws". ``thin`` is the thinning.
    """

    posterior: xr.Dataset
    sample_stats: xr.Dataset
    interrupted: bool = False
    approximation: xr.Dataset | None = None
    stopped_by: str | None = None
    thin: int = 1
