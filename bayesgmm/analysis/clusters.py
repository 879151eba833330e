"""Cluster membership of the observations under the posterior: probabilities, and sampled labels.

A tree holds draws of the parameters, not of the labels z. Given a draw, the labels are independent, and their probabilities
are the E-step's responsibilities r_ik. Functions of the labels are computed as expectations where possible
(Rao-Blackwellised).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.in_parts import in_parts, write_in_parts
from bayesgmm.analysis.membership import averaged
from bayesgmm.analysis.predictive import read_points
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import CLUSTER, OBS
from bayesgmm.arguments import FloatArray, read_seed, require_memory
from bayesgmm.data.observations import Observations
from bayesgmm.data.scan import Scan
from bayesgmm.data.sources import scan_of
from bayesgmm.words import about

_FEW = 100  # draws over which the number of occupied clusters is averaged


@np.errstate(under="ignore")
def responsibilities(tree: Tree, x: ArrayLike | Observations | Scan | None = None) -> xr.Dataset:
    """Posterior mean and standard deviation of each observation's membership probabilities.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, relabelled.
    x : (n,) or (n, D) array-like, Scan, memory map or Dask collection, optional
        New observations, each treated separately. Default: the fitted ones. For a Dask collection the result is lazy. For
        rows that do not fit into memory see :func:`bayesgmm.write_responsibilities`.

    Returns
    -------
    Dataset
        ``mean`` and ``sd`` (obs, cluster) of r_ik = w_k N(x_i; mu_k, Sigma_k) / sum_j w_j N(x_i; mu_j, Sigma_j) over the
        posterior. If an observation has a label, j runs over the components that it allows. obs is the position in the
        input. If observations may be noise, ``noise`` (obs) is the probability of noise. For each observation the means (and
        ``noise``) add to one. For a fitted observation they are the probabilities of z_i given the fitted data. For a new
        observation they are the probabilities given the fitted data and its own value:
        p(z_i | x_i, data) = E[w_k N(x_i; ...)] / E[sum_j w_j N(x_i; ...)]. Each draw is then weighted by its density at x_i.

    Raises
    ------
    ValueError
        If x is not finite or has other features than the data.

    Notes
    -----
    For each observation 128, 512, 2048 or all draws are averaged, evenly spaced, until the Monte Carlo standard error is at
    most 0.005. Draws and observations are processed in blocks, so little more than the result is in memory.
    Tested properties: the mean equals the frequency of labels drawn by :func:`sample_assignments`. For a new observation it
    satisfies Bayes' theorem with the predictive density.

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
    draws, rows, coords = asked(reading, x)  # type: ignore[arg-type]  # not a scan here
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
        Any number of rows: see :func:`bayesgmm.scan_parquet`. Only a few parts are in memory at a time.
    path : str or path
        The file to write. It holds the rows in their order, with columns ``cluster`` (-1 for noise and for rows that were
        left out), ``mean_0``, ..., ``sd_0``, ..., and ``noise``, as in :func:`bayesgmm.responsibilities`. A file of this
        name appears only when it is complete. Clusters with names (:func:`bayesgmm.rename_clusters`) have these in the
        column ``cluster`` ("noise" for noise, null for rows that were left out) and in the other columns' names.
    force : bool
        Whether to replace an existing file.

    Raises
    ------
    FileExistsError, OSError
        If the file exists, or cannot be written. No incomplete file remains.
    ValueError, TypeError
        If x has other features than the data, or is not read in parts.
    """
    scan = scan_of(x)
    if scan is None:
        rule = "must be rows that are read in parts: a scan, a memory map or a Dask collection"
        raise TypeError(about("x", f"{rule}, got {type(x).__name__}; for rows in memory call responsibilities"))
    write_in_parts(Reading.of(tree), scan, responsibilities, path, force=force)


def membership(found: xr.Dataset) -> FloatArray:
    """Membership probabilities from :func:`responsibilities`, (n, K), or (n, K + 1) with noise as the last column."""
    mean = found["mean"].to_numpy()
    return np.column_stack([mean, found["noise"]]) if "noise" in found else mean


def most_probable(found: xr.Dataset) -> NDArray[np.int64]:
    """Most probable cluster of each observation, (n,), from :func:`responsibilities`; -1 if noise is more probable."""
    best = membership(found).argmax(axis=1)
    return np.where(best == found.sizes[CLUSTER], -1, best)


def probably_noise(reading: Reading) -> NDArray[np.bool_]:
    """Which observations are more probably noise than not, (n,)."""
    if reading.draws.noise is None:
        return np.zeros(len(reading.observations), dtype=bool)
    return np.asarray(responsibilities(reading)["noise"].to_numpy() > 0.5)


@np.errstate(under="ignore")
def sample_assignments(tree: xr.DataTree, random_seed: int | np.random.Generator | None = None) -> xr.DataArray:
    """Sample a cluster label for each observation and draw, given the parameters of that draw.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    random_seed : int, Generator or None

    Returns
    -------
    DataArray
        z (chain, draw, obs): integers 0, ..., K - 1, or -1 for noise, also for clusters with names. For an observation with
        a frequency weight, it is the label of a single count.

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
    draws, rows, coords = asked(Reading.of(tree), None)
    z = draws.by_chain(draw_assignments(draws, rows, np.random.default_rng(read_seed(random_seed))))
    posterior = tree["posterior"].to_dataset()
    coords |= {name: posterior[name].values for name in ("chain", "draw")}
    return xr.DataArray(z, dims=("chain", "draw", OBS), coords=coords, name="z")


@np.errstate(under="ignore")
def occupied_clusters(tree: xr.DataTree, random_seed: int | np.random.Generator | None = None) -> xr.DataArray:
    """Number of clusters that hold at least one observation, in each draw (chain, draw).

    Labels are drawn as in :func:`sample_assignments`.

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
    """Posterior mean of the number of occupied clusters, sum_k [1 - prod_i (1 - r_ik)^c_i], over at most 100 draws."""
    few, rows, total = reading.draws.thinned(_FEW), reading.observations, 0.0
    for parameters in few.each():
        with np.errstate(divide="ignore"):  # r = 1 makes log(1 - r) infinite
            r = rows.responsibilities(*parameters)[:, : few.n_components]
            log_empty = rows.counts @ np.log1p(-np.minimum(r, 1.0))
        total -= float(np.expm1(log_empty).sum())
    return total / len(few.w)


def asked(reading: Reading, x: ArrayLike | Observations | None) -> tuple[Draws, Observations, dict[str, NDArray[np.int64]]]:
    """The draws, the observations x (default: the fitted ones), and their positions in the input as a coordinate."""
    draws, (rows, positions) = reading.draws, read_points(reading, x, "x")
    return draws, rows, {OBS: positions}


def draw_assignments(draws: Draws, rows: Observations, rng: np.random.Generator) -> NDArray[np.int16]:
    """Sampled labels of every draw, (S, n); -1 for noise."""
    n = len(rows)
    require_memory(2 * len(draws.w) * n, f"labels of {len(draws.w)} draws x {n} observations", "keep fewer draws")
    z = np.empty((len(draws.w), n), dtype=np.int16)
    for row, parameters in zip(z, draws.each(), strict=True):
        cumulated = rows.responsibilities(*parameters).cumsum(axis=1)
        row[:] = (rng.random((n, 1)) * cumulated[:, -1:] >= cumulated[:, :-1]).sum(axis=1)
    z[z == draws.n_components] = -1  # noise
    return z
