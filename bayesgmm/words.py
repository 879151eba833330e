"""What is said to users: pieces of text and of arguments, which Python and the shell put into words of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, init=False)
class Argument:
    """An argument of a function, which in the shell is an option; alone, or with the values that it may be given.

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
    """What is one thing in Python, and another in the shell or nothing there."""

    python: str
    shell: str

    def __str__(self) -> str:
        return self.python


type Piece = str | Argument | Either
EQUALS = Either(" = ", " ")  # between an argument and its value


class Words(str):
    """A sentence in Python's words that remembers the pieces it is made of.

    Examples
    --------
    >>> Words("raise ", Argument("max_iter"), ", or use ", Argument("method", "nuts"))
    "raise max_iter, or use method='nuts'"
    """

    pieces: tuple[Piece, ...]

    def __new__(cls, *pieces: Piece) -> Words:
        """Put the pieces together; words among them stay what they are made of."""
        flat = [part for each in pieces for part in (each.pieces if isinstance(each, Words) else (each,))]
        words = super().__new__(cls, "".join(map(str, flat)))
        words.pieces = tuple(flat)
        return words


class Sentence:
    """What has a problem and a remedy."""

    @property
    def sentence(self: Any) -> Words:
        """Problem and remedy."""
        return Words(self.problem, "; ", self.remedy)


def about(argument: str, *pieces: Piece) -> Words:
    """What is said of an argument, or of what words name, with which the sentence begins."""
    return Words(argument if isinstance(argument, Words) else Argument(argument), " ", *pieces)


def said(by: object) -> str:
    """What an error or a warning says, in words if it was made of them; what is neither, as text."""
    text = by.args[0] if isinstance(by, BaseException) and len(by.args) == 1 else by
    return text if isinstance(text, Words) else str(by)


def joined(parts: Iterable[Piece], between: str = "; ") -> Words:
    """Several as one, with something between them."""
    return Words(*[each for part in parts for each in (between, part)][1:])
