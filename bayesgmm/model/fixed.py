"""Parameters that are known, and which of them are free."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm.arguments import TRAITS, Covariance, FloatArray
from bayesgmm.data.known import both_classes
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import as_shown
from bayesgmm.data.tables import read_numbers
from bayesgmm.model.mixture import Mixture
from bayesgmm.model.structures import Structure
from bayesgmm.words import about

_ADDS_UP = 1e-6  # by how much the sum of fixed weights may differ from one if all are fixed


@dataclass(frozen=True, eq=False)
class Fixed:
    """Values of fixed parameters, NaN where a parameter is free.

    Attributes
    ----------
    w : (K,) array
        If all weights but one are given, that one is fixed, too.
    mu : (K, D) array
    cov : (K, D, D) array
        A covariance is fixed as a whole.
    """

    w: FloatArray
    mu: FloatArray
    cov: FloatArray

    @property
    def free_w(self) -> NDArray[np.bool_]:
        """Which weights are free, (K,)."""
        return np.isnan(self.w)

    @property
    def free_mu(self) -> NDArray[np.bool_]:
        """Which entries of the means are free, (K, D)."""
        return np.isnan(self.mu)

    @property
    def free_cov(self) -> NDArray[np.bool_]:
        """Which covariances are free, (K,)."""
        return np.isnan(self.cov[:, 0, 0])

    @property
    def rest(self) -> float:
        """Sum of the free weights."""
        return 1.0 - float(np.nansum(self.w)) if self.free_w.any() else 0.0

    @property
    def classes(self) -> NDArray[np.int64]:
        """Class of each component, (K,): the first component of which the same is known."""
        known = np.hstack([self.w[:, None], self.mu, self.cov.reshape(len(self.w), -1)])
        alike = [[np.array_equal(one, other, equal_nan=True) for other in known] for one in known]
        return np.argmax(alike, axis=1)

    def rescaled(self, shift: float | FloatArray, scale: float | FloatArray) -> Fixed:
        """The values for data ``shift + scale * x``."""
        scales = np.broadcast_to(scale, self.mu.shape[1])
        return Fixed(self.w, shift + scale * self.mu, self.cov * np.outer(scales, scales))

    def holding(self, mixture: Mixture) -> Mixture:
        """The mixture with the fixed values in place of its own. Free weights share the rest in their proportions."""
        w = self.weights(np.where(self.free_w, mixture.weights, 0.0))
        mu = np.where(self.free_mu, mixture.mu, self.mu)
        cov = np.where(self.free_cov[:, None, None], mixture.cov, self.cov)
        return Mixture(w, mu, cov, noise=mixture.noise, nu=mixture.nu)

    def weights(self, shares: FloatArray) -> FloatArray:
        """Weights (..., K) whose free entries are in proportion to ``shares`` (..., K)."""
        some = np.where(self.free_w, shares, 0.0)
        total = some.sum(axis=-1, keepdims=True)
        even = self.free_w / max(1.0, float(self.free_w.sum()))
        shares = np.where(total > 0, some / np.where(total > 0, total, 1.0), even)
        return np.where(self.free_w, self.rest * shares, self.w)

    def count(self, structure: Structure) -> int:
        """Number of parameters that are fixed."""
        k, m = len(self.w), structure.n_blocks(len(self.w))
        weights = k - 1 - max(0, int(self.free_w.sum()) - 1)
        of_each = structure.n_parameters(1)
        return weights + int((~self.free_mu).sum()) + int((~self.free_cov[:m]).sum()) * of_each

    @property
    def shown(self) -> dict[str, FloatArray]:
        """The values as the user gives them."""
        one = self.mu.shape[1] == 1
        of_spread = {"sigma": np.sqrt(self.cov[:, 0, 0])} if one else {"cov": self.cov}
        return {"w": self.w, "mu": as_shown(self.mu)} | of_spread

    def to_json(self) -> str:
        """The values, for the record; null where free."""
        return json.dumps({name: _with_none(getattr(self, name).tolist()) for name in ("w", "mu", "cov")})


def fixed_of(record: Any) -> Fixed | None:
    """The values that :meth:`Fixed.to_json` wrote; None without a record."""
    if record is None:
        return None
    values = json.loads(record)
    return Fixed(*(np.array(values[name], dtype=float) for name in ("w", "mu", "cov")))


def read_fixed(fixed: Mapping[str, ArrayLike] | None, k: int, n_features: int, covariance: Covariance) -> Fixed | None:
    """Check what the user fixes; None if nothing is fixed."""
    if fixed is None:
        return None
    if not isinstance(fixed, Mapping):
        raise TypeError(about("fixed", f"must map names of parameters to values, got {type(fixed).__name__}"))
    spread = "sigma" if n_features == 1 else "cov"
    unknown = [name for name in fixed if name not in ("w", "mu", spread)]
    if unknown:
        rule = f"must hold no other names than 'w', 'mu' and '{spread}' for {n_features} feature(s)"
        raise ValueError(about("fixed", f"{rule}, got {unknown[0]!r}"))
    one = n_features == 1
    shapes = {"w": (k,), "mu": (k,) if one else (k, n_features), spread: (k,) if one else (k, n_features, n_features)}
    arrays = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
    for name, given in fixed.items():
        values = read_numbers(given, name)
        if values.shape != shapes[name] or np.isinf(values).any():
            rule = f"must be finite, or NaN where free, with shape {shapes[name]} for k = {k} and {n_features} feature(s)"
            got = f"got shape {values.shape}" if values.shape != shapes[name] else "got infinite values"
            raise ValueError(about(f"fixed[{name!r}]", f"{rule}, {got}"))
        arrays[name] = values
    cov = arrays[spread]
    if one and (cov <= 0).any():
        raise ValueError(about("fixed['sigma']", f"must be positive, got {cov[cov <= 0][0]:g}"))
    found = Fixed(_read_weights(arrays["w"]), arrays["mu"].reshape(k, -1), cov[:, None, None] ** 2 if one else cov)
    _require_covariances(found, spread, covariance)
    if not (found.free_w.any() or found.free_mu.any() or found.free_cov.any()):
        raise ValueError(about("fixed", "must leave at least one parameter free, got values for all"))
    return found if any(not each.all() for each in (found.free_w, found.free_mu, found.free_cov)) else None


def _read_weights(w: FloatArray) -> FloatArray:
    free, total = np.isnan(w), np.nansum(w)
    if free.all():
        return w
    if (w <= 0).any() or (w > 1).any():
        got = f"got {w[(w <= 0) | (w > 1)][0]:g}; leave out a component without weight"
        raise ValueError(about("fixed['w']", f"must be above 0 and at most 1, {got}"))
    if not free.any():
        if abs(total - 1) > _ADDS_UP:
            raise ValueError(about("fixed['w']", f"must sum to 1 if all weights are fixed, got the sum {total:g}"))
        return w / total
    if total >= 1 - _ADDS_UP:
        got = f"got the sum {total:g}"
        raise ValueError(about("fixed['w']", f"must sum to less than 1, so that the free weights share the rest, {got}"))
    if np.count_nonzero(free) == 1:
        return np.where(free, 1 - total, w)
    return w


def _require_covariances(found: Fixed, spread: str, covariance: Covariance) -> None:
    """Refuse covariances that are fixed in part, are no covariances, or do not have the structure."""
    called, cov, traits = f"fixed[{spread!r}]", found.cov, TRAITS[covariance]
    held = ~found.free_cov
    if (np.isnan(cov).any(axis=(1, 2)) != found.free_cov).any() or np.isnan(cov[held]).any():
        raise ValueError(about(called, "must hold whole covariances, or NaN in all entries, got NaN in some entries of one"))
    for j in np.flatnonzero(held):
        sd = np.sqrt(np.maximum(np.diagonal(cov[j]), 0))
        with np.errstate(all="ignore"):
            scaled = cov[j] / np.outer(sd, sd)
        definite = (sd > 0).all() and (abs(scaled - scaled.T) <= 1e-8).all() and np.linalg.eigvalsh(scaled).min() > 0
        if not definite:
            raise ValueError(about(called, f"must be symmetric and positive definite, but that of component {j} is not"))
        suits = traits.matrix or (cov[j] == np.diag(np.diagonal(cov[j]))).all()
        if not (suits and (traits.matrix or traits.per_feature or np.ptp(sd) <= 1e-10 * sd.max())):
            rule = f"must have the structure of covariance='{covariance}', but that of component {j} has not"
            raise ValueError(about(called, rule))
    if traits.shared and held.any() and not (held.all() and (cov == cov[0]).all()):
        rule = f"must be the same for all components with covariance='{covariance}', or free for all"
        raise ValueError(about(called, rule))


def _with_none(values: Any) -> Any:
    """Lists with None for NaN, which JSON lacks."""
    if isinstance(values, list):
        return [_with_none(each) for each in values]
    return None if np.isnan(values) else values


def require_one_order(data: Observations, *, fixed: bool, of_each: bool) -> None:
    """Refuse an order of the means where it has no meaning, or where something else tells the components apart."""
    if data.n_features > 1:
        raise ValueError(about("ordered", f"needs one feature, got {data.n_features}; means of several have no order"))
    others = {"labels": data.known.labels is not None, "fixed": fixed, "a prior for each component": of_each}
    found = [name for name, used in others.items() if used]
    if found:
        raise ValueError(about("ordered", f"cannot be used beside {found[0]}, which tells the components apart already"))


def classes_with(fixed: Fixed | None, classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Classes (K,) of components that neither ``classes`` nor fixed values tell apart."""
    return classes if fixed is None else both_classes(classes, fixed.classes)
