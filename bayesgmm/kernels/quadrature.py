"""Gaussian quadrature of the empirical distribution: sums over many values of one feature by few nodes.

The values in a bin define a discrete measure. Its Gaussian quadrature with five nodes integrates polynomials up to degree
nine exactly. Log density and responsibilities of a mixture are smooth on the scale of its narrowest component. If that has a
standard deviation of at least two bins, weighted sums over nodes equal those over all values up to rounding. If a component
is narrower, all values are used.

The Lanczos process turns a bin's values into a tridiagonal matrix. Its eigenvalues are the nodes, and the squared first
entries of its eigenvectors are the weights.

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

_LEAST = 5_000  # values below which nodes do not pay
_NODES = 5  # per bin
_BINS = 200  # between the 1 % and the 99 % quantiles
_NARROWEST = 2.0  # smallest standard deviation of a component, in bins, for which nodes are used
_WORTH = 4  # values per node below which nodes do not pay
_EXHAUSTED = 1e-12  # residual, in bin widths, at which the Lanczos process has found all distinct values of a bin


class Nodes(NamedTuple):
    """Weighted nodes that replace many values.

    Attributes
    ----------
    x, weight : (m,) array
        The nodes, and the number of values that each replaces.
    widest : (1,) array
        Largest h of the E-step (:mod:`.univariate`), an inverse width in units of 1 / x, for which nodes may be used.
    head : (4,) array of int
        m, and the addresses of x, weight and widest.
    """

    x: FloatArray
    weight: FloatArray
    widest: FloatArray
    head: NDArray[np.int64]

    @property
    def address(self) -> int:
        """Address of the head."""
        return int(self.head.ctypes.data)


def nodes_of(x: FloatArray) -> Nodes | None:
    """Nodes for values (n,); None if there are few values, or too many nodes would be needed."""
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
    """Nodes of the values (x - shift) / scale."""
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
    """Values, weights and labels to sum over: those of the nodes, or of all n values if a component is too narrow.

    ``known`` is the address of the nodes' head. The only possible label row is the log density of noise, which is the same
    for all values.
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
