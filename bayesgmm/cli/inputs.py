"""Decompressed bytes of a file or a stream, which can be read again."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal, cast

from bayesgmm.cli.messages import Tell, say

Format = Literal["csv", "tsv", "parquet", "netcdf"]
TEXT = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "text", ".dat": "text"}
ENDINGS = TEXT | {".parquet": "parquet", ".pq": "parquet", ".nc": "netcdf", ".netcdf": "netcdf"}
STANDARD_INPUT = "-"
BROKEN = (gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
_COMPRESSED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_AT_ONCE = 2**20  # bytes
_TOLD = 2**28  # bytes of a stream after which progress is first reported; then at each doubling


@dataclass(frozen=True)
class Input:
    """A file, or standard input."""

    file: str  # a path, or "-" for standard input
    announce: Tell  # reports the progress of reading a stream

    @property
    def name(self) -> str:
        """Name for messages."""
        return "standard input" if self.file == STANDARD_INPUT else self.file

    def require_there(self) -> None:
        """Refuse folders, and files that do not exist."""
        if self.file != STANDARD_INPUT and Path(self.file).is_dir():
            raise IsADirectoryError(f"{self.file} is a folder; give one file in it")
        if self.file != STANDARD_INPUT and not Path(self.file).exists():
            raise FileNotFoundError(f"{self.file} is not a file; give one that exists, or - for standard input")

    @property
    def ending(self) -> str:
        """File extension in lower case, ignoring one of compression."""
        suffixes = [each.lower() for each in Path(self.file).suffixes]
        if suffixes and suffixes[-1] in (".gz", ".bz2", ".xz"):
            return suffixes[-2] if len(suffixes) > 1 else ".txt"
        return suffixes[-1] if suffixes else ""

    @property
    def is_stream(self) -> bool:
        """Whether it is standard input, or a pipe such as shells make for <(command)."""
        return self.file == STANDARD_INPUT or not Path(self.file).is_file()

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open at the first byte. Compressed content is recognised by its first bytes and decompressed."""
        with io.BufferedReader(self._stream) if self.is_stream else open(self.file, "rb") as file:
            begin = file.read(max(map(len, _COMPRESSED)))
            file.seek(0)
            kind = next((kind for mark, kind in _COMPRESSED.items() if begin.startswith(mark)), None)
            if kind is None:
                yield file
                return
            with kind(file) as decompressed:
                yield decompressed

    @cached_property
    def _stream(self) -> _Kept:
        if self.file == STANDARD_INPUT and sys.stdin.isatty():
            say("reading standard input; Ctrl-D ends it")
        else:
            self.announce(f"reading {self.name} ...")
        stream = sys.stdin.buffer if self.file == STANDARD_INPUT else open(self.file, "rb")  # noqa: SIM115
        return _Kept(cast(IO[bytes], stream), self.name, self.announce)


class _Kept(io.RawIOBase):
    """A stream that can be read again, because its content is kept in memory."""

    def __init__(self, stream: IO[bytes], name: str, announce: Tell) -> None:
        self._stream, self._name, self._announce = stream, name, announce
        self._content = bytearray()
        self._at = 0
        self._ended = False  # after Ctrl-D a terminal would wait for more input
        self._told = _TOLD // 2

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the end of a stream is not known")
        self._at = offset + (self._at if whence else 0)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._at >= len(self._content) and not self._ended:
            self._read_on()
        with memoryview(buffer) as into, memoryview(self._content)[self._at : self._at + len(into)] as part:
            into[: len(part)] = part
            self._at += len(part)
            return len(part)

    def close(self) -> None:
        """Stay open for the next reading."""

    def _read_on(self) -> None:
        more = self._stream.read1(_AT_ONCE)  # type: ignore[attr-defined]
        if not more:
            self._ended = True
            if self._stream is not sys.stdin.buffer:
                self._stream.close()
        self._content += more
        size = len(self._content)
        if size >= 2 * self._told:
            self._told = size
            self._announce(f"reading {self._name}: {size / 1e9:.1f} GB so far")
        from bayesgmm.arguments import require_memory

        require_memory(
            size, f"{self._name} holds more than {size / 1e9:.1f} GB, and reading on", "give a file, or fewer observations"
        )
