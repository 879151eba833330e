"""Common parts of the pictures: colours, axes, histograms, and marks on artists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWNBASE, CARETLEFTBASE, CARETRIGHTBASE, CARETUPBASE
from numpy.typing import NDArray

from bayesgmm.analysis.contract import cluster_names
from bayesgmm.analysis.predictive import read_feature
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import features_of
from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Observations

POSTERIOR, EM, DATA = "#1f4e79", "#c8501e", "#c9ced6"
CLUSTERS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#7f6000", "#8c564b", "#6a3d9a", "#333333")
_MOST_FEATURES, ACROSS = 6, 3  # panels, and panels in a row
_FEWEST = 10  # observations that a cluster needs to influence the width of bins
_MOST_BINS, _FINEST, _MANY_BARS = 200, 800, 150
NOISE, OF_NOISE = "#555555", "more probably noise than not"
MOST_ERRORS = 300  # observations up to which errors or intervals have bars
WITHOUT_ERRORS = "densities: of values without errors"


_MARK = "_bayesgmm_mark"


class Mark(NamedTuple):
    """What an artist shows: a cluster, or observations (positions and most probable clusters); the clusters' names."""

    cluster: int | None = None
    obs: NDArray[np.int64] | None = None
    of_obs: NDArray[np.int64] | None = None
    names: Sequence[str] = ()


def mark(shown: Mark, *artists: Artist) -> None:
    """Mark artists with what they show, so that a page can highlight a cluster or an observation."""
    for each in artists:
        setattr(each, _MARK, shown)


def name_marks(figure: Figure, tree: xr.DataTree) -> None:
    """Add the names that the user gave to the clusters to the marks of a figure."""
    names = cluster_names(tree)
    if names is not None:
        for artist, told in marks(figure):
            mark(told._replace(names=names), artist)


def marks(figure: Figure) -> list[tuple[Artist, Mark]]:
    """The marked artists of a figure, with their marks."""
    return [(each, told) for each in figure.findobj() if (told := mark_of(each)) is not None]


def mark_of(artist: Artist) -> Mark | None:
    """The mark of an artist, or None."""
    return getattr(artist, _MARK, None)


def chosen_features(tree: xr.DataTree, wanted: Any, argument: str, *, ax: Axes | None = None) -> list[tuple[str, int]]:
    """Names and indices of the features to draw: those named, or the first six."""
    names = features_of(tree)
    given = names[:_MOST_FEATURES] if wanted is None else list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    chosen = [read_feature(tree, each) for each in given]
    if not chosen or (ax is not None and len(chosen) > 1):
        raise ValueError(f"{argument} must name one feature where ax is given, and at least one elsewhere, got {given}")
    return chosen


def panel_grid(down: int, across: int, size: tuple[float, float], **shared: Any) -> tuple[Figure, np.ndarray]:
    """A new figure with panels (down, across), without spines at the top and on the right."""
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained", **shared)
    for each in axes.ravel():
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def panels(ax: Axes | None, n: int, size: tuple[float, float] | None = None, **shared: Any) -> tuple[Figure, list[Axes]]:
    """The given axes, or the axes of a new figure with a panel for each feature."""
    if ax is not None:
        return ax.figure, [ax]  # type: ignore[return-value]
    across = min(n, ACROSS)
    down = -(-n // across)
    size = size or ((8, 4.5) if n == 1 else (4.5 * across, 3.6 * down))
    figure, axes = panel_grid(down, across, size, **shared)
    for each in axes.ravel()[n:]:
        each.set_axis_off()
    return figure, list(axes.ravel()[:n])


def legend(figure: Figure, axes: list[Axes]) -> None:
    """Add a legend: beside a single panel, or below several panels."""
    if len(axes) == 1:
        axes[0].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
        return
    handles, labels = axes[0].get_legend_handles_labels()
    columns = min(len(labels), 2 * ACROSS - 1)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize="small")


def known(column: FloatArray) -> FloatArray:
    """The values of a feature that are not missing."""
    return column[~np.isnan(column)]


def draw_incomplete(ax: Axes, points: FloatArray, colours: FloatArray) -> None:
    """Draw points (n, 2) with one missing value as ticks, at the axis of the known value."""
    gaps = np.isnan(points)
    style: dict[str, Any] = {"s": 60, "linewidth": 0.8, "clip_on": False}
    for place, marker, transform in ((0, "|", ax.get_xaxis_transform()), (1, "_", ax.get_yaxis_transform())):
        rows = ~gaps[:, place] & gaps[:, 1 - place]
        if rows.any():
            at = np.where(gaps[rows], 0.0, points[rows])
            ax.scatter(at[:, 0], at[:, 1], marker=marker, color=colours[rows], transform=transform, **style)


def draw_known_in_part(ax: Axes, rows: Observations, pair: list[int]) -> list[str]:
    """Draw bars for errors or intervals of two features, if observations are few. Returns words for the legend."""
    points, sd = rows.x[:, pair], rows.error_sd
    if len(rows) > MOST_ERRORS:
        return []
    style: dict[str, Any] = {"fmt": "none", "ecolor": "#999999", "elinewidth": 0.5, "alpha": 0.5, "zorder": 0}
    if sd is not None and rows.has_errors:
        ax.errorbar(points[:, 0], points[:, 1], yerr=sd[:, pair[1]], xerr=sd[:, pair[0]], **style)
        return ["bars: one standard deviation of the error"]
    if rows.known.lower is None or rows.known.upper is None or not rows.bounded[:, pair].any():
        return []
    lower, upper, said = rows.known.lower[:, pair], rows.known.upper[:, pair], []
    shut = rows.bounded[:, pair] & np.isfinite(lower) & np.isfinite(upper)
    if shut.any():
        x, y = np.where(shut, [points - lower, upper - points], 0.0).transpose(2, 0, 1)
        ax.errorbar(points[:, 0], points[:, 1], xerr=x, yerr=y, **style)
        said.append("bars: the intervals in which values lie")
    arrows: Any = ((lower, (CARETLEFTBASE, CARETDOWNBASE)), (upper, (CARETRIGHTBASE, CARETUPBASE)))
    for end, markers in arrows:
        for place, marker in enumerate(markers):
            beyond = points[np.isinf(end[:, place]) & ~np.isnan(points).any(axis=1)]
            ax.scatter(beyond[:, 0], beyond[:, 1], marker=marker, s=60, color="#999999", linewidth=0, zorder=0)
    return [*said, "arrows: intervals that are open in that direction"] if (rows.bounded[:, pair] & ~shut).any() else said


class Clusters(NamedTuple):
    """Numbers of observations and standard deviations of the clusters, in one feature."""

    sizes: FloatArray
    sigma: FloatArray


def clusters_of_em(reading: Reading) -> list[Clusters]:
    """Expected sizes and standard deviations of EM's clusters, for each feature."""
    em, _ = reading.em
    sizes = reading.observations.total * em.parameters[0][: em.n_components]
    return [Clusters(sizes, sigma) for sigma in em.sd.T]


def histogram(
    ax: Axes, rows: Observations, place: int, bins: Any = "auto", clusters: Clusters | None = None, **options: Any
) -> None:
    """Draw a histogram of a feature, as a density unless ``options`` say otherwise. Automatic bins resolve each cluster.

    If values are known as intervals, the ends of these are the edges of bins, or each interval is spread evenly over the
    bins that it overlaps.
    """
    seen = rows.of_feature(place)
    x, weight = seen.x[:, 0], seen.known.weight
    counted = "" if rows.known.weight is None else f", counting as {rows.known.weight.sum():.7g}"
    plain: dict[str, Any] = {
        "density": True,
        "color": DATA,
        "edgecolor": "white",
        "linewidth": 0.5,
        "label": f"data (n = {len(rows)}{counted})",
    }
    options = plain | options
    absent = _absent(rows, seen)
    if absent:
        ax.text(1, 1, absent, transform=ax.transAxes, ha="right", va="top", fontsize="small")
    if seen.bounded.any():
        _bars_of_intervals(ax, seen, bins, clusters, options)
        return
    if isinstance(bins, str) and bins == "auto":
        lefts, width = bars(x, clusters, weight)
        heights = np.array([count for _, count in lefts], dtype=float)
        if options.pop("density"):
            heights /= heights.sum() * width
        if np.ptp(x) > _MANY_BARS * width:  # borders would hide the bars
            options["edgecolor"] = "none"
        label = options.pop("label")
        ax.bar([left for left, _ in lefts], heights, width, align="edge", **options)[0].set_label(label)
        return
    if isinstance(bins, str):
        edges = np.histogram_bin_edges(x, bins=bins)
        bins = edges if len(edges) <= _MOST_BINS + 1 else _MOST_BINS
    ax.hist(x, bins=bins, weights=weight, **options)


def _absent(rows: Observations, seen: Observations) -> str:
    """Words about observations that a histogram of one feature cannot show."""
    missing, said = len(rows) - len(seen), []
    if missing:
        said.append(f"{missing} missing")
    for end, where in ((seen.known.lower, "a lower limit"), (seen.known.upper, "an upper limit")):
        open_there = 0.0 if end is None else seen.counts[np.isinf(end[:, 0])].sum()
        if open_there:
            said.append(f"{open_there:.7g} without {where}")
    return ", ".join(said)


def _bars_of_intervals(ax: Axes, seen: Observations, bins: Any, clusters: Clusters | None, options: dict[str, Any]) -> None:
    """Draw the histogram of a feature with intervals. Open intervals count for the density, but are not drawn."""
    assert seen.known.lower is not None
    assert seen.known.upper is not None
    x, lower, upper, counts = seen.x[:, 0], seen.known.lower[:, 0], seen.known.upper[:, 0], seen.counts
    shut = np.isfinite(lower) & np.isfinite(upper)
    edges = np.unique(np.concatenate([lower[np.isfinite(lower)], upper[np.isfinite(upper)]]))
    if not isinstance(bins, str):
        edges = np.histogram_bin_edges(x, bins=bins)
    elif (lower == upper).any() or len(edges) > _MOST_BINS:
        lefts, width = bars(x, clusters, counts)
        edges = np.append([left for left, _ in lefts], lefts[-1][0] + width)
    width = np.maximum(upper - lower, 1e-9 * (edges[-1] - edges[0]))[shut]
    begin = np.minimum(lower[shut], edges[-1] - width)  # an exact value at the last edge is in the last bin
    cumulated = [counts[shut] @ np.clip((edge - begin) / width, 0.0, 1.0) for edge in edges]
    heights = np.diff(cumulated)
    if options.pop("density"):
        heights = heights / (counts.sum() * np.diff(edges))
    label = options.pop("label")
    ax.bar(edges[:-1], heights, np.diff(edges), align="edge", **options)[0].set_label(label)


def bars(
    x: np.ndarray, clusters: Clusters | None = None, weight: FloatArray | None = None
) -> tuple[list[tuple[float, float]], float]:
    """Left ends and counts of the nonempty bins of a histogram, and the common width of the bins.

    The width is the smallest that the rules of Sturges, of Freedman and Diaconis, and of Scott give. Scott's rule is applied
    within each cluster of at least ten observations. For rounded data the width is a multiple of the rounding step.
    """
    reach = float(np.ptp(x))
    width = reach / (np.log2(len(x)) + 1)
    spread = float(np.subtract(*np.quantile(x, [0.75, 0.25])))
    widths = [width] if spread == 0 else [width, 2 * spread / np.cbrt(len(x))]
    if clusters is not None:
        known = (clusters.sizes >= _FEWEST) & (clusters.sigma > 0)
        widths += (3.49 * clusters.sigma[known] / np.cbrt(clusters.sizes[known])).tolist()
    width = max(min(widths), reach / _FINEST)
    begin, distinct = float(x.min()), np.unique(x)
    step = float(np.diff(distinct).min()) if len(distinct) < len(x) / 2 else 0.0
    if step > reach / _FINEST:
        width = step * max(1, round(width / step))
        begin -= step / 2
    else:
        width = reach / np.ceil(reach / width)
    last = np.ceil((x.max() - begin) / width) - 1
    places, inverse = np.unique(np.minimum(np.floor((x - begin) / width), last), return_inverse=True)
    counts = np.bincount(inverse, weight)
    return [(begin + place * width, count.item()) for place, count in zip(places, counts, strict=True)], width


def draw_strays(ax: Axes, points: FloatArray, **where: Any) -> None:
    """Draw crosses at points (n, 2) that are more probably noise than not."""
    if len(points):
        ax.plot(*points.T, "x", color=NOISE, markersize=4.5, markeredgewidth=0.9, label=OF_NOISE, **where)
        draw_incomplete(ax, points, np.tile(to_rgb(NOISE), (len(points), 1)))


def grid_for(x: np.ndarray, means: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Even points over the data's range and a margin, and closer points around the components."""
    margin = 0.1 * np.ptp(x)
    low, high = x.min() - margin, x.max() + margin
    near = [np.linspace(m - 4 * s, m + 4 * s, 80) for m, s in zip(means, sigma, strict=True)]
    points = np.unique(np.concatenate([np.linspace(low, high, 500), *near]))
    return points[(points >= low) & (points <= high)]


def colour(j: int) -> str:
    """The colour of a cluster."""
    return CLUSTERS[j % len(CLUSTERS)]
