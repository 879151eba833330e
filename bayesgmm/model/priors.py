"""Priors on the mixture's parameters: frozen, validated once; hyperparameters left open are scaled to the data.

Notation: w ~ Dirichlet(alpha, ..., alpha), mu_k ~ N(b0, B0), Sigma_k | C0 ~ InvWishart(c0, C0), C0 ~ Wishart(g0, G0).
c0 and g0 count half the degrees of freedom, so for one feature these are sigma_k^2 | C0 ~ InvGamma(c0, C0) and
C0 ~ Gamma(shape g0, rate G0). Diagonal covariances have these two for each feature, spherical ones for their variance. A
tied covariance has the prior of a full one.

alpha, b0, B0, c0 and C0 may be given for each component. Components with different hyperparameters are not exchangeable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm.arguments import TRAITS, Covariance, FamilyName, FloatArray, Scale, read_choice, read_positive
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import as_shown
from bayesgmm.data.tables import read_numbers
from bayesgmm.families import family_of
from bayesgmm.model.strays import core
from bayesgmm.words import Argument, Words, about

Value = float | FloatArray
CUSTOM_MODEL = "custom model"  # in place of a prior's record
_OF_COMPONENTS = "alpha", "b0", "B0", "c0", "C0"  # hyperparameters that may be given for each component


@dataclass(frozen=True, eq=False)
class _Prior:
    """What the two priors share: the weights' and the means' hyperparameters, and the rules for a change of units."""

    alpha: Value = 1.0
    b0: Value | None = None
    B0: Value | None = None
    c0: Value | None = None
    scale: Scale = field(default="range", kw_only=True)

    def __post_init__(self) -> None:
        read_choice(self.scale, Scale, f"{type(self).__name__}.scale")
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name != "scale" and (value is not None or spec.name == "alpha"):
                object.__setattr__(self, spec.name, _read_hyperparameter(spec.name, value))

    def scaled_to(
        self,
        x: FloatArray,
        covariance: Covariance = "full",
        sample_weight: FloatArray | None = None,
        *,
        noise: bool = False,
    ) -> Self:
        """Set every hyperparameter that was left out, by the range and midrange of the data, or of their core.

        Parameters
        ----------
        x : (n,) or (n, D) array
        covariance : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}
            Structure of the covariances.
        sample_weight : (n,) array, optional
            Positive frequency weights. An observation with a large weight is not a stray.
        noise : bool
            Whether observations may be noise. The default of g0 is then larger.

        Returns
        -------
        prior
            With every hyperparameter set, in the data's units.

        Raises
        ------
        ValueError
            If a given hyperparameter does not fit the number of features or the structure.
        """
        x = as_shown(x) if x.ndim == 2 else x
        low, high = np.nanmin(x, axis=0), np.nanmax(x, axis=0)
        if self.scale == "core":
            low, high = np.apply_along_axis(core, 0, x, sample_weight)
        spread = np.asarray(high - low, dtype=float)
        defaults = self._defaults(np.asarray(low + spread / 2, dtype=float), spread, covariance, noise)
        chosen: dict[str, Any] = {name: default for name, default in defaults.items() if getattr(self, name) is None}
        prior = replace(self, **chosen)
        n_features = 1 if x.ndim == 1 else x.shape[1]
        for name in ("alpha", *defaults):
            prior._require(name, n_features, covariance)
        numbers = {name: len(getattr(prior, name)) for name in _OF_COMPONENTS if prior.is_of_each(name, covariance)}
        if len(set(numbers.values())) > 1:
            got = ", ".join(f"{number} of {name}" for name, number in numbers.items())
            raise ValueError(
                about(type(self).__name__, f"must hold hyperparameters for the same number of components, got {got}")
            )
        return prior

    def _require(self, name: str, n_features: int, covariance: Covariance) -> None:
        """Refuse a hyperparameter that does not fit the number of features or the structure."""
        value, called, asked = getattr(self, name), f"{type(self).__name__}.{name}", Argument("covariance", covariance)
        wanted, given = (n_features,) * axes_of(name, n_features, covariance), np.shape(value)
        is_shared = TRAITS[covariance].shared and name in ("c0", "C0")
        of_each = name in _OF_COMPONENTS and not is_shared and given[1:] == wanted and len(given) == len(wanted) + 1
        if given != wanted and not of_each:
            rule = f"must have shape {wanted} for data with {n_features} feature(s)"
            if name in _OF_COMPONENTS and not is_shared:
                rule = f"must have shape {wanted}, or {('K', *wanted)}".replace("'", "") + f" for {n_features} feature(s)"
            if (n_features > 1 and name in ("C0", "G0")) or is_shared:
                rule = Words(rule, " and ", asked)
            raise ValueError(about(called, rule, f", got shape {given}"))
        least = (n_features - 1) / 2
        if name in ("c0", "g0") and TRAITS[covariance].matrix and np.min(value) <= least:
            rule, got = f"must be above {least:g} for {n_features} features and ", f", got {np.min(value):g}"
            raise ValueError(about(called, rule, asked, got))
        if name == "C0" and len(wanted) == 2:
            _require_definite(name, np.asarray(value))
        elif name == "C0" and not np.all(np.asarray(value) > 0):
            raise ValueError(f"{name} must hold positive numbers, got {np.asarray(value).tolist()}")

    @property
    def n_features(self) -> int:
        """Number of features of a prior that is scaled to data."""
        B0 = np.asarray(self.B0)
        return 1 if B0.ndim < 2 else B0.shape[-1]

    def is_of_each(self, name: str, covariance: Covariance) -> bool:
        """Whether a hyperparameter of a prior that is scaled to data is given for each component."""
        return np.asarray(getattr(self, name, None)).ndim > axes_of(name, self.n_features, covariance)

    def n_components(self, covariance: Covariance) -> int | None:
        """Number of components for which a prior that is scaled to data has hyperparameters; None if they are for all."""
        return next((len(getattr(self, name)) for name in _OF_COMPONENTS if self.is_of_each(name, covariance)), None)

    def rescaled(self, shift: Value, scale: Value, covariance: Covariance | None = None) -> Self:
        """The prior of ``(parameters - shift) / scale``, for standardised data.

        Without ``covariance`` it must be the same for all components.
        """
        scales = {"B0": scale, "C0": scale, "G0": 1 / scale}
        squares: Any = {name: getattr(self, name) for name in scales if hasattr(self, name)}
        if self.b0 is None or any(value is None for value in squares.values()):
            raise ValueError("a prior must be scaled to data (scaled_to) before it is rescaled")
        b0, d = (self.b0 - shift) / scale, self.n_features
        axes = {
            name: np.ndim(value) if covariance is None else axes_of(name, d, covariance) for name, value in squares.items()
        }
        squares = {name: _per_unit_square(value, scales[name], axes[name]) for name, value in squares.items()}
        return replace(self, b0=b0 if np.ndim(self.b0) else float(np.ravel(b0)[0]), **squares)

    def to_json(self) -> str:
        """Name and hyperparameters, for the record."""
        values = {name: np.asarray(v).tolist() for name, v in asdict(self).items() if v is not None}
        if self.scale == "range":
            del values["scale"]  # which older records lack
        return json.dumps({"name": type(self).__name__, **values})

    def _defaults(self, middle: FloatArray, spread: FloatArray, covariance: Covariance, noise: bool) -> dict[str, Value]:
        if middle.ndim == 0:
            return {"b0": float(middle), "B0": float(spread) ** 2, "c0": 2.0}
        c0 = 2.5 + (len(middle) - 1) / 2 if _is_matrix(spread, covariance) else 2.0
        return {"b0": middle, "B0": np.diag(spread**2), "c0": c0}


@dataclass(frozen=True, eq=False)
class HierarchicalPrior(_Prior):
    r"""The default prior: proper, weakly informative, with a scale of the covariances that is learnt from the data.

    .. math::
        w \sim \mathrm{Dirichlet}(\alpha, \dots, \alpha), \quad \mu_k \sim N(b_0, B_0), \quad
        \sigma_k^2 \mid C_0 \sim \mathrm{InvGamma}(c_0, C_0), \quad C_0 \sim \mathrm{Gamma}(g_0, \text{rate } G_0)

    With R the range and m the midrange of one feature, hyperparameters that are left out become b0 = m, B0 = R^2,
    c0 = 2, g0 = 0.2, G0 = 50 g0 / R^2. For D >= 2 features: b0 = m, B0 = diag(R^2), and for full and tied covariances
    c0 = 2.5 + (D - 1) / 2, g0 = 0.5 + (D - 1) / 2, G0 = (100 g0 / c0) diag(1 / R^2). For diagonal covariances each
    feature has the values given for one feature. Spherical covariances have these values too, with the mean of R^2 over
    the features. If observations may be noise, g0 is larger by c0: noise could hold nearly all observations, and
    clusters must then not shrink onto a few equal observations.

    Parameters
    ----------
    alpha : float or (K,) array
        Concentration of the weights; 1 is uniform on the simplex. Like b0, B0 and c0 it may be given for each of K
        components, along a first axis. Components with different values are not exchangeable: each keeps its number.
    b0 : float, or (D,) array for D >= 2 features; or (K,) or (K, D) array; optional
        Mean of the means, in the data's units.
    B0 : float, or (D, D) array for D >= 2 features; or (K,) or (K, D, D) array; optional
        (Co)variance of the means, in squared units.
    c0 : float or (K,) array, optional
        Shape of the covariances (half the degrees of freedom). One number if all components share a covariance.
    g0 : float, optional
        Shape of C0 (half the degrees of freedom).
    G0 : float, (D,) or (D, D) array, optional
        Rate of C0, in inverse squared units: a matrix for full and tied covariances, a number for each feature for diagonal
        ones, one number for spherical ones.
    scale : {"range", "core"}
        Where R and m come from: all observations, or their core, which leaves out strays. A stray lies beyond a gap that is
        wider than the range of the others. Each end of a feature may have at most one stray for every hundred observations;
        with fewer than a hundred observations it may have one. If there are no strays, or fewer than 30 observations, both
        choices give the same prior. Under the core a stray that is very far away is covered by a wide component, which is
        centred among the other observations. C0 learns from that component too, which makes small clusters wider. To
        describe small clusters, leave the stray out of the data.

    References
    ----------
    Richardson & Green (1997), On Bayesian analysis of mixtures with an unknown number of components, Journal of the
    Royal Statistical Society: Series B 59, 731-792. doi:10.1111/1467-9868.00095

    Stephens (2000), Bayesian analysis of mixture models with an unknown number of components: an alternative to
    reversible jump methods, Annals of Statistics 28, 40-74. doi:10.1214/aos/1016120364

    Examples
    --------
    >>> prior = HierarchicalPrior().scaled_to(np.array([0.0, 4.0, 10.0]))
    >>> prior.b0, prior.B0, prior.G0
    (5.0, 100.0, 0.1)
    """

    g0: float | None = None
    G0: Value | None = None

    def _defaults(self, middle: FloatArray, spread: FloatArray, covariance: Covariance, noise: bool) -> dict[str, Value]:
        shared = super()._defaults(middle, spread, covariance, noise)
        c0 = shared["c0"] if self.c0 is None else self.c0
        matrix = _is_matrix(spread, covariance)
        g0 = (0.5 + (len(middle) - 1) / 2 if matrix else 0.2) + (float(np.max(c0)) if noise else 0.0)
        g0 = g0 if self.g0 is None else self.g0
        if not matrix:
            return {**shared, "g0": g0, "G0": 50 * g0 / _squared_ranges(spread, covariance)}
        return {**shared, "g0": g0, "G0": np.diag(100 * g0 / np.mean(c0) / spread**2)}


@dataclass(frozen=True, eq=False)
class ConjugatePrior(_Prior):
    r"""A prior with a fixed scale of the covariances; given the labels, every full conditional is conjugate.

    .. math::
        w \sim \mathrm{Dirichlet}(\alpha, \dots, \alpha), \quad \mu_k \sim N(b_0, B_0), \quad
        \sigma_k^2 \sim \mathrm{InvGamma}(c_0, C_0)

    Hyperparameters that are left out are set as in :class:`HierarchicalPrior`, with C0 at its prior mean g0 G0^-1:
    0.02 R^2 for one feature and for each feature of a diagonal covariance, 0.02 times the mean of R^2 for spherical
    covariances, and (c0 / 100) diag(R^2) for full and tied ones.

    Parameters
    ----------
    alpha : float or (K,) array
        Concentration of the weights; 1 is uniform on the simplex. Like b0, B0, c0 and C0 it may be given for each of K
        components, along a first axis. Components with different values are not exchangeable: each keeps its number.
    b0 : float, or (D,) array for D >= 2 features; or (K,) or (K, D) array; optional
        Mean of the means, in the data's units.
    B0 : float, or (D, D) array for D >= 2 features; or (K,) or (K, D, D) array; optional
        (Co)variance of the means, in squared units.
    c0 : float or (K,) array, optional
        Shape of the covariances (half the degrees of freedom). One number if all components share a covariance.
    C0 : float, (D,) or (D, D) array; or (K,), (K, D) or (K, D, D) array; optional
        Scale of the covariances, in squared units, shaped as G0 of :class:`HierarchicalPrior`. One if all components share
        a covariance.
    scale : {"range", "core"}
        As in :class:`HierarchicalPrior`.

    Examples
    --------
    >>> ConjugatePrior(b0=20, B0=100, c0=3, C0=20).scaled_to(np.array([10.0, 30.0])).C0
    20.0
    """

    C0: Value | None = None

    def _defaults(self, middle: FloatArray, spread: FloatArray, covariance: Covariance, noise: bool) -> dict[str, Value]:
        shared = super()._defaults(middle, spread, covariance, noise)
        if not _is_matrix(spread, covariance):
            return {**shared, "C0": 0.02 * _squared_ranges(spread, covariance)}
        c0 = shared["c0"] if self.c0 is None else self.c0
        return {**shared, "C0": np.multiply.outer(c0, np.diag(spread**2 / 100))}


Prior = HierarchicalPrior | ConjugatePrior


def scaled_to_range(prior: Prior, x: FloatArray, covariance: Covariance) -> bool:
    """Whether a prior has a scale that comes from the range of the data."""
    names = [name for name in ("B0", "C0", "G0") if hasattr(prior, name)]
    opened: Any = dict.fromkeys(names)
    by_range = replace(prior, scale="range", **opened).scaled_to(x, covariance)
    return any(np.allclose(getattr(prior, name), getattr(by_range, name), rtol=1e-9, atol=0) for name in names)


def read_prior(
    prior: Prior | None, data: Observations, covariance: Covariance, family: FamilyName, ks: Iterable[int]
) -> Prior:
    """The prior that is given, or the default, scaled to the data.

    With noise or t distributions the default is scaled to the data without strays. A prior for each component must suit the
    numbers of components, ``ks``.
    """
    if prior is None:
        prior = HierarchicalPrior(scale="core" if data.known.noise is not None else family_of(family).scale)
    if not isinstance(prior, HierarchicalPrior | ConjugatePrior):
        raise TypeError(
            f"prior must be a HierarchicalPrior or a ConjugatePrior, got {type(prior).__name__}; "
            "for any other prior write a pm.Model and pass it as model="
        )
    scaled = prior.scaled_to(data.x, covariance, data.known.weight, noise=data.known.noise is not None)
    of_each = scaled.n_components(covariance)
    for k in ks:
        if of_each not in (None, k):
            raise ValueError(about("prior", f"must hold hyperparameters for k = {k} components, got those of {of_each}"))
    return scaled


def prior_of(record: Any) -> Prior | None:
    """The prior that :meth:`to_json` wrote, with every hyperparameter; None without a record or for a user's model."""
    if record is None or record == CUSTOM_MODEL:
        return None
    kinds = {kind.__name__: kind for kind in (HierarchicalPrior, ConjugatePrior)}
    try:
        values = json.loads(record)
        kind = kinds[values.pop("name")]
        if {"scale", *values} != {spec.name for spec in fields(kind)}:
            raise KeyError(", ".join(values))
        return kind(**values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        why = f": {error}" if type(error) in (TypeError, ValueError) and isinstance(record, str) else ""
        short = record if len(str(record)) <= 80 else f"{str(record)[:80]}..."
        raise ValueError(
            f"attribute prior of tree must be the record of a HierarchicalPrior or a ConjugatePrior, got {short!r}{why}; "
            "pass what fit returned"
        ) from None


def axes_of(name: str, n_features: int, covariance: Covariance) -> int:
    """Number of axes of a hyperparameter that is the same for all components."""
    traits = TRAITS[covariance]
    if n_features == 1 or name in ("alpha", "c0", "g0"):
        return 0
    if name in ("C0", "G0"):
        return 2 if traits.matrix else int(traits.per_feature)
    return {"b0": 1, "B0": 2}[name]


def _read_hyperparameter(name: str, value: ArrayLike) -> Value:
    """Check a hyperparameter as far as is possible without the number of features and the structure.

    ``scaled_to`` checks the rest.
    """
    if name == "g0" or (name in ("alpha", "c0") and np.ndim(value) == 0):
        return read_positive(value, name)
    array = read_numbers(value, name)
    if not array.size:
        raise ValueError(f"{name} must hold at least one number, got none")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array.tolist()}")
    most = {"b0": 2, "alpha": 1, "c0": 1, "G0": 2}.get(name, 3)
    if array.ndim > most:
        raise ValueError(about(name, f"must have at most {most} axes, got shape {array.shape}"))
    if name == "b0":
        return float(array) if array.ndim == 0 else array
    if array.ndim == 0:
        return read_positive(array, name)
    if array.ndim == 1 and not (array > 0).all():
        raise ValueError(f"{name} must hold positive numbers, got {array.tolist()}")
    if array.ndim == 3 or (array.ndim == 2 and (name != "C0" or not (array > 0).all())):  # C0 may be (K, D)
        _require_definite(name, array)
    return array


def _require_definite(name: str, array: FloatArray) -> None:
    """Refuse matrices (..., D, D) that are not symmetric and positive definite."""
    if array.shape[-1] != array.shape[-2]:
        raise ValueError(f"{name} must be a positive number or a (D, D) matrix, got shape {array.shape}")
    sd = np.sqrt(np.maximum(np.diagonal(array, axis1=-2, axis2=-1), 0))
    with np.errstate(all="ignore"):
        scaled = array / sd[..., :, None] / sd[..., None, :]  # without units
        symmetric = abs(scaled - scaled.swapaxes(-1, -2)) <= 1e-8
    if not (sd > 0).all() or not symmetric.all() or np.linalg.eigvalsh(scaled).min() <= 0:
        raise ValueError(f"{name} must be symmetric and positive definite")


def _is_matrix(spread: FloatArray, covariance: Covariance) -> bool:
    """Whether C0 is a matrix, as for covariances with correlations."""
    return spread.ndim > 0 and TRAITS[covariance].matrix


def _squared_ranges(spread: FloatArray, covariance: Covariance) -> Any:
    """R^2 of one feature, or of each feature for diagonal covariances; the mean of R^2 for spherical ones."""
    if spread.ndim == 0:
        return float(spread) ** 2
    return spread**2 if TRAITS[covariance].per_feature else float(np.mean(spread**2))


def _per_unit_square(covariance: Value, scale: Value, axes: int) -> Value:
    """A (co)variance after division of every feature by its scale. A single number has the scale shared by all features.

    ``axes`` is the number of axes of one of them.
    """
    if axes == 2:
        return covariance / np.outer(scale, scale)
    if axes == 0:
        scale = float(np.ravel(scale)[0])
    return covariance / scale / scale
