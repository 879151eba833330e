"""Families of the components' distributions, Gaussian and Student's t, and everything that differs between them.

Each component of a t mixture has degrees of freedom nu, beside its mean and covariance. Gaussians have none, and an array of
their nu is empty. The sums over observations are in :mod:`bayesgmm.kernels`, the PyMC models in
:mod:`bayesgmm.model.pymc_rows`.
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
    """Interface of a family for the rest of the package."""

    name: FamilyName
    adjective: str
    scale: Scale
    """What the default prior is scaled to."""
    exact_alone: bool
    """Whether all values must be known as they are."""
    work: int
    """How many times as long a sweep of Gibbs sampling takes as with Gaussians."""

    def n_nu(self, k: int) -> int:
        """Number of degrees-of-freedom parameters of K components."""
        ...

    def expected_nu(self, k: int) -> FloatArray:
        """Degrees of freedom to start from for K components, (K,) or (0,)."""
        ...

    def draw_nu(self, k: int, draws: int, rng: np.random.Generator) -> FloatArray | None:
        """Draws of the degrees of freedom of K components from the prior, (S, K); None if there are none."""
        ...

    def log_normaliser(self, k: int) -> float:
        """Log normalising constant of the prior on the degrees of freedom of K components."""
        ...

    def rows(self, rows: Rows, nu: FloatArray) -> Rows:
        """Rows for Gibbs sweeps, with the current degrees of freedom of a chain."""
        ...

    def cost_of_rest(self, n_other: int) -> float:
        """Power of eps with which an observation's density falls, if all components shrink elsewhere to variances like eps.

        ``n_other`` is the number of features in which they do not shrink.
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
        """Zero: Gaussians have no degrees of freedom."""
        return 0

    def expected_nu(self, k: int) -> FloatArray:
        """An empty array: Gaussians have no degrees of freedom."""
        return np.empty(0)

    def draw_nu(self, k: int, draws: int, rng: np.random.Generator) -> FloatArray | None:
        """None: Gaussians have no degrees of freedom."""
        return None

    def log_normaliser(self, k: int) -> float:
        """Zero: there is no prior on degrees of freedom."""
        return 0.0

    def rows(self, rows: Rows, nu: FloatArray) -> Rows:
        """Rows prepared for drawing allocations."""
        return rows.for_allocation()

    def cost_of_rest(self, n_other: int) -> float:
        """Infinite: the density falls faster than any power."""
        return np.inf


class T:
    """Student's t distributions, with heavy tails for outlying observations: see :mod:`bayesgmm.kernels.student`."""

    name: FamilyName = "t"
    adjective = "t-distributed"
    scale: Scale = "core"
    exact_alone = True
    work = 5

    def n_nu(self, k: int) -> int:
        """One for each component."""
        return k

    def expected_nu(self, k: int) -> FloatArray:
        """A value between heavy tails and a Gaussian, for each component."""
        return np.full(k, EXPECTED)

    def draw_nu(self, k: int, draws: int, rng: np.random.Generator) -> FloatArray | None:
        """Draw from the truncated Gamma prior, by inversion of its distribution function."""
        of_nu = stats.gamma(PRIOR[0], scale=1 / PRIOR[1])
        return np.asarray(of_nu.isf(rng.uniform(size=(draws, k)) * of_nu.sf(LEAST)))

    def log_normaliser(self, k: int) -> float:
        """Log normalising constant of K truncated Gamma distributions."""
        return k * student.log_normaliser()

    def rows(self, rows: Rows, nu: FloatArray) -> Rows:
        """Rows with nu, and with an array for the sums from which nu is drawn."""
        return rows._replace(known=Student(nu, np.zeros((2, len(nu)))))

    def cost_of_rest(self, n_other: int) -> float:
        """Power for the heaviest tail, with nu at its lower bound."""
        return (LEAST + n_other) / 2


GAUSSIAN, T_DISTRIBUTED = Gaussian(), T()
_FAMILIES: dict[str, Family] = {each.name: each for each in (GAUSSIAN, T_DISTRIBUTED)}


def family_of(name: str) -> Family:
    """The family with this name."""
    return _FAMILIES[name]


def name_of(nu: FloatArray | None) -> FamilyName:
    """Name of the family, from its components' degrees of freedom (None for Gaussians)."""
    return GAUSSIAN.name if nu is None else T_DISTRIBUTED.name
