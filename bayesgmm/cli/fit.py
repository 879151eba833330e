"""``bayesgmm fit``."""

from __future__ import annotations

from typing import Annotated

import typer

from bayesgmm.choices import Method
from bayesgmm.cli.ending import at_once, end
from bayesgmm.cli.messages import answer, in_shell, say, terminal_width, what_was_read
from bayesgmm.cli.options import NamesOption, Output, Settings, Source, of_sampling, unfolded

EXAMPLES = """
Examples:

bayesgmm fit galaxies.csv --column velocity -k 3

bayesgmm fit geyser.csv --columns eruptions waiting -k 2 --out results/

bayesgmm simulate --seed 1 | bayesgmm fit - --column x -k 2 --json --quiet
"""


@unfolded
def fit(
    source: Source,
    k: Annotated[int, typer.Option("-k", "--k", help="Number of components.")],
    *,
    method: Annotated[
        Method | None,
        of_sampling(
            help="Sampler or approximation.", show_default="chosen to suit the data; another if it does not converge"
        ),
    ] = None,
    settings: Settings,
    output: Output,
    names: NamesOption = None,
) -> None:
    """Posterior of a mixture of K Gaussians in one or several columns of a file.

    Prints the answer, whether it can be relied on, the clusters with their intervals, and the check against EM.

    --out keeps the draws (posterior.nc), tables, each observation's cluster probabilities (clusters.csv), pictures and a
    report.
    """
    if names is not None:
        from bayesgmm.analysis.naming import read_names

        read_names(names, k, beside_noise=source.noise)  # before the fit, which takes long
    rows = source.read(output)
    observations = rows.observations(source.missing)
    with output.folder() as results:
        from bayesgmm.cli.stored_results import keep_draws
        from bayesgmm.fitting import judged_fit

        reading = judged_fit(
            observations,
            k,
            method=method,
            progressbar=not output.quiet,
            **settings.arguments(source),
        )
        if names is not None:
            from bayesgmm.analysis.naming import renamed

            try:
                reading = renamed(reading, names)
            except ValueError as error:  # the fit has its numbers, and is kept
                say(f"--names is left out: {in_shell(error)}")
        tree, columns, announce = reading.tree, list(rows.x), output.announce
        if results is not None:
            keep_draws(tree, results.folder)
        with at_once(results):
            announce("checking against EM ...")
            from bayesgmm.html_report.fitted import Fitted

            fitted = Fitted.of(reading)
            if output.json:
                from bayesgmm.cli.documents import fit_document, to_json

                answer(to_json(fit_document(fitted, columns)))
            else:
                from bayesgmm.cli.printed import fit_text

                answer(f"{what_was_read(reading, rows.x)}, k = {k}, seed {tree.attrs['seed']}")
                if "stopped_by" in tree.attrs:
                    answer(f"{tree['posterior'].sizes['draw']} draws in each chain, ended by {tree.attrs['stopped_by']}")
                answer(f"\n{fit_text(fitted, terminal_width(), worst=True)}")
            if results is not None:
                from bayesgmm.cli.results import write_fit

                for left_out in write_fit(fitted, results.folder, columns, announce, ids=rows.ids):
                    say(left_out)
    end(output, results, interrupted=bool(tree.attrs["interrupted"]), trusted=fitted.diagnosis.converged)
