"""What the command line says: answers on standard output, all else on standard error."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any


def answer(text: object, end: str = "\n") -> bool:
    """Print a part of the answer; whether anyone still reads.

    A reader that has gone away, as ``head`` does, is no error: the rest of the answer goes nowhere, what is still to be
    written into files is written.
    """
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


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
    left_out = f" ({given - n} left out, with missing or infinite values)" if given > n else ""
    return f"{', '.join(columns)}: n = {n}{left_out}"


def terminal_width() -> int | None:
    """Columns of the terminal that answers go to; of a file or a pipe nothing."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """In place of :func:`warnings.showwarning`: one line, without the place in the source."""
    from bayesgmm.shell_words import in_shell_words

    say(f"{category.__name__}: {in_shell_words(str(message))}")
