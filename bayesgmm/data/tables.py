"""Any array or table as an array of floats, and the names of its columns."""

from __future__ import annotations

import numbers
import warnings
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm.arguments import FloatArray, Missing, read_choice, spoken
from bayesgmm.exceptions import PACKAGE, DataWarning
from bayesgmm.words import Argument, Words, about

_HIDING = (str, bytes, date, timedelta, np.datetime64, np.timedelta64)  # types that float() or NumPy may convert to a number


def read_numbers(x: ArrayLike, name: str, *, copy: bool = True) -> FloatArray:
    """Any array or table of real numbers as floats; a new array if ``copy``."""
    if isinstance(x, np.ma.MaskedArray):
        x = _without_masked(x)
    if hasattr(x, "data_vars"):
        got = f"an xarray {type(x).__name__} with the variables {', '.join(map(str, x.data_vars)) or 'none'}"
        raise TypeError(about(name, f"must be an array or a table, got {got}; choose one, as in dataset['name']"))
    if hasattr(x, "collect") and not hasattr(x, "to_numpy"):
        raise TypeError(about(name, f"must be a table in memory, got a {type(x).__name__}; call its collect() first"))
    if is_dask(x) or hasattr(x, "over_blocks"):  # a scan
        call = "its compute()" if is_dask(x) else "its read(), or pass its attribute sample, a part of its rows"
        raise TypeError(about(name, f"must be in memory here, got a {type(x).__name__}; call {call}"))
    columns = _arrow_columns(x)
    if columns is not None:
        x = _from_arrow(columns, column_names(x) or (), name)
    elif hasattr(x, "to_numpy") and hasattr(x, "dtypes"):
        x = _from_pandas(x, name)
    try:
        array = np.asarray(x)
    except ValueError:
        raise ValueError(about(name, "must be a rectangular array of numbers, got rows of different lengths")) from None
    if array.dtype.kind == "c":
        raise TypeError(about(name, "must hold real numbers, got complex ones; pass the real part or the modulus"))
    _require_numeric(array, name)
    return array.astype(np.float64, copy=copy)


def is_dask(x: Any) -> bool:
    """Whether x is a Dask collection, without importing Dask."""
    return type(x).__module__.partition(".")[0] in ("dask", "dask_expr") and hasattr(x, "__dask_graph__")


def read_rows(
    x: Any, *, missing: Missing | None, name: str
) -> tuple[FloatArray, NDArray[np.bool_] | None, tuple[str, ...] | tuple[int, ...] | None]:
    """Check rows; return rows (n, D), which input rows they are (n_input,) or None if all, and the names of columns or None.

    Under ``missing="at_random"`` missing values stay NaN.
    """
    if missing is not None:
        read_choice(missing, Missing, "missing")
    array = read_numbers(x, name, copy=False)
    names = column_names(x)
    if array.ndim == 0 or array.ndim > 2:
        rule = "must have shape (n,) or (n, D)"
        raise ValueError(about(name, f"{rule}, got {array.ndim} dimensions; pass one row for each observation"))
    if array.size == 0:
        raise ValueError(about(name, "must hold at least one observation, got none"))
    array = array.reshape(len(array), -1)
    at_random = missing == "at_random"
    sound = ~np.isinf(array).any(axis=1) if at_random else np.isfinite(array).all(axis=1)
    if not sound.all() and missing != "drop":
        what = "NaN or infinity"
        drop = Words(Argument("missing", "drop"), " to leave these observations out")
        remedy = Words(" or pass ", drop) if missing else f", or pass bayesgmm.Observations({name}, missing='drop')"
        if at_random:
            what, remedy = "infinity", Words(", or replace what is not known by NaN")
        raise ValueError(about(name, f"must be finite, got {_describe(~sound, what)}; clean the data", remedy))
    if at_random:
        sound = _known_rows(array, name)
    if sound.all():
        return np.ascontiguousarray(array), None, names
    if not sound.any():
        got = _describe(~sound, "NaN or infinity")
        raise ValueError(about(name, f"must hold at least one finite observation, got {got}"))
    return np.ascontiguousarray(array[sound]), sound, names


def _known_rows(array: FloatArray, name: str) -> NDArray[np.bool_]:
    """Which rows hold a known value. With several features every row must."""
    nothing = np.isnan(array).all(axis=1)
    if nothing.any() and array.shape[1] > 1:
        got = f"got {_describe(nothing, 'nothing but NaN')}; leave these out"
        raise ValueError(about(name, f"must have a value in every row, {got}"))
    if nothing.any():
        text = f": {_describe(nothing, 'NaN')} are left out, because a missing value of the only feature says nothing"
        warnings.warn(Words(Argument(name), text), DataWarning, skip_file_prefixes=PACKAGE)
    return ~nothing


def _describe(wrong: NDArray[np.bool_], what: str) -> str:
    found = np.flatnonzero(wrong)
    where = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
    return f"{len(found)} of {len(wrong)} observations with {what} (at positions {where})"


def refuse_hidden_numbers(x: Any, name: str) -> Any:
    """Refuse dates and text, which another library would convert to numbers; return x, with NaN for masked values."""
    if isinstance(x, np.ma.MaskedArray):
        return _without_masked(x)
    if hasattr(x, "to_numpy") and hasattr(x, "dtypes"):
        _from_pandas(x, name)
        return x
    try:
        array = np.asarray(x)
    except ValueError:  # rows of different lengths: the other library has a message for this
        return x
    if array.dtype.kind in "SUMm" or (array.dtype.kind == "O" and any(isinstance(each, _HIDING) for each in array.flat)):
        _require_numeric(array, name)
    return x


def _without_masked(x: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    """Numbers as floats, with NaN for masked values; other types unchanged."""
    return np.ma.filled(x.astype(float), np.nan) if x.dtype.kind in "fiub" else np.asarray(x)


def _require_numeric(array: NDArray[Any], name: str) -> None:
    if array.dtype.kind in "fiub":
        return
    remedy = "convert them to float or choose other columns"
    if array.dtype.kind in "Mm":
        remedy = "divide differences by a unit, as in (x - x[0]) / np.timedelta64(1, 'D')"
    raise TypeError(about(name, f"must hold numbers, got elements of type {array.dtype}; {remedy}"))


def _from_pandas(x: Any, name: str) -> NDArray[Any]:
    """A Series or DataFrame as floats; nullable columns turn their missing values into NaN."""
    dtypes = [x.dtypes] if getattr(x, "ndim", 2) == 1 else list(x.dtypes)
    columns = column_names(x) or (name,)
    wrong = [
        f"{spoken(column)} ({dtype})"
        for column, dtype in zip(columns, dtypes, strict=False)
        if getattr(dtype, "kind", "O") not in "fiubc"
    ]
    if wrong:
        raise TypeError(about(name, f"must hold numeric columns, got {', '.join(wrong)}; convert or leave them out"))
    if any(dtype.kind == "c" for dtype in dtypes):
        return np.asarray(x)
    return np.asarray(x.to_numpy(dtype=float, na_value=np.nan))


def _arrow_columns(x: Any) -> list[Any] | None:
    """The columns of a polars or pyarrow table; None for anything else."""
    if hasattr(x, "get_columns") and hasattr(x, "schema"):
        return list(x.get_columns())
    return list(x.itercolumns()) if hasattr(x, "column_names") and hasattr(x, "itercolumns") else None


def _from_arrow(columns: list[Any], names: tuple[Any, ...], name: str) -> NDArray[Any]:
    """Columns side by side as floats, with nulls as NaN."""
    arrays = [np.asarray(column) for column in columns]
    wrong = [
        f"{spoken(names[i])} ({columns[i].dtype if hasattr(columns[i], 'dtype') else columns[i].type})"
        for i, array in enumerate(arrays)
        if array.dtype.kind not in "fiub" and not _are_numbers_and_nulls(array)
    ]
    if wrong:
        raise TypeError(about(name, f"must hold numeric columns, got {', '.join(wrong)}; convert or leave them out"))
    return np.array([array.astype(float) for array in arrays]).T


def _are_numbers_and_nulls(array: NDArray[Any]) -> bool:
    """Whether these objects are decimals, truth values or nulls."""
    return array.dtype.kind == "O" and all(each is None or isinstance(each, numbers.Number) for each in array)


def column_names(x: Any) -> tuple[str, ...] | tuple[int, ...] | None:
    """Names of the columns of a table, of a labelled array (from its coordinate), or of a single named column."""
    columns = getattr(x, "column_names", getattr(x, "columns", None))
    if columns is None and hasattr(x, "to_numpy"):
        dims: tuple[Any, ...] = getattr(x, "dims", ())
        if len(dims) == 2 and dims[1] in x.coords:
            columns = x[dims[1]].values.tolist()
        elif getattr(x, "ndim", 1) == 1 and getattr(x, "name", None) not in (None, ""):
            columns = [x.name]
    if columns is None:
        return None
    names = list(columns)
    if all(isinstance(name, numbers.Integral) for name in names):
        return None if names == list(range(len(names))) else tuple(map(int, names))
    return tuple(map(str, names))
