"""Folders of results: written whole or not at all, and never over anything but earlier results."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bayesgmm.stored_results import POSTERIOR, write_comparison_parts

if TYPE_CHECKING:
    import xarray as xr

    from bayesgmm.comparison import Comparison

_REPORT = "report.html"
_MARK = "verdict.txt"  # every folder of results has one


def write_fit(tree: xr.DataTree, folder: Path, *, with_report: bool = True) -> None:
    """The posterior, its verdicts and tables, two pictures, and the report."""
    import arviz as az
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from bayesgmm import plots
    from bayesgmm.agreement import check_against_em
    from bayesgmm.diagnostics import diagnose
    from bayesgmm.html_report import report

    diagnosis, check = diagnose(tree), check_against_em(tree)
    tree.to_netcdf(folder / POSTERIOR)
    (folder / _MARK).write_text(f"{diagnosis}\n\n{check}\n")
    diagnosis.parameters.to_csv(folder / "parameters.csv", index_label="parameter")
    check.table.to_csv(folder / "check_against_em.csv", index_label="parameter")
    several = "cov" in tree["posterior"]
    picture = plots.plot_pairs(tree) if several else plots.plot_fit(tree)
    picture.savefig(folder / ("pairs.png" if several else "fit.png"), dpi=150)
    names = ["w"] if tree.attrs["k"] > 1 else []  # one weight is always 1
    names += ["mu"] if several else ["mu", "sigma"]
    az.plot_trace_dist(tree, var_names=names, backend="matplotlib").savefig(folder / "trace.png")
    plt.close("all")
    if with_report:
        report(tree, folder / _REPORT)


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """The table over k, its pictures, a folder for each k, and the report on all of them."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from bayesgmm import plots
    from bayesgmm.html_report import report
    from bayesgmm.tree import features_of

    comparison.table.to_csv(folder / "comparison.csv", index=False)
    write_comparison_parts(comparison, folder)
    (folder / _MARK).write_text(f"{comparison}\n")
    plots.plot_compare(comparison).savefig(folder / "compare.png", dpi=150)
    names = features_of(next(iter(comparison.fits.values())))
    for name in names:
        of_feature = f"_{_as_file_name(name)}" if len(names) > 1 else ""
        plots.plot_fits(comparison, name).savefig(folder / f"fits{of_feature}.png", dpi=150)
    plt.close("all")
    for k, tree in comparison.fits.items():
        with whole_folder(folder / f"k{k}") as part:
            write_fit(tree, part, with_report=False)
    report(comparison, folder / _REPORT)


def _as_file_name(name: object) -> str:
    return "".join(each if each.isalnum() else "_" for each in str(name))


@contextmanager
def whole_folder(out: Path, force: bool = False) -> Iterator[Path]:
    """Write into a folder beside ``out`` that takes its name when everything has been written.

    An interrupt leaves under that name what had been finished, an error leaves nothing. Only a folder of earlier
    results is ever replaced.
    """
    if out.exists() and not (force and (out / _MARK).is_file() and not Path.cwd().is_relative_to(out.absolute())):
        remedy = "only a folder of earlier results is replaced" if force else "or replace earlier results with --force"
        raise FileExistsError(f"{out} exists; choose another --out, {remedy}")
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield folder
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and any(folder.iterdir()):
            _publish(folder, out)
            print(f"interrupted: what had been finished is in {out}", file=sys.stderr, flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    _publish(folder, out)


def keep_input(file: Path, out: Path | None) -> None:
    """Refuse to replace a folder of earlier results that the data lie in."""
    if out is not None and (out / _MARK).is_file() and file.resolve().is_relative_to(out.resolve()):
        raise FileExistsError(f"{out} holds the data {file}; choose another --out")


def _publish(folder: Path, out: Path) -> None:
    folder.chmod(0o755)
    if out.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
        os.replace(out, old / out.name)
        os.replace(folder, out)
        shutil.rmtree(old)
    else:
        os.replace(folder, out)


def first_free(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that does not exist."""
    number, candidate = 1, folder
    while candidate.exists():
        number += 1
        candidate = Path(f"{folder}-{number}")
    return candidate
