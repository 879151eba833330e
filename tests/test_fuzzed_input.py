"""Mixtures, priors, grids and new observations of any kind give a valid answer, or one sentence."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.model.priors import prior_of
from tests.conftest import make_tree

NUMBERS = st.one_of(
    st.floats(width=64),
    st.integers(-3, 3),
    st.sampled_from([0.0, 1.0, 0.5, 1e-310, 1e-160, 1e160, 1e308, -1e308, np.nan, np.inf]),
)
ODD = st.sampled_from(
    [None, "1", b"1", True, 1j, {}, [[1.0], [1.0, 2.0]], [], [[]], np.ma.masked, np.ma.masked_equal([1.0, 2.0], 2.0),
     np.array(["1.5", "2"]), np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]"), np.timedelta64(3, "s"), 10**400,
     xr.Dataset({"a": ("obs", [1.0])}), pd.DataFrame({"a": ["x"]}), lambda: 1, np.zeros((2, 2, 2)), np.array(3.0), [0.5, None]]
)  # fmt: skip
VALUES = st.one_of(
    NUMBERS,
    st.lists(NUMBERS, min_size=1, max_size=3),
    st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=3),
    ODD,
)
MATRICES = st.lists(NUMBERS, min_size=4, max_size=4).map(lambda v: np.reshape(v, (2, 2)))
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def answered(call):
    """What the call returns; None if it ends in a sentence of the package."""
    try:
        return call()
    except (TypeError, ValueError, MemoryError) as error:
        said = str(error)
        assert "\n" not in said, said
        deepest = error.__traceback__
        while deepest.tb_next is not None:
            deepest = deepest.tb_next
        assert "/bayesgmm/" in deepest.tb_frame.f_code.co_filename, said
        return None


@FUZZ
@given(weights=VALUES, means=VALUES, spread=st.one_of(VALUES, MATRICES), as_sigma=st.booleans())
@example([0.5, 0.5], [0.0, 1.0], [1.0, 1.0, 1.0], True)
@example([1.0], [[0.0, 0.0]], np.array([[1.0, 1.0], [1.0, 1.0 + 1e-16]]), False)
@example([1e308, 1e308], [0.0, 1.0], [1.0, 1.0], True)
def test_a_mixture_is_one_or_gets_a_sentence(weights, means, spread, as_sigma):
    mixture = answered(lambda: bg.Mixture(weights, means, **{"sigma" if as_sigma else "covariances": spread}))
    if mixture is not None:
        assert mixture.weights.sum() == pytest.approx(1)
        assert np.isfinite(mixture.factors).all()
        assert (mixture.sigma > 0).all()
        assert len(mixture.sorted().weights) == mixture.n_components


@FUZZ
@given(x=VALUES)
def test_a_mixture_reads_observations(x):
    for mixture in (bg.Mixture([0.3, 0.7], [0, 4], sigma=[1, 2]), bg.Mixture([1.0], [[0, 0]], np.eye(2))):
        r = answered(lambda mixture=mixture: mixture.responsibilities(x))
        assert r is None or np.allclose(r.sum(axis=1), 1)
        density = answered(lambda mixture=mixture: mixture.log_density(x))
        assert density is None or not np.isnan(density).any()


def test_a_sample_larger_than_memory_is_refused():
    with pytest.raises(MemoryError, match="draw fewer"):
        bg.Mixture([1.0], [0], sigma=1).sample(10**12)


HYPERPARAMETERS = st.dictionaries(st.sampled_from(["alpha", "b0", "B0", "c0"]), st.one_of(VALUES, MATRICES), max_size=3)


@FUZZ
@given(values=HYPERPARAMETERS, scale=st.one_of(VALUES, MATRICES), data=st.sampled_from(["D = 1", "D = 2"]))
@example({"b0": []}, 1.0, "D = 1")
@example({"B0": "3"}, 1.0, "D = 1")
@example({"c0": np.ma.masked}, 1.0, "D = 1")
def test_a_prior_is_one_or_gets_a_sentence(values, scale, data):
    x = np.array([1.0, 2.0, 5.0]) if data == "D = 1" else np.array([[1.0, 2.0], [2.0, 5.0], [4.0, 1.0]])
    for kind, name in ((bg.HierarchicalPrior, "G0"), (bg.ConjugatePrior, "C0")):
        prior = answered(lambda kind=kind, name=name: kind(**values, **{name: scale}))
        scaled = None if prior is None else answered(lambda prior=prior: prior.scaled_to(x))
        if scaled is not None:
            again = prior_of(scaled.to_json())
            assert again.to_json() == scaled.to_json()


@FUZZ
@given(
    kind=st.sampled_from(["Uniform", "Geometric", "Poisson", "NegativeBinomial", "BetaNegativeBinomial", "Probabilities"]),
    values=st.lists(VALUES, min_size=0, max_size=3),
)
def test_a_prior_of_k_is_one_or_gets_a_sentence(kind, values):
    wanted = {"NegativeBinomial": 2, "BetaNegativeBinomial": 3}.get(kind, 1)
    if len(values) < wanted:
        return
    prior = answered(lambda: getattr(bg.priors, kind)(*values[:wanted]))
    p = None if prior is None else answered(prior.probabilities)
    assert p is None or p.sum() == pytest.approx(1)


@pytest.fixture(scope="module")
def tree():
    return make_tree(np.array([1.0, 1.5, 2.0, 2.2, 8.0, 8.5, 9.0, 9.9]), draws=5)


@pytest.mark.parametrize("call", [
    bg.predictive_density, bg.predictive_cdf, bg.predictive_quantiles, bg.responsibilities, bg.coclustering,
    lambda tree, x: bg.predictive_cdf(tree, [1.0], interval=x), lambda tree, x: bg.predictive_cdf(tree, [1.0], feature=x),
])  # fmt: skip
@FUZZ
@given(x=VALUES)
@example("0.5")
@example([])
@example(np.zeros((1, 1)))
def test_grids_and_new_observations_get_an_answer_or_a_sentence(tree, call, x):
    found = answered(lambda: call(tree, x))
    if isinstance(found, xr.DataArray):
        assert not np.isnan(found.values).any()
