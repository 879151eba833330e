"""The problems: data, K, how long every sampler runs, and the one prior that all of them state."""

from dataclasses import dataclass

import numpy as np

import bayesgmm as bg
from bayesgmm.posterior import log_posterior


@dataclass(frozen=True)
class Problem:
    """Data, components, and draws and tuning steps of each of four chains."""

    x: np.ndarray
    k: int
    draws: int = 1000
    tune: int = 1000
    limit: int = 600
    """Seconds that one run may take."""
    peers: bool = True
    """Whether peers run too. With a million observations, one gradient of theirs costs as much as a whole draw of ours."""


def problems(smoke=False):
    """Every problem by name; under smoke a small one of each kind."""
    if smoke:
        return {
            "two Gaussians, n = 1 000": Problem(bg.datasets.two_gaussians(n=1_000).x, 2),
            "Old Faithful, D = 2, K = 2": Problem(bg.jitter(bg.datasets.old_faithful(), random_seed=0).to_numpy(), 2),
        }
    from sklearn.datasets import load_iris

    overlap = bg.Mixture([0.4, 0.6], [0.0, 1.5], sigma=[1.0, 1.0])
    return {
        "two Gaussians, n = 10 000": Problem(bg.datasets.two_gaussians().x, 2, 500, 500),
        "galaxies, K = 3": Problem(np.asarray(bg.datasets.galaxies()), 3),
        "galaxies, K = 6": Problem(np.asarray(bg.datasets.galaxies()), 6),
        "overlapping pair, n = 1 000": Problem(overlap.sample(1_000, random_seed=1)[0], 2),
        "three Gaussians, n = 1 000 000": Problem(bg.datasets.three_gaussians(n=1_000_000).x, 3, 500, 500, peers=False),
        "three Gaussians, n = 10 000": Problem(bg.datasets.three_gaussians().x, 3, 500, 500, limit=120),
        "Old Faithful, D = 2, K = 2": Problem(bg.jitter(bg.datasets.old_faithful(), random_seed=0).to_numpy(), 2),
        "iris, D = 4, K = 3": Problem(bg.jitter(load_iris().data, random_seed=0), 3),
        "simulated, D = 10, K = 5, n = 10 000": Problem(ten_features(), 5, 500, 500, limit=300),
    }


def ten_features():
    """Five clusters of ten correlated features, some of which overlap."""
    rng = np.random.default_rng(10)
    roots = rng.normal(0, 0.4, (5, 10, 10)) + np.eye(10)
    mixture = bg.Mixture(rng.dirichlet(np.full(5, 5.0)), rng.normal(0, 2, (5, 10)), roots @ roots.swapaxes(1, 2))
    return mixture.sample(10_000, rng)[0]


def prior_of(x):
    """The default prior of bayesgmm in numbers, for the peers' models."""
    prior = bg.HierarchicalPrior().scaled_to(x)
    return {"b0": prior.b0, "B0": prior.B0, "c0": prior.c0, "g0": prior.g0, "G0": prior.G0}


def start_of(x, k):
    """The EM estimate, at which every peer may start."""
    mixture = bg.fit_em(x, k, random_seed=1).mixture
    own = log_posterior(x.reshape(len(x), -1), k, bg.HierarchicalPrior().scaled_to(x), "full")
    values = own.values_at(mixture)
    if x.ndim == 1:
        return values
    precisions = np.linalg.inv(mixture.covariances)
    return {**values, "C0": own.constrained(own.at(mixture))["C0"], "cov": mixture.covariances, "precision": precisions}
