"""Sums over many rows in memory: over nodes that stand for them, or by all cores together."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from itertools import pairwise

import numpy as np

from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Observations, Source, Summable
from bayesgmm.data.units import Units
from bayesgmm.kernels.estep import ESums
from bayesgmm.kernels.student import Nu

_PARTS = 8  # on however many cores, so that sums are the same to the last bit
_FEW = 10_000  # values times components, from which on nodes are worth theirs
_ENOUGH = 5_000_000  # values times components, from which on threads are worth their while


class _ByCores:
    """Rows in parts."""

    def __init__(self, rows: Observations) -> None:
        ends = np.linspace(0, len(rows), _PARTS + 1).astype(int)
        self._parts = [rows.of(slice(begin, end)) for begin, end in pairwise(ends)]

    def sums(
        self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None, *, units: Units | None = None
    ) -> ESums:
        """Those of all parts, added in their order."""
        of = partial(Observations.sums, weights=weights, means=means, factors=factors, nu=nu, units=units)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return reduce(ESums.plus, pool.map(of, self._parts))


class _ByNodes:
    """Rows of one feature with nodes."""

    def __init__(self, rows: Observations) -> None:
        self.sums = partial(rows.sums, by_nodes=True)


def by_cores(source: Source, k: int) -> Summable:
    """The source itself where that is quick, or where it has workers of its own."""
    if not isinstance(source, Observations):
        return source
    operations = source.x.size * k
    if operations >= _FEW and source.nodes is not None:
        return _ByNodes(source)
    return _ByCores(source) if operations >= _ENOUGH else source
