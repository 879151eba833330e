"""A prior as code computes with it: without open hyperparameters, and given what is fixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgmm.arguments import Covariance, FloatArray
from bayesgmm.model.fixed import Fixed
from bayesgmm.model.priors import HierarchicalPrior, Prior, axes_of


@dataclass(frozen=True, eq=False)
class Hyperparameters:
    """A prior scaled to data, without open hyperparameters. Arrays have as many axes for one feature as for several.

    Their first axis p has one entry for all components, or K for each of them.
    """

    alpha: FloatArray  # (p,)
    b0: FloatArray  # (p, D)
    B0: FloatArray  # (p, D, D)
    c0: FloatArray  # (p,)
    learnt: bool  # whether C0 is drawn, from a Wishart or Gamma distribution
    g0: float  # 0 if C0 is fixed
    rate: FloatArray  # G0, with p = 1, or C0 if it is fixed; (p, V) or (p, D, D)

    @classmethod
    def of(cls, prior: Prior, covariance: Covariance) -> Hyperparameters:
        """The hyperparameters of a prior that is scaled to data."""
        values: Any = prior
        learnt, d = isinstance(prior, HierarchicalPrior), prior.n_features
        of_rate = "G0" if learnt else "C0"
        arrays = {}
        for name in ("alpha", "b0", "B0", "c0", of_rate):
            given, axes = np.asarray(getattr(values, name), dtype=float), axes_of(name, d, covariance)
            arrays[name] = given if given.ndim > axes else given[None]
        b0, B0, rate = arrays["b0"], arrays["B0"], arrays[of_rate]
        rate = rate[:, None] if rate.ndim == 1 else rate
        return cls(
            arrays["alpha"], b0.reshape(len(b0), d), B0.reshape(len(B0), d, d), arrays["c0"], learnt,
            values.g0 if learnt else 0.0, rate,
        )  # fmt: skip

    @cached_property
    def root_of_B0(self) -> FloatArray:  # noqa: N802
        """Cholesky factor of B0, (p, D, D). Its rows and columns are zero for fixed entries of the means."""
        return _on_free(np.linalg.cholesky, self.B0)

    @cached_property
    def inverse_root(self) -> FloatArray:
        """Inverse of the Cholesky factor of B0, (p, D, D)."""
        return _on_free(np.linalg.inv, self.root_of_B0)

    @cached_property
    def precision_of_means(self) -> FloatArray:
        """Inverse of B0, (p, D, D)."""
        return _on_free(np.linalg.inv, self.B0)

    @cached_property
    def log_normaliser_of_means(self) -> FloatArray:
        """Log normalising constants of the priors of the means, (p,)."""
        diagonals = np.diagonal(self.root_of_B0, axis1=1, axis2=2)
        free = diagonals > 0
        return -np.log(np.where(free, diagonals, 1.0)).sum(axis=1) - free.sum(axis=1) / 2 * np.log(2 * np.pi)

    def given(self, fixed: Fixed | None, k: int, n_blocks: int) -> Hyperparameters:
        """The prior of the free parameters given the fixed ones.

        It has values for each component: alpha and c0 are 0 for fixed weights and covariances, which have no prior. b0 and
        B0 are mean and covariance of the free entries of a mean given its fixed ones; for a fixed entry b0 is its value, and
        its row and column of B0 are 0. Fixed covariances say nothing about C0.
        """
        if fixed is None:
            return self
        own = self.of_each(k, n_blocks)
        alpha, b0, B0, c0 = (each.copy() for each in (own.alpha, own.b0, own.B0, own.c0))
        alpha[~fixed.free_w] = 0.0
        held = ~fixed.free_cov[:n_blocks]
        c0[held] = 0.0
        rate = own.rate.copy()
        learnt = own.learnt and not held.all()
        if not own.learnt:
            rate[held] = 0.0
        elif not learnt:
            rate = np.zeros_like(rate)
        for j in range(k):
            free = fixed.free_mu[j]
            known = fixed.mu[j][~free]
            gain = B0[j][np.ix_(free, ~free)] @ np.linalg.inv(B0[j][np.ix_(~free, ~free)])
            b0[j][free] += gain @ (known - b0[j][~free])
            inner = B0[j][np.ix_(free, free)] - gain @ B0[j][np.ix_(~free, free)]
            b0[j][~free], B0[j] = known, 0.0
            B0[j][np.ix_(free, free)] = inner
        return replace(own, alpha=alpha, b0=b0, B0=B0, c0=c0, rate=rate, learnt=learnt)

    def of_each(self, k: int, n_blocks: int) -> Hyperparameters:
        """The same for each of K components and m covariances. G0 stays one."""
        alpha, b0, B0 = (np.broadcast_to(each, (k, *each.shape[1:])) for each in (self.alpha, self.b0, self.B0))
        rate = self.rate if self.learnt else np.broadcast_to(self.rate, (n_blocks, *self.rate.shape[1:]))
        return replace(self, alpha=alpha, b0=b0, B0=B0, c0=np.broadcast_to(self.c0, n_blocks), rate=rate)

    def classes(self, k: int) -> NDArray[np.int64]:
        """Class of each component, (K,): the first component with the same prior."""
        own = [each for each in (self.alpha, self.b0, self.B0, self.c0, self.rate) if len(each) > 1]
        alike = [[all((each[i] == each[j]).all() for each in own) for j in range(k)] for i in range(k)]
        return np.argmax(alike, axis=1)

    def scale_given(self, n_blocks: int, sum_of_precisions: FloatArray) -> tuple[float, FloatArray]:
        """Shape and rate of C0's full conditional, given the sum of ``n_blocks`` precisions."""
        return self.g0 + float(np.broadcast_to(self.c0, n_blocks).sum()), self.rate[0] + sum_of_precisions


def _on_free(function: Callable[[FloatArray], FloatArray], matrices: FloatArray) -> FloatArray:
    """A function of matrices (p, D, D), applied to the rows and columns whose diagonal is not zero; the others stay zero."""
    free = np.diagonal(matrices, axis1=1, axis2=2) > 0
    if free.all():
        return function(matrices)
    result = np.zeros_like(matrices)
    for matrix, out, some in zip(matrices, result, free, strict=True):
        out[np.ix_(some, some)] = function(matrix[np.ix_(some, some)])
    return result
