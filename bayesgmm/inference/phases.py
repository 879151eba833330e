"""Phases of a long run: announced while they last, timed for the record."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Announces phases on standard error, if asked to, and keeps their wall-clock seconds."""

    def __init__(self, announce: bool) -> None:
        self.announce = announce
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str, text: str) -> Iterator[None]:
        """Announce a phase, and time what is done within."""
        begin = time.perf_counter()
        self._say(f"{text} ...")
        yield
        self.seconds[name] = time.perf_counter() - begin
        self._say(f"  done in {self.seconds[name]:.1f} s")

    def _say(self, text: str) -> None:
        if self.announce:
            print(text, file=sys.stderr, flush=True)
