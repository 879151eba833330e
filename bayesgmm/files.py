"""Atomic writing of files, digests, and detection of a full disk."""

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
    """The disk is full. Incomplete output has been removed, or the message says where it is."""


@contextmanager
def whole_file(file: Path, *, force: bool = True) -> Iterator[Path]:
    """Write a temporary file, and rename it to ``file`` when it is complete. Without ``force``, ``file`` must not exist."""
    part = file.with_name(f".part-{token_hex(4)}{file.suffix}")
    try:
        yield part
        publish_file(part, file, force=force)
    finally:
        part.unlink(missing_ok=True)


def publish_file(part: Path, file: Path, *, force: bool) -> None:
    """Rename a complete temporary file to ``file``. Without ``force``, ``file`` must not exist."""
    if not force:
        try:
            file.touch(exist_ok=False)
        except FileExistsError:
            raise FileExistsError(f"{file} exists by now; choose another name, or have it replaced") from None
    part.replace(file)


def is_of_full_disk(error: Exception) -> bool:
    """Whether an error means that the disk or a quota is full. HDF5 only quotes the system's message."""
    named = any(os.strerror(number) in str(error) for number in _FULL)
    return isinstance(error, FullDiskError) or getattr(error, "errno", None) in _FULL or named


def digest_of(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
