"""The tree: the interface between engines and analysis.

Every engine of :func:`bayesgmm.fit` ends with :func:`build_tree`, and every analysis begins with
:func:`bayesgmm.analysis.draws.read_draws`.

* ``posterior``: ``w`` (chain, draw, cluster). One feature: ``mu`` and ``sigma`` (chain, draw, cluster). Several features:
  ``mu`` (chain, draw, cluster, feature) and ``cov`` (chain, draw, cluster, feature, feature_bis). The posterior of a custom
  model also holds all its other variables. The coordinate ``cluster`` holds numbers, or the names that the user gave
  (:func:`bayesgmm.rename_clusters`), as it then does in ``sample_stats``, ``log_prior`` and ``em_baseline``.
* ``hyperparameters``, under a hierarchical prior: ``C0`` (chain, draw), (chain, draw, feature) or (chain, draw, feature,
  feature_bis). :func:`bayesgmm.for_pymc` computes the other variables of :func:`bayesgmm.build_model`.
* ``sample_stats``: ``lp``, the log posterior on the unconstrained space (for the package's priors, of the standardised
  data), and the sampler's statistics; ``bfmi`` (chain), over all steps, if a draw takes several; ``permutation``
  (chain, draw, cluster), the relabelling.
* ``observed_data``: ``x`` (obs) or (obs, feature). The name of a single feature is the attribute ``long_name``. If given:
  ``weight`` (obs), ``label`` (obs) or (obs, cluster), ``error`` (standard deviations with the dims of ``x``, or covariances
  (obs, feature, feature_bis)), and, with the dims of ``x``, ``lower``, ``upper`` and ``width`` (the rounding step).
* t distributions: ``nu`` (chain, draw, cluster) in the posterior and ``nu`` (cluster) in ``em_baseline``. ``sigma`` and
  ``cov`` are scale parameters: those of the Gaussian limit for large nu.
* Noise: its share ``w_noise`` (chain, draw) in the posterior, where ``w`` are the weights within the rest; ``w_noise`` in
  ``em_baseline``; ``log_noise`` (obs), each observation's log density as noise, in ``observed_data``.
* Rows that are read in passes: ``observed_data`` holds a sample. Its attributes ``rows`` and ``total`` are the number of all
  rows and the sum of their weights.
* ``em_baseline``: the EM estimate, with the variables of the posterior. Its criteria are attributes. It has an attribute
  ``log_prior`` if it is the mode of the posterior, as under a prior for each component.
* ``optima``, if EM found several: ``w``, ``mu``, ``sigma`` or ``cov`` (optimum, cluster, ...), ``log_likelihood``, ``mass``
  (share of the posterior by Laplace's method) and ``chains`` (how many began there).
* ``approximation`` (ADVI): ``elbo`` (iteration). k-hat and convergence are attributes.
* ``log_likelihood``, ``posterior_predictive``: on request, see :mod:`bayesgmm.analysis.predictive`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm.analysis.contract import (
    CLUSTER,
    FEATURE,
    FEATURE_BIS,
    HYPERPARAMETERS,
    cluster_names,
    group_of,
    parameter_dims,
    read_tree,
)
from bayesgmm.analysis.draws import read_draws
from bayesgmm.arguments import FloatArray
from bayesgmm.data.known import NOTHING, Known, read_error
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import as_shown
from bayesgmm.data.tables import read_numbers
from bayesgmm.em.result import EMResult
from bayesgmm.model.mixture import NOISE, NU, Mixture

OBS = "obs"
WEIGHT, LABEL, ERROR, LOWER, UPPER, WIDTH = "weight", "label", "error", "lower", "upper", "width"
LOG_NOISE = "log_noise"
OPTIMUM = "optimum"
PAIR = "pair"  # dim: pairs of features
ENTRY = "entry"  # dim: entries of a triangular matrix
DRAWN = ("sigma2", "precision_factor", "C0_factor")  # in the posterior of trees from for_pymc or earlier versions


class Whole(NamedTuple):
    """Number and total weight of all rows, if a tree holds only a sample of them."""

    rows: int
    total: float


def parameters_of(mixture: Mixture) -> dict[str, FloatArray]:
    """A mixture's parameters under their names in a tree."""
    spread = mixture.sigma if mixture.n_features == 1 else mixture.covariances
    values = dict(zip(parameter_dims(mixture.n_features), (mixture.weights, mixture.means, spread), strict=True))
    values |= {} if mixture.nu is None else {NU: mixture.nu}
    return values if mixture.noise is None else values | {NOISE: np.array(mixture.noise)}


def build_tree(
    posterior: xr.Dataset,
    sample_stats: xr.Dataset,
    data: Observations,
    em: EMResult,
    attrs: Mapping[str, Any],
    approximation: xr.Dataset | None = None,
    apart: Sequence[str] = (),
    whole: Whole | None = None,
) -> xr.DataTree:
    """Assemble the tree from an engine's output, in the data's units. ``apart`` names the hyperparameters."""
    k, dims = em.mixture.n_components, parameter_dims(em.mixture.n_features) | {NU: (CLUSTER,)}
    baseline = xr.Dataset(
        {name: (dims.get(name, ()), np.array(value)) for name, value in parameters_of(em.mixture).items()},
        coords={CLUSTER: np.arange(k)},
        attrs={
            "log_likelihood": em.log_likelihood,
            "bic": em.bic(),
            "aic": em.aic(),
            "icl": em.icl(),
            "converged": int(em.converged),
            "collapsed": int(em.collapsed),
            "n_iter": em.n_iter,
        }
        | ({} if em.prior is None else {"log_prior": em.log_prior}),
    )
    features = {FEATURE: data.features, FEATURE_BIS: data.features} if data.n_features > 1 else {}
    posterior = posterior.assign_coords({CLUSTER: np.arange(k), **features})
    unchanged = np.broadcast_to(np.arange(k), posterior["w"].shape)
    groups = {
        "posterior": posterior.drop_vars(apart),
        "sample_stats": _with_permutation(sample_stats, posterior, unchanged),
        "observed_data": observed(data).assign_attrs({} if whole is None else whole._asdict()),
        "em_baseline": baseline.assign_coords(features),
    }
    if apart:
        groups[HYPERPARAMETERS] = posterior[list(apart)]
    if approximation is not None:
        groups["approximation"] = approximation
    tree = xr.DataTree.from_dict(groups)
    tree.attrs.update(attrs, version=_version())
    return tree


@cache
def _version() -> str:
    """The package's version, which is read from a file."""
    return version("bayesgmm")


def observed(data: Observations) -> xr.Dataset:
    """The group ``observed_data``."""
    values = np.array(as_shown(data.x))
    positions: Any = pd.RangeIndex(len(values)) if data.kept is None else data.positions  # a range takes no memory
    if data.n_features == 1:
        called = {} if data.names is None else {"long_name": str(data.names[0])}
        result = xr.Dataset({"x": (OBS, values, called)}, coords={OBS: positions})
    else:
        result = xr.Dataset({"x": ((OBS, FEATURE), values)}, coords={OBS: positions, FEATURE: data.features})
    weight, labels = data.known.weight, data.known.labels
    if weight is not None:
        result[WEIGHT] = (OBS, np.array(weight))
    if labels is not None:
        result[LABEL] = ((OBS, CLUSTER)[: labels.ndim], np.array(labels))
    if data.known.error is not None:
        error = as_shown(data.known.error)
        result[ERROR] = ((OBS, FEATURE, FEATURE_BIS)[: error.ndim], np.array(error))
    for name, ends in ((LOWER, data.known.lower), (UPPER, data.known.upper), (WIDTH, data.known.width)):
        if ends is not None:
            result[name] = (result["x"].dims, np.array(as_shown(ends)))
    if data.known.noise is not None:
        result[LOG_NOISE] = (OBS, np.array(data.known.noise))
    return result


def add_optima(tree: xr.DataTree, optima: Sequence[tuple[Mixture, float, float, int]]) -> xr.DataTree:
    """Add a group of EM's optima to the tree: mixture, log-likelihood, mass, and number of chains that began there."""
    mixtures, likelihoods, mass, chains = zip(*optima, strict=True)
    dims = parameter_dims(mixtures[0].n_features) | {NU: (CLUSTER,)}
    values = [parameters_of(mixture) for mixture in mixtures]
    variables: dict[str, Any] = {
        name: ((OPTIMUM, *dims.get(name, ())), np.stack([each[name] for each in values])) for name in values[0]
    }
    told = {"log_likelihood": list(likelihoods), "mass": list(mass), "chains": list(chains)}
    variables |= {name: (OPTIMUM, each) for name, each in told.items()}
    posterior = tree["posterior"].to_dataset()
    coords = {name: posterior[name] for name in (CLUSTER, FEATURE, FEATURE_BIS) if name in posterior.coords}
    result = tree.copy()
    result["optima"] = xr.DataTree(xr.Dataset(variables, coords=coords))
    return result


def features_of(tree: xr.DataTree) -> list[Any]:
    """Names of the features; a single feature without a name is called x."""
    posterior = read_tree(tree)["posterior"].to_dataset()
    if FEATURE in posterior["mu"].dims:
        return list(posterior[FEATURE].values.tolist())
    observed = group_of(tree, "observed_data")
    return [observed["x"].attrs.get("long_name", "x") if "x" in observed else "x"]


def read_observations(tree: xr.DataTree) -> FloatArray:
    """The data the tree was fitted to, (n, D), NaN where a value is missing."""
    observed, posterior = group_of(read_tree(tree), "observed_data"), tree["posterior"]
    if "x" not in observed:
        raise ValueError("tree must have a group observed_data with x; pass what fit returned")
    x = observed["x"]
    dims = (OBS,) if posterior["mu"].ndim == 3 else (OBS, FEATURE)
    if x.dims != dims or x.shape[1:] != posterior["mu"].shape[3:] or not x.size:
        raise ValueError(
            f"tree must hold observations x with the dims {dims} and the features of its draws, got {dict(x.sizes)}; pass "
            "what fit returned"
        )
    values = read_numbers(x.values, "x in observed_data of tree", copy=False)
    values = values.reshape(len(values), -1)
    known = np.isfinite(values)
    if not (known | np.isnan(values)).all() or not known.any(axis=1).all():
        raise ValueError(
            "x in observed_data of tree must have a known value in every row, and no infinite one, got "
            f"{(~known).sum()} of {values.size} numbers that are NaN or infinite; pass what fit returned"
        )
    return values


def read_whole(tree: xr.DataTree) -> Whole | None:
    """Number and total weight of all rows, if the tree holds only a sample of them."""
    attrs = group_of(tree, "observed_data").attrs
    if "rows" not in attrs and "total" not in attrs:
        return None
    rows, total = attrs.get("rows"), attrs.get("total")
    n = len(read_observations(tree))
    if not (isinstance(rows, Integral) and isinstance(total, Real) and int(rows) >= n and 0 < float(total) < np.inf):
        rule = "must have the attributes rows (at least its number of rows) and total (the positive sum of all weights)"
        raise ValueError(f"observed_data of tree {rule}, got {rows!r} and {total!r}; pass what fit returned")
    return Whole(int(rows), float(total))


def read_known(tree: xr.DataTree) -> Known:
    """Weights, labels, errors and intervals of the data, and their log densities as noise."""
    observed = group_of(tree, "observed_data")
    if (LOG_NOISE in observed) != (NOISE in tree["posterior"]):
        raise ValueError(
            f"tree must hold {NOISE} in its posterior and {LOG_NOISE} in observed_data, or neither; pass what fit returned"
        )
    if not {WEIGHT, LABEL, ERROR, LOWER, UPPER, WIDTH, LOG_NOISE} & set(observed):
        return NOTHING
    x, names = read_observations(tree), (WEIGHT, LABEL, ERROR)
    n = len(x)
    weight, labels, error = (read_numbers(observed[name].values, name) if name in observed else None for name in names)
    k = tree["posterior"].sizes[CLUSTER]
    if weight is not None and (weight.shape != (n,) or not (np.isfinite(weight) & (weight > 0)).all()):
        rule = "must be a positive number for every observation"
        raise ValueError(f"weight in observed_data of tree {rule}; pass what fit returned")
    if labels is not None:
        sound = labels.shape in ((n,), (n, k)) and np.isfinite(labels).all()
        if not sound or not (labels >= -1 if labels.ndim == 1 else labels >= 0).all() or labels.max() >= max(k, 2):
            raise ValueError("label in observed_data of tree must be labels of its clusters; pass what fit returned")
        labels = labels if labels.ndim == 2 else labels.astype(np.int64)
    ends = [read_numbers(observed[name].values, name).reshape(n, -1) for name in (LOWER, UPPER) if name in observed]
    if ends and (len(ends) == 1 or not all(_is_around(x, *ends))):
        raise ValueError(
            "lower and upper in observed_data of tree must be ends of intervals around x; pass what fit returned"
        )
    width = read_numbers(observed[WIDTH].values, WIDTH).reshape(n, -1) if WIDTH in observed else None
    if width is not None and not (width.shape == x.shape and (width >= 0).all() and _is_width(width, *ends)):
        raise ValueError("width in observed_data of tree must be the width of its intervals, or 0; pass what fit returned")
    of_noise = f"{LOG_NOISE} in observed_data of tree"
    noise = read_numbers(observed[LOG_NOISE].values, of_noise) if LOG_NOISE in observed else None
    if noise is not None and (noise.shape != (n,) or not np.isfinite(noise).all()):
        raise ValueError(f"{of_noise} must be a finite log density for every observation; pass what fit returned")
    try:
        return replace(Known(weight, labels, read_error(error, None, x), *ends), noise=noise, width=width)
    except ValueError as wrong:
        raise ValueError(f"error in observed_data of tree must fit x: {wrong}; pass what fit returned") from None


def _is_around(x: FloatArray, lower: FloatArray, upper: FloatArray) -> Iterator[bool]:
    yield lower.shape == x.shape == upper.shape
    yield bool(((lower <= x) & (x <= upper) | np.isnan(x) & (lower == -np.inf) & (upper == np.inf)).all())


def _is_width(width: FloatArray, lower: FloatArray | None = None, upper: FloatArray | None = None) -> bool:
    if lower is None or upper is None:
        return True
    used = width > 0
    return bool(np.allclose(width[used], (upper - lower)[used], rtol=1e-6, atol=1e-12 * abs(lower[used]).max(initial=0.0)))


def read_em(tree: xr.DataTree) -> tuple[Mixture, float]:
    """The EM estimate stored in the tree, and its log-likelihood."""
    if "em_baseline" not in read_tree(tree).children:
        raise ValueError("tree must have a group em_baseline; pass what fit returned, or an EMResult as em=")
    group, posterior = tree["em_baseline"].to_dataset(), tree["posterior"]
    dims = parameter_dims(1 if posterior["mu"].ndim == 3 else 2)
    held = [*dims, *([NOISE] if NOISE in posterior else [])]
    wrong = [name for name in held if name not in group or group[name].shape != posterior[name].shape[2:]]
    numbers = {name: group.attrs.get(name) for name in ("log_likelihood", "bic", "aic", "icl")}
    unknown = [name for name, value in numbers.items() if not isinstance(value, Real) or not np.isfinite(float(value))]
    if wrong or unknown:
        what = f"{', '.join(wrong)} of the same shape as in the draws" if wrong else f"finite {', '.join(unknown)}"
        raise ValueError(f"em_baseline of tree must hold EM's estimate, got one without {what}; pass what fit returned")
    spread = {"covariances" if "cov" in dims else "sigma": group["cov" if "cov" in dims else "sigma"].values}
    try:
        noise, nu = float(group[NOISE]) if NOISE in group else None, group[NU].values if NU in group else None
        mixture = Mixture(group["w"].values, group["mu"].values, **spread, noise=noise, nu=nu)
    except (TypeError, ValueError) as error:
        raise ValueError(f"em_baseline of tree must hold EM's estimate, but its {error}; pass what fit returned") from None
    return mixture, float(group.attrs["log_likelihood"])


def add_correlations(tree: xr.DataTree) -> xr.DataTree:
    """Add the standard deviations and correlations within each cluster to the tree.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, of several features.

    Returns
    -------
    DataTree
        A new tree. Its posterior and its EM baseline also hold ``sigma`` (..., cluster, feature), in the units of the
        features, and ``corr`` (..., cluster, pair). A pair is named after both features, as in ``"eruptions, waiting"``.

    Raises
    ------
    ValueError
        If the tree has one feature, or is incomplete or damaged.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> geyser = bg.jitter(bg.datasets.old_faithful(), random_seed=1)  # rounded to minutes: spread again
    >>> tree = bg.fit(geyser, 2, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> correlation = bg.add_correlations(tree)["posterior"]["corr"].sel(pair="eruptions, waiting")
    >>> correlation.mean(("chain", "draw")).round(1).values.tolist()
    [0.3, 0.4]
    """
    if read_draws(tree).n_features == 1:
        raise ValueError("tree must be of several features to have correlations, got one feature")
    result, features = tree.copy(), features_of(tree)
    one, other = np.triu_indices(len(features), 1)
    pairs = [f"{features[i]}, {features[j]}" for i, j in zip(one, other, strict=True)]
    for group in {"posterior", "em_baseline"} & set(tree.children):
        dataset = tree[group].to_dataset()
        dims, cov = dataset["cov"].dims, dataset["cov"].values
        sigma = np.sqrt(np.diagonal(cov, axis1=-2, axis2=-1))
        corr = cov[..., one, other] / sigma[..., one] / sigma[..., other]
        added = {"sigma": (dims[:-1], sigma), "corr": ((*dims[:-2], PAIR), corr)}
        result[group] = xr.DataTree(dataset.assign(added).assign_coords({PAIR: pairs}))
    return result


def permute(tree: xr.DataTree, permutation: NDArray[np.int64]) -> xr.DataTree:
    """Renumber the clusters in every variable: cluster ``j`` of a draw was cluster ``permutation[chain, draw, j]`` before.

    ``sample_stats`` records the permutation from the raw order. Names move with the clusters if all draws are permuted in
    the same way. Otherwise a place no longer belongs to one cluster, and places have numbers.

    The result is the tree itself if nothing moves.
    """
    so_far = read_permutation(tree)
    if (permutation == np.arange(permutation.shape[-1])).all() and "permutation" in group_of(tree, "sample_stats"):
        return tree
    result = tree.copy()
    for group in {"posterior", "log_prior"} & set(tree.children):
        dataset = tree[group].to_dataset()
        reordered = {}
        for name, values in dataset.data_vars.items():
            if CLUSTER in values.dims:
                front = values.variable.transpose("chain", "draw", CLUSTER, ...)
                index = permutation.reshape(permutation.shape + (1,) * (front.ndim - 3))
                moved = front.copy(data=np.take_along_axis(front.values, index, axis=2))
                reordered[name] = moved.transpose(*values.dims)
        result[group] = xr.DataTree(dataset.assign(reordered))
    names = cluster_names(tree)
    if names is not None:
        order = permutation[0, 0]
        result = with_names(result, [names[j] for j in order] if (permutation == order).all() else None)
    return set_permutation(result, np.take_along_axis(so_far, permutation, axis=2))


def with_names(
    tree: xr.DataTree, names: Sequence[str] | None, of_em: Sequence[str] | Sequence[int] | None = None
) -> xr.DataTree:
    """A tree whose clusters have these names, or numbers; those of the EM baseline, too, if ``of_em`` is given."""
    result = tree.copy()
    given = dict.fromkeys(("posterior", "sample_stats", "log_prior"), names)
    for group, those in (given if of_em is None else given | {"em_baseline": of_em}).items():
        dataset = group_of(tree, group)
        if CLUSTER in dataset.dims:
            coordinate = np.arange(dataset.sizes[CLUSTER]) if those is None else np.array(those)
            result[group] = xr.DataTree(dataset.assign_coords({CLUSTER: coordinate}))
    return result


def read_permutation(tree: xr.DataTree) -> NDArray[np.int64]:
    """The sampler's number of each cluster, (chain, draw, cluster)."""
    shape = tree["posterior"]["w"].shape
    identity = np.broadcast_to(np.arange(shape[-1]), shape)
    stats = group_of(tree, "sample_stats")
    if "permutation" not in stats:
        return identity
    permutation = np.asarray(stats["permutation"].values)
    if permutation.shape != shape or not np.array_equal(np.sort(permutation, axis=-1), identity):
        raise ValueError(
            f"permutation in sample_stats of tree must hold each of 0, ..., {shape[-1] - 1} once in every draw, got "
            "others; pass what fit returned"
        )
    return permutation


def read_log_posterior(tree: xr.DataTree) -> FloatArray | None:
    """The log posterior of each draw, (chain, draw), if it was recorded."""
    stats = group_of(tree, "sample_stats")
    if "lp" not in stats:
        return None
    values = np.asarray(stats["lp"].values)
    if values.shape != tree["posterior"]["w"].shape[:2] or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise ValueError(
            "lp in sample_stats of tree must be a finite number for every draw, got something else; pass what fit returned"
        )
    return values


def is_relabelled(tree: xr.DataTree) -> bool:
    """Whether the clusters of any draw are in another order than the sampler's."""
    permutation = read_permutation(tree)
    return bool((permutation != np.arange(permutation.shape[-1])).any())


def set_permutation(tree: xr.DataTree, permutation: NDArray[np.int64]) -> xr.DataTree:
    """Record the permutation from the raw order."""
    stats = _with_permutation(group_of(tree, "sample_stats"), tree["posterior"].to_dataset(), permutation)
    tree["sample_stats"] = xr.DataTree(stats)
    return tree


def _with_permutation(stats: xr.Dataset, posterior: xr.Dataset, permutation: NDArray[np.int64]) -> xr.Dataset:
    dims = "chain", "draw", CLUSTER
    coords = {name: posterior.variables[name] for name in dims if name not in stats.coords and name in posterior.coords}
    stats = stats.assign_coords(coords) if coords else stats
    return stats.assign(permutation=(dims, np.array(permutation)))
