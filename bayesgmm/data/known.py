"""What is known about observations besides their values: weights, labels, errors and intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm.arguments import FloatArray
from bayesgmm.data.tables import read_numbers
from bayesgmm.words import about

_LABELS = "labels"
_COUNTED = 2.0**53  # up to this number a float holds every count exactly
_ROUNDED = 1e-10  # a negative eigenvalue of an error's correlation matrix down to minus this counts as zero
_ADDS_UP = 1e-6  # by how much a sum of probabilities may differ from one


@dataclass(frozen=True, eq=False)
class Known:
    """Frequency weights, labels, errors and intervals of n observations, and their densities as noise.

    Attributes
    ----------
    weight : (n,) array, or None
        Positive; an observation of weight c counts as c observations.
    labels : (n,) array of int, or (n, K) array, or None
        Each observation's component, -1 if unknown; or probabilities of the components. Only their ratios within an
        observation matter.
    error : (n, D) or (n, D, D) array, or None
        Standard deviations or covariances of the measurement errors.
    lower, upper : (n, D) array, or None
        Ends of the intervals in which values lie. They are equal for an exact value, and infinite where there is no bound.
    noise : (n,) array, or None
        Log density, as noise, of what is known of each observation; None if no observation may be noise.
    width : (n, D) array, or None
        Step to which each value is rounded; 0 if it is not rounded. Either the value's interval has this width, and its
        probability is divided by the width to give a density. Or the variance of its error includes width^2 / 12.
    """

    weight: FloatArray | None = None
    labels: NDArray[Any] | None = None
    error: FloatArray | None = None
    lower: FloatArray | None = None
    upper: FloatArray | None = None
    noise: FloatArray | None = None
    width: FloatArray | None = None
    _log_labels: dict[int, FloatArray] = field(default_factory=dict, init=False, repr=False)  # cache for one k

    def of(self, rows: Any) -> Known:
        """What is known of some of the observations."""
        return Known(*(None if each is None else each[rows] for each in self.arrays))

    def equals(self, other: Known) -> bool:
        """Whether both hold the same arrays."""
        pairs = zip(self.arrays, other.arrays, strict=True)
        return all(one is other if one is None or other is None else np.array_equal(one, other) for one, other in pairs)

    @property
    def log_widths(self) -> FloatArray | float:
        """Log of the product of each observation's rounding widths, (n,); 0 without rounding intervals.

        Divided by this product, the probability of an observation is a density.
        """
        if self.width is None or self.lower is None:
            return 0.0
        return np.asarray(np.log(np.where(self.width > 0, self.width, 1.0)).sum(axis=1))

    @property
    def arrays(self) -> tuple[NDArray[Any] | None, ...]:
        """All arrays, in the order of the attributes."""
        return self.weight, self.labels, self.error, self.lower, self.upper, self.noise, self.width

    def total(self, n: int) -> float:
        """The sum of the weights; n without weights."""
        return float(n if self.weight is None else self.weight.sum())

    def counts(self, n: int) -> FloatArray:
        """The weight of each observation, (n,); ones without weights."""
        return np.broadcast_to(1.0, n) if self.weight is None else self.weight

    def log_labels(self, k: int) -> FloatArray | None:
        """Log label probabilities (K, n), scaled to a maximum of 0; -inf where a label excludes a component."""
        if self.labels is None:
            return None
        found = self._log_labels.get(k)
        if found is None:
            if self.labels.ndim == 2:
                possible = self.labels.T / self.labels.max(axis=1)
            else:
                possible = ((self.labels == np.arange(k)[:, None]) | (self.labels < 0)).astype(float)
            with np.errstate(divide="ignore"):
                found = np.ascontiguousarray(np.log(possible))
            self._log_labels.clear()
            self._log_labels[k] = found
        return found

    def classes(self, k: int) -> NDArray[np.int64]:
        """Class of each component, (K,): the first component that labels do not distinguish from it.

        Components of a class are exchangeable.
        """
        log_labels = self.log_labels(k)
        if log_labels is None:
            return np.zeros(k, dtype=np.int64)
        alike = [[np.array_equal(one, other) for other in log_labels] for one in log_labels]
        return np.argmax(alike, axis=1)


NOTHING = Known()


def both_classes(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Class of each component, (K,), if components of a class must be of one class in both ways."""
    alike = (one[:, None] == one) & (other[:, None] == other)
    return np.argmax(alike, axis=1)


def sorting(classes: NDArray[np.int64], *keys: FloatArray) -> NDArray[np.int64]:
    """The order (..., K) that sorts the components of each class by the keys, within the places of that class.

    As in ``np.lexsort``, the last key is the primary one.
    """
    by_keys = np.lexsort((*keys, np.broadcast_to(classes, keys[0].shape)), axis=-1)
    order = np.empty_like(by_keys)
    order[..., np.argsort(classes, kind="stable")] = by_keys
    return order


def _of_rows(given: Any, name: str, kept: NDArray[np.bool_] | None, n: int, ndim: tuple[int, ...]) -> FloatArray:
    """Values given for all input rows, reduced to the n rows that are kept."""
    values, expected = read_numbers(given, name), n if kept is None else len(kept)
    if values.ndim not in ndim or len(values) != expected:
        shapes = " or ".join(f"({expected},)" if each == 1 else f"({expected}, K)" for each in ndim)
        rule = f"must hold one {'label' if name == _LABELS else 'weight'} for each observation, shape {shapes}"
        raise ValueError(about(name, f"{rule}, got shape {values.shape}"))
    return values if kept is None else values[kept]


def read_weight(
    weight: ArrayLike | None, kept: NDArray[np.bool_] | None, n: int, *, frequencies: bool, name: str
) -> FloatArray | None:
    """Check weights given for all input rows; return those of the n rows that are kept.

    Weights that are not ``frequencies`` may have any scale, so their sum may exceed 2**53.
    """
    if weight is None:
        return None
    weights = _of_rows(weight, name, kept, n, (1,))
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(about(name, "must be finite and not negative; give unwanted observations the weight 0"))
    if not weights.any():
        raise ValueError(about(name, "must hold at least one positive weight, got only zeros"))
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total):
        raise ValueError(about(name, "must have a finite sum; divide it by its largest value"))
    if frequencies and total > _COUNTED:
        got = f"must add to at most 2**53, up to which counts are exact, got {total:.3g}; count in another unit"
        raise ValueError(about(name, got))
    return np.ascontiguousarray(weights)


def read_error(
    error: ArrayLike | None, kept: NDArray[np.bool_] | None, values: FloatArray, name: str = "error"
) -> FloatArray | None:
    """Check errors given for all input rows; return those of the rows that are kept, 0 for missing values.

    Standard deviations are returned as (n, D), covariances of several features as (n, D, D).
    """
    if error is None:
        return None
    given, n_features = read_numbers(error, name), values.shape[1]
    n = len(values) if kept is None else len(kept)
    shapes = [(n, n_features), (n, n_features, n_features)] + ([(n,)] if n_features == 1 else [])
    if given.shape not in shapes:
        rule = f"({n},)" if n_features == 1 else f"({n}, {n_features}), or covariances ({n}, {n_features}, {n_features})"
        raise ValueError(about(name, f"must be standard deviations of shape {rule} like x, got shape {given.shape}"))
    given = given if kept is None else given[kept]
    known = ~np.isnan(values)
    if given.ndim < 3:
        given = np.where(known, given.reshape(len(values), -1), 0.0)
        wrong = ~(np.isfinite(given) & (given >= 0)).all(axis=1)
        what = "finite, non-negative standard deviations"
    else:
        given = np.where(known[:, :, None] & known[:, None, :], given, 0.0)
        wrong = ~np.isfinite(given).all(axis=(1, 2))
        diagonals = np.diagonal(given, axis1=1, axis2=2)
        wrong |= ~np.isclose(given, given.swapaxes(1, 2), rtol=1e-8, atol=0).all(axis=(1, 2)) | (diagonals < 0).any(axis=1)
        sound = np.where(wrong[:, None, None], 0.0, given)
        unit = np.sqrt(np.where(np.diagonal(sound, axis1=1, axis2=2) > 0, np.diagonal(sound, axis1=1, axis2=2), 1.0))
        wrong |= np.linalg.eigvalsh(sound / (unit[:, :, None] * unit[:, None, :])).min(axis=1) < -_ROUNDED
        what = "symmetric covariances without a negative eigenvalue"
    if wrong.any():
        row = np.flatnonzero(wrong)[0] if kept is None else np.flatnonzero(kept)[np.flatnonzero(wrong)[0]]
        got = f"got others in {np.count_nonzero(wrong)} row(s), the first in row {row}; 0 says that a value is exact"
        raise ValueError(about(name, f"must hold {what} for all known values, {got}"))
    return given[:, 0] ** 0.5 if given.shape[1:] == (1, 1) else np.ascontiguousarray(given)


def read_labels(labels: ArrayLike | None, kept: NDArray[np.bool_] | None, n: int) -> NDArray[Any] | None:
    """Check labels given for all input rows; return those of the n rows kept: integers (n,) or probabilities (n, K)."""
    if labels is None:
        return None
    given = _of_rows(labels, _LABELS, kept, n, (1, 2))
    if given.ndim == 1 or given.shape[1:] == (1,):
        given = given.reshape(-1)
        wrong = given[~(np.isfinite(given) & (given == np.round(given)) & (given >= -1) & (given < _COUNTED))]
        if len(wrong):
            rule = "must hold the number of each observation's component, 0, 1, ..., or -1 where it is unknown"
            raise ValueError(about(_LABELS, f"{rule}, got {wrong[0]:g}"))
        return given.astype(np.int64)
    if not np.isfinite(given).all() or (given < 0).any():
        impossible = np.count_nonzero(~(given >= 0) | np.isinf(given))
        got = f"got {impossible} of {given.size} that are negative, NaN or infinite"
        raise ValueError(about(_LABELS, f"must be probabilities if they form a matrix, {got}"))
    off = np.flatnonzero(abs(given.sum(axis=1) - 1) > _ADDS_UP)
    if len(off):
        row = off[0] if kept is None else np.flatnonzero(kept)[off[0]]
        got = f"must have rows that add to one, got {given[off[0]].sum():g} in row {row}"
        raise ValueError(about(_LABELS, f"{got}; divide each row by its sum"))
    return given


def require_labels_of(known: Known, k: int) -> None:
    """Refuse labels that do not fit k components."""
    labels = known.labels
    if labels is None:
        return
    if labels.ndim == 2 and labels.shape[1] != k:
        raise ValueError(about(_LABELS, f"must have a column for each of k = {k} components, got {labels.shape[1]}"))
    if labels.ndim == 1 and labels.max() >= k:
        raise ValueError(about(_LABELS, f"must be below k = {k}, got {labels.max()}; components are numbered from 0"))


def require_components(known: Known, k: int) -> None:
    """Refuse labels that do not fit k components, or that allow some component no observation."""
    require_labels_of(known, k)
    log_labels = known.log_labels(k)
    if log_labels is None:
        return
    without = np.flatnonzero(~np.isfinite(log_labels).any(axis=1))
    if len(without):
        got = f"must allow every component for at least one observation, got none for component {without[0]}"
        raise ValueError(about(_LABELS, f"{got}; use a smaller k"))
