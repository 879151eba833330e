"""Files that are whole before they have their name; their digests; and how a full disk is recognised."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FullDiskError(OSError):
    """What had been begun is gone again, or is named."""


@contextmanager
def whole_file(file: Path, *, force: bool = True) -> Iterator[Path]:
    """A file that takes its name when everything has been written; without ``force`` nothing else may have that."""
    part = file.with_name(f".part-{token_hex(4)}{file.suffix}")
    try:
        yield part
        publish_file(part, file, force=force)
    finally:
        part.unlink(missing_ok=True)


def publish_file(part: Path, file: Path, *, force: bool) -> None:
    """Give a file its name, which nothing else may have unless it is to be replaced."""
    if not force:
        try:
            file.touch(exist_ok=False)
        except FileExistsError:
            raise FileExistsError(f"{file} exists by now; choose another name, or have it replaced") from None
    part.replace(file)


def is_of_full_disk(error: Exception) -> bool:
    """Whether the disk, or a quota, is full: as the system says it, or as HDF5 repeats it in errors of its own."""
    named = any(os.strerror(number) in str(error) for number in _FULL)
    return isinstance(error, FullDiskError) or getattr(error, "errno", None) in _FULL or named


def digest_of(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
