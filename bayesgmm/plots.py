"""Pictures. Every function takes an axis or makes a figure, and returns the figure; traces are ``az.plot_trace``'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm.em import EMResult
from bayesgmm.predictive import log_density, predictive_density
from bayesgmm.tree import Draws, read_draws, read_em, read_observations
from bayesgmm.validation import read_data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POSTERIOR, _EM, _DATA = "#1f4e79", "#c8501e", "#c9ced6"


def plot_fit(
    tree: xr.DataTree, *, ax: Axes | None = None, grid: ArrayLike | None = None, bins: Any = "auto", interval: float = 0.9
) -> Figure:
    """Histogram of the data, posterior mean density with its band, its clusters, and the EM density.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    ax : Axes, optional
        Draw here instead of in a new figure.
    grid : (G,) array-like, optional
        Points at which the densities are drawn, in the data's units.
    bins : optional
        Of the histogram, as in ``numpy.histogram``.
    interval : float
        Probability of the pointwise band.

    Returns
    -------
    Figure
    """
    x, draws = read_observations(tree), read_draws(tree)
    em, _ = read_em(tree)
    figure, ax = _canvas(ax, (8, 4.5))
    points = _grid(x, em.means, em.sigma) if grid is None else np.sort(read_data(grid, name="grid").values)
    density = predictive_density(tree, points, interval=interval)
    if isinstance(bins, str):
        bins = np.histogram_bin_edges(x, bins=bins)
        if len(bins) > 201:
            bins = 200
    ax.hist(x, bins=bins, density=True, color=_DATA, edgecolor="white", linewidth=0.5, label=f"data (n = {len(x)})")
    ax.fill_between(
        points,
        density.sel(statistic="lower"),
        density.sel(statistic="upper"),
        color=_POSTERIOR,
        alpha=0.25,
        linewidth=0,
        label=f"{interval:.0%} band",
    )
    few = draws.thinned(500)
    for j in range(draws.n_components if draws.n_components > 1 else 0):
        w, mu, sigma = few.w[:, [j]], few.mu[:, [j]], few.sigma[:, [j]]
        cluster = np.exp(log_density(Draws(w, mu, sigma, 1, few.n_draws), points)).mean(axis=0)
        ax.plot(points, cluster, color=_POSTERIOR, linewidth=1, linestyle=":", label="its clusters" if j == 0 else None)
    ax.plot(points, density.sel(statistic="mean"), color=_POSTERIOR, linewidth=2, label="posterior mean density")
    ax.plot(points, np.exp(em.log_density(points)), color=_EM, linewidth=1.5, linestyle="--", label="EM")
    ax.set(xlabel="x", ylabel="density", ylim=(0, None))
    ax.margins(x=0)
    ax.legend(frameon=False, fontsize="small")
    return figure


def plot_em_history(em: EMResult, *, ax: Axes | None = None) -> Figure:
    """Log-likelihood of the best EM run over its iterations, and where the other restarts ended.

    The vertical axis shows how far the log-likelihood is below the best, on a logarithmic scale; 1e-8 and less is
    drawn as 1e-8.

    Parameters
    ----------
    em : EMResult
        From :func:`bayesgmm.fit_em`.
    ax : Axes, optional
        Draw here instead of in a new figure.

    Returns
    -------
    Figure
    """
    figure, ax = _canvas(ax, (7, 4))
    floor = 1e-8
    gaps = np.maximum(em.log_likelihood - em.history[:-1], floor)
    ax.plot(np.arange(1, len(gaps) + 1), gaps, color=_EM, linewidth=2, label="best run")
    others = em.restarts[1:]
    for ended, marker, name in ((False, "o", "end of another restart"), (True, "x", "the same, collapsed")):
        chosen = [each for each in others if each.collapsed is ended]
        if chosen:
            ends = [max(abs(em.log_likelihood - each.log_likelihood), floor) for each in chosen]
            ax.scatter([each.n_iter for each in chosen], ends, color="#555555", marker=marker, s=22, zorder=3, label=name)
    ax.set(xscale="log", yscale="log", xlabel="EM iteration", ylabel="log-likelihood below the best")
    ax.set_title(f"k = {em.mixture.n_components}, log-likelihood {em.log_likelihood:.3f}", fontsize="medium")
    ax.legend(frameon=False, fontsize="small")
    return figure


def _canvas(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    if ax is not None:
        return ax.figure, ax  # type: ignore[return-value]
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def _grid(x: np.ndarray, means: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Even points over the data's range and a margin, and closer ones where components are narrow."""
    margin = 0.1 * np.ptp(x)
    low, high = x.min() - margin, x.max() + margin
    near = [np.linspace(m - 4 * s, m + 4 * s, 80) for m, s in zip(means, sigma, strict=True)]
    points = np.unique(np.concatenate([np.linspace(low, high, 500), *near]))
    return points[(points >= low) & (points <= high)]
