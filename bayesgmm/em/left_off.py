"""Where EM was when a long run ended before its time: the same call goes on from there."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from bayesgmm.data.observations import Source
from bayesgmm.data.scan import Scan
from bayesgmm.data.units import Units
from bayesgmm.model.mixture import Mixture


class LeftOff:
    """EM's last state, kept where a run within it is cut short, and forgotten where it is not.

    Attributes
    ----------
    mixture : Mixture or None
        Where an earlier run was, in the data's units.
    """

    def __init__(self, kept: dict[Any, Mixture] | None, key: Any) -> None:
        self._kept, self._key = kept, key
        self.mixture = None if kept is None else kept.get(key)
        self._reached = self.mixture

    def at(self, mixture: Mixture, units: Units | None = None) -> None:
        """EM has come to a mixture, of standardised data if these are their units."""
        if self._kept is not None:
            self._reached = mixture if units is None else mixture.rescaled(units.shift, units.scale)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        if self._kept is None:
            return
        self._kept.pop(self._key, None)
        if error is not None and self._reached is not None:
            self._kept[self._key] = self._reached


def left_off(source: Source, k: int, covariance: str, family: str) -> LeftOff:
    """Of rows that are read in passes; others are fitted too quickly to be worth it."""
    if isinstance(source, Scan):
        return LeftOff(source.left_off, (k, covariance, family, source.noise))
    return LeftOff(None, None)
