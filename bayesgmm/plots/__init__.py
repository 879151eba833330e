"""Pictures. Every function returns a figure; many can draw into a given axis. For traces use ``az.plot_trace``.

It imports analysis, arguments, comparison, data, em, exceptions, model, words.
"""

from bayesgmm.plots.chains import plot_relabelling, plot_solutions
from bayesgmm.plots.clusters import plot_coclustering, plot_responsibilities
from bayesgmm.plots.fits import plot_em_history, plot_fit, plot_pairs
from bayesgmm.plots.numbers import plot_compare, plot_fits, plot_k
from bayesgmm.plots.regression import plot_conditional, plot_regression

__all__ = [
    "plot_coclustering",
    "plot_compare",
    "plot_conditional",
    "plot_em_history",
    "plot_fit",
    "plot_fits",
    "plot_k",
    "plot_pairs",
    "plot_regression",
    "plot_relabelling",
    "plot_responsibilities",
    "plot_solutions",
]
