"""The tree: the one contract between inference and analysis.

Every engine ends in :func:`build_tree`, every analysis begins with :func:`read_draws`.

* ``posterior``: ``w``, ``mu``, ``sigma`` over (chain, draw, cluster), and hyperparameters such as ``C0``
* ``sample_stats``: ``lp`` (the log posterior on the unconstrained space; for the package's own priors that of the
  standardised data) and what the sampler reports; ``permutation`` (chain, draw, cluster), the relabelling
* ``observed_data``: ``x`` (obs)
* ``em_baseline``: ``w``, ``mu``, ``sigma`` (cluster), the EM estimate; its criteria are attributes
* ``approximation`` (ADVI): ``elbo`` (iteration); k-hat and convergence are attributes
* ``log_likelihood``, ``posterior_predictive``: on request, see :mod:`bayesgmm.predictive`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm.em import EMResult
from bayesgmm.mixture import Mixture
from bayesgmm.validation import FloatArray

CLUSTER = "cluster"
OBS = "obs"
PARAMETERS = ("w", "mu", "sigma")


@dataclass(frozen=True)
class Draws:
    """The mixture's parameters in a tree as arrays, chains one after another.

    Attributes
    ----------
    w, mu, sigma : (S, K) arrays
        S = chains x draws.
    n_chains, n_draws : int
    """

    w: FloatArray
    mu: FloatArray
    sigma: FloatArray
    n_chains: int
    n_draws: int

    @property
    def n_components(self) -> int:
        """K."""
        return self.w.shape[1]

    def by_chain(self, values: NDArray[Any]) -> NDArray[Any]:
        """Reshape (S, ...) to (chain, draw, ...)."""
        return values.reshape(self.n_chains, self.n_draws, *values.shape[1:])

    def thinned(self, most: int) -> Draws:
        """At most ``most`` draws, evenly spaced, as one chain."""
        keep = np.linspace(0, len(self.w) - 1, min(most, len(self.w))).astype(int)
        return Draws(self.w[keep], self.mu[keep], self.sigma[keep], 1, len(keep))


def build_tree(
    posterior: xr.Dataset,
    sample_stats: xr.Dataset,
    x: FloatArray,
    positions: NDArray[np.int64],
    em: EMResult,
    attrs: Mapping[str, Any],
    approximation: xr.Dataset | None = None,
) -> xr.DataTree:
    """Assemble the tree from what an engine produced, in the data's units."""
    k = em.mixture.n_components
    posterior = posterior.assign_coords({CLUSTER: np.arange(k)})
    groups = {
        "posterior": posterior,
        "sample_stats": sample_stats,
        "observed_data": xr.Dataset({"x": (OBS, np.array(x))}, coords={OBS: positions}),
        "em_baseline": _em_dataset(em),
    }
    if approximation is not None:
        groups["approximation"] = approximation
    tree = xr.DataTree.from_dict(groups)
    tree.attrs.update(attrs, version=version("bayesgmm"))
    return set_permutation(tree, np.broadcast_to(np.arange(k), posterior["w"].shape))


def read_tree(tree: Any) -> xr.DataTree:
    """Check that a tree keeps the contract."""
    if not isinstance(tree, xr.DataTree):
        raise TypeError(f"tree must be the DataTree that fit returns, got {type(tree).__name__}")
    if "posterior" not in tree.children:
        raise ValueError(
            f"tree must have a group posterior, got {sorted(tree.children) or 'no groups'}; pass what fit returned"
        )
    posterior = tree["posterior"]
    for name in PARAMETERS:
        if name not in posterior or posterior[name].dims != ("chain", "draw", CLUSTER):
            found = {str(key): value.dims for key, value in posterior.data_vars.items()}
            raise ValueError(
                f"tree must hold posterior variables {', '.join(PARAMETERS)} with dims (chain, draw, {CLUSTER}), "
                f"got {found}; pass what fit returned"
            )
    return tree


def read_draws(tree: xr.DataTree) -> Draws:
    """The draws of w, mu and sigma."""
    return draws_of(read_tree(tree)["posterior"].to_dataset())


def draws_of(posterior: xr.Dataset) -> Draws:
    """The draws of w, mu and sigma in a posterior group."""
    n_chains, n_draws, k = posterior["w"].shape
    w, mu, sigma = (np.asarray(posterior[name].values, dtype=float).reshape(-1, k) for name in PARAMETERS)
    return Draws(w, mu, sigma, n_chains, n_draws)


def read_observations(tree: xr.DataTree) -> FloatArray:
    """The data the tree was fitted to."""
    if "observed_data" not in read_tree(tree).children or "x" not in tree["observed_data"]:
        raise ValueError("tree must have a group observed_data with x; pass what fit returned")
    return np.asarray(tree["observed_data"]["x"].values, dtype=float)


def read_em(tree: xr.DataTree) -> tuple[Mixture, float]:
    """The EM estimate beside the posterior, and its log-likelihood."""
    if "em_baseline" not in read_tree(tree).children:
        raise ValueError("tree must have a group em_baseline; pass what fit returned, or an EMResult as em=")
    group = tree["em_baseline"].to_dataset()
    mixture = Mixture(group["w"].values, group["mu"].values, sigma=group["sigma"].values)
    return mixture, float(group.attrs["log_likelihood"])


def permute(tree: xr.DataTree, permutation: NDArray[np.int64]) -> xr.DataTree:
    """Give cluster ``j`` of each draw to what was cluster ``permutation[chain, draw, j]``, in every variable at once.

    The permutation from the raw order is kept in ``sample_stats``.
    """
    posterior = tree["posterior"].to_dataset()
    reordered = {}
    for name, values in posterior.data_vars.items():
        if CLUSTER in values.dims:
            front = values.transpose("chain", "draw", CLUSTER, ...)
            index = permutation.reshape(permutation.shape + (1,) * (front.ndim - 3))
            moved = front.copy(data=np.take_along_axis(front.values, index, axis=2))
            reordered[name] = moved.transpose(*values.dims)
    result = tree.copy()
    result["posterior"] = xr.DataTree(posterior.assign(reordered))
    return set_permutation(result, np.take_along_axis(read_permutation(tree), permutation, axis=2))


def read_permutation(tree: xr.DataTree) -> NDArray[np.int64]:
    """Which raw cluster stands in each place, (chain, draw, cluster)."""
    if "sample_stats" in tree.children and "permutation" in tree["sample_stats"]:
        return np.asarray(tree["sample_stats"]["permutation"].values)
    shape = tree["posterior"]["w"].shape
    return np.broadcast_to(np.arange(shape[-1]), shape)


def set_permutation(tree: xr.DataTree, permutation: NDArray[np.int64]) -> xr.DataTree:
    """Record the permutation from the raw order."""
    dims = ("chain", "draw", CLUSTER)
    coords = {name: tree["posterior"][name] for name in dims}
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    tree["sample_stats"] = xr.DataTree(
        stats.assign(permutation=xr.DataArray(np.array(permutation), dims=dims, coords=coords))
    )
    return tree


def _em_dataset(em: EMResult) -> xr.Dataset:
    mixture = em.mixture
    values = {"w": mixture.weights, "mu": mixture.means, "sigma": mixture.sigma}
    return xr.Dataset(
        {name: (CLUSTER, np.array(value)) for name, value in values.items()},
        coords={CLUSTER: np.arange(mixture.n_components)},
        attrs={
            "log_likelihood": em.log_likelihood,
            "bic": em.bic(),
            "aic": em.aic(),
            "icl": em.icl(),
            "converged": int(em.converged),
            "collapsed": int(em.collapsed),
            "n_iter": em.n_iter,
        },
    )
