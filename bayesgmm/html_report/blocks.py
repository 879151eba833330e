"""The content of a report without its appearance: sections of text, tables, pictures, code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from markupsafe import Markup

from bayesgmm.analysis.tree import Whole
from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Observations

_GAP = 2  # characters between the columns of a table
_LONGEST = 40  # letters of a name in a picture
NONE = "\N{EN DASH}"


class Signs(NamedTuple):
    """Minus sign and thousands separator of printed numbers."""

    minus: str = "\N{MINUS SIGN}"
    thousands: str = "\N{NARROW NO-BREAK SPACE}"

    def set(self, text: str) -> str:
        """Put these signs into a number that Python formatted."""
        return text.replace("-", self.minus).replace(",", self.thousands)


TYPESET, PLAIN = Signs(), Signs("-", " ")
_FEW_DIGITS = 9  # up to which a recorded value is shown in full
Level = Literal["good", "plain", "caution", "bad"]  # plain: neutral


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Verdict:
    """A highlighted judgement. The text also states its level, never the colour alone."""

    level: Level
    title: str
    text: str


@dataclass(frozen=True)
class Finding:
    """A problem, and what to do about it."""

    problem: str
    remedy: str


@dataclass(frozen=True)
class Table:
    """A table. The first column holds the names of the rows. ``folded`` tables open on request."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False
    marked: int | None = None  # row that stands out

    def parts(self, width: int) -> list[Table]:
        """Split the table into parts with about equally many columns, at most ``width`` characters wide if possible.

        Every part repeats the names of the rows.
        """
        names, *widths = (_GAP + max(map(len, cells)) for cells in zip(self.columns, *self.rows, strict=True))
        n = len(widths)
        sizes = (-(-n // parts) for parts in range(1, n + 1))
        most = next((m for m in sizes if all(names + sum(widths[i : i + m]) <= width for i in range(0, n, m))), 1)
        cuts = [slice(1 + begin, 1 + begin + most) for begin in range(0, n, most)]
        if len(cuts) == 1:
            return [self]
        return [
            replace(
                self,
                caption=f"{self.caption}, {self.columns[cut][0]} to {self.columns[cut][-1]}",
                columns=[self.columns[0], *self.columns[cut]],
                rows=[[row[0], *row[cut]] for row in self.rows],
            )
            for cut in cuts
        ]


@dataclass(frozen=True)
class Picture:
    """An SVG picture with its caption."""

    name: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class Terms:
    """Terms and their meanings."""

    entries: Mapping[str, str]


@dataclass(frozen=True)
class Code:
    """Code to copy."""

    label: str
    text: str


Block = Text | Verdict | Finding | Table | Picture | Terms | Code


@dataclass(frozen=True)
class Section:
    """A heading with blocks under it."""

    name: str
    title: str
    blocks: Sequence[Block]


def number(value: float, spread: float | None = None, signs: Signs = TYPESET) -> str:
    """A number rounded to two significant digits of its spread, or to four of the number if there is no spread."""
    if not np.isfinite(value):
        return NONE
    scale = abs(value) if spread is None or not np.isfinite(spread) or spread <= 0 else spread
    digits = 2 if scale is spread else 4
    if value == 0 and scale == 0:
        return "0"
    return _set(value, digits - 1 - _exponent(scale), max(abs(value), scale), 1e7, signs)


def as_recorded(column: FloatArray) -> Callable[[float], str]:
    """Formatter for values of a column: with its decimals or, if these are too many, four digits of value and spread."""
    column = column[~np.isnan(column)]
    size, spread = float(np.abs(column).max()), float(column.std())
    with np.errstate(over="ignore", invalid="ignore"):
        own = next((d for d in range(13) if (np.abs(np.round(column, d) - column) <= 1e-12 * size).all()), None)

    def told(value: float) -> str:
        if np.isnan(value):
            return NONE
        between = own is not None and abs(round(value, own) - value) > 1e-12 * size  # for example a quantile
        decimals = max((3 - _exponent(each) for each in (value, spread) if each), default=0)
        if own is not None:
            few = own + _exponent(size) < _FEW_DIGITS
            decimals = own + between if few else min(decimals, own + between)
        return _set(value, decimals, max(abs(value), spread), 1e12)

    return told


def _exponent(value: float) -> int:
    return int(np.floor(np.log10(abs(value)))) if value else 0


def _set(value: float, decimals: int, largest: float, beyond: float, signs: Signs = TYPESET) -> str:
    """Format with this many decimals, or in scientific notation if the largest number is very small or large."""
    if largest and not 1e-4 <= largest < beyond:
        return signs.set(f"{value:.{min(max(decimals + _exponent(largest), 1), 15)}e}")
    return signs.set(f"{round(value, decimals):,.{max(decimals, 0)}f}")


def count(value: int, signs: Signs = TYPESET) -> str:
    """An integer with thousands separators."""
    return signs.set(f"{value:,}")


def counted(n: int, weight: FloatArray | None, whole: Whole | None = None, signs: Signs = TYPESET) -> str:
    """Number of observations in words, with the sum of the weights; of a sample, also the number of all rows."""
    if whole is not None:
        standing_for = "" if whole.total == whole.rows else f", counting as {signs.set(f'{whole.total:,.7g}')}"
        return f"a sample of {count(n, signs)} of {count(whole.rows, signs)} observations{standing_for}"
    return f"{count(n, signs)} observations{counting_as(weight, signs)}"


def counting_as(weight: FloatArray | None, signs: Signs = TYPESET) -> str:
    """Sum of the weights in words; empty without weights."""
    return "" if weight is None else f", counting as {signs.set(f'{weight.sum():,.7g}')}"


def known_in_part(rows: Observations, signs: Signs = TYPESET) -> str:
    """Missing values, intervals, rounding and measurement errors in words; empty if there are none."""
    gaps, bounded = int(np.isnan(rows.x).sum()), int(rows.bounded.sum())
    missing = f", {count(gaps, signs)} value{'s' if gaps > 1 else ''} missing" if gaps else ""
    within = f", {count(bounded, signs)} value{'s in intervals' if bounded > 1 else ' in an interval'}" if bounded else ""
    steps = [] if rows.steps is None else sorted({signs.set(f"{step:g}") for step in rows.steps if step})
    rounded = f", rounded to {listed(steps)}" if steps else ""
    return missing + within + rounded + (", measured with errors" if rows.has_errors else "")


def percent(share: float) -> str:
    """A share in per cent: "below 1%" or "above 99%" if it would wrongly round to 0 or 100."""
    if 0 < share < 0.005:
        return "below 1%"
    if 0.995 <= share < 1:
        return "above 99%"
    return f"{share:.0%}"


def percents(share: float, other: float) -> tuple[str, str]:
    """Two shares in per cent, with up to two decimals so that they differ and do not wrongly round to 0 or 100."""
    for digits in range(3):
        told = f"{share:.{digits}%}", f"{other:.{digits}%}"
        rounded = [float(text[:-1]) in (0, 100) and 0 < each < 1 for text, each in zip(told, (share, other), strict=True)]
        if told[0] != told[1] and not any(rounded):
            break
    return told


def listed(names: Sequence[object]) -> str:
    """Names in a list such as "a, b and c"."""
    *front, last = map(str, names)
    return f"{', '.join(front)} and {last}" if front else last


def short(name: str) -> str:
    """A name, shortened to fit beside an axis."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
