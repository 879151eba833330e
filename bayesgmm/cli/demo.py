"""``bayesgmm demo``."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from bayesgmm.choices import Method
from bayesgmm.cli.ending import at_once
from bayesgmm.cli.folders import first_free, whole_folder
from bayesgmm.cli.messages import answer, heading, say, silence, terminal_width
from bayesgmm.cli.options import ForceOption, JsonOption, QuietOption

_COLUMNS = ["velocity"]
_METHODS: tuple[Method, ...] = ("nuts", "gibbs", "advi")


def demo(
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results.", show_default="the first free bayesgmm-demo")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 1,
    force: Annotated[bool, ForceOption] = False,
    json: Annotated[bool, JsonOption] = False,
    quiet: Annotated[bool, QuietOption] = False,
) -> None:
    """Fit the galaxies with three components by EM, NUTS, Gibbs and ADVI, and compare k = 1 to 6. Takes about a minute."""
    out = out or first_free(Path("bayesgmm-demo"))
    with whole_folder(out, force, say) as results:
        announce = silence if quiet else say
        announce("loading ArviZ ...")
        from bayesgmm import compare, datasets, fit_em
        from bayesgmm.cli.documents import comparison_document, fit_document, to_json
        from bayesgmm.cli.printed import comparison_text, fit_text
        from bayesgmm.cli.results import keep_draws, write_comparison, write_fit
        from bayesgmm.fitting import judged_fit
        from bayesgmm.html_report.fitted import Fitted

        def tell(*parts: object) -> None:
            if not json:
                answer("\n".join(map(str, parts)))

        x = datasets.galaxies()
        em = fit_em(x, 3, random_seed=seed)
        tell(heading("The velocities of 82 galaxies, in 1000 km/s, as a mixture of three Gaussians"))
        tell(f"EM: {em.mixture}, log-likelihood {em.log_likelihood:.2f}, BIC {em.bic():.2f}")
        document: dict[str, Any] = {"document": "demo", "fits": {}}
        verdicts, left_out = [], []
        for method in _METHODS:
            tell(heading(f"The posterior by {method.upper()}"))
            reading = judged_fit(
                x,
                3,
                method=method,
                random_seed=seed,
                log_likelihood=True,
                posterior_predictive=True,
                progressbar=not quiet,
            )
            with whole_folder(results.folder / method) as part:
                keep_draws(reading.tree, part.folder)
                with at_once(results, part):
                    announce("checking against EM ...")
                    fitted = Fitted.of(reading)
                    tell(fit_text(fitted, terminal_width(), worst=True))
                    document["fits"][method] = fit_document(fitted, _COLUMNS)
                    verdicts.append(f"{method.upper()}: {fitted.judgement.title}. {fitted.headline}")
                    left_out += [f"{method}: {each}" for each in write_fit(fitted, part.folder, _COLUMNS, announce)]
            if reading.tree.attrs["interrupted"]:
                raise KeyboardInterrupt
        tell(heading("How many components?"))
        comparison = compare(x, range(1, 7), random_seed=seed, progressbar=not quiet)
        with whole_folder(results.folder / "compare") as part, at_once(results, part):
            document["comparison"] = comparison_document(comparison, _COLUMNS)
            tell(comparison_text(comparison, terminal_width()))
            left_out += write_comparison(comparison, part.folder, _COLUMNS, announce)
        if comparison.unfinished:
            raise KeyboardInterrupt
        for each in left_out:
            say(each)
        verdicts.append(f"How many clusters? {comparison.best.recommended}.")
        tell(heading("The answer"), *(fill(each, 110, subsequent_indent="  ") for each in verdicts))
    if json:
        answer(to_json(document))
    (say if json else answer)(f"Posteriors, tables and pictures are in {results.place}")
