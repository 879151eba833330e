"""Observations: what counts as data, and what is refused."""

from __future__ import annotations

import numbers
import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm.arguments import TRAITS, Covariance, FloatArray, Missing, read_choice, read_count, spoken
from bayesgmm.data.known import NOTHING, Known, read_labels, read_weight, require_components
from bayesgmm.data.observations import Observations
from bayesgmm.data.tables import column_names, read_numbers
from bayesgmm.exceptions import PACKAGE, DataWarning
from bayesgmm.words import Argument, Words, about, joined, said

_SINGULAR = 1e-12  # smallest eigenvalue of a correlation matrix that counts as one
_UNLIKE = 1e3  # ratio of ranges from which on a sphere does not see the smaller one
_ROUNDED = 2.0**-50  # of the range, below which standardised values need not differ
_ROWS = 2**16  # observations handled together


@dataclass(frozen=True)
class Data:
    """Observations ready for computation.

    Attributes
    ----------
    values : (n, D) array
    kept : (n_input,) array of bool, or None
        Which of the user's observations these are; None if all.
    known : Known
        Weights and labels of these.
    names : tuple of str, tuple of int, or None
        The columns' names (of one feature, its name), where the user's data had some other than 0, ..., D - 1; text unless
        all are integers.
    """

    values: FloatArray
    kept: NDArray[np.bool_] | None = field(repr=False)
    names: tuple[str, ...] | tuple[int, ...] | None = None
    known: Known = NOTHING

    @cached_property
    def observations(self) -> Observations:
        """Values, and what is known of them."""
        return Observations(self.values, self.known)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Where each observation stood in the user's input, (n,)."""
        return np.arange(len(self.values)) if self.kept is None else np.flatnonzero(self.kept)

    @property
    def n_features(self) -> int:
        """D."""
        return self.values.shape[1]

    @property
    def features(self) -> NDArray[Any]:
        """What the features are called: their names, or their numbers."""
        return np.arange(self.n_features) if self.names is None else np.array(self.names)

    @property
    def called(self) -> list[Any]:
        """What to call each feature: its name or its number; a single one without a name is x."""
        return ["x"] if self.n_features == 1 and self.names is None else self.features.tolist()


def read_data(x: ArrayLike | Data, *, missing: Missing | None = "raise", name: str = "x") -> Data:
    """Check ``x`` and bring it to shape (n, D); what is in order already is not copied, what was read is kept.

    ``missing=None`` is for a caller that has no such option to recommend.
    """
    if isinstance(x, Data):
        return x
    if missing is not None:
        read_choice(missing, Missing, "missing")
    array = read_numbers(x, name, copy=False)
    names = column_names(x)
    if array.ndim == 0 or array.ndim > 2:
        rule = "must have shape (n,) or (n, D)"
        raise ValueError(about(name, f"{rule}, got {array.ndim} dimensions; pass one row for each observation"))
    if array.size == 0:
        raise ValueError(about(name, "must hold at least one observation, got none"))
    array = array.reshape(len(array), -1)
    finite = np.isfinite(array).all(axis=1)
    if finite.all():
        return Data(np.ascontiguousarray(array), None, names)
    if missing != "drop":
        remedy = Words(" or pass ", Argument("missing", "drop"), " to leave these observations out") if missing else ""
        raise ValueError(about(name, f"must be finite, got {_describe_missing(finite)}; clean the data", remedy))
    if not finite.any():
        raise ValueError(about(name, f"must hold at least one finite observation, got {_describe_missing(finite)}"))
    return Data(np.ascontiguousarray(array[finite]), finite, names)


def read_fit_data(
    x: ArrayLike | Data,
    k: Any,
    *,
    covariance: Covariance = "full",
    missing: Missing = "raise",
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    of_any_rank: bool = False,
    frequencies: bool = True,
) -> tuple[Data, int]:
    """Check data, and the number of components of a given structure to be fitted to them.

    A weight of 0 leaves a row out; weights that are no ``frequencies`` have no unit.
    """
    k = read_count(k, "k")
    read_choice(covariance, Covariance, "covariance")
    if isinstance(x, Data):
        data, some = x, False
    else:
        data = read_rows(x, missing=missing, sample_weight=sample_weight, labels=labels, frequencies=frequencies)
        some = sample_weight is not None and not np.all(sample_weight)
    try:
        _require_fit(data, k, covariance, of_any_rank=of_any_rank, frequencies=frequencies)
    except ValueError as error:
        if not some:
            raise
        subject = Words("of the observations with a positive ", Argument("sample_weight"), ": ")
        raise ValueError(Words(subject, said(error))) from None
    return data, k


def _require_fit(data: Data, k: int, covariance: Covariance, *, of_any_rank: bool, frequencies: bool) -> None:
    require_components(data.known, k)
    if data.names and len(set(data.names)) < len(data.names):
        found = ", ".join(map(spoken, data.names))
        raise ValueError(about("x", f"must have columns of different names, got {found}; rename them"))
    n = len(data.values)
    with np.errstate(over="ignore"):
        spreads = np.ptp(data.values, axis=0)
    for name, column, spread in zip(_called(data), data.values.T, spreads, strict=True):
        if spread == 0:
            remedy = "" if data.n_features == 1 else "; leave it out"
            raise ValueError(about(name, f"must vary, got {n} observation(s) all equal to {column[0]:g}{remedy}"))
        if not 1e-152 <= spread <= 1e152:
            raise ValueError(about(name, f"must have a range between 1e-152 and 1e152, got {spread:g}; choose another unit"))
    if n < k:
        raise ValueError(about("k", f"must be at most the number of observations, got k = {k} for n = {n}; use a smaller k"))
    if frequencies and data.observations.total < k:
        got = f"got k = {k} for {data.observations.total:g}; use a smaller k, or count in another unit"
        raise ValueError(about("k", f"must be at most the sum of the weights, {got}"))
    distinct = count_distinct(data.values, k)
    if distinct < k:
        rounding = "" if len(np.unique(data.values, axis=0)) < k else " (to the accuracy of numbers as large as their range)"
        got = f"got k = {k} for {distinct} distinct values{rounding}"
        raise ValueError(about("k", f"must be at most the number of distinct observations, {got}; use a smaller k"))
    if not of_any_rank:
        require_full_rank(data, covariance)


def warn_of_unlike_scales(data: Data, covariance: Covariance) -> None:
    """Say that a sphere sees next to nothing of features whose range is much smaller than that of others."""
    spreads = np.ptp(data.values, axis=0)
    if spreads.max() > _UNLIKE * spreads.min():
        called, what = _called(data), " measures all features in one unit, but their ranges go from "
        ranges = [Words(f"{spreads[i]:.3g} (", called[i], ")") for i in (spreads.argmin(), spreads.argmax())]
        remedy = Words(", so that the small ones hardly count; rescale the data, or use ", Argument("covariance", "diag"))
        text = Words(Argument("covariance", covariance), what, joined(ranges, " to "), remedy)
        warnings.warn(text, DataWarning, skip_file_prefixes=PACKAGE)


def _called(data: Data) -> list[Words]:
    """What to call each column in a message."""
    x = Words(Argument("x"))
    return [x] if data.n_features == 1 else [Words(f"column {each!r} of ", x) for each in data.features.tolist()]


def require_full_rank(data: Data, covariance: Covariance) -> None:
    """Refuse data in which some combination of the features does not vary: no covariance matrix fits them."""
    if data.n_features == 1 or not TRAITS[covariance].matrix:
        return
    n, n_features = data.values.shape
    spreads = np.ptp(data.values, axis=0)
    if n <= n_features:
        rule, got = "must have more observations than features for ", f", got n = {n} for {n_features} features; use "
        simpler = Argument("covariance", "diag", "spherical")
        raise ValueError(about("x", rule, Argument("covariance", covariance), got, simpler, ", or fewer features"))
    middle = data.values.mean(axis=0)
    products = np.zeros((n_features, n_features))
    for begin in range(0, n, _ROWS):
        part = (data.values[begin : begin + _ROWS] - middle) / spreads
        products += part.T @ part
    sd = np.sqrt(np.diagonal(products))
    values, vectors = np.linalg.eigh(products / np.outer(sd, sd))
    if values[0] <= _SINGULAR:
        involved = np.flatnonzero(abs(vectors[:, 0]) > 1e-3)
        named = ", ".join(map(repr, data.features[involved].tolist()))
        got = f", got columns {named}, of which each follows from the others; leave one out, or use "
        asked, simpler = Argument("covariance", covariance), Argument("covariance", "diag")
        raise ValueError(about("x", "must not have collinear columns for ", asked, got, simpler))


def count_distinct(values: FloatArray, enough: int) -> int:
    """How many distinct rows (n, D) there are once each feature is measured by its range.

    Of long data only the beginning is looked at if that holds enough.
    """
    gaps = _ROUNDED * np.ptp(values, axis=0)
    distinct = _count_apart(values[: 100 * enough], gaps)
    return distinct if distinct >= enough else _count_apart(values, gaps)


def _count_apart(columns: FloatArray, gaps: FloatArray) -> int:
    """Rows that differ, in some column, by a gap that is larger than these in the sorted values."""
    places = np.empty(columns.shape, dtype=np.int64)
    for place, column, gap in zip(places.T, columns.T, gaps, strict=True):
        order = np.argsort(column, kind="stable")
        place[order] = np.append(0, np.cumsum(np.diff(column[order]) > gap))
    return len(np.unique(places, axis=0))


def as_shown(values: FloatArray) -> FloatArray:
    """Values (..., D) as users see them: (...) for one feature."""
    return values[..., 0] if values.shape[-1] == 1 else values


def named(feature: Any) -> str:
    """What to call a feature in a sentence: by its name, or by its number."""
    return f"column {feature}" if isinstance(feature, numbers.Integral) else str(feature)


def read_rows(
    x: ArrayLike,
    *,
    missing: Missing | None,
    sample_weight: ArrayLike | None,
    labels: ArrayLike | None,
    name: str = "x",
    frequencies: bool = True,
) -> Data:
    """Check data, their weights and labels; rows that do not count are left out."""
    data = read_data(x, missing=missing, name=name)
    known = Known(
        read_weight(sample_weight, data.kept, len(data.values), frequencies=frequencies),
        read_labels(labels, data.kept, len(data.values)),
    )
    if known.weight is None or known.weight.all():
        return replace(data, known=known)
    used = known.weight > 0
    kept = np.zeros(len(data.values) if data.kept is None else len(data.kept), dtype=bool)
    kept[data.positions[used]] = True
    return Data(data.values[used], kept, data.names, known.of(used))


def _describe_missing(finite: NDArray[np.bool_]) -> str:
    wrong = np.flatnonzero(~finite)
    where = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
    return f"{len(wrong)} of {len(finite)} observations with NaN or infinity (at positions {where})"
