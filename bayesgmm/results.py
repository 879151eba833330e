"""Folders of results: written whole or not at all, and never over anything but earlier results."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

    from bayesgmm.comparison import Comparison
    from bayesgmm.diagnostics import Diagnosis
    from bayesgmm.html_report.fitted import Fitted

_REPORT = "report.html"
_MARK = "verdict.txt"  # every folder of results has one
_PROBABILITIES = 400_000_000  # draws x observations x clusters, up to which all draws are used
_FEWEST = 100  # draws, however many the observations
_ROWS = 2**16  # of a table written together
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


type Announce = Callable[[str], object]


class _FullDiskError(OSError):
    """What had been begun is gone again."""


def _in_silence(_: str) -> None:
    pass


def judge(tree: xr.DataTree, diagnosis: Diagnosis | None = None) -> Fitted:
    """Diagnose a fit, unless that has been done, and check it against EM."""
    from bayesgmm.html_report.fitted import Fitted

    return Fitted.of(tree, diagnosis)


def keep_draws(tree: xr.DataTree, folder: Path) -> None:
    """The posterior, before it is judged, so that it is kept whatever happens then."""
    from bayesgmm.stored_results import POSTERIOR

    # through memory: of a full disk HDF5 would print its own tracebacks
    with _whole_file(folder / POSTERIOR) as file, tree.to_netcdf(engine="h5netcdf") as content, file.open("wb") as opened:
        opened.write(content)
    (folder / _MARK).write_text("not judged: the run ended before that\n")


def write_fit(
    fitted: Fitted,
    folder: Path,
    columns: Sequence[str] | None = None,
    announce: Announce = _in_silence,
    *,
    report: bool = True,
) -> None:
    """Beside its draws a fit's verdicts and tables, each observation's clusters, two pictures, and the report."""
    import arviz as az
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from bayesgmm import plots
    from bayesgmm.documents import to_json
    from bayesgmm.html_report import write_report
    from bayesgmm.printed import fit_text

    tree = fitted.tree
    columns = list(map(str, fitted.features if columns is None else columns))
    (folder / _MARK).write_text(f"{fit_text(fitted)}\n")
    (folder / "summary.json").write_text(to_json(fit_document_of(fitted, columns)) + "\n")
    fitted.diagnosis.parameters.to_csv(folder / "parameters.csv", index_label="parameter")
    fitted.check.table.to_csv(folder / "check_against_em.csv", index_label="parameter")
    announce("writing each observation's clusters, and pictures ...")
    with _whole_file(folder / "clusters.csv") as file:
        _write_clusters(tree, file, columns, announce)
    several = "cov" in tree["posterior"]
    picture = plots.plot_pairs(tree) if several else plots.plot_fit(tree)
    if not several:
        picture.axes[0].set_xlabel(columns[0])
    with _whole_file(folder / ("pairs.png" if several else "fit.png")) as file:
        picture.savefig(file, dpi=150)
    names = ["w"] if tree.attrs["k"] > 1 else []  # one weight is always 1
    names += ["mu"] if several else ["mu", "sigma"]
    with _whole_file(folder / "trace.png") as file:
        az.plot_trace_dist(tree, var_names=names, backend="matplotlib").savefig(file)
    plt.close("all")
    if report:
        announce("writing the report ...")
        write_report(tree, folder / _REPORT, [fitted])


def write_comparison(
    comparison: Comparison,
    folder: Path,
    columns: Sequence[str] | None = None,
    announce: Announce = _in_silence,
) -> None:
    """The table over k, its pictures, a folder for each k, and the report on all of them."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from bayesgmm import plots
    from bayesgmm.documents import to_json
    from bayesgmm.html_report import write_report
    from bayesgmm.printed import comparison_text
    from bayesgmm.stored_results import write_comparison_parts
    from bayesgmm.tree import features_of

    names = features_of(next(iter(comparison.fits.values())))
    columns = list(map(str, names if columns is None else columns))
    (folder / _MARK).write_text(f"{comparison_text(comparison)}\n")
    comparison.table.to_csv(folder / "comparison.csv", index=False)
    announce("writing the draws and pictures ...")
    folders = {k: folder / f"k{k}" for k in comparison.fits}
    for k, tree in comparison.fits.items():
        folders[k].mkdir()
        keep_draws(tree, folders[k])
    write_comparison_parts(comparison, folder)
    (folder / "summary.json").write_text(to_json(document_of(comparison, columns)) + "\n")
    with _whole_file(folder / "compare.png") as file:
        plots.plot_compare(comparison).savefig(file, dpi=150)
    for name in names:
        of_feature = f"_{_as_file_name(name)}" if len(names) > 1 else ""
        with _whole_file(folder / f"fits{of_feature}.png") as file:
            plots.plot_fits(comparison, name).savefig(file, dpi=150)
    plt.close("all")
    fitted = []
    for k, tree in comparison.fits.items():
        announce(f"k = {k}: checking against EM ...")
        fitted.append(judge(tree, comparison.diagnoses[k]))
        write_fit(fitted[-1], folders[k], columns, announce, report=False)
    announce("writing the report ...")
    write_report(comparison, folder / _REPORT, fitted)


def fit_document_of(fitted: Fitted, columns: Sequence[str]) -> Mapping[str, Any]:
    """The fit's document, in the shell's words."""
    from bayesgmm.documents import fit_document
    from bayesgmm.shell_words import check_in_shell_words, diagnosis_in_shell_words

    diagnosis, check = diagnosis_in_shell_words(fitted.diagnosis), check_in_shell_words(fitted.check)
    return fit_document(fitted.tree, diagnosis, check, columns)


def document_of(comparison: Comparison, columns: Sequence[str]) -> Mapping[str, Any]:
    """The comparison's document, in the shell's words."""
    from bayesgmm.documents import comparison_document
    from bayesgmm.shell_words import diagnosis_in_shell_words, in_shell_words

    diagnoses = {k: diagnosis_in_shell_words(each) for k, each in comparison.diagnoses.items()}
    document = comparison_document(comparison, diagnoses, columns)
    return document | {"verdict": in_shell_words(comparison.verdict)}


def _write_clusters(tree: xr.DataTree, file: Path, columns: Sequence[str], announce: Announce) -> None:
    """A row for each observation: its position in the input, its data, its most probable cluster, probabilities with sd."""
    import pandas as pd

    from bayesgmm.clusters import responsibilities
    from bayesgmm.tree import OBS, read_observations

    x = read_observations(tree)
    of_obs = responsibilities(_thinned(tree, len(x), announce))
    mean, sd = of_obs["mean"].values, of_obs["sd"].values
    clusters = range(mean.shape[1])
    header = True
    with file.open("w", newline="") as text:
        for begin in range(0, len(x), _ROWS):
            rows = slice(begin, begin + _ROWS)
            part = pd.DataFrame(x[rows].reshape(-1, len(columns)), columns=list(columns), index=of_obs[OBS].values[rows])
            part["cluster"] = mean[rows].argmax(axis=1)
            for name, values in (("p", mean[rows]), ("sd", sd[rows])):
                part = part.join(pd.DataFrame(values, columns=[f"{name}[{j}]" for j in clusters], index=part.index))
            part.to_csv(text, index_label=OBS, header=header)
            header = False


def _thinned(tree: xr.DataTree, n: int, announce: Announce) -> xr.DataTree:
    """The tree with as many of its draws as membership probabilities of all observations take little time; says so."""
    import xarray as xr

    posterior = tree["posterior"].to_dataset()
    n_chains, n_draws, k = posterior["w"].shape
    most = max(_FEWEST, _PROBABILITIES // (n * k))
    if n_chains * n_draws <= most:
        return tree
    keep = np.linspace(0, n_draws - 1, max(1, most // n_chains)).astype(int)
    announce(f"  clusters.csv is made from {n_chains * len(keep)} of {n_chains * n_draws} draws")
    groups = {"posterior": posterior.isel(draw=keep), "observed_data": tree["observed_data"].to_dataset()}
    return xr.DataTree.from_dict(groups)


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
    asked, out = out, out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield folder
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and any(folder.iterdir()):
            raise KeyboardInterrupt(publish_unfinished(folder, asked)) from None
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, Exception) and is_of_full_disk(error):
            raise _FullDiskError(
                f"{asked} could not be written, there is no space left on its disk; free some, or choose another --out"
            ) from None
        raise
    _publish(folder, out)


@contextmanager
def _whole_file(file: Path) -> Iterator[Path]:
    """A file that takes its name when everything has been written."""
    part = file.with_name(f".part-{file.name}")
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def is_of_full_disk(error: Exception) -> bool:
    """Whether the disk, or a quota, is full: as the system says it, or as HDF5 repeats it in errors of its own."""
    named = any(os.strerror(number) in str(error) for number in _FULL)
    return isinstance(error, _FullDiskError) or getattr(error, "errno", None) in _FULL or named


def keep_input(file: str | Path, out: Path | None) -> None:
    """Refuse to replace a folder of earlier results that the data lie in."""
    if out is not None and (out / _MARK).is_file() and Path(file).resolve().is_relative_to(out.resolve()):
        raise FileExistsError(f"{out} holds the data {file}; choose another --out")


def publish_unfinished(folder: Path, out: Path) -> str:
    """Give a folder of :func:`whole_folder` its name before everything has been written; says that."""
    for begun in folder.glob(".*"):
        shutil.rmtree(begun) if begun.is_dir() else begun.unlink()
    _publish(folder, out.absolute())
    return f"what had been finished is in {out}"


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
