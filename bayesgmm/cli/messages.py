"""What the command line says: answers on standard output, all else on standard error."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Any

from bayesgmm.cli.streams import output_error


def answer(text: object, end: str = "\n") -> bool:
    """Print a part of the answer; whether anyone still reads.

    What cannot be printed, because its reader has gone away as ``head`` does or for another reason, goes nowhere; what is
    still to be written into files is written.
    """
    print(text, end=end)
    return output_error() is None


def heading(text: str) -> str:
    """A line that begins a part of the answer."""
    return f"\n== {text} =="


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


def silence(_: str) -> None:
    """In place of :func:`say`, with ``--quiet``."""


def what_was_read(columns: Sequence[str], n: int, given: int) -> str:
    """The columns, how many observations of them were used, and how many were not."""
    from bayesgmm.arguments import spoken

    left_out = f" ({given - n} left out, with missing or infinite values)" if given > n else ""
    return f"{', '.join(map(spoken, columns))}: n = {n}{left_out}"


def terminal_width() -> int | None:
    """Columns of the terminal that answers go to; of a file or a pipe nothing."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """In place of :func:`warnings.showwarning`: one line, without the place in the source."""
    from bayesgmm.cli.shell_words import in_shell_words

    say(f"{category.__name__}: {in_shell_words(str(message))}")
