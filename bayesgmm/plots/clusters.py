"""Pictures of cluster membership: responsibilities and co-clustering."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bayesgmm.analysis.clusters import membership, probably_noise, responsibilities
from bayesgmm.analysis.contract import called
from bayesgmm.analysis.densities import shares_given
from bayesgmm.analysis.labels import quality_of
from bayesgmm.analysis.partitions import coclustering, partition
from bayesgmm.analysis.predictive import read_feature
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import OBS, features_of
from bayesgmm.arguments import read_probability
from bayesgmm.data.noise import as_asked, as_in
from bayesgmm.data.observations import Observations
from bayesgmm.plots.backends import Backend, drawn_by, read_backend
from bayesgmm.plots.canvas import (
    NOISE,
    Mark,
    colour,
    draw_incomplete,
    draw_known_in_part,
    draw_strays,
    mark,
    name_marks,
    panels,
)
from bayesgmm.plots.names import name_axes, name_legend

_DRAWS = 2_000  # for the bands
_SMALLEST = 16  # area of a point if its cluster has probability one
_MOST = 1_000  # observations of a heat map


@np.errstate(under="ignore")
def plot_responsibilities(
    tree: Tree,
    features: tuple[Any, Any] | None = None,
    *,
    ax: Axes | None = None,
    interval: float = 0.9,
    backend: Backend = "matplotlib",
) -> Figure | Any:
    """Membership probabilities and how uncertain they are.

    One feature: the probability of each cluster for a new observation at x, with a band; ticks below mark the data. Several
    features: a scatter plot of two. Points have the colour of their most probable cluster. They are larger and darker if it
    is less certain. A point with a missing value is a tick at the axis of the known value. With up to 300 points, bars show
    one standard deviation of the errors, or intervals. If observations may be noise, there is a line for the probability of
    noise, and crosses mark observations that are more probably noise than not.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, relabelled.
    features : pair, optional
        The two features to draw, by name. Default: the first two.
    ax : Axes, optional
        Draw here instead of in a new figure.
    interval : float
        Probability of the pointwise bands.
    backend : {"matplotlib", "plotly"}
        Plotting library. Figures of plotly (the extra ``plotly``) show values under the pointer and can be zoomed.

    Returns
    -------
    Figure
        A figure of the chosen library.
    """
    backend = read_backend(backend, ax)
    reading = Reading.of(tree)
    tree, names, interval = reading.tree, features_of(reading.tree), read_probability(interval, "interval")
    pair = names[:2] if features is None else list(features)
    if len(pair) != min(len(names), 2):
        raise ValueError(f"features must name two features, or one if the data have only one, got {pair}")
    chosen = [read_feature(tree, name) for name in pair]
    figure, (ax,) = panels(ax, 1, (8, 4.5))
    if len(names) == 1:
        _along(ax, reading, interval)
        name_axes(ax, x=names[0])
        of = "" if not reading.observations.has_errors else " of a value without error"
        ax.set_ylabel(f"probability of the cluster{of}")
    else:
        (first, i), (second, j) = chosen
        _uncertainty(ax, reading, [i, j])
        name_axes(ax, x=first, y=second)
    if not reading.ask(quality_of).trusted:
        ax.set_title("the clusters cannot be told apart: see label_quality", fontsize="medium", color="#c8501e")
    name_legend(ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1)))
    name_marks(figure, tree)
    return drawn_by(backend, figure)


def _along(ax: Axes, reading: Reading, interval: float) -> None:
    x, draws = reading.x[:, 0], reading.draws.thinned(_DRAWS)
    margin = 0.05 * np.ptp(x)
    points = np.linspace(x.min() - margin, x.max() + margin, 400)
    rows, observed = Observations.made(points[:, None]), reading.observations
    if as_asked(observed) is not None:
        rows = as_in(observed, rows)
    r = np.array([rows.responsibilities(*parameters) for parameters in draws.each()])
    shares = np.broadcast_to(shares_given(draws, rows)[..., None], r.shape)
    tails = [(1 - interval) / 2, (1 + interval) / 2]
    lower, upper = np.quantile(r, tails, axis=0, weights=shares, method="inverted_cdf")
    mean = (shares * r).sum(axis=0)
    names = called(reading.tree)
    for j in range(draws.n_components):
        mark(Mark(j), ax.fill_between(points, lower[:, j], upper[:, j], color=colour(j), alpha=0.2, linewidth=0))
        mark(Mark(j), *ax.plot(points, mean[:, j], color=colour(j), linewidth=1.8, label=names[j]))
    if mean.shape[1] > draws.n_components:
        ax.plot(points, mean[:, -1], color=NOISE, linewidth=1.8, linestyle="--", label="noise")
    bounded, strays = observed.bounded[:, 0], reading.ask(probably_noise)
    exact = ~bounded & ~strays
    style: dict[str, Any] = {"color": "#555555", "markersize": 7, "label": f"data (n = {len(x)})"}
    mark(Mark(obs=reading.positions[exact]), *ax.plot(x[exact], np.full(exact.sum(), -0.04), "|", **style))
    draw_strays(ax, np.column_stack([x[strays & ~bounded], np.full((strays & ~bounded).sum(), -0.04)]))
    if bounded.any() and observed.known.lower is not None and observed.known.upper is not None:
        ends = np.unique(np.hstack([observed.known.lower, observed.known.upper])[bounded], axis=0)
        low, high = np.clip(ends, points[0], points[-1]).T
        ax.plot(ends, np.full(ends.shape, -0.04), "|", color="#999999", markersize=7)
        ax.hlines(
            np.full(len(ends), -0.06), low, high, color="#999999", linewidth=1.5, label="intervals in which values lie"
        )
    ax.set_ylim(-0.08, 1.04)
    ax.margins(x=0)


def _uncertainty(ax: Axes, reading: Reading, pair: list[int]) -> None:
    found, strays = responsibilities(reading), reading.ask(probably_noise)
    points, mean, either = reading.x[:, pair][~strays], found["mean"].values[~strays], membership(found).shape[1]
    draw_strays(ax, reading.x[:, pair][strays])
    best, doubt = mean.argmax(axis=1), 1 - mean.max(axis=1)
    largest = max(1 - 1 / either, 1e-12)
    doubts = doubt / largest
    colours = np.array([to_rgb(colour(j)) for j in range(mean.shape[1])])[best]
    shades = np.column_stack([colours, 0.5 + 0.5 * doubts])
    drawn = ax.scatter(points[:, 0], points[:, 1], s=_SMALLEST + 120 * doubts, color=shades, linewidth=0)
    whole = ~np.isnan(points).any(axis=1)
    mark(Mark(obs=reading.positions[~strays][whole], of_obs=best[whole]), drawn)
    draw_incomplete(ax, points, shades)
    if np.isnan(points).any():
        ax.plot([], [], "|", color="#555555", label="the other value is missing")
    for said in draw_known_in_part(ax, reading.observations, pair):
        ax.plot([], [], color="#999999", linewidth=0.5, label=said)
    for j, name in enumerate(called(reading.tree)):
        ax.scatter([], [], s=20, color=colour(j), label=name)
    other = "of another cluster, or noise" if either > mean.shape[1] else "of another cluster"
    for share in (0.1, 0.5):
        if share < largest:
            size = _SMALLEST + 120 * share / largest
            ax.scatter([], [], s=size, color="#555555", label=f"{share:.0%} probably {other}")


@np.errstate(under="ignore")
def plot_coclustering(
    tree: xr.DataTree, *, loss: Any = "vi", ax: Axes | None = None, backend: Backend = "matplotlib"
) -> Figure | Any:
    """Heat map of the probabilities that two observations belong to one cluster, ordered by the partition.

    Observations are sorted by their cluster in :func:`bayesgmm.partition`, and within a cluster by how surely they belong to
    it. Lines separate the clusters. Of more than 1 000 observations, 1 000 are drawn, in proportion to the clusters' sizes.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    loss : {"vi", "binder"}
        Loss function for the partition.
    ax : Axes, optional
        Draw here instead of in a new figure.
    backend : {"matplotlib", "plotly"}
        Plotting library. Figures of plotly (the extra ``plotly``) show values under the pointer and can be zoomed.

    Returns
    -------
    Figure
        A figure of the chosen library.
    """
    backend = read_backend(backend, ax)
    labels = partition(tree, loss).values
    order = np.argsort(labels, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(len(order), _MOST)).astype(int)]
    together, own = coclustering(tree.isel({OBS: chosen})).values, labels[chosen]
    belonging = (together * (own[:, None] == own)).sum(axis=1)
    inner = np.lexsort((-belonging, own))
    figure, (ax,) = panels(ax, 1, (6, 5))
    image = ax.imshow(together[np.ix_(inner, inner)], vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    for border in np.flatnonzero(np.diff(own[inner])) + 0.5:
        ax.axhline(border, color="#c8501e", linewidth=0.8)
        ax.axvline(border, color="#c8501e", linewidth=0.8)
    noise = f", {(labels < 0).sum()} of them noise" if (labels < 0).any() else ""
    ax.set(xlabel="observations, by cluster", ylabel="observations, by cluster", xticks=[], yticks=[])
    ax.set_title(f"partition of {len(labels)} observations into {labels.max() + 1}{noise}", fontsize="medium")
    figure.colorbar(image, ax=ax, label="probability of one cluster")
    return drawn_by(backend, figure)
