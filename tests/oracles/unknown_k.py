"""Mixtures of finite mixtures, for tests of telescoping: draws from the prior, and of data, without any sampler."""

from dataclasses import replace

import numpy as np

from bayesgmm.engines.sweeps import telescoping
from bayesgmm.engines.telescoping import components_of, room_for, start
from bayesgmm.kernels.number import number_tables
from tests.oracles.joint import prior_points, small_posterior

PRIOR = np.array([0.15, 0.35, 0.2, 0.3])  # of k = 1, ..., 4
AXES = {"chain_axis": 0, "draw_axis": 1}


def concentrations_of(weights, alpha, most):
    return alpha / np.arange(1, most + 1) if weights == "dynamic" else np.full(most, alpha)


class Problem:
    """A posterior of few observations, with a random number of components."""

    def __init__(self, covariance, n_features, kind, weights, n=6, alpha=0.3, prior=PRIOR):
        self.own = small_posterior(covariance, n_features, kind, 1, n)
        self.prior, self.most, self.n = prior, len(prior), n
        self.concentrations = concentrations_of(weights, alpha, self.most)

    def of(self, k):
        """The posterior of k components."""
        prior = replace(self.own.prior, alpha=self.concentrations[k - 1])
        return replace(self.own, k=k, prior=prior)

    def mixtures(self, size, rng):
        """Mixtures from the prior: C0 (empty if it is fixed), w, mu (k, D), cov (k, D, D) of each."""
        numbers = rng.choice(np.arange(1, self.most + 1), p=self.prior, size=size)
        found = [None] * size
        for k in np.unique(numbers):
            own, places = self.of(int(k)), np.flatnonzero(numbers == k)
            values = own.constrained(prior_points(own, len(places), rng))
            cov = values["cov"] if "cov" in values else np.broadcast_to(
                values["sigma2"].reshape(len(places), -1, 1, 1), (len(places), k, 1, 1)
            )  # fmt: skip
            for i, place in enumerate(places):
                C0 = np.ravel(values["C0"][i]) if "C0" in values else np.zeros(0)
                found[place] = C0, values["w"][i], values["mu"][i].reshape(k, -1), cov[i]
        return found

    def data(self, mixture, rng):
        """Observations of a mixture, and how many of its components they occupy."""
        _, w, mu, cov = mixture
        z = rng.choice(len(w), size=self.n, p=w / w.sum())
        noise = rng.standard_normal((self.n, mu.shape[1]))
        x = mu[z] + np.einsum("nij,nj->ni", np.linalg.cholesky(cov)[z], noise)
        return x.reshape(self.own.x.shape), len(np.unique(z))

    def sampler(self):
        """Telescoping sweeps. They read the current observations in ``own.x``."""
        return telescoping(self.own, number_tables(self.prior, self.concentrations, self.n))

    def begin(self, rng):
        return start(self.own, min(2, self.most), self.most, rng)

    def mixture_at(self, components, kept, scale):
        """The state of a chain as a mixture."""
        values = {name: each[0] for name, each in components_of(self.own, kept).items()}
        C0 = np.zeros(0)
        if self.own.hierarchical:
            C0 = np.ravel(components.scale)
        return C0, values["w"], values["mu"], values["cov"]

    def one_draw(self):
        return room_for(self.own, self.most, 0, 1, 1)


def summary(mixture):
    """Label-invariant quantities of a mixture: functions of k, of its components' moments, and C0."""
    C0, w, mu, cov = mixture
    variances = np.diagonal(cov, axis1=1, axis2=2)
    return np.concatenate([
        [len(w), len(w) ** 2, (w**2).sum(), len(w) * (w**2).sum()],
        w @ mu, w @ mu**2, w @ variances, (w**2) @ variances, mu.sum(axis=0), np.sqrt(variances).sum(axis=0), C0,
        (w @ np.sqrt(variances)) ** 2, [np.ptp(mu[:, 0]), w @ cov[:, 0, -1] * (w @ mu[:, 0])],
    ])  # fmt: skip
