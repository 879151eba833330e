"""Writing of result folders: draws first, then verdict, tables, pictures and report. Parts that fail are left out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import arviz as az
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bayesgmm import plots
from bayesgmm.analysis.clusters import most_probable, responsibilities
from bayesgmm.analysis.contract import cluster_names
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import CLUSTER, OBS, features_of
from bayesgmm.cli.documents import comparison_document, fit_document, to_json
from bayesgmm.cli.messages import Tell, in_shell, silence
from bayesgmm.cli.printed import comparison_text, fit_text
from bayesgmm.cli.stored_results import VERDICT, keep_draws, write_comparison_parts, write_structures_list
from bayesgmm.comparison.result import Comparison
from bayesgmm.comparison.structures import StructureComparison
from bayesgmm.files import is_of_full_disk, whole_file
from bayesgmm.html_report.fitted import Fitted
from bayesgmm.html_report.writing import report as write_report
from bayesgmm.model.mixture import NOISE
from bayesgmm.plots.names import drawable, name_axes

_REPORT = "report.html"
_ROWS = 2**16  # of a table, written at once

_log = logging.getLogger(__name__)


def write_fit(
    fitted: Fitted,
    folder: Path,
    columns: Sequence[str] | None = None,
    announce: Tell = silence,
    *,
    report: bool = True,
    ids: pd.Series | None = None,
) -> list[str]:
    """Write a fit's verdict, tables, cluster probabilities, two pictures and report into the folder with its draws.

    ``ids`` are names for the rows of the input. Returns a message for each part that could not be written.
    """
    columns = list(map(str, features_of(fitted.tree) if columns is None else columns))
    reading, several = fitted.reading, len(fitted.features) > 1
    parts = _Parts(folder)
    parts.write(VERDICT, lambda file: _write_text(file, fit_text(fitted)))
    parts.write("summary.json", lambda file: _write_text(file, to_json(fit_document(fitted, columns))))
    parts.write("parameters.csv", lambda file: fitted.diagnosis.parameters.to_csv(file, index_label="parameter"))
    parts.write("check_against_em.csv", lambda file: fitted.check.table.to_csv(file, index_label="parameter"))
    announce("writing each observation's clusters, and pictures ...")
    parts.write("clusters.csv", lambda file: _write_clusters(reading, file, columns, ids))
    if several:
        parts.draw("pairs.png", lambda: plots.plot_pairs(reading), columns, dpi=150)
    else:
        parts.draw("fit.png", lambda: _density(reading, columns[0]), columns, dpi=150)
    names = [*(["w"] if fitted.k > 1 else []), "mu", *([] if several else ["sigma"])]  # a single weight is always 1
    names += [NOISE] if reading.draws.noise is not None else []
    parts.draw("trace.png", lambda: az.plot_trace_dist(fitted.tree, var_names=names, backend="matplotlib"), columns)
    if report:
        announce("writing the report ...")
        parts.write(_REPORT, lambda file: write_report(reading, file))
    return parts.left_out


def _density(reading: Reading, name: str) -> Any:
    figure = plots.plot_fit(reading)
    name_axes(figure.axes[0], x=name)
    return figure


def write_comparison(
    comparison: Comparison | StructureComparison,
    folder: Path,
    columns: Sequence[str] | None = None,
    announce: Tell = silence,
    *,
    ids: pd.Series | None = None,
) -> list[str]:
    """Write the table over k, pictures, a folder for each k, and the report. Returns a message for each part left out.

    For several structures, each has a folder with all this, beside the joint table and report.
    """
    if isinstance(comparison, StructureComparison):
        return _write_structures(comparison, folder, columns, announce, ids)
    names = features_of(next(iter(comparison.fits.values())))
    columns = list(map(str, names if columns is None else columns))
    parts = _Parts(folder)
    announce("writing the draws and pictures ...")
    folders = {k: folder / f"k{k}" for k in comparison.fits}
    for k, tree in comparison.fits.items():
        folders[k].mkdir()
        keep_draws(tree, folders[k])
    write_comparison_parts(comparison, folder)
    parts.write(VERDICT, lambda file: _write_text(file, comparison_text(comparison)))
    parts.write("comparison.csv", lambda file: comparison.table.to_csv(file, index=False))
    parts.write("summary.json", lambda file: _write_text(file, to_json(comparison_document(comparison, columns))))
    parts.draw("compare.png", lambda: plots.plot_compare(comparison), dpi=150)
    for name in names:
        of_feature = "_" + re.sub(r"\W", "_", str(name)) if len(names) > 1 else ""
        parts.draw(f"fits{of_feature}.png", partial(plots.plot_fits, comparison, name), [name], dpi=150)
    for k in comparison.fits:
        announce(f"k = {k}: checking against EM ...")
        with parts.or_left_out(f"k{k}"):
            fitted = Fitted.of(comparison.reading(k))
            found = write_fit(fitted, folders[k], columns, announce, report=False, ids=ids)
            parts.left_out.extend(f"k{k}/{each}" for each in found)
    announce("writing the report ...")
    parts.write(_REPORT, lambda file: write_report(comparison, file))
    return parts.left_out


def _write_structures(
    comparison: StructureComparison, folder: Path, columns: Sequence[str] | None, announce: Tell, ids: pd.Series | None
) -> list[str]:
    parts = _Parts(folder)
    names = list(map(str, features_of(next(iter(comparison.first.fits.values()))) if columns is None else columns))
    for name, each in comparison.comparisons.items():
        (folder / name).mkdir()
        parts.left_out.extend(f"{name}/{found}" for found in write_comparison(each, folder / name, names, announce, ids=ids))
    write_structures_list(comparison, folder)
    parts.write(VERDICT, lambda file: _write_text(file, comparison_text(comparison)))
    parts.write("comparison.csv", lambda file: comparison.table.to_csv(file, index=False))
    parts.write("summary.json", lambda file: _write_text(file, to_json(comparison_document(comparison, names))))
    parts.write(_REPORT, lambda file: write_report(comparison, file))
    return parts.left_out


@dataclass(frozen=True)
class _Parts:
    """Writes parts of a folder of results. ``left_out`` has a message for each part that could not be written."""

    folder: Path
    left_out: list[str] = field(default_factory=list)

    @contextmanager
    def or_left_out(self, name: str) -> Iterator[None]:
        """Record an error in a part, so that the other parts are still written. A full disk ends the writing."""
        try:
            yield
        except Exception as error:
            if is_of_full_disk(error):
                raise
            _log.debug("%s cannot be written", name, exc_info=True)
            self.left_out.append(
                f"{name} is left out, because it cannot be written: {in_shell(error) or type(error).__name__}"
            )

    def write(self, name: str, write: Callable[[Path], object]) -> None:
        """Write a part by calling ``write`` with a file."""
        with self.or_left_out(name), whole_file(self.folder / name) as file:
            write(file)

    def draw(self, name: str, draw: Callable[[], Any], features: Sequence[Any] = (), **options: Any) -> None:
        """Save the picture that ``draw`` returns. Features may have any name."""
        mpl.use("agg")
        try:
            with self.or_left_out(name), drawable(features), whole_file(self.folder / name) as file:
                draw().savefig(file, **options)
        finally:
            plt.close("all")


def _write_text(file: Path, text: str) -> None:
    file.write_text(f"{text}\n", encoding="utf-8")


def _write_clusters(reading: Reading, file: Path, columns: Sequence[str], ids: pd.Series | None) -> None:
    """Write a row for each observation: position in the input, name, data, most probable cluster (-1: noise), probabilities.

    Clusters with names have these in the column ``cluster`` ("noise" for noise), and in the names of other columns.

    If only an interval is known, the value is empty, and the interval's ends are in columns after the data.
    """
    observed, bounded = reading.observations, reading.observations.bounded
    x = np.where(bounded, np.nan, observed.x)
    ends = [
        (f"{columns[place]} {where}", end[:, place])
        for place in np.flatnonzero(bounded.any(axis=0)).tolist()
        for where, end in (("from", observed.known.lower), ("to", observed.known.upper))
        if end is not None
    ]
    of_obs = responsibilities(reading)
    names, best = cluster_names(reading.tree), most_probable(of_obs)
    clusters = names or range(of_obs.sizes[CLUSTER])
    said = best if names is None else np.array([*names, "noise"])[best]
    probabilities = [of_obs["mean"].values, of_obs["sd"].values]
    added = ["cluster", *(f"{name}[{j}]" for name in ("p", "sd") for j in clusters)]
    if "noise" in of_obs:
        added.append("p[noise]")
        probabilities.append(of_obs["noise"].values[:, None])
    columns = [_unlike(name, [OBS, *added, *columns[:place]]) for place, name in enumerate(columns)]
    ends = [(_unlike(name, [OBS, *added, *columns]), end) for name, end in ends]
    with file.open("w", newline="", encoding="utf-8") as text:
        for begin in range(0, len(x), _ROWS):
            rows = slice(begin, begin + _ROWS)
            part = pd.DataFrame(x[rows].reshape(-1, len(columns)), columns=list(columns), index=of_obs[OBS].values[rows])
            if ids is not None:
                part.insert(0, ids.name, ids.to_numpy()[part.index])
            for name, end in ends:
                part[name] = end[rows]
            part["cluster"] = said[rows]
            part[added[1:]] = np.hstack([each[rows] for each in probabilities])
            part.to_csv(text, index_label=OBS, header=begin == 0)


def _unlike(name: str, others: Sequence[str]) -> str:
    """The name of a data column, with a suffix if another column has that name."""
    return _unlike(f"{name} (data)", others) if name in others else name
