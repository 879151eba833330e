"""Standard streams that never fail. Text that cannot be printed raises no error, so no results are lost."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any, TextIO

_ESCAPED = "bayesgmm-escaped"
_BYTES = range(0xDC80, 0xDD00)  # Python's surrogates for undecodable bytes of a command line


class _Stream(io.FileIO):
    """A descriptor that accepts all output, and discards it after the first error."""

    error: OSError | None = None

    def write(self, part: Any, /) -> int:
        rest = memoryview(part).cast("B")
        while rest:
            try:
                rest = rest[super().write(rest) or 0 :]
            except OSError as error:
                self.error = error
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), self.fileno())
        return len(part)


def make_safe() -> None:
    """Open standard streams that are closed, and make both outputs accept any text.

    Otherwise the next file to be opened would get a closed stream's descriptor, and messages would be written into it.
    """
    codecs.register_error(_ESCAPED, _escaped)
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), "utf-8")
    sys.stdout = _made_safe(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _made_safe(sys.stderr, sys.__stderr__, 2)


def output_error() -> OSError | None:
    """The error that kept the answer from being printed; None if there was none."""
    sys.stdout.flush()
    return getattr(sys.stdout.buffer, "error", None)


def _made_safe(stream: TextIO | None, original: TextIO | None, number: int) -> TextIO:
    if stream is not None and stream is not original:  # someone else's, such as a test's
        return stream
    encoding = "utf-8" if stream is None else stream.encoding
    return io.TextIOWrapper(_Stream(number, "w", closefd=False), encoding, _ESCAPED, write_through=True)


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters that the encoding lacks by escapes that JSON and Python read. Undecodable bytes are kept."""
    assert isinstance(error, UnicodeEncodeError)
    parts = b""
    for each in error.object[error.start : error.end]:
        if ord(each) in _BYTES:
            parts += bytes([ord(each) - 0xDC00])
        else:
            units = each.encode("utf-16-be", "surrogatepass")
            parts += b"".join(b"\\u%04x" % int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2))
    return parts, error.end
