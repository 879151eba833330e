"""The command line: ``bayesgmm demo | simulate | fit | compare | report``.

Tables go to standard output, progress and warnings to standard error. An output folder is written whole or not at all.
"""

from __future__ import annotations

import re
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from bayesgmm.cli_report import report
from bayesgmm.results import first_free, keep_input, whole_folder, write_comparison, write_fit
from bayesgmm.validation import Covariance, Engine, Method, Missing

if TYPE_CHECKING:
    import pandas as pd

    from bayesgmm.priors import Prior

app = typer.Typer(
    help="Bayesian Gaussian mixture models: the posterior by NUTS, Gibbs or ADVI, checked against EM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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

_INTERRUPTED = 130  # what shells call a program that Ctrl-C has ended


def main() -> None:
    """Run the command line; errors become one sentence and a non-zero exit code."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        app(_spread_out(sys.argv[1:]))
    except (ValueError, TypeError, OSError, MemoryError) as error:
        _say(f"error: {_in_shell_words(error)}")
        raise SystemExit(1) from None
    except KeyboardInterrupt as interrupt:
        _say(f"interrupted {interrupt}".strip())
        raise SystemExit(_INTERRUPTED) from None
    except SystemExit as end:  # typer's way of ending, without a word
        if end.code == _INTERRUPTED:
            _say("interrupted")
        raise


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Bayesian Gaussian mixture models: the posterior by NUTS, Gibbs or ADVI, checked against EM."""
    if show:
        from bayesgmm import __version__

        print(__version__)
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: the first free bayesgmm-demo.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 1,
    force: Force = False,
) -> None:
    """Fit the galaxies with three components by EM, NUTS, Gibbs and ADVI, and compare k = 1 to 6. Takes about a minute."""
    out = out or first_free(Path("bayesgmm-demo"))
    with whole_folder(out, force) as folder:
        _say("loading ArviZ ...")
        from bayesgmm import check_against_em, compare, datasets, diagnose, fit, fit_em

        x = datasets.galaxies()
        _heading("The velocities of 82 galaxies, in 1000 km/s, as a mixture of three Gaussians")
        em = fit_em(x, 3, random_seed=seed)
        print(f"EM: {em.mixture}, log-likelihood {em.log_likelihood:.2f}, BIC {em.bic():.2f}")
        trees = {}
        for method in get_args(Method):
            _heading(f"The posterior by {method.upper()}")
            trees[method] = fit(x, 3, method=method, random_seed=seed, log_likelihood=True, posterior_predictive=True)
            print(diagnose(trees[method]))
            print()
            print(check_against_em(trees[method]))
            with whole_folder(folder / method) as part:
                write_fit(trees[method], part)
            if trees[method].attrs["interrupted"]:
                raise KeyboardInterrupt
        _heading("How many components?")
        comparison = compare(x, range(1, 7), random_seed=seed)
        print(comparison)
        with whole_folder(folder / "compare") as part:
            write_comparison(comparison, part)
        _heading("The answer")
        for method, tree in trees.items():
            print(fill(f"{method.upper()}: {check_against_em(tree).verdict}.", 110))
        print(fill(f"Over k: {comparison.verdict}.", 110))
    print(f"Posteriors, tables and pictures are in {out}")


@app.command()
def simulate(
    weights: Annotated[str, typer.Option(help="Probabilities, separated by commas.")] = "0.25,0.75",
    means: Annotated[str, typer.Option(help="Means, separated by commas.")] = "5,10",
    sigma: Annotated[str, typer.Option(help="Standard deviations, separated by commas.")] = "1.5,2",
    n: Annotated[int, typer.Option("-n", help="How many observations.")] = 10_000,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write; default: standard output.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Draw from a mixture: columns x, the observation, and z, its component."""
    from bayesgmm.mixture import Mixture

    mixture = Mixture(_numbers(weights, "weights"), _numbers(means, "means"), sigma=_numbers(sigma, "sigma"))
    x, z = mixture.sample(n, seed)
    lines = "".join(f"{value!r},{component}\n" for value, component in zip(x.tolist(), z.tolist(), strict=True))
    if out is None:
        sys.stdout.write("x,z\n" + lines)
        return
    if out.exists() and not (force and out.is_file()):
        raise FileExistsError(f"{out} exists; choose another --out, or replace a file with --force")
    beside = out.with_name(f".{out.name}.part")
    beside.write_text("x,z\n" + lines)
    beside.replace(out)
    print(f"{n} observations are in {out}")


@app.command()
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
    x = _read_columns(file, columns)
    keep_input(file, out)
    with whole_folder(out, force) if out else nullcontext() as folder:
        import bayesgmm

        tree = bayesgmm.fit(
            x,
            k,
            method=method,
            covariance=covariance,
            prior=_prior(prior),
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


@app.command()
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
    x = _read_columns(file, columns)
    keep_input(file, out)
    ks = _read_range(k)
    with whole_folder(out, force) if out else nullcontext() as folder:
        import bayesgmm

        comparison = bayesgmm.compare(
            x,
            ks,
            method=method,
            covariance=covariance,
            prior=_prior(prior),
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


app.command()(report)


def _read_columns(file: Path, columns: list[str] | None) -> pd.DataFrame:
    import pandas as pd

    if not file.is_file():
        raise FileNotFoundError(f"{file} is not a file; give a CSV file with a header line")
    try:
        table = pd.read_csv(file, skip_blank_lines=False)  # a blank line in a single column is a missing observation
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read as CSV: {str(error).strip()}") from None
    names = list(map(str, table.columns))
    if all(_is_number(name) for name in names):
        raise ValueError(f"{file} must begin with a header line of column names, got the numbers {', '.join(names)}")
    if table.empty:
        raise ValueError(f"{file} must hold at least one observation under its header line, got none")
    chosen = columns or (names if len(names) == 1 else [])
    wrong = [each for each in chosen if each not in names]
    if not chosen or wrong:
        got = ", ".join(map(repr, wrong)) or "none"
        raise ValueError(f"--columns must name one or several of {', '.join(names)}, got {got}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"--columns must name each column once, got {', '.join(chosen)}")
    return table[chosen]


def _spread_out(arguments: list[str]) -> list[str]:
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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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


def _numbers(text: str, name: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise ValueError(f"--{name} must be numbers separated by commas, got {text!r}") from None


def _prior(name: str) -> Prior:
    from bayesgmm.priors import ConjugatePrior, HierarchicalPrior

    return HierarchicalPrior() if name == "hierarchical" else ConjugatePrior()


def _in_shell_words(error: Exception) -> str:
    """One line, with Python's ``name='value'`` written as an option."""
    text = " ".join(str(error).split())
    return re.sub(r"\b(missing|method|covariance|chains|engine)=(?:'(\w+)'|(\d+))", r"--\1 \2\3", text)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    _say(f"{category.__name__}: {_in_shell_words(Exception(message))}")


def _heading(text: str) -> None:
    print(f"\n== {text} ==", flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
