"""``bayesgmm fit-many``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from bayesgmm.choices import Method
from bayesgmm.cli.ending import INTERRUPTED, UNTRUSTED
from bayesgmm.cli.inputs import Input
from bayesgmm.cli.messages import answer, in_shell, say, silence
from bayesgmm.cli.options import (
    JsonOption,
    ManySampling,
    QuietOption,
    TableFile,
    of_data,
    of_output,
    of_sampling,
    read_range,
    unfolded,
)

EXAMPLES = """
Examples:

bayesgmm fit-many guides.csv --by guide --column expression -k 2 --table fits.csv

bayesgmm fit-many genes.parquet -k auto --criterion evidence --table fits.parquet

bayesgmm fit-many flowers.csv --by species --columns length width -k 1:3 --json --quiet
"""


@unfolded
def fit_many(
    source: TableFile,
    *,
    by: Annotated[
        str | None, of_data(metavar="NAME", help="Column of the keys. Without it each column is fitted by itself.")
    ] = None,
    k: Annotated[
        str,
        of_sampling("-k", "--k", help="Number of components, or several to choose from: 1:5, 2,3,5, or auto (1 to 5)."),
    ] = "auto",
    criterion: Annotated[
        Literal["bic", "evidence"],
        of_sampling(help="What chooses k: BIC of EM's estimate, or the evidence, which takes longer."),
    ] = "bic",
    method: Annotated[
        Method | None,
        of_sampling(help="Sampler or approximation.", show_default="laplace; another one where it does not suit"),
    ] = None,
    settings: ManySampling,
    workers: Annotated[int | None, of_sampling(help="Number of processes.", show_default="one for each core")] = None,
    table: Annotated[
        Path | None,
        of_output(
            metavar="FILE",
            help="CSV or Parquet file for the table, a row for each fit. An interrupted run continues where it stopped.",
        ),
    ] = None,
    json: Annotated[bool, JsonOption] = False,
    strict: Annotated[
        bool, of_output("--strict", help="End with exit code 3 if any fit failed or has not converged.")
    ] = False,
    quiet: Annotated[bool, QuietOption] = False,
) -> None:
    """Fit a mixture to each group of a table, or to each column, and summarise the posteriors in one table.

    Prints how many fits are good, why others are not, and the first rows. A group that cannot be fitted does not stop the
    others.
    """
    Input(source.file, say).require_there()
    from bayesgmm.cli.reading import read_by_key  # slow

    rows = read_by_key(
        source.file,
        source.columns,
        by,
        format=source.format,
        missing_values=source.codes,
        text=source.text,
        announce=silence if quiet else say,
    )
    from bayesgmm.many import fits_of

    options = settings.arguments(source)
    if settings.prior == "hierarchical" and settings.prior_scale is None:
        options["prior"] = None  # as in Python, so that the table can be continued there
    found = fits_of(
        rows,
        "auto" if k == "auto" else _read_k(k),
        by=by,
        columns=None,
        criterion=criterion,
        method=method,
        path=table,
        workers=workers,
        progressbar=not quiet,
        speak=in_shell,
        **options,
    )
    if json:
        from bayesgmm.cli.documents import fits_document, to_json

        answer(to_json(fits_document(found)))
    else:
        answer(f"{found!r}\nseed {found.seed}")
    if table is not None:
        (say if json else answer)(f"The table is in {table}")
    if found.interrupted:
        raise SystemExit(INTERRUPTED)
    if strict and not found.table["converged"].all():
        say("some fits cannot be trusted, and --strict was asked for")
        raise SystemExit(UNTRUSTED)


def _read_k(text: str) -> int | list[int]:
    ks = read_range(text)
    return ks[0] if len(ks) == 1 and ":" not in text else ks
