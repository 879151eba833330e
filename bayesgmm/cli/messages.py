"""What the command line says beside its answers, in the shell's words."""

from __future__ import annotations

import re
import sys
from typing import Any


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


def heading(text: str) -> None:
    """A line that begins a part of the answer."""
    print(f"\n== {text} ==", flush=True)


def in_shell_words(error: Exception) -> str:
    """One line, with Python's ``name='value'`` written as an option."""
    text = " ".join(str(error).split())
    return re.sub(r"\b(missing|method|covariance|chains|engine)=(?:'(\w+)'|(\d+))", r"--\1 \2\3", text)


def show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """In place of :func:`warnings.showwarning`: one line, without the place in the source."""
    say(f"{category.__name__}: {in_shell_words(Exception(message))}")
