"""Models that every law is tested on: priors, covariance structures, and numbers of components and features."""

import bayesgmm as bg
from tests.statistics import rng

COVARIANCES = ("full", "tied", "diag", "spherical")
KINDS = ("hierarchical", "conjugate")
STRUCTURES = [("full", 1), ("tied", 1), *((covariance, 3) for covariance in COVARIANCES)]  # (covariance, number of features)
PRIORS = ("hierarchical", "hierarchical, all given", "conjugate", "conjugate, all given")


def in_pairs(*options):
    """Combinations of options with four values each, by an orthogonal array over GF(4): every pair of values occurs."""
    twice = (0, 2, 3, 1)
    rows = ((i, j, i ^ j, i ^ twice[j], i ^ twice[twice[j]]) for i in range(4) for j in range(4))
    return [tuple(values[level] for values, level in zip(options, row, strict=False)) for row in rows]


# (prior, covariance, k, number of features)
OF_ONE_FEATURE = [
    (prior, covariance, k, 1) for prior, k, covariance in in_pairs(PRIORS, (1, 2, 3, 10), ("full", "tied") * 2)
]
OF_SEVERAL = in_pairs(PRIORS, COVARIANCES, (1, 2, 3, 10), (2, 3, 6, 3))


def prior_of(name, covariance, n_features):
    """One of ``PRIORS``. If all hyperparameters are given, they differ between features."""
    kind, _, given = name.partition(", ")
    if not given:
        return bg.HierarchicalPrior() if kind == "hierarchical" else bg.ConjugatePrior()
    if n_features == 1 and kind == "hierarchical":
        return bg.HierarchicalPrior(alpha=2.5, b0=1.0, B0=9.0, c0=3.3, g0=0.7, G0=2.0)
    if n_features == 1:
        return bg.ConjugatePrior(alpha=0.4, b0=-1.0, B0=4.0, c0=1.5, C0=0.3)
    generator = rng(17)

    def matrix():
        root = generator.normal(size=(n_features, n_features + 2))
        return root @ root.T

    scale = {"diag": generator.uniform(0.2, 3, n_features), "spherical": 0.7}.get(covariance)
    shared = {"alpha": 2.5, "b0": generator.normal(size=n_features), "B0": 9 * matrix(), "c0": n_features + 1.3}
    if kind == "hierarchical":
        return bg.HierarchicalPrior(**shared, g0=n_features - 0.3, G0=matrix() if scale is None else scale)
    return bg.ConjugatePrior(**shared, C0=matrix() if scale is None else scale)
