"""The PyMC model: the only statement of the posterior in PyMC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import ArrayLike
from pymc.distributions import transforms
from pymc.logprob.transforms import Transform
from scipy.linalg import block_diag
from scipy.special import gammaln

from bayesgmm.arguments import TRAITS, Covariance, FamilyName, FloatArray, Missing, Noise
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import read_fit_data
from bayesgmm.model import wishart
from bayesgmm.model.fixed import Fixed, read_fixed, require_one_order
from bayesgmm.model.hyperparameters import Hyperparameters
from bayesgmm.model.priors import HierarchicalPrior, Prior, read_prior
from bayesgmm.model.pymc_rows import add_rows
from bayesgmm.model.structures import Structure


def build_model(
    x: ArrayLike | Observations,
    k: int,
    *,
    prior: Prior | None = None,
    covariance: Covariance = "full",
    missing: Missing = "raise",
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    noise: Noise = False,
    family: FamilyName = "gaussian",
    fixed: Mapping[str, ArrayLike] | None = None,
    ordered: bool = False,
) -> pm.Model:
    r"""Gaussian mixture, marginalised over the labels, as a PyMC model in the units of the data.

    .. math::
        p(x \mid w, \mu, \Sigma) = \prod_i \sum_k w_k N(x_i; \mu_k, \Sigma_k)

    Parameters
    ----------
    x : (n,) or (n, D) array-like
    k : int
        Number of components.
    prior : HierarchicalPrior or ConjugatePrior, optional
        Default: ``HierarchicalPrior()``, or with noise or t distributions ``HierarchicalPrior(scale="core")``, scaled to the
        data.
    covariance : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}
        A covariance matrix for each component; one for all components; independent features; or one variance for all
        features of a component. For one feature "full", "diag" and "spherical" are the same: a variance for each component.
    missing : {"raise", "drop", "at_random"}
        What to do with NaN: refuse it, leave out its row, or use the known values of the row
        (:class:`bayesgmm.Observations`).
    sample_weight, labels, noise
        As in :func:`bayesgmm.fit`. The observed ``x`` has the density of the plain mixture; the potential ``known`` adds
        what these arguments change. ``w_noise`` is the share of noise.
    family : {"gaussian", "t"}
        As in :func:`bayesgmm.fit`. ``nu`` (cluster) are the degrees of freedom.
    fixed : mapping of str to array-like, optional
        As in :func:`bayesgmm.fit`. Variables of which some entries are fixed are computed from free ones: ``w_free``,
        ``mu_free`` (the free entries in one vector), ``sigma2_free`` or ``precision_factor_free``.
    ordered : bool
        As in :func:`bayesgmm.fit`, for one feature. The potential ``orders`` is log k!, the number of orders that are left
        out.

    Returns
    -------
    pm.Model
        For one feature: ``w``, ``mu``, ``sigma`` with dim ``cluster``; the variances ``sigma2`` (one if tied), from which
        ``sigma`` is computed; ``C0`` for the hierarchical prior; and the observed ``x`` with dim ``obs``.

        For D >= 2 features: ``w`` (cluster), ``mu`` (cluster, feature), ``cov`` (cluster, feature, feature_bis), ``C0``, the
        observed ``x`` (obs, feature). ``cov`` is computed from the variances ``sigma2`` (diag, spherical), or from
        ``precision_factor`` (full, tied), the triangular factors of the precisions, row by row. ``C0`` is then computed
        from ``C0_factor``, its own triangular factor: see :mod:`bayesgmm.model.wishart`.

    Raises
    ------
    ValueError, TypeError
        For data or options that break a rule; the message names it.

    Notes
    -----
    To use PyMC's functions on a tree from :func:`bayesgmm.fit`, pass it through :func:`bayesgmm.for_pymc`:
    ``pm.sample_posterior_predictive(bg.for_pymc(tree), model=model)``.

    Tested properties: the log-likelihood that PyMC computes for such a tree equals that of
    :func:`bayesgmm.add_log_likelihood`; the density equals the sum over all K^N allocations of the labels; prior draws of a
    covariance follow scipy's inverse-Wishart distribution.

    Examples
    --------
    >>> model = build_model([1.0, 2.0, 5.0, 6.0], k=2)
    >>> [variable.name for variable in model.free_RVs]
    ['w', 'mu', 'C0', 'sigma2']
    """
    given: dict[str, Any] = {"missing": missing, "sample_weight": sample_weight, "labels": labels, "noise": noise}
    data, k = read_fit_data(x, k, covariance=covariance, family=family, **given)
    prior = read_prior(prior, data, covariance, family, [k])
    held = read_fixed(fixed, k, data.n_features, covariance)
    if ordered:
        of_each = prior.n_components(covariance) is not None
        require_one_order(data, fixed=held is not None, of_each=of_each)
    n_blocks = Structure(covariance, data.n_features).n_blocks(k)
    hyper = Hyperparameters.of(prior, covariance).given(held, k, n_blocks)
    coords: dict[str, Any] = {"cluster": np.arange(k), "obs": data.positions}
    if data.n_features > 1:
        coords |= {"feature": data.features, "feature_bis": data.features}
    with pm.Model(coords=coords) as model:
        if held is not None and not held.free_w.all():
            _weights_with_fixed(held, hyper.alpha)
        else:
            pm.Dirichlet("w", a=np.broadcast_to(prior.alpha, k), dims="cluster")
        if held is not None and not held.free_mu.all():
            mu = _means_with_fixed(held, hyper)
        elif data.n_features == 1:
            given = {"mu": prior.b0, "sigma": np.sqrt(np.asarray(prior.B0))}
            if ordered:
                pm.Potential("orders", pt.as_tensor(gammaln(k + 1)))
                start = np.quantile(data.x[:, 0], (np.arange(k) + 0.5) / k) + 1e-6 * given["sigma"] * np.arange(k)
                given |= {"transform": transforms.ordered, "initval": start}
            mu = pm.Normal("mu", **given, dims="cluster")
        else:
            mu = pm.MvNormal("mu", mu=prior.b0, cov=prior.B0, dims=("cluster", "feature"))
        if held is not None and not held.free_cov.all():
            add_rows(model, mu, _roots_with_fixed(held, hyper, covariance), data, family)
        elif data.n_features == 1:
            sigma2, own = _variances(prior, covariance, ()), not TRAITS[covariance].shared
            scale = pm.math.sqrt(sigma2)
            sigma = pm.Deterministic("sigma", scale if own else pm.math.ones_like(mu) * scale, dims="cluster")
            add_rows(model, mu, sigma, data, family)
        else:
            if not TRAITS[covariance].matrix:
                roots = _diagonal_roots(prior, k, data.n_features, covariance)
            else:
                roots = _triangular_roots(prior, k, data.n_features, covariance)
            add_rows(model, mu, roots, data, family)
    return model


def _weights_with_fixed(held: Fixed, alpha: FloatArray) -> None:
    """The variable ``w``, of which some entries are fixed."""
    free, w = held.free_w, pt.as_tensor(np.nan_to_num(held.w))
    if free.any():
        w = pt.set_subtensor(w[free], held.rest * pm.Dirichlet("w_free", a=alpha[free]))
    pm.Deterministic("w", w, dims="cluster")


def _means_with_fixed(held: Fixed, hyper: Hyperparameters) -> Any:
    """The variable ``mu``, of which some entries are fixed."""
    free, mu = held.free_mu.ravel(), pt.as_tensor(np.nan_to_num(held.mu).ravel())
    if free.any():
        cov = block_diag(*hyper.B0)[np.ix_(free, free)]
        mu = pt.set_subtensor(mu[free], pm.MvNormal("mu_free", mu=hyper.b0.ravel()[free], cov=cov))
    several = held.mu.shape[1] > 1
    return pm.Deterministic("mu", mu.reshape(held.mu.shape) if several else mu, dims=("cluster", "feature")[: 1 + several])


def _roots_with_fixed(held: Fixed, hyper: Hyperparameters, covariance: Covariance) -> Any:
    """Standard deviations (K,) of one feature, or Cholesky factors (K, D, D), of which some are fixed."""
    d, free = held.mu.shape[1], held.free_cov
    roots = pt.as_tensor(np.linalg.cholesky(np.where(free[:, None, None], np.eye(d), held.cov)))
    if free.any():
        c0, rate = hyper.c0[free], hyper.rate if hyper.learnt else hyper.rate[free]
        if d > 1 and TRAITS[covariance].matrix:
            if hyper.learnt:
                factor = _unpacked(_wishart_factor("C0_factor", hyper.g0, rate[0], d, ()), d)
                rate = pm.Deterministic("C0", factor.T @ factor, dims=("feature", "feature_bis"))
            factors = _wishart_factor("precision_factor_free", c0, rate, d, (len(c0),), "free")
            inverse = pt.linalg.solve_triangular(_unpacked(factors, d), np.eye(d), lower=True)
            own = pt.linalg.cholesky(inverse @ inverse.mT)
        else:
            if hyper.learnt:
                per_feature = ("feature",) if d > 1 and TRAITS[covariance].per_feature else ()
                G0 = rate[0] if per_feature else rate[0, 0]
                rate = pm.Gamma("C0", alpha=hyper.g0, beta=G0, dims=per_feature or None)
            one = hyper.rate.shape[1] == 1
            alpha, beta = (c0, rate if hyper.learnt else rate[:, 0]) if one else (c0[:, None], rate)
            sigma2 = pm.InverseGamma("sigma2_free", alpha=alpha, beta=beta, shape=len(c0) if one else (len(c0), d))
            own = pt.sqrt(sigma2[:, None] if one else sigma2)[..., None] * np.eye(d)
        roots = pt.set_subtensor(roots[free], own)
    if d == 1:
        return pm.Deterministic("sigma", roots[:, 0, 0], dims="cluster")
    pm.Deterministic("cov", roots @ roots.mT, dims=("cluster", "feature", "feature_bis"))
    return roots


def _variances(prior: Any, covariance: Covariance, per_feature: tuple[str, ...]) -> Any:
    """The variable ``sigma2`` of variances, and the variable ``C0`` of the hierarchical prior."""
    hierarchical, clusters = isinstance(prior, HierarchicalPrior), () if TRAITS[covariance].shared else ("cluster",)
    C0 = pm.Gamma("C0", alpha=prior.g0, beta=prior.G0, dims=per_feature or None) if hierarchical else prior.C0
    c0 = np.asarray(prior.c0)[:, None] if per_feature and np.ndim(prior.c0) else prior.c0
    return pm.InverseGamma("sigma2", alpha=c0, beta=C0, dims=(*clusters, *per_feature) or None)


def _diagonal_roots(prior: Any, k: int, n_features: int, covariance: Covariance) -> Any:
    """Cholesky factors of covariances without correlations, (K, D, D)."""
    per_feature = ("feature",) if TRAITS[covariance].per_feature else ()
    sigma2 = _variances(prior, covariance, per_feature)
    variances = (sigma2 if per_feature else sigma2[..., None]) * np.ones((k, n_features))
    pm.Deterministic("cov", variances[..., None] * np.eye(n_features), dims=("cluster", "feature", "feature_bis"))
    return pt.sqrt(variances)[..., None] * np.eye(n_features)


def _triangular_roots(prior: Any, k: int, n_features: int, covariance: Covariance) -> Any:
    """Cholesky factors of covariances with inverse-Wishart priors, (K, D, D)."""
    C0 = prior.C0 if not isinstance(prior, HierarchicalPrior) else None
    if C0 is None:
        factor = _unpacked(_wishart_factor("C0_factor", prior.g0, prior.G0, n_features, ()), n_features)
        C0 = pm.Deterministic("C0", factor.T @ factor, dims=("feature", "feature_bis"))
    clusters = () if TRAITS[covariance].shared else (k,)
    factors = _unpacked(_wishart_factor("precision_factor", prior.c0, C0, n_features, clusters), n_features)
    whitener = factors if clusters else factors[None] * np.ones((k, 1, 1))
    inverse = pt.linalg.solve_triangular(whitener, np.eye(n_features), lower=True)
    pm.Deterministic("cov", inverse @ inverse.mT, dims=("cluster", "feature", "feature_bis"))
    return inverse


def _wishart_factor(
    name: str, shape: Any, rate: Any, n_features: int, clusters: tuple[int, ...], dim: str = "cluster"
) -> Any:
    """A variable of packed factors F with F'F ~ Wishart(shape, rate); shape and rate may differ between clusters."""
    diagonal, _ = wishart.diagonal_entries(n_features)
    entries, shape = wishart.n_entries(n_features), np.asarray(shape)
    constant = np.array([wishart.log_constant(each, n_features) for each in shape.ravel()]).reshape(shape.shape)
    powers = 2 * shape[..., None] - n_features - 1 + np.arange(1, n_features + 1)

    def logp(value: Any, rate: Any) -> Any:
        factors = _unpacked(value, n_features)
        log_determinant = 2 * pt.log(pt.diagonal(pt.linalg.cholesky(rate), axis1=-2, axis2=-1)).sum(axis=-1)
        log_diagonal = (powers * pt.log(value[..., diagonal])).sum(axis=-1)
        return constant + shape * log_determinant + log_diagonal - ((factors @ rate) * factors).sum(axis=(-2, -1))

    def dist(rate: Any, size: Any) -> Any:  # as in wishart.draw_factors
        freedom = 2 * shape[..., None] - n_features + np.arange(1, n_features + 1)
        noise = pm.Normal.dist(size=(*clusters, entries))
        roots = pt.sqrt(pm.ChiSquared.dist(nu=freedom, size=(*clusters, n_features)))
        standard = _unpacked(pt.set_subtensor(noise[..., diagonal], roots), n_features)
        factors = standard @ pt.linalg.solve_triangular(pt.linalg.cholesky(2 * rate), np.eye(n_features), lower=True)
        return factors[(..., *np.tril_indices(n_features))]

    def support_point(rv: Any, size: Any, rate: Any, *_: Any) -> Any:
        scaled = rate / shape[..., None, None]
        inverse = pt.linalg.solve_triangular(pt.linalg.cholesky(scaled), np.eye(n_features), lower=True)
        packed = inverse[(..., *np.tril_indices(n_features))]
        return pt.broadcast_to(packed, (*clusters, entries))

    return pm.CustomDist(
        name,
        rate,
        logp=logp,
        dist=dist,
        support_point=support_point,
        signature=f"(d,d)->({entries})",
        shape=(*clusters, entries),
        default_transform=_FactorTransform(n_features),
        dims=(dim, "entry") if clusters else ("entry",),
        class_name="WishartFactor",
    )


def _unpacked(packed: Any, n_features: int) -> Any:
    """Lower triangles (..., D, D) from entries (..., T)."""
    where = np.zeros((n_features, n_features), dtype=int)
    where[np.tril_indices(n_features)] = np.arange(wishart.n_entries(n_features))
    return packed[..., where] * np.tril(np.ones((n_features, n_features)))


class _FactorTransform(Transform):
    """A packed factor in the coordinates of :mod:`bayesgmm.model.wishart`."""

    name = "factor"
    ndim_supp = 1

    def __init__(self, n_features: int) -> None:
        self.diagonal, self.own_diagonal = wishart.diagonal_entries(n_features)
        self.order = np.arange(1, n_features + 1)

    def forward(self, value: Any, *inputs: Any) -> Any:
        scaled = value / value[..., self.own_diagonal]
        return pt.set_subtensor(scaled[..., self.diagonal], pt.log(value[..., self.diagonal]))

    def backward(self, value: Any, *inputs: Any) -> Any:
        scaled = value * pt.exp(value[..., self.own_diagonal])
        return pt.set_subtensor(scaled[..., self.diagonal], pt.exp(value[..., self.diagonal]))

    def log_jac_det(self, value: Any, *inputs: Any) -> Any:
        return (self.order * value[..., self.diagonal]).sum(axis=-1)
