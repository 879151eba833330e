"""Rounding of printed numbers by their spread."""

from __future__ import annotations

import math

_MOST = 16  # significant digits of a float


def with_digits(value: float, spread: float, least: int = 4) -> str:
    """A number rounded to the second digit of its spread, but with at least ``least`` significant digits.

    Examples
    --------
    >>> with_digits(1_700_000_012.345, 2.5), with_digits(12.3456, 2.5)
    ('1700000012.3', '12.35')
    """
    digits = least
    if math.isfinite(value) and math.isfinite(spread) and value and spread > 0:
        beyond = math.floor(math.log10(abs(value))) - math.floor(math.log10(spread))
        digits = min(max(least, beyond + 2), _MOST)
    return f"{value:.{digits}g}"
