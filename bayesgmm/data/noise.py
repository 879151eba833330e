"""Noise: observations that belong to no component, but have a fixed density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.arguments import FloatArray
from bayesgmm.data.tables import read_numbers
from bayesgmm.words import Either, Words, about

if TYPE_CHECKING:
    from bayesgmm.data.observations import Observations

_BEYOND = 0.1  # share of the range by which the box extends beyond either end


def read_noise(noise: Any, rows: Observations) -> FloatArray | None:
    """Log densities (n,) of rows as noise; None if ``noise`` is False.

    True means uniform on a box around the data. A number is a log density that is the same everywhere. An array holds the
    log density of each row.
    """
    if noise is False:
        return None
    if rows.known.labels is not None and rows.known.labels.ndim == 2:
        raise ValueError(about("labels", _OF_LABELS))
    if noise is True:
        return uniform(rows)
    given = read_numbers(noise, "noise")
    n = len(rows) if rows.kept is None else len(rows.kept)
    if given.shape not in ((), (n,)):
        rule = f"must be True, False, a log density, or one for each observation, shape ({n},)"
        raise ValueError(about("noise", f"{rule}, got shape {given.shape}"))
    if given.ndim and rows.kept is not None:
        given = given[rows.kept]
    if not np.isfinite(given).all():
        got = f"got {np.count_nonzero(~np.isfinite(given))} of {given.size} that are not"
        raise ValueError(about("noise", f"must be finite log densities, {got}"))
    return np.broadcast_to(given, len(rows)).copy()


_OF_LABELS = (
    "must be component numbers (0, 1, ..., or -1) beside noise, because probabilities of components do not say how probable "
    "noise is; give component numbers, or leave noise out"
)


def uniform(rows: Observations, box: tuple[FloatArray, FloatArray] | None = None) -> FloatArray:
    """Log densities of rows under the uniform distribution on a box, by default the box around these rows.

    Missing values are left out. An interval contributes the logarithm of its share of the box's width. A value beyond the
    box has the density inside it, because it is no less likely to be noise.
    """
    low, high = box_of(rows) if box is None else box
    known = np.where(np.isnan(rows.x), 0.0, -np.log(high - low))
    if rows.known.lower is not None and rows.known.upper is not None:
        width, within = rows.known.upper - rows.known.lower, rows.bounded
        known[within] += np.log(width[within])
    return np.asarray(known.sum(axis=1))


def box_of(rows: Observations) -> tuple[FloatArray, FloatArray]:
    """Ends (D,) of a box that exceeds the range of the data by a tenth at either end.

    Without this margin extreme observations would be taken for noise: two per cent of 2 000 observations, none of which is
    noise. With it, less than one in a thousand is.
    """
    low, high = _ends(rows)
    margin = _BEYOND * (high - low)
    return low - margin, high + margin


def _ends(rows: Observations) -> tuple[FloatArray, FloatArray]:
    lower, upper = rows.known.lower, rows.known.upper
    if lower is None or upper is None:
        return np.nanmin(rows.x, axis=0), np.nanmax(rows.x, axis=0)
    if (np.isinf(lower) ^ np.isinf(upper)).any():
        raise ValueError(about("noise", _OPEN))
    return np.where(np.isinf(lower), np.inf, lower).min(axis=0), np.where(np.isinf(upper), -np.inf, upper).max(axis=0)


_OPEN = Words(
    Either("must be a log density", "must not be given"),
    " beside intervals with an open end, because no finite box then holds the data; ",
    Either("give noise=-log(width)", "use bayesgmm.fit in Python with noise=-log(width)"),
    ", where width is that of the range in which noise may lie",
)


def as_asked(rows: Observations) -> bool | float | None:
    """The argument ``noise`` of these rows: False, True, or one log density; None if the log density varies by row."""
    noise = rows.known.noise
    if noise is None or uniform_on(rows) is not None:
        return noise is not None
    return float(noise[0]) if (noise == noise[0]).all() else None


def uniform_on(rows: Observations) -> tuple[FloatArray, FloatArray] | None:
    """The box on which noise is uniform; None if it is not uniform."""
    if rows.known.noise is None:
        return None
    try:
        box = box_of(rows)
    except ValueError:  # an interval has an open end
        return None
    return box if np.allclose(uniform(rows, box), rows.known.noise, rtol=0, atol=1e-9) else None


def as_in(fitted: Observations, rows: Observations) -> Observations:
    """Further rows with the noise of the fitted rows: uniform on the same box, or with the same log density."""
    noise = fitted.known.noise
    if noise is None or rows.known.noise is not None:
        return rows
    box = uniform_on(fitted)
    if box is not None:
        return rows.with_noise(uniform(rows, box))
    if (noise == noise[0]).all() and fitted.has_density.all() and rows.has_density.all():
        return rows.with_noise(noise[0])
    rule = "must be Observations that hold log densities of noise, as the fitted ones do"
    raise ValueError(about("x", f"{rule}; pass Observations(x).with_noise(log_density)"))
