"""Ties: finding equal observations, detecting the step to which data are rounded, and spreading rounded data.

Most data are rounded. A component that shrinks onto equal observations makes the likelihood arbitrarily large. Ties
therefore decide whether a posterior is proper (:mod:`bayesgmm.analysis.impropriety`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm.arguments import TRAITS, Covariance, FloatArray, named, read_seed
from bayesgmm.data.observations import Observations
from bayesgmm.data.tables import column_names, read_numbers
from bayesgmm.words import Argument, Words, about

_EQUAL = 4 * np.finfo(float).eps  # times the largest value: smaller differences are floating-point rounding
_OFF_GRID = 1e-3  # steps by which a rounded value may differ from a multiple of the step
_WIDE = 100.0  # steps: with a larger median gap the grid is too fine to have caused the ties
_ROWS = 2**16  # observations handled together
_PAIRED = 2**25  # n D (D - 1) up to which sums and differences of features are examined


@dataclass(frozen=True, eq=False)
class Ties:
    """The distinct values of the data along one direction, and how often each occurs.

    Attributes
    ----------
    name : str
        Name of the direction: a feature, or a sum or difference of two; empty for whole rows.
    along : (D,) array, or None
        The direction; None for whole rows.
    values : (m,) array, or (m, D) array of rows
        Distinct values in order.
    counts : (m,) array
        Number of observations with each value, or the sum of their weights.
    """

    name: str
    along: Any
    values: FloatArray
    counts: NDArray[Any]

    @property
    def of_rows(self) -> bool:
        """Whether the ties are whole rows, not values along a direction."""
        return self.values.ndim == 2

    @property
    def weighted(self) -> bool:
        """Whether observations have weights."""
        return self.counts.dtype.kind == "f"

    @property
    def any(self) -> bool:
        """Whether any value occurs more than once."""
        return bool(self.counts.max(initial=0) > 1)

    @property
    def resolution(self) -> float | None:
        """Step to which the values are rounded, the smallest gap between them; None if they do not look rounded.

        Rounded values lie on a grid with this step, and are mostly a few steps apart. Other ties do not come from rounding:
        for example zeros among continuous values, or repeated rows.
        """
        if self.of_rows or len(self.values) < 2 or not self.any:
            return None
        gaps = np.diff(self.values)
        step = float(f"{gaps.min():.9g}")  # 0.1, and not 0.09999999999999964
        steps = (self.values - self.values[0]) / step
        on_grid = bool((abs(steps - np.round(steps)) < _OFF_GRID).all())
        return step if on_grid and np.median(gaps) <= _WIDE * step else None

    def largest(self, groups: int) -> NDArray[np.int64]:
        """Positions of the groups with most observations, the largest first."""
        return np.argsort(-self.counts, kind="stable")[:groups]


def ties_of(values: FloatArray, name: str, along: Any = None, weight: FloatArray | None = None) -> Ties:
    """The ties of values (n,) along a direction, or of rows (n, D), with weights (n,) if given."""
    known = ~np.isnan(values) if values.ndim == 1 else ~np.isnan(values).any(axis=1)
    if not known.all():
        values, weight = values[known], None if weight is None else weight[known]
    if not len(values):
        return Ties(name, along, values, np.zeros(0))
    if values.ndim == 2:
        rows, inverse, counts = np.unique(values, axis=0, return_inverse=True, return_counts=True)
        return Ties(name, None, rows, counts if weight is None else np.bincount(inverse.ravel(), weight))
    order = np.argsort(values, kind="stable") if weight is not None else slice(None)
    ordered = values[order] if weight is not None else np.sort(values)
    tolerance = _EQUAL * max(abs(ordered[0]), abs(ordered[-1]))
    is_new = np.ones(len(ordered), dtype=bool)
    for begin in range(0, len(ordered) - 1, _ROWS):
        is_new[begin + 1 : begin + 1 + _ROWS] = np.diff(ordered[begin : begin + 1 + _ROWS]) > tolerance
    if weight is None and is_new.all():
        return Ties(name, along, ordered, np.broadcast_to(1, len(ordered)))
    begins = np.flatnonzero(is_new)
    if weight is not None:
        return Ties(name, along, ordered[begins], np.add.reduceat(weight[order], begins))
    return Ties(name, along, ordered[begins], np.diff(np.append(begins, len(ordered))))


def directions(
    x: FloatArray, names: Sequence[Any], covariance: Covariance, weight: FloatArray | None = None
) -> Iterator[Ties]:
    """Ties along directions in which a component of this structure can shrink.

    The directions are each feature, or whole rows for spherical covariances. For full and tied covariances they are also the
    sums and differences of two rounded features, in units of their resolutions. Ties may lie in other directions too, but
    most ties of rounded data lie in these.
    """
    n, n_features = x.shape
    if n_features > 1 and not TRAITS[covariance].per_feature:
        yield ties_of(x, "", None, weight)
        return
    units = np.eye(n_features)
    single = [ties_of(x[:, j], named(names[j]), units[j], weight) for j in range(n_features)]
    yield from single
    if not TRAITS[covariance].matrix or n * n_features * (n_features - 1) > _PAIRED:
        return
    rounded = [(j, each.resolution) for j, each in enumerate(single) if each.resolution is not None]
    for (j, one), (i, other) in combinations(rounded, 2):
        for sign, word in ((1, "+"), (-1, "-")):
            along = units[j] / one + sign * units[i] / other
            name = f"{_in_units(names[j], one)} {word} {_in_units(names[i], other)}"
            counted = ties_of(np.round((x - x[0]) @ along), name, along, weight)
            yield Ties(name, along, counted.values + float(x[0] @ along), counted.counts)


def jitter(
    x: ArrayLike, *, resolution: ArrayLike | None = None, random_seed: int | np.random.Generator | None = None
) -> Any:
    """Spread rounded observations uniformly over the intervals that they were rounded from.

    A component of a mixture can shrink onto equal observations without limit. After spreading, the data have no ties, and
    the default posterior is proper.

    Parameters
    ----------
    x : (n,) or (n, D) array-like
        NaN stays NaN.
    resolution : float or (D,) array-like, optional
        The step to which each feature is rounded, in its units; 0 leaves a feature as it is. Default: if a feature
        has ties and its values lie on a grid, the smallest step between its values.
    random_seed : int, Generator or None

    Returns
    -------
    ndarray, Series or DataFrame
        ``x + u`` with u uniform between minus and plus half the resolution; a Series or DataFrame keeps its names.

    Raises
    ------
    ValueError, TypeError
        For data or a resolution that break a rule. Also if ties do not come from rounding, such as zeros among continuous
        values: then say what a tie means, in a model of your own, or leave these observations out.

    Examples
    --------
    >>> x = jitter([1, 1, 1, 2, 2, 4], random_seed=1)
    >>> x.round().tolist()
    [1.0, 1.0, 1.0, 2.0, 2.0, 4.0]
    """
    if isinstance(x, Observations):
        raise TypeError(about("x", "must be values, got Observations; pass values, and make Observations of the result"))
    array = read_numbers(x, "x", copy=False)
    if array.ndim not in (1, 2) or not np.isfinite(array).any():
        Observations.read(x, missing="drop")  # raises an error that says what is wrong
    known = np.where(np.isfinite(array), array, np.nan).reshape(len(array), -1)
    steps = read_steps(known, column_names(x) or range(known.shape[1]), resolution, "resolution")
    noise = np.random.default_rng(read_seed(random_seed)).uniform(-0.5, 0.5, size=known.shape) * steps
    if hasattr(x, "iloc"):
        table: Any = x
        return table + (noise if np.ndim(table) == 2 else noise[:, 0])
    values = np.asarray(x, dtype=float)
    return values + noise.reshape(values.shape)


def read_steps(
    columns: FloatArray, names: Sequence[Any], given: ArrayLike | None, argument: str, weight: FloatArray | None = None
) -> FloatArray:
    """The step to which each feature is rounded, given by an argument or detected; 0 if there is none."""
    if given is None:
        for column, name in zip(columns.T, names, strict=True):
            _require_grid(ties_of(column, named(name), weight=weight), argument)
        return steps_of(columns, names, weight)
    array = read_numbers(given, argument)
    if array.ndim > 1 or array.size not in (1, columns.shape[1]):
        rule = f"must be a number, or one number for each of the {columns.shape[1]} feature(s)"
        raise ValueError(about(argument, f"{rule}, got shape {array.shape}"))
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(about(argument, f"must be finite and not negative, got {array.tolist()}"))
    return np.broadcast_to(array, columns.shape[1:]).copy()


def steps_of(columns: FloatArray, names: Sequence[Any], weight: FloatArray | None = None) -> FloatArray:
    """The step to which each feature looks rounded, (D,); 0 where it does not."""
    found = [ties_of(column, named(name), weight=weight).resolution for column, name in zip(columns.T, names, strict=True)]
    return np.array([step or 0.0 for step in found])


def _require_grid(ties: Ties, argument: str) -> None:
    """Refuse ties that do not come from rounding."""
    if ties.any and ties.resolution is None:
        at = ties.largest(1)[0]
        got = f"{ties.counts[at]:g} observations equal to {ties.values[at]:g} among values with no common step"
        remedy = Words("leave these out, or pass ", Argument(argument), "= (0 leaves a feature as it is)")
        raise ValueError(about("x", f"must be rounded, got {got}; ", remedy))


def _in_units(name: Any, step: float) -> str:
    return named(name) if step == 1 else f"{named(name)}/{step:g}"
