"""Ties along directions, resolutions, and spreading rounded data again."""

import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm.data.ties import directions, ties_of
from tests.statistics import rng


def test_ties_are_counted_as_they_are():
    ties = ties_of(np.array([3.0, 1.0, 3.0, 2.0, 3.0, 1.0]), "x")
    assert ties.values.tolist() == [1, 2, 3]
    assert ties.counts.tolist() == [2, 1, 3]
    assert ties.largest(2).tolist() == [2, 0]


def test_values_that_differ_by_rounding_of_floats_are_equal():
    assert ties_of(np.array([0.1 + 0.2, 0.3, 1.0]), "x").counts.tolist() == [2, 1]


@pytest.mark.parametrize(("step", "scale"), [(1.0, 3.0), (0.1, 0.4), (2.54, 20.0), (1e-9, 5e-9)])
def test_the_resolution_of_rounded_data_is_found(step, scale):
    x = np.round(rng(1).normal(0, scale, 400) / step) * step
    assert ties_of(x, "x").resolution == pytest.approx(step)


def test_integers_in_groups_far_apart_are_rounded():
    x = np.round(np.repeat([0.0, 30.0, 4_000.0], [12, 16, 12]) + rng(0).normal(size=40))
    assert ties_of(x, "x").resolution == 1


@pytest.mark.parametrize(
    "x", [rng(0).normal(size=200), np.concatenate([np.zeros(50), rng(0).normal(size=150)])], ids=["continuous", "zeros"]
)
def test_what_is_not_rounded_has_no_resolution(x):
    assert ties_of(x, "x").resolution is None


def test_directions_of_full_covariances_include_sums_and_differences_of_rounded_features():
    a, b = rng(0).integers(0, 5, 60), rng(1).integers(0, 5, 60) / 10
    c = rng(2).normal(size=60)
    x = np.column_stack([a, b, c])
    found = {ties.name: ties for ties in directions(x, ["a", "b", "c"], "full")}
    assert set(found) == {"a", "b", "c", "a + b/0.1", "a - b/0.1"}
    expected = np.unique(a + np.round(10 * b), return_counts=True)
    np.testing.assert_allclose(found["a + b/0.1"].values, expected[0])
    assert found["a + b/0.1"].counts.tolist() == expected[1].tolist()
    np.testing.assert_allclose(np.unique(np.round(x @ found["a - b/0.1"].along, 9)), found["a - b/0.1"].values, atol=1e-9)
    assert [ties.name for ties in directions(x, ["a", "b", "c"], "diag")] == ["a", "b", "c"]
    (rows,) = directions(x, ["a", "b", "c"], "spherical")
    assert rows.values.shape == (60, 3)


def test_jitter_spreads_over_the_interval_that_was_rounded():
    z = rng(0).normal(20, 3, 4_000)
    x = np.round(z / 0.5) * 0.5
    spread = bg.jitter(x, random_seed=1)
    np.testing.assert_array_equal(np.round(spread / 0.5) * 0.5, x)
    noise = (spread - x) / 0.5
    assert len(np.unique(spread)) == len(x)
    assert abs(noise.mean()) < 5 / np.sqrt(12 * len(x))
    assert noise.var() == pytest.approx(1 / 12, rel=5 * np.sqrt(0.8 / len(x)))


def test_jitter_keeps_what_it_is_given():
    frame = pd.DataFrame({"a": [1.0, 1, 2, np.nan], "b": [0.1, 0.2, 0.3, 0.4]}, index=list("wxyz"))
    spread = bg.jitter(frame, random_seed=1)
    assert list(spread.columns) == ["a", "b"]
    assert list(spread.index) == list("wxyz")
    assert np.isnan(spread.loc["z", "a"])
    assert (spread["b"] == frame["b"]).all()  # without ties there is nothing to spread
    assert spread.iloc[:3]["a"].round().tolist() == [1, 1, 2]
    assert bg.jitter(pd.Series([1, 1, 2], name="n"), random_seed=1).name == "n"
    assert bg.jitter([[1], [1], [2]], random_seed=1).shape == (3, 1)
    assert bg.jitter([1.0, 1.0, 2.0], resolution=0).tolist() == [1, 1, 2]
    pd.testing.assert_frame_equal(spread, bg.jitter(frame, random_seed=1))


def test_jitter_refuses_ties_that_are_no_rounding():
    x = np.concatenate([np.zeros(50), rng(0).normal(size=150)])
    with pytest.raises(
        ValueError, match=r"x must be rounded, got 50 observations equal to 0 among values with no common step"
    ):
        bg.jitter(x)
    assert len(np.unique(bg.jitter(x, resolution=0.01, random_seed=1))) == 200


def test_what_is_known_of_a_row_with_gaps_is_spread_too():
    x = np.array([[1, np.nan], [1, 3], [2, np.nan], [4, 3], [1, 5], [1, 4]])
    spread = bg.jitter(x, random_seed=1)
    known = np.isfinite(x)
    assert (np.isnan(spread) == ~known).all()
    assert (spread[known] != x[known]).all()
    assert (abs(spread - x)[known] < 0.5).all()


@pytest.mark.parametrize("resolution", [-1, np.nan, [1, 2, 3]])
def test_a_resolution_that_is_none_is_refused(resolution):
    with pytest.raises(ValueError, match="resolution must be"):
        bg.jitter([[1, 2], [1, 2]], resolution=resolution)
