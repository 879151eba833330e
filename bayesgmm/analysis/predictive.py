"""Posterior predictive quantities: pointwise log-likelihood, densities and quantiles, replicated data."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from bayesgmm.analysis.densities import distribution_function, log_density
from bayesgmm.analysis.draws import Draws, read_draws
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import FEATURE, features_of
from bayesgmm.arguments import FloatArray, read_probability, read_seed, require_memory
from bayesgmm.data.known import read_error, require_labels_of
from bayesgmm.data.noise import as_in, uniform_on
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import as_shown
from bayesgmm.data.scan import Scan
from bayesgmm.data.tables import read_numbers
from bayesgmm.words import about

_MOST_DRAWS = 2_000  # over which predictive distributions are averaged
_HALVINGS = 60  # bisection steps for a quantile
_OF_DATA = ("observed_data", "posterior_predictive", "prior_predictive", "log_likelihood")  # groups that hold x


def add_log_likelihood(tree: Tree) -> xr.DataTree:
    """Add a group ``log_likelihood`` to the tree: log p(x_i | parameters) for every draw, as ``az.loo`` expects it.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.

    Returns
    -------
    DataTree
        A new tree; ``log_likelihood`` holds ``x`` (chain, draw, obs). An observation with a weight has the log-likelihood of
        one count, not multiplied by the weight.

    Raises
    ------
    MemoryError
        If draws x observations would not fit into memory.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.add_log_likelihood(tree)["log_likelihood"]["x"].shape
    (4, 200, 82)
    """
    reading = Reading.of(tree)
    draws, x = reading.draws, reading.x
    require_room(len(draws.w), len(x), "log_likelihood")
    return _with_group(reading.tree, "log_likelihood", draws.by_chain(log_density(draws, reading.observations)))


@np.errstate(under="ignore")
def add_posterior_predictive(tree: Tree, random_seed: int | np.random.Generator | None = None) -> xr.DataTree:
    """Add a group ``posterior_predictive`` to the tree: one replicated data set for every draw.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    random_seed : int, Generator or None

    Returns
    -------
    DataTree
        A new tree; ``posterior_predictive`` holds ``x`` (chain, draw, obs) or (chain, draw, obs, feature). If the data have
        measurement errors, the replicates have them too. Uniform noise is replicated; noise with given densities is not. For
        ArviZ's predictive checks of several features see :func:`by_feature`.

    Raises
    ------
    MemoryError
        If draws x observations would not fit into memory.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.add_posterior_predictive(tree, random_seed=1)["posterior_predictive"]["x"].shape
    (4, 200, 82)
    """
    reading = Reading.of(tree)
    draws, x = reading.draws, reading.x
    require_room(len(draws.w), x.size, "posterior_predictive")
    rng = np.random.default_rng(read_seed(random_seed))
    result = np.empty((len(draws.w), *x.shape))
    box = uniform_on(reading.observations)
    for s, replicated in enumerate(result):
        replicated[:] = reading.observations.measured(draws.sample(s, len(x), rng), rng)
        if draws.noise is not None and box is not None:
            strays = np.flatnonzero(rng.random(len(x)) < draws.noise[s])
            replicated[strays] = rng.uniform(*box, size=(len(strays), draws.n_features))
    return _with_group(reading.tree, "posterior_predictive", draws.by_chain(as_shown(result)))


def by_feature(tree: xr.DataTree) -> xr.DataTree:
    """Give each feature a separate variable, so that ArviZ's predictive checks have one panel per feature, in its units.

    ArviZ pools all values of a variable. ``az.plot_ppc_dist(bg.by_feature(tree))`` has a panel for each feature, and so have
    ``az.plot_ppc_pit`` and ``az.plot_loo_pit``.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, with :func:`add_posterior_predictive` (for ``az.plot_loo_pit`` with
        :func:`add_log_likelihood` too), or from :func:`bayesgmm.prior_predictive`.

    Returns
    -------
    DataTree
        A new tree. In every group with data (observed, replicated, drawn from the prior) ``x[NAME]`` (..., obs) holds a
        feature. In ``log_likelihood`` each of these variables is the log-likelihood of the whole observation, because LOO
        leaves out whole observations. A tree with one feature is returned as it is.

    Raises
    ------
    ValueError
        If the tree has no data.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> geyser = bg.jitter(bg.datasets.old_faithful(), random_seed=1)  # rounded to minutes: spread again
    >>> tree = bg.fit(geyser, 2, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> list(bg.by_feature(bg.add_posterior_predictive(tree, 1))["posterior_predictive"].data_vars)
    ['x[eruptions]', 'x[waiting]']
    """
    if "observed_data" not in getattr(tree, "children", ()) or "x" not in tree["observed_data"]:
        raise ValueError("tree must have a group observed_data with x; pass what fit or prior_predictive returned")
    result, observed = tree.copy(), tree["observed_data"]["x"]
    names = observed[FEATURE].to_numpy().tolist() if FEATURE in observed.dims else []
    for group in set(_OF_DATA) & set(tree.children) if names else ():
        values = tree[group]["x"]
        parts = {f"x[{name}]": values.isel({FEATURE: i}, drop=True, missing_dims="ignore") for i, name in enumerate(names)}
        result[group] = xr.DataTree(xr.Dataset(parts))
    return result


@np.errstate(under="ignore")
def predictive_density(
    tree: xr.DataTree, grid: ArrayLike | Observations, *, interval: float = 0.9, observed: ArrayLike | None = None
) -> xr.DataArray:
    """Posterior mean of the density at each point of a grid, with a pointwise credible band.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    grid : (G,) or (G, D) array-like
        Points in the units of the data.
    interval : float
        Probability of the equal-tailed band, between 0 and 1.
    observed : float, (D,) or (D, D) array-like, optional
        Standard deviation (for each feature) or covariance of measurement errors: the density is then that of measured
        values. Default: the density of the values without errors. Noise (:func:`bayesgmm.fit`) is not included.

    Returns
    -------
    DataArray
        Dims (statistic, grid), with statistics ``mean``, ``lower`` and ``upper``, in inverse units of the data. For one
        feature the points are the coordinate of ``grid``; for several each feature is a coordinate along ``grid``.

    Raises
    ------
    ValueError
        If the grid is not finite or has other features than the data, or ``interval`` is not between 0 and 1.

    Notes
    -----
    The mean integrates to one; a test checks it. The density of a draw does not depend on its labels.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> density = bg.predictive_density(tree, [10, 15, 20]).sel(statistic="mean")
    >>> density.idxmax("grid").item()
    20.0
    """
    reading = Reading.of(tree)
    draws = reading.draws
    rows, _ = read_points(reading, grid, "grid", may_be_noise=False)
    if observed is not None:
        rows = Observations.made(rows.x, replace(rows.known, error=_error_of_each(observed, rows)))
    density = np.exp(log_density(draws.thinned(_MOST_DRAWS), rows))
    names = ["grid"] if draws.n_features == 1 else features_of(tree)
    coords = {name: ("grid", column) for name, column in zip(names, rows.x.T, strict=True)}
    return with_band("density", {"mean": density.mean(axis=0)}, density, interval, "grid", coords)


def _error_of_each(observed: ArrayLike, rows: Observations) -> FloatArray | None:
    """Measurement errors for the points, from one error that applies to all of them."""
    error, n_features = read_numbers(observed, "observed"), rows.n_features
    if error.shape not in ((), (n_features,), (n_features, n_features)) or (n_features == 1 and error.ndim == 2):
        shapes = "" if n_features == 1 else f" or an array of shape ({n_features},) or ({n_features}, {n_features})"
        raise ValueError(about("observed", f"must be one error for all points: a number{shapes}, got shape {error.shape}"))
    return read_error(np.broadcast_to(error, (len(rows), *(error.shape or (n_features,)))), None, rows.x, name="observed")


def predictive_cdf(tree: xr.DataTree, grid: ArrayLike, feature: Any = None, *, interval: float = 0.9) -> xr.DataArray:
    r"""Posterior predictive cumulative distribution function of a feature, :math:`P(x \leq g)`, with a pointwise band.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    grid : (G,) array-like
        Points in the feature's units.
    feature : optional
        Which of several features, by its name.
    interval : float
        Probability of the equal-tailed band, between 0 and 1.

    Returns
    -------
    DataArray
        Dims (statistic, grid), with statistics ``mean``, ``lower`` and ``upper``. They summarise
        sum_k w_k Phi((g - mu_k) / sigma_k) over at most 2 000 draws.

    Raises
    ------
    ValueError
        If the grid is not finite or not of one feature, the tree has no such feature, or ``interval`` is not between 0 and
        1.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.predictive_cdf(tree, [15, 40]).sel(statistic="mean").round(1).values.tolist()
    [0.1, 1.0]
    """
    few = _few_of_feature(tree, feature)
    points = read_grid(grid)
    below = distribution_function(few, np.broadcast_to(points, (len(few.w), len(points))))
    return with_band("cdf", {"mean": below.mean(axis=0)}, below, interval, "grid", {"grid": points})


def predictive_quantiles(
    tree: xr.DataTree, probabilities: ArrayLike, feature: Any = None, *, interval: float = 0.9
) -> xr.DataArray:
    """Quantiles of a feature's posterior predictive distribution, with credible bands.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    probabilities : float or (P,) array-like
        Between 0 and 1.
    feature : optional
        Which of several features, by its name.
    interval : float
        Probability of the equal-tailed band, between 0 and 1.

    Returns
    -------
    DataArray
        Dims (statistic, probability), in the feature's units. ``predictive`` is the quantile of the posterior predictive
        distribution (:func:`predictive_cdf`). ``lower`` and ``upper`` are the band of the quantiles of at most 2 000 single
        draws.

    Raises
    ------
    ValueError
        If a probability is not between 0 and 1, or the tree has no such feature.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.predictive_quantiles(tree, 0.5).sel(statistic="predictive").round(0).values.tolist()
    [21.0]
    """
    few = _few_of_feature(tree, feature)
    given = read_numbers(probabilities, "probabilities")
    if given.ndim > 1 or not given.size:
        raise ValueError(f"probabilities must be a number or have shape (P,), got shape {given.shape}")
    wanted = np.array([read_probability(each, "probabilities") for each in np.atleast_1d(given).tolist()])
    standard = ndtri(wanted) if few.nu is None else stdtrit(few.nu[..., None], wanted)
    ends = few.mu + few.factors[..., 0] * standard  # a mixture's quantile lies between its components'
    lower, upper = ends.min(axis=1), ends.max(axis=1)
    of_draws = _bisect(lambda x: distribution_function(few, x) < wanted, lower, upper)
    overall = _bisect(
        lambda x: distribution_function(few, np.broadcast_to(x, (len(few.w), len(x)))).mean(axis=0) < wanted,
        lower.min(axis=0),
        upper.max(axis=0),
    )
    return with_band("quantile", {"predictive": overall}, of_draws, interval, "probability", {"probability": wanted})


def _few_of_feature(tree: xr.DataTree, feature: Any) -> Draws:
    return read_draws(tree).thinned(_MOST_DRAWS).marginal(read_feature(tree, feature)[1])


def read_grid(grid: ArrayLike) -> FloatArray:
    """Points along one feature, (G,)."""
    points = Observations.read(grid, name="grid", missing=None)
    if points.n_features > 1:
        raise ValueError(f"grid must hold values of one feature, got {points.n_features} columns")
    return points.x[:, 0]


def with_band(
    name: str,
    middle: dict[str, FloatArray],
    values: FloatArray,
    interval: float,
    dim: str,
    coords: dict[Any, Any],
) -> xr.DataArray:
    """A statistic along a dim, with an equal-tailed band from the draws' values (S, ...)."""
    tail = (1 - read_probability(interval, "interval")) / 2
    statistics = np.stack([*middle.values(), *np.quantile(values, [tail, 1 - tail], axis=0)])
    called = {"statistic": [*middle, "lower", "upper"]}
    return xr.DataArray(statistics, dims=("statistic", dim), coords=called | coords, name=name)


def _bisect(is_below: Callable[[FloatArray], NDArray[np.bool_]], lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Bisection for the points between the bounds where ``is_below`` turns false."""
    for _ in range(_HALVINGS):
        middle = (lower + upper) / 2
        below = is_below(middle)
        lower, upper = np.where(below, middle, lower), np.where(below, upper, middle)
    return (lower + upper) / 2


def read_feature(tree: xr.DataTree, feature: Any, name: str = "feature") -> tuple[str, int]:
    """Name and index of a feature, which must be given if there are several."""
    names = features_of(tree)
    if feature is None and len(names) == 1:
        return str(names[0]), 0
    if not isinstance(feature, str | numbers.Integral) or feature not in names:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, names))}, got {' '.join(repr(feature).split())}")
    return str(feature), names.index(feature)


def read_points(
    reading: Reading, x: ArrayLike | Observations | None, name: str, *, may_be_noise: bool = True
) -> tuple[Observations, NDArray[np.int64]]:
    """Points with the data's features (default: the data), and their positions in the user's input.

    If the model has noise, the points may be noise too, unless ``may_be_noise`` is false.
    """
    if x is None:
        return reading.observations, reading.positions
    points = Observations.read(x, name=name, missing=None)
    require_features(reading, points, name)
    require_labels_of(points.known, reading.draws.n_components)
    may_be_noise = may_be_noise and reading.draws.noise is not None
    return (as_in(reading.observations, points) if may_be_noise else points), points.positions


def require_features(reading: Reading, points: Observations | Scan, name: str) -> None:
    """Refuse points without the data's features."""
    features = features_of(reading.tree)
    if points.n_features != len(features):
        raise ValueError(f"{name} must have {len(features)} feature(s) like the data, got {points.n_features} column(s)")
    named = len(features) > 1 and points.names is not None and features != list(range(len(features)))
    if named and list(points.names or ()) != features:
        wanted, got = (", ".join(map(str, each)) for each in (features, points.names or ()))
        raise ValueError(f"{name} must have the columns {wanted}, in this order, got {got}")


def require_room(
    n_draws: int, n: int, group: str, remedy: str = "keep fewer draws, as in tree.isel(draw=slice(None, None, 10))"
) -> None:
    """Refuse a group of draws x observations that would not fit into memory."""
    require_memory(
        8 * n_draws * n,
        f"the group {group} of {n_draws} draws x {n} observations",
        remedy,
    )


def _with_group(tree: xr.DataTree, group: str, values: FloatArray) -> xr.DataTree:
    posterior, observed = tree["posterior"].to_dataset(), tree["observed_data"].to_dataset()
    result = tree.copy()
    dims = ("chain", "draw", *observed["x"].dims[: values.ndim - 2])
    coords = {"chain": posterior["chain"], "draw": posterior["draw"], **{name: observed[name] for name in dims[2:]}}
    result[group] = xr.DataTree(xr.Dataset({"x": (dims, values)}, coords=coords))
    return result
