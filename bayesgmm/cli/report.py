"""``bayesgmm report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesgmm.cli.messages import answer


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
) -> None:
    """Write one HTML file to pass on: the answer, the pictures behind it, and how to reproduce it."""
    from bayesgmm.cli.stored_results import read_results
    from bayesgmm.html_report.writing import report as write

    file = out or (results if results.is_dir() else results.parent) / "report.html"
    if file.exists() and not force:
        raise FileExistsError(f"{file} exists; choose another --out, or replace it with --force")
    answer(f"The report is in {write(read_results(results), file, k=k, title=title, force=force)}")
