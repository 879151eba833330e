"""Strays: observations far from all others, which determine the range of the data and thus the scale of the prior."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgmm.arguments import FloatArray, named
from bayesgmm.words import Either, Sentence, Words

_SHARE = 100  # observations for each possible stray
_NAMED = 5  # strays that are listed
_LEAST = 30  # observations needed for strays: fewer show no shape of the others


@dataclass(frozen=True)
class Strays(Sentence):
    """A few observations beyond a gap wider than the range of all others, in one feature."""

    feature: str
    positions: tuple[int, ...]  # which observations they are, as numbered by the user
    values: tuple[float, ...]
    factor: float  # the range of all observations over that of the others
    may_be_noise: bool = False  # if so, noise is no remedy

    @property
    def problem(self) -> str:
        """The problem, in words."""
        listed = ", ".join(
            f"observation {position} ({self.feature} = {value:g})"
            for position, value in list(zip(self.positions, self.values, strict=True))[:_NAMED]
        )
        more = f" and {len(self.positions) - _NAMED} more" if len(self.positions) > _NAMED else ""
        lie = "lies" if len(self.positions) == 1 else "lie"
        return (
            f"{listed}{more} {lie} far from all others, and the prior takes its scale from the data's range, which is "
            f"{self.factor:.3g} times that of the others: fewer clusters may be found, and evidence and p(k | x) change"
        )

    @property
    def remedy(self) -> Words:
        """The remedy, in words."""
        prior, data = Either('prior=HierarchicalPrior(scale="core")', "--prior-scale core"), Either("data", "file")
        noise = "" if self.may_be_noise else Words(", treat them as noise (", Either("noise=True", "--noise"), ")")
        return Words("leave them out of the ", data, noise, ", or scale the prior to the others (", prior, ")")


def strays(
    x: FloatArray, names: Sequence[Any], positions: NDArray[np.int64] | None = None, weight: FloatArray | None = None
) -> Iterator[Strays]:
    """The strays of each feature: at either end at most max(1, n // 100) observations.

    ``positions`` are those in the user's data, by default 0, ..., n - 1.
    """
    for name, column in zip(names, x.T, strict=True):
        low, high = core(column, weight)
        outside = np.flatnonzero((column < low) | (column > high))
        if len(outside):
            factor = float((np.nanmax(column) - np.nanmin(column)) / (high - low))
            where = outside if positions is None else positions[outside]
            yield Strays(named(name), tuple(where.tolist()), tuple(column[outside].tolist()), factor)


def core(column: FloatArray, weight: FloatArray | None = None) -> tuple[float, float]:
    """The range without strays: it grows from the inner observations until a gap is wider than the range so far."""
    known = ~np.isnan(column)
    if not known.all():
        column, weight = column[known], None if weight is None else weight[known]
    if (len(column) if weight is None else weight.sum()) < _LEAST:
        return float(column.min()), float(column.max())
    if weight is None:
        first = max(1, len(column) // _SHARE)
        last = len(column) - 1 - first
        ordered = np.partition(column, [first, last])  # only these two are in their places
    else:
        order = np.argsort(column, kind="stable")
        ordered, counted, most = column[order], np.cumsum(weight[order]), max(1.0, weight.sum() // _SHARE)
        first = int(np.searchsorted(counted, most, side="right"))
        last = int(np.searchsorted(counted, counted[-1] - most, side="left"))
    below, above = sorted(ordered[:first].tolist(), reverse=True), sorted(ordered[last + 1 :].tolist())
    low, high = float(ordered[min(first, last)]), float(ordered[max(first, last)])
    for _ in range(len(below) + len(above)):
        down, up = low - below[0] if below else np.inf, above[0] - high if above else np.inf
        if min(down, up) > high - low > 0:  # equal observations alone have no scale
            break
        if down <= up:
            low = below.pop(0)
        else:
            high = above.pop(0)
    return low, high
