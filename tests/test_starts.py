"""Where NUTS chains start, and messages for a sampler's failures."""

import warnings

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.engines.nuts import _named_failures
from bayesgmm.engines.starts import NO_START, after_sweeps, can_begin, near
from bayesgmm.exceptions import ConvergenceWarning
from bayesgmm.posterior import log_posterior
from tests.statistics import rng

# ten integers whose default posterior is improper for k = 3: Gibbs sweeps fall into its spike
TIES = np.array([0.0, 0, 0, 0, 1, 1, 2, 2, 2, 2])


@pytest.fixture(scope="module")
def improper():
    x = (TIES - TIES.mean()) / TIES.std()
    return log_posterior(x[:, None], 3, bg.HierarchicalPrior().scaled_to(x), "full")


@pytest.fixture(scope="module")
def sound(improper):
    """A point where all three components have weight and width."""
    point = np.zeros(improper.n_dim)
    point[improper.places["mu"]] = [-1.0, 0.1, 1.0]
    return point


def test_nuts_does_not_begin_where_rounding_decides_the_slope(improper, sound):
    assert can_begin(improper, sound)
    shrunk = sound.copy()
    shrunk[improper.places["mu"]] = np.unique(improper.x)
    shrunk[-3:] = -75.0  # log variances: a standard deviation below the rounding of the data
    value, slopes = improper(shrunk)
    assert np.isfinite(value)
    assert np.isfinite(slopes).all()
    assert not can_begin(improper, shrunk)
    for at, value in (("mu", np.nan), ("mu", np.inf), ("C0", 1e4), ("C0", -1e4)):
        beyond = sound.copy()
        beyond[improper.places[at]] = value
        assert not can_begin(improper, beyond)
    flat = sound.copy()
    flat[:2], flat[improper.places["mu"].start] = -2_000.0, improper.prior.b0  # no weight, and its mean at the prior's mode
    assert not can_begin(improper, flat)


def test_a_start_in_the_spike_is_replaced(improper, sound):
    shrunk = sound.copy()
    shrunk[improper.places["mu"]] = np.unique(improper.x)
    shrunk[-3:] = -14.0
    place = after_sweeps(improper, shrunk, rng(1))
    assert can_begin(improper, place)
    assert np.abs(place - shrunk).max() <= 0.1  # because the sweeps ended in the spike


def test_no_start_is_a_sentence(improper, sound):
    sound = sound.copy()
    sound[-3:] = -1e4
    with pytest.raises(ValueError, match="NUTS cannot begin"):
        near(improper, sound, rng(1))


@pytest.mark.parametrize("seed", [1, 4])
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning")
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ImproperPosteriorWarning")
def test_nuts_on_an_improper_posterior_does_not_panic(seed):
    x = np.random.default_rng(seed).integers(0, 3, 10).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        tree = bg.fit(x, 3, rounding=None, draws=25, tune=25, chains=2, thin=1, random_seed=seed, progressbar=False)
    assert np.isfinite(tree["posterior"]["mu"]).all()


class PanicException(BaseException):
    """Like that of pyo3, which is not a subclass of ``Exception``."""


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("All initialization points failed\n\nCaused by: ..."), "NUTS cannot begin"),
        (PanicException("Could not initialize state because of bad initial gradient"), "NUTS cannot begin"),
        (PanicException("Poisoned"), "the sampler failed: Poisoned; try another random_seed"),
        (RuntimeError(), "the sampler failed: RuntimeError; try another random_seed"),
    ],
    ids=str,
)
def test_a_failure_of_the_sampler_is_a_sentence(error, sentence):
    with pytest.raises(ValueError, match=sentence) as found, _named_failures(NO_START):
        raise error
    assert found.value.__suppress_context__


@pytest.mark.parametrize("error", [KeyboardInterrupt, TypeError("x")])
def test_other_errors_are_not_taken_for_the_samplers(error):
    with pytest.raises(error if isinstance(error, type) else type(error)), _named_failures(NO_START):
        raise error
