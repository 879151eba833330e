"""``bayesgmm fit``."""

from __future__ import annotations

from contextlib import nullcontext
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
    MethodOption,
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
from bayesgmm.results import keep_input, whole_folder, write_fit


def fit(
    file: File,
    k: Annotated[int, typer.Option("-k", "--k", help="Number of components.")],
    columns: Columns = None,
    method: MethodOption = "nuts",
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
    out: Out = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Posterior of a mixture with K components in one or several columns of a CSV file, which comes before --columns."""
    x = read_columns(file, columns)
    keep_input(file, out)
    with whole_folder(out, force) if out else nullcontext() as folder:
        import bayesgmm

        tree = bayesgmm.fit(
            x,
            k,
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
            random_seed=seed,
            missing=missing,
            progressbar=not quiet,
        )
        print(f"{', '.join(x.columns)}: n = {tree['observed_data'].sizes['obs']}, k = {k}, seed {tree.attrs['seed']}")
        if "stopped_by" in tree.attrs:
            print(f"{tree['posterior'].sizes['draw']} draws in each chain, ended by {tree.attrs['stopped_by']}")
        print(bayesgmm.diagnose(tree))
        print()
        print(bayesgmm.check_against_em(tree))
        if folder is not None:
            write_fit(tree, folder)
    if out is not None:
        print(f"Posterior, tables and pictures are in {out}")
