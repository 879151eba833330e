"""What folders of results hold: draws first, then verdicts, tables, pictures and the report, as far as they can be had."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import arviz as az
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bayesgmm import plots
from bayesgmm.analysis.clusters import responsibilities
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import OBS, features_of
from bayesgmm.cli.documents import comparison_document, fit_document, to_json
from bayesgmm.cli.messages import Tell, in_shell, silence
from bayesgmm.cli.printed import comparison_text, fit_text
from bayesgmm.cli.stored_results import VERDICT, keep_draws, write_comparison_parts
from bayesgmm.comparison.result import Comparison
from bayesgmm.files import is_of_full_disk, whole_file
from bayesgmm.html_report.fitted import Fitted
from bayesgmm.html_report.writing import report as write_report
from bayesgmm.plots.names import drawable, name_axes

_REPORT = "report.html"
_PROBABILITIES = 400_000_000  # draws x observations x clusters, up to which all draws are used
_FEWEST = 100  # draws, however many the observations
_ROWS = 2**16  # of a table written together

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
    """Beside its draws a fit's verdicts and tables, each observation's clusters, two pictures, and the report.

    ``ids`` names each row of the data that were given. What could not be written is returned, and why.
    """
    columns = list(map(str, features_of(fitted.tree) if columns is None else columns))
    left_out: list[str] = []
    with _or_left_out(VERDICT, left_out):
        _write(folder / VERDICT, fit_text(fitted))
    with _or_left_out("summary.json", left_out):
        _write(folder / "summary.json", to_json(fit_document(fitted, columns)))
    with _or_left_out("parameters.csv", left_out):
        fitted.diagnosis.parameters.to_csv(folder / "parameters.csv", index_label="parameter")
    with _or_left_out("check_against_em.csv", left_out):
        fitted.check.table.to_csv(folder / "check_against_em.csv", index_label="parameter")
    announce("writing each observation's clusters, and pictures ...")
    with _or_left_out("clusters.csv", left_out), whole_file(folder / "clusters.csv") as file:
        _write_clusters(fitted.reading, file, columns, announce, ids)
    _draw_fit(fitted.reading, folder, columns, left_out)
    if report:
        announce("writing the report ...")
        with _or_left_out(_REPORT, left_out):
            write_report(fitted.reading, folder / _REPORT)
    return left_out


def _draw_fit(reading: Reading, folder: Path, columns: Sequence[str], left_out: list[str]) -> None:
    """The density, or the features in pairs, and the traces."""
    tree, several = reading.tree, reading.draws.n_features > 1
    with _picture("pairs.png" if several else "fit.png", folder, left_out, columns) as file:
        picture = plots.plot_pairs(reading) if several else plots.plot_fit(reading)
        if not several:
            name_axes(picture.axes[0], x=columns[0])
        picture.savefig(file, dpi=150)
    names = ["w"] if tree.attrs["k"] > 1 else []  # one weight is always 1
    names += ["mu"] if several else ["mu", "sigma"]
    with _picture("trace.png", folder, left_out, columns) as file:
        az.plot_trace_dist(tree, var_names=names, backend="matplotlib").savefig(file)


def write_comparison(
    comparison: Comparison,
    folder: Path,
    columns: Sequence[str] | None = None,
    announce: Tell = silence,
    *,
    ids: pd.Series | None = None,
) -> list[str]:
    """The table over k, its pictures, a folder for each k, and the report; what could not be written is returned."""
    names = features_of(next(iter(comparison.fits.values())))
    columns = list(map(str, names if columns is None else columns))
    left_out: list[str] = []
    announce("writing the draws and pictures ...")
    folders = {k: folder / f"k{k}" for k in comparison.fits}
    for k, tree in comparison.fits.items():
        folders[k].mkdir()
        keep_draws(tree, folders[k])
    write_comparison_parts(comparison, folder)
    with _or_left_out(VERDICT, left_out):
        _write(folder / VERDICT, comparison_text(comparison))
    with _or_left_out("comparison.csv", left_out):
        comparison.table.to_csv(folder / "comparison.csv", index=False)
    with _or_left_out("summary.json", left_out):
        _write(folder / "summary.json", to_json(comparison_document(comparison, columns)))
    _draw_comparison(comparison, folder, names, left_out)
    for k in comparison.fits:
        announce(f"k = {k}: checking against EM ...")
        with _or_left_out(f"k{k}", left_out):
            fitted = Fitted.of(comparison.reading(k))
            found = write_fit(fitted, folders[k], columns, announce, report=False, ids=ids)
            left_out += [f"k{k}/{each}" for each in found]
    announce("writing the report ...")
    with _or_left_out(_REPORT, left_out):
        write_report(comparison, folder / _REPORT)
    return left_out


def _draw_comparison(comparison: Comparison, folder: Path, names: Sequence[Any], left_out: list[str]) -> None:
    """The criteria over k, and the fits of every k in each feature."""
    with _picture("compare.png", folder, left_out) as file:
        plots.plot_compare(comparison).savefig(file, dpi=150)
    for name in names:
        of_feature = "_" + re.sub(r"\W", "_", str(name)) if len(names) > 1 else ""
        with _picture(f"fits{of_feature}.png", folder, left_out, [name]) as file:
            plots.plot_fits(comparison, name).savefig(file, dpi=150)


@contextmanager
def _picture(name: str, folder: Path, left_out: list[str], features: Sequence[Any] = ()) -> Iterator[Path]:
    """A picture's file, in which features may have any name; one that cannot be drawn is left out."""
    mpl.use("agg")
    try:
        with _or_left_out(name, left_out), drawable(features), whole_file(folder / name) as file:
            yield file
    finally:
        plt.close("all")


@contextmanager
def _or_left_out(name: str, left_out: list[str]) -> Iterator[None]:
    """Whatever error keeps a part from being written, the others are; of a full disk nothing more is tried."""
    try:
        yield
    except Exception as error:
        if is_of_full_disk(error):
            raise
        _log.debug("%s cannot be written", name, exc_info=True)
        left_out.append(f"{name} is left out, for it cannot be written: {in_shell(error) or type(error).__name__}")


def _write(file: Path, text: str) -> None:
    file.write_text(f"{text}\n", encoding="utf-8")


def _write_clusters(reading: Reading, file: Path, columns: Sequence[str], announce: Tell, ids: pd.Series | None) -> None:
    """A row for each observation: its position in the input, its name, data, most probable cluster, probabilities."""
    x = reading.x
    of_obs = responsibilities(_thinned(reading, len(x), announce))
    mean, sd = of_obs["mean"].values, of_obs["sd"].values
    clusters = range(mean.shape[1])
    added = ["cluster", *(f"{name}[{j}]" for name in ("p", "sd") for j in clusters)]
    columns = [_unlike(name, [OBS, *added, *columns[:place]]) for place, name in enumerate(columns)]
    with file.open("w", newline="", encoding="utf-8") as text:
        for begin in range(0, len(x), _ROWS):
            rows = slice(begin, begin + _ROWS)
            part = pd.DataFrame(x[rows].reshape(-1, len(columns)), columns=list(columns), index=of_obs[OBS].values[rows])
            if ids is not None:
                part.insert(0, ids.name, ids.to_numpy()[part.index])
            part["cluster"] = mean[rows].argmax(axis=1)
            part[added[1:]] = np.hstack([mean[rows], sd[rows]])
            part.to_csv(text, index_label=OBS, header=begin == 0)


def _unlike(name: str, others: Sequence[str]) -> str:
    """The name of a column of data, with a mark where another column has it."""
    return _unlike(f"{name} (data)", others) if name in others else name


def _thinned(reading: Reading, n: int, announce: Tell) -> Tree:
    """The tree with as many of its draws as membership probabilities of all observations take little time; says so."""
    n_chains, n_draws, k = reading.tree["posterior"]["w"].shape
    most = max(_FEWEST, _PROBABILITIES // (n * k))
    if n_chains * n_draws <= most:
        return reading
    keep = np.linspace(0, n_draws - 1, max(1, most // n_chains)).astype(int)
    announce(f"  clusters.csv is made from {n_chains * len(keep)} of {n_chains * n_draws} draws")
    return reading.tree.isel(draw=keep)
