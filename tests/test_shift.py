"""Laws under shift: data far from zero, in units of their spread, give the same answers and lose no printed digit."""

import json
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.analysis.draws import read_draws
from bayesgmm.analysis.labels import match
from bayesgmm.analysis.quantities import as_text
from bayesgmm.analysis.tree import permute, read_em, read_permutation
from tests.statistics import SEED, rng

SHIFTS = [pytest.param(2.0**20, marks=pytest.mark.slow), 2.0**30]  # some 1e6 and 1e9; the data's sd is near one
GRID = np.linspace(-6, 6, 25)


def rounded(values):
    """Round to multiples of 2^-16, to which such shifts can be added exactly."""
    return np.round(np.asarray(values) * 2**16) / 2**16


def shifted(tree, by):
    """The tree of the shifted data: observations, means, EM's estimates and b0 are moved."""
    result = tree.copy()
    for group, name in (("posterior", "mu"), ("em_baseline", "mu"), ("observed_data", "x"), ("optima", "mu")):
        if group in tree.children:
            dataset = tree[group].to_dataset()
            result[group] = xr.DataTree(dataset.assign({name: dataset[name] + by}))
    prior = json.loads(tree.attrs["prior"])
    result.attrs["prior"] = json.dumps(prior | {"b0": (np.array(prior["b0"]) + by).tolist()})
    return result


@cache
def near_zero(d):
    """A fit of two overlapping clusters near zero, with rounded data and means, and shuffled labels."""
    means, covariances = ([-1.2, 1.2], [0.5, 0.7]) if d == 1 else ([[-1, 0], [1.2, 0.3]], [0.5 * np.eye(2), 0.8 * np.eye(2)])
    x = rounded(bg.Mixture([0.4, 0.6], means, covariances).sample(300, random_seed=1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)
        found = bg.fit(x, 2, method="gibbs", draws=300, random_seed=SEED, progressbar=False, relabel=False)
    for group in ("posterior", "em_baseline"):
        dataset = found[group].to_dataset()
        found[group] = xr.DataTree(dataset.assign(mu=dataset["mu"].copy(data=rounded(dataset["mu"]))))
    shape = found["posterior"]["w"].shape
    return permute(found, rng(1).permuted(np.broadcast_to(np.arange(2), shape), axis=2))


@pytest.fixture(params=[1, 2], ids=["D=1", "D=2"])
def tree(request):
    return near_zero(request.param)


@pytest.fixture(params=SHIFTS, ids=lambda by: f"by {by:.0e}")
def pair(request, tree):
    return tree, shifted(tree, request.param)


@pytest.mark.parametrize("method", ["stephens", "ecr", "pivot"])
def test_relabelling(pair, method):
    one, other = (read_permutation(bg.relabel(each, method)) for each in pair)
    assert (one != np.arange(2)).any()
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(*(match(read_draws(each), read_em(each)[0]) for each in pair))


def test_quality_of_labels(pair):
    for make in (lambda each: each, bg.relabel):
        one, other = (bg.label_quality(make(each)) for each in pair)
        assert one == other
    assert one.trusted


@pytest.mark.slow
def test_diagnosis_and_check(pair):
    pair = [bg.relabel(each) for each in pair]
    one, other = map(bg.diagnose, pair)
    assert one.findings == other.findings
    by = float((pair[1]["observed_data"]["x"] - pair[0]["observed_data"]["x"]).min())
    for before, after in ((one.invariants, other.invariants), (one.parameters, other.parameters)):
        moved = before["mean"] + by * np.array([str(name).startswith("mu") for name in before.index])
        np.testing.assert_allclose(after["mean"], moved, rtol=1e-15, atol=1e-6)
        np.testing.assert_allclose(after["sd"], before["sd"], rtol=1e-6)
        np.testing.assert_allclose(after[["ess_bulk", "r_hat"]], before[["ess_bulk", "r_hat"]], rtol=1e-3)
    one, other = map(bg.check_against_em, pair)
    assert (one.ok, one.reasons) == (other.ok, other.reasons)
    assert one.total_variation == pytest.approx(other.total_variation, rel=1e-5)
    np.testing.assert_allclose(other.table[["z", "tail"]], one.table[["z", "tail"]], atol=1e-5)


@pytest.mark.slow
def test_what_is_said_of_observations(pair):
    pair = [bg.relabel(each) for each in pair]
    for of in (bg.responsibilities, bg.coclustering, bg.occupied_clusters):
        one, other = (of(each, random_seed=1) if of is bg.occupied_clusters else of(each) for each in pair)
        xr.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    xr.testing.assert_identical(*map(bg.partition, pair))
    one, other = (bg.add_log_likelihood(each)["log_likelihood"]["x"].values for each in pair)
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_predictions(pair):
    by = float((pair[1]["observed_data"]["x"] - pair[0]["observed_data"]["x"]).min())
    several = "feature" in pair[0]["posterior"].dims
    grid = np.column_stack([GRID, GRID / 2]) if several else GRID
    densities = [bg.predictive_density(each, rounded(grid) + at).values for each, at in zip(pair, (0, by), strict=True)]
    np.testing.assert_allclose(*densities, rtol=1e-7)
    feature = pair[0]["posterior"]["feature"].values[0] if several else None
    below = [bg.predictive_cdf(each, rounded(GRID) + at, feature) for each, at in zip(pair, (0, by), strict=True)]
    np.testing.assert_allclose(*below, rtol=1e-7)
    quantiles = [bg.predictive_quantiles(each, [0.1, 0.5], feature) for each in pair]
    np.testing.assert_allclose(quantiles[1] - by, quantiles[0], atol=1e-6)
    replicated = [bg.add_posterior_predictive(each, 1)["posterior_predictive"]["x"] for each in pair]
    np.testing.assert_allclose(replicated[1] - by, replicated[0], atol=1e-6)


def test_solutions_and_evidence(pair):
    one, other = map(bg.solutions, pair)
    np.testing.assert_array_equal(one.of_chain, other.of_chain)
    one, other = (bg.log_evidence(each, random_seed=1) for each in pair)
    assert one.value == pytest.approx(other.value, abs=1e-4)


@cache
def fit_of_two_apart(d, by):
    mixture = (
        bg.Mixture([0.4, 0.6], [-2.0, 2.0], [0.5, 0.7]) if d == 1 else bg.Mixture([0.4, 0.6], [[-2, 0], [2, 0]], np.eye(2))
    )
    x = mixture.sample(200, random_seed=1)[0] + by
    return bg.fit(x, 2, draws=200, random_seed=SEED, progressbar=False, method="gibbs")


@pytest.mark.parametrize("by", [pytest.param(1e6, marks=pytest.mark.slow), 1e9])
@pytest.mark.parametrize("d", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_fit_of_shifted_data(d, by):
    """EM, sampling, labels and diagnosis are all repeated. Shifting rounds the data by at most 1e-7 standard deviations."""
    one, other = fit_of_two_apart(d, 0.0), fit_of_two_apart(d, by)
    np.testing.assert_allclose(
        other["posterior"]["mu"].mean(("chain", "draw")) - by, one["posterior"]["mu"].mean(("chain", "draw")), atol=0.1
    )
    assert bg.label_quality(other).trusted
    assert bg.diagnose(other).ok == bg.diagnose(one).ok
    np.testing.assert_allclose(bg.responsibilities(other)["mean"], bg.responsibilities(one)["mean"], atol=0.05)


UNIX = 1_700_000_000.0


def test_numbers_are_printed_as_their_spread_needs(tree):
    far = bg.relabel(shifted(tree, UNIX))
    em = bg.fit_em(far["observed_data"]["x"].values, 2, random_seed=1)
    texts = [repr(bg.diagnose(far)), repr(bg.check_against_em(far)), repr(em.mixture), repr(em)]
    for text in texts:
        assert "e+" not in text
    for mean in np.ravel(em.mixture.means):
        assert f"{mean:.2f}"[:-1] in repr(em.mixture)


def test_digits_of_a_table():
    table = pd.DataFrame(
        {"mean": [1_700_000_001.23456, 12.3456, -1e-7, 0.0], "sd": [1.23456, 0.5, 3e-9, 1.0]}, index=list("abcd")
    )
    rows = [line.split() for line in as_text(table).splitlines()[1:]]
    assert rows == [
        ["a", "1700000001.2", "1.235"],
        ["b", "12.35", "0.5"],
        ["c", "-1e-07", "3e-09"],
        ["d", "0", "1"],
    ]
