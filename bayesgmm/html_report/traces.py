"""Distributions and traces of the mixture's parameters, in the colours that clusters have in all other pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from arviz_stats.base import array_stats

from bayesgmm.arguments import FloatArray
from bayesgmm.html_report.blocks import short
from bayesgmm.html_report.svg import shaded
from bayesgmm.plots.canvas import colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.html_report.fitted import Fitted

_MOST = 20_000  # draws of all chains that are drawn; of more every so manieth
_LEAST = 20  # draws of a chain of which a density is drawn
_MOST_FEATURES = 4


def shown_step(fitted: Fitted) -> int:
    """Every how manieth draw is drawn."""
    return max(1, len(fitted.draws.w) // _MOST)


def plot_traces(fitted: Fitted) -> Figure:
    """A row for each kind of parameter: its density in each chain on the left, its draws in their order on the right."""
    rows = _rows(fitted)
    height = 1.6 * len(rows) + 0.4
    figure, axes = plt.subplots(
        len(rows), 2, figsize=(9.5, height), width_ratios=(1, 2.2), squeeze=False, layout="constrained"
    )
    step = shown_step(fitted)
    for (left, right), (name, values) in zip(axes, rows, strict=True):
        for j in range(values.shape[-1]):
            for place, chain in enumerate(values[..., j]):
                shade = shaded(colour(j), place, len(values))
                _density(left, chain, shade)
                at = np.arange(0, len(chain), step)
                right.plot(at, chain[::step], color=shade, linewidth=0.5, alpha=0.7, rasterized=len(at) > 100)
        left.set(yticks=[], ylim=(0, None))
        left.set_title(short(name), loc="left")
        right.margins(x=0.01)
        left.spines[["top", "right", "left"]].set_visible(False)
        right.spines[["top", "right"]].set_visible(False)
        right.tick_params(labelbottom=left is axes[-1, 0])
    axes[-1, 1].set_xlabel("draw")
    if fitted.k > 1:
        handles = [plt.Line2D([], [], color=colour(j), linewidth=2, label=f"cluster {j}") for j in range(fitted.k)]
        figure.legend(handles=handles, loc="outside upper right", ncols=min(fitted.k, 8), fontsize="small")
    return figure


def _density(ax: Axes, chain: FloatArray, line: str) -> None:
    if len(chain) < _LEAST or np.ptp(chain) == 0:
        ax.plot(chain, np.zeros(len(chain)), "|", color=line, markersize=12)
        return
    middle, unit = chain.mean(), chain.std()  # densities of very small or large numbers would overflow
    grid, density, _ = array_stats.kde((chain - middle) / unit, circular=False, grid_len=200)
    ax.plot(middle + unit * grid, density / unit if unit > 1e-100 else density, color=line, linewidth=1)


def _rows(fitted: Fitted) -> list[tuple[str, FloatArray]]:
    """Names and draws (chain, draw, cluster)."""
    draws = fitted.draws
    rows = [] if fitted.k == 1 else [("weight", draws.by_chain(draws.w))]
    several = len(fitted.features) > 1
    for place, name in enumerate(fitted.features[:_MOST_FEATURES]):
        part = draws.marginal(place)
        rows.append((f"mean, {name}" if several else "mean", draws.by_chain(part.mu[..., 0])))
        if not several:
            rows.append(("sd", draws.by_chain(part.sd[..., 0])))
    return rows
