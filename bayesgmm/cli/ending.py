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
from typing import TYPE_CHECKING

from bayesgmm.cli.messages import answer, say

if TYPE_CHECKING:
    from bayesgmm.cli.folders import ResultFolder
    from bayesgmm.cli.options import Output

BAD_INPUT = 1
UNTRUSTED = 3
INTERRUPTED = 130  # what shells call a program that Ctrl-C has ended


def end(output: Output, results: ResultFolder | None, *, interrupted: bool, trusted: bool) -> None:
    """Say where the results are; leave with the exit code that fits them."""
    if results is not None:
        (say if output.json else answer)(f"Posteriors, tables and pictures are in {results.place}")
    if interrupted:
        raise SystemExit(INTERRUPTED)
    if output.strict and not trusted:
        say("the draws cannot be trusted, and --strict was asked for")
        raise SystemExit(UNTRUSTED)


@contextmanager
def at_once(results: ResultFolder | None, part: ResultFolder | None = None) -> Iterator[None]:
    """Within it Ctrl-C ends the process without waiting for threads; what has been finished by then is kept.

    Of results that are made of several folders, ``part`` is the one that is being written.
    """

    def stop(*_: object) -> None:
        try:
            if part is not None:
                part.publish_unfinished()
            kept = f": {results.publish_unfinished()}" if results is not None else ""
            os.write(sys.stderr.fileno(), f"interrupted{kept}\n".encode())  # in the middle of whatever else is being printed
        finally:
            os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
