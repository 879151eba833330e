"""The ascent of EM."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesgmm.em.result import EMResult
from bayesgmm.plots.canvas import EM, panels


@np.errstate(under="ignore")
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
    if not isinstance(em, EMResult):
        raise TypeError(f"em must be the EMResult that fit_em returns, got {type(em).__name__}")
    figure, (ax,) = panels(ax, 1, (7, 4))
    floor = 1e-8
    gaps = np.maximum(em.log_likelihood - em.history[:-1], floor)
    ax.plot(np.arange(1, len(gaps) + 1), gaps, color=EM, linewidth=2, label="best run")
    others = em.restarts[1:]
    for ended, marker, name in ((False, "o", "end of another restart"), (True, "x", "the same, collapsed")):
        chosen = [each for each in others if each.collapsed is ended]
        if chosen:
            ends = [max(abs(em.log_likelihood - each.log_likelihood), floor) for each in chosen]
            ax.scatter([each.n_iter for each in chosen], ends, color="#555555", marker=marker, s=22, zorder=3, label=name)
    ax.set(xscale="log", yscale="log", xlabel="EM iteration", ylabel="log-likelihood below the best")
    ax.set_title(f"k = {em.mixture.n_components}, log-likelihood {em.log_likelihood:.3f}", fontsize="medium")
    ax.legend(frameon=False, fontsize="small", loc="upper right")
    return figure
