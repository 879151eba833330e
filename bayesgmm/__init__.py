"""Bayesian Gaussian mixture models: the posterior over weights, means and covariances, checked against EM.

>>> import bayesgmm as bg
>>> x = bg.datasets.galaxies()                                     # any column, or table, of numbers
>>> tree = bg.fit(x, 3, random_seed=1, progressbar=False)          # an ArviZ DataTree
>>> bg.diagnose(tree).converged, bg.check_against_em(tree).ok      # print them for tables, reasons and remedies
(True, True)

The model
    z_i ~ Categorical(w), x_i | z_i = k ~ Normal(mu_k, Sigma_k), with z summed out. :class:`Mixture` is this story with known
    parameters, :func:`build_model` states it in PyMC with a prior (:mod:`bayesgmm.priors`), :func:`prior_predictive` draws
    from that.
Fitting
    :func:`fit_em` for the point estimate; :func:`fit` for the posterior by NUTS, Gibbs or ADVI; :func:`compare` for several
    numbers of components, :func:`posterior_k` for k as one more unknown. :class:`BayesianGMM` is all this for scikit-learn.
Before fitting
    Rounded data have ties, onto which components can shrink: :func:`jitter` spreads them again.
Can it be trusted?
    :func:`diagnose` judges the draws, :func:`check_against_em` sets EM beside them, :func:`label_quality` says whether
    single clusters can be told apart, :func:`solutions` where the chains sit if they disagree.
What it says
    Of the density: :func:`predictive_density`, :func:`predictive_cdf`, :func:`predictive_quantiles`. Of the observations:
    :func:`responsibilities`, :func:`partition`, :func:`coclustering`, :func:`occupied_clusters`. Of single clusters:
    ``tree["posterior"]``, relabelled (:func:`relabel`, :func:`raw_order`), with :func:`add_correlations`.
Which k?
    ``print(compare(x))`` in words; :func:`loo` and :func:`log_evidence` of one fit.
To look at and to hand on
    :mod:`bayesgmm.plots`, ArviZ's plots on the same tree, and :func:`report`, one HTML file.

Every function takes data as a list, array, Series, DataFrame or DataArray of shape (n,) or (n, D), works in its units, and
answers a wrong argument with one sentence (ValueError, TypeError). Warnings have categories, in
:mod:`bayesgmm.exceptions`; phases and their seconds go to the logger ``bayesgmm``.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesgmm import datasets, exceptions, plots, priors
    from bayesgmm.analysis.clusters import (
        adjusted_rand,
        coclustering,
        occupied_clusters,
        partition,
        responsibilities,
        sample_assignments,
    )
    from bayesgmm.analysis.diagnosis import Diagnosis, diagnose
    from bayesgmm.analysis.em_check import EMCheck, check_against_em
    from bayesgmm.analysis.labels import LabelQuality, label_quality, raw_order, relabel
    from bayesgmm.analysis.predictive import (
        add_log_likelihood,
        add_posterior_predictive,
        by_feature,
        predictive_cdf,
        predictive_density,
        predictive_quantiles,
    )
    from bayesgmm.analysis.pymc_variables import for_pymc
    from bayesgmm.analysis.solutions import Solutions, solutions
    from bayesgmm.analysis.tree import add_correlations
    from bayesgmm.comparison.comparing import Comparison, compare
    from bayesgmm.comparison.evidence import Evidence, log_evidence
    from bayesgmm.comparison.leave_one_out import loo
    from bayesgmm.counting import posterior_k
    from bayesgmm.data.ties import jitter
    from bayesgmm.em.fitting import fit_em
    from bayesgmm.em.result import EMResult
    from bayesgmm.estimator import BayesianGMM
    from bayesgmm.fitting import fit
    from bayesgmm.html_report.writing import report
    from bayesgmm.model.mixture import Mixture
    from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior
    from bayesgmm.model.pymc_model import build_model, prior_predictive

    __version__: str

_HOMES = {
    "BayesianGMM": "estimator",
    "Comparison": "comparison.comparing",
    "ConjugatePrior": "model.priors",
    "Diagnosis": "analysis.diagnosis",
    "EMCheck": "analysis.em_check",
    "EMResult": "em.result",
    "Evidence": "comparison.evidence",
    "HierarchicalPrior": "model.priors",
    "LabelQuality": "analysis.labels",
    "Mixture": "model.mixture",
    "Solutions": "analysis.solutions",
    "add_correlations": "analysis.tree",
    "add_log_likelihood": "analysis.predictive",
    "add_posterior_predictive": "analysis.predictive",
    "adjusted_rand": "analysis.clusters",
    "build_model": "model.pymc_model",
    "by_feature": "analysis.predictive",
    "check_against_em": "analysis.em_check",
    "coclustering": "analysis.clusters",
    "compare": "comparison.comparing",
    "diagnose": "analysis.diagnosis",
    "fit": "fitting",
    "fit_em": "em.fitting",
    "for_pymc": "analysis.pymc_variables",
    "jitter": "data.ties",
    "label_quality": "analysis.labels",
    "log_evidence": "comparison.evidence",
    "loo": "comparison.leave_one_out",
    "occupied_clusters": "analysis.clusters",
    "partition": "analysis.clusters",
    "posterior_k": "counting",
    "predictive_cdf": "analysis.predictive",
    "predictive_density": "analysis.predictive",
    "predictive_quantiles": "analysis.predictive",
    "prior_predictive": "model.pymc_model",
    "raw_order": "analysis.labels",
    "relabel": "analysis.labels",
    "report": "html_report.writing",
    "responsibilities": "analysis.clusters",
    "sample_assignments": "analysis.clusters",
    "solutions": "analysis.solutions",
}
_MODULES = ("datasets", "exceptions", "plots", "priors")

__all__ = [
    "BayesianGMM",
    "Comparison",
    "ConjugatePrior",
    "Diagnosis",
    "EMCheck",
    "EMResult",
    "Evidence",
    "HierarchicalPrior",
    "LabelQuality",
    "Mixture",
    "Solutions",
    "add_correlations",
    "add_log_likelihood",
    "add_posterior_predictive",
    "adjusted_rand",
    "build_model",
    "by_feature",
    "check_against_em",
    "coclustering",
    "compare",
    "datasets",
    "diagnose",
    "exceptions",
    "fit",
    "fit_em",
    "for_pymc",
    "jitter",
    "label_quality",
    "log_evidence",
    "loo",
    "occupied_clusters",
    "partition",
    "plots",
    "posterior_k",
    "predictive_cdf",
    "predictive_density",
    "predictive_quantiles",
    "prior_predictive",
    "priors",
    "raw_order",
    "relabel",
    "report",
    "responsibilities",
    "sample_assignments",
    "solutions",
]
if not TYPE_CHECKING and find_spec("sklearn") is None:  # what cannot be imported would break help() and import *
    __all__.remove("BayesianGMM")

logging.getLogger("bayesgmm").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import bayesgmm`` loads neither PyMC nor ArviZ."""
    import numpy as np

    if name in _HOMES or name in _MODULES:
        with np.errstate(under="ignore"):  # libraries, too, underflow when they are imported
            module = import_module(f"bayesgmm.{_HOMES.get(name, name)}")
        value = getattr(module, name) if name in _HOMES else module
    elif name == "__version__":
        from importlib.metadata import version

        value = version("bayesgmm")
    else:
        raise AttributeError(f"module 'bayesgmm' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
