"""Checks of the data before a mixture is fitted to them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm.arguments import (
    TRAITS,
    Covariance,
    FamilyName,
    FloatArray,
    Missing,
    Noise,
    Rounding,
    read_choice,
    read_count,
    read_covariance,
    spoken,
)
from bayesgmm.data.intervals import INTERVALS_ALONE
from bayesgmm.data.known import require_components
from bayesgmm.data.observations import EXACT_ALONE, Observations
from bayesgmm.data.rounding import as_asked
from bayesgmm.exceptions import PACKAGE, DataWarning
from bayesgmm.families import family_of
from bayesgmm.kernels.rows import EXACT
from bayesgmm.words import Argument, Words, about, joined, said

_SINGULAR = 1e-12  # a correlation matrix with an eigenvalue up to this counts as singular
_UNLIKE = 1e3  # ratio of ranges above which a spherical covariance hardly depends on the smaller one
_ROUNDED = 2.0**-50  # share of the range: values closer than this may be equal once standardised
_LARGEST_ERROR = 1e50  # ranges of a feature
_ROWS = 2**16  # observations handled together


def read_fit_data(
    x: ArrayLike | Observations,
    k: Any,
    *,
    covariance: Covariance = "full",
    missing: Missing = "raise",
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    noise: Noise = False,
    rounding: Rounding = None,
    family: FamilyName = "gaussian",
    of_any_rank: bool = False,
    frequencies: bool = True,
) -> tuple[Observations, int]:
    """Check the data and the number of components for a fit with a given structure; return observations and k.

    A weight of 0 leaves a row out. Weights that are not ``frequencies`` may have any scale.
    """
    k = read_count(k, "k")
    read_covariance(covariance)
    read_choice(family, FamilyName, "family")
    data = Observations.read(x, missing=missing, weight=sample_weight, labels=labels, frequencies=frequencies)
    some = sample_weight is not None and not np.all(sample_weight)
    try:
        _require_fit(data, k, covariance, of_any_rank=of_any_rank, frequencies=frequencies)
    except ValueError as error:
        if not some:
            raise
        subject = Words("of the observations with a positive ", Argument("sample_weight"), ": ")
        raise ValueError(Words(subject, said(error))) from None
    data = as_asked(data, rounding, covariance)
    if family_of(family).exact_alone and data.kind is not EXACT:
        raise ValueError(about("x", EXACT_ALONE))
    return data.with_noise(noise), k


def _require_fit(data: Observations, k: int, covariance: Covariance, *, of_any_rank: bool, frequencies: bool) -> None:
    require_components(data.known, k)
    if data.names and len(set(data.names)) < len(data.names):
        found = ", ".join(map(spoken, data.names))
        raise ValueError(about("x", f"must have columns of different names, got {found}; rename them"))
    n = len(data)
    called = _called(data)
    for column in np.flatnonzero(np.isnan(data.x).all(axis=0) if data.kind is not EXACT else ()):
        raise ValueError(about(called[column], "must hold some value, got only NaN; leave it out"))
    for place, name in enumerate(called if data.known.lower is not None else ()):
        _require_apart(data.of_feature(place), name)
    for name, column, spread in zip(called, data.x.T, data.ranges, strict=True):
        if spread == 0:
            remedy = "" if data.n_features == 1 else "; leave it out"
            raise ValueError(about(name, f"must vary, got {n} observation(s) all equal to {np.nanmax(column):g}{remedy}"))
        if not 1e-152 <= spread <= 1e152:
            raise ValueError(about(name, f"must have a range between 1e-152 and 1e152, got {spread:g}; choose another unit"))
    if n < k:
        raise ValueError(about("k", f"must be at most the number of observations, got k = {k} for n = {n}; use a smaller k"))
    if frequencies and data.total < k:
        got = f"got k = {k} for {data.total:g}; use a smaller k, or count in another unit"
        raise ValueError(about("k", f"must be at most the sum of the weights, {got}"))
    _require_errors(data)
    if data.known.lower is not None and data.n_features > 1 and TRAITS[covariance].matrix:
        raise ValueError(about("x", INTERVALS_ALONE))
    distinct = count_distinct(data.x, k)
    if distinct < k:
        rounding = "" if len(np.unique(data.x, axis=0)) < k else " (values within rounding error count as equal)"
        got = f"got k = {k} for {distinct} distinct values{rounding}"
        raise ValueError(about("k", f"must be at most the number of distinct observations, {got}; use a smaller k"))
    if not of_any_rank:
        require_full_rank(data, covariance)


def _require_apart(seen: Observations, name: Words) -> None:
    """Refuse intervals of one feature that a single value could explain: they say nothing about its spread."""
    assert seen.known.lower is not None
    assert seen.known.upper is not None
    low, high = seen.known.lower.max(), seen.known.upper.min()
    if low <= high:
        where = f"from {low:g} to {high:g}" if low < high else f"{low:g}"
        got = f"got {len(seen)} value(s) that may all be equal ({where}); without narrower intervals their spread is unknown"
        raise ValueError(about(name, f"must not lie in intervals that all overlap, {got}"))


def _require_errors(data: Observations) -> None:
    """Refuse errors so large that floating-point numbers could not hold what a value says."""
    sd = data.error_sd
    if sd is None:
        return
    too_large = np.flatnonzero((sd > _LARGEST_ERROR * data.ranges).any(axis=1))
    if len(too_large):
        got = f"got a larger one in row {data.positions[too_large[0]]}; leave that value out"
        raise ValueError(about("error", f"must be at most {_LARGEST_ERROR:g} times the range of its feature, {got}"))


def warn_of_unlike_scales(data: Observations, covariance: Covariance) -> None:
    """Warn that a spherical covariance hardly depends on features with a much smaller range than others."""
    spreads = data.ranges
    if spreads.max() > _UNLIKE * spreads.min():
        called, what = _called(data), " measures all features in one unit, but their ranges go from "
        ranges = [Words(f"{spreads[i]:.3g} (", called[i], ")") for i in (spreads.argmin(), spreads.argmax())]
        remedy = Words(", so that the small ones hardly count; rescale the data, or use ", Argument("covariance", "diag"))
        text = Words(Argument("covariance", covariance), what, joined(ranges, " to "), remedy)
        warnings.warn(text, DataWarning, skip_file_prefixes=PACKAGE)


def _called(data: Observations) -> list[Words]:
    """Name of each column for messages."""
    x = Words(Argument("x"))
    return [x] if data.n_features == 1 else [Words(f"column {each!r} of ", x) for each in data.features.tolist()]


def require_full_rank(data: Observations, covariance: Covariance) -> None:
    """Refuse data in which some combination of the features does not vary: no covariance matrix fits them."""
    if data.n_features == 1 or not TRAITS[covariance].matrix:
        return
    (n, n_features), spreads = data.x.shape, data.ranges
    if n <= n_features:
        rule, got = "must have more observations than features for ", f", got n = {n} for {n_features} features; use "
        simpler = Argument("covariance", "diag", "spherical")
        raise ValueError(about("x", rule, Argument("covariance", covariance), got, simpler, ", or fewer features"))
    middle = np.nanmean(data.x, axis=0)
    products = np.zeros((n_features, n_features))
    for begin in range(0, n, _ROWS):
        part = np.nan_to_num((data.x[begin : begin + _ROWS] - middle) / spreads)
        products += part.T @ part
    sd = np.sqrt(np.diagonal(products))
    values, vectors = np.linalg.eigh(products / np.outer(sd, sd))
    if values[0] <= _SINGULAR:
        involved = np.flatnonzero(abs(vectors[:, 0]) > 1e-3)
        named = ", ".join(map(repr, data.features[involved].tolist()))
        got = f", got columns {named}, each a linear combination of the others; leave one out, or use "
        asked, simpler = Argument("covariance", covariance), Argument("covariance", "diag")
        raise ValueError(about("x", "must not have collinear columns for ", asked, got, simpler))


def count_distinct(values: FloatArray, enough: int) -> int:
    """Number of distinct rows (n, D), where values closer than rounding error, relative to the range, are equal.

    If the first ``100 * enough`` rows have enough distinct ones, the others are not counted.
    """
    gaps = _ROUNDED * (np.nanmax(values, axis=0) - np.nanmin(values, axis=0))
    distinct = _count_apart(values[: 100 * enough], gaps)
    return distinct if distinct >= enough else _count_apart(values, gaps)


def _count_apart(columns: FloatArray, gaps: FloatArray) -> int:
    """Number of distinct rows. Values of a column are distinct if a gap above its entry of ``gaps`` (D,) separates them."""
    places = np.empty(columns.shape, dtype=np.int64)
    for place, column, gap in zip(places.T, columns.T, gaps, strict=True):
        order = np.argsort(column, kind="stable")
        place[order] = np.append(0, np.cumsum(np.diff(column[order]) > gap))
    return int(places.max()) + 1 if places.shape[1] == 1 else len(np.unique(places, axis=0))


def as_shown(values: FloatArray) -> FloatArray:
    """Values (..., D) as users see them: (...) for one feature."""
    return values[..., 0] if values.shape[-1] == 1 else values
