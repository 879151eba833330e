"""``bayesgmm compare``."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Annotated

import typer

from bayesgmm.choices import Method
from bayesgmm.cli.ending import at_once, end
from bayesgmm.cli.messages import answer, say, terminal_width, what_was_read
from bayesgmm.cli.options import Output, Settings, Source, of_output, of_sampling, read_range, unfolded

EXAMPLES = """
Examples:

bayesgmm compare galaxies.csv --column velocity --k 1:8 --out results/

bayesgmm compare geyser.parquet --columns eruptions waiting --k 1,2,3 --covariance tied

bayesgmm compare geyser.csv --columns eruptions waiting --k 1:4 --covariance full,tied,diag

bayesgmm compare long.csv --column x --cache fits/      (goes on where it was interrupted)
"""


_FITS = "fits"  # cache in the folder of results until these are written, so that an error loses no finished fit


@unfolded
def compare(
    source: Source,
    *,
    k: Annotated[str, typer.Option("-k", "--k", help="Numbers of components: 1:8 (both ends count) or 2,3,5.")] = "1:8",
    method: Annotated[
        Method | None,
        of_sampling(help="Sampler or approximation.", show_default="chosen for each k; another one if it does not converge"),
    ] = None,
    settings: Settings,
    output: Output,
    cache: Annotated[
        Path | None,
        of_output(help="Folder that stores finished fits. An interrupted comparison then continues where it stopped."),
    ] = None,
) -> None:
    """Fit several numbers of components, and compare them by prediction, by evidence, and by EM's criteria.

    Prints one recommended number, a table of questions with their answers, and a row for each k.

    --out keeps the tables, pictures, a report, and for each k a folder like that of fit.
    """
    rows = source.read(output)
    observations = rows.observations(source.missing)
    ks = read_range(k)
    with output.folder() as results:
        import bayesgmm

        comparison = bayesgmm.compare(
            observations,
            ks,
            method=method,
            cache=cache if results is None or cache is not None else results.folder / _FITS,
            progressbar=not output.quiet,
            **settings.arguments(source),
        )
        columns = list(rows.x)
        with at_once(results):
            if output.json:
                from bayesgmm.cli.documents import comparison_document, to_json

                answer(to_json(comparison_document(comparison, columns)))
            else:
                from bayesgmm.cli.printed import comparison_text

                first = comparison.first if isinstance(comparison, bayesgmm.StructureComparison) else comparison
                answer(f"{what_was_read(first.reading(min(first.fits)), rows.x)}, seed {first.seed}")
                answer(comparison_text(comparison, terminal_width()))
            if results is not None:
                from bayesgmm.cli.results import write_comparison

                for left_out in write_comparison(comparison, results.folder, columns, output.announce, ids=rows.ids):
                    say(left_out)
                rmtree(results.folder / _FITS, ignore_errors=True)
    end(output, results, interrupted=bool(comparison.unfinished), trusted=bool(comparison.table["converged"].all()))
