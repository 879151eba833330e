"""Priors on the number of components k = 1, 2, ...: frozen, validated once, and proper."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, gammaln, xlog1py, xlogy

from bayesgmm.arguments import FloatArray, read_count, read_positive, read_probability
from bayesgmm.data.tables import read_numbers

LARGEST_K = 200  # largest k of a prior without a bound, which is truncated there
_LONGEST = 1_000  # largest k of a prior with a bound
_NOTHING = 1e-12  # negligible probability of all larger k
_CUT_OFF = 1e-4  # largest probability that truncation may remove


@dataclass(frozen=True, eq=False)
class PriorOnK(ABC):
    """A prior on the number of components, k = 1, 2, ..., with probabilities p(k)."""

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            read = read_probability if name == "p" else read_positive
            object.__setattr__(self, name, read(getattr(self, name), name))

    def log_pmf(self, k: ArrayLike) -> FloatArray:
        """Log p(k), minus infinity where k is impossible."""
        k = np.asarray(k)
        return np.where((k >= 1) & (k == np.floor(k)), self._log_p(np.maximum(k - 1, 0)), -np.inf)

    @abstractmethod
    def _log_p(self, m: FloatArray) -> FloatArray:
        """Log p(m + 1), for m = 0, 1, ..."""

    def probabilities(self) -> FloatArray:
        """P(k) for k = 1, ..., m, adding to one, where m is the largest k with p(k) > 0.

        A prior without a bound is truncated where the probability of all larger k is below 1e-12, or at k = 200, and
        normalised. It is refused if truncation would remove a probability of more than 1e-4.
        """
        p = np.exp(self.log_pmf(np.arange(1, LARGEST_K + 1)))
        beyond = 1 - p.cumsum()
        if beyond[-1] > _CUT_OFF:
            raise ValueError(
                f"prior_k must have all but {_CUT_OFF:g} of its probability on k = 1, ..., {LARGEST_K}, "
                f"got {beyond[-1]:.2g} on larger k under {self}; choose parameters that favour smaller k, or give "
                "probabilities of k = 1, ..., m as a sequence"
            )
        enough = np.flatnonzero(beyond <= _NOTHING)
        p = p[: enough[0] + 1] if len(enough) else p
        return p / p.sum()

    def to_json(self) -> str:
        """Name and parameters, for the record."""
        return json.dumps({"name": type(self).__name__, **asdict(self)})


@dataclass(frozen=True, eq=False)
class Probabilities(PriorOnK):
    """Any probabilities of k = 1, ..., m.

    Parameters
    ----------
    values : sequence of float
        p(1), ..., p(m), which add to one.

    Examples
    --------
    >>> Probabilities([0.5, 0, 0.5]).probabilities()
    array([0.5, 0. , 0.5])
    """

    values: Sequence[float]

    def __post_init__(self) -> None:
        values = read_numbers(self.values, "prior_k")
        if values.ndim != 1 or not 1 <= len(values) <= _LONGEST:
            raise ValueError(
                f"prior_k must hold the probabilities of k = 1, ..., m for an m up to {_LONGEST}, got shape {values.shape}"
            )
        if not np.isfinite(values).all() or (values < 0).any():
            raise ValueError("prior_k must hold probabilities, which are finite and not negative; give impossible k a zero")
        if abs(values.sum() - 1) > 1e-6:
            remedy = "divide them by their sum" if values.any() else "make at least one k possible"
            raise ValueError(f"prior_k must hold probabilities that add to one, got a sum of {values.sum():g}; {remedy}")
        object.__setattr__(self, "values", tuple((values / values.sum()).tolist()))

    def _log_p(self, m: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.log(np.append(self.values, 0.0)[np.minimum(m, len(self.values)).astype(int)])

    def probabilities(self) -> FloatArray:
        """P(k) for k = 1, ..., m, where m is the largest k with p(k) > 0."""
        return np.array(self.values)[: np.flatnonzero(self.values)[-1] + 1]


@dataclass(frozen=True, eq=False)
class Uniform(PriorOnK):
    """The same probability for every k = 1, ..., most; Richardson & Green (1997) chose 30.

    Parameters
    ----------
    most : int
        Largest k, up to 1000.

    Examples
    --------
    >>> Uniform(4).probabilities()
    array([0.25, 0.25, 0.25, 0.25])
    """

    most: int = 30

    def __post_init__(self) -> None:
        if read_count(self.most, "most") > _LONGEST:
            raise ValueError(f"most must be at most {_LONGEST}, got {self.most}; choose a smaller one")

    def _log_p(self, m: FloatArray) -> FloatArray:
        return np.where(m < self.most, -np.log(self.most), -np.inf)

    def probabilities(self) -> FloatArray:
        """P(k) for k = 1, ..., most."""
        return np.full(self.most, 1 / self.most)


@dataclass(frozen=True, eq=False)
class Geometric(PriorOnK):
    """p(k) = p (1 - p)^(k - 1), with mean 1 / p.

    Parameters
    ----------
    p : float
        Between 0 and 1.

    Examples
    --------
    >>> np.exp(Geometric(0.5).log_pmf([1, 2, 3]))
    array([0.5  , 0.25 , 0.125])
    """

    p: float

    def _log_p(self, m: FloatArray) -> FloatArray:
        return np.asarray(np.log(self.p) + m * np.log1p(-self.p))


@dataclass(frozen=True, eq=False)
class Poisson(PriorOnK):
    """k - 1 ~ Poisson(rate).

    Parameters
    ----------
    rate : float
        Positive.

    Examples
    --------
    >>> np.exp(Poisson(1.0).log_pmf(1)).round(4).item()
    0.3679
    """

    rate: float

    def _log_p(self, m: FloatArray) -> FloatArray:
        return np.asarray(xlogy(m, self.rate) - self.rate - gammaln(m + 1))


@dataclass(frozen=True, eq=False)
class NegativeBinomial(PriorOnK):
    r"""k - 1 failures before the r-th success of probability p.

    .. math::
        p(k) = \frac{\Gamma(r + k - 1)}{\Gamma(r) (k - 1)!} p^r (1 - p)^{k - 1}

    Parameters
    ----------
    r : float
        Positive; 1 is the geometric distribution.
    p : float
        Between 0 and 1.

    Examples
    --------
    >>> np.exp(NegativeBinomial(2, 0.5).log_pmf([1, 2])).round(2)
    array([0.25, 0.25])
    """

    r: float
    p: float

    def _log_p(self, m: FloatArray) -> FloatArray:
        ways = gammaln(self.r + m) - gammaln(self.r) - gammaln(m + 1)
        return np.asarray(ways + self.r * np.log(self.p) + xlog1py(m, -self.p))


@dataclass(frozen=True, eq=False)
class BetaNegativeBinomial(PriorOnK):
    r"""k - 1 ~ BNB(a_lambda, a_pi, b_pi), a negative binomial distribution with p ~ Beta(a_pi, b_pi).

    .. math::
        p(k) = \frac{\Gamma(a_\lambda + k - 1)}{\Gamma(a_\lambda) (k - 1)!}
        \frac{B(a_\lambda + a_\pi, k - 1 + b_\pi)}{B(a_\pi, b_\pi)}

    Parameters
    ----------
    a_lambda, a_pi, b_pi : float
        Positive. The defaults have mean 2 and are those of the reference.

    References
    ----------
    Frühwirth-Schnatter, Malsiner-Walli & Grün (2021), Generalized mixtures of finite mixtures and telescoping sampling,
    Bayesian Analysis 16, 1279-1307. doi:10.1214/21-BA1294

    Examples
    --------
    >>> np.exp(BetaNegativeBinomial(1, 4, 3).log_pmf(1)).round(4).item()
    0.5714
    """

    a_lambda: float = 1.0
    a_pi: float = 4.0
    b_pi: float = 3.0

    def _log_p(self, m: FloatArray) -> FloatArray:
        ways = gammaln(self.a_lambda + m) - gammaln(self.a_lambda) - gammaln(m + 1)
        return np.asarray(ways + betaln(self.a_lambda + self.a_pi, m + self.b_pi) - betaln(self.a_pi, self.b_pi))


def read_prior_k(prior_k: PriorOnK | ArrayLike | None) -> PriorOnK:
    """The prior that is given, or the default. A sequence holds probabilities."""
    if prior_k is None:
        return Uniform(30)
    if isinstance(prior_k, PriorOnK):
        return prior_k
    if isinstance(prior_k, str | type) or callable(prior_k) or not np.iterable(prior_k):
        raise TypeError(
            "prior_k must be one of bayesgmm.priors.Uniform, Geometric, Poisson, NegativeBinomial, BetaNegativeBinomial, "
            f"or a sequence of the probabilities of k = 1, ..., m, got {prior_k!r}"
        )
    return Probabilities(prior_k)  # type: ignore[arg-type]


def prior_k_from_json(stored: Any) -> PriorOnK:
    """The prior on k that ``to_json`` recorded."""
    kinds = {
        kind.__name__: kind for kind in (Probabilities, Uniform, Geometric, Poisson, NegativeBinomial, BetaNegativeBinomial)
    }
    try:
        values = json.loads(stored)
        return kinds[values.pop("name")](**values)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"attribute prior_k of tree must be the record of a prior on k, got {str(stored)[:80]!r}; pass what posterior_k "
            "returned"
        ) from None
