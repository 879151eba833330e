"""The posterior of a tree: its compiled density, its draws as points, and its log density with C0 integrated out."""

from __future__ import annotations

import numpy as np
from scipy.special import logit

from bayesgmm.analysis.contract import attribute
from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.reading import Reading
from bayesgmm.arguments import FloatArray
from bayesgmm.data.known import sorting
from bayesgmm.data.units import Units
from bayesgmm.kernels import student
from bayesgmm.model import wishart
from bayesgmm.model.fixed import fixed_of
from bayesgmm.model.mixture import NOISE, NU
from bayesgmm.model.priors import CUSTOM_MODEL, prior_of
from bayesgmm.posterior import LogPosterior, standardised_posterior
from bayesgmm.words import Argument, Words

EXACT = ("nuts", "gibbs", "laplace")  # engines that draw from the posterior itself


def read_posterior(reading: Reading) -> tuple[LogPosterior, FloatArray, Units]:
    """The posterior of standardised data, its draws as points (chain, draw, n_dim), and its units.

    Exchangeable clusters of a draw are sorted, so that nothing depends on their labels. C0 is left at zero.
    """
    prior = prior_of(attribute(reading.tree, "prior"))
    if "approximation" in reading.tree.children:
        advi, nuts, gibbs = (Argument("method", each) for each in ("advi", "nuts", "gibbs"))
        got = Words("got those of ", advi, "; fit again with ", nuts, " or ", gibbs)
        raise ValueError(Words("tree must hold draws from the posterior itself, ", got))
    if reading.whole is not None:
        raise ValueError("tree must hold all rows, got a sample of those that were read in passes; fit rows in memory")
    if prior is None:
        raise ValueError(
            "tree must come from one of the package's own priors, whose normalising constants are known, got a "
            f"{CUSTOM_MODEL}; fit again with prior= in place of model="
        )
    rows, draws, covariance = reading.observations, reading.draws, attribute(reading.tree, "covariance")
    prior = prior.scaled_to(rows.x, covariance)  # no hyperparameter is open: this checks that the prior suits the data
    fixed = fixed_of(reading.tree.attrs.get("fixed"))
    own, units = standardised_posterior(rows, draws.n_components, prior, covariance, draws.family, fixed)
    return own, draws.by_chain(points_of(own, draws, units)), units


def log_joint(own: LogPosterior, points: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Log p(x, parameters) at points (S, n_dim) with C0 integrated out; -inf beyond a float's range.

    p(x, theta) = p(x, theta, C0) / p(C0 | theta) holds for any C0. Here C0 is drawn from its conditional.
    """
    points, log_q = own.with_exact_scale(points, rng) if own.hierarchical else (points, 0.0)
    values = own.values(points) - log_q
    return np.where(np.isnan(values), -np.inf, values)


def points_of(own: LogPosterior, draws: Draws, units: Units) -> FloatArray:
    """Points (S, n_dim) of draws in the data's units, with exchangeable clusters sorted. C0 is left at zero."""
    size, spread = len(draws.w), own.spread
    draws = draws.reordered(sorting(own.classes, draws.w, draws.mu[..., 0]))
    log_w = np.log(np.maximum(draws.w, np.finfo(float).tiny))
    standardised = draws.standardised(units)
    mu, factors = standardised.mu, standardised.factors[:, : spread.n_blocks]
    points = np.zeros((size, sum(own.sizes.values())))
    free = np.ones(own.k, bool) if own.fixed is None else own.fixed.free_w
    points[:, : own.k - 1] = (log_w - log_w[:, free].mean(axis=1, keepdims=True))[:, :-1] if free.any() else 0.0
    points[:, own.places["mu"]] = mu.reshape(size, -1)
    if spread.structure.correlated:
        coordinates = wishart.to_coordinates(wishart.factors_of_inverse(factors @ factors.swapaxes(-1, -2)))
    else:
        coordinates = 2 * np.log(np.diagonal(factors, axis1=2, axis2=3)[..., : spread.size])
    points[:, own.places[spread.name]] = coordinates.reshape(size, -1)
    if own.noise:
        assert draws.noise is not None
        points[:, own.places[NOISE].start] = logit(draws.noise)
    if own.n_nu:
        assert draws.nu is not None
        points[:, own.places[NU]] = student.coordinates_of(draws.nu)
    return own.reduced(points)
