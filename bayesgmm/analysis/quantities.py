"""Named quantities of the draws, label-invariant and labelled, and tables of their summaries."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import batched
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm.analysis import convergence
from bayesgmm.analysis.contract import attribute, group_of
from bayesgmm.analysis.densities import log_density
from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import CLUSTER, DRAWN, FEATURE, FEATURE_BIS, HYPERPARAMETERS, PAIR, read_log_posterior
from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Observations
from bayesgmm.data.units import Units, location_and_scale
from bayesgmm.digits import with_digits
from bayesgmm.model.mixture import NOISE

_LONGEST = 40  # rows up to which a table is printed in full
_FORMATS = {
    **dict.fromkeys(("ess_bulk", "ess_tail"), "{:.0f}"),
    "r_hat": "{:.3f}",
    "z": "{:+.2f}",
    "mcse_mean": "{:.2g}",
    "tail": "{:.3f}",
}
_LOCATED = ("em", "mean", "lower", "upper", "log_posterior", "log_likelihood")  # columns rounded by their sd
_COLUMNS = ["mean", "sd", "mcse_mean", "ess_bulk", "ess_tail", "r_hat"]
_TOGETHER = 64  # quantities that are summarised at once
_POINTS = np.linspace(0.05, 0.95, 9)  # quantiles of the data at which densities are monitored


def invariants_of(reading: Reading) -> dict[str, FloatArray]:
    """The label-invariant quantities of a tree, (chain, draw) each."""
    positions = reading.positions if reading.draws.n_features > 1 else None  # with one feature they are not needed
    return dict(invariant_quantities(reading.draws, reading.x, read_log_posterior(reading.tree), positions))


def invariant_quantities(
    draws: Draws, x: FloatArray, log_posterior: FloatArray | None = None, positions: NDArray[Any] | None = None
) -> Iterator[tuple[str, FloatArray]]:
    """Draws (chain, draw) of label-invariant quantities: densities, log posterior, share of noise, sorted weights.

    With several features, densities are named after the observations' ``positions`` (default 0, ..., n - 1).
    """
    names, points = _named_points(x, positions)
    for name, values in zip(names, log_density(draws, Observations.made(points)).T, strict=True):
        yield name, draws.by_chain(values)
    if log_posterior is not None:
        yield "log posterior", log_posterior
    if draws.noise is not None:
        yield NOISE, draws.by_chain(draws.noise)
    for rank, values in enumerate(np.sort(draws.w, axis=1).T[::-1]):
        yield f"w, rank {rank}", draws.by_chain(values)


def followed(x: FloatArray) -> FloatArray:
    """Points at which densities are monitored: quantiles of one feature, or observations along two principal axes."""
    return _named_points(x, None)[1]


def _named_points(x: FloatArray, positions: NDArray[Any] | None) -> tuple[list[str], FloatArray]:
    x = Observations.made(x).filled
    units = Units.of(x, one_unit=False)
    if x.shape[1] == 1:
        points = np.quantile(x, _POINTS, axis=0)
        called = [with_digits(point, units.scale[0], least=5) for point in points[:, 0]]
        return [f"log p({point}), {quantile:.0%}" for quantile, point in zip(_POINTS, called, strict=True)], points
    z = units.standardised(x)
    axes = np.linalg.eigh(z.T @ z)[1][:, :-3:-1]
    axes *= np.sign(axes[abs(axes).round(6).argmax(axis=0), [0, 1]])  # two features have equal entries up to rounding
    places = np.round(_POINTS * (len(x) - 1)).astype(int)
    chosen = np.unique(np.argsort(z @ axes, axis=0, kind="stable")[places])
    known_as = chosen if positions is None else positions[chosen]
    return [f"log p(x[{position}])" for position in known_as], x[chosen]


def labelled_quantities(tree: xr.DataTree) -> Iterator[tuple[str, FloatArray]]:
    """Name and draws (chain, draw) of each single parameter."""
    posterior, hyper = tree["posterior"].to_dataset(), group_of(tree, HYPERPARAMETERS)
    parameters = [name for name in ("w", "mu", "sigma", "cov", "corr") if name in posterior]
    for name in dict.fromkeys([*parameters, *(str(each) for each in (*posterior, *hyper) if each not in DRAWN)]):
        group = hyper if name in hyper else posterior
        values = group.variables[name]
        if values.dims[:2] == ("chain", "draw") and set(values.dims[2:]) <= {CLUSTER, FEATURE, FEATURE_BIS, PAIR}:
            labels = [group[dim].values.tolist() for dim in values.dims[2:]]
            for index, label in entries(name, values.dims[2:], labels):
                yield label, np.moveaxis(values.values, (0, 1), (-2, -1))[index]


def invariant_summary(reading: Reading) -> pd.DataFrame:
    """Mean, sd, Monte Carlo standard error, effective sample sizes and R-hat of the label-invariant quantities."""
    return summarise(iter(reading.ask(invariants_of).items()), efficiency=_efficiency(reading))


def labelled_summary(reading: Reading) -> pd.DataFrame:
    """Mean, sd, Monte Carlo standard error, effective sample sizes and R-hat of each single parameter that varies."""
    return summarise(labelled_quantities(reading.tree), efficiency=_efficiency(reading))


def _efficiency(reading: Reading) -> float | None:
    """Efficiency of importance sampling, whose draws are independent; None for draws of chains."""
    tree = reading.tree
    return float(attribute(tree, "importance_efficiency")) if tree.attrs.get("method") == "laplace" else None


def entries(name: str, dims: Sequence[Hashable], labels: Sequence[Sequence[Any]]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Index and name of every entry of a variable over clusters and features; upper triangles of symmetric matrices."""
    symmetric = name in ("cov", "C0") and FEATURE_BIS in dims
    for index in np.ndindex(*map(len, labels)):
        if not symmetric or index[-2] <= index[-1]:
            called = ", ".join(str(each[i]) for each, i in zip(labels, index, strict=True))
            yield index, f"{name}[{called}]" if index else name


def summarise(quantities: Iterator[tuple[str, FloatArray]], *, efficiency: float | None = None) -> pd.DataFrame:
    """Table of mean, sd, Monte Carlo standard error, effective sample sizes and R-hat, without constant quantities.

    With the ``efficiency`` of independent draws, effective sample sizes and R-hat, which take most of the time, stay NaN.
    """
    tables = []
    for names, standard, mean, sd in _standardised(quantities):
        found = {"mean": mean, "sd": sd, **dict.fromkeys(_COLUMNS[2:], np.full(len(names), np.nan))}
        if standard.shape[2] >= convergence.FEWEST_DRAWS:
            with np.errstate(invalid="ignore", divide="ignore"):  # constant chains
                if efficiency is None:
                    found["mcse_mean"] = sd * convergence.mcse_mean(standard)
                    found["ess_bulk"], found["r_hat"] = convergence.of_ranks(standard)
                    found["ess_tail"] = convergence.ess_tail(standard)
                else:
                    found["mcse_mean"] = sd / np.sqrt(efficiency * standard[0].size)
        tables.append(pd.DataFrame(found, index=names))
    return pd.concat(tables) if len(tables) > 1 else tables[0] if tables else pd.DataFrame(columns=_COLUMNS, dtype=float)


def have_reached(quantities: Iterator[tuple[str, FloatArray]], ess: float, r_hat: float) -> bool:
    """Whether all quantities have at least this bulk effective sample size and at most this R-hat."""
    with np.errstate(invalid="ignore", divide="ignore"):
        for _, standard, *_ in _standardised(quantities):
            found, worst = convergence.of_ranks(standard)
            if not ((found >= ess).all() and (worst <= r_hat).all()):
                return False
    return True


def _standardised(
    quantities: Iterator[tuple[str, FloatArray]],
) -> Iterator[tuple[list[str], FloatArray, FloatArray, FloatArray]]:
    """Names, standardised draws, means and sds of varying quantities, in batches.

    Squares in the data's units could overflow.
    """
    varying = ((name, values) for name, values in quantities if np.ptp(values) != 0)
    for some in batched(varying, _TOGETHER):
        names, values = zip(*some, strict=True)
        mean, sd = np.array([location_and_scale(each.ravel()) for each in values]).T
        with np.errstate(invalid="ignore", divide="ignore"):
            yield list(names), (np.stack(values) - mean[:, None, None]) / sd[:, None, None], mean, sd


def as_text(table: pd.DataFrame) -> str:
    """A summary table as text, rounded by the sds; only the worst rows of a long one."""
    if len(table) > _LONGEST:
        key = "tail" if "tail" in table else "ess_bulk" if "ess_bulk" in table else "sd"
        shown = table.sort_values(key, kind="stable").head(_LONGEST // 2)
        return f"{as_text(shown)}\n({len(table) - len(shown)} more rows, with a larger {key})"
    texts = {name: table[name].map(_FORMATS.get(name, "{:.4g}").format) for name in table.select_dtypes("number")}
    for name in set(_LOCATED) & set(texts) if "sd" in table else ():  # as many digits as the sd justifies
        texts[name] = [with_digits(value, sd) for value, sd in zip(table[name], table["sd"], strict=True)]
    return table.assign(**texts).to_string()
