"""Names that the user gives to clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from bayesgmm.analysis.contract import cluster_names
from bayesgmm.analysis.labels import match, quality_of
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import is_relabelled, with_names
from bayesgmm.words import Either, Words, about


@np.errstate(under="ignore")
def rename_clusters(tree: xr.DataTree, names: Mapping[Any, str] | Sequence[str] | None) -> xr.DataTree:
    """Give names to the clusters, which tables, pictures and reports then show instead of numbers.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, relabelled.
    names : mapping, sequence or None
        The K names in the order of the clusters; or the names of some clusters, by their numbers or by the names that they
        have now. The others keep their name, or their number as text. With None all clusters have numbers again.

    Returns
    -------
    DataTree
        A new tree, whose coordinate ``cluster`` holds the names: ``tree["posterior"]["mu"].sel(cluster="short")``. They are
        stored with it. :func:`relabel` moves them with the clusters. The group ``optima`` keeps numbers, because another
        optimum has other clusters.

    Raises
    ------
    ValueError, TypeError
        If a name is empty, no text, has several lines or begins with an underscore; if names repeat; for another number of
        names, or an unknown cluster; or if the clusters cannot be told apart (:func:`bayesgmm.label_quality`), because they
        then have no identity to name.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> tree = bg.rename_clusters(tree, {0: "near", 2: "far"})
    >>> tree["posterior"]["mu"].mean(("chain", "draw")).round(0).to_series().to_dict()
    {'near': 10.0, '1': 21.0, 'far': 33.0}
    """
    reading = Reading.of(tree)
    return renamed(reading, names).tree


def renamed(reading: Reading, names: Mapping[Any, str] | Sequence[str] | None) -> Reading:
    """A reading of the tree with these names of its clusters."""
    k, em = reading.draws.n_components, reading.em[0]
    if names is None:
        return reading.named(with_names(reading.tree, None, of_em=range(k)))
    chosen = read_names(names, k, cluster_names(reading.tree), beside_noise=reading.draws.noise is not None)
    quality = reading.ask(quality_of)
    if not quality.trusted:
        raise ValueError(
            Words(
                "tree must have clusters that can be told apart, or they have no identity to name; got ",
                quality.in_words,
                "" if is_relabelled(reading.tree) else Either("; if no draw was relabelled, call bayesgmm.relabel", ""),
            )
        )
    taken = match(reading.draws, em, reading.classes)  # the cluster that each component of EM is, in every draw
    times = np.stack([(taken == j).sum(axis=0) for j in range(k)], axis=1)
    of_em = [chosen[j] for j in linear_sum_assignment(times, maximize=True)[1]]
    return reading.named(with_names(reading.tree, chosen, of_em))


def read_names(names: Any, k: int, present: Sequence[str] | None = None, *, beside_noise: bool = False) -> list[str]:
    """The names of all k clusters, from names for all or for some of them. ``present`` are the names that they have."""
    now = list(present or map(str, range(k)))
    if isinstance(names, Mapping):
        for of, name in names.items():
            is_number = isinstance(of, Integral) and not isinstance(of, bool | np.bool_)
            if is_number and 0 <= of < k:
                now[int(of)] = name
            elif not is_number and present is not None and of in present:
                now[present.index(of)] = name
            else:
                known = f"0, ..., {k - 1}" + (f" or {', '.join(present)}" if present else "")
                raise ValueError(about("names", f"must be by the number of a cluster, {known}, got {of!r}"))
    elif isinstance(names, str | bytes | set | frozenset) or not hasattr(names, "__len__") or not hasattr(names, "__iter__"):
        rule = f"must be a list of {k} names, or names by the number of the cluster"
        raise TypeError(about("names", f"{rule}, got {names!r}"))
    elif len(names) != k:
        raise ValueError(about("names", f"must be one for each of the {k} clusters, got {len(names)}"))
    else:
        now = list(names)
    for each in now:
        if not isinstance(each, str):
            raise TypeError(about("names", f"must be text, got {each!r} ({type(each).__name__})"))
        if not each.strip() or not each.isprintable() or each.startswith("_"):
            rule = "must be text in one line that does not begin with an underscore"
            raise ValueError(about("names", f"{rule}, got {each!r}"))
    repeated = sorted({each for each in now if now.count(each) > 1})
    if repeated:
        raise ValueError(about("names", f"must differ from one another, got {', '.join(repeated)} more than once"))
    if beside_noise and "noise" in now:
        raise ValueError(about("names", "must not be noise for a cluster, because the model has noise; choose another name"))
    return list(map(str, now))
