"""Some features given the others: densities, and predictions with their uncertainty (regression)."""

from __future__ import annotations

import numbers
import os
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize.elementwise import find_root
from scipy.special import ndtr, ndtri, softmax, stdtr, stdtrit

from bayesgmm.analysis.densities import log_density
from bayesgmm.analysis.draws import Draws, read_draws
from bayesgmm.analysis.predictive import read_grid, with_band
from bayesgmm.analysis.tree import FEATURE, OBS, features_of
from bayesgmm.arguments import FloatArray, read_probability
from bayesgmm.data.observations import Observations
from bayesgmm.data.tables import column_names, read_numbers
from bayesgmm.model.conditioning import Split
from bayesgmm.words import about

_OF_DENSITY, _OF_PREDICTIONS = 2_000, 250  # draws that are used at most, evenly spaced
_TOGETHER = 2**18  # draws x components x rows in memory at once, for each core
_POINTS = 200  # of a grid
_MARGIN = 1e-9  # standard deviations, to which quantiles are found
_REACH = 1e-3  # probability beyond either end of a grid


@np.errstate(under="ignore")
def conditional(
    tree: xr.DataTree,
    given: Mapping[Any, float],
    grid: ArrayLike | None = None,
    *,
    of: Any = None,
    interval: float = 0.9,
) -> xr.DataArray:
    r"""Posterior predictive density of a feature, given values of others, with a pointwise credible band.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, of several features.
    given : mapping
        Values of the known features, by name, as in ``{"waiting": 80}``. Features that are neither here nor in ``of`` are
        unknown.
    grid : (G,) array-like, optional
        Points in the units of the feature ``of``. Default: 200 points over its predictive distribution.
    of : optional
        The feature whose density is wanted, by name. Default: the only one that is not given.
    interval : float
        Probability of the equal-tailed band, between 0 and 1.

    Returns
    -------
    DataArray
        Dims (statistic, grid), with statistics ``mean``, ``lower`` and ``upper``, in inverse units of the feature, whose
        name is the attribute ``of``.

    Raises
    ------
    ValueError
        If a feature or value cannot be used, the grid is not finite, or ``interval`` is not between 0 and 1.

    Notes
    -----
    With :math:`\theta_s` a draw and :math:`x_1` the given values, the mean is the average over the draws of

    .. math::
        p(x_2 \mid x_1, \theta_s) = \frac{p(x_1, x_2 \mid \theta_s)}{p(x_1 \mid \theta_s)}.

    As in regression the given values are taken as they are: the posterior is that of the fitted data, and :math:`x_1` tells
    nothing more about :math:`\theta`. At most 2 000 draws are used. The observation is not noise, and values have no
    measurement errors.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> geyser = bg.jitter(bg.datasets.old_faithful(), random_seed=1)
    >>> tree = bg.fit(geyser, 2, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> density = bg.conditional(tree, {"waiting": 80}).sel(statistic="mean")  # of the eruption's minutes
    >>> round(density.idxmax("grid").item(), 1)
    4.3
    """
    draws, names = read_draws(tree).thinned(_OF_DENSITY), features_of(tree)
    rows, known = _read_given(given, names)
    if len(rows) != 1 or np.isnan(rows).any():
        got = f"{len(rows)} rows; use predict for several" if len(rows) != 1 else "NaN; leave out what is not known"
        raise ValueError(about("given", f"must hold one finite value for each feature, got {got}"))
    (target,) = _read_of(of, names, known, most=1)
    row = _Rows.of(draws, known, rows, target)
    points = row.grid() if grid is None else read_grid(grid)
    density = np.exp(log_density(row.first, Observations.made(points[:, None])))
    result = with_band("density", {"mean": density.mean(axis=0)}, density, interval, "grid", {"grid": points})
    return result.assign_attrs(of=names[target])


@np.errstate(under="ignore")
def predict(
    tree: xr.DataTree, given: Any, of: Any = None, *, probabilities: Sequence[float] = (0.05, 0.5, 0.95)
) -> xr.Dataset:
    r"""Predict features from others, row by row: regression by the joint mixture.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, of several features.
    given : mapping or table with m rows
        Known features by name: a table with named columns, or a mapping of names to numbers or (m,) arrays, as in
        ``{"waiting": [50, 80]}``. NaN: this feature is unknown in this row.
    of : str or sequence, optional
        The features to predict, by name. Default: all that are not given.
    probabilities : sequence of P floats
        Of the quantiles, between 0 and 1.

    Returns
    -------
    Dataset
        Dims obs (m rows), feature (the predicted ones, in the order of ``of``), probability. In the features' units:

        - ``mean``, ``sd`` (obs, feature): of the posterior predictive distribution of the feature given the row.
        - ``quantile`` (probability, obs, feature): its quantiles.
        - ``quantile_of_mean`` (probability, obs, feature): credible quantiles of the conditional mean, which is the
          regression curve. They say how well the curve is known, not where observations lie.

    Raises
    ------
    ValueError, TypeError
        If features or values cannot be used; the message says which.

    Notes
    -----
    As in :func:`conditional` the posterior is that of the fitted data, and the observations are not noise and have no
    measurement errors (for those see :func:`bayesgmm.impute`). At most 250 draws are used, evenly spaced, which adds a 250th
    to the variance that the posterior leaves. Mean and standard deviation are exact sums over draws and components, and the
    quantiles are those of their mixture. A t distribution has no standard deviation if its nu, with the number of known
    features added, is at most two: ``sd`` is then infinite. Far from all data the prediction is an extrapolation, by the
    component that is the most probable there.

    References
    ----------
    Muller, Erkanli & West (1996), Bayesian curve fitting using multivariate normal mixtures. doi:10.1093/biomet/83.1.67

    Examples
    --------
    >>> import bayesgmm as bg
    >>> geyser = bg.jitter(bg.datasets.old_faithful(), random_seed=1)
    >>> tree = bg.fit(geyser, 2, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.predict(tree, {"eruptions": [2, 4]}, of="waiting")["mean"].round().values.ravel().tolist()
    [54.0, 78.0]
    """
    draws, names = read_draws(tree).thinned(_OF_PREDICTIONS), features_of(tree)
    rows, known = _read_given(given, names)
    targets = _read_of(of, names, known)
    if isinstance(probabilities, str) or np.ndim(np.asarray(probabilities, dtype=object)) > 1:
        raise TypeError(about("probabilities", f"must be numbers between 0 and 1, got {probabilities!r}"))
    wanted = np.array([read_probability(each, "probabilities") for each in np.atleast_1d(probabilities).tolist()])
    mean, sd = np.empty((2, len(rows), len(targets)))
    quantile, of_mean = np.empty((2, len(wanted), len(rows), len(targets)))
    unknown = np.isnan(rows)
    which = np.unique(unknown, axis=0, return_inverse=True)[1].ravel()
    few = max(1, _TOGETHER // draws.w.size)

    @np.errstate(under="ignore")
    def fill(part: NDArray[np.int64]) -> None:
        here = np.flatnonzero(~unknown[part[0]])
        for i, target in enumerate(targets):
            some = _Rows.of(draws, [known[j] for j in here], rows[np.ix_(part, here)], target)
            mean[part, i], sd[part, i] = some.mean_and_sd()
            quantile[:, part, i], of_mean[:, part, i] = some.quantiles(wanted), some.quantiles_of_mean(wanted)

    groups = [np.flatnonzero(which == i) for i in np.unique(which)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, [each[i : i + few] for each in groups for i in range(0, len(each), few)]))
    dims = (OBS, FEATURE)
    coords = {OBS: np.arange(len(rows)), FEATURE: [names[place] for place in targets], "probability": wanted}
    return xr.Dataset(
        {
            "mean": (dims, mean),
            "sd": (dims, sd),
            "quantile": (("probability", *dims), quantile),
            "quantile_of_mean": (("probability", *dims), of_mean),
        },
        coords=coords,
    )


@dataclass(frozen=True)
class _Rows:
    """Distributions of one feature for m rows, each a mixture of the K components of all S draws."""

    of_draw: FloatArray  # (S, m, K), weights of the components under each draw
    mu: FloatArray  # (S, m, K)
    sigma: FloatArray  # (S, m, K)
    nu: FloatArray | None  # (S, m, K)

    @classmethod
    def of(cls, draws: Draws, known: list[int], values: FloatArray, target: int) -> _Rows:
        """The feature ``target`` given the ``known`` ones, whose values are (m, G)."""
        nu = None if draws.nu is None else draws.nu[:, None]
        split = Split(draws.mu[:, None], draws.factors[:, None], nu, known)
        given, place = split.at(values), split.others.index(target)
        sound = np.isfinite(given.log_density).any(axis=2).all(axis=0)
        if not sound.all():
            far = values[np.flatnonzero(~sound)[0]].tolist()
            raise ValueError(about("given", f"must lie nearer to the data, where densities can be computed, got {far}"))
        with np.errstate(divide="ignore"):
            log_w = np.log(draws.w)[:, None] + given.log_density
        return cls(softmax(log_w, axis=2), given.mean[..., place], given.stretch * split.sd[..., place], given.nu)

    @cached_property
    def w(self) -> FloatArray:
        """Weights, which add to one over draws and components, (S, m, K)."""
        return self.of_draw / len(self.of_draw)

    @property
    def first(self) -> Draws:
        """The draws of the first row's distribution."""
        nu = None if self.nu is None else self.nu[:, 0]
        w = self.of_draw[:, 0]
        return Draws(w, self.mu[:, 0, :, None], self.sigma[:, 0, :, None, None], 1, len(w), nu=nu)

    def mean_and_sd(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of each row's distribution, (m,)."""
        mean = (self.w * self.mu).sum(axis=(0, 2))
        variance = self.sigma**2
        if self.nu is not None:
            variance *= np.where(self.nu > 2, self.nu / np.maximum(self.nu - 2, 1e-300), np.inf)
        spread = variance + (self.mu - mean[:, None]) ** 2
        return mean, np.sqrt(np.where(self.w > 0, self.w * spread, 0.0).sum(axis=(0, 2)))

    def quantiles(self, probabilities: FloatArray) -> FloatArray:
        """Quantiles of each row's distribution, (P, m)."""
        m = self.mu.shape[1]
        if not len(probabilities):
            return np.empty((0, m))
        shift = (self.w * self.mu).sum(axis=(0, 2))
        scale = (self.w * self.sigma).sum(axis=(0, 2))
        w, mu, sigma, *nu = (
            np.ascontiguousarray(np.broadcast_to(each, self.mu.shape).swapaxes(0, 1)).reshape(m, -1)
            for each in (self.w, self.mu, self.sigma, *(() if self.nu is None else (self.nu,)))
        )
        mu, sigma = (mu - shift[:, None]) / scale[:, None], sigma / scale[:, None]
        wanted = probabilities[:, None, None]
        ends = mu + sigma * (stdtrit(*nu, wanted) if nu else ndtri(wanted))  # a mixture's quantile lies between these

        def beyond(x: FloatArray, row: NDArray[np.int64], p: FloatArray) -> FloatArray:
            deviations = (x[:, None] - mu[row]) / sigma[row]
            below = stdtr(nu[0][row], deviations) if nu else ndtr(deviations)
            return np.asarray(np.einsum("ij,ij->i", w[row], below) - p)

        at, p = np.tile(np.arange(m), len(probabilities)), np.repeat(probabilities, m)
        bracket = (ends.min(axis=2).ravel() - _MARGIN, ends.max(axis=2).ravel() + _MARGIN)
        found = find_root(beyond, bracket, args=(at, p), tolerances={"xatol": _MARGIN, "xrtol": 0.0})
        x = np.where(found.success, found.x, np.where(p < 0.5, *bracket))  # the ends, where rounding leaves no root
        return shift + scale * x.reshape(len(probabilities), m)

    def quantiles_of_mean(self, probabilities: FloatArray) -> FloatArray:
        """Quantiles of the mean over the draws, (P, m)."""
        return np.asarray(np.quantile((self.of_draw * self.mu).sum(axis=2), probabilities, axis=0))

    def grid(self) -> FloatArray:
        """Points along the first row's distribution."""
        low, high = self.quantiles(np.array([_REACH, 1 - _REACH]))[:, 0]
        return np.linspace(low, high, _POINTS)


def _read_given(given: Any, names: list[Any]) -> tuple[FloatArray, list[int]]:
    """Values of the known features, (m, G), with NaN where unknown, and the features' places among all."""
    if len(names) == 1:
        raise ValueError(
            "tree must have several features, got one, so that nothing else can be given; use predictive_density"
        )
    if given is None or isinstance(given, str | numbers.Number):
        raise TypeError(about("given", f"must be a mapping or a table with named columns, got {given!r}"))
    if isinstance(given, Mapping):
        columns = {name: read_numbers(value, f"given[{name!r}]") for name, value in given.items()}
        if any(each.ndim > 1 for each in columns.values()):
            raise ValueError(about("given", "must map names of features to numbers or arrays of shape (m,)"))
        lengths = {len(each) for each in columns.values() if each.ndim}
        if len(lengths) > 1:
            raise ValueError(about("given", f"must hold arrays of the same length, got {sorted(lengths)}"))
        found: list[Any] = list(columns)
        rows = np.array([np.broadcast_to(each, max(lengths, default=1)) for each in columns.values()]).T
    else:
        rows = read_numbers(given, "given")
        if rows.ndim != 2:
            raise ValueError(
                about("given", f"must be a mapping or a table with named columns, got {rows.ndim} dimension(s)")
            )
        found = list(column_names(given) or range(rows.shape[1]))
    unknown = [name for name in found if name not in names]
    if unknown or not 0 < len(found) < len(names) + 1 or len(set(found)) < len(found):
        rule = f"must name some of the features {', '.join(map(repr, names))}, each of them once"
        raise ValueError(about("given", f"{rule}, got {', '.join(map(repr, found)) or 'none'}"))
    if np.isinf(rows).any():
        raise ValueError(about("given", "must be finite, got an infinity; replace what is not known by NaN"))
    return rows, [names.index(name) for name in found]


def _read_of(of: Any, names: list[Any], known: list[int], most: int | None = None) -> list[int]:
    """Places of the features that are wanted."""
    others = [name for place, name in enumerate(names) if place not in known]
    wanted = others if of is None else list(of) if isinstance(of, list | tuple | np.ndarray) else [of]
    if not all(isinstance(each, Hashable) for each in wanted):
        raise TypeError(about("of", f"must name features, got {' '.join(repr(of).split())}"))
    if not wanted or len(set(wanted)) < len(wanted) or any(each not in others for each in wanted):
        if not others:
            rule = "must leave at least one feature to be predicted, got all of them"
            raise ValueError(about("given", f"{rule}; leave out the columns to be predicted"))
        rule = f"must name features that are not given ({', '.join(map(repr, others))}), each of them once"
        raise ValueError(about("of", f"{rule}, got {', '.join(map(repr, wanted)) or 'none'}"))
    if most is not None and len(wanted) > most:
        raise ValueError(about("of", f"must name one of the features that are not given: {', '.join(map(repr, wanted))}"))
    return [names.index(each) for each in wanted]
