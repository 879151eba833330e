"""Where EM was when a long run ended before its time: the same call goes on from there."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from bayesgmm.data.observations import Source
from bayesgmm.data.scan import Scan
from bayesgmm.data.units import Units
from bayesgmm.model.mixture import Mixture


class LeftOff:
    """Where EM is from each of its starts: kept if what is done within is cut short, and forgotten if it is not.

    Attributes
    ----------
    mixtures : list of Mixture
        In the data's units; at first where an earlier run was, if one was cut short.
    """

    def __init__(self, kept: dict[Any, Sequence[Mixture]], key: Any) -> None:
        self._kept, self._key = kept, key
        self.mixtures = list(kept.get(key, ()))

    def at(self, i: int, units: Units, mixture: Mixture) -> None:
        """EM has come from its i-th start to this mixture of standardised data."""
        self.mixtures[i : i + 1] = [mixture.rescaled(units.shift, units.scale)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._kept.pop(self._key, None)
        if error is not None and self.mixtures:
            self._kept[self._key] = self.mixtures


def left_off(source: Source, k: int, covariance: str, family: str) -> LeftOff:
    """Of rows that are read in passes; nothing is kept of others, which are fitted quickly."""
    if isinstance(source, Scan):
        return LeftOff(source.left_off, (k, covariance, family, source.noise))
    return LeftOff({}, None)
