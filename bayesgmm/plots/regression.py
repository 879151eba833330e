"""Pictures of a feature given others: the regression curve, and the density at given values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bayesgmm.analysis.conditionals import conditional, predict
from bayesgmm.analysis.predictive import read_feature, read_grid
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import features_of
from bayesgmm.arguments import FloatArray, read_probability
from bayesgmm.data.tables import read_numbers
from bayesgmm.model.mixture import Mixture
from bayesgmm.plots.backends import Backend, drawn_by, read_backend
from bayesgmm.plots.canvas import EM, POSTERIOR, Mark, draw_incomplete, draw_known_in_part, known, legend, mark, panels
from bayesgmm.plots.names import name_axes, name_title

_POINTS = 200  # of a curve
_MOST_SHOWN = 3_000  # observations
_GREY = "#777777"


@np.errstate(under="ignore")
def plot_regression(
    tree: Tree,
    of: Any = None,
    along: Any = None,
    *,
    given: Mapping[Any, float] | None = None,
    ax: Axes | None = None,
    grid: ArrayLike | None = None,
    interval: float = 0.9,
    backend: Backend = "matplotlib",
) -> Figure | Any:
    """A feature against another: the data, the regression curve with its band, and where new observations lie.

    The curve is the mean of ``of`` given ``along``, by :func:`bayesgmm.predict`. The dark band is the credible interval of
    the curve, the pale band the predictive interval of single observations. EM's curve is dashed. All other features are
    unknown, unless ``given`` has a value for them. The points are the data, whatever is given; with more than 3 000 a random
    sample of that size is drawn.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, of two features or more.
    of : optional
        Name of the feature that is predicted. Default: the last.
    along : optional
        Name of the feature on the horizontal axis. Default: the first that is not ``of``.
    given : mapping, optional
        Values of other features, by name.
    ax : Axes, optional
        Draw here instead of in a new figure.
    grid : (G,) array-like, optional
        Points at which the curve is drawn. Default: 200 points over the range of the data.
    interval : float
        Probability of the two bands.
    backend : {"matplotlib", "plotly"}
        Plotting library. Figures of plotly (the extra ``plotly``) show values under the pointer and can be zoomed.

    Returns
    -------
    Figure
        A figure of the chosen library.
    """
    backend = read_backend(backend, ax)
    reading = Reading.of(tree)
    names, others = features_of(reading.tree), {} if given is None else _single_values(given)
    if len(names) == 1:
        raise ValueError("tree must have several features for a regression, got one; use plot_fit")
    y, to = read_feature(reading.tree, names[-1] if of is None else of, "of")
    x, place = read_feature(reading.tree, names[int(to == 0)] if along is None else along, "along")
    if to == place or {names[to], names[place]} & set(others):
        rule = "of, along and given must name different features"
        raise ValueError(f"{rule}, got of={names[to]!r}, along={names[place]!r}, given for {list(others)}")
    tail = (1 - read_probability(interval, "interval")) / 2
    shown = np.random.default_rng(0).permutation(len(reading.x))[:_MOST_SHOWN]
    rows = reading.observations.of(shown)
    points = np.linspace(*_ends(known(reading.x[:, place])), _POINTS) if grid is None else np.sort(read_grid(grid))
    found = predict(reading.tree, {**others, names[place]: points}, [names[to]], probabilities=[tail, 1 - tail])
    figure, (ax,) = panels(ax, 1)
    pair = rows.x[:, [place, to]]
    drawn = ax.scatter(
        pair[:, 0], pair[:, 1], s=10, color=_GREY, alpha=0.5, linewidth=0, label=f"data (n = {len(reading.x)})"
    )
    mark(Mark(obs=reading.positions[shown][~np.isnan(pair).any(axis=1)]), drawn)
    draw_incomplete(ax, pair, np.tile((0.5, 0.5, 0.5), (len(pair), 1)))
    for said in draw_known_in_part(ax, rows, [place, to]):
        ax.plot([], [], " ", label=said)
    for name, alpha, label in (("quantile", 0.15, "of observations"), ("quantile_of_mean", 0.4, "of the mean")):
        ends = found[name].values[:, :, 0]
        ax.fill_between(points, *ends, color=POSTERIOR, alpha=alpha, linewidth=0, label=f"{interval:.0%} band {label}")
    ax.plot(points, found["mean"].values[:, 0], color=POSTERIOR, linewidth=2, label="posterior mean")
    em = [_of_em(reading, {**others, names[place]: value}, to) for value in points.tolist()]
    of_em = [each.weights @ each.means for each in em]
    ax.plot(points, of_em, color=EM, linewidth=1.5, linestyle="--", label="EM")
    name_axes(ax, x=x, y=y)
    ax.margins(x=0)
    legend(figure, [ax])
    return drawn_by(backend, figure)


@np.errstate(under="ignore")
def plot_conditional(
    tree: Tree,
    given: Mapping[Any, float],
    *,
    of: Any = None,
    ax: Axes | None = None,
    grid: ArrayLike | None = None,
    interval: float = 0.9,
    backend: Backend = "matplotlib",
) -> Figure | Any:
    """The density of a feature, given values of others: its posterior mean with a band, and EM's.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, of two features or more.
    given : mapping
        Values of the known features, by name, as in ``{"waiting": 80}``.
    of : optional
        Name of the feature whose density is drawn. Default: the only one that is not given.
    ax : Axes, optional
        Draw here instead of in a new figure.
    grid : (G,) array-like, optional
        Points at which the densities are drawn, in the units of the feature.
    interval : float
        Probability of the pointwise band.
    backend : {"matplotlib", "plotly"}
        Plotting library. Figures of plotly (the extra ``plotly``) show values under the pointer and can be zoomed.

    Returns
    -------
    Figure
        A figure of the chosen library.
    """
    backend = read_backend(backend, ax)
    reading = Reading.of(tree)
    given = _single_values(given)
    density = conditional(reading.tree, given, None if grid is None else np.sort(read_grid(grid)), of=of, interval=interval)
    names, points = features_of(reading.tree), density["grid"].values
    (target,) = [place for place, name in enumerate(names) if name == density.attrs["of"]]
    mean, lower, upper = density.values
    figure, (ax,) = panels(ax, 1)
    ax.fill_between(points, lower, upper, color=POSTERIOR, alpha=0.25, linewidth=0, label=f"{interval:.0%} band")
    ax.plot(points, mean, color=POSTERIOR, linewidth=2, label="posterior mean density")
    of_em = np.exp(_of_em(reading, given, target).log_density(points))
    ax.plot(points, of_em, color=EM, linewidth=1.5, linestyle="--", label="EM")
    name_axes(ax, x=names[target])
    name_title(ax, ", ".join(f"{name} = {value:g}" for name, value in given.items()), before="given ")
    ax.set(ylabel="density", ylim=(0, None))
    ax.margins(x=0)
    legend(figure, [ax])
    return drawn_by(backend, figure)


def _single_values(given: Any) -> dict[Any, float]:
    """Names of features and a finite value of each."""
    if not isinstance(given, Mapping):
        raise TypeError(f"given must map names of features to values, got {type(given).__name__}")
    values = {name: read_numbers(value, f"given[{name!r}]") for name, value in given.items()}
    if any(each.size != 1 or not np.isfinite(each).all() for each in values.values()):
        raise ValueError(f"given must hold one finite value for each feature, got {dict(given)}")
    return {name: each.item() for name, each in values.items()}


def _of_em(reading: Reading, given: Mapping[Any, float], target: int) -> Mixture:
    """EM's distribution of a feature given others."""
    names = features_of(reading.tree)
    places = [names.index(name) for name in given]
    return reading.em[0].marginal([*places, target]).conditional(dict(enumerate(given.values())))


def _ends(x: FloatArray) -> tuple[float, float]:
    """The data's range with a margin."""
    margin = 0.05 * np.ptp(x)
    return float(x.min() - margin), float(x.max() + margin)
