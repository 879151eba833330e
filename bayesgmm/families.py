"""Families of the components' distributions, and all that depends on which of them it is.

A t distribution has degrees of freedom nu beside its mean and covariance, one of each component. A Gaussian has none: where
an array holds them, its own is empty. How observations of either are summed is in :mod:`bayesgmm.kernels`; how PyMC states
them, in :mod:`bayesgmm.model.pymc_rows`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy import stats

from bayesgmm.arguments import FamilyName, FloatArray, Scale
from bayesgmm.kernels import student
from bayesgmm.kernels.rows import Rows
from bayesgmm.kernels.student import EXPECTED, LEAST, PRIOR, Student


class Family(Protocol):
    """What the rest of the package asks of a family."""

    name: FamilyName
    adjective: str
    scale: Scale
    """What the default prior is scaled to."""
    exact_alone: bool
    """Whether all values must be known as they are."""
    work: int
    """How many times as long a sweep of Gibbs sampling takes as with Gaussians."""

    def n_nu(self, k: int) -> int:
        """Degrees of freedom of K components: how many numbers these are."""
        ...

    def expected_nu(self, k: int) -> FloatArray:
        """Those of K components of which nothing is known, (K,) or (0,)."""
        ...

    def draw_nu(self, k: int, draws: int, rng: np.random.Generator) -> FloatArray | None:
        """Those of K components drawn from the prior, (S, K)."""
        ...

    def log_normaliser(self, k: int) -> float:
        """Log of the constant of the prior of those of K components."""
        ...

    def rows(self, rows: Rows, nu: FloatArray) -> Rows:
        """Observations as sweeps take them, with the degrees of freedom at which a chain stands."""
        ...

    def cost_of_rest(self, n_other: int) -> float:
        """The power of eps by which an observation's density falls while all components shrink elsewhere, like eps.

        There are so many features in which they do not.
        """
        ...


class Gaussian:
    """Normal distributions."""

    name: FamilyName = "gaussian"
    adjective = "Gaussian"
    scale: Scale = "range"
    exact_alone = False
    work = 1

    def n_nu(self, k: int) -> int:
        """None."""
        return 0

    def expected_nu(self, k: int) -> FloatArray:
        """None."""
        return np.empty(0)

    def draw_nu(self, k: int, draws: int, rng: np.random.Generator) -> FloatArray | None:
        """None."""
        return None

    def log_normaliser(self, k: int) -> float:
        """Of no prior."""
        return 0.0

    def rows(self, rows: Rows, nu: FloatArray) -> Rows:
        """With what allocates them."""
        return rows.for_allocation()

    def cost_of_rest(self, n_other: int) -> float:
        """Faster than any power."""
        return np.inf


class T:
    """Student's t distributions, whose tails let strays be: see :mod:`bayesgmm.kernels.student`."""

    name: FamilyName = "t"
    adjective = "t-distributed"
    scale: Scale = "core"
    exact_alone = True
    work = 5

    def n_nu(self, k: int) -> int:
        """One of each component."""
        return k

    def expected_nu(self, k: int) -> FloatArray:
        """A number between a heavy tail and a Gaussian's."""
        return np.full(k, EXPECTED)

    def draw_nu(self, k: int, draws: int, rng: np.random.Generator) -> FloatArray | None:
        """By the inverse of its distribution function above its bound."""
        of_nu = stats.gamma(PRIOR[0], scale=1 / PRIOR[1])
        return np.asarray(of_nu.isf(rng.uniform(size=(draws, k)) * of_nu.sf(LEAST)))

    def log_normaliser(self, k: int) -> float:
        """Of a truncated Gamma distribution."""
        return k * student.log_normaliser()

    def rows(self, rows: Rows, nu: FloatArray) -> Rows:
        """With nu, and room for the sums by which it is drawn."""
        return rows._replace(known=Student(nu, np.zeros((2, len(nu)))))

    def cost_of_rest(self, n_other: int) -> float:
        """By the heaviest tail that there may be."""
        return (LEAST + n_other) / 2


GAUSSIAN, T_DISTRIBUTED = Gaussian(), T()
_FAMILIES: dict[str, Family] = {each.name: each for each in (GAUSSIAN, T_DISTRIBUTED)}


def family_of(name: str) -> Family:
    """The family that is called so."""
    return _FAMILIES[name]


def name_of(nu: FloatArray | None) -> FamilyName:
    """What the family is called whose components have these degrees of freedom, or none."""
    return GAUSSIAN.name if nu is None else T_DISTRIBUTED.name
