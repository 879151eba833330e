"""Sums over many rows in memory: over quadrature nodes, or on all cores."""

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

_PARTS = 8  # a fixed number, so that the number of cores does not change a bit of the sums
_FEW = 10_000  # values x components from which quadrature nodes are quicker
_ENOUGH = 5_000_000  # values x components from which threads are quicker


class _ByCores:
    """Rows in parts, which are summed in parallel."""

    def __init__(self, rows: Observations) -> None:
        ends = np.linspace(0, len(rows), _PARTS + 1).astype(int)
        self._parts = [rows.of(slice(begin, end)) for begin, end in pairwise(ends)]

    def sums(
        self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None, *, units: Units | None = None
    ) -> ESums:
        """Expected sufficient statistics of all parts, added in a fixed order."""
        of = partial(Observations.sums, weights=weights, means=means, factors=factors, nu=nu, units=units)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return reduce(ESums.plus, pool.map(of, self._parts))


class _ByNodes:
    """Rows of one feature, summed over quadrature nodes."""

    def __init__(self, rows: Observations) -> None:
        self.sums = partial(rows.sums, by_nodes=True)


def by_cores(source: Source, k: int) -> Summable:
    """Choose how to sum: over quadrature nodes, on all cores, or by the source itself.

    The source itself is returned if it is small or not in memory.
    """
    if not isinstance(source, Observations):
        return source
    operations = source.x.size * k
    if operations >= _FEW and source.nodes is not None:
        return _ByNodes(source)
    return _ByCores(source) if operations >= _ENOUGH else source
