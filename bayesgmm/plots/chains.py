"""What the chains did: labels before and after relabelling, and the solutions in which chains sit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from bayesgmm.labels import raw_order
from bayesgmm.modes import Solutions, solutions
from bayesgmm.plots.canvas import canvas, colour, grid_for, histogram
from bayesgmm.predictive import log_density, read_feature
from bayesgmm.tree import Draws, features_of, is_relabelled, read_draws, read_observations
from bayesgmm.validation import read_probability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_POINTS = 4_000  # of a trace


@np.errstate(under="ignore")
def plot_relabelling(tree: xr.DataTree, feature: Any = None) -> Figure:
    """Traces of the clusters' means side by side: as the sampler labelled them, and as they stand in the tree.

    Chains follow one another, set apart by lines; of long ones every so manieth draw is drawn.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    feature : optional
        Which of several features, by its name.

    Returns
    -------
    Figure
    """
    name, place = read_feature(tree, feature)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    titles = ("as sampled", "relabelled" if is_relabelled(tree) else "in the tree, which has not been relabelled")
    for ax, each, title in zip(axes, (raw_order(tree), tree), titles, strict=True):
        draws = read_draws(each).marginal(place)
        step = max(1, len(draws.mu) // _MOST_POINTS)
        at = np.arange(0, len(draws.mu), step)
        j = np.tile(np.arange(draws.n_components), (len(at), 1))
        mixed = np.random.default_rng(0).permutation(j.size)  # so that no cluster hides the others
        colours = np.array([colour(each) for each in range(draws.n_components)])[j].ravel()
        ax.scatter(
            np.broadcast_to(at[:, None], j.shape).ravel()[mixed], draws.mu[at].ravel()[mixed], s=1.5, c=colours[mixed]
        )
        for chain in range(1, draws.n_chains):
            ax.axvline(chain * draws.n_draws, color="#555555", linewidth=0.8)
        ax.set(title=title, xlabel=f"draw of {draws.n_chains} chains, one after another")
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0)
    axes[0].set_ylabel(f"mean of {name}")
    for cluster in range(read_draws(tree).n_components):
        axes[1].scatter([], [], s=20, color=colour(cluster), label=f"cluster {cluster}")
    axes[1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


@np.errstate(under="ignore")
def plot_solutions(
    tree: xr.DataTree, features: Sequence[Any] | None = None, *, interval: float = 0.9, ax: Axes | None = None
) -> Figure:
    """The density of each solution in which chains sit (:func:`bayesgmm.solutions`), with its band, over the data.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    features : sequence, optional
        Which of several features, by name; default: the first six, a panel each.
    interval : float
        Probability of the pointwise bands.
    ax : Axes, optional
        Draw a single feature here instead of in a new figure.

    Returns
    -------
    Figure
    """
    names = features_of(tree)
    wanted = names[:6] if features is None else list(features) if isinstance(features, list | tuple) else [features]
    chosen = [read_feature(tree, feature) for feature in wanted]
    if not chosen or (ax is not None and len(chosen) > 1):
        raise ValueError(f"features must name one feature where ax is given, and at least one elsewhere, got {wanted}")
    interval = read_probability(interval, "interval")
    found, draws, x = solutions(tree), read_draws(tree), read_observations(tree)
    if len(wanted) == 1 or ax is not None:
        figure, axes = canvas(ax, (8, 4.5))
        panels = [axes]
    else:
        figure, grid = plt.subplots(1, len(wanted), figsize=(4.5 * len(wanted), 4), squeeze=False, layout="constrained")
        panels = list(grid[0])
    for panel, (name, place) in zip(panels, chosen, strict=True):
        column = x if x.ndim == 1 else x[:, place]
        _densities(panel, column, draws.marginal(place), found, interval)
        panel.set(xlabel=name, ylabel="density", ylim=(0, None))
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(x=0)
    panels[0].legend(frameon=False, fontsize="small", loc="upper right")
    return figure


@np.errstate(under="ignore")
def _densities(ax: Axes, x: np.ndarray, draws: Draws, found: Solutions, interval: float) -> None:
    histogram(ax, x)
    for solution, row in found.table.iterrows():
        chains = found.of_chain == solution
        inside = np.repeat(chains, draws.n_draws)
        part = Draws(draws.w[inside], draws.mu[inside], draws.factors[inside], int(chains.sum()), draws.n_draws)
        points = grid_for(x, part.mu.mean(axis=0), part.factors.mean(axis=0))
        densities = np.exp(log_density(part.thinned(1_000), points))
        lower, upper = np.quantile(densities, [(1 - interval) / 2, (1 + interval) / 2], axis=0)
        where = "chain" if chains.sum() == 1 else "chains"
        label = f"solution {solution}: {where} {row['chains']}"
        if "log_posterior" in row:
            label += f", log posterior {row['log_posterior']:.1f}"
        ax.fill_between(points, lower, upper, color=colour(int(str(solution))), alpha=0.2, linewidth=0)
        ax.plot(points, densities.mean(axis=0), color=colour(int(str(solution))), linewidth=1.8, label=label)
