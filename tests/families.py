"""Models that every law is tested on: priors, covariance structures, and numbers of components and features."""

import bayesgmm as bg
from tests.statistics import rng

COVARIANCES = ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical")
OF_SKLEARN = COVARIANCES[:4]  # structures that scikit-learn has, too
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
OF_SEVERAL = in_pairs(PRIORS, OF_SKLEARN, (1, 2, 3, 10), (2, 3, 6, 3))
OF_SEVERAL += [
    (prior, covariance, k, 2 + i % 2)
    for i, (prior, k) in enumerate(zip(PRIORS, (1, 2, 3, 10), strict=True)) for covariance in COVARIANCES[4:]
]  # fmt: skip


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

    scale = {"diag": generator.uniform(0.2, 3, n_features), "spherical": 0.7}.get(covariance.removeprefix("tied_"))
    shared = {"alpha": 2.5, "b0": generator.normal(size=n_features), "B0": 9 * matrix(), "c0": n_features + 1.3}
    if kind == "hierarchical":
        return bg.HierarchicalPrior(**shared, g0=n_features - 0.3, G0=matrix() if scale is None else scale)
    return bg.ConjugatePrior(**shared, C0=matrix() if scale is None else scale)


def prior_of_each(kind, covariance, n_features, k):
    """A prior whose hyperparameters differ between components, as far as the structure lets them."""
    generator = rng(23)

    def matrices():
        root = generator.normal(size=(k, n_features, n_features + 2))
        return root @ root.swapaxes(1, 2)

    one, tied = n_features == 1, covariance.startswith("tied")
    given = {"alpha": generator.uniform(0.5, 3, k), "b0": generator.normal(size=k if one else (k, n_features))}
    given["B0"] = generator.uniform(1, 9, k) if one else 9 * matrices()
    given["c0"] = n_features + (1.3 if tied else generator.uniform(0.5, 3, k))
    if kind == "hierarchical":
        usual = prior_of("hierarchical, all given", covariance, n_features)
        return bg.HierarchicalPrior(**given, g0=usual.g0, G0=usual.G0)
    scale = {"diag": generator.uniform(0.2, 3, (k, n_features)), "spherical": generator.uniform(0.2, 3, k)}
    scale = scale.get(covariance.removeprefix("tied_"))
    scale = generator.uniform(0.2, 3, k) if one else matrices() if scale is None else scale
    return bg.ConjugatePrior(**given, C0=scale[0] if tied else scale)
