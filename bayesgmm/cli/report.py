"""``bayesgmm report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesgmm.cli.messages import answer
from bayesgmm.cli.options import NamesOption


def report(
    results: Annotated[Path, typer.Argument(help="Folder that fit or compare wrote with --out, or a posterior.nc.")],
    k: Annotated[
        int | None,
        typer.Option(
            "-k", "--k", help="For a comparison: the k to describe in detail.  [default: the smallest not ruled out]"
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
    out: Annotated[Path | None, typer.Option(help="HTML file to write.  [default: report.html in the folder]")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    names: NamesOption = None,
) -> None:
    """Write one HTML file to pass on: the answer, the pictures behind it, and how to reproduce it."""
    from bayesgmm.cli.stored_results import read_results
    from bayesgmm.html_report.writing import report as write

    file = out or (results if results.is_dir() else results.parent) / "report.html"
    if file.exists() and not force:
        raise FileExistsError(f"{file} exists; choose another --out, or replace it with --force")
    found = read_results(results)
    if names is not None:
        import xarray as xr

        from bayesgmm.analysis.naming import rename_clusters

        if not isinstance(found, xr.DataTree):
            raise ValueError("--names must be for the results of fit, got a comparison; give the folder of one k in it")
        found = rename_clusters(found, names)
    answer(f"The report is in {write(found, file, k=k, title=title, force=force)}")
