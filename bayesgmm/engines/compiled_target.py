"""The package's compiled posterior as a target of the engines, without PyMC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.analysis.tree import CLUSTER, parameter_dims
from bayesgmm.arguments import FloatArray
from bayesgmm.engines.interface import LogDensity, Loss, Start
from bayesgmm.kernels.density import draw_callback, with_whitener
from bayesgmm.model.mixture import NOISE, NU
from bayesgmm.posterior import LogPosterior

POINT = "point"  # the only variable of the nutpie model


@dataclass(frozen=True)
class CompiledTarget:
    """See :class:`bayesgmm.engines.interface.Target`."""

    log_posterior: LogPosterior
    compiling: None = None

    def for_advi(self, family: str, seed: int) -> tuple[LogDensity, Loss]:
        """The log density, and the negative evidence lower bound estimated from a pair of antithetic draws.

        Odd terms of the noise cancel within a pair. If the posterior is nearly Gaussian, the gradient for the mean is thus
        nearly free of noise.
        """
        rng = np.random.default_rng(seed)
        log_density, size = self.log_posterior, self.log_posterior.n_dim
        entropy_of_noise = 0.5 * size * (1 + np.log(2 * np.pi))
        lower = np.tril(np.ones((size, size)))

        def loss(mean: FloatArray, factor: FloatArray) -> tuple[float, FloatArray, FloatArray]:
            noise = rng.standard_normal(size)
            step = factor @ noise
            (above, slope_above), (below, slope_below) = log_density(mean + step), log_density(mean - step)
            diagonal = np.diagonal(factor)
            value = -0.5 * (above + below) - np.log(diagonal).sum() - entropy_of_noise
            slope = -0.5 * lower * np.outer(slope_above - slope_below, noise) - np.diag(1 / diagonal)
            return value, -0.5 * (slope_above + slope_below), slope

        return log_density, loss

    def for_nuts(self, start: Start) -> Any:
        """A nutpie model around the compiled density. Its draws are unconstrained points."""
        from nutpie.compile_pymc import CompiledPyMCModel

        size, whitening = self.log_posterior.n_dim, start.whitening
        whitener = [] if whitening is None else [whitening.mean, whitening.factor[np.tril_indices(size)]]
        return CompiledPyMCModel(
            dims={},
            compiled_logp_func=self.log_posterior.density,
            compiled_expand_func=draw_callback(),
            initial_point_func=start.initial,
            shared_data={},
            shared_var_keys={},
            user_data=with_whitener(self.log_posterior.header, *whitener),
            n_expanded=size,
            shape_info=([POINT], [slice(0, size)], [(size,)]),
            logp_func=None,
            expand_func=None,
            _n_dim=size,
            _shapes={POINT: (size,)},
            _coords={},
        )

    def sampled(self, posterior: xr.Dataset) -> xr.Dataset:
        """The mixture's variables from nutpie's posterior."""
        return self.constrained(posterior[POINT].values)

    def log_densities(self, points: FloatArray) -> FloatArray:
        """The log density at points (S, n_dim)."""
        return self.log_posterior.values(points)

    def constrained(self, points: FloatArray) -> xr.Dataset:
        """The mixture's variables at points (chain, draw, n_dim)."""
        values = self.log_posterior.constrained(points)
        values["sigma"] = np.sqrt(values["cov"][..., 0, 0])  # used for one feature only
        variables = mixture_dims(self.log_posterior)
        dims, coords = ("chain", "draw"), {"chain": np.arange(len(points)), "draw": np.arange(points.shape[1])}
        return xr.Dataset({name: ((*dims, *own), values[name]) for name, own in variables.items()}, coords=coords)


def mixture_dims(log_posterior: LogPosterior) -> dict[str, tuple[str, ...]]:
    """The variables of the package's posterior that the tree keeps, and their dims after chain and draw.

    The free variables of the model follow from these: see :func:`bayesgmm.for_pymc`.
    """
    dims = parameter_dims(log_posterior.n_features)
    if log_posterior.hierarchical:
        several = dims["cov"][1:] if log_posterior.spread.structure.correlated else dims["mu"][1:]
        dims["C0"] = several if log_posterior.spread.size > 1 else ()
    if log_posterior.noise:
        dims[NOISE] = ()
    if log_posterior.n_nu:
        dims[NU] = (CLUSTER,)
    return dims
