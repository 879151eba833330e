"""Bayesian Gaussian mixture models: the posterior over weights, means and covariances, checked against EM.

>>> from bayesgmm import datasets, fit_em
>>> fit_em(datasets.galaxies(), 3, random_seed=1).converged
True

The road: :class:`Mixture` is the generative story, :func:`fit_em` the point estimate, :func:`build_model` the PyMC model,
:func:`fit` the posterior by NUTS, Gibbs or ADVI as a DataTree, :func:`check_against_em` and :func:`diagnose` the verdicts,
:func:`solutions` what the chains disagree about,
:func:`responsibilities` and :func:`partition` what belongs together, :func:`compare` the comparison
over k, :func:`posterior_k` the posterior of k itself, :mod:`bayesgmm.plots` the pictures, :func:`report` all of it in one
file to hand on.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesgmm import datasets, exceptions, plots, priors
    from bayesgmm.agreement import EMCheck, check_against_em
    from bayesgmm.clusters import (
        adjusted_rand,
        coclustering,
        occupied_clusters,
        partition,
        responsibilities,
        sample_assignments,
    )
    from bayesgmm.comparison import Comparison, compare
    from bayesgmm.diagnostics import Diagnosis, diagnose
    from bayesgmm.em import fit_em
    from bayesgmm.em_result import EMResult
    from bayesgmm.evidence import Evidence, log_evidence
    from bayesgmm.html_report import report
    from bayesgmm.inference import fit
    from bayesgmm.inference.unknown_k import posterior_k
    from bayesgmm.labels import LabelQuality, label_quality, raw_order, relabel
    from bayesgmm.leave_one_out import loo
    from bayesgmm.mixture import Mixture
    from bayesgmm.model import build_model, prior_predictive
    from bayesgmm.modes import Solutions, solutions
    from bayesgmm.predictive import (
        add_log_likelihood,
        add_posterior_predictive,
        predictive_cdf,
        predictive_density,
        predictive_quantiles,
    )
    from bayesgmm.priors import ConjugatePrior, HierarchicalPrior
    from bayesgmm.tree import add_correlations

_HOMES = {
    "Comparison": "comparison",
    "ConjugatePrior": "priors",
    "Diagnosis": "diagnostics",
    "EMCheck": "agreement",
    "EMResult": "em_result",
    "Evidence": "evidence",
    "HierarchicalPrior": "priors",
    "LabelQuality": "labels",
    "Mixture": "mixture",
    "Solutions": "modes",
    "add_correlations": "tree",
    "add_log_likelihood": "predictive",
    "add_posterior_predictive": "predictive",
    "adjusted_rand": "clusters",
    "build_model": "model",
    "check_against_em": "agreement",
    "coclustering": "clusters",
    "compare": "comparison",
    "diagnose": "diagnostics",
    "fit": "inference",
    "fit_em": "em",
    "label_quality": "labels",
    "log_evidence": "evidence",
    "loo": "leave_one_out",
    "occupied_clusters": "clusters",
    "partition": "clusters",
    "posterior_k": "inference.unknown_k",
    "predictive_cdf": "predictive",
    "predictive_density": "predictive",
    "predictive_quantiles": "predictive",
    "prior_predictive": "model",
    "raw_order": "labels",
    "relabel": "labels",
    "report": "html_report",
    "responsibilities": "clusters",
    "sample_assignments": "clusters",
    "solutions": "modes",
}
__version__ = version("bayesgmm")
_MODULES = ("datasets", "exceptions", "plots", "priors")

__all__ = [
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
    "check_against_em",
    "coclustering",
    "compare",
    "datasets",
    "diagnose",
    "exceptions",
    "fit",
    "fit_em",
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


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import bayesgmm`` loads neither PyMC nor ArviZ."""
    if name in _HOMES:
        value = getattr(import_module(f"bayesgmm.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"bayesgmm.{name}")
    else:
        raise AttributeError(f"module 'bayesgmm' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
