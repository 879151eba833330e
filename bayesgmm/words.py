"""Messages to users, made of pieces: text, and arguments that Python and the shell write differently."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, init=False)
class Argument:
    """An argument of a function, which is an option in the shell, alone or with its possible values.

    Examples
    --------
    >>> print(Argument("draws"), Argument("chains", 4), Argument("covariance", "diag", "spherical"))
    draws chains=4 covariance='diag' or 'spherical'
    """

    name: str
    values: tuple[Any, ...]

    def __init__(self, name: str, *values: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "values", values)

    def __str__(self) -> str:
        return f"{self.name}={' or '.join(map(repr, self.values))}" if self.values else self.name


@dataclass(frozen=True)
class Either:
    """A piece of text that differs between Python and the shell."""

    python: str
    shell: str

    def __str__(self) -> str:
        return self.python


type Piece = str | Argument | Either
EQUALS = Either(" = ", " ")  # between an argument and its value


class Words(str):
    """A message for Python that keeps its pieces, so that the shell can write it differently.

    Examples
    --------
    >>> Words("raise ", Argument("max_iter"), ", or use ", Argument("method", "nuts"))
    "raise max_iter, or use method='nuts'"
    """

    pieces: tuple[Piece, ...]

    def __new__(cls, *pieces: Piece) -> Words:
        """Join the pieces. Words among them contribute their pieces."""
        flat = [part for each in pieces for part in (each.pieces if isinstance(each, Words) else (each,))]
        words = super().__new__(cls, "".join(map(str, flat)))
        words.pieces = tuple(flat)
        return words


class Sentence:
    """Base class of findings, with a problem and a remedy."""

    @property
    def sentence(self: Any) -> Words:
        """Problem and remedy in one sentence."""
        return Words(self.problem, "; ", self.remedy)


def about(argument: str, *pieces: Piece) -> Words:
    """A message that begins with an argument, or with Words in its place."""
    return Words(argument if isinstance(argument, Words) else Argument(argument), " ", *pieces)


def said(by: object) -> str:
    """The text of an error or a warning, as Words if it was made of them. Other objects are converted to text."""
    text = by.args[0] if isinstance(by, BaseException) and len(by.args) == 1 else by
    return text if isinstance(text, Words) else str(by)


def joined(parts: Iterable[Piece], between: str = "; ") -> Words:
    """Join pieces, with ``between`` between them."""
    return Words(*[each for part in parts for each in (between, part)][1:])
