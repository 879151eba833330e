"""The command line: ``bayesgmm demo | simulate | fit | compare``.

Tables go to standard output, progress and warnings to standard error. An output folder is written whole or not at all.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from bayesgmm.cli.compare import compare
from bayesgmm.cli.demo import demo
from bayesgmm.cli.fit import fit
from bayesgmm.cli.messages import in_shell_words, say, show_warning
from bayesgmm.cli.options import spread_out
from bayesgmm.cli.simulate import simulate

app = typer.Typer(
    help="Bayesian Gaussian mixture models: the posterior by NUTS, Gibbs or ADVI, checked against EM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo, simulate, fit, compare):
    app.command()(command)

_INTERRUPTED = 130  # what shells call a program that Ctrl-C has ended


def main() -> None:
    """Run the command line; errors become one sentence and a non-zero exit code."""
    warnings.showwarning = show_warning  # type: ignore[assignment]
    try:
        app(spread_out(sys.argv[1:]))
    except (ValueError, TypeError, OSError, MemoryError) as error:
        say(f"error: {in_shell_words(error)}")
        raise SystemExit(1) from None
    except KeyboardInterrupt as interrupt:
        say(f"interrupted {interrupt}".strip())
        raise SystemExit(_INTERRUPTED) from None
    except SystemExit as end:  # typer's way of ending, without a word
        if end.code == _INTERRUPTED:
            say("interrupted")
        raise


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Bayesian Gaussian mixture models: the posterior by NUTS, Gibbs or ADVI, checked against EM."""
    if show:
        from bayesgmm import __version__

        print(__version__)
        raise typer.Exit
