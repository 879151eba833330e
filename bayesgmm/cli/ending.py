"""How a command ends: its exit code, and where the results are.

0: done, whatever was found; 1: bad input or a full disk, in one sentence; 2: wrong options; 3: with ``--strict``, draws that
cannot be trusted; 130: interrupted, what had been finished is kept.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bayesgmm.cli.messages import answer, say

if TYPE_CHECKING:
    from bayesgmm.cli.options import Output

BAD_INPUT = 1
UNTRUSTED = 3
INTERRUPTED = 130  # what shells call a program that Ctrl-C has ended


def end(output: Output, *, interrupted: bool, trusted: bool) -> None:
    """Say where the results are; leave with the exit code that fits them."""
    if output.out is not None:
        (say if output.json else answer)(f"Posteriors, tables and pictures are in {output.out}")
    if interrupted:
        raise SystemExit(INTERRUPTED)
    if output.strict and not trusted:
        say("the draws cannot be trusted, and --strict was asked for")
        raise SystemExit(UNTRUSTED)


@contextmanager
def at_once(folder: Path | None, out: Path | None) -> Iterator[None]:
    """Within it Ctrl-C ends the process without waiting for threads; what the folder holds by then is kept as ``out``."""

    def stop(*_: object) -> None:
        from bayesgmm.results import publish_unfinished

        kept = f": {publish_unfinished(folder, out)}" if folder is not None and out is not None else ""
        os.write(sys.stderr.fileno(), f"interrupted{kept}\n".encode())  # in the middle of whatever else is being printed
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
