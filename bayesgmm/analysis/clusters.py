"""Which observations belong together: membership probabilities, co-clustering, one partition, from the posterior's draws.

The labels z are summed out of the posterior that is sampled. Given a draw of the parameters they are independent, with the
probabilities r_ik of the E-step, so what follows from them is computed in expectation wherever that is possible.
"""

from __future__ import annotations

from itertools import batched
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.special import comb, xlogy

from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.in_parts import in_parts, write_in_parts
from bayesgmm.analysis.labels import relabelled
from bayesgmm.analysis.membership import averaged
from bayesgmm.analysis.predictive import read_points
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import CLUSTER, OBS
from bayesgmm.arguments import FloatArray, read_choice, read_count, read_seed, require_memory
from bayesgmm.data.observations import Observations
from bayesgmm.data.scan import Scan
from bayesgmm.data.sources import scan_of
from bayesgmm.kernels import partitions
from bayesgmm.words import about

_OPERATIONS = 2e11  # of the products of co-clustering, about which many draws are used
_FEWEST = 100  # draws, however many the observations
_FEW = 200  # draws of allocations that are enough for a clustering to begin with
_MOST_LINKED = 2_000  # observations of which hierarchical clustering takes no time
_MOST_CLUSTERS = 100  # of a partition
_LOOKED_UP = 2**20  # observations, up to which the loss of every size is computed beforehand
_ORDERS = 8  # random orders in which greedy sweeps visit the observations


@np.errstate(under="ignore")
def responsibilities(tree: Tree, x: ArrayLike | Observations | Scan | None = None) -> xr.Dataset:
    """Posterior mean and standard deviation of each observation's membership probabilities.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, relabelled.
    x : (n,) or (n, D) array-like, Scan, memory map or Dask collection, optional
        Further observations, each on its own; default: those that were fitted. Of a Dask collection the result is lazy; for
        rows that do not fit into memory see :func:`bayesgmm.write_responsibilities`.

    Returns
    -------
    Dataset
        ``mean`` and ``sd`` (obs, cluster), obs being the position in what was given: of
        r_ik = w_k N(x_i; mu_k, Sigma_k) / sum_j w_j N(x_i; mu_j, Sigma_j) over the posterior, with j among the components
        that a label allows; where observations may be noise, ``noise`` (obs), the probability that it is. The means of an
        observation, and that, add to one and are the probabilities of z_i given all that is known:
        the fitted data, and of a further observation also where it lies,
        p(z_i | x_i, data) = E[w_k N(x_i; ...)] / E[sum_j w_j N(x_i; ...)]. To that end each draw has a share in proportion
        to the density that it gives x_i.

    Raises
    ------
    ValueError
        If x is not finite or has not the data's features.

    Notes
    -----
    Each observation is averaged over as many draws, spread over all of them, as make the Monte Carlo standard error of each
    of its probabilities 0.005 at most: 128, 512 or 2048, or all there are. Draws and observations are streamed: memory is
    that of the result. Tested property: the mean is the frequency of labels drawn by :func:`sample_assignments`; of a
    further observation, Bayes' theorem with the predictive density.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.responsibilities(tree, [9.5, 21.0, 33.0])["mean"].argmax("cluster").values.tolist()
    [0, 1, 2]
    """
    reading = Reading.of(tree)
    scan = None if x is None else scan_of(x)
    if scan is not None:
        return in_parts(reading, scan, responsibilities)
    draws, rows, coords = _asked(reading, x)  # type: ignore[arg-type]  # it is no scan
    k = draws.n_components
    mean, sd = averaged(draws, rows, further=x is not None)
    dims, coords = (OBS, CLUSTER), coords | {CLUSTER: reading.tree["posterior"][CLUSTER].to_numpy()}
    found: dict[str, Any] = {"mean": (dims, mean[:, :k]), "sd": (dims, sd[:, :k])}
    if draws.noise is not None:
        found["noise"] = ((OBS,), mean[:, k])
    return xr.Dataset(found, coords=coords, attrs={"draws": len(draws.w)})


def write_responsibilities(tree: Tree, x: ArrayLike | Scan, path: str | Path, *, force: bool = False) -> None:
    """Write each row's membership probabilities, and its most probable cluster, to a Parquet file.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, relabelled.
    x : Scan, memory map or Dask collection
        Rows, of any number: see :func:`bayesgmm.scan_parquet`. A few parts of them are in memory at once.
    path : str or path
        File to be written: the rows in their order, in columns ``cluster`` (-1 of noise, and of rows that are left out),
        ``mean_0``, ..., ``sd_0``, ..., and ``noise``, as by :func:`bayesgmm.responsibilities`. It has its name when it is
        whole.
    force : bool
        Replace a file of that name.

    Raises
    ------
    FileExistsError, OSError
        If there is such a file, or it cannot be written; nothing is left of it then.
    ValueError, TypeError
        If x has not the data's features, or is not read in parts.
    """
    scan = scan_of(x)
    if scan is None:
        rule = "must be rows that are read in parts: a scan, a memory map or a Dask collection"
        raise TypeError(about("x", f"{rule}, got {type(x).__name__}; call responsibilities"))
    write_in_parts(Reading.of(tree), scan, responsibilities, path, force=force)


def membership(found: xr.Dataset) -> FloatArray:
    """Probabilities of the clusters, by :func:`responsibilities`, (n, K); where there is noise, its own last, (n, K + 1)."""
    mean = found["mean"].to_numpy()
    return np.column_stack([mean, found["noise"]]) if "noise" in found else mean


def most_probable(found: xr.Dataset) -> NDArray[np.int64]:
    """The most probable cluster of each observation, by :func:`responsibilities`; -1 where noise is more probable, (n,)."""
    best = membership(found).argmax(axis=1)
    return np.where(best == found.sizes[CLUSTER], -1, best)


def probably_noise(reading: Reading) -> NDArray[np.bool_]:
    """Which observations are more probably noise than not, (n,)."""
    if reading.draws.noise is None:
        return np.zeros(len(reading.observations), dtype=bool)
    return np.asarray(responsibilities(reading)["noise"].to_numpy() > 0.5)


@np.errstate(under="ignore")
def sample_assignments(tree: xr.DataTree, random_seed: int | np.random.Generator | None = None) -> xr.DataArray:
    """A label for each observation and draw, from its distribution given the draw's parameters.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    random_seed : int, Generator or None

    Returns
    -------
    DataArray
        z (chain, draw, obs), integers 0, ..., K - 1, or -1 of noise; of an observation with a weight that of one count.

    Raises
    ------
    MemoryError
        If draws x observations would not fit into memory.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.sample_assignments(tree, random_seed=1).shape
    (4, 200, 82)
    """
    draws, rows, coords = _asked(Reading.of(tree), None)
    z = draws.by_chain(_assignments(draws, rows, np.random.default_rng(read_seed(random_seed))))
    posterior = tree["posterior"].to_dataset()
    coords |= {name: posterior[name].values for name in ("chain", "draw")}
    return xr.DataArray(z, dims=("chain", "draw", OBS), coords=coords, name="z")


@np.errstate(under="ignore")
def coclustering(tree: Tree, x: ArrayLike | Observations | None = None) -> xr.DataArray:
    """Posterior probability that two observations belong to one cluster.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`; its labels do not matter.
    x : (n,) or (n, D) array-like, optional
        Those of the fitted observations that are to be compared; default: all.

    Returns
    -------
    DataArray
        (obs, obs_bis), symmetric, with ones on the diagonal; ``attrs["draws"]`` says how many draws were used, which are
        fewer than all where observations are many.

    Raises
    ------
    MemoryError
        If n x n numbers would not fit into memory; pass a sample of the observations as x.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.coclustering(tree, [9.5, 9.8, 33.0]).round(0).values.tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    draws, rows, coords = _asked(Reading.of(tree), x)
    n, k = len(rows), draws.n_components
    require_memory(3 * 8 * n**2, f"{n} x {n} probabilities", "pass some of the observations as x")
    few = draws.thinned(max(_FEWEST, int(_OPERATIONS / (n**2 * k))))
    together, step = np.zeros((n, n)), max(1, 4_000 // k)  # columns of a product
    for parameters in batched(few.each(), step):
        r = np.concatenate([rows.responsibilities(*each)[:, :k] for each in parameters], axis=1)
        together += r @ r.T
    together /= len(few.w)
    np.fill_diagonal(together, 1.0)
    coords |= {f"{OBS}_bis": coords[OBS]}
    return xr.DataArray(together, dims=(OBS, f"{OBS}_bis"), coords=coords, attrs={"draws": len(few.w)}, name="together")


@np.errstate(under="ignore")
def partition(
    tree: Tree,
    loss: Literal["vi", "binder"] = "vi",
    *,
    draws: int = 1000,
    random_seed: int | np.random.Generator | None = 0,
) -> xr.DataArray:
    r"""The partition of the observations with the smallest posterior expected loss that was found.

    With n_a the sizes of its clusters, m_b those of a draw's and n_ab of their intersections, the loss is
    :math:`(\sum_a f(n_a) + \sum_b f(m_b) - 2 \sum_{ab} f(n_{ab})) / s`: the variation of information in bits for
    f(n) = n log2 n and s = n, Binder's loss for f(n) = n^2 and s = n^2. Candidates are the draws' own partitions, the most
    probable labels, and cuts of the hierarchical clustering of :func:`coclustering`; from the best of them, in random
    orders, single observations move to where the expected loss is smallest, into clusters of their own too: at most 100, or
    2 K of them. One with a weight counts as often as that says, in one cluster, and in one of each draw.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`; its labels do not matter.
    loss : {"vi", "binder"}
    draws : int
        Draws of the labels, at most, over which the loss is averaged.
    random_seed : int, Generator or None

    Returns
    -------
    DataArray
        Labels (obs), 0 for the largest cluster, which need not be ``cluster`` 0 of the tree, with attributes ``loss``,
        ``expected_loss``, ``n_clusters`` and ``draws``. What is more probably noise than not has the label -1, and no part
        in the loss.

    Raises
    ------
    ValueError
        For an unknown loss.

    References
    ----------
    Dahl, Johnson & Müller (2022), Search algorithms and loss functions for Bayesian clustering, Journal of Computational
    and Graphical Statistics 31, 1189-1201. doi:10.1080/10618600.2022.2069779

    Wade & Ghahramani (2018), Bayesian cluster analysis: point estimation and credible balls, Bayesian Analysis 13,
    559-626. doi:10.1214/17-BA1073

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.partition(tree).attrs["n_clusters"]
    3
    """
    read_choice(loss, ("vi", "binder"), "loss")
    tree = relabelled(Reading.of(tree))  # labels, and with them the labels drawn, that do not depend on the order given
    all_draws, rows, coords = _asked(tree, None)
    rng = np.random.default_rng(read_seed(random_seed))
    few = all_draws.thinned(read_count(draws, "draws"))
    z = _assignments(few, rows, rng)
    # some of the draws, the most probable labels, cuts of a hierarchical clustering
    candidates = [*_own(z), responsibilities(tree)["mean"].values.argmax(axis=1)]
    if 1 < len(rows) <= _MOST_LINKED:
        candidates += _cuts(1 - coclustering(tree).values, few.n_components)
    labels, attrs = _least_loss(z, candidates, few.n_components, loss, rng, tree.known.weight)
    return xr.DataArray(labels, dims=(OBS,), coords=coords, attrs=attrs, name="partition")


@np.errstate(under="ignore")
def partition_of(
    z: NDArray[np.int16], loss: Literal["vi", "binder"], rng: np.random.Generator, weight: FloatArray | None = None
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """The same as :func:`partition` of allocations (S, n), each draw of which may have clusters of its own number."""
    candidates, k = _own(z), int(z.max()) + 1
    if 1 < z.shape[1] <= _MOST_LINKED:
        together = np.zeros((z.shape[1], z.shape[1]))
        rows = z[np.linspace(0, len(z) - 1, min(len(z), _FEW)).astype(int)]
        for j in range(k):
            members = (rows == j).astype(np.float32)
            together += members.T @ members
        candidates += _cuts(1 - together / len(rows), k)
    return _least_loss(z, candidates, k, loss, rng, weight)


@np.errstate(under="ignore")
def occupied_clusters(tree: xr.DataTree, random_seed: int | np.random.Generator | None = None) -> xr.DataArray:
    """How many clusters hold an observation, (chain, draw), by labels drawn as in :func:`sample_assignments`.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> int(bg.occupied_clusters(tree, random_seed=1).median())
    3
    """
    z = sample_assignments(tree, random_seed)
    k = tree["posterior"].sizes[CLUSTER]
    none = xr.zeros_like(z.isel({OBS: 0}, drop=True))
    return sum(((z == j).any(OBS).astype(int) for j in range(k)), none).rename("occupied")


def expected_occupied(reading: Reading) -> float:
    """Posterior mean of the number of occupied clusters, sum_k 1 - prod_i (1 - r_ik)^c_i, over some draws."""
    few, rows, total = reading.draws.thinned(_FEWEST), reading.observations, 0.0
    for parameters in few.each():
        with np.errstate(divide="ignore"):  # of an observation that is sure to belong to one
            r = rows.responsibilities(*parameters)[:, : few.n_components]
            log_empty = rows.counts @ np.log1p(-np.minimum(r, 1.0))
        total -= float(np.expm1(log_empty).sum())
    return total / len(few.w)


def adjusted_rand(one: ArrayLike, other: ArrayLike) -> float:
    """Adjusted Rand index of two partitions of the same observations: 1 if they are one, 0 on average by chance.

    References
    ----------
    Hubert & Arabie (1985), Comparing partitions, Journal of Classification 2, 193-218. doi:10.1007/BF01908075

    Examples
    --------
    >>> adjusted_rand([0, 0, 1, 1], ["b", "b", "a", "a"])
    1.0
    """
    labels = [np.unique(np.asarray(each), return_inverse=True)[1].ravel() for each in (one, other)]
    if len(labels[0]) != len(labels[1]):
        raise ValueError(f"two partitions must be of the same observations, got {len(labels[0])} and {len(labels[1])}")
    table = np.zeros([each.max() + 1 for each in labels])
    np.add.at(table, tuple(labels), 1)
    both, first, second = comb(table, 2).sum(), comb(table.sum(axis=1), 2).sum(), comb(table.sum(axis=0), 2).sum()
    expected, largest = first * second / max(comb(len(labels[0]), 2), 1), (first + second) / 2
    return 1.0 if len(labels[0]) == 1 or largest == expected else float((both - expected) / (largest - expected))


def _asked(reading: Reading, x: ArrayLike | Observations | None) -> tuple[Draws, Observations, dict[str, NDArray[np.int64]]]:
    """The draws, the observations that they are asked about, and where these stand."""
    draws, (rows, positions) = reading.draws, read_points(reading, x, "x")
    return draws, rows, {OBS: positions}


def _assignments(draws: Draws, rows: Observations, rng: np.random.Generator) -> NDArray[np.int16]:
    """Labels (S, n)."""
    n = len(rows)
    require_memory(2 * len(draws.w) * n, f"labels of {len(draws.w)} draws x {n} observations", "keep fewer draws")
    z = np.empty((len(draws.w), n), dtype=np.int16)
    for row, parameters in zip(z, draws.each(), strict=True):
        cumulated = rows.responsibilities(*parameters).cumsum(axis=1)
        row[:] = (rng.random((n, 1)) * cumulated[:, -1:] >= cumulated[:, :-1]).sum(axis=1)
    z[z == draws.n_components] = -1  # noise
    return z


def _own(z: NDArray[np.int16]) -> list[NDArray[np.int64]]:
    """Some of the draws' own partitions."""
    return [z[row].astype(np.int64) for row in np.linspace(0, len(z) - 1, min(len(z), 100)).astype(int)]


def _cuts(apart: FloatArray, k: int) -> list[NDArray[np.int64]]:
    """The hierarchical clustering of distances (n, n) into 1, ..., 2 K clusters."""
    merged = linkage(squareform((apart + apart.T) / 2, checks=False), "average")
    return [fcluster(merged, size, "maxclust").astype(np.int64) - 1 for size in range(1, 2 * k + 1)]


def _least_loss(
    z: NDArray[np.int16],
    candidates: list[NDArray[np.int64]],
    k: int,
    loss: str,
    rng: np.random.Generator,
    weight: FloatArray | None,
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Labels (n), 0 for the largest cluster, of the best partition found, and what there is to say of it.

    An observation that is noise (-1) in more than half of the draws is noise; where others are it counts as one cluster.
    """
    n, entropic = z.shape[1], loss == "vi"
    if (z < 0).any():
        rest, labels = (z < 0).mean(axis=0) <= 0.5, np.full(n, -1)
        if not rest.any():
            return labels, {"loss": loss, "expected_loss": 0.0, "n_clusters": 0, "draws": len(z)}
        those = [np.unique(each[rest], return_inverse=True)[1] for each in candidates]
        own = np.where(z < 0, np.int16(k), z)[:, rest]
        labels[rest], attrs = _least_loss(own, those, k + 1, loss, rng, None if weight is None else weight[rest])
        return labels, attrs
    counts: Any = np.ones(n, dtype=np.int32) if weight is None else weight
    total, f = float(counts.sum()), np.empty(0)
    if total <= _LOOKED_UP and (counts == np.round(counts)).all():
        counts, sizes = counts.astype(np.int32), np.arange(int(total) + 1, dtype=float)
        f = xlogy(sizes, sizes) / np.log(2) if entropic else sizes**2
    unit = total if entropic else total**2
    most = min(n, max(_MOST_CLUSTERS, 2 * k))
    if n <= most:
        candidates.append(np.arange(n))  # each on its own, where Binder's loss of too many components leads
    losses = np.array([partitions.expected_loss(each, z, counts, f, entropic, most) for each in candidates])
    best, lowest = candidates[losses.argmin()], losses.min()
    for i in np.argsort(losses, kind="stable")[:_ORDERS]:
        found = candidates[i].copy()
        partitions.sweep(found, z, counts, f, entropic, most, rng)
        found_loss = partitions.expected_loss(found, z, counts, f, entropic, most)
        if found_loss < lowest:
            best, lowest = found, found_loss
    _, labels = np.unique(best, return_inverse=True)
    sizes = np.bincount(labels, counts)
    order = np.argsort(np.argsort(-sizes, kind="stable"))
    return order[labels], {"loss": loss, "expected_loss": float(lowest / unit), "n_clusters": len(sizes), "draws": len(z)}
