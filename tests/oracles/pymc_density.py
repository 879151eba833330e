"""PyMC's log density of the same model at the same unconstrained points."""

import numpy as np
import pytest
from pytensor.compile.mode import Mode

import bayesgmm as bg


def stated_by_pymc(own):
    """The PyMC model of a compiled posterior."""
    return bg.build_model(own.observations, own.k, prior=own.prior, covariance=own.covariance, family=own.family)


def value_and_gradient(own, model):
    """PyMC's log density and gradient as a function of a point. The graph runs in Python: optimising it would take longest.

    The layout of a point is taken from ``own``. Otherwise PyMC compiles a function to find it.
    """
    layout = {}
    for variable, (name, place) in zip(model.value_vars, own.places.items(), strict=True):
        assert variable.name.startswith(name)
        shape = {0: (), 1: (-1,), 2: (own.k, -1)}[variable.ndim]
        layout[variable.name] = np.zeros(place.stop - place.start).reshape(shape)
    return model.logp_dlogp_function(ravel_inputs=True, initial_point=layout, mode=Mode("py", "merge"))


def assert_density_is(own, pymc, generator):
    """The compiled value and gradient are PyMC's at three random points."""
    for _ in range(3):
        point = generator.normal(0, 0.5, own.n_dim)
        (value, slopes), (exact, exact_slopes) = own(point), pymc(point)
        assert value == pytest.approx(exact, rel=1e-10)
        np.testing.assert_allclose(slopes, exact_slopes, rtol=1e-8, atol=1e-8 * np.abs(exact_slopes).max())
