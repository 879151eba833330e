"""Pictures of a fit: the data with the fitted density, scatter matrices, and the history of EM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from scipy.stats import f as f_distribution

from bayesgmm.analysis.clusters import probably_noise
from bayesgmm.analysis.contract import called
from bayesgmm.analysis.densities import log_density
from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.predictive import read_feature, read_grid
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import features_of
from bayesgmm.arguments import FloatArray, read_probability
from bayesgmm.data.observations import Observations
from bayesgmm.em.result import EMResult
from bayesgmm.model.mixture import Mixture
from bayesgmm.plots.backends import Backend, drawn_by, read_backend
from bayesgmm.plots.canvas import (
    EM,
    NOISE,
    OF_NOISE,
    POSTERIOR,
    WITHOUT_ERRORS,
    Mark,
    chosen_features,
    clusters_of_em,
    colour,
    draw_incomplete,
    draw_known_in_part,
    draw_strays,
    grid_for,
    histogram,
    known,
    legend,
    mark,
    name_marks,
    panels,
)
from bayesgmm.plots.names import name_axes, name_legend

_ELLIPSES = 40  # draws shown one by one
MOST_IN_PAIRS = 3_000  # observations shown at most
_GAUSSIAN = 1e9  # degrees of freedom that stand for a Gaussian
_SURE = 0.9


@np.errstate(under="ignore")
def plot_fit(
    tree: Tree,
    feature: Any = None,
    *,
    ax: Axes | None = None,
    grid: ArrayLike | None = None,
    bins: Any = "auto",
    interval: float = 0.9,
    backend: Backend = "matplotlib",
) -> Figure | Any:
    """Histogram of each feature, posterior mean of its density with a band, its clusters, and the EM density.

    The histogram shows the known values. If they were measured with errors, the densities are those of the values without
    errors, and the histogram is wider. Intervals become bins of the histogram. If observations may be noise, the clusters
    are drawn with their share of all observations, and crosses mark observations that are more probably noise than not.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    feature : optional
        Name of a feature, as in ``tree["posterior"]["feature"]``. Default: the first six, in a panel each.
    ax : Axes, optional
        Draw a single feature here instead of in a new figure.
    grid : (G,) array-like, optional
        Points at which the densities are drawn, in the units of the feature.
    bins : optional
        Bins of the histogram, as in ``numpy.histogram``. "auto" also considers the narrowest cluster.
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
    chosen = chosen_features(reading.tree, feature, "feature", ax=ax)
    figure, axes = panels(ax, len(chosen))
    draws, x, (em, _), clusters = reading.draws.among_all, reading.x, reading.em, clusters_of_em(reading)
    strays = x[reading.ask(probably_noise)]
    points = None if grid is None else np.sort(read_grid(grid))
    interval = read_probability(interval, "interval")
    for panel, (name, place) in zip(axes, chosen, strict=True):
        of_em = Mixture(em.weights, em.mu[:, place], sigma=em.sd[:, place], noise=em.noise, nu=em.nu)
        histogram(panel, reading.observations, place, bins, clusters[place])
        _density(panel, known(x[:, place]), draws.marginal(place), of_em, points, interval)
        at = known(strays[:, place])
        draw_strays(panel, np.column_stack([at, np.full(len(at), 0.02)]), transform=panel.get_xaxis_transform())
        name_axes(panel, x=name)
        if reading.observations.has_errors:
            panel.plot([], [], " ", label=WITHOUT_ERRORS)
    legend(figure, axes)
    name_marks(figure, reading.tree)
    return drawn_by(backend, figure)


def _density(ax: Axes, x: FloatArray, draws: Draws, em: Mixture, points: FloatArray | None, interval: float) -> None:
    points = grid_for(x, em.means, em.sigma) if points is None else points
    few = draws.thinned(2_000)
    rows = Observations.made(points[:, None])
    densities = np.exp(log_density(few, rows))
    lower, upper = np.quantile(densities, [(1 - interval) / 2, (1 + interval) / 2], axis=0)
    ax.fill_between(points, lower, upper, color=POSTERIOR, alpha=0.25, linewidth=0, label=f"{interval:.0%} band")
    for j in range(draws.n_components if draws.n_components > 1 else 0):
        cluster = np.exp(log_density(few.thinned(500).cluster(j), rows)).mean(axis=0)
        label = "its clusters" if j == 0 else None
        mark(Mark(j), *ax.plot(points, cluster, color=POSTERIOR, linewidth=1, linestyle=":", label=label))
    ax.plot(points, densities.mean(axis=0), color=POSTERIOR, linewidth=2, label="posterior mean density")
    of_em = (1 - (em.noise or 0.0)) * np.exp(em.log_density(points))
    ax.plot(points, of_em, color=EM, linewidth=1.5, linestyle="--", label="EM")
    ax.set(ylabel="density", ylim=(0, None))
    ax.margins(x=0)


@np.errstate(under="ignore")
def plot_pairs(
    tree: Tree, features: Sequence[Any] | None = None, *, level: float = 0.9, backend: Backend = "matplotlib"
) -> Figure | Any:
    """Scatter matrix of the data with the clusters' ellipses, in the posterior and by EM.

    Each point has the colour of its most probable cluster, paler if that is less probable. Its area is proportional to its
    weight. A ring marks points if the most probable cluster has a posterior probability below 0.9. With more than 3 000
    points a random sample of that size is drawn. Each cluster has a thick ellipse for its posterior mean, thin ellipses for
    single draws, which show its uncertainty, and a dashed ellipse for EM. The diagonal shows the densities of single
    features (:func:`plot_fit`). A point with a missing value is a tick at the axis of the known value. With up to 300
    points, bars show one standard deviation of the errors, or intervals. Densities and ellipses describe values without
    errors. Crosses mark observations that are more probably noise than not.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, of two features or more, relabelled.
    features : sequence, optional
        The features to draw, by name. Default: the first six.
    level : float
        Probability that an ellipse encloses, under the cluster's normal or t distribution.
    backend : {"matplotlib", "plotly"}
        Plotting library. Figures of plotly (the extra ``plotly``) show values under the pointer and can be zoomed.

    Returns
    -------
    Figure
        A figure of the chosen library.
    """
    backend = read_backend(backend)
    reading = Reading.of(tree)
    tree, names = reading.tree, features_of(reading.tree)
    if len(names) == 1:
        raise ValueError("tree must have several features to be drawn in pairs, got one; use plot_fit")
    wanted = names[:6] if features is None else [features] if isinstance(features, str) else list(features)
    chosen = [read_feature(tree, each)[1] for each in wanted]
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"features must name at least one feature, each of them once, got {wanted}")
    level = read_probability(level, "level")
    x, draws, (em, _) = reading.x, reading.draws, reading.em
    few = draws.thinned(_ELLIPSES)
    shown = np.random.default_rng(0).permutation(len(x))[:MOST_IN_PAIRS]
    rows = reading.observations.of(shown)
    members = np.mean([rows.responsibilities(*parameters)[:, : draws.n_components] for parameters in few.each()], axis=0)
    counts, strays, positions = rows.counts, reading.ask(probably_noise)[shown], reading.positions[shown]
    size, said = len(chosen), _said_of(rows, chosen)
    figure, axes = plt.subplots(size, size, figsize=(2.6 * size + 1, 2.6 * size), squeeze=False, layout="constrained")
    for row, i in enumerate(chosen):
        for column, j in enumerate(chosen):
            ax = axes[row, column]
            ax.spines[["top", "right"]].set_visible(False)
            if column > row:
                ax.set_axis_off()
                continue
            if column == row:
                plot_fit(reading, names[i], ax=ax)
                ax.get_legend().remove()
                ax.set_xlabel("")
            else:
                sizes = (counts / counts.mean())[~strays]
                _scatter(ax, rows.x[~strays][:, [j, i]], members[~strays], sizes, positions[~strays])
                draw_strays(ax, rows.x[strays][:, [j, i]])
                said += draw_known_in_part(ax, rows, [j, i])
                _ellipses(ax, draws, em, [j, i], level)
                ax.set_ylim(_reach(known(x[:, i])))
            ax.set_xlim(_reach(known(x[:, j])))  # components without observations may reach far beyond
            name_axes(ax, x=names[j] if row == size - 1 else None, y=names[i] if column == 0 < row else None)
    _legend(figure, called(tree), level, list(dict.fromkeys(said)), strays=bool(strays.any()))
    name_marks(figure, tree)
    return drawn_by(backend, figure)


def _said_of(rows: Observations, chosen: list[int]) -> list[str]:
    """Words for the legend about missing values and errors."""
    said = ["ticks at an axis: the other value is missing"] if np.isnan(rows.x[:, chosen]).any() else []
    return said if not rows.has_errors else [*said, "densities and ellipses: of values without errors"]


def _reach(x: FloatArray) -> tuple[float, float]:
    """The data's range with a margin."""
    margin = 0.1 * np.ptp(x)
    return float(x.min() - margin), float(x.max() + margin)


def _scatter(ax: Axes, points: FloatArray, members: FloatArray, sizes: FloatArray, positions: NDArray[np.int64]) -> None:
    """Points in their clusters' colours, pale where the cluster is uncertain, with a ring below a probability of 0.9.

    Areas are proportional to the frequency weights.
    """
    best, sure = members.argmax(axis=1), members.max(axis=1)
    colours = np.array([to_rgb(colour(j)) for j in range(members.shape[1])])[best]
    least = 1 / members.shape[1]
    strength = 0.25 + 0.6 * (np.maximum(sure - least, 0) / (1 - least) if least < 1 else np.ones_like(sure))
    drawn = ax.scatter(points[:, 0], points[:, 1], s=10 * sizes, color=np.column_stack([colours, strength]), linewidth=0)
    whole = ~np.isnan(points).any(axis=1)
    mark(Mark(obs=positions[whole], of_obs=best[whole]), drawn)
    draw_incomplete(ax, points, np.column_stack([colours, strength]))
    unsure = sure < _SURE
    ax.scatter(
        points[unsure, 0], points[unsure, 1], s=16 + 10 * sizes[unsure], facecolor="none", edgecolor="#555555", linewidth=0.6
    )


def _ellipses(ax: Axes, draws: Draws, em: Mixture, pair: list[int], level: float) -> None:
    """Draw ellipses of each cluster: single draws, posterior mean, EM."""
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)])

    def ellipse(j: int, mean: FloatArray, covariance: FloatArray, nu: float, **style: Any) -> None:
        """Draw the ellipse that two features lie in with probability ``level``."""
        radius = np.sqrt(2 * f_distribution.ppf(level, 2, nu))
        points = mean[pair, None] + radius * np.linalg.cholesky(covariance[np.ix_(pair, pair)]) @ circle
        mark(Mark(j), *ax.plot(*points, **style))

    few = draws.thinned(_ELLIPSES)
    covariances, single = (each.factors @ each.factors.swapaxes(-1, -2) for each in (draws, few))
    nu, of_few, of_em = (
        np.full(np.shape(each.mu)[:-1], _GAUSSIAN) if each.nu is None else each.nu for each in (draws, few, em)
    )
    for j in range(draws.n_components):
        for mean, covariance, freedom in zip(few.mu[:, j], single[:, j], of_few[:, j], strict=True):
            ellipse(j, mean, covariance, freedom, color=colour(j), linewidth=0.5, alpha=0.15)
        mean, covariance, freedom = draws.mu[:, j].mean(axis=0), covariances[:, j].mean(axis=0), float(np.median(nu[:, j]))
        ellipse(j, mean, covariance, freedom, color=colour(j), linewidth=2)
        ellipse(j, em.mu[j], em.cov[j], of_em[j], color=EM, linewidth=1.3, linestyle="--")


def _legend(figure: Figure, names: list[str], level: float, said: list[str], *, strays: bool) -> None:
    lines = [
        Line2D([], [], color=colour(j), linewidth=2, label=f"{name}, posterior mean ({level:.0%})")
        for j, name in enumerate(names)
    ]
    lines.append(Line2D([], [], color="#555555", linewidth=0.5, alpha=0.5, label="single draws"))
    lines.append(Line2D([], [], color=EM, linewidth=1.3, linestyle="--", label="EM"))
    ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": "#555555", "linestyle": ""}
    lines.append(Line2D([], [], label=f"cluster less than {_SURE:.0%} sure", **ring))
    if strays:
        cross: dict[str, Any] = {"color": NOISE, "marker": "x", "markersize": 4.5, "linestyle": ""}
        lines.append(Line2D([], [], label=OF_NOISE, **cross))
    lines += [Line2D([], [], linestyle="", label=each) for each in said]
    name_legend(figure.legend(handles=lines, loc="upper right", frameon=False, fontsize="small"))


@np.errstate(under="ignore")
def plot_em_history(em: EMResult, *, ax: Axes | None = None, backend: Backend = "matplotlib") -> Figure | Any:
    """Log-likelihood of the best EM run over its iterations, and where the other restarts ended.

    The vertical axis shows how far the log-likelihood is below the best, on a logarithmic scale. Differences below 1e-8 are
    drawn as 1e-8.

    Parameters
    ----------
    em : EMResult
        From :func:`bayesgmm.fit_em`.
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
    if not isinstance(em, EMResult):
        raise TypeError(f"em must be the EMResult that fit_em returns, got {type(em).__name__}")
    figure, (ax,) = panels(ax, 1, (7, 4))
    floor = 1e-8
    gaps = np.maximum(em.log_likelihood - em.history[:-1], floor)
    ax.plot(np.arange(1, len(gaps) + 1), gaps, color=EM, linewidth=2, label="best run")
    others = em.restarts[1:]
    for ended, marker, name in ((False, "o", "end of another restart"), (True, "x", "end of another restart, collapsed")):
        chosen = [each for each in others if each.collapsed is ended]
        if chosen:
            ends = [max(abs(em.log_likelihood - each.log_likelihood), floor) for each in chosen]
            ax.scatter([each.n_iter for each in chosen], ends, color="#555555", marker=marker, s=22, zorder=3, label=name)
    ax.set(xscale="log", yscale="log", xlabel="EM iteration", ylabel="log-likelihood below the best")
    ax.set_title(f"k = {em.mixture.n_components}, log-likelihood {em.log_likelihood:.3f}", fontsize="medium")
    ax.legend(frameon=False, fontsize="small", loc="upper right")
    return drawn_by(backend, figure)
