"""Data by key: the groups of a table, the columns of a matrix, or a mapping."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bayesgmm.arguments import FloatArray, Missing, read_choice
from bayesgmm.data.tables import column_names, is_dask, read_numbers
from bayesgmm.words import Argument, Words, about, said

KEY = "key"  # what keys are called if nothing else is known
_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Keyed:
    """The data of many fits.

    Attributes
    ----------
    name : str
        What a key is called: the column of the groups, or "column".
    labels : dict
        The keys as they were given, by their text. The text tells fits apart, because files hold text.
    values : dict
        Arrays (n,) or (n, D) by the key's text, or why there are none, in words.
    features : tuple of str
        Names of the features; empty for one feature.
    """

    name: str
    labels: dict[str, Any]
    values: dict[str, FloatArray | Words]
    features: tuple[str, ...] = ()

    def digest(self, key: str) -> str:
        """What tells the data of a key from others: 16 hexadecimal digits."""
        values = self.values[key]
        if isinstance(values, Words):
            return ""
        shape = str((values.shape, self.features)).encode()
        return hashlib.sha256(shape + np.ascontiguousarray(values).tobytes()).hexdigest()[:16]

    @property
    def n_features(self) -> int:
        """Number of features, D."""
        return max(len(self.features), 1)


def read_keyed(table: Any, by: Any, columns: Any, missing: Missing) -> Keyed:
    """The data by key. Only what concerns all keys raises an error; a key without usable values gets the reason instead."""
    read_choice(missing, Missing, "missing")
    if is_dask(table) or hasattr(table, "over_blocks"):
        got = f"must be in memory, got a {type(table).__name__}; read it, or fit its parts one after another"
        raise TypeError(about("table", got))
    if isinstance(table, Mapping) and not hasattr(table, "data_vars"):
        return _of_mapping(table, by, columns)
    names, found = _columns_of(table)
    if by is None:
        chosen = names if columns is None else _read_names(columns, names)
        return _of_columns("column", [(name, each) for name, each in zip(names, found, strict=True) if name in chosen])
    keys, name = _keys_of(by, names, found)
    others = [each for each in names if each != name]
    chosen = _read_names(columns, others) if columns is not None else others
    if not chosen:
        raise ValueError(about("table", "must have a column to fit beside that of the keys, got none; add one"))
    x = np.column_stack([read_numbers(found[names.index(each)], str(each), copy=False) for each in chosen])
    if len(keys) != len(x):
        raise ValueError(about("by", f"must have a key for each of the {len(x)} rows, got {len(keys)}"))
    features = tuple(map(str, chosen)) if len(chosen) > 1 else ()
    return _of_groups(str(name or KEY), keys, x if features else x[:, 0], features, missing)


def _columns_of(table: Any) -> tuple[list[Any], list[Any]]:
    """Names and columns of a table, or of an array (n,) or (n, p)."""
    if isinstance(table, pd.DataFrame):
        return list(table.columns), [table.iloc[:, i] for i in range(table.shape[1])]
    names = column_names(table)
    if hasattr(table, "itercolumns") or hasattr(table, "get_columns"):  # pyarrow, polars
        found = list(table.itercolumns() if hasattr(table, "itercolumns") else table.get_columns())
        return list(names or range(len(found))), found
    array = read_numbers(table, "table", copy=False)
    if array.ndim not in (1, 2):
        raise ValueError(about("table", f"must have shape (n,) or (n, p), got {array.ndim} dimensions"))
    found = list(array.reshape(len(array), -1).T)
    return list(names or range(len(found))), found


def _read_names(columns: Any, names: Sequence[Any]) -> list[Any]:
    """Columns that were asked for, which must be there."""
    asked = [columns] if isinstance(columns, str) or not hasattr(columns, "__iter__") else list(columns)
    unknown = [each for each in asked if each not in names]
    if unknown or not asked or len(set(asked)) < len(asked):
        got = f"got {', '.join(map(repr, unknown)) or (asked and 'one twice') or 'none'}"
        raise ValueError(about("columns", f"must name columns of the table ({_listed(names)}), {got}"))
    return asked


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")


def _keys_of(by: Any, names: Sequence[Any], found: Sequence[Any]) -> tuple[pd.Series, Any]:
    """The key of each row, and the name of its column."""
    is_name = isinstance(by, str) or not hasattr(by, "__len__")
    if is_name and names.count(by) != 1:
        got = f"got {by!r}" + ("" if by not in names else ", which several columns are called")
        raise ValueError(about("by", f"must name one column of the table ({_listed(names)}), {got}"))
    given = found[names.index(by)] if is_name else by
    keys = given.reset_index(drop=True) if isinstance(given, pd.Series) else pd.Series(np.asarray(given).tolist())
    return keys, by if is_name else None


def _of_groups(name: str, keys: pd.Series, x: FloatArray, features: tuple[str, ...], missing: Missing) -> Keyed:
    """The rows of each key, in their order; keys in the order of their first rows."""
    codes, distinct = pd.factorize(keys)
    if (codes < 0).any() and missing == "raise":
        got = f"got {(codes < 0).sum()} of {len(codes)} without; name them, or leave them out by "
        raise ValueError(about("by", "must have a key in every row, ", got, Argument("missing", "drop")))
    if not len(distinct):
        raise ValueError(about("by", "must have at least one key, got none"))
    order = np.argsort(codes, kind="stable")[(codes < 0).sum() :]
    parts = np.split(x[order], np.cumsum(np.bincount(codes[codes >= 0]))[:-1])
    return _of_columns(name, zip(list(distinct), parts, strict=True), features)


def _of_mapping(table: Mapping[Any, ArrayLike], by: Any, columns: Any) -> Keyed:
    for name, value in (("by", by), ("columns", columns)):
        if value is not None:
            raise ValueError(about(name, "cannot be given with a mapping, which has its keys; leave it out"))
    widths = {np.shape(each)[1] for each in table.values() if np.ndim(each) == 2}
    features = tuple(map(str, range(max(widths)))) if widths and max(widths) > 1 else ()
    return _of_columns(KEY, table.items(), features)


def _of_columns(name: str, columns: Any, features: tuple[str, ...] = ()) -> Keyed:
    """The data of named columns. A name that repeats, and a column without numbers, get the reason instead of values."""
    labels: dict[str, Any] = {}
    values: dict[str, FloatArray | Words] = {}
    for label, column in columns:
        key = str(label)
        if key in values:
            values[key] = Words(f"keys must differ as text, got {key!r} more than once; rename them")
            continue
        labels[key], values[key] = label, _numbers(column, len(features))
    if not labels:
        raise ValueError(about("table", "must hold at least one column or group to fit, got none"))
    return Keyed(name, labels, values, features)


def _numbers(column: Any, n_features: int) -> FloatArray | Words:
    try:
        values = read_numbers(column, "x", copy=False)
    except (TypeError, ValueError) as error:
        text = said(error)
        return text if isinstance(text, Words) else Words(text)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    wanted = (*values.shape[:1], n_features) if n_features else values.shape[:1]
    if values.shape != wanted:
        rule = f"must have {n_features} features, as other keys have" if n_features else "must have shape (n,)"
        return about("x", f"{rule}, got shape {values.shape}")
    return values


def batches(keys: Sequence[str], size: int) -> Iterator[list[str]]:
    """Some keys at a time."""
    for begin in range(0, len(keys), size):
        yield list(keys[begin : begin + size])
