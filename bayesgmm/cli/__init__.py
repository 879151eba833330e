"""The command line: ``bayesgmm demo | simulate | fit | compare | fit-many | report``.

Answers go to standard output, as tables or as JSON; progress and warnings to standard error. An output folder appears under
its name only when the run has ended. :mod:`bayesgmm.cli.ending` lists the exit codes.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import warnings
from typing import Any

from bayesgmm.cli.ending import BAD_INPUT, INTERRUPTED
from bayesgmm.cli.messages import in_shell, say, show_warning
from bayesgmm.cli.streams import make_safe, output_error

_SOON = 0.01  # s


def main() -> None:
    """Run the command line; errors become one sentence and a non-zero exit code."""
    try:
        make_safe()
        _listen()
        warnings.showwarning = show_warning  # type: ignore[assignment]
        from bayesgmm.cli.commands import app  # slow, so within try: Ctrl-C may come here
        from bayesgmm.cli.options import spread_out, spread_out_completion

        if {"COMP_WORDS", "COMP_CWORD"} <= os.environ.keys():
            spread_out_completion(os.environ)
        app(spread_out(sys.argv[1:]))
    except (ValueError, TypeError, OSError, MemoryError) as error:
        _say_error(error)
        raise SystemExit(BAD_INPUT) from None
    except KeyboardInterrupt as interrupt:
        _end_interrupted(interrupt)
    except SystemExit as end:
        if not end.code:
            _end_answered()
        if end.code != INTERRUPTED:
            raise
        _end_interrupted(getattr(end.__context__, "__cause__", None))  # typer makes a silent exit of an interrupt


def _listen() -> None:
    """Handle SIGTERM and SIGHUP like Ctrl-C, unless they are ignored, and repeat interrupts that Python drops."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # not every system has SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, _as_interrupt)
    sys.unraisablehook = _again


def _as_interrupt(_: int, frame: Any) -> None:
    """Pass a signal on to the current handler of Ctrl-C."""
    listener = signal.getsignal(signal.SIGINT)
    (listener if callable(listener) else signal.default_int_handler)(signal.SIGINT, frame)


def _again(ignored: Any) -> None:
    """Repeat an interrupt that came where Python cannot raise it, such as in garbage collection."""
    if ignored.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(ignored)
        return
    threading.Timer(_SOON, _thread.interrupt_main).start()


def _end_answered() -> None:
    """Exit with an error if the answer could not be printed, unless its reader has closed the pipe, as ``head`` does."""
    error = output_error()
    if error is not None and not isinstance(error, BrokenPipeError):
        say(f"error: the answer could not be printed: {error.strerror}")
        raise SystemExit(BAD_INPUT) from None


def _end_interrupted(interrupt: BaseException | None) -> None:
    reason = f": {interrupt}" if isinstance(interrupt, KeyboardInterrupt) and str(interrupt) else ""
    say(f"interrupted{reason}")
    exec("")  # an interrupt within exec, which dataclasses use, leaves a flag that makes the signal end Python: clear it
    raise SystemExit(INTERRUPTED) from None


def _say_error(error: Exception) -> None:
    from bayesgmm.files import is_of_full_disk

    bare_full = is_of_full_disk(error) and getattr(error, "errno", None)
    text = "there is no space left on the disk" if bare_full else in_shell(error)
    say("; ".join([f"error: {text}", *getattr(error, "__notes__", ())]))
