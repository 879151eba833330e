"""The table of many fits, a row for each key; and its file, to which finished fits are added."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.arguments import read_path
from bayesgmm.files import whole_file
from bayesgmm.many.keyed import KEY, Keyed
from bayesgmm.many.one import STATISTICS
from bayesgmm.words import about

_COUNTS = ["n", "k", "tune", "thin", "engines_tried", "seed"]
_TEXTS = ["verdict", "problem", "method", "settings", "data"]
_FIRST = ["n", "k", "verdict", "converged", "problem", "method", "tune", "thin", "engines_tried", "r_hat", "ess", "pareto_k"]
_CRITERIA = ["bic", "log_evidence", "p_k"]
_LAST = ["seed", "settings", "data"]
_ENDINGS = (".csv", ".parquet", ".pq")
_PATIENCE = 2.0, 20.0  # seconds between two versions of the file: at least this, and this many times the time to write it


def as_table(rows: Iterable[Mapping[str, Any]], name: str) -> pd.DataFrame:
    """A table with a row for each fit, indexed by its key as text.

    The parameters' columns are in the order of the row with the largest k. Beyond the k of a row they hold NaN.
    """
    rows = sorted(rows, key=lambda row: -(row.get("k") or 0))
    known = {*_FIRST, *_CRITERIA, *_LAST, KEY}
    parameters = list(dict.fromkeys(each for row in rows for each in row if each not in known))
    given = {each for row in rows for each in row}
    criteria = [each for each in _CRITERIA if each in given or each == "bic"]
    columns = [*_FIRST, *criteria, *parameters, *_LAST]
    table = pd.DataFrame(rows, columns=[KEY, *columns]).set_index(KEY)
    table.index.name = KEY if name in columns else name
    table["converged"] = table["converged"].astype(bool)
    for each in _COUNTS:
        table[each] = table[each].astype("Int64")
    for each in _TEXTS:
        table[each] = table[each].astype(object).fillna("")
    numbers = [each for each in columns if each not in (*_COUNTS, *_TEXTS, "converged")]
    return table.astype(dict.fromkeys(numbers, float))


@dataclass
class Finished:
    """Rows of finished fits, and the file that keeps them, if there is one.

    ``settings`` is the record of all that fits depend on, except their data. ``speak`` writes problems for Python, or for
    the shell.
    """

    keyed: Keyed
    path: Path | None
    settings: dict[str, Any]
    speak: Callable[[object], str] = str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    _written: float = field(default_factory=time.monotonic)
    _took: float = 0.0
    _unsaved: bool = False

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows; write the file if the last version is some seconds old."""
        settings = json.dumps(self.settings)
        for row in rows:
            key = row[KEY]
            self.rows[key] = row | {
                "problem": self.speak(row["problem"]),
                "settings": settings,
                "data": self.keyed.digest(key),
            }
            self._unsaved = True
        least, times = _PATIENCE
        if time.monotonic() - self._written > max(least, times * self._took):
            self.save()

    def save(self) -> None:
        """Replace the file, as a whole, by one with all rows. Nothing happens if it has all of them."""
        if self.path is None or not self._unsaved:
            return
        begin = time.monotonic()
        table = self.table()
        with whole_file(self.path) as part:
            table.to_csv(part) if self.path.suffix == ".csv" else table.to_parquet(part)
        self._written, self._unsaved = time.monotonic(), False
        self._took = self._written - begin

    def table(self) -> pd.DataFrame:
        """The finished fits, in the order of the data."""
        table = as_table(self.rows.values(), self.keyed.name)
        return table.loc[[key for key in self.keyed.labels if key in self.rows]]


def read_table_path(path: Any) -> Path | None:
    """Check the argument ``path``."""
    if path is None:
        return None
    place = read_path(path, "path")
    if place.suffix not in _ENDINGS:
        raise ValueError(about("path", f"must end in .csv or .parquet, got {str(place)!r}"))
    if place.is_dir() or not place.parent.is_dir():
        got = "which is a folder" if place.is_dir() else "whose folder does not exist"
        raise ValueError(about("path", f"must be a file in a folder that exists, got {str(place)!r}, {got}"))
    if place.suffix != ".csv":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            text = "can be a Parquet file only with pyarrow, which is not installed; install it, or give a name in .csv"
            raise ValueError(about("path", text)) from None
    return place


def read_finished(path: Path | None) -> pd.DataFrame | None:
    """The table in a file, indexed by the key's text; None if there is no file yet."""
    if path is None or not path.exists():
        return None
    try:
        if path.suffix == ".csv":
            text = pd.read_csv(path, dtype=str, keep_default_na=False)
            table = text.set_index(text.columns[0])
            numbers = [each for each in table.columns if each not in (*_TEXTS, "converged")]
            table[numbers] = table[numbers].replace("", "nan").astype(float)  # Python's float() gives back every bit
            table["converged"] = table["converged"] == "True"
        else:
            table = pd.read_parquet(path)
        if not {*_FIRST, *_LAST} <= set(table.columns) or not len(table):
            raise ValueError
        for each in table["settings"].unique():
            json.loads(each)
    except (ValueError, KeyError, TypeError, IndexError, OSError):
        rule = f"must be a new file, or one that fit_many has written, got {path}, which is neither"
        raise ValueError(about("path", f"{rule}; choose another name")) from None
    table.index = table.index.map(str)
    return table


def taken_over(finished: Finished, table: pd.DataFrame) -> Finished:
    """Take over the rows of a file, which must be of the same data under the same settings."""
    path, keyed = finished.path, finished.keyed
    for settings in map(json.loads, table["settings"].unique()):
        for name in {**settings, **finished.settings}:
            then, now = settings.get(name), finished.settings.get(name)
            if then != now:
                got = f"got {name} = {_said(then)} in {path} and {_said(now)} now"
                raise ValueError(about("path", f"must hold fits with the same settings, {got}; choose another file"))
    for key, digest in table["data"].items():
        if key not in keyed.values or digest != keyed.digest(str(key)):
            got = f"{keyed.name} {key} " + ("has other values" if key in keyed.values else "is not among them")
            raise ValueError(about("path", f"must hold fits of the same data, but {got}; choose another file than {path}"))
    for key, row in zip(table.index, table.to_dict("records"), strict=True):
        finished.rows[key] = {KEY: key} | {name: _value(name, value) for name, value in row.items() if not pd.isna(value)}
    return finished


def seed_in(table: pd.DataFrame) -> int:
    """The seed of the fits in a file."""
    return int(json.loads(table["settings"].iloc[0])["seed"])


def _value(name: str, value: Any) -> Any:
    return int(value) if name in _COUNTS else value


def _said(value: Any) -> str:
    return "its default" if value is None else str(value)


def parameters_of(table: pd.DataFrame) -> list[str]:
    """Names of the parameters that have columns in a table."""
    return [each for each in table.columns if all(f"{each}{statistic}" in table for statistic in STATISTICS)]


def worst(table: pd.DataFrame, name: str) -> float:
    """Largest number in a column; NaN if there is none."""
    return float(np.nanmax(table[name])) if table[name].notna().any() else np.nan
