"""The command line: ``bayesgmm demo | simulate | fit | compare | report``.

Answers go to standard output, as tables or as JSON; progress and warnings to standard error. An output folder is written
whole or not at all. Exit codes are those of :mod:`bayesgmm.cli.ending`. A new command is a module here and a line below.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from bayesgmm.cli import compare, demo, fit, report, simulate
from bayesgmm.cli.ending import BAD_INPUT, INTERRUPTED
from bayesgmm.cli.messages import answer, say, show_warning
from bayesgmm.cli.options import spread_out
from bayesgmm.results import is_of_full_disk

_EXIT_CODES = "Exit codes: 0 done, 1 bad input, 2 wrong options, 3 draws not to be trusted (with --strict), 130 interrupted."

app = typer.Typer(
    help="Bayesian Gaussian mixture models: the posterior by NUTS, Gibbs or ADVI, checked against EM.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command(epilog=simulate.EXAMPLES)(simulate.simulate)
app.command(epilog=fit.EXAMPLES)(fit.fit)
app.command(epilog=compare.EXAMPLES)(compare.compare)
app.command()(report.report)


def main() -> None:
    """Run the command line; errors become one sentence and a non-zero exit code."""
    warnings.showwarning = show_warning  # type: ignore[assignment]
    try:
        app(spread_out(sys.argv[1:]))
    except (ValueError, TypeError, OSError, MemoryError) as error:
        _say_error(error)
        raise SystemExit(BAD_INPUT) from None
    except KeyboardInterrupt as interrupt:
        say(f"interrupted {interrupt}".strip())
        raise SystemExit(INTERRUPTED) from None
    except SystemExit as end:  # typer's way of ending, without a word
        if end.code == INTERRUPTED:
            say("interrupted")
        raise


def _say_error(error: Exception) -> None:
    from bayesgmm.shell_words import in_shell_words

    bare_full = is_of_full_disk(error) and getattr(error, "errno", None)
    say("error: there is no space left on the disk" if bare_full else f"error: {in_shell_words(error)}")


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Bayesian Gaussian mixture models: the posterior by NUTS, Gibbs or ADVI, checked against EM."""
    if show:
        from bayesgmm import __version__

        answer(__version__)
        raise typer.Exit
