"""Observations of a mixture in PyMC: a distribution or a potential for each kind of observation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayesgmm.arguments import FamilyName, FloatArray
from bayesgmm.data.observations import Observations
from bayesgmm.families import family_of
from bayesgmm.kernels.blocks import ROOT_HALF
from bayesgmm.kernels.points import OF_NOISE
from bayesgmm.kernels.rows import EXACT
from bayesgmm.kernels.student import LEAST
from bayesgmm.kernels.student import PRIOR as OF_NU
from bayesgmm.model.mixture import NOISE, NU


def add_rows(model: pm.Model, mu: Any, spread: Any, data: Observations, family: FamilyName) -> None:
    """Add the observed data to a model. The components have means ``mu``, and as spread sigma (K,) or factors (K, D, D)."""
    w, error, lower, upper = model["w"], data.known.error, data.known.lower, data.known.upper
    if data.known.noise is not None:
        pm.Beta(NOISE, *OF_NOISE)
    if family_of(family).n_nu(len(model.coords["cluster"])):
        nu = pm.Truncated(NU, pm.Gamma.dist(*OF_NU), lower=LEAST, dims="cluster")
        log_components = _of_students(w, mu, spread, nu, data.x, len(model.coords["cluster"]))
    elif lower is not None and upper is not None:
        log_components = _of_intervals(w, mu, spread, data.x, lower, upper)
    elif data.n_features == 1:
        measured = spread if error is None else pm.math.sqrt(spread**2 + error**2)
        pm.NormalMixture("x", w=w, mu=mu, sigma=measured, observed=data.x[:, 0].copy(), dims="obs")
        log_components = pm.logp(pm.Normal.dist(mu=mu, sigma=measured), data.x)
    elif data.kind is EXACT:
        components = pm.MvNormal.dist(mu=mu, chol=spread)
        pm.Mixture("x", w=w, comp_dists=components, observed=data.x.copy(), dims=("obs", "feature"))
        log_components = pm.logp(components, data.x[:, None, :])
    else:
        log_components = _of_patterns(w, mu, spread, data)
    _add_known(model, log_components, data)


def _of_students(w: Any, mu: Any, spread: Any, nu: Any, x: FloatArray, k: int) -> Any:
    """Add an observed variable of t distributions; return the log densities (n, K) of all components."""
    if x.shape[1] == 1:
        components = pm.StudentT.dist(nu=nu, mu=mu, sigma=spread)
        pm.Mixture("x", w=w, comp_dists=components, observed=x[:, 0].copy(), dims="obs")
        return pm.logp(components, x)
    each = [pm.MvStudentT.dist(nu=nu[j], mu=mu[j], chol=spread[j]) for j in range(k)]
    pm.Mixture("x", w=w, comp_dists=each, observed=x.copy(), dims=("obs", "feature"))
    return pt.stack([pm.logp(component, x) for component in each], axis=1)


def _of_patterns(w: Any, mu: Any, roots: Any, data: Observations) -> Any:
    """Add an observed variable for each pattern of known features; return the log densities (n, K) of all components."""
    cov, error, parts, order = roots @ roots.mT, data.known.error, [], []
    patterns, which = np.unique(~np.isnan(data.x), axis=0, return_inverse=True)
    for place, pattern in enumerate(patterns):
        rows, known = np.flatnonzero(which.ravel() == place), np.flatnonzero(pattern)
        marginal = cov[:, known][:, :, known]
        if error is not None:
            own = error[rows][:, :, None] ** 2 * np.eye(data.n_features) if error.ndim == 2 else error[rows]
            marginal = marginal + own[:, None][..., known[:, None], known]
        components = pm.MvNormal.dist(mu=mu[:, known], chol=pt.linalg.cholesky(marginal))
        name = "x" if len(patterns) == 1 else f"x[{', '.join(map(str, data.features[known].tolist()))}]"
        pm.Mixture(name, w=w, comp_dists=components, observed=data.x[np.ix_(rows, known)])
        parts.append(pm.logp(components, data.x[np.ix_(rows, known)][:, None, :]))
        order.append(rows)
    return pt.concatenate(parts)[np.argsort(np.concatenate(order))]


def _add_known(model: pm.Model, log_components: Any, data: Observations) -> None:
    """Add what weights, labels and noise change in the log density, from the components' log densities (n, K)."""
    weight, log_labels = data.known.weight, data.known.log_labels(len(model.coords["cluster"]))
    if weight is None and log_labels is None and data.known.noise is None:
        return
    joint = pt.log(model["w"]) + log_components
    plain = pt.logsumexp(joint, axis=1)
    known = plain if log_labels is None else pt.logsumexp(joint + log_labels.T, axis=1)
    if data.known.noise is not None:
        share = model[NOISE]
        known = pt.log1p(-share) + known
        either = pt.logaddexp(known, pt.log(share) + data.known.noise)
        known = either if log_labels is None else pt.where(np.isfinite(log_labels).all(axis=0), either, known)
    pm.Potential("known", (data.known.counts(len(data)) * known - plain).sum())


def _of_intervals(w: Any, mu: Any, spread: Any, x: FloatArray, lower: FloatArray, upper: FloatArray) -> Any:
    """Add an observed variable of values and intervals; return the log densities (n, K) of all components.

    Random draws of this variable are exact values.
    """
    one_feature = mu.ndim == 1

    def log_components(mu: Any, spread: Any) -> Any:
        sd = spread[:, None] if one_feature else pt.diagonal(spread, axis1=1, axis2=2)
        return log_probability_of_intervals(mu[:, None] if one_feature else mu, sd, lower, upper).sum(axis=-1)

    def logp(value: Any, w: Any, mu: Any, spread: Any) -> Any:
        return pt.logsumexp(pt.log(w) + log_components(mu, spread), axis=-1)

    def dist(w: Any, mu: Any, spread: Any, size: Any) -> Any:
        components = pm.Normal.dist(mu, spread) if one_feature else pm.MvNormal.dist(mu=mu, chol=spread)
        return pm.Mixture.dist(w=w, comp_dists=components, size=size)

    pm.CustomDist(
        "x",
        w,
        mu,
        spread,
        logp=logp,
        dist=dist,
        signature="(k),(k),(k)->()" if one_feature else "(k),(k,d),(k,d,d)->(d)",
        observed=np.nan_to_num(x[:, 0] if one_feature else x),  # PyMC would impute NaN
        dims="obs" if one_feature else ("obs", "feature"),
        class_name="MixtureInIntervals",
    )
    return log_components(mu, spread)


def log_probability_of_intervals(mu: Any, sd: Any, lower: FloatArray, upper: FloatArray) -> Any:
    """Log probabilities (n, K, D) of intervals with ends (n, D) under normals (K, D); log densities for equal ends.

    The tails beyond both ends are taken on the side where they are small: Q(a) - Q(b) = Q(a) (1 - Q(b) / Q(a)).
    """
    below, above = (np.where(np.isfinite(end), end, 0.0)[:, None] for end in (lower, upper))
    bounded_below, bounded_above = np.isfinite(lower)[:, None], np.isfinite(upper)[:, None]
    exact = (lower == upper)[:, None]
    a, b = (below - mu) / sd, (above - mu) / sd
    mirrored = pt.where(bounded_below & bounded_above, a + b < 0, bounded_above)
    near, far = pt.where(mirrored, -b, a), pt.where(mirrored, -a, b)
    log_near, log_far = (_log_upper_tail(each) for each in (near, far))
    has_near = bounded_below | bounded_above
    has_far = (bounded_below & bounded_above) & ~exact
    lost = pt.where(has_far, log_far - log_near, -1.0)
    found = pt.where(has_near, log_near, 0.0) + pt.where(has_far, pt.log1mexp(lost), 0.0)
    return pt.where(exact, -0.5 * a**2 - pt.log(sd) - 0.5 * np.log(2 * np.pi), found)


def _log_upper_tail(a: Any) -> Any:
    """Log Q(a) with full precision. ``pm.logcdf`` has only eight digits, because its root of two is in single precision."""
    above = pt.maximum(a, 0.0)  # so that the gradient of the branch not taken is finite
    in_tail = pt.log(0.5 * pt.erfcx(above * ROOT_HALF)) - 0.5 * above**2
    return pt.where(a > 0, in_tail, pt.log1p(-0.5 * pt.erfc(pt.maximum(-a, 0.0) * ROOT_HALF)))
