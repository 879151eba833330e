"""``bayesgmm compare``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from bayesgmm.cli.options import (
    Chains,
    Columns,
    CovarianceOption,
    Draws,
    EngineOption,
    File,
    Force,
    MaxDraws,
    MaxIter,
    MissingOption,
    NInit,
    Out,
    PriorOption,
    Quiet,
    Seed,
    TargetAccept,
    TargetEss,
    Thin,
    Tune,
    prior_called,
)
from bayesgmm.cli.reading import read_columns
from bayesgmm.results import keep_input, whole_folder, write_comparison
from bayesgmm.validation import Method


def compare(
    file: File,
    columns: Columns = None,
    k: Annotated[str, typer.Option(help="Numbers of components: 1:8 (both ends count) or 2,3,5.")] = "1:8",
    method: Annotated[
        Method | None, typer.Option(help="Sampler, or approximation.  [default: gibbs where data are few, else nuts]")
    ] = None,
    covariance: CovarianceOption = "full",
    prior: PriorOption = "hierarchical",
    draws: Draws = 1000,
    tune: Tune = None,
    thin: Thin = None,
    chains: Chains = 4,
    target_accept: TargetAccept = None,
    target_ess: TargetEss = None,
    max_draws: MaxDraws = None,
    engine: EngineOption = None,
    max_iter: MaxIter = None,
    n_init: NInit = 10,
    seed: Seed = None,
    missing: MissingOption = "raise",
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps finished fits, from which an interrupted comparison goes on.")
    ] = None,
    out: Out = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Fit several numbers of components; compare how well they predict, their evidence, and EM's criteria."""
    x = read_columns(file, columns)
    keep_input(file, out)
    ks = _read_range(k)
    with whole_folder(out, force) if out else nullcontext() as folder:
        import bayesgmm

        comparison = bayesgmm.compare(
            x,
            ks,
            method=method,
            covariance=covariance,
            prior=prior_called(prior),
            draws=draws,
            tune=tune,
            thin=thin,
            chains=chains,
            target_accept=target_accept,
            target_ess=target_ess,
            max_draws=max_draws,
            engine=engine,
            max_iter=max_iter,
            n_init=n_init,
            cache=cache,
            random_seed=seed,
            missing=missing,
            progressbar=not quiet,
        )
        n = comparison.fits[comparison.table["k"].iloc[0]]["observed_data"].sizes["obs"]
        print(f"{', '.join(x.columns)}: n = {n}, seed {comparison.seed}")
        print(comparison)
        if folder is not None:
            write_comparison(comparison, folder)
    if out is not None:
        print(f"Posteriors, tables and pictures are in {out}")


def _read_range(text: str) -> list[int]:
    try:
        if ":" in text:
            first, last = map(int, text.split(":"))
            ks = list(range(first, last + 1))
        else:
            ks = [int(each) for each in text.split(",")]
    except ValueError:
        ks = []
    if not ks:
        raise ValueError(f"--k must be a range such as 1:6 or a list such as 2,3,5, got {text!r}")
    return ks
