"""Options that several commands share: dataclasses with a field for each option."""

from __future__ import annotations

import inspect
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from bayesgmm.choices import Covariance, Engine, FamilyName, Missing, Scale
from bayesgmm.cli.folders import ResultFolder, keep_input, whole_folder
from bayesgmm.cli.inputs import ENDINGS, Format, Input
from bayesgmm.cli.layout import TextOptions, column_names
from bayesgmm.cli.messages import say, silence

if TYPE_CHECKING:
    from bayesgmm.cli.reading import FileRows


def _columns_beginning(context: typer.Context, incomplete: str) -> list[str]:
    file = context.params.get("file") or next(iter(context.args), "")  # not parsed yet while an option is incomplete
    try:
        return [each for each in column_names(file) if each.startswith(incomplete)]
    except (OSError, ValueError, MemoryError):
        return []


of_data, of_sampling, of_output = (partial(typer.Option, rich_help_panel=panel) for panel in ("Data", "Sampling", "Output"))
_column = partial(of_data, metavar="NAME", autocompletion=_columns_beginning)


@dataclass(frozen=True)
class TableFile:
    """A table in a file, and how to read it."""

    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="CSV or other text, Parquet or NetCDF file, or - for standard input. Text begins with a header line.",
            autocompletion=lambda: [],
        ),
    ]
    columns: Annotated[
        list[str] | None,
        _column(
            "--columns",
            "--column",
            metavar="NAME ...",
            help="Columns to fit. Not needed if the file has only one.",
        ),
    ] = None
    format: Annotated[
        Format | None, of_data(help="Format of the file.", show_default="by its ending, or its first bytes")
    ] = None
    separator: Annotated[
        str | None, of_data(metavar="CHARACTER", help="Separator between columns of text: a character, or tab or space.")
    ] = None
    decimal: Annotated[str | None, of_data(metavar="CHARACTER", help="Decimal mark of numbers.")] = None
    thousands: Annotated[str | None, of_data(metavar="CHARACTER", help="Separator of thousands in numbers.")] = None
    encoding: Annotated[str | None, of_data(metavar="NAME", help="Encoding of text, such as latin-1 or utf-16.")] = None
    comment: Annotated[
        str | None, of_data(metavar="TEXT", help="Mark at the beginning of comment lines; '' if there are none.")
    ] = None
    missing: Annotated[
        Missing,
        of_data(help="Refuse missing values, leave out their rows, or use the known values of the row (missing at random)."),
    ] = "raise"
    missing_values: Annotated[
        str | None,
        of_data(
            metavar="VALUES",
            help="Further codes for a missing value, separated by commas: -99,-999,na",
            show_default="empty, NA, NaN, null, ...",
        ),
    ] = None
    noise: Annotated[
        bool,
        of_data(
            "--noise",
            help="Observations may belong to no cluster. Noise is uniform over the range of the data, extended by a tenth "
            "of it at either end.",
        ),
    ] = False
    rounding: Annotated[
        list[str] | None,
        of_data(
            metavar="WIDTH ...",
            help="Step to which values are rounded, one for all columns or one for each (0: not rounded). none: values are "
            "exact. auto: exact, unless equal values would make the posterior improper; then the step is found.",
            show_default="auto",
        ),
    ] = None

    @property
    def steps(self) -> Literal["auto"] | list[float] | None:
        """The argument ``rounding`` of :func:`bayesgmm.fit`."""
        words = [each.lower() for each in self.rounding or ["auto"]]
        if words in (["auto"], ["none"]):
            return "auto" if words == ["auto"] else None
        try:
            return [float(each) for each in words]
        except ValueError:
            rule = "must be auto, none, or numbers: the width of the step for all columns, or for each"
            raise ValueError(f"--rounding {rule}, got {' '.join(self.rounding or [])}") from None

    @property
    def text(self) -> TextOptions:
        """How text is written."""
        return TextOptions(self.separator, self.decimal, self.thousands, self.encoding, self.comment)

    @property
    def codes(self) -> list[str]:
        """Further codes for a missing value."""
        return [each.strip() for each in (self.missing_values or "").split(",") if each.strip()]


@dataclass(frozen=True)
class Source(TableFile):
    """Where the data are."""

    id: Annotated[str | None, _column(help="Column with the name of each observation, for clusters.csv. May hold text.")] = (
        None
    )
    weight: Annotated[
        str | None,
        _column(
            "--weight", "--counts", help="Column with frequency weights: how many observations a row or bin stands for."
        ),
    ] = None
    error: Annotated[
        list[str] | None,
        _column(
            metavar="NAME ...",
            help="Columns with standard deviations of measurement errors, one for each of --columns.",
        ),
    ] = None
    lower: Annotated[
        list[str] | None,
        _column(
            metavar="NAME ...",
            help="Columns with the lower ends of intervals (bins, detection limits), empty for no limit. They replace "
            "--columns. Give --columns too if some values are known exactly.",
        ),
    ] = None
    upper: Annotated[list[str] | None, _column(metavar="NAME ...", help="Columns with the upper ends of intervals.")] = None
    jitter: Annotated[
        bool,
        of_data(
            "--jitter", help="Spread rounded values evenly over their rounding intervals, in the same way in every run."
        ),
    ] = False

    def read(self, output: Output) -> FileRows:
        """Read the columns to fit, with the names of the rows, weights, errors and intervals."""
        if self.id is not None and output.out is None:
            raise ValueError("--id names observations in clusters.csv, which only --out writes, got no --out; give it too")
        Input(self.file, output.announce).require_there()
        from bayesgmm.cli.reading import read_observations  # slow

        rows = read_observations(
            self.file,
            self.columns,
            id=self.id,
            weight=self.weight,
            error=self.error,
            lower=self.lower,
            upper=self.upper,
            format=self.format,
            missing=self.missing,
            missing_values=self.codes,
            text=self.text,
            announce=output.announce,
        )
        _ = self.steps  # raises an error if --rounding is wrong
        if self.jitter and rows.lower is not None:
            raise ValueError("--jitter must not be given beside --lower and --upper, which say where values lie; choose one")
        if self.jitter:
            from bayesgmm.data.ties import jitter

            rows = replace(rows, x=jitter(rows.x, random_seed=0))
        keep_input(self.file, output.out)
        return rows


NamesOption = Annotated[
    list[str] | None,
    of_output(
        metavar="NAME ...",
        help="Names for the clusters, in their order: by increasing mean in the first column.",
        show_default="numbers",
    ),
]


@dataclass(frozen=True)
class Sampling:
    """How each posterior is computed by compiled code."""

    covariance: Annotated[
        str,
        of_sampling(
            metavar="|".join(get_args(Covariance)),
            help="full: a covariance matrix for each cluster. tied: one for all clusters. diag: independent features. "
            "spherical: one variance for all features of a cluster. tied_diag, tied_spherical: the same variances for all "
            "clusters. compare takes several, such as full,tied.",
        ),
    ] = "full"
    family: Annotated[FamilyName, of_sampling(help="Gaussians, or Student's t distributions with heavy tails.")] = "gaussian"
    prior: Annotated[
        Literal["hierarchical", "conjugate"],
        of_sampling(help="Whether the scale of the variances is learnt from the data, or fixed."),
    ] = "hierarchical"
    prior_scale: Annotated[
        Scale | None,
        of_sampling(
            help="What sets the scale of the prior: the range of all observations, or of the core without strays.",
            show_default="range; core with --noise or --family t",
        ),
    ] = None
    draws: Annotated[int, of_sampling(help="Draws kept in each chain.")] = 1000
    chains: Annotated[int, of_sampling(help="Number of chains.")] = 4
    seed: Annotated[int | None, of_sampling(help="Random seed. The one used is printed and recorded.")] = None
    tune: Annotated[
        int | None,
        of_sampling(
            help="NUTS: adaptation steps of each chain. Gibbs: burn-in sweeps.",
            show_default="NUTS 200 or 400; Gibbs up to 1000",
        ),
    ] = None
    thin: Annotated[
        int | None, of_sampling(help="Thinning: sweeps or steps from one draw to the next.", show_default="1 to 50")
    ] = None
    target_ess: Annotated[
        float | None,
        of_sampling(help="NUTS: sample until the smallest effective sample size reaches this; --draws is the minimum."),
    ] = None
    max_draws: Annotated[
        int | None, of_sampling(help="NUTS with --target-ess: maximum number of draws per chain.", show_default="20 x draws")
    ] = None
    target_accept: Annotated[float | None, of_sampling(help="NUTS: target acceptance rate.", show_default="0.8 to 0.95")] = (
        None
    )
    max_iter: Annotated[int | None, of_sampling(help="ADVI: maximum number of iterations.", show_default="40000")] = None
    n_init: Annotated[int, of_sampling(help="Number of starts of EM.")] = 10

    def arguments(self, source: TableFile) -> dict[str, Any]:
        """The arguments of :func:`bayesgmm.fit`, including those about the data."""
        from bayesgmm.families import family_of
        from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior

        arguments = asdict(self)
        structures = self.covariance.split(",")
        arguments["covariance"] = structures if len(structures) > 1 else structures[0]
        kind = HierarchicalPrior if self.prior == "hierarchical" else ConjugatePrior
        usual: Scale = "core" if source.noise else family_of(self.family).scale
        prior = kind(scale=arguments.pop("prior_scale") or usual)
        known = {"missing": source.missing, "noise": source.noise, "rounding": source.steps}
        return arguments | {"prior": prior, "random_seed": arguments.pop("seed")} | known


@dataclass(frozen=True)
class ManySampling(Sampling):
    """How the posterior of each key is computed."""

    draws: Annotated[int, of_sampling(help="Draws kept in each chain.")] = 500
    n_init: Annotated[int, of_sampling(help="Number of starts of EM.")] = 4


@dataclass(frozen=True)
class Settings(Sampling):
    """How each posterior is computed."""

    engine: Annotated[
        Engine | None, of_sampling(help="Code for the posterior density; pymc is slower.", show_default="compiled")
    ] = None


OutOption = of_output(help="Folder for posteriors, tables and pictures.")
ForceOption = of_output("--force", help="Replace earlier results in the folder; other files in it stay.")
JsonOption = of_output("--json", help="Print one JSON document instead of tables.")
QuietOption = of_output("--quiet", "-q", help="No progress on standard error.")


@dataclass(frozen=True)
class Output:
    """Where the answer goes."""

    out: Annotated[Path | None, OutOption] = None
    force: Annotated[bool, ForceOption] = False
    json: Annotated[bool, JsonOption] = False
    strict: Annotated[bool, of_output("--strict", help="End with exit code 3 if the draws cannot be trusted.")] = False
    quiet: Annotated[bool, QuietOption] = False

    @property
    def announce(self) -> Callable[[str], None]:
        """Function that reports on standard error which phase begins."""
        return silence if self.quiet else say

    def folder(self) -> AbstractContextManager[ResultFolder | None]:
        """Context with the folder of results to write, or None without ``--out``."""
        return nullcontext() if self.out is None else whole_folder(self.out, self.force, say)


def unfolded(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: each parameter that is a dataclass becomes one option per field."""
    given = inspect.signature(command, eval_str=True).parameters.values()
    parts: dict[str, Any] = {each.name: each.annotation for each in given if is_dataclass(each.annotation)}
    own = {name: inspect.signature(part, eval_str=True).parameters.values() for name, part in parts.items()}
    parameters = [each.replace(kind=each.KEYWORD_ONLY) for top in given for each in own.get(top.name, [top])]

    @wraps(command)
    def with_options(**values: Any) -> None:
        folded = {name: part(**{each.name: values.pop(each.name) for each in fields(part)}) for name, part in parts.items()}
        command(**folded, **values)

    del with_options.__wrapped__  # else its signature would be used
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


_LISTS = ("--columns", "--error", "--lower", "--upper", "--rounding", "--names")


def spread_out(arguments: list[str]) -> list[str]:
    """Rewrite ``--columns a b`` as ``--columns a --columns b``, as typer expects, and other list options likewise.

    A list ends at the next option, or at the name of a file after the first value.
    """
    result: list[str] = []
    listing, columns = "", 0  # within a list: its option, and the number of values so far
    for each in arguments:
        option, equals, value = each.partition("=")
        if option in _LISTS:
            listing, columns = option, 1 if equals else 0
            result += [option, value] if equals else []
        elif not listing or each.startswith("-") or (columns and _is_file(each)):
            listing = ""
            result.append(each)
        else:
            columns += 1
            result += [listing, each]
    return result


def spread_out_completion(environment: MutableMapping[str, str]) -> None:
    """Apply :func:`spread_out` to a command line that bash completes: its words, and the index of the unfinished one."""
    words, at = environment["COMP_WORDS"].split("\n"), int(environment["COMP_CWORD"])
    unfinished = words[at : at + 1] or [""]
    if unfinished[0].startswith("-"):
        before = [*spread_out(words[1:at]), *unfinished]
    else:
        before = spread_out([*words[1:at], *unfinished])
    environment.update(COMP_WORDS="\n".join([words[0], *before]), COMP_CWORD=str(len(before)))


def _is_file(text: str) -> bool:
    return Path(text).is_file() or text.lower().endswith(tuple(ENDINGS))


def read_range(text: str) -> list[int]:
    """Numbers of components, from a range such as 1:6 or a list such as 2,3,5."""
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
