"""What is given of intervals in which values lie: their ends, bins, or limits of what can be measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm.arguments import FloatArray
from bayesgmm.data.tables import column_names, read_numbers
from bayesgmm.words import about


def read_intervals(
    x: Any, lower: ArrayLike | None, upper: ArrayLike | None
) -> tuple[Any, FloatArray, FloatArray, tuple[str, ...] | tuple[int, ...] | None]:
    """Values (n, D) with an end of each interval in place of what is not known, both ends, and the columns' names."""
    given = {name: each for name, each in (("x", x), ("lower", lower), ("upper", upper)) if each is not None}
    arrays = {name: read_numbers(each, name) for name, each in given.items()}
    first = next(iter(arrays))
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or array.shape != arrays[first].shape:
            shape = "(n,) or (n, D)" if name == first else f"{arrays[first].shape} like {first}"
            raise ValueError(about(name, f"must have shape {shape}, got {array.shape}"))
    n = len(arrays[first])
    nothing = np.full((n, arrays[first].size // max(n, 1)), np.nan)
    values, low, high = (
        arrays[name].reshape(nothing.shape) if name in arrays else nothing for name in ("x", "lower", "upper")
    )
    low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
    for wrong, name, rule in (
        (np.isinf(values), "x", "must be finite, where ends of intervals may be infinite"),
        (low == np.inf, "lower", "must be below infinity; -inf says that nothing bounds a value from below"),
        (high == -np.inf, "upper", "must be above -infinity; inf says that nothing bounds a value from above"),
        (low > high, "lower", "must not be above upper"),
        ((low > values) | (values > high), "x", "must lie between lower and upper"),
        (
            ~np.isnan(values) & (low < high) & (np.isfinite(low) | np.isfinite(high)),
            "x",
            "must be NaN where an interval is given: a value is known as it is, or lies in an interval",
        ),
    ):
        if wrong.any():
            row = np.flatnonzero(wrong.any(axis=1))[0]
            raise ValueError(about(name, f"{rule}, got {np.count_nonzero(wrong)} of {wrong.size}, the first in row {row}"))
    low, high = np.where(np.isnan(values), low, values), np.where(np.isnan(values), high, values)
    tables = [columns for columns in map(column_names, (lower, upper)) if columns is not None]
    if len(tables) == 2 and tables[0] != tables[1] and set(tables[0]) == set(tables[1]):
        raise ValueError(about("upper", f"must have its columns in the order of lower, {', '.join(map(str, tables[0]))}"))
    within = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, np.nan))
    names = [column_names(each) for each in given.values()]
    return within, low, high, names[0] if x is not None or len(set(names)) == 1 else None


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
        raise ValueError(about("edges", f"must hold those of each of the {counted.ndim} features of counts"))
    listed = counted.ndim > 1 or (isinstance(edges, list | tuple) and len(edges) == 1 and np.ndim(edges[0]) == 1)
    read = [read_numbers(each, "edges") for each in (edges if listed else [edges])]
    for each, many in zip(read, counted.shape, strict=True):
        if each.shape != (many + 1,):
            raise ValueError(about("edges", f"must be one more than the {many} bins of counts, got shape {each.shape}"))
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
    """Lower and upper ends, of the shape of x, where values at a limit or beyond it lie anywhere beyond."""
    values, limits = read_numbers(x, "x"), []
    if np.isinf(values).any():
        raise ValueError(about("x", "must be finite; a value beyond what can be measured is at its limit, or further out"))
    for name, given, nowhere in (("below", below, -np.inf), ("above", above, np.inf)):
        limit = np.array(nowhere) if given is None else read_numbers(given, name)
        if np.isnan(limit).any():
            raise ValueError(about(name, f"must hold numbers, got NaN; {nowhere} is no limit"))
        if limit.shape not in ((), values.shape, values.shape[1:]):
            shapes = f"{values.shape} or {values.shape[1:]}" if values.ndim > 1 else values.shape
            raise ValueError(about(name, f"must be a number, or of shape {shapes}, got shape {limit.shape}"))
        limits.append(np.broadcast_to(limit, values.shape))
    if not (limits[0] < limits[1]).all():
        raise ValueError(about("below", "must be less than above"))
    under, over = values <= limits[0], values >= limits[1]
    lower = np.where(over, limits[1], np.where(under, -np.inf, values))
    return lower, np.where(under, limits[0], np.where(over, np.inf, values))
