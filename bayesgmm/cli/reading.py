"""Data files: the columns to fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def read_columns(file: Path, columns: list[str] | None) -> pd.DataFrame:
    """The columns to fit, of a CSV file with a header line."""
    import pandas as pd

    if not file.is_file():
        raise FileNotFoundError(f"{file} is not a file; give a CSV file with a header line")
    try:
        table = pd.read_csv(file, skip_blank_lines=False)  # a blank line in a single column is a missing observation
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read as CSV: {str(error).strip()}") from None
    names = list(map(str, table.columns))
    if all(_is_number(name) for name in names):
        raise ValueError(f"{file} must begin with a header line of column names, got the numbers {', '.join(names)}")
    if table.empty:
        raise ValueError(f"{file} must hold at least one observation under its header line, got none")
    chosen = columns or (names if len(names) == 1 else [])
    wrong = [each for each in chosen if each not in names]
    if not chosen or wrong:
        got = ", ".join(map(repr, wrong)) or "none"
        raise ValueError(f"--columns must name one or several of {', '.join(names)}, got {got}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"--columns must name each column once, got {', '.join(chosen)}")
    return table[chosen]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
