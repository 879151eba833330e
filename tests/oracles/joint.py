"""Draws of parameters from the prior and of data given parameters, without any sampler."""

import numpy as np
from scipy import stats

import bayesgmm as bg
from bayesgmm.model import wishart
from bayesgmm.posterior import log_posterior
from tests.statistics import rng


def small_posterior(covariance, n_features, kind, k=3, n=6, of_each=False):
    """A posterior of few observations under a prior whose moments exist. Features differ, and components are often empty.

    With ``of_each`` the components differ in all that may differ.
    """
    x = rng(1).normal(size=(n, n_features))
    mixed = np.array([[1.0, 0.6, -0.2], [0.6, 2.0, 0.3], [-0.2, 0.3, 0.5]])
    given = {"alpha": 0.3, "b0": 0.5, "B0": 1.0, "c0": 7.0}
    if n_features > 1:
        given |= {"b0": np.array([0.5, -1.0, 2.0]), "B0": mixed}
    scale = 3.0
    if n_features > 1 and covariance in ("full", "tied"):
        scale = 4 * mixed[::-1, ::-1]
    elif n_features > 1 and covariance.endswith("diag"):
        scale = np.array([2.0, 4.0, 7.0])
    if of_each:
        steps = np.arange(k)
        given["alpha"] = 0.3 * (steps + 1)
        given |= {
            name: np.add.outer(steps, given[name]) for name in ("b0", *(["c0"] if not covariance.startswith("tied") else []))
        }
        given["B0"] = np.multiply.outer(1 + steps, given["B0"])
        if kind == "conjugate" and not covariance.startswith("tied"):
            scale = np.multiply.outer(1 + steps, scale)
    if kind == "hierarchical":
        prior = bg.HierarchicalPrior(**given, g0=5.0, G0=scale)
    else:
        prior = bg.ConjugatePrior(**given, C0=scale)
    return log_posterior(x, k, prior.scaled_to(x, covariance), covariance)


def prior_points(own, size, generator):
    """Independent draws of the parameters from the prior, as points with all coordinates; those of fixed ones are arbitrary.

    Fixed weights must be all weights.
    """
    k, d, m = own.k, own.n_features, 1 if own.covariance.startswith("tied") else own.k
    hyper = own.hyper.of_each(k, m)
    fixed = hyper.c0 == 0
    c0 = np.where(fixed, d + 1.0, hyper.c0)
    w = generator.dirichlet(np.where(hyper.alpha > 0, hyper.alpha, 1.0), size)
    noise = generator.normal(size=(size, k, d, 1))
    mu = (hyper.b0 + (hyper.root_of_B0 @ noise)[..., 0]).reshape(size, -1)
    log_w = np.log(np.maximum(w, 1e-300))
    parts = [(log_w - log_w.mean(axis=1, keepdims=True))[:, :-1], mu]
    rate = hyper.rate.copy()
    if fixed.any() and not own.hierarchical:
        rate[fixed] = np.eye(d) if rate.ndim == 3 else 1.0
    C0 = np.broadcast_to(rate, (size, *rate.shape))
    if d > 1 and own.covariance in ("full", "tied"):
        if own.hierarchical:
            factors = wishart.draw_factors(hyper.g0, C0, generator)
            C0 = factors.swapaxes(-1, -2) @ factors
            parts.append(wishart.to_coordinates(factors).reshape(size, -1))
        factors = wishart.draw_factors(c0, np.broadcast_to(C0, (size, m, d, d)), generator)
        parts.append(wishart.to_coordinates(factors).reshape(size, -1))
    else:
        if own.hierarchical:
            C0 = generator.gamma(hyper.g0, 1 / C0)
            parts.append(np.log(C0).reshape(size, -1))
        C0 = np.broadcast_to(C0, (size, m, C0.shape[-1]))
        parts.append(np.log(C0 / generator.gamma(c0[:, None], size=C0.shape)).reshape(size, -1))
    if own.n_nu:
        nu = stats.gamma(2, scale=10)
        parts.append(np.log(nu.isf(nu.sf(1) * generator.random((size, k))) - 1))
    return np.concatenate(parts, axis=1)


def draw_data(own, point, generator):
    """As many observations as the posterior has, drawn given the parameters at a point."""
    values, mu = own.constrained(point), own.means(point[None])[0]
    z = generator.choice(own.k, len(own.x), p=values["w"])
    noise = generator.normal(size=own.x.shape)
    if own.n_nu:
        noise /= np.sqrt(generator.chisquare(values["nu"][z]) / values["nu"][z])[:, None]
    return mu[z] + np.einsum("nij,nj->ni", np.linalg.cholesky(values["cov"])[z], noise)
