"""Phases of a long run, which are announced, timed and logged; and deferred interrupts."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

_log = logging.getLogger(__name__)


class Phases:
    """Announces phases on standard error, if asked to, logs them, and keeps their wall-clock seconds."""

    def __init__(self, announce: bool) -> None:
        self.announce = announce
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str, text: str | None) -> Iterator[None]:
        """Time a phase, and announce it if there is a text. Details have no text."""
        begin = time.perf_counter()
        self.say(f"{text} ..." if text else None)
        yield
        seconds = time.perf_counter() - begin
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.say(f"  done in {seconds:.1f} s" if text else None)
        _log.log(logging.INFO if text else logging.DEBUG, "%s: %.2f s", text or name, seconds)

    def say(self, text: str | None) -> None:
        """Print a line on standard error, if phases are announced."""
        if self.announce and text:
            print(text, file=sys.stderr, flush=True)


class DeferredInterrupt:
    """A context in which a first Ctrl-C only sets ``requested``. A second one raises KeyboardInterrupt as usual.

    An interrupt raised inside a compiled callback would become another error, or be lost. Outside the main thread signals
    cannot be redirected, and nothing changes.

    Parameters
    ----------
    raise_at_end : bool
        Whether to raise the interrupt on leaving, for work without partial results.
    """

    def __init__(self, *, raise_at_end: bool) -> None:
        self.raise_at_end = raise_at_end
        self.requested = False

    def __enter__(self) -> Self:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)
        if self.requested and self.raise_at_end and error is None:
            raise KeyboardInterrupt

    def _note(self, *_: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("interrupted: finishing this step first (Ctrl-C again to stop at once)", file=sys.stderr, flush=True)
