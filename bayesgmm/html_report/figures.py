"""The pictures of a report, each with what it shows in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from bayesgmm import plots
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import OBS
from bayesgmm.arguments import FloatArray
from bayesgmm.html_report.blocks import Picture, as_recorded, count, counted, listed, number, percent, short
from bayesgmm.html_report.calibration import PROBABILITY
from bayesgmm.html_report.fitted import INTERVAL, Fitted
from bayesgmm.html_report.svg import drawn
from bayesgmm.html_report.traces import plot_traces, shown_step
from bayesgmm.plots.canvas import EM, POSTERIOR, Clusters, histogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesgmm.comparison.result import Comparison

MOST_POINTS = 2_000  # observations drawn one by one
_MOST_FEATURES = 4  # in a scatter matrix
_MOST_PANELS = 6


def sample(reading: Reading, most: int) -> Reading:
    """The tree with a random part of its observations, always the same, if they are more than that."""
    n, tree = len(reading.x), reading.tree
    if n <= most:
        return reading
    chosen = np.sort(np.random.default_rng(0).choice(n, most, replace=False))
    groups = {"/": xr.Dataset(attrs=tree.attrs)}
    for name in ("posterior", "sample_stats", "em_baseline", "observed_data"):
        if name in tree.children:
            dataset = tree[name].to_dataset()
            groups[name] = dataset.isel({OBS: chosen}) if OBS in dataset.dims else dataset
    return reading.of_others(xr.DataTree.from_dict(groups))


def data_picture(
    x: FloatArray, features: list[str], clusters: Sequence[Clusters] = (), weight: FloatArray | None = None
) -> Picture:
    """Histograms of the features."""
    columns = x[:, :_MOST_PANELS]
    shown = features[:_MOST_PANELS]

    def draw() -> Figure:
        width = 7.2 if len(shown) == 1 else 9.0
        across = min(len(shown), 3)
        down = -(-len(shown) // across)
        size = (width, 2.6 if down == 1 else 2.3 * down)
        figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
        for ax in axes.ravel()[len(shown) :]:
            ax.set_axis_off()
        known: Sequence[Clusters | None] = clusters or [None] * len(shown)
        for ax, column, name, each in zip(axes.ravel(), columns.T, shown, known, strict=False):
            histogram(ax, column, clusters=each, weight=weight, density=False)
            ax.set(xlabel=short(name), ylabel="observations")
            ax.spines[["top", "right"]].set_visible(False)
        return figure

    each = [
        f"{name} from {told(float(column.min()))} to {told(float(column.max()))}"
        for name, column, told in zip(shown, columns.T, map(as_recorded, columns.T), strict=True)
    ]
    omitted = f", the first {len(shown)} of {len(features)} features" if len(features) > len(shown) else ""
    words = f"Histogram{'s' if len(shown) > 1 else ''} of {counted(len(x), weight)}: {listed(each)}{omitted}."
    return Picture("data", drawn("data", draw, words), words)


def density_picture(fitted: Fitted) -> Picture:
    """Densities over the data: of one feature with bands, of several in pairs."""
    if len(fitted.features) == 1:
        words = (
            f"Posterior mean of the density (line) with its {percent(INTERVAL)} band, the {fitted.k} clusters it is made of "
            "(dotted), and EM's density (dashed), over the histogram of the data."
            if fitted.k > 1
            else f"Posterior mean of the density (line) with its {percent(INTERVAL)} band, and EM's density (dashed), over "
            "the histogram of the data."
        )
        svg = drawn("density", lambda: plots.plot_fit(fitted.reading), f"{words} {_where(fitted)}")
        return Picture("density", svg, words)
    shown = list(fitted.tree["posterior"]["feature"].to_numpy()[:_MOST_FEATURES])
    part = f" The first {len(shown)} of {len(fitted.features)} features." if len(fitted.features) > len(shown) else ""
    some = f" A sample of {count(MOST_POINTS)} observations is drawn." if len(fitted.x) > 3_000 else ""
    words = (
        "Observations in the colours of their most probable clusters, with the ellipses that hold 90% of each cluster: "
        "posterior mean (line), single draws (thin), EM (dashed). A ring marks observations whose cluster is less than 90% "
        f"sure. On the diagonal, densities of single features with their bands.{part}{some}"
    )
    svg = drawn("density", lambda: plots.plot_pairs(fitted.reading, shown), f"{words} {_where(fitted)}")
    return Picture("density", svg, words)


def _where(fitted: Fitted) -> str:
    """Where the clusters are, as far as they can be told apart."""
    if not fitted.one_by_one:
        return f"Single clusters are not to be relied on: {fitted.doubt}."
    clusters = []
    for j in range(min(fitted.k, 8)):
        means = [float(fitted.draws.marginal(i).mu[:, j].mean()) for i in range(min(len(fitted.features), _MOST_FEATURES))]
        place = listed([number(each) for each in means])
        clusters.append(f"cluster {j} at {place} with weight {percent(float(fitted.draws.w[:, j].mean()))}")
    return f"{listed(clusters).capitalize()}."


def responsibilities_picture(fitted: Fitted, unsure: int, of: int) -> Picture:
    """Membership probabilities of observations."""
    n = len(fitted.x)
    if len(fitted.features) == 1:
        words = f"Probability of each cluster along the data, with {percent(INTERVAL)} bands; the data are marked below."
    else:
        first, second = fitted.features[:2]
        words = (
            f"Observations by {first} and {second}, in the colour of their most probable cluster: the larger and darker, "
            "the less probable that is."
        )
    if n > MOST_POINTS:
        words += f" A sample of {count(MOST_POINTS)} observations is drawn."
    about = f" Of {count(of)} observations {count(unsure)} have no cluster with a probability of 90% or more."
    some = sample(fitted.reading, MOST_POINTS)
    return Picture(
        "responsibilities", drawn("responsibilities", lambda: plots.plot_responsibilities(some), words + about), words
    )


def calibration_picture(fitted: Fitted) -> Picture:
    """LOO-PIT of each feature: how far its distribution function is from a uniform one's."""
    shown = fitted.calibrations[:_MOST_PANELS]

    def draw() -> Figure:
        across = min(len(shown), 3)
        down = -(-len(shown) // across)
        size = (7.2 if len(shown) == 1 else 9.0, 2.9 * down)
        figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, sharey=True, layout="constrained")
        for ax in axes.ravel()[len(shown) :]:
            ax.set_axis_off()
        for ax, each in zip(axes.ravel(), shown, strict=False):
            ax.axhline(0, color="#666666", linewidth=0.8)
            lower, upper = each.lower - each.points, each.upper - each.points
            ax.fill_between(each.points, lower, upper, step="mid", color=POSTERIOR, alpha=0.2, linewidth=0)
            ax.step(each.points, each.shares - each.points, where="mid", color=EM, linewidth=1.4)
            ax.set(xlim=(0, 1))
            if len(shown) > 1:
                ax.set_title(short(each.feature))
            ax.spines[["top", "right"]].set_visible(False)
        for ax in axes.ravel()[max(0, len(shown) - across) : len(shown)]:  # with nothing beneath
            ax.set_xlabel("predicted share below")
        for ax in axes[:, 0]:
            ax.set_ylabel("observed share less predicted")
        return figure

    omitted = f" The first {len(shown)} of {len(fitted.features)} features." if len(fitted.features) > len(shown) else ""
    words = (
        "Which share of the observations lies where the model, fitted without each of them, predicts a share of 0 to 1 "
        "(LOO-PIT): the difference of the two (line), and the band in which the whole line of independent observations lies "
        f"with a probability of {percent(PROBABILITY)} if the model is right.{omitted}"
    )
    about = "; ".join(
        f"{each.feature}: {'inside' if each.inside else 'outside'} the band, largest difference "
        f"{np.abs(each.shares - each.points).max():.3f}"
        for each in shown
    )
    return Picture("calibration", drawn("calibration", draw, f"{words} {about}."), words)


def solutions_picture(fitted: Fitted) -> Picture:
    """The densities of the solutions in which chains sit."""
    found = fitted.diagnosis.solutions
    assert found is not None
    shown = None if len(fitted.features) == 1 else list(fitted.tree["posterior"]["feature"].to_numpy()[:3])
    words = "Density of each solution in which chains sit, with its band, over the data."
    svg = drawn("solutions", lambda: plots.plot_solutions(fitted.reading, shown), f"{words} {found.in_words()}.")
    return Picture("solutions", svg, words)


def traces_picture(fitted: Fitted) -> Picture:
    """Distributions and traces of the mixture's parameters."""
    sizes, step = fitted.tree["posterior"].sizes, shown_step(fitted)
    thinned = f", of which every {step}th is drawn" if step > 1 else ""
    chains = f"{sizes['chain']} chains" if sizes["chain"] > 1 else "one chain"
    words = f"Densities (left) and {count(sizes['draw'])} draws in their order (right{thinned}), in each of {chains}."
    if sizes["chain"] > 1:
        words += " Chains go from dark, the first, to light, the last."
    if len(fitted.features) > 1:
        words += " Covariances are in the tables of the diagnostics."
    r_hat = fitted.diagnosis.parameters.get("r_hat")
    worst = "" if r_hat is None or r_hat.isna().all() else f" The largest R-hat is {r_hat.max():.3f}, of {r_hat.idxmax()}."
    return Picture("traces", drawn("traces", lambda: plot_traces(fitted), words + worst), words)


def compare_picture(comparison: Comparison) -> Picture:
    """Criteria over k."""
    words = (
        "What prediction, evidence and EM's criteria say of each k, as differences to the best, which is ringed; up is "
        "better in every panel. Arrows with numbers stand for values further down."
    )
    svg = drawn("criteria", lambda: plots.plot_compare(comparison), f"{words} {comparison.best!r}")
    return Picture("criteria", svg, words)


def fits_picture(comparison: Comparison, feature: Any = None) -> Picture:
    """The fit of every k."""
    of = f" of {feature}" if feature is not None else ""
    words = f"Density{of} of every k, with its band and clusters, over the data."
    elpd = "; ".join(f"k = {row.k}: elpd {number(row.elpd_loo, 1.0)}" for row in comparison.table.itertuples())
    svg = drawn("fits", lambda: plots.plot_fits(comparison, feature), f"{words} {elpd}.")
    return Picture("fits", svg, words)


def numbers_picture(tree: xr.DataTree) -> Picture:
    """Posterior of k and of the occupied clusters."""
    words = (
        "Posterior probabilities of the number of components (left, with the prior) and of clusters that hold data (right)."
    )
    of_k = tree["p_k"]
    about = f" The most probable k is {int(of_k.idxmax())}, with probability {float(of_k.max()):.2f}."
    return Picture("numbers", drawn("numbers", lambda: plots.plot_k(tree), words + about), words)
