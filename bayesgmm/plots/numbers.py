"""Pictures on the number of components: criteria over k, the fits side by side, the posterior of k."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesgmm.analysis.contract import require_posterior_k
from bayesgmm.comparison.result import Comparison
from bayesgmm.plots.backends import Backend, drawn_by, read_backend
from bayesgmm.plots.canvas import EM, POSTERIOR, chosen_features, legend, panel_grid
from bayesgmm.plots.fits import plot_fit

_GREY = "#666666"
_SHOWN = 5.0  # nats behind the best that are drawn to scale: a Bayes factor of 150 (Kass & Raftery 1995)
_LEAST = 1e-3  # smallest probability of a k that is drawn
_COLUMNS = 3


def probable(tree: xr.DataTree) -> xr.Dataset:
    """The posterior of k, from the first to the last k with a probability of at least 0.001."""
    values = tree.to_dataset()
    shown = np.flatnonzero((values["p_k"].values >= _LEAST) | (values["p_occupied"].values >= _LEAST))
    return values.isel(k=slice(int(shown[0]), int(shown[-1]) + 1))


def _by_k(comparison: Comparison) -> pd.DataFrame:
    """The table of a comparison, indexed by k, after a check of the type."""
    if not isinstance(comparison, Comparison):
        raise TypeError(f"comparison must be what bayesgmm.compare returns, got {type(comparison).__name__}")
    return comparison.table.set_index("k")


@np.errstate(under="ignore")
def plot_compare(comparison: Comparison, *, backend: Backend = "matplotlib") -> Figure | Any:
    """Prediction, evidence and EM's criteria over k, in a panel each. The best k have rings.

    LOO and the evidence are drawn as differences to the best k: LOO with two standard errors of the difference, the evidence
    with two Monte Carlo standard errors. BIC and ICL are drawn as differences to the smallest, downwards, so that up is
    better in every panel. An arrow with a number marks a value that is behind the best by more than about 5
    (for BIC and ICL, by more than about 10).

    Parameters
    ----------
    comparison : Comparison
        From :func:`bayesgmm.compare`.
    backend : {"matplotlib", "plotly"}
        Plotting library. Figures of plotly (the extra ``plotly``) show values under the pointer and can be zoomed.

    Returns
    -------
    Figure
        A figure of the chosen library.
    """
    backend = read_backend(backend)
    by_k = _by_k(comparison)
    figure, (axes,) = panel_grid(1, 3, (12, 4))
    best = comparison.best
    evidence = by_k["log_evidence"] - by_k["log_evidence"].max()
    for ax, name, values, errors, none in (
        (axes[0], "elpd_loo", by_k["elpd_diff"], by_k["dse"], "no prediction of any k"),
        (axes[1], "log_evidence", evidence, by_k["mcse"], "no evidence of any k"),
    ):
        if name not in best:
            ax.text(0.5, 0.5, none, ha="center", transform=ax.transAxes)
            continue
        ax.axhline(0, color=_GREY, linewidth=0.8)
        at, heights, error = (np.asarray(each, dtype=float) for each in (values.index, values, errors))
        ax.errorbar(at, heights, yerr=2 * error, marker="o", capsize=3, linewidth=1, color=POSTERIOR)
        _ring(ax, best[name], float(values.loc[best[name]]))
        _shorten(ax, {"": values}, _SHOWN, POSTERIOR, 2 * errors)
    axes[0].set(title="prediction: LOO", ylabel="elpd, difference to the best (2 standard errors)")
    axes[1].set(title="evidence", ylabel="log evidence, difference to the best (2 MCSE)")
    behind = {name: by_k[name].min() - by_k[name] for name in ("bic", "icl")}
    for name, marker, style in (("bic", "o", "--"), ("icl", "s", ":")):
        axes[2].plot(by_k.index, behind[name], marker=marker, linestyle=style, color=EM, label=name.upper())
        if name in best:
            _ring(axes[2], best[name], 0.0)
    _shorten(axes[2], behind, 2 * _SHOWN, EM)
    axes[2].set(title="EM: BIC and ICL", ylabel="difference to the smallest, downwards")
    axes[2].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    unsure = by_k.index[~by_k["converged"]]
    for ax in axes:
        ax.set(xlabel="k, number of components")
        ax.set_xticks(by_k.index)
    if len(unsure):
        figure.supxlabel(f"not converged: k = {', '.join(map(str, unsure))}", fontsize="small", color=_GREY)
    return drawn_by(backend, figure)


def _shorten(ax: Axes, behind: Mapping[str, pd.Series], most: float, color: str, errors: Any = 0.0) -> None:
    """End the axis below the values near the best, and mark values further down by arrows with numbers."""
    near = [(each - errors)[each >= -most].min() for each in behind.values()]
    low = max(float(pd.Series(near).min()), -2 * most)  # pandas skips NaN
    bottom = 1.25 * min(low, -most / 4)
    if not any((each < bottom).any() for each in behind.values()):  # also true if all values are NaN
        return
    top = float(pd.Series([(each + errors)[each >= -most].max() for each in behind.values()]).max())
    ax.set_ylim(bottom, max(-0.1 * bottom, 1.1 * top))
    for place, (name, series) in enumerate(behind.items()):
        for k, value in series[series < bottom].items():
            ax.plot([k], [0.97 * bottom], marker="v", color=color, linestyle="")
            words = f"{name.upper()}\n{value:.0f}".strip().replace("-", "\N{MINUS SIGN}")
            above = (0, 6 + 24 * place)
            ax.annotate(words, (k, 0.97 * bottom), above, textcoords="offset points", ha="center", fontsize="small")


def _ring(ax: Axes, k: int, value: float) -> None:
    ax.plot([k], [value], marker="o", markersize=13, markerfacecolor="none", markeredgecolor="black", linestyle="")


@np.errstate(under="ignore")
def plot_fits(comparison: Comparison, feature: Any = None, *, backend: Backend = "matplotlib") -> Figure | Any:
    """The fit of every k (:func:`plot_fit`), in a panel each, with common axes.

    Parameters
    ----------
    comparison : Comparison
        From :func:`bayesgmm.compare`.
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
    by_k = _by_k(comparison)
    chosen = chosen_features(next(iter(comparison.fits.values())), feature, "feature")
    columns = min(_COLUMNS, len(by_k)) if len(chosen) == 1 else len(by_k)
    rows = len(chosen) * -(-len(by_k) // columns)
    shared: Any = {"sharex": "all", "sharey": "all"} if len(chosen) == 1 else {"sharex": "row", "sharey": "row"}
    figure, axes = panel_grid(rows, columns, (4 * columns, 2.8 * rows), **shared)
    for (name, _), row in zip(chosen, axes.reshape(len(chosen), -1), strict=True):
        _side_by_side(comparison, by_k, name, list(row))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize="small")
    return drawn_by(backend, figure)


def _side_by_side(comparison: Comparison, by_k: pd.DataFrame, name: Any, axes: list[Axes]) -> None:
    for ax, (k, row) in zip(axes, by_k.iterrows(), strict=False):
        plot_fit(comparison.reading(int(str(k))), name, ax=ax)
        converged = "" if row["converged"] else ", not converged"
        elpd = f"elpd {row['elpd_loo']:.1f}, weight {row['weight']:.2f}" if np.isfinite(row["elpd_loo"]) else "no elpd"
        ax.set_title(f"k = {k}: {elpd}{converged}", fontsize="medium")
        if (own := ax.get_legend()) is not None:
            own.remove()
        ax.label_outer()
    for ax in axes[len(by_k) :]:
        ax.set_axis_off()
    paths = [path for ax in axes[: len(by_k)] for band in ax.collections for path in band.get_paths()]
    axes[0].set_ylim(0, 1.05 * max(float(np.asarray(path.vertices)[:, 1].max()) for path in paths))


def plot_k(tree: xr.DataTree, *, backend: Backend = "matplotlib") -> Figure | Any:
    """Posterior of the number of components, with its prior, and posterior of the number of occupied clusters.

    Error bars are two Monte Carlo standard errors. At both ends, k with probabilities below 0.001 are left out.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.posterior_k`.
    backend : {"matplotlib", "plotly"}
        Plotting library. Figures of plotly (the extra ``plotly``) show values under the pointer and can be zoomed.

    Returns
    -------
    Figure
        A figure of the chosen library.
    """
    backend = read_backend(backend)
    part = probable(require_posterior_k(tree))
    figure, (axes,) = panel_grid(1, 2, (10, 4), sharey=True, sharex=True)
    for ax, name, title in zip(axes, ("p_k", "p_occupied"), ("components", "clusters that hold data"), strict=True):
        error = 2 * part[f"{name}_mcse"]
        ax.bar(part["k"], part[name], yerr=error, color=POSTERIOR, alpha=0.8, capsize=2, label="posterior (2 MCSE)")
        ax.set(title=f"number of {title}", xlabel="k")
        ax.set_xticks(part["k"].values[:: max(1, part.sizes["k"] // 15)])
    axes[0].plot(part["k"], part["prior_k"], color=EM, marker="o", linestyle="--", label="prior")
    axes[0].set(ylabel="probability")
    legend(figure, axes)
    return drawn_by(backend, figure)
