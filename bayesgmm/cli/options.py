"""The options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bayesgmm.validation import Covariance, Engine, Method, Missing

if TYPE_CHECKING:
    from bayesgmm.priors import Prior

File = Annotated[Path, typer.Argument(help="CSV file with a header line.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        "--column",
        metavar="NAME ...",
        help="Columns to fit, one or several; not needed if the file has only one.",
    ),
]
MethodOption = Annotated[Method, typer.Option(help="Sampler, or Gaussian approximation.")]
CovarianceOption = Annotated[
    Covariance, typer.Option(help="Own covariances, one for all, independent features, or one variance for all features.")
]
PriorOption = Annotated[
    Literal["hierarchical", "conjugate"],
    typer.Option(help="Scale of the variances learnt from the data, or fixed; both in units of their range."),
]
Draws = Annotated[int, typer.Option(help="Draws kept in each chain.")]
Chains = Annotated[int, typer.Option(help="Number of chains.")]
Seed = Annotated[int | None, typer.Option(help="Random seed; the one used is printed and recorded.")]
Tune = Annotated[
    int | None, typer.Option(help="NUTS: adaptation steps of each chain; Gibbs: first sweeps.  [default: 200 or 400; 1000]")
]
Thin = Annotated[
    int | None,
    typer.Option(help="Sweeps or steps from draw to draw.  [default: 1 to 50; NUTS 1 to 8]"),
]
TargetAccept = Annotated[float | None, typer.Option(help="NUTS: acceptance rate sought.  [default: 0.8 or 0.9]")]
TargetEss = Annotated[
    float | None, typer.Option(help="NUTS: go on until the smallest effective sample size is this; --draws is the least.")
]
MaxDraws = Annotated[int | None, typer.Option(help="NUTS: the most draws, with --target-ess.  [default: 20 x draws]")]
EngineOption = Annotated[Engine | None, typer.Option(help="What computes the posterior.  [default: compiled]")]
MaxIter = Annotated[int | None, typer.Option(help="ADVI: iterations at most.  [default: 40000]")]
NInit = Annotated[int, typer.Option(help="Starts of EM.")]
MissingOption = Annotated[Missing, typer.Option(help="What to do with missing and infinite observations.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the posterior, tables and pictures.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the folder if it holds earlier results.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on standard error.")]


def prior_called(name: str) -> Prior:
    """The prior that ``--prior`` names."""
    from bayesgmm.priors import ConjugatePrior, HierarchicalPrior

    return HierarchicalPrior() if name == "hierarchical" else ConjugatePrior()


def spread_out(arguments: list[str]) -> list[str]:
    """``--columns a b`` as ``--columns a --columns b``, which is how an option takes several values.

    The list ends at the next option, or at the name of a file behind the first column.
    """
    result: list[str] = []
    columns: int | None = None  # how many have been read, within a list
    for each in arguments:
        option, equals, value = each.partition("=")
        if option == "--columns":
            columns = 1 if equals else 0
            result += ["--columns", value] if equals else []
        elif columns is None or each.startswith("-") or (columns and Path(each).is_file()):
            columns = None
            result.append(each)
        else:
            columns += 1
            result += ["--columns", each]
    return result
