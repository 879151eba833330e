"""Bayesian Gaussian mixture models: the posterior over weights, means and covariances, checked against EM.

>>> import bayesgmm as bg
>>> x = bg.datasets.galaxies()                                     # any column, or table, of numbers
>>> tree = bg.fit(x, 3, random_seed=1, progressbar=False)          # an ArviZ DataTree
>>> bg.diagnose(tree).converged, bg.check_against_em(tree).ok      # print them for tables, reasons and remedies
(True, True)

The model
    z_i ~ Categorical(w), x_i | z_i = k ~ Normal(mu_k, Sigma_k), marginalised over z. :class:`Mixture` holds known
    parameters. :func:`build_model` is the model in PyMC with a prior (:mod:`bayesgmm.priors`), and :func:`prior_predictive`
    draws from the prior.
Fitting
    :func:`fit_em` for the point estimate; :func:`fit` for the posterior by NUTS, Gibbs sampling, Laplace's approximation or
    ADVI; :func:`compare` for several numbers of components; :func:`posterior_k` for the posterior of that number;
    :func:`fit_many` for many small data sets.
    :class:`BayesianGMM` and :class:`BayesianGMMRegressor` are scikit-learn estimators.
Before fitting
    :class:`Observations` are rows with weights, labels, missing values, measurement errors or intervals. They can be given
    wherever an array of data can, except to :func:`jitter`. :func:`impute` estimates the true values. Components can shrink
    onto ties in rounded data: :func:`fit` then treats values as rounded, :func:`rounded` does so on request, and
    :func:`jitter` spreads them.
Can it be trusted?
    :func:`diagnose` judges the draws, :func:`check_against_em` compares them with EM, :func:`label_quality` says whether
    single clusters can be told apart, :func:`solutions` describes chains that disagree, and :func:`prior_sensitivity` says
    which answers depend on the prior.
Answers
    Density: :func:`predictive_density`, :func:`predictive_cdf`, :func:`predictive_quantiles`. Membership of observations:
    :func:`responsibilities`, :func:`partition`, :func:`coclustering`, :func:`occupied_clusters`. Clusters of several
    components: :func:`merge_components`. Features given others:
    :func:`predict`, :func:`conditional`. Single clusters:
    ``tree["posterior"]``, relabelled (:func:`relabel`, :func:`raw_order`), with :func:`add_correlations`.
How many components?
    ``print(compare(x))`` answers in words; :func:`loo` and :func:`log_evidence` judge a single fit. :func:`bootstrap_lrt`
    tests k against k + 1 components without a prior.
Pictures and reports
    :mod:`bayesgmm.plots`, ArviZ's plots of the same tree, and :func:`report`, one HTML file.

Data are a list, array, Series, DataFrame or DataArray of shape (n,) or (n, D), or Observations. Every function works in the
units of the data, and answers a wrong argument with one sentence (ValueError, TypeError). The categories of warnings are in
:mod:`bayesgmm.exceptions`. Phases and their seconds go to the logger ``bayesgmm``.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

import lazy_loader

_FOR_SKLEARN = ("BayesianGMM", "BayesianGMMRegressor")
_import, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
if find_spec("sklearn") is None:  # what cannot be imported would break help() and import *
    __all__ = [each for each in __all__ if each not in _FOR_SKLEARN]

logging.getLogger("bayesgmm").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import bayesgmm`` loads neither PyMC nor ArviZ."""
    if name == "__version__":
        from importlib.metadata import version

        return version("bayesgmm")
    if name not in __all__ and name not in _FOR_SKLEARN:
        raise AttributeError(f"module 'bayesgmm' has no attribute {name!r}")
    import numpy as np

    with np.errstate(under="ignore"):  # some libraries underflow during import
        globals()[name] = value = _import(name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
