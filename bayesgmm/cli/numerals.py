"""Numbers as people write them, with decimal commas and thousands separators. Ambiguous numbers are refused."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_DECIMALS = ".,"
_THOUSANDS = ".,' \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}\N{RIGHT SINGLE QUOTATION MARK}"


@dataclass(frozen=True)
class Style:
    """Notation of numbers: decimal mark and thousands separator."""

    decimal: str = "."
    thousands: str = ""  # empty if thousands are not separated

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Pattern of a number. With a thousands separator, all thousands must be separated."""
        whole = rf"(?:0|[1-9]\d{{0,2}}(?:{re.escape(self.thousands)}\d{{3}})*)" if self.thousands else r"\d+"
        mark, digits = re.escape(self.decimal), r"\d*" if self.decimal == "." else r"\d+"
        number = rf"(?:{whole}(?:{mark}{digits})?|{mark}\d+)(?:e[+-]?\d+)?"
        return re.compile(rf"[+-]?(?:{number}|inf(?:inity)?)|nan", re.ASCII | re.IGNORECASE)

    def fits(self, text: str) -> bool:
        """Whether the text is a number in this style."""
        return self.pattern.fullmatch(text) is not None

    def as_point(self, text: str) -> str:
        """The number in Python's notation."""
        return (text.replace(self.thousands, "") if self.thousands else text).replace(self.decimal, ".")

    def __str__(self) -> str:
        parts = [] if self.decimal == "." else ["decimal commas"]
        return " and ".join([*parts, *([f"thousands separated by {self.thousands!r}"] if self.thousands else [])])


def is_numeral(text: str) -> bool:
    """Whether the text is a number in any style."""
    return any(style.fits(text.strip()) for style in _ALL_STYLES)


def _styles(decimals: str, thousands: Iterable[str]) -> list[Style]:
    return [Style(one, other) for one, other in product(decimals, thousands) if one != other]


_ALL_STYLES = _styles(_DECIMALS, ["", *_THOUSANDS])


class UnclearNumeralsError(ValueError):
    """Ambiguous numerals: two styles give different numbers."""


def read_numerals(
    texts: pd.Series, *, decimal: str | None = None, thousands: str | None = None, commas: bool = False
) -> tuple[pd.Series, Style]:
    """Convert texts to numbers, in the only style that fits all of them. Missing texts become NaN.

    ``decimal`` and ``thousands`` restrict the style. ``commas`` also tries decimal commas if decimal points fit. Raises
    UnclearNumeralsError if two styles give different numbers, and ValueError if none fits.
    """
    import numpy as np
    import pandas as pd

    codes, unique = pd.factorize(texts.str.strip())
    written = [str(each) for each in unique]
    if decimal is None and thousands is None and not commas:
        plain = pd.to_numeric(pd.Series(written, dtype=object), errors="coerce").to_numpy(dtype=float)
        if not np.isnan(plain).any():
            return _spread(plain, codes, texts), Style()
    parted = ["", *(each for each in _THOUSANDS if any(each in text for text in written))]  # others change nothing
    found: dict[tuple[float, ...], Style] = {}
    for style in _styles(decimal or _DECIMALS, parted if thousands is None else [thousands]):
        if all(map(style.fits, written)):
            numbers = (float(style.as_point(each)) for each in written)
            # math.nan is a single object, so tuples that hold it compare equal
            found.setdefault(tuple(math.nan if math.isnan(each) else each for each in numbers), style)
    if not found:
        raise ValueError("no numbers")
    if len(found) > 1:
        raise UnclearNumeralsError(next(each for each, *values in zip(written, *found, strict=True) if len(set(values)) > 1))
    values, style = next(iter(found.items()))
    return _spread(np.array(values), codes, texts), style


def _spread(numbers: np.ndarray, codes: np.ndarray, texts: pd.Series) -> pd.Series:
    import numpy as np
    import pandas as pd

    return pd.Series(np.where(codes < 0, np.nan, np.append(numbers, np.nan)[codes]), index=texts.index)
