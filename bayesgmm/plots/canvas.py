"""What the pictures have in common: colours, axes, the data's histogram, bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POSTERIOR, EM, DATA = "#1f4e79", "#c8501e", "#c9ced6"
_CLUSTERS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#7f6000", "#8c564b", "#6a3d9a", "#333333")  # clusters in pairs


def canvas(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """The axes given and their figure, or new ones."""
    if ax is not None:
        return ax.figure, ax  # type: ignore[return-value]
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def histogram(ax: Axes, x: np.ndarray, bins: Any = "auto") -> None:
    """The data, as a density."""
    if isinstance(bins, str):
        bins = np.histogram_bin_edges(x, bins=bins)
        if len(bins) > 201:
            bins = 200
    ax.hist(x, bins=bins, density=True, color=DATA, edgecolor="white", linewidth=0.5, label=f"data (n = {len(x)})")


def grid_for(x: np.ndarray, means: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Even points over the data's range and a margin, and closer ones where components are narrow."""
    margin = 0.1 * np.ptp(x)
    low, high = x.min() - margin, x.max() + margin
    near = [np.linspace(m - 4 * s, m + 4 * s, 80) for m, s in zip(means, sigma, strict=True)]
    points = np.unique(np.concatenate([np.linspace(low, high, 500), *near]))
    return points[(points >= low) & (points <= high)]


def colour(j: int) -> str:
    """The colour of a cluster."""
    return _CLUSTERS[j % len(_CLUSTERS)]
