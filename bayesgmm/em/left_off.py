"""The state of an interrupted EM run, from which the same call continues."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from bayesgmm.data.observations import Source
from bayesgmm.data.scan import Scan
from bayesgmm.data.units import Units
from bayesgmm.em.starts import Start


class LeftOff:
    """State of EM from each of its starts, as a context: kept if the block ends by an error or interrupt, else dropped.

    Attributes
    ----------
    starts : list of Start
        In the data's units. At first the state of an earlier run, if one was interrupted.
    """

    def __init__(self, kept: dict[Any, Sequence[Start]], key: Any) -> None:
        self._kept, self._key = kept, key
        self.starts = list(kept.get(key, ()))

    def begin(self, starts: Sequence[Start], units: Units) -> None:
        """Record the starts of the runs, which are standardised mixtures."""
        self._units = units
        self.starts = [self._in_data_units(start) for start in starts]

    def at(self, i: int, start: Start) -> None:
        """Record how far EM has come from its i-th start."""
        self.starts[i] = self._in_data_units(start)

    def _in_data_units(self, start: Start) -> Start:
        return start.rescaled(self._units.shift, self._units.scale)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._kept.pop(self._key, None)
        if error is not None and self.starts:
            self._kept[self._key] = self.starts


def left_off(source: Source, k: int, covariance: str, family: str) -> LeftOff:
    """The kept state of EM for rows that are read in passes. Fits of rows in memory are quick and keep none."""
    if isinstance(source, Scan):
        return LeftOff(source.left_off, (k, covariance, family, source.noise))
    return LeftOff({}, None)
