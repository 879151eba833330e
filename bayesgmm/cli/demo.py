"""``bayesgmm demo``."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Annotated, get_args

import typer

from bayesgmm.cli.messages import heading, say
from bayesgmm.cli.options import Force
from bayesgmm.results import first_free, whole_folder, write_comparison, write_fit
from bayesgmm.validation import Method


def demo(
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: the first free bayesgmm-demo.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 1,
    force: Force = False,
) -> None:
    """Fit the galaxies with three components by EM, NUTS, Gibbs and ADVI, and compare k = 1 to 6. Takes about a minute."""
    out = out or first_free(Path("bayesgmm-demo"))
    with whole_folder(out, force) as folder:
        say("loading ArviZ ...")
        from bayesgmm import check_against_em, compare, datasets, diagnose, fit, fit_em

        x = datasets.galaxies()
        heading("The velocities of 82 galaxies, in 1000 km/s, as a mixture of three Gaussians")
        em = fit_em(x, 3, random_seed=seed)
        print(f"EM: {em.mixture}, log-likelihood {em.log_likelihood:.2f}, BIC {em.bic():.2f}")
        trees = {}
        for method in get_args(Method):
            heading(f"The posterior by {method.upper()}")
            trees[method] = fit(x, 3, method=method, random_seed=seed, log_likelihood=True, posterior_predictive=True)
            print(diagnose(trees[method]))
            print()
            print(check_against_em(trees[method]))
            with whole_folder(folder / method) as part:
                write_fit(trees[method], part)
            if trees[method].attrs["interrupted"]:
                raise KeyboardInterrupt
        heading("How many components?")
        comparison = compare(x, range(1, 7), random_seed=seed)
        print(comparison)
        with whole_folder(folder / "compare") as part:
            write_comparison(comparison, part)
        heading("The answer")
        for method, tree in trees.items():
            print(fill(f"{method.upper()}: {check_against_em(tree).verdict}.", 110))
        print(fill(f"Over k: {comparison.verdict}.", 110))
    print(f"Posteriors, tables and pictures are in {out}")
