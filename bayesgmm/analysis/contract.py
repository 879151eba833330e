"""Checks of a tree's contents: the draws of the mixtures, and the attributes that describe the model.

Every function that reads a tree makes these checks first, so a damaged tree raises a clear error before any computation.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm.arguments import TRAITS, Covariance, FloatArray, Method, read_choice
from bayesgmm.model.mixture import NOISE, NU
from bayesgmm.model.number_priors import prior_k_from_json
from bayesgmm.model.priors import prior_of

CLUSTER = "cluster"
FEATURE, FEATURE_BIS = "feature", "feature_bis"
HYPERPARAMETERS = "hyperparameters"
IMPOSSIBLE = -1e-5  # rounding, even to single precision, makes no eigenvalue of a correlation matrix smaller than this
_ROUNDED = 1e-5  # tolerance for values stored in single precision
_UNLIKE = 1e-4  # largest relative difference of variances that the covariance structure makes equal
_OF_K = ("p_k", "p_k_mcse", "prior_k", "p_occupied", "p_occupied_mcse")
_REMEDY = "pass what fit returned"


def parameter_dims(n_features: int) -> dict[str, tuple[str, ...]]:
    """Names of the mixture's parameters, with their dims after chain and draw."""
    if n_features == 1:
        return {"w": (CLUSTER,), "mu": (CLUSTER,), "sigma": (CLUSTER,)}
    return {"w": (CLUSTER,), "mu": (CLUSTER, FEATURE), "cov": (CLUSTER, FEATURE, FEATURE_BIS)}


def group_of(tree: xr.DataTree, name: str) -> xr.Dataset:
    """A group of a tree; an empty dataset if the tree has no such group."""
    return tree[name].to_dataset() if name in tree.children else xr.Dataset()


def read_tree(tree: Any) -> xr.DataTree:
    """Check that a tree holds what fit writes. Trees of posterior_k are refused, because their draws differ in k."""
    if not isinstance(tree, xr.DataTree):
        raise TypeError(f"tree must be the DataTree that fit returns, got {type(tree).__name__}")
    if "p_k" in tree.data_vars or tree.attrs.get("method") == "telescoping":
        raise ValueError(
            "tree must be of one k, as fit returns it, got one from posterior_k; look at tree['p_k'], tree['partition'] and "
            "tree['components'], call plots.plot_k or report, or fit one k"
        )
    if "posterior" not in tree.children:
        raise ValueError(f"tree must have a group posterior, got {sorted(tree.children) or 'no groups'}; {_REMEDY}")
    posterior = tree["posterior"]
    for name, dims in parameter_dims(1 if "mu" in posterior and posterior["mu"].ndim == 3 else 2).items():
        if name not in posterior or posterior[name].dims != ("chain", "draw", *dims):
            found = {str(key): value.dims for key, value in posterior.data_vars.items()}
            raise ValueError(
                f"tree must hold posterior variables w, mu, sigma with dims (chain, draw, {CLUSTER}), or w, mu, cov with "
                f"further dims {FEATURE} and {FEATURE_BIS}, got {found}; {_REMEDY}"
            )
    _require_known(tree)
    cluster_names(tree)
    return tree


def cluster_names(tree: xr.DataTree) -> list[str] | None:
    """The names of the clusters (:func:`bayesgmm.rename_clusters`); None if they have numbers."""
    posterior = tree["posterior"].to_dataset()
    if CLUSTER not in posterior.coords or posterior[CLUSTER].dtype.kind in "iuf":
        return None
    names = posterior[CLUSTER].to_numpy().tolist()
    if not all(isinstance(each, str) and each for each in names) or len({*names}) < len(names):
        raise ValueError(f"tree must hold a different name for each of its clusters, got {names}; {_REMEDY}")
    return list(names)


def called(tree: xr.DataTree) -> list[str]:
    """What the clusters are called in sentences and legends: "cluster 0", or the name that the user gave."""
    return cluster_names(tree) or [f"cluster {j}" for j in range(tree["posterior"].sizes[CLUSTER])]


def _require_known(tree: xr.DataTree) -> None:
    """Refuse attributes with values that fit never writes. Missing attributes are refused only where they are needed."""
    attrs = tree.attrs
    for name, choices in (("method", Method), ("covariance", Covariance)):
        if name in attrs:
            try:
                read_choice(attrs[name], choices, f"attribute {name} of tree")
            except ValueError as error:
                raise ValueError(f"{error}; {_REMEDY}") from None
    k = tree["posterior"].sizes[CLUSTER]
    if "k" in attrs and not (isinstance(attrs["k"], numbers.Integral) and attrs["k"] == k):
        raise ValueError(f"tree must hold all of its {attrs['k']} clusters, got {k}; {_REMEDY}")
    is_approximation = "approximation" in tree.children
    if "method" in attrs and (attrs["method"] == "advi") != is_approximation:
        has = "has such a" if is_approximation else "has no such"
        raise ValueError(
            f"tree must have a group approximation for method 'advi' and for no other, got method {attrs['method']!r} in a "
            f"tree that {has} group; {_REMEDY}"
        )
    if prior_of(attrs.get("prior")) is not None:
        attribute(tree, "covariance")  # the prior's meaning depends on it


def attribute(tree: xr.DataTree, name: str) -> Any:
    """A required attribute of the tree."""
    if name not in tree.attrs:
        raise ValueError(f"tree must have an attribute {name}, got none; {_REMEDY}")
    return tree.attrs[name]


def require_draws(posterior: xr.Dataset, covariance: str | None) -> None:
    """Refuse draws that are not parameters of a mixture, and covariances without the tree's covariance structure."""
    if not posterior["w"].size:
        raise ValueError(f"tree must hold draws, got {dict(posterior['w'].sizes)}; {_REMEDY}")
    n_features = 1 if posterior["mu"].ndim == 3 else posterior["mu"].shape[3]
    w, mu, spread = (_numbers(posterior, name) for name in parameter_dims(n_features))
    for values, name in ((w, "w"), (mu, "mu"), (spread, "sigma" if n_features == 1 else "cov")):
        _require(np.isfinite(values), f"finite numbers in {name}")
    _require(w > 0, "weights w above zero")
    _require(abs(w.sum(axis=-1) - 1) <= _ROUNDED, "weights w that sum to one")
    if NU in posterior:
        if posterior[NU].dims != posterior["w"].dims:
            raise ValueError(f"tree must hold {NU} with the dims of w, got {posterior[NU].dims}; {_REMEDY}")
        freedom = _numbers(posterior, NU)
        _require(np.isfinite(freedom) & (freedom > 0), f"degrees of freedom {NU} above zero")
    if NOISE in posterior:
        share = _numbers(posterior, NOISE)
        if posterior[NOISE].dims != ("chain", "draw"):
            raise ValueError(f"tree must hold {NOISE} with dims (chain, draw), got {posterior[NOISE].dims}; {_REMEDY}")
        _require((share > 0) & (share < 1), f"shares of noise ({NOISE}) between zero and one")
    if n_features == 1:
        _require(spread > 0, "standard deviations sigma above zero")
    else:  # the Cholesky factorisation checks positive definiteness
        variances = np.diagonal(spread, axis1=-2, axis2=-1)
        _require(variances > 0, "variances above zero in cov")
        sd = np.sqrt(variances)
        rounded = _ROUNDED * sd[..., :, None] * sd[..., None, :]
        _require(abs(spread - spread.swapaxes(-1, -2)) <= rounded, "symmetric covariance matrices cov")
    if covariance is not None:
        _require_structure(spread, covariance)


def _numbers(posterior: xr.Dataset, name: str) -> FloatArray:
    if posterior[name].dtype.kind not in "fiu":
        raise TypeError(f"tree must hold numbers in {name}, got elements of type {posterior[name].dtype}; {_REMEDY}")
    return np.asarray(posterior[name].values, dtype=float)


def _require(holds: NDArray[np.bool_], rule: str) -> None:
    """Raise an error with the number of draws in which ``holds`` (chain, draw, ...) is false."""
    if holds.all():
        return
    wrong = ~holds.reshape(*holds.shape[:2], -1).all(axis=2)
    chain, draw = np.argwhere(wrong)[0]
    raise ValueError(
        f"tree must hold {rule} in every draw, got {wrong.sum()} of {wrong.size} draws where that fails (the first is draw "
        f"{draw} of chain {chain}, counted from 0); {_REMEDY}"
    )


def require_hyperparameters(drawn: xr.Dataset) -> None:
    """Refuse hyperparameters C0 that are not finite, not positive, or (beyond rounding) not positive definite."""
    if "C0" not in drawn:
        return
    C0 = _numbers(drawn, "C0")
    _require(np.isfinite(C0), "finite numbers in C0")
    is_matrix = FEATURE_BIS in drawn["C0"].dims
    scales = np.diagonal(C0, axis1=-2, axis2=-1) if is_matrix else C0
    _require(scales > 0, "scales C0 above zero")
    if is_matrix:
        sd = np.sqrt(scales)
        _require(np.linalg.eigvalsh(C0 / sd[..., :, None] / sd[..., None, :]) > IMPOSSIBLE, "positive definite scales C0")


def _require_structure(spread: FloatArray, covariance: str) -> None:
    """Refuse tied covariances that differ, diagonal ones with correlations, and spherical ones with unequal variances."""
    traits = TRAITS[covariance]
    holds = _alike(spread, spread[:, :, :1]) if traits.shared else np.ones(spread.shape, dtype=bool)
    if spread.ndim > 3 and not traits.matrix:
        variances = np.diagonal(spread, axis1=-2, axis2=-1)
        holds &= (spread == 0) | np.eye(spread.shape[-1], dtype=bool)
        if not traits.per_feature:
            holds &= _alike(variances, variances[..., :1])[..., None]
    _require(holds, f"covariances that are {covariance!r}, as its attribute covariance says,")


def _alike(values: FloatArray, others: FloatArray) -> NDArray[np.bool_]:
    return np.asarray(abs(values - others) <= _UNLIKE * abs(others))


def require_posterior_k(tree: Any) -> xr.DataTree:
    """Check that a tree holds what posterior_k writes: probabilities of k, and the groups beside them."""
    if not isinstance(tree, xr.DataTree) or "p_k" not in tree.data_vars:
        raise ValueError("tree must come from posterior_k, got one without p_k; for several fits use plot_compare")
    remedy = "pass what posterior_k returned"
    root = tree.to_dataset()
    missing = [name for name in _OF_K if name not in root or root[name].dims != ("k",)]
    missing += [f"group {name}" for name in ("posterior", "components", "partition", "observed_data") if name not in tree]
    if missing:
        raise ValueError(f"tree must hold what posterior_k returns, got one without {', '.join(missing)}; {remedy}")
    for name in ("p_k", "prior_k", "p_occupied"):
        p = root[name].values
        if p.dtype.kind not in "fiu" or not np.isfinite(p).all() or (p < 0).any() or p.sum() > 1 + _ROUNDED or not p.any():
            raise ValueError(f"tree must hold probabilities in {name}, got {np.array2string(p, threshold=8)}; {remedy}")
    posterior = tree["posterior"].to_dataset()
    for name in ("n_components", "occupied", "log_density"):
        if name not in posterior or posterior[name].dtype.kind not in "fiu" or not np.isfinite(posterior[name]).all():
            raise ValueError(
                f"tree must hold finite numbers in {name} of its posterior, got none, or some that are not finite; {remedy}"
            )
    for name in ("prior", "prior_k", "alpha", "weights", "covariance", "seed"):
        attribute(tree, name)
    prior_of(tree.attrs["prior"])
    prior_k_from_json(tree.attrs["prior_k"])
    return tree
