"""Where EM was when a long run ended before its time: the same call goes on from there."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from bayesgmm.data.observations import Source
from bayesgmm.data.scan import Scan
from bayesgmm.data.units import Units
from bayesgmm.em.starts import Start


class LeftOff:
    """Where EM is from each of its starts: kept if what is done within is cut short, and forgotten if it is not.

    Attributes
    ----------
    starts : list of Start
        In the data's units; at first where an earlier run was, if one was cut short.
    """

    def __init__(self, kept: dict[Any, Sequence[Start]], key: Any) -> None:
        self._kept, self._key = kept, key
        self.starts = list(kept.get(key, ()))

    def begin(self, starts: Sequence[Start], units: Units) -> None:
        """Runs are to begin here, at standardised mixtures."""
        self._units = units
        self.starts = [self._in_data_units(start) for start in starts]

    def at(self, i: int, start: Start) -> None:
        """EM has come from its i-th start to where one would go on from here."""
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
    """Of rows that are read in passes; nothing is kept of others, which are fitted quickly."""
    if isinstance(source, Scan):
        return LeftOff(source.left_off, (k, covariance, family, source.noise))
    return LeftOff({}, None)
