"""The pictures of a report, with their captions and descriptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bayesgmm import plots
from bayesgmm.analysis.contract import cluster_names
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import OBS, read_whole
from bayesgmm.arguments import FloatArray
from bayesgmm.comparison.result import Comparison
from bayesgmm.html_report.blocks import (
    Picture,
    as_recorded,
    count,
    counted,
    known_in_part,
    listed,
    number,
    percent,
    short,
)
from bayesgmm.html_report.calibration import PROBABILITY
from bayesgmm.html_report.fitted import INTERVAL, Fitted
from bayesgmm.html_report.observed import feature_names, observations
from bayesgmm.html_report.svg import drawn, shaded
from bayesgmm.plots.canvas import (
    ACROSS,
    EM,
    MOST_ERRORS,
    NOISE,
    POSTERIOR,
    Clusters,
    Mark,
    colour,
    histogram,
    mark,
    name_marks,
    panel_grid,
    panels,
)
from bayesgmm.plots.fits import MOST_IN_PAIRS
from bayesgmm.plots.names import name_legend

MOST_POINTS = 2_000  # observations drawn one by one
_MOST_FEATURES = 4  # in a scatter matrix
_MOST_PANELS = 6
_SHARE = "share of noise"
_MOST_DRAWS = 20_000  # of all chains; more are thinned for plotting
_FEWEST_DRAWS = 20  # of a chain, for a density to be plotted


def sample(reading: Reading, most: int) -> Reading:
    """A reading with a random sample of at most ``most`` observations, which is always the same."""
    n = len(reading.x)
    if n <= most:
        return reading
    chosen = np.sort(np.random.default_rng(0).choice(n, most, replace=False))
    return reading.of_others(reading.tree.isel({OBS: chosen}))


def data_picture(tree: xr.DataTree, clusters: Sequence[Clusters] = ()) -> Picture:
    """Histograms of the features."""
    rows, features = observations(tree), feature_names(tree)
    columns = rows.x[:, :_MOST_PANELS]
    shown = features[:_MOST_PANELS]

    def draw() -> Figure:
        figure, axes = _panels(len(shown), 2.6 if len(shown) <= ACROSS else 2.3)
        known: Sequence[Clusters | None] = clusters or [None] * len(shown)
        for place, (ax, name, each) in enumerate(zip(axes, shown, known, strict=False)):
            histogram(ax, rows, place, clusters=each, density=False)
            ax.set(xlabel=short(name), ylabel="observations")
        return figure

    each = [
        f"{name} from {told(float(np.nanmin(column)))} to {told(float(np.nanmax(column)))}"
        for name, column, told in zip(shown, columns.T, map(as_recorded, columns.T), strict=True)
    ]
    omitted = f", the first {len(shown)} of {len(features)} features" if len(features) > len(shown) else ""
    of = f"{counted(len(rows), rows.known.weight, read_whole(tree))}{known_in_part(rows)}"
    words = f"Histogram{'s' if len(shown) > 1 else ''} of {of}: {listed(each)}{omitted}."
    return _picture("data", draw, words)


def _what_is_shown(fitted: Fitted) -> str:
    reading = fitted.reading
    return "the data" if reading.whole is None else counted(len(reading.x), reading.known.weight, reading.whole)


def _panels(n: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A new figure with a panel of this height for each feature."""
    return panels(None, n, (7.2 if n == 1 else 9.0, height * -(-n // ACROSS)), **shared)


def density_picture(fitted: Fitted) -> Picture:
    """Densities over the data: of one feature with its band, or of pairs of features."""
    if len(fitted.features) == 1:
        clusters = f" the {fitted.k} clusters it is made of (dotted)," if fitted.k > 1 else ""
        words = (
            f"Posterior mean of the density (line) with its {percent(INTERVAL)} band,{clusters} and EM's density (dashed), "
            f"over the histogram of {_what_is_shown(fitted)}.{_without_errors(fitted)}{_strays_are(fitted)}"
        )
        return _picture("density", lambda: plots.plot_fit(fitted.reading), words, _where(fitted))
    shown = list(fitted.tree["posterior"]["feature"].to_numpy()[:_MOST_FEATURES])
    part = f" The first {len(shown)} of {len(fitted.features)} features." if len(fitted.features) > len(shown) else ""
    sampled = len(fitted.reading.x) > MOST_IN_PAIRS
    some = f" A sample of {count(MOST_IN_PAIRS)} observations is drawn." if sampled else ""
    marks = f"{_marks(fitted, len(shown))}{_without_errors(fitted)}{_strays_are(fitted)}"
    words = (
        "Observations in the colours of their most probable clusters, with the ellipses that hold 90% of each cluster: "
        "posterior mean (line), single draws (thin), EM (dashed). A ring marks observations whose cluster is less than 90% "
        f"sure. On the diagonal, densities of single features with their bands.{marks}{part}{some}"
    )
    return _picture("density", lambda: plots.plot_pairs(fitted.reading, shown), words, _where(fitted))


def _strays_are(fitted: Fitted) -> str:
    """Words about noise in pictures; empty without noise."""
    if fitted.reading.draws.noise is None:
        return ""
    return " Crosses are observations that are more probably noise than not. The densities leave out the noise."


def _without_errors(fitted: Fitted) -> str:
    """Words about densities and histograms of data with errors; empty without errors."""
    if not fitted.reading.observations.has_errors:
        return ""
    return " Densities describe the values without errors. The histogram shows the measured values, so it is wider."


def _marks(fitted: Fitted, n_features: int) -> str:
    """Words about the marks for missing values, errors and intervals in scatter plots of the first features."""
    missing = np.isnan(fitted.reading.x[:, :n_features]).any()
    gaps = " A tick at an axis is an observation whose other value is missing." if missing else ""
    rows = fitted.reading.observations
    if len(rows) > MOST_ERRORS:
        return gaps
    bars = " Bars are one standard deviation of the error." if rows.has_errors else ""
    return (
        gaps
        + bars
        + (" Bars and arrows are the intervals in which values lie." if rows.bounded[:, :n_features].any() else "")
    )


def _where(fitted: Fitted) -> str:
    """Where the clusters are, in words, or why they cannot be described."""
    if fitted.doubt:
        return f"Single clusters are not to be relied on: {fitted.doubt}."
    draws, clusters = fitted.reading.draws, []
    for j in range(min(fitted.k, 8)):
        means = [float(draws.marginal(i).mu[:, j].mean()) for i in range(min(len(fitted.features), _MOST_FEATURES))]
        place = listed([number(each) for each in means])
        clusters.append(f"{fitted.clusters[j]} at {place} with weight {percent(float(draws.w[:, j].mean()))}")
    text = listed(clusters)
    return f"{text if cluster_names(fitted.tree) else text.capitalize()}."


def responsibilities_picture(fitted: Fitted, unsure: int, of: int) -> Picture:
    """Membership probabilities of observations."""
    n = len(fitted.reading.x)
    if len(fitted.features) == 1:
        rows = fitted.reading.observations
        exact = "" if not rows.has_errors and not rows.bounded.any() else ", for a value known exactly"
        words = (
            f"Probability of each cluster along the data{exact}, with {percent(INTERVAL)} bands; the data are marked below."
        )
    else:
        first, second = fitted.features[:2]
        words = (
            f"Observations by {first} and {second}, in the colour of their most probable cluster: the larger and darker "
            f"a point, the less certain its cluster.{_marks(fitted, 2)}"
        )
    if n > MOST_POINTS:
        words += f" A sample of {count(MOST_POINTS)} observations is drawn."
    words += "" if fitted.reading.draws.noise is None else " Crosses are observations that are more probably noise than not."
    nor = "" if fitted.reading.draws.noise is None else ", nor the noise,"
    about = f"For {count(unsure)} of {count(of)} observations no cluster{nor} has a probability of 90% or more."
    some = sample(fitted.reading, MOST_POINTS)
    return _picture("responsibilities", lambda: plots.plot_responsibilities(some), words, about)


def calibration_picture(fitted: Fitted) -> Picture:
    """LOO-PIT of each feature: the difference of its distribution function from the uniform one."""
    shown = fitted.calibrations[:_MOST_PANELS]

    def draw() -> Figure:
        figure, axes = _panels(len(shown), 2.9, sharey=True)
        for ax, each in zip(axes, shown, strict=True):
            ax.axhline(0, color="#666666", linewidth=0.8)
            lower, upper = each.lower - each.points, each.upper - each.points
            ax.fill_between(each.points, lower, upper, step="mid", color=POSTERIOR, alpha=0.2, linewidth=0)
            ax.step(each.points, each.shares - each.points, where="mid", color=EM, linewidth=1.4)
            ax.set(xlim=(0, 1))
            if len(shown) > 1:
                ax.set_title(short(each.feature))
        for ax in axes[-ACROSS:]:  # the lowest of each column
            ax.set_xlabel("predicted share below")
        for ax in axes[::ACROSS]:
            ax.set_ylabel("observed share minus predicted")
        return figure

    omitted = f" The first {len(shown)} of {len(fitted.features)} features." if len(fitted.features) > len(shown) else ""
    if np.isnan(fitted.reading.x).any():
        omitted += " Missing values are left out."
    if fitted.reading.observations.has_errors:
        omitted += " The predictions include the measurement errors."
    if fitted.reading.observations.bounded.any():
        omitted += " For an interval, the predicted share is drawn at random between those of its two ends."
    words = (
        "LOO-PIT: where each observation falls in the prediction of the model fitted without it. The line shows, for every "
        "predicted share from 0 to 1, the observed share minus the predicted share. If the model is right and observations "
        f"are independent, the whole line lies in the band with a probability of {percent(PROBABILITY)}.{omitted}"
    )
    about = "; ".join(
        f"{each.feature}: {'inside' if each.inside else 'outside'} the band, largest difference "
        f"{np.abs(each.shares - each.points).max():.3f}"
        for each in shown
    )
    return _picture("calibration", draw, words, f"{about}.")


def solutions_picture(fitted: Fitted) -> Picture:
    """The densities of the solutions in which chains sit."""
    found = fitted.diagnosis.solutions
    assert found is not None
    shown = None if len(fitted.features) == 1 else list(fitted.tree["posterior"]["feature"].to_numpy()[:3])
    words = f"Density of each solution in which chains sit, with its band, over the data.{_without_errors(fitted)}"
    return _picture("solutions", lambda: plots.plot_solutions(fitted.reading, shown), words, f"{found.in_words()}.")


def traces_picture(fitted: Fitted) -> Picture:
    """Distributions and traces of the mixture's parameters."""
    sizes, step = fitted.tree["posterior"].sizes, _shown_step(fitted)
    thinned = f", of which every {step}th is drawn" if step > 1 else ""
    chains = f"{sizes['chain']} chains" if sizes["chain"] > 1 else "one chain"
    words = f"Densities (left) and {count(sizes['draw'])} draws in their order (right{thinned}), in each of {chains}."
    if sizes["chain"] > 1:
        words += " The first chain is the darkest, the last one the lightest."
    if len(fitted.features) > 1:
        words += " Covariances are in the tables of the diagnostics."
    r_hat = fitted.diagnosis.parameters.get("r_hat")
    worst = "" if r_hat is None or r_hat.isna().all() else f"The largest R-hat is {r_hat.max():.3f}, of {r_hat.idxmax()}."
    return _picture("traces", lambda: plot_traces(fitted), words, worst)


def _shown_step(fitted: Fitted) -> int:
    """Thinning of the draws for plotting."""
    return max(1, len(fitted.reading.draws.w) // _MOST_DRAWS)


def plot_traces(fitted: Fitted) -> Figure:
    """A row for each kind of parameter: its density in each chain on the left, its draws in their order on the right."""
    rows = _trace_rows(fitted)
    figure, axes = panel_grid(len(rows), 2, (9.5, 1.6 * len(rows) + 0.4), width_ratios=(1, 2.2))
    step = _shown_step(fitted)
    for (left, right), (name, values) in zip(axes, rows, strict=True):
        for j in range(values.shape[-1]):
            for place, chain in enumerate(values[..., j]):
                shade = shaded(NOISE if name == _SHARE else colour(j), place, len(values))
                at = np.arange(0, len(chain), step)
                trace = right.plot(at, chain[::step], color=shade, linewidth=0.5, alpha=0.7, rasterized=len(at) > 100)
                lines = [*_chain_density(left, chain, shade), *trace]
                if name != _SHARE:
                    mark(Mark(j), *lines)
        left.set(yticks=[], ylim=(0, None))
        left.set_title(short(name), loc="left")
        right.margins(x=0.01)
        left.spines["left"].set_visible(False)
        right.tick_params(labelbottom=left is axes[-1, 0])
    axes[-1, 1].set_xlabel("draw")
    if fitted.k > 1:
        handles = [plt.Line2D([], [], color=colour(j), linewidth=2, label=name) for j, name in enumerate(fitted.clusters)]
        columns = min(fitted.k, 8)
        name_legend(figure.legend(handles=handles, loc="outside upper right", ncols=columns, fontsize="small"))
        name_marks(figure, fitted.tree)
    return figure


def _chain_density(ax: Axes, chain: FloatArray, line: str) -> list[Line2D]:
    if len(chain) < _FEWEST_DRAWS or np.ptp(chain) == 0:
        return ax.plot(chain, np.zeros(len(chain)), "|", color=line, markersize=12)
    middle, unit = chain.mean(), chain.std()  # densities of very small or large numbers would overflow
    grid, density, _ = array_stats.kde((chain - middle) / unit, circular=False, grid_len=200)
    return ax.plot(middle + unit * grid, density / unit if unit > 1e-100 else density, color=line, linewidth=1)


def _trace_rows(fitted: Fitted) -> list[tuple[str, FloatArray]]:
    """Names and draws (chain, draw, cluster) of the parameters to plot."""
    draws = fitted.reading.draws
    rows = [] if fitted.k == 1 else [("weight", draws.by_chain(draws.w))]
    rows += [] if draws.noise is None else [(_SHARE, draws.by_chain(draws.noise[:, None]))]
    several = len(fitted.features) > 1
    for place, name in enumerate(fitted.features[:_MOST_FEATURES]):
        part = draws.marginal(place)
        rows.append((f"mean, {name}" if several else "mean", draws.by_chain(part.mu[..., 0])))
        if not several:
            rows.append(("sd", draws.by_chain(part.sd[..., 0])))
    return rows


def compare_picture(comparison: Comparison) -> Picture:
    """Criteria over k."""
    words = (
        "Prediction, evidence and EM's criteria of each k, as differences from the best k. The best k has a ring. Up is "
        "better in every panel. Arrows with numbers mark values further down."
    )
    return _picture("criteria", lambda: plots.plot_compare(comparison), words, repr(comparison.best))


def fits_picture(comparison: Comparison, feature: Any = None) -> Picture:
    """The fit of every k."""
    of = f" of {feature}" if feature is not None else ""
    words = f"Density{of} of every k, with its band and clusters, over the data."
    elpd = "; ".join(f"k = {row.k}: elpd {number(row.elpd_loo, 1.0)}" for row in comparison.table.itertuples())
    return _picture("fits", lambda: plots.plot_fits(comparison, feature), words, f"{elpd}.")


def numbers_picture(tree: xr.DataTree) -> Picture:
    """Posterior of k and of the occupied clusters."""
    words = (
        "Posterior probabilities of the number of components (left, with the prior) and of clusters that hold data (right)."
    )
    of_k = tree["p_k"]
    about = f"The most probable k is {int(of_k.idxmax())}, with probability {float(of_k.max()):.2f}."
    return _picture("numbers", lambda: plots.plot_k(tree), words, about)


def _picture(name: str, draw: Callable[[], Figure], words: str, about: str = "") -> Picture:
    """The figure that ``draw`` makes. The caption is ``words``; the description for screen readers adds ``about``."""
    return Picture(name, drawn(name, draw, f"{words} {about}" if about else words), words)
