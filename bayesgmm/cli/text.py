"""Reading of selected columns from a text of known layout, by pandas and in parts."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import IO, Literal, cast

import numpy as np
import pandas as pd

from bayesgmm.arguments import require_memory
from bayesgmm.cli.inputs import Input
from bayesgmm.cli.layout import FALLBACK, IN_FALLBACK, WHITESPACE, Layout, fields_of

type Kind = Literal["numbers", "text", "as it stands"]
_CELLS = 2**23  # read together
_CHARACTERS = 2**18  # decoded together
_COPIES = 3  # of the numbers in memory before a fit
_TOLD = 2**24  # lines after which progress is first reported; then at each doubling


@dataclass
class Text:
    """A text and its layout. The encoding is corrected if a later part of the text is not in UTF-8."""

    source: Input
    layout: Layout

    def columns(self, names: Sequence[str], kind: Kind = "numbers") -> dict[str, pd.Series]:
        """Columns by name.

        With "numbers", a column holds numbers unless pandas finds something else in it. With "text" it holds text, and with
        "as it stands" text in which nothing counts as missing.
        """
        try:
            return self._columns(names, kind)
        except UnicodeDecodeError:
            if self.layout.encoding != "utf-8-sig":
                raise
            self.layout = replace(self.layout, encoding=FALLBACK).assuming(IN_FALLBACK)
            return self._columns(names, kind)

    def place(self, row: int) -> str:
        """Line number of a row, or the row's number if fields span several lines."""
        return f"line {self._lines[row]}" if row < len(self._lines) == self._n else f"row {row + 1}"

    def too_long(self) -> str:
        """Message about the first line with more fields than the header line; empty if there is none."""
        with self._opened() as text:
            for number, line in enumerate(text, self.layout.begin + 1):
                fields = 0 if self._is_comment(line) else sum(map(len, fields_of([line], self.layout.separator)))
                if fields > self.layout.width:
                    first = "; if the first field names the row, say --separator" if fields == self.layout.width + 1 else ""
                    return f"line {number} has {fields} fields, the header line has {len(self.layout.names)}{first}"
        return ""

    def _columns(self, names: Sequence[str], kind: Kind) -> dict[str, pd.Series]:
        positions = [self.layout.names.index(each) for each in names]
        wanted = sorted(set(positions))
        parts: list[pd.DataFrame] = []
        told = _TOLD
        self._n = 0
        for part in self._parts(wanted, kind):
            parts.append(part)
            self._n += len(part)
            needed = 8 * _COPIES * self._n * len(wanted)
            require_memory(needed, f"{len(wanted)} columns of {self._n} observations and more", "give fewer observations")
            if self._n >= told:
                told *= 2
                self.source.announce(f"reading {self.source.name}: {self._n / 1e6:.0f} million lines so far")
        frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=wanted)
        return {name: frame[position] for name, position in zip(names, positions, strict=True)}

    def _parts(self, positions: Sequence[int], kind: Kind) -> Iterator[pd.DataFrame]:
        beyond = self.layout.width  # an extra field, which must be empty
        with self._opened() as text, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # about extra fields
            try:
                reader = pd.read_csv(
                    cast(IO[str], _Pieces(self._data(text))),
                    sep=self.layout.separator,
                    header=0,
                    names=range(beyond + 1),
                    usecols=[*positions, beyond],
                    dtype=None if kind == "numbers" else str,
                    na_filter=kind != "as it stands",
                    index_col=False,
                    skipinitialspace=True,
                    skip_blank_lines=self.layout.width > 1,  # in one column, they are missing values
                    low_memory=False,
                    chunksize=max(1, _CELLS // self.layout.width),
                )
            except pd.errors.EmptyDataError:
                return
            with reader:
                for part in reader:
                    surplus = part.pop(beyond)
                    if surplus.notna().any() and surplus.ne("").any():
                        raise pd.errors.ParserError("lines have more fields than the header line")
                    yield part

    @contextmanager
    def _opened(self) -> Iterator[IO[str]]:
        """Open the text after its header line."""
        encoding = self.layout.encoding
        errors = "replace" if encoding == FALLBACK else "strict"
        with self.source.opened() as file, io.TextIOWrapper(file, encoding, errors) as text:
            for _ in islice(text, self.layout.begin):
                pass
            yield text

    def _data(self, text: IO[str]) -> Iterator[str]:
        """The text without comments, and without blank lines at its end."""
        # a header line with an extra field, so that pandas reports lines with too many fields
        separator = " " if self.layout.separator == WHITESPACE else self.layout.separator
        yield separator.join(map(str, range(self.layout.width + 1))) + "\n"
        held: list[str] = []
        for piece in self._pieces(text):
            content = piece.rstrip(self._blank)
            if content:
                yield "".join([*held, content])
                held.clear()
            held.append(piece[len(content) :])
        yield "".join(held).partition("\n")[0]

    def _pieces(self, text: IO[str]) -> Iterator[str]:
        if not self.layout.comment:
            yield from iter(lambda: text.read(_CHARACTERS), "")
            return
        while lines := text.readlines(_CHARACTERS):
            yield "".join(each for each in lines if not self._is_comment(each))

    @property
    def _blank(self) -> str:
        return " \t\n\x1a" + ("" if self.layout.separator == WHITESPACE else self.layout.separator)

    def _is_comment(self, line: str) -> bool:
        return bool(self.layout.comment) and line.lstrip().startswith(self.layout.comment)

    @cached_property
    def _lines(self) -> np.ndarray:
        """Line number of each row, with rows counted as pandas counts them."""
        with self._opened() as text:
            found = [
                (number, line.strip(self._blank) != "")
                for number, line in enumerate(text, self.layout.begin + 1)
                if not self._is_comment(line) and (self.layout.width == 1 or line.strip(" \n") != "")
            ]
        while found and not found[-1][1]:
            found.pop()
        return np.array([number for number, _ in found])


class _Pieces:
    """File-like object for pandas, which takes an empty piece of text for the end."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = (each for each in pieces if each)

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def read(self, _: int = -1) -> str:
        return next(self._pieces, "")
