"""Output of the command line: answers on standard output, everything else on standard error."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import Any

from bayesgmm.cli.streams import output_error
from bayesgmm.words import Argument, Either, Piece, Words, said

type Tell = Callable[[str], object]  # prints a line
_OF_SAMPLING = "method|chains|engine|draws|tune|thin|target_accept|target_ess|max_draws|max_iter|n_init|seed"
_OF_DATA = (
    "k|by|columns|criterion|workers|missing|weight|error|noise|rounding|family|covariance|cache|weights|means|sigma|names"
)
_OPTIONS = frozenset(f"{_OF_DATA}|{_OF_SAMPLING}".split("|"))
_CALLED = {
    "random_seed": "--seed",
    "n": "-n",
    "x": "the data",
    "table": "the data",
    "path": "--table",
    "covariances": "--covariance",
}


def answer(text: object, end: str = "\n") -> bool:
    """Print a part of the answer. Returns whether standard output still accepts text.

    Text that cannot be printed is dropped, for example because its reader has closed the pipe, as ``head`` does. Files are
    still written.
    """
    print(text, end=end)
    return output_error() is None


def heading(text: str) -> str:
    """Heading of a part of the answer."""
    return f"\n== {text} =="


def say(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def silence(_: str) -> None:
    """Print nothing: replaces :func:`say` with ``--quiet``."""


def what_was_read(reading: Any, given: Any) -> str:
    """A line about the data: columns, numbers of observations used and left out, weights, errors, gaps and intervals."""
    from bayesgmm.arguments import spoken
    from bayesgmm.html_report.blocks import PLAIN, known_in_part

    n, weight = len(reading.x), reading.known.weight
    why = "with missing or infinite values" + ("" if weight is None else ", or of weight 0")
    left_out = f" ({len(given) - n} left out, {why})" if len(given) > n else ""
    counted = "" if weight is None else f", counting as {weight.sum():.7g}"
    in_part = known_in_part(reading.observations, PLAIN)
    return f"{', '.join(map(spoken, given.columns))}: n = {n}{left_out}{counted}{in_part}"


def in_shell(message: object) -> str:
    """A message, error or warning as one line that names command-line options instead of Python arguments.

    Examples
    --------
    >>> from bayesgmm.words import Argument, Words
    >>> in_shell(Words("raise ", Argument("max_iter"), ", or use ", Argument("method", "nuts")))
    'raise --max-iter, or use --method nuts'
    """
    return " ".join("".join(map(_in_shell, Words(said(message)).pieces)).split())


def _in_shell(piece: Piece) -> str:
    if isinstance(piece, Argument):
        return " ".join([_option(piece.name), " or ".join(map(str, piece.values))]).strip()
    return piece.shell if isinstance(piece, Either) else piece


def _option(name: str) -> str:
    """The option for an argument; an argument without an option keeps its name."""
    return _CALLED.get(name, f"--{name.replace('_', '-')}" if name in _OPTIONS else name)


def terminal_width() -> int | None:
    """Width of the terminal in columns; None if answers go to a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Replaces :func:`warnings.showwarning`: prints one line, without the place in the source."""
    say(f"{category.__name__}: {in_shell(message)}")
