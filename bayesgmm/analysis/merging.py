"""Components merged into clusters: a cluster that is not Gaussian takes several components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from itertools import combinations
from textwrap import fill
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import xlogy

from bayesgmm.analysis.contract import cluster_names
from bayesgmm.analysis.densities import log_density
from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.naming import read_names
from bayesgmm.analysis.predictive import read_points
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import CLUSTER, OBS, features_of
from bayesgmm.arguments import FloatArray, read_choice, read_count, read_probability
from bayesgmm.data.observations import Observations
from bayesgmm.words import about

By = Literal["overlap", "entropy"]
_CUTOFF = 0.025  # Hennig (2010)
_DRAWS = 400  # over which merged clusters are averaged
_ALONE = 100  # draws that are merged on their own
_LEAST_DROP = 0.01  # of the entropy for each observation of a pair (nats): a probability of 99.9 % has 0.008
_RARE = 0.5  # agreement below which the groups are called in question


@dataclass(frozen=True)
class MergedClusters:
    """Result of :func:`merge_components`.

    If the components have names (:func:`bayesgmm.rename_clusters`), tables and coordinates hold these. A merged cluster is
    then called after its components, as in "short + tail"; :meth:`renamed` gives it another name.

    Attributes
    ----------
    groups : tuple of tuple of int
        The components of each cluster, C of them, by their places in the tree, from 0.
    steps : DataFrame
        One row for each merger that was considered, down to a single cluster: ``n_clusters`` after it, the ``pair`` that is
        merged, and ``overlap`` or ``entropy`` (the drop of the entropy) before it. These are numbers of the averaged
        probabilities. Where labels switch, averages overlap more than the components of any draw.
    responsibilities : Dataset
        ``mean`` and ``sd`` (obs, cluster) of each observation's probabilities over the posterior, and ``noise`` (obs) if
        there is noise.
    weights : DataFrame
        ``mean``, ``lower`` and ``upper`` (90 %) of each cluster's weight.
    together : DataFrame
        (K, K): in which share of the draws, each merged on its own, two components are in one cluster.
    counts : Series
        In which share of these draws there are so many clusters. If the number was given, it has that share 1.
    agreement : float
        In which share of these draws the groups are the same as ``groups``.
    """

    groups: tuple[tuple[int, ...], ...]
    steps: pd.DataFrame
    responsibilities: xr.Dataset
    weights: pd.DataFrame
    together: pd.DataFrame
    counts: pd.Series
    agreement: float
    _reading: Reading = field(repr=False)

    @property
    def labels(self) -> xr.DataArray:
        """The most probable cluster of each observation, (obs); -1 if noise is more probable."""
        mean, k = self.responsibilities["mean"], len(self.groups)
        best = mean.values.argmax(axis=1)
        if "noise" in self.responsibilities:
            best = np.where(self.responsibilities["noise"].values > mean.values.max(axis=1), -1, best)
        return xr.DataArray(best, dims=(OBS,), coords={OBS: mean[OBS]}, name="label", attrs={"n_clusters": k})

    @np.errstate(under="ignore")
    def density(self, grid: ArrayLike, interval: float = 0.9) -> xr.DataArray:
        """Weight times density of each cluster, with a pointwise credible band.

        Parameters
        ----------
        grid : (G,) or (G, D) array-like
            Points in the units of the data.
        interval : float
            Probability of the equal-tailed band, between 0 and 1.

        Returns
        -------
        DataArray
            Dims (cluster, statistic, grid), with statistics ``mean``, ``lower`` and ``upper``. The means add to that of
            :func:`bayesgmm.predictive_density`, times one minus the share of noise.
        """
        rows, _ = read_points(self._reading, grid, "grid", may_be_noise=False)
        few, tail = self._reading.draws.thinned(_DRAWS).among_all, (1 - read_probability(interval, "interval")) / 2
        found = []
        for group in self.groups:
            each = np.sum([np.exp(log_density(few.cluster(j), rows)) for j in group], axis=0)
            found.append([each.mean(axis=0), *np.quantile(each, [tail, 1 - tail], axis=0)])
        names = ["grid"] if few.n_features == 1 else features_of(self._reading.tree)
        coords: dict[Any, Any] = {name: ("grid", column) for name, column in zip(names, rows.x.T, strict=True)}
        coords |= {CLUSTER: self.responsibilities[CLUSTER].values, "statistic": ["mean", "lower", "upper"]}
        return xr.DataArray(np.array(found), dims=(CLUSTER, "statistic", "grid"), coords=coords, name="density")

    def renamed(self, names: Mapping[Any, str] | Sequence[str]) -> MergedClusters:
        """The same result with these names of the clusters: one for each, or names by number, or by the present name."""
        present = self.weights.index.tolist() if isinstance(self.weights.index[0], str) else None
        called = read_names(names, len(self.groups), present, beside_noise="noise" in self.responsibilities)
        weights = self.weights.set_axis(pd.Index(called, name=CLUSTER))
        return replace(self, responsibilities=self.responsibilities.assign_coords({CLUSTER: called}), weights=weights)

    def __repr__(self) -> str:
        c, components, clusters = len(self.groups), self.together.index.tolist(), self.weights.index.tolist()
        of = "; ".join(
            f"{name if isinstance(name, str) else f'cluster {name}'}: component{_s(each)} {_listed(each, components)}"
            for name, each in zip(clusters, self.groups, strict=True)
        )
        said = f"{len(components)} component{_s(components)} in {c} cluster{_s(self.groups)} ({of})"
        if len(components) > 1:
            said += (
                f"; merged on their own, {self.agreement:.0%} of the draws give these groups, and "
                f"{self.counts.get(c, 0.0):.0%} so many clusters"
            )
        if self.agreement < _RARE:
            said += "; in most draws other components belong together, or labels switch (see .together, label_quality)"
        steps = [self.steps.to_string(index=False)] if len(self.steps) else []
        return "\n".join([fill(said, 110, subsequent_indent="    "), *steps, self.weights.round(3).to_string()])


@np.errstate(under="ignore")
def merge_components(
    tree: Tree, by: By = "overlap", *, n_clusters: int | None = None, cutoff: float | None = None
) -> MergedClusters:
    r"""Merge components that describe one cluster together, such as a skewed one.

    Pairs are merged one after another. The number of clusters is the one that most draws give, each merged on its own. Which
    components a cluster has follows from the posterior means of the observations' probabilities. Nothing is fitted again,
    and the density stays as it is.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, relabelled.
    by : {"overlap", "entropy"}
        "overlap": merge the pair with the largest overlap, the estimated probability that an observation of one component is
        assigned to the other (the larger of the two directions; Hennig's "directly estimated misclassification
        probability"), as long as it is at least ``cutoff``. "entropy": merge the pair that lowers the entropy of the
        probabilities most; the number of clusters is where the entropy, over the number of merged observations, has its
        bend (two lines fitted by least squares). Pairs whose merger lowers the entropy by less than 0.01 for each of their
        observations stay apart. A bend needs three components, and leaves at least two clusters.
    n_clusters : int, optional
        Merge until so many are left, whatever the criterion says.
    cutoff : float, optional
        For "overlap": a probability. Default: 0.025.

    Returns
    -------
    MergedClusters
        Prints as a sentence and tables; ``.groups``, ``.responsibilities``, ``.labels``, ``.weights``, ``.density(grid)``.

    Raises
    ------
    ValueError
        If an argument breaks a rule, or the tree holds only a sample of the rows.

    Notes
    -----
    The uncertainty over draws has two parts. Probabilities, weights and densities of the merged clusters are summed within
    each of 400 draws. And 100 draws are merged on their own by the same rule, which gives the number of clusters and shows
    whether the groups hang on the average (``together``, ``counts``, ``agreement``).

    References
    ----------
    Baudry, Raftery, Celeux, Lo & Gottardo (2010), Combining mixture components for clustering, Journal of Computational and
    Graphical Statistics 19, 332-353. doi:10.1198/jcgs.2010.08111

    Hennig (2010), Methods for merging Gaussian mixture components, Advances in Data Analysis and Classification 4, 3-34.
    doi:10.1007/s11634-010-0058-3

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 4, method="gibbs", draws=500, random_seed=1, progressbar=False)
    >>> len(bg.merge_components(tree, n_clusters=3).groups)
    3
    """
    reading = Reading.of(tree)
    draws, rows = reading.draws, reading.observations
    read_choice(by, By, "by")
    if reading.whole is not None:
        raise ValueError("tree must hold all rows, got a sample of those that were read in passes; fit rows in memory")
    if n_clusters is not None and read_count(n_clusters, "n_clusters") > draws.n_components:
        raise ValueError(
            about("n_clusters", f"must be at most the number of components, {draws.n_components}, got {n_clusters}")
        )
    if cutoff is not None and (by == "entropy" or n_clusters is not None):
        raise ValueError(about("cutoff", "is for by='overlap' without n_clusters; leave it out"))
    limit = _CUTOFF if cutoff is None else read_probability(cutoff, "cutoff")
    k, few = draws.n_components, draws.thinned(_DRAWS)
    mean = np.zeros((len(rows), k))
    for r in _probabilities(few, rows):
        mean += r[:, :k] / len(few.w)
    mergers = _mergers(mean, rows.counts, by)
    alone = [_mergers(r[:, :k], rows.counts, by) for r in _probabilities(draws.thinned(_ALONE), rows)]
    numbers = [n_clusters or _number(each, k, by, limit) for each in alone]
    counts = pd.Series(numbers).value_counts(normalize=True).sort_index().rename_axis("n_clusters").rename("share")
    groups = _groups(mergers, k, int(counts.idxmax()))
    names = cluster_names(reading.tree)
    components = list(names or range(k))
    clusters = [" + ".join(names[j] for j in group) for group in groups] if names else list(range(len(groups)))
    others = [_groups(each, k, of) for each, of in zip(alone, numbers, strict=True)]
    together = np.mean([_together(each, k) for each in others], axis=0)
    axis = pd.Index(components, name="component")
    return MergedClusters(
        groups,
        _table(mergers, by, components),
        _merged(reading, few, groups).assign_coords({CLUSTER: clusters}),
        _weights(draws, groups).set_axis(pd.Index(clusters, name=CLUSTER)),
        pd.DataFrame(together, axis, axis),
        counts,
        float(np.mean([each == groups for each in others])),
        reading,
    )


def _probabilities(draws: Draws, rows: Observations) -> Iterator[FloatArray]:
    """Each draw's membership probabilities, (n, K), or with noise (n, K + 1)."""
    return (rows.responsibilities(*parameters) for parameters in draws.each())


@dataclass(frozen=True)
class _Merger:
    """Two groups that are merged."""

    pair: tuple[tuple[int, ...], tuple[int, ...]]
    value: float  # overlap, or drop of the entropy
    count: float  # expected number of observations in the two


def _mergers(r: FloatArray, counts: FloatArray, by: By) -> list[_Merger]:
    """All mergers down to one group, from probabilities (n, K)."""
    groups: list[tuple[int, ...]] = [(j,) for j in range(r.shape[1])]
    r, result = r.T.copy(), []
    while len(groups) > 1:
        value = _overlaps(r, counts) if by == "overlap" else _drops(r, counts)
        a, b = sorted(np.unravel_index(np.argmax(np.triu(value, 1) - np.tri(len(r))), value.shape))
        result.append(_Merger((groups[a], groups[b]), float(value[a, b]), float(counts @ (r[a] + r[b]))))
        groups[a], r[a] = tuple(sorted(groups[a] + groups[b])), r[a] + r[b]
        del groups[b]
        r = np.delete(r, b, axis=0)
    return result


def _overlaps(r: FloatArray, counts: FloatArray) -> FloatArray:
    """The larger probability of either direction that an observation of one group is assigned to the other, (C, C)."""
    assigned = r.argmax(axis=0)[:, None] == np.arange(len(r))
    assigned[r.max(axis=0) < 1 - r.sum(axis=0)] = False  # to noise
    of_own = (r * counts) @ assigned / np.maximum((r @ counts)[:, None], np.finfo(float).tiny)
    return np.maximum(of_own, of_own.T)


def _drops(r: FloatArray, counts: FloatArray) -> FloatArray:
    """By how much the entropy falls if two groups are merged, (C, C)."""
    alone = -xlogy(r, r) @ counts
    both = np.zeros((len(r), len(r)))
    for a, b in combinations(range(len(r)), 2):
        both[a, b] = both[b, a] = -xlogy(r[a] + r[b], r[a] + r[b]) @ counts
    return alone[:, None] + alone - both


def _number(mergers: list[_Merger], k: int, by: By, limit: float) -> int:
    """The number of clusters by the criterion."""
    if by == "overlap":
        steps = next((i for i, each in enumerate(mergers) if each.value < limit), len(mergers))
        return k - steps
    if k < 3:
        return k
    merged = np.concatenate([[0.0], np.cumsum([each.count for each in mergers])])
    entropy = -np.concatenate([[0.0], np.cumsum([each.value for each in mergers])])  # less that of the K components
    misfits = [_misfit(merged[: at + 1], entropy[: at + 1]) + _misfit(merged[at:], entropy[at:]) for at in range(1, k - 1)]
    large = [each.value >= _LEAST_DROP * each.count for each in mergers]
    return max(k - 1 - int(np.argmin(misfits)), k - [*large, False].index(False))


def _misfit(x: FloatArray, y: FloatArray) -> float:
    """Sum of squares around the line of least squares."""
    design = np.column_stack([np.ones(len(x)), x])
    return float(((y - design @ np.linalg.lstsq(design, y)[0]) ** 2).sum())


def _groups(mergers: list[_Merger], k: int, n_clusters: int) -> tuple[tuple[int, ...], ...]:
    """The groups that are left after the first mergers."""
    groups: set[tuple[int, ...]] = {(j,) for j in range(k)}
    for each in mergers[: k - n_clusters]:
        groups -= set(each.pair)
        groups.add(tuple(sorted(each.pair[0] + each.pair[1])))
    return tuple(sorted(groups))


def _table(mergers: list[_Merger], by: By, components: list[Any]) -> pd.DataFrame:
    rows = [
        (len(mergers) - i, " + ".join(f"{{{_listed(each, components)}}}" for each in merger.pair), merger.value)
        for i, merger in enumerate(mergers)
    ]
    return pd.DataFrame(rows, columns=["n_clusters", "pair", by])


def _merged(reading: Reading, few: Draws, groups: tuple[tuple[int, ...], ...]) -> xr.Dataset:
    """Mean and standard deviation over draws of the clusters' probabilities."""
    rows = reading.observations
    mean, square, noise = np.zeros((len(rows), len(groups))), np.zeros((len(rows), len(groups))), np.zeros(len(rows))
    for r in _probabilities(few, rows):
        each = np.stack([r[:, group].sum(axis=1) for group in groups], axis=1)
        mean += each / len(few.w)
        square += each**2 / len(few.w)
        noise += r[:, -1] / len(few.w)
    sd = np.sqrt(np.maximum(square - mean**2, 0.0))
    found: dict[str, Any] = {"mean": ((OBS, CLUSTER), mean), "sd": ((OBS, CLUSTER), sd)}
    if reading.draws.noise is not None:
        found["noise"] = ((OBS,), noise)
    return xr.Dataset(found, coords={OBS: reading.positions})


def _weights(draws: Draws, groups: tuple[tuple[int, ...], ...]) -> pd.DataFrame:
    w = np.array([draws.w[:, group].sum(axis=1) for group in groups])
    lower, upper = np.quantile(w, [0.05, 0.95], axis=1)
    return pd.DataFrame({"mean": w.mean(axis=1), "lower": lower, "upper": upper})


def _together(groups: tuple[tuple[int, ...], ...], k: int) -> FloatArray:
    """Whether two components are in one group, (K, K)."""
    result = np.zeros((k, k))
    for group in groups:
        result[np.ix_(group, group)] = 1.0
    return result


def _s(several: Sized) -> str:
    return "s" if len(several) > 1 else ""


def _listed(group: tuple[int, ...], components: list[Any]) -> str:
    return ", ".join(str(components[j]) for j in group)
