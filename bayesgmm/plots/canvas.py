"""What the pictures have in common: colours, axes, the data's histogram, bands."""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesgmm.analysis.predictive import read_feature
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import features_of
from bayesgmm.arguments import FloatArray

POSTERIOR, EM, DATA = "#1f4e79", "#c8501e", "#c9ced6"
CLUSTERS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#7f6000", "#8c564b", "#6a3d9a", "#333333")  # clusters in pairs
_MOST_FEATURES, ACROSS = 6, 3  # panels, and how many of them side by side
_FEWEST = 10  # observations of a cluster that has bins of its own
_MOST_BINS, _FINEST, _MANY_BARS = 200, 800, 150
MOST_ERRORS = 300  # observations with bars for their errors
WITHOUT_ERRORS = "densities: of values without errors"
ERROR_BARS = "bars: one standard deviation of the error"


def chosen_features(tree: xr.DataTree, wanted: Any, argument: str, *, ax: Axes | None = None) -> list[tuple[str, int]]:
    """Names and places of the features that are drawn: one or several named ones, else the first six."""
    names = features_of(tree)
    given = names[:_MOST_FEATURES] if wanted is None else list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    chosen = [read_feature(tree, each) for each in given]
    if not chosen or (ax is not None and len(chosen) > 1):
        raise ValueError(f"{argument} must name one feature where ax is given, and at least one elsewhere, got {given}")
    return chosen


def panel_grid(down: int, across: int, size: tuple[float, float], **shared: Any) -> tuple[Figure, np.ndarray]:
    """A new figure with panels (down, across), whose frames are open at the top and on the right."""
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained", **shared)
    for each in axes.ravel():
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def panels(ax: Axes | None, n: int, size: tuple[float, float] | None = None, **shared: Any) -> tuple[Figure, list[Axes]]:
    """The axes given, or those of a new figure, a panel for each feature."""
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
    """What lines mean: in a single panel, of several beneath them."""
    if len(axes) == 1:
        axes[0].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
        return
    handles, labels = axes[0].get_legend_handles_labels()
    columns = min(len(labels), 2 * ACROSS - 1)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize="small")


def known(column: FloatArray) -> FloatArray:
    """The values of a feature that are known."""
    return column[~np.isnan(column)]


def draw_incomplete(ax: Axes, points: FloatArray, colours: FloatArray) -> None:
    """Points (n, 2) of which one value is missing, as ticks at the margin where the other one is."""
    gaps = np.isnan(points)
    style: dict[str, Any] = {"s": 60, "linewidth": 0.8, "clip_on": False}
    for place, marker, transform in ((0, "|", ax.get_xaxis_transform()), (1, "_", ax.get_yaxis_transform())):
        rows = ~gaps[:, place] & gaps[:, 1 - place]
        if rows.any():
            at = np.where(gaps[rows], 0.0, points[rows])
            ax.scatter(at[:, 0], at[:, 1], marker=marker, color=colours[rows], transform=transform, **style)


def draw_errors(ax: Axes, points: FloatArray, sd: FloatArray | None) -> bool:
    """Bars of one standard deviation of the errors of points (n, 2), where these are few; whether they have been drawn."""
    if sd is None or len(points) > MOST_ERRORS:
        return False
    style: dict[str, Any] = {"fmt": "none", "ecolor": "#999999", "elinewidth": 0.5, "alpha": 0.5, "zorder": 0}
    ax.errorbar(points[:, 0], points[:, 1], yerr=sd[:, 1], xerr=sd[:, 0], **style)
    return True


class Clusters(NamedTuple):
    """What is known of the clusters in a feature: how many observations each holds, and its standard deviation."""

    sizes: FloatArray
    sigma: FloatArray


def clusters_of_em(reading: Reading) -> list[Clusters]:
    """Expected sizes and standard deviations of EM's clusters, for each feature."""
    em, _ = reading.em
    sizes = reading.observations.total * em.weights
    return [Clusters(sizes, sigma) for sigma in em.sd.T]


def histogram(
    ax: Axes,
    x: np.ndarray,
    bins: Any = "auto",
    clusters: Clusters | None = None,
    weight: FloatArray | None = None,
    **options: Any,
) -> None:
    """What is known of a feature, as a density unless ``options`` say otherwise; automatic bins heed every cluster."""
    counted = "" if weight is None else f", counting as {weight.sum():.7g}"
    plain: dict[str, Any] = {
        "density": True,
        "color": DATA,
        "edgecolor": "white",
        "linewidth": 0.5,
        "label": f"data (n = {len(x)}{counted})",
    }
    missing = np.isnan(x)
    if missing.any():
        ax.text(1, 1, f"{missing.sum()} missing", transform=ax.transAxes, ha="right", va="top", fontsize="small")
        x, weight = x[~missing], None if weight is None else weight[~missing]
    options = plain | options
    if isinstance(bins, str) and bins == "auto":
        lefts, width = bars(x, clusters, weight)
        heights = np.array([count for _, count in lefts], dtype=float)
        if options.pop("density"):
            heights /= heights.sum() * width
        if np.ptp(x) > _MANY_BARS * width:  # borders would be all that is seen
            options["edgecolor"] = "none"
        label = options.pop("label")
        ax.bar([left for left, _ in lefts], heights, width, align="edge", **options)[0].set_label(label)
        return
    if isinstance(bins, str):
        edges = np.histogram_bin_edges(x, bins=bins)
        bins = edges if len(edges) <= _MOST_BINS + 1 else _MOST_BINS
    ax.hist(x, bins=bins, weights=weight, **options)


def bars(
    x: np.ndarray, clusters: Clusters | None = None, weight: FloatArray | None = None
) -> tuple[list[tuple[float, float]], float]:
    """The left ends of even bins that hold observations, with their numbers, and their width.

    The width is the smaller of Sturges' and Freedman and Diaconis', or what Scott's rule gives within the narrowest cluster
    that holds ten observations, whichever is less. Rounded data get bins of whole steps.
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


def grid_for(x: np.ndarray, means: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Even points over the data's range and a margin, and closer ones where components are narrow."""
    margin = 0.1 * np.ptp(x)
    low, high = x.min() - margin, x.max() + margin
    near = [np.linspace(m - 4 * s, m + 4 * s, 80) for m, s in zip(means, sigma, strict=True)]
    points = np.unique(np.concatenate([np.linspace(low, high, 500), *near]))
    return points[(points >= low) & (points <= high)]


def colour(j: int) -> str:
    """The colour of a cluster."""
    return CLUSTERS[j % len(CLUSTERS)]
