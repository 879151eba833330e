"""The commands and their common settings. A new command needs a module in this package and a line below."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from bayesgmm.cli import compare, demo, fit, fit_many, report, simulate
from bayesgmm.cli.messages import answer

_EXIT_CODES = "Exit codes: 0 done, 1 bad input, 2 wrong options, 3 draws not to be trusted (with --strict), 130 interrupted."
_COLUMNS = get_terminal_size().columns
_BOXED = 60  # columns of a terminal that rich's boxes need for the names of options


class _OwnWords:
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _in_own_words():
            parsed: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
            return parsed


class _Commands(_OwnWords, TyperGroup): ...


class _Command(_OwnWords, TyperCommand): ...


@contextmanager
def _in_own_words() -> Iterator[None]:
    """Make errors list an option's possible values, or suggest the most similar option."""
    try:
        yield
    except Exception as error:
        like = getattr(error, "possibilities", None)
        if like:
            error.message += f". Did you mean {like[0]}?"  # type: ignore[attr-defined]
            error.possibilities = None  # type: ignore[attr-defined]
        invalid = getattr(error.__cause__, "errors", None)
        if callable(invalid) and (rule := _rule(error.param, invalid()[0]["type"])):  # type: ignore[attr-defined]
            error.message = f"must be {rule}, got {invalid()[0]['input']!r}"  # type: ignore[attr-defined]
        raise


def _rule(option: Any, fault: str) -> str | None:
    """The values that an option accepts, from its choices or from the kind of validation error."""
    choices = getattr(getattr(option, "type_descriptor", None), "choices", None)
    if choices:
        return f"one of {', '.join(map(str, choices))}"
    return next((rule for kind, rule in (("int", "an integer"), ("float", "a number")) if fault.startswith(kind)), None)


app = typer.Typer(
    cls=_Commands,
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if _COLUMNS >= _BOXED else None,
    context_settings={"terminal_width": _COLUMNS},
)
app.command(cls=_Command)(demo.demo)
app.command(cls=_Command, epilog=simulate.EXAMPLES)(simulate.simulate)
app.command(cls=_Command, epilog=fit.EXAMPLES)(fit.fit)
app.command(cls=_Command, epilog=compare.EXAMPLES)(compare.compare)
app.command("fit-many", cls=_Command, epilog=fit_many.EXAMPLES)(fit_many.fit_many)
app.command(cls=_Command)(report.report)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Bayesian Gaussian mixture models: the posterior by NUTS, Gibbs, Laplace or ADVI, checked against EM."""
    if show:
        from bayesgmm import __version__

        answer(__version__)
        raise typer.Exit
