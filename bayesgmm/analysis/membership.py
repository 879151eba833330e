"""Membership probabilities averaged over draws: as many for each observation as its standard error requires."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bayesgmm.analysis.densities import log_density
from bayesgmm.analysis.draws import Draws
from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Observations

ERROR = 0.005  # largest Monte Carlo standard error of a probability
_ROUNDS = 128, 512, 2_048  # numbers of draws after which the standard error is checked
_BLOCK = 8_192  # observations handled together
_TOGETHER = 16  # draws summed at once: a constant, so that rounding does not depend on the other observations


def averaged(draws: Draws, rows: Observations, *, further: bool) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation over draws of each observation's probabilities, (n, K), or with noise (n, K + 1).

    New observations (``further``) also inform the parameters, so each draw is weighted by its density at the observation.
    """
    n_columns = draws.n_components + (draws.noise is not None)
    mean, sd = np.empty((2, len(rows), n_columns))
    order = _spread_out(len(draws.w))
    ends = [0, *(each for each in _ROUNDS if each < len(order)), len(order)]

    def of_block(begin: int) -> None:
        block = rows.of(slice(begin, begin + _BLOCK))
        left = np.arange(len(block))
        sums = _Sums.zeros(len(block), n_columns)
        for first, last in pairwise(ends):
            of_left = block if len(left) == len(block) else block.of(left)
            for start in range(first, last, _TOGETHER):
                end = min(start + _TOGETHER, last)
                some = draws.of(order[start:end], 1, end - start)
                shares = of_left.responsibilities(*some.parameters)
                sums.add(shares, log_density(some, of_left) if further else None)
            mean[begin + left], sd[begin + left] = sums.mean, sums.sd
            imprecise = (sums.error > ERROR).any(axis=1)
            left, sums = left[imprecise], sums.of(imprecise)
            if not len(left):
                break

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(of_block, range(0, len(rows), _BLOCK)))
    return mean, sd


def _spread_out(n: int) -> NDArray[np.int64]:
    """The numbers below n in bit-reversed order, so that the first m are evenly spread for every m."""
    numbers, bits = np.arange(n), max(1, (n - 1).bit_length())
    reversed_bits = sum(((numbers >> place) & 1) << (bits - 1 - place) for place in range(bits))
    return np.argsort(reversed_bits)


@dataclass
class _Sums:
    """Sums over draws for n observations: of the draws' weights s, and of the membership probabilities r.

    Weights are relative to the largest so far, which has the logarithm ``top`` (n,).
    """

    top: FloatArray
    of_shares: FloatArray  # (2, n), of s and s^2
    of_r: FloatArray  # (2, n, K), of s r and s^2 r
    of_squares: FloatArray  # (2, n, K), of s r^2 and s^2 r^2

    @classmethod
    def zeros(cls, n: int, n_columns: int) -> _Sums:
        """Sums over no draws."""
        return cls(np.full(n, -np.inf), np.zeros((2, n)), np.zeros((2, n, n_columns)), np.zeros((2, n, n_columns)))

    def of(self, chosen: NDArray[np.bool_]) -> _Sums:
        """The sums for the chosen observations."""
        return _Sums(self.top[chosen], *(each[:, chosen] for each in (self.of_shares, self.of_r, self.of_squares)))

    def add(self, r: FloatArray, log_shares: FloatArray | None) -> None:
        """Add draws: probabilities (S, n, K), which are overwritten, and log weights (S, n), or None for equal ones."""
        if log_shares is None:
            self.of_shares += len(r)
            self.of_r += r.sum(axis=0)
            r *= r
            self.of_squares += r.sum(axis=0)
            return
        top = np.maximum(self.top, log_shares.max(axis=0))
        s, ratio = np.exp(log_shares - top), np.exp(self.top - top)
        self.top, scale = top, np.stack([ratio, ratio**2])
        self.of_shares *= scale
        self.of_r *= scale[..., None]
        self.of_squares *= scale[..., None]
        for power in range(2):
            self.of_shares[power] += s.sum(axis=0)
            self.of_r[power] += np.einsum("sn,snk->nk", s, r)
            self.of_squares[power] += np.einsum("sn,snk,snk->nk", s, r, r)
            s *= s

    @property
    def mean(self) -> FloatArray:
        """Weighted mean of the probabilities."""
        return np.asarray(self.of_r[0] / self.of_shares[0][:, None])

    @property
    def sd(self) -> FloatArray:
        """Weighted standard deviation of the probabilities."""
        return np.sqrt(np.maximum(self.of_squares[0] / self.of_shares[0][:, None] - self.mean**2, 0))

    @property
    def error(self) -> FloatArray:
        """Standard error of the mean, as for independent draws."""
        mean, (total, of_squares) = self.mean, self.of_shares
        variance = self.of_squares[1] - 2 * mean * self.of_r[1] + mean**2 * of_squares[:, None]
        return np.sqrt(np.maximum(variance, 0)) / total[:, None]
