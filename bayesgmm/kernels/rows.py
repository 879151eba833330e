"""Observations prepared for compiled code: values, weights, labels and what is known of the values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.compiled import given
from bayesgmm.kernels.errors import Errors
from bayesgmm.kernels.exact import address_of_allocation
from bayesgmm.kernels.groups import Groups
from bayesgmm.kernels.intervals import Intervals
from bayesgmm.kernels.quadrature import Nodes
from bayesgmm.kernels.student import Student
from bayesgmm.kernels.sums import address_of_log_likelihood, address_of_sums


class Exact(NamedTuple):
    """The values are exact."""

    @property
    def address(self) -> int:
        """0: exact values need no further array."""
        return 0


type Kind = Exact | Errors | Groups | Intervals | Student
EXACT = Exact()


class Rows(NamedTuple):
    """Observations, and what is known of them.

    Arrays that are not needed are empty, or None if code for them should not be compiled either.

    Attributes
    ----------
    x : (n, D) array
    weight : (n,) or (0,) array
        Frequency weights.
    copies : (n,) array or None
        Integers near the weights: the number of copies that are allocated.
    rest : (n,) array or None
        Weights minus copies; None if all are zero.
    log_labels : (K, n) or (0, n) array, or (K + 1, n) or (1, n)
        Log label probabilities. If observations may be noise, the last row is their log density as noise.
    noise : int
        1 if observations may be noise, otherwise 0.
    known : Exact, Errors, Groups, Intervals or Student
        What is known of the values. For groups and intervals, all arrays are in their ``order``.
    sums, log_likelihood : int
        Addresses of the functions of :mod:`bayesgmm.kernels.sums` for these rows. ``log_likelihood`` is 0 unless
        :meth:`for_moves` sets it.
    allocation : int
        Address of the function of :mod:`bayesgmm.kernels.exact`; 0 unless :meth:`for_allocation` sets it.
    at_known : int
        Address of ``known``, or of nodes that replace exact values; an argument of ``sums`` and ``log_likelihood``.
    """

    x: FloatArray
    weight: FloatArray
    copies: FloatArray | None
    rest: FloatArray | None
    log_labels: FloatArray
    noise: int
    known: Kind
    sums: int
    log_likelihood: int
    allocation: int
    at_known: int

    def for_allocation(self) -> Rows:
        """Set ``allocation``, compiled if necessary, for exact values and for complete rows with one error covariance."""
        together = isinstance(self.known, Exact) or (isinstance(self.known, Groups) and self.known.is_one(self.x.shape[1]))
        return self._replace(allocation=address_of_allocation()) if together else self

    def for_moves(self) -> Rows:
        """Set ``log_likelihood``, compiled if necessary; for one feature."""
        by_nodes = self.at_known != 0 and isinstance(self.known, Exact)
        return self._replace(log_likelihood=address_of_log_likelihood("Nodes" if by_nodes else type(self.known).__name__))


def rows_of(
    x: FloatArray, weight: FloatArray | None, log_labels: FloatArray | None, known: Kind = EXACT, *, noise: bool = False,
    student: bool = False, nodes: Nodes | None = None,
) -> Rows:  # fmt: skip
    """Rows for observations (n, D) and Gaussians or t distributions; nodes may replace the values in sums."""
    weights, copies, rest = given([]), None, None
    labels = given(np.empty((0, len(x))) if log_labels is None else log_labels)
    if weight is not None:
        weights, copies = given(weight), given(whole_counts(x, weight))
        rest = given(weights - copies) if (copies != weights).any() else None
    summed = known if nodes is None else nodes
    sums = address_of_sums(summed, one_feature=x.shape[1] == 1, student=student)
    return Rows(given(x), weights, copies, rest, labels, int(noise), known, sums, 0, 0, summed.address)


def whole_counts(x: FloatArray, weight: FloatArray) -> FloatArray:
    """Integers (n,) near the weights of observations (n, D), with nearly the same sum in any region.

    In the order of the first feature, their cumulative sums are those of the weights, rounded.
    """
    order = np.argsort(x[:, 0], kind="stable")
    result = np.empty(len(x))
    result[order] = np.diff(np.floor(np.cumsum(weight[order]) + 0.5), prepend=0.0)
    return result
