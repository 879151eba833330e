"""The end of a command: its exit code, and a line that says where the results are.

0: done, whatever the findings. 1: bad input or a full disk. 2: wrong options. 3: with ``--strict``, draws that cannot be
trusted. 130: interrupted; finished parts are kept.
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
INTERRUPTED = 130  # as shells report a program that Ctrl-C has ended


def end(output: Output, results: ResultFolder | None, *, interrupted: bool, trusted: bool) -> None:
    """Print where the results are, and exit with the matching code."""
    if results is not None:
        (say if output.json else answer)(f"Posteriors, tables and pictures are in {results.place}")
    if interrupted:
        raise SystemExit(INTERRUPTED)
    if output.strict and not trusted:
        say("the draws cannot be trusted, and --strict was asked for")
        raise SystemExit(UNTRUSTED)


@contextmanager
def at_once(results: ResultFolder | None, part: ResultFolder | None = None) -> Iterator[None]:
    """Context in which Ctrl-C ends the process without waiting for threads. Finished parts are kept.

    ``part`` is the folder within ``results`` that is being written, if there is one.
    """

    def stop(*_: object) -> None:
        try:
            if part is not None:
                part.publish_unfinished()
            kept = f": {results.publish_unfinished()}" if results is not None else ""
            os.write(sys.stderr.fileno(), f"interrupted{kept}\n".encode())  # the signal may have interrupted a print
        finally:
            os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
