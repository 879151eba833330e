"""Observations as compiled code takes them: their values, how often each counts, and what is known of each."""

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
    """The values are known as they are."""

    @property
    def address(self) -> int:
        """None."""
        return 0


type Kind = Exact | Errors | Groups | Intervals | Student
EXACT = Exact()


class Rows(NamedTuple):
    """Observations, and what is known of them; an array that is not needed is empty.

    What is None is not compiled for, either.

    Attributes
    ----------
    x : (n, D) array
    weight : (n,) or (0,) array
        How often each observation counts.
    copies : (n,) array or None
        Whole numbers near the weights, of which allocations are drawn.
    rest : (n,) array or None
        Weights less copies, if any of them is not zero.
    log_labels : (K, n) or (0, n) array, or (K + 1, n) or (1, n)
        Logarithms of what is known of each observation's component; where it may be noise, in the last row noise's log
        density.
    noise : int
        1 where observations may be noise, else 0.
    known : Exact, Errors, Groups, Intervals or Student
        What is known of the values; all is in the order of groups or intervals.
    sums, log_likelihood : int
        Addresses of the functions of :mod:`bayesgmm.kernels.sums` for these rows; 0 as the second, which only moves of a
        sweep take (:meth:`for_moves`).
    allocation : int
        That of :mod:`bayesgmm.kernels.exact`, or 0 (:meth:`for_allocation`).
    at_known : int
        The address of what is known, or of nodes in place of values known as they are, which these functions take.
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
        """With what allocates values known as they are, or with one error, compiled if it has not been."""
        together = isinstance(self.known, Exact) or (isinstance(self.known, Groups) and self.known.is_one(self.x.shape[1]))
        return self._replace(allocation=address_of_allocation()) if together else self

    def for_moves(self) -> Rows:
        """With the log-likelihood of one feature, compiled if it has not been."""
        by_nodes = self.at_known != 0 and isinstance(self.known, Exact)
        return self._replace(log_likelihood=address_of_log_likelihood("Nodes" if by_nodes else type(self.known).__name__))


def rows_of(
    x: FloatArray, weight: FloatArray | None, log_labels: FloatArray | None, known: Kind = EXACT, *, noise: bool = False,
    student: bool = False, nodes: Nodes | None = None,
) -> Rows:  # fmt: skip
    """Observations (n, D) as sweeps take them, of Gaussians or of t distributions; nodes may stand for them in sums."""
    weights, copies, rest = given([]), None, None
    labels = given(np.empty((0, len(x))) if log_labels is None else log_labels)
    if weight is not None:
        weights, copies = given(weight), given(whole_counts(x, weight))
        rest = given(weights - copies) if (copies != weights).any() else None
    summed = known if nodes is None else nodes
    sums = address_of_sums(summed, one_feature=x.shape[1] == 1, student=student)
    return Rows(given(x), weights, copies, rest, labels, int(noise), known, sums, 0, 0, summed.address)


def whole_counts(x: FloatArray, weight: FloatArray) -> FloatArray:
    """Whole numbers (n,) near the weights of observations (n, D), with nearly their sum wherever one looks.

    Along the first feature their sums are those of the weights, rounded.
    """
    order = np.argsort(x[:, 0], kind="stable")
    result = np.empty(len(x))
    result[order] = np.diff(np.floor(np.cumsum(weight[order]) + 0.5), prepend=0.0)
    return result
