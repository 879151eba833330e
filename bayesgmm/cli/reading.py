"""Reading of observations from a file: columns are chosen, and must hold numbers.

Every error is one sentence, with rows numbered as in the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm.arguments import FloatArray, Missing
from bayesgmm.cli.inputs import Format, Input
from bayesgmm.cli.layout import ROW_NAMES, TextOptions
from bayesgmm.cli.messages import Tell, silence
from bayesgmm.cli.numerals import is_numeral
from bayesgmm.cli.tables import Table, read_table

if TYPE_CHECKING:
    from bayesgmm.data.observations import Observations

_SHOWN = 5  # wrong places in a message
_SHORT = 10  # characters of a code for missing values
_LISTED = 20  # columns in a message
_COMPARED = 10_000  # columns among which similar names are sought
# rules: what columns must do, what was found instead, and the remedy
_DROP = "leave these observations out with --missing drop"
_GAPS = "have no gaps", "with missing or infinite values", f"correct them, or {_DROP}"
_INFINITE = "be finite", "with infinite values", "replace what is not known by an empty field"
_NOTHING = "have a value in every row", "without any value", "leave these rows out of the file, or use --missing drop"
_NEGATIVE = "be standard deviations", "with a negative error", "0 says that a value is exact"
_WITHOUT_ERROR = (
    "have an error for every value",
    "with a missing or infinite error",
    f"0 says that a value is exact; or {_DROP}",
)
_UNBOUNDED = (
    "have a value or an interval in every row",
    "with neither a value nor an end of an interval",
    f"leave these rows out of the file, or {_DROP.removeprefix('leave these observations out ')}",
)
_CROSSED = "not cross", "with a lower end above the upper one", "correct them"
_BOTH = (
    "hold a value or an interval",
    "with both",
    "leave the value out where only an interval is known, or the interval where the value is known",
)
_CLUSTERS = re.compile(r"obs|cluster|(p|sd)\[.*\]")  # columns of clusters.csv


@dataclass(frozen=True)
class FileRows:
    """Columns that were read from a file."""

    x: pd.DataFrame  # a column for each feature
    ids: pd.Series | None = None  # names of the rows of x
    weight: pd.Series | None = None  # frequency weights
    error: FloatArray | None = None  # standard deviations of the errors in x
    lower: FloatArray | None = None  # ends of the intervals for values that are missing in x
    upper: FloatArray | None = None

    def observations(self, missing: Missing) -> Observations:
        """The observations to fit."""
        from bayesgmm.data.observations import Observations  # slow

        known = {"weight": self.weight, "error": self.error, "lower": self.lower, "upper": self.upper}
        return Observations(self.x, **known, missing=missing)


def read_observations(
    file: str,
    columns: list[str] | None = None,
    *,
    id: str | None = None,
    weight: str | None = None,
    error: list[str] | None = None,
    lower: list[str] | None = None,
    upper: list[str] | None = None,
    format: Format | None = None,
    missing: Missing = "raise",
    missing_values: Sequence[str] = (),
    text: TextOptions = TextOptions(),  # noqa: B008
    announce: Tell = silence,
) -> FileRows:
    """Read the columns to fit, and the names of the rows. Arguments are options of :class:`bayesgmm.cli.options.Source`.

    Assumptions about a text are reported on standard error. Missing and infinite values are refused here, where the file's
    row numbers are known, unless they are to be dropped or are missing at random.

    Raises
    ------
    ValueError, OSError
        One sentence that says what is wrong with which file, and what to do.
    MemoryError
        If the data do not fit into memory.
    """
    table = read_table(Input(file, announce), format, text, missing_values)
    bounded = bool(lower or upper)
    chosen = _chosen(table, columns) if columns or not bounded else []
    ids, weights = _beside(table, "--id", id, chosen), _beside(table, "--weight", weight, chosen)
    errors, below, above = (
        _for_each(table, option, names or [], chosen)
        for option, names in (("--error", error), ("--lower", lower), ("--upper", upper))
    )
    if bounded and errors:
        raise ValueError(
            "--error must not be given beside --lower and --upper: an interval is known, or a value with an error"
        )
    if bounded and not chosen and len(below) != len(above):
        got = f"got {len(below)} and {len(above)}; where there is no limit, give a column of empty fields"
        raise ValueError(f"--lower and --upper must name equally many columns if --columns names none, {got}")
    if any(map(_CLUSTERS.fullmatch, ids)):
        raise ValueError(
            f"--id must not have the name of a column that clusters.csv has already, got {id!r}; rename it in the file"
        )
    named = list(dict.fromkeys([*chosen, *weights, *errors, *below, *above]))
    read = table.columns(named, ids)
    lengths = {len(each) for each in read.values()}
    if len(lengths) > 1:
        raise ValueError(f"all columns must have the same length, got {', '.join(read)} of {table.name}")
    if lengths == {0}:
        raise ValueError(f"{table.name} must hold at least one observation under its header line, got none")
    for name in named:
        _require_numbers(table, name, read[name])
    frame = pd.DataFrame({name: read[name] for name in named})
    frame = _without_codes(frame, missing_values)
    x, weighing, error_sd, low, high = (_values(frame[each]) for each in (chosen, weights, errors, below, above))
    unknown = ~np.isfinite(weighing).all(axis=1)
    if bounded:
        rows = _in_intervals(table, frame, (chosen, below, above), (x, low, high), missing)
        if missing != "drop":
            _refuse(table, weights, unknown, *_GAPS)
        counts = frame[weights[0]].fillna(0.0) if weights else None
        return replace(rows, ids=read[ids[0]].rename(ids[0]) if ids else None, weight=counts)
    if missing == "raise":
        rule, found, remedy = _GAPS
        in_part = "; --missing at_random uses their known values" if len(chosen) > 1 else ""
        _refuse(table, [*chosen, *weights], unknown | ~np.isfinite(x).all(axis=1), rule, found, remedy + in_part)
    if missing == "at_random":
        _require_parts(table, chosen, x)
        _refuse(table, weights, unknown, *_GAPS)
    if errors:
        known = ~np.isnan(x)
        _refuse(table, errors, ((error_sd < 0) & known).any(axis=1), *_NEGATIVE)
        without = (~np.isfinite(error_sd) & known).any(axis=1)
        if missing != "drop":
            _refuse(table, errors, without, *_WITHOUT_ERROR)
        unknown |= without
    if missing == "drop":  # a missing weight or error leaves its row out, like a missing value
        frame[chosen] = frame[chosen].mask(np.broadcast_to(unknown[:, None], x.shape))
        frame[weights] = frame[weights].fillna(0.0)
    return FileRows(
        frame[chosen],
        read[ids[0]].rename(ids[0]) if ids else None,
        frame[weights[0]] if weights else None,
        error_sd if errors else None,
    )


def read_by_key(
    file: str,
    columns: list[str] | None,
    by: str | None,
    *,
    format: Format | None,
    missing_values: Sequence[str],
    text: TextOptions,
    announce: Tell,
) -> pd.DataFrame:
    """Read the columns for many fits, and that of their keys as text. Without keys each column is a fit, by default all."""
    table = read_table(Input(file, announce), format, text, missing_values)
    if by is None:
        named = _chosen(table, columns) if columns else [each for each in table.names if each != ROW_NAMES]
        return _without_codes(pd.DataFrame(table.columns(named, [])), missing_values)
    ids, rest = _beside(table, "--by", by, []), [each for each in table.names if each not in (by, ROW_NAMES)]
    chosen = _chosen(table, rest if columns is None and len(rest) == 1 else columns)
    _beside(table, "--by", by, chosen)
    read = table.columns(chosen, ids)
    for name in chosen:
        _require_numbers(table, name, read[name])
    keys = read[by].astype(str).str.strip()
    return _without_codes(pd.DataFrame({name: read[name] for name in chosen}), missing_values).assign(
        **{by: keys.mask((keys == "") | read[by].isna())}
    )


def _without_codes(frame: pd.DataFrame, missing_values: Sequence[str]) -> pd.DataFrame:
    """The frame with numbers that stand for missing values replaced by NaN."""
    marks = pd.to_numeric(pd.Series(missing_values, dtype=object), errors="coerce").dropna()
    return frame.mask(frame.isin(marks.tolist())) if len(marks) else frame


def _chosen(table: Table, columns: list[str] | None) -> list[str]:
    asked = columns or ([table.only] if table.only is not None else [])
    chosen = [one for each in asked for one in table.groups.get(each, [each])]
    known = set(table.names)
    wrong = [each for each in chosen if each not in known]
    if wrong or not chosen:
        raise ValueError(f"--columns must name one or several of {_listed(table)}, {_got(table, wrong)}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"--columns must name each column once, got {', '.join(chosen)}")
    return chosen


def _beside(table: Table, option: str, name: str | None, chosen: Sequence[str]) -> list[str]:
    """The column that an option names, as a list; empty if the option is not given."""
    if name is None:
        return []
    if name not in set(table.names):
        raise ValueError(f"{option} must name one of {_listed(table)}, {_got(table, [name])}")
    if name in chosen:
        raise ValueError(f"{option} must name a column that is not fitted, got {name!r}, which is among --columns")
    return [name]


def _for_each(table: Table, option: str, names: Sequence[str], chosen: Sequence[str]) -> list[str]:
    """The columns of errors, or of ends of intervals, that belong to the chosen columns."""
    found = [
        column
        for name in names
        for each in table.groups.get(name, [name])
        for column in _beside(table, option, each, chosen)
    ]
    if found and chosen and len(found) != len(chosen):
        what = "one column of standard deviations" if option == "--error" else "one column"
        got = f"got {len(found)} for {len(chosen)} ({', '.join(chosen)})"
        raise ValueError(f"{option} must name {what} for each of --columns, in their order, {got}")
    return found


def _in_intervals(
    table: Table,
    frame: pd.DataFrame,
    names: tuple[list[str], list[str], list[str]],
    values: tuple[FloatArray, FloatArray, FloatArray],
    missing: Missing,
) -> FileRows:
    """Rows of values or intervals. An end that is not given is infinite."""
    (chosen, below, above), (x, low, high) = names, values
    named, size = [*chosen, *below, *above], max(map(len, names))
    x, low, high = (each if each.shape[1] else np.full((len(frame), size), np.nan) for each in (x, low, high))
    low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
    bounded = np.isfinite(low) | np.isfinite(high)
    _refuse(table, [*below, *above], (low > high).any(axis=1), *_CROSSED)
    _refuse(table, named, (~np.isnan(x) & bounded & ~((low == x) & (high == x))).any(axis=1), *_BOTH)
    _refuse(table, chosen, np.isinf(x).any(axis=1), *_INFINITE)
    nothing = np.isnan(x) & ~bounded
    if missing != "drop":
        _refuse(table, named, nothing.all(axis=1) | (nothing.any(axis=1) if missing == "raise" else False), *_UNBOUNDED)
    features = chosen or [f"{one} to {other}" for one, other in zip(below, above, strict=True)]
    return FileRows(pd.DataFrame(x, columns=features), lower=low, upper=high)


def _listed(table: Table) -> str:
    names = [repr(name) if name.strip() else f"{name!r} (a column without a name)" for name in table.names[:_LISTED]]
    return ", ".join(names) + (f", ... ({len(table.names)} in all)" if len(table.names) > _LISTED else "")


def _got(table: Table, wrong: Sequence[str]) -> str:
    """End of a message about wrong column names: what was given, and the most similar names."""
    if not wrong:
        return "got none"
    lowered = {each.strip().lower(): each for each in table.names[:_COMPARED]}
    near = [like for each in wrong for like in get_close_matches(each.strip().lower(), lowered, n=1)]
    remedy = f"; did you mean {' and '.join(repr(lowered[each]) for each in dict.fromkeys(near))}?" if near else ""
    if not near and len(table.names) == 1 and not table.names[0].isidentifier():
        remedy = "; if the header line is a comment, or its columns are separated otherwise, say --comment or --separator"
    return f"got {', '.join(map(repr, wrong))}{remedy}"


def _require_numbers(table: Table, name: str, column: pd.Series) -> None:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
        return
    bad = column.notna()
    if not pd.api.types.is_datetime64_any_dtype(column) and not pd.api.types.is_timedelta64_dtype(column):
        bad &= pd.to_numeric(column.astype(str), errors="coerce").isna()
    row = int(np.flatnonzero(bad)[0]) if bad.any() else 0
    got = str(column.iloc[row])
    raise ValueError(
        f"column {name or '(without a name)'} of {table.name} must hold numbers, got {got!r} ({table.place(row)}); "
        f"{_remedy(got, float(bad.mean()))}correct it, or choose other columns with --columns"
    )


def _remedy(got: str, share: float) -> str:
    """What a text in place of a number may mean, and the option for it; empty if nothing is likely."""
    text = got.strip()
    if text.startswith(("#", "%", "//", "!")):
        return f"if such lines are comments, say --comment '{text[0]}'; else "
    if re.search(r"\d", text) is None and len(text) <= _SHORT and share < 1:
        return f"if that is a missing value, say --missing-values '{text}'; else "
    if any(map(is_numeral, re.split(r"[\s:;|/,_']+", text))):
        return "if numbers are written so, say --decimal, --thousands or --separator; else "
    return ""


def _values(frame: pd.DataFrame) -> FloatArray:
    return frame.to_numpy(dtype=float, na_value=np.nan)


def _require_parts(table: Table, chosen: Sequence[str], x: FloatArray) -> None:
    """Refuse infinite values, and rows without a known value."""
    _refuse(table, chosen, np.isinf(x).any(axis=1), *_INFINITE)
    if len(chosen) > 1:  # rows of one column are left out, with a warning
        _refuse(table, chosen, np.isnan(x).all(axis=1), *_NOTHING)


def _refuse(table: Table, names: Sequence[str], wrong: NDArray[np.bool_], rule: str, found: str, remedy: str) -> None:
    """Refuse columns that break a rule in some rows."""
    rows = np.flatnonzero(wrong)
    if not len(rows):
        return
    where = ", ".join(table.place(int(row)) for row in rows[:_SHOWN]) + (", ..." if len(rows) > _SHOWN else "")
    got = f"got {len(rows)} of {len(wrong)} observations {found} ({where})"
    raise ValueError(f"{', '.join(names)} of {table.name} must {rule}, {got}; {remedy}")
