"""Intervals in which values lie, given by their ends, as bins, or as limits of measurement."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm.arguments import FloatArray, Missing
from bayesgmm.data.tables import column_names, read_numbers, read_rows
from bayesgmm.kernels.allocations import expect_at
from bayesgmm.kernels.compiled import given
from bayesgmm.kernels.estep import e_step
from bayesgmm.kernels.intervals import intervals_of
from bayesgmm.kernels.rows import rows_of
from bayesgmm.words import Argument, Words, about

_ENOUGH = 2_000  # values in intervals that a Gaussian is fitted to, at most
_STEPS, _ROUGHLY = 2_000, 1e-5  # EM steps of that fit, and the change in standard deviations that ends it
_NARROWEST = 1e-6  # standard deviation, in interquartile ranges of the ends
INTERVALS_ALONE = Words(
    "must have no intervals where features are correlated within a component, because the probability of a box then has no "
    "closed form; use ",
    Argument("covariance", "diag", "spherical"),
)


def read_intervals(
    x: Any, lower: ArrayLike | None, upper: ArrayLike | None, *, missing: Missing | None, name: str
) -> tuple[
    FloatArray, NDArray[np.bool_] | None, tuple[str, ...] | tuple[int, ...] | None, FloatArray | None, FloatArray | None
]:
    """Check values and intervals; return values (n, D), the rows kept, names, and lower and upper ends.

    An unknown value is replaced by a finite end of its interval. Rows kept and names are as in :func:`.tables.read_rows`.
    The ends are None if no value lies in an interval.
    """
    asked = {argument: each for argument, each in (("x", x), ("lower", lower), ("upper", upper)) if each is not None}
    arrays = {argument: read_numbers(each, argument) for argument, each in asked.items()}
    first = next(iter(arrays))
    for argument, array in arrays.items():
        if array.ndim not in (1, 2) or array.shape != arrays[first].shape:
            shape = "(n,) or (n, D)" if argument == first else f"{arrays[first].shape} like {first}"
            raise ValueError(about(argument, f"must have shape {shape}, got {array.shape}"))
    n = len(arrays[first])
    nothing = np.full((n, arrays[first].size // max(n, 1)), np.nan)
    values, low, high = (
        arrays[argument].reshape(nothing.shape) if argument in arrays else nothing for argument in ("x", "lower", "upper")
    )
    low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
    for wrong, argument, rule in (
        (np.isinf(values), "x", "must be finite, unlike the ends of intervals"),
        (low == np.inf, "lower", "must be below infinity (-inf means no lower limit)"),
        (high == -np.inf, "upper", "must be above -infinity (inf means no upper limit)"),
        (low > high, "lower", "must not be above upper"),
        ((low > values) | (values > high), "x", "must lie between lower and upper"),
        (
            ~np.isnan(values) & (low < high) & (np.isfinite(low) | np.isfinite(high)),
            "x",
            "must be NaN where an interval is given, because a value is either known exactly or lies in an interval",
        ),
    ):
        if wrong.any():
            row = np.flatnonzero(wrong.any(axis=1))[0]
            raise ValueError(
                about(argument, f"{rule}, got {np.count_nonzero(wrong)} of {wrong.size} wrong, the first in row {row}")
            )
    low, high = np.where(np.isnan(values), low, values), np.where(np.isnan(values), high, values)
    tables = [columns for columns in map(column_names, (lower, upper)) if columns is not None]
    if len(tables) == 2 and tables[0] != tables[1] and set(tables[0]) == set(tables[1]):
        raise ValueError(about("upper", f"must have its columns in the order of lower, {', '.join(map(str, tables[0]))}"))
    names = [column_names(each) for each in asked.values()]
    within = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, np.nan))
    nowhere = np.isnan(within).any(axis=1)
    called = "lower and upper" if x is None else name
    if missing == "raise" and nowhere.any():
        rule = "must give an interval for every unknown value"
        got = f"got {nowhere.sum()} row(s) without one, the first is {np.flatnonzero(nowhere)[0]}"
        raise ValueError(about(called, f"{rule}, {got}; leave these out"))
    within, kept, _ = read_rows(within, missing=missing, name=called)
    low, high = (each if kept is None else each[kept] for each in (low, high))
    own = names[0] if x is not None or len(set(names)) == 1 else None
    bounded = (low < high) & (np.isfinite(low) | np.isfinite(high))
    return (within, kept, own, low, high) if bounded.any() else (within, kept, own, None, None)


def expected_within(lower: FloatArray, upper: FloatArray, weight: FloatArray | None) -> FloatArray:
    """Expected values (n, D) given their intervals, under one Gaussian for each feature.

    EM fits it to the feature's values, or to 2 000 of them if there are more. The result is NaN where nothing is known.
    """
    result = np.full(lower.shape, np.nan)
    for place in range(lower.shape[1]):
        rows = np.flatnonzero(np.isfinite(lower[:, place]) | np.isfinite(upper[:, place]))
        if (lower[rows, place] == upper[rows, place]).all():
            result[rows, place] = lower[rows, place]
            continue
        result[rows, place] = _expected_of_one(
            lower[rows, place], upper[rows, place], None if weight is None else weight[rows]
        )
    return result


def _expected_of_one(lower: FloatArray, upper: FloatArray, weight: FloatArray | None) -> FloatArray:
    """Expected values (n,) of one feature given their intervals."""
    ends = np.concatenate([lower, upper])
    first, middle, third = np.quantile(ends[np.isfinite(ends)], [0.25, 0.5, 0.75])
    scale = third - first or abs(middle) or 1.0
    low, high = (lower - middle) / scale, (upper - middle) / scale
    some = np.arange(len(low))
    if len(some) > _ENOUGH:
        some = np.random.default_rng(0).choice(len(some), _ENOUGH, replace=False)
    known = intervals_of(low[some, None], high[some, None])
    counts = None if weight is None else weight[some][known.order]
    one, mean, sd = np.ones(1), np.zeros((1, 1)), np.ones((1, 1))
    for _ in range(_STEPS):
        sums = e_step(known.ends[0], one, mean, sd, counts, None, known)
        step, square = sums.first / sums.counts, sums.second / sums.counts
        before, mean, sd = sd, mean + step, np.maximum(np.sqrt(np.maximum(square - step**2, 0.0)), _NARROWEST)
        if max(abs(step[0, 0]), abs(sd - before)[0, 0]) <= _ROUGHLY * sd[0, 0]:
            break
    whole = intervals_of(low[:, None], high[:, None])
    expected, squares = np.empty((len(low), 1)), np.empty((len(low), 1))
    expect_at(
        rows_of(whole.ends[0], None, None, whole), given([0.0]), given(mean), given(1 / sd[..., None]), expected, squares
    )
    return np.clip(middle + scale * expected[:, 0], lower, upper)


def read_bins(counts: ArrayLike, edges: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Lower and upper ends (B, D) and counts (B,) of all bins of a histogram of D features."""
    counted = read_numbers(counts, "counts")
    if counted.size == 0 or counted.ndim == 0:
        raise ValueError(about("counts", f"must have a number for each bin, got shape {counted.shape}"))
    wrong = ~(np.isfinite(counted) & (counted >= 0))
    if wrong.any():
        rule = "must be finite and not negative (they are weights, and may be fractional)"
        raise ValueError(about("counts", f"{rule}, got {counted[wrong][0]:g}"))
    if counted.ndim > 1 and (not hasattr(edges, "__len__") or len(edges) != counted.ndim):
        raise ValueError(about("edges", f"must hold one array of edges for each of the {counted.ndim} features of counts"))
    listed = counted.ndim > 1 or (isinstance(edges, list | tuple) and len(edges) == 1 and np.ndim(edges[0]) == 1)
    read = [read_numbers(each, "edges") for each in (edges if listed else [edges])]
    for each, many in zip(read, counted.shape, strict=True):
        if each.shape != (many + 1,):
            rule = f"must hold one number more than the {many} bins of counts"
            raise ValueError(about("edges", f"{rule}, got shape {each.shape}"))
        falling = np.flatnonzero(~(each[1:] > each[:-1]))
        if len(falling):
            got = f"got {each[falling[0]]:g} before {each[falling[0] + 1]:g} at position {falling[0]}"
            raise ValueError(about("edges", f"must increase, {got}"))
    lower, upper = (
        np.stack(np.meshgrid(*(each[part] for each in read), indexing="ij"), axis=-1).reshape(-1, len(read))
        for part in (slice(None, -1), slice(1, None))
    )
    return lower, upper, counted.ravel()


def read_limits(x: ArrayLike, below: ArrayLike | None, above: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    """Lower and upper ends, shaped like x. A value at or beyond a limit may lie anywhere beyond it."""
    values, limits = read_numbers(x, "x"), []
    if np.isinf(values).any():
        raise ValueError(about("x", "must be finite; for a value beyond a limit, give the limit itself"))
    for name, asked, nowhere in (("below", below, -np.inf), ("above", above, np.inf)):
        limit = np.array(nowhere) if asked is None else read_numbers(asked, name)
        if np.isnan(limit).any():
            raise ValueError(about(name, f"must hold numbers, got NaN; {nowhere} means no limit"))
        if limit.shape not in ((), values.shape, values.shape[1:]):
            shapes = f"{values.shape} or {values.shape[1:]}" if values.ndim > 1 else values.shape
            raise ValueError(about(name, f"must be a number, or of shape {shapes}, got shape {limit.shape}"))
        limits.append(np.broadcast_to(limit, values.shape))
    if not (limits[0] < limits[1]).all():
        raise ValueError(about("below", "must be less than above"))
    under, over = values <= limits[0], values >= limits[1]
    lower = np.where(over, limits[1], np.where(under, -np.inf, values))
    return lower, np.where(under, limits[0], np.where(over, np.inf, values))
