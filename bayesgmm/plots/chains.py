"""Pictures of the chains: labels before and after relabelling, and solutions in which chains sit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesgmm.analysis.contract import called
from bayesgmm.analysis.densities import log_density
from bayesgmm.analysis.draws import Draws, read_draws
from bayesgmm.analysis.labels import raw_order
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.solutions import Solutions, solutions
from bayesgmm.analysis.tree import is_relabelled
from bayesgmm.arguments import read_probability
from bayesgmm.data.observations import Observations
from bayesgmm.plots.backends import Backend, drawn_by, read_backend
from bayesgmm.plots.canvas import (
    WITHOUT_ERRORS,
    chosen_features,
    clusters_of_em,
    colour,
    grid_for,
    histogram,
    known,
    legend,
    panel_grid,
    panels,
)
from bayesgmm.plots.names import name_axes, name_legend

_MOST_POINTS = 4_000  # of a trace


@np.errstate(under="ignore")
def plot_relabelling(tree: xr.DataTree, feature: Any = None, *, backend: Backend = "matplotlib") -> Figure | Any:
    """Traces of the clusters' means, with the sampler's labels on the left and the tree's labels on the right.

    The chains follow one another, separated by lines. Long chains are thinned.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    feature : optional
        Name of a feature. Default: the first six, in a row each.
    backend : {"matplotlib", "plotly"}
        Plotting library. Figures of plotly (the extra ``plotly``) show values under the pointer and can be zoomed.

    Returns
    -------
    Figure
        A figure of the chosen library.
    """
    backend = read_backend(backend)
    chosen = chosen_features(tree, feature, "feature")
    figure, axes = panel_grid(len(chosen), 2, (10, max(4.0, 0.4 + 2.6 * len(chosen))), sharex=True, sharey="row")
    for column, each in enumerate((raw_order(tree), tree)):
        draws = read_draws(each)
        for row, (name, place) in enumerate(chosen):
            _means(axes[row, column], draws.marginal(place))
            name_axes(axes[row, 0], y=name, before="mean of ")
        axes[-1, column].set_xlabel(f"draw of {draws.n_chains} chains, one after another")
    axes[0, 0].set_title("labels as sampled")
    axes[0, 1].set_title("labels after relabelling" if is_relabelled(tree) else "labels in the tree: as sampled")
    for cluster, name in enumerate(called(tree)):
        axes[0, 1].scatter([], [], s=20, color=colour(cluster), label=name)
    name_legend(axes[0, 1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1)))
    return drawn_by(backend, figure)


def _means(ax: Axes, draws: Draws) -> None:
    step = max(1, len(draws.mu) // _MOST_POINTS)
    at = np.arange(0, len(draws.mu), step)
    j = np.tile(np.arange(draws.n_components), (len(at), 1))
    mixed = np.random.default_rng(0).permutation(j.size)  # so that no cluster hides the others
    colours = np.array([colour(each) for each in range(draws.n_components)])[j].ravel()
    places = np.broadcast_to(at[:, None], j.shape).ravel()
    ax.scatter(places[mixed], draws.mu[at].ravel()[mixed], s=1.5, c=colours[mixed])
    for chain in range(1, draws.n_chains):
        ax.axvline(chain * draws.n_draws, color="#555555", linewidth=0.8)
    ax.margins(x=0)


@np.errstate(under="ignore")
def plot_solutions(
    tree: Tree,
    features: Sequence[Any] | None = None,
    *,
    interval: float = 0.9,
    ax: Axes | None = None,
    backend: Backend = "matplotlib",
) -> Figure | Any:
    """Density of each solution in which chains sit (:func:`bayesgmm.solutions`), with a band, over the data.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    features : sequence, optional
        Names of features. Default: the first six, in a panel each.
    interval : float
        Probability of the pointwise bands.
    ax : Axes, optional
        Draw a single feature here instead of in a new figure.
    backend : {"matplotlib", "plotly"}
        Plotting library. Figures of plotly (the extra ``plotly``) show values under the pointer and can be zoomed.

    Returns
    -------
    Figure
        A figure of the chosen library.
    """
    backend = read_backend(backend, ax)
    reading = Reading.of(tree)
    chosen = chosen_features(reading.tree, features, "features", ax=ax)
    interval = read_probability(interval, "interval")
    found, draws, x, clusters = reading.ask(solutions), reading.draws.among_all, reading.x, clusters_of_em(reading)
    figure, axes = panels(ax, len(chosen))
    for panel, (name, place) in zip(axes, chosen, strict=True):
        histogram(panel, reading.observations, place, clusters=clusters[place])
        _densities(panel, known(x[:, place]), draws.marginal(place), found, interval)
        name_axes(panel, x=name)
        panel.set(ylabel="density", ylim=(0, None))
        panel.margins(x=0)
        if reading.observations.has_errors:
            panel.plot([], [], " ", label=WITHOUT_ERRORS)
    if len(axes) > 1:
        legend(figure, axes)
    else:  # labels are long
        axes[0].legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14))
    return drawn_by(backend, figure)


@np.errstate(under="ignore")
def _densities(ax: Axes, x: np.ndarray, draws: Draws, found: Solutions, interval: float) -> None:
    for solution, row in found.table.iterrows():
        chains = found.of_chain == solution
        inside = np.repeat(chains, draws.n_draws)
        part = draws.of(inside, int(chains.sum()), draws.n_draws)
        points = grid_for(x, part.mu[..., 0].mean(axis=0), part.sd[..., 0].mean(axis=0))
        densities = np.exp(log_density(part.thinned(1_000), Observations.made(points[:, None])))
        lower, upper = np.quantile(densities, [(1 - interval) / 2, (1 + interval) / 2], axis=0)
        where = "chain" if chains.sum() == 1 else "chains"
        label = f"solution {solution}: {where} {row['chains']}"
        if "log_posterior" in row:
            label += f", log posterior {row['log_posterior']:.1f}"
        ax.fill_between(points, lower, upper, color=colour(int(str(solution))), alpha=0.2, linewidth=0)
        ax.plot(points, densities.mean(axis=0), color=colour(int(str(solution))), linewidth=1.8, label=label)
