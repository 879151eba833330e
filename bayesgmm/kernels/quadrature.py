"""Many values of one feature by few nodes: sums over them that have all the digits a float has.

The values within a bin are a measure, and the Gaussian quadrature of that measure with five nodes integrates polynomials up
to degree nine as the values themselves do. Log density and responsibilities of a mixture are smooth on the scale of its
narrowest component: where that is at least as wide as two bins, sums over nodes with their weights differ from those over
all values by no more than rounding. Where a component is narrower, all values are looked at.

Nodes and weights are eigenvalues, and squared first entries of eigenvectors, of the tridiagonal matrix that Lanczos' process
makes of a bin's values.

References
----------
Golub & Welsch (1969), Calculation of Gauss quadrature rules, Mathematics of Computation 23, 221-230.
doi:10.1090/S0025-5718-69-99647-1
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import carray
from numpy.typing import NDArray

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.blocks import ROOT_HALF
from bayesgmm.kernels.compiled import STRICT, compiled, given
from bayesgmm.kernels.pointers import pointer

_LEAST = 5_000  # values from which on nodes are worth their while
_NODES = 5  # of a bin
_BINS = 200  # between the 1 % and the 99 % quantiles
_NARROWEST = 2.0  # bins, standard deviation of a component from which on nodes stand for all values
_WORTH = 4  # times fewer nodes than values
_EXHAUSTED = 1e-12  # of a bin's width, which is left of values that are as many as the nodes before


class Nodes(NamedTuple):
    """Weighted nodes that stand for many values.

    Attributes
    ----------
    x, weight : (m,) array
        Where the nodes are, and how many values each stands for.
    widest : (1,) array
        What the E-step's H (:mod:`.univariate`) may be for the nodes to do, in units of x.
    head : (4,) array of int
        m, and the addresses of these.
    """

    x: FloatArray
    weight: FloatArray
    widest: FloatArray
    head: NDArray[np.int64]

    @property
    def address(self) -> int:
        """Where the head begins."""
        return int(self.head.ctypes.data)


def nodes_of(x: FloatArray) -> Nodes | None:
    """Nodes for values (n,), if they are many, and far fewer nodes will do."""
    n = len(x)
    if n < _LEAST:
        return None
    ordered = np.sort(x)
    low = ordered[n // 100]
    width = (ordered[-(n // 100)] - low) / _BINS
    if not width > 0:
        return None
    parts, begin, many = [], 0, 0
    while begin < n:
        upper = low + width * (np.floor((ordered[begin] - low) / width) + 1)
        end = max(begin + 1, int(np.searchsorted(ordered, upper)))
        parts.append(_of_bin(ordered[begin:end], width))
        begin, many = end, many + len(parts[-1][0])
        if many * _WORTH > n:
            return None
    places, weights = (np.concatenate(each) for each in zip(*parts, strict=True))
    return _held(places, weights, ROOT_HALF / (_NARROWEST * width))


def rescaled(nodes: Nodes, shift: float, scale: float) -> Nodes:
    """Those of values less a shift, divided by a scale."""
    return _held((nodes.x - shift) / scale, nodes.weight, nodes.widest[0] * scale)


def _held(places: FloatArray, weights: FloatArray, widest: float) -> Nodes:
    arrays = given(places), given(weights), given([widest])
    return Nodes(*arrays, np.array([len(places), *(each.ctypes.data for each in arrays)]))


def _of_bin(x: FloatArray, width: float) -> tuple[FloatArray, FloatArray]:
    if len(x) <= _NODES:
        return x, np.ones(len(x))
    middle = (x[0] + x[-1]) / 2
    away, basis = x - middle, [np.full(len(x), len(x) ** -0.5)]
    matrix = np.zeros((_NODES, _NODES))
    for i in range(_NODES):
        vector = away * basis[i]
        matrix[i, i] = vector @ basis[i]
        for _ in range(2):
            vector -= sum((vector @ each) * each for each in basis)
        length = np.linalg.norm(vector)
        if i + 1 == _NODES or length <= _EXHAUSTED * width:
            matrix = matrix[: i + 1, : i + 1]
            break
        matrix[i, i + 1] = matrix[i + 1, i] = length
        basis.append(vector / length)
    places, vectors = np.linalg.eigh(matrix)
    return middle + places, len(x) * vectors[0] ** 2


@compiled(fastmath=STRICT)
def take(known, n, n_labels, x, log_labels, h, inverse_scale):
    """What the sums are to be formed over: how many, and arrays of values, weights and labels.

    These are nodes, or all values if a component is too narrow, by the address of the nodes' head and those of n values and
    labels. Labels tell nothing but the density of noise, the same for all.
    """
    head = carray(pointer(known), (4,)).view(np.int64)
    widest = 0.0
    for j in range(len(h)):
        widest = max(widest, h[j])
    if not widest * inverse_scale <= carray(pointer(head[3]), (1,))[0]:
        return carray(pointer(x), (n,)), np.empty(0), carray(pointer(log_labels), (n_labels, n))
    m = head[0]
    labels = np.empty((n_labels, m))
    for i in range(m if n_labels > 0 else 0):
        labels[0, i] = carray(pointer(log_labels), (1,))[0]
    return carray(pointer(head[1]), (m,)), carray(pointer(head[2]), (m,)), labels
