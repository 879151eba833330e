"""What stands between ``fit`` and its engines: the posterior that goes in, the draws that come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr

from bayesgmm.validation import FloatArray

LogDensity = Callable[[FloatArray], tuple[float, FloatArray]]  # of a point: value and gradient
Loss = Callable[[FloatArray, FloatArray], tuple[float, FloatArray, FloatArray]]  # of a mean and a factor, with gradients


_JITTER = 0.1  # half-width of the spread of chains about a start, on the unconstrained scale of standardised data
_WHITENED_JITTER = 2.0  # the same in standard deviations of the posterior, where they are known


class Start(NamedTuple):
    """Where chains of NUTS begin: a point, and the factor, if any, in whose coordinates point + factor noise they move."""

    point: FloatArray
    factor: FloatArray | None = None

    def jittered(self, seed: Any) -> FloatArray:
        """A place near the start in the coordinates of the chains."""
        noise = np.random.default_rng(seed).uniform(-1, 1, size=len(self.point))
        return self.point + _JITTER * noise if self.factor is None else _WHITENED_JITTER * noise


class Target(Protocol):
    """A posterior on the unconstrained space."""

    @property
    def compiling(self) -> str | None:
        """What to announce before it is compiled, if that takes long."""

    def for_advi(self, family: str, seed: int) -> tuple[LogDensity, Loss]:
        """The log density, and the noisy negative evidence lower bound of a Gaussian."""

    def log_densities(self, points: FloatArray) -> FloatArray:
        """The log density at points (S, n_dim), once :meth:`for_advi` has been called."""

    def for_nuts(self, start: Start) -> Any:
        """A nutpie model whose chains begin near a start."""

    def sampled(self, posterior: xr.Dataset) -> xr.Dataset:
        """The variables of the mixture from the posterior group that nutpie returns."""

    def constrained(self, points: FloatArray) -> xr.Dataset:
        """The variables of the mixture at points (chain, draw, n_dim)."""


@dataclass(frozen=True)
class Sampled:
    """What an engine hands over: draws, what it says of itself, and whether it was cut short.

    ``stopped_by`` says what ended an adaptive run, "target_ess" or "max_draws".
    """

    posterior: xr.Dataset
    sample_stats: xr.Dataset
    interrupted: bool = False
    approximation: xr.Dataset | None = None
    stopped_by: str | None = None
