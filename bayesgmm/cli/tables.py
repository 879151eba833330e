"""Tables in files and streams: text, Parquet and NetCDF."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from pandas.errors import ParserError, ParserWarning

from bayesgmm.cli.inputs import BROKEN, ENDINGS, Format, Input
from bayesgmm.cli.layout import ROW_NAMES, TextOptions, layout_of
from bayesgmm.cli.messages import say
from bayesgmm.cli.numerals import UnclearNumeralsError, read_numerals
from bayesgmm.cli.text import Text

type Columns = Callable[[Sequence[str], Sequence[str]], Mapping[str, pd.Series]]
_MARKS = {
    rb"PAR1[\x00-\x1f]": "parquet",
    rb"\x89HDF\r\n|CDF[\x01\x02\x05]": "netcdf",
    rb"PK\x03\x04": "a workbook or a zip archive; save the table as CSV, or unpack it",
}


@dataclass(frozen=True)
class Table:
    """A table in a file."""

    name: str  # name of the file in messages
    names: Sequence[str]  # names of the columns
    columns: Columns  # reads columns, given the names of those for numbers, and of those for text as it stands
    place: Callable[[int], str]  # description of row 0, 1, ... in messages
    only: str | None  # the column, or group of columns, to use if none is named
    groups: Mapping[str, list[str]] = field(default_factory=dict)  # names that stand for several columns


def read_table(source: Input, format: Format | None, text: TextOptions, missing_values: Sequence[str]) -> Table:
    """The table in a file. Only the layout of a text is read at once, its columns later."""
    source.require_there()
    kind = format or _kind_of(source)
    return _BINARY[kind](source) if kind in _BINARY else _read_text(source, kind, text, missing_values)


def _kind_of(source: Input) -> str:
    """Format of a source, by its extension, unless its first bytes are those of a binary format."""
    kind = "text" if source.is_stream else ENDINGS.get(source.ending)
    if kind not in _BINARY:
        with _understood(source, "text"), source.opened() as file:
            begin = file.read(8)
        kind = next((other for mark, other in _MARKS.items() if re.match(mark, begin)), kind)
    if kind is None:
        raise ValueError(
            f"{source.file} must end in .csv, .tsv, .txt, .parquet or .nc for its format to be known; "
            "rename it, or give the format with --format"
        )
    if kind not in ENDINGS.values():
        raise ValueError(f"{source.name} must be a table in text, Parquet or NetCDF, got {kind}")
    return kind


def _read_text(source: Input, kind: str, options: TextOptions, missing_values: Sequence[str]) -> Table:
    with _understood(source, kind):
        text = Text(source, layout_of(source, kind, options))
    layout = text.layout

    def columns(names: Sequence[str], ids: Sequence[str]) -> Mapping[str, pd.Series]:
        with _understood(source, kind, text):
            read, styles = _numbers(text, [each for each in names if each not in ids], options, missing_values)
            read |= text.columns(ids, "as it stands") if ids else {}
        assumed = [*text.layout.assumed, *styles]
        if assumed:
            say(f"{source.name} is read as follows: {'; '.join(assumed)}")
        return read

    fitted = [each for each in layout.names if not (layout.has_row_names and each == ROW_NAMES)]
    return Table(source.name, layout.names, columns, text.place, _only(fitted))


def _numbers(
    text: Text, names: Sequence[str], options: TextOptions, missing_values: Sequence[str]
) -> tuple[dict[str, pd.Series], list[str]]:
    """Columns of a text, as numbers where possible, and descriptions of styles that differ from Python's notation."""
    read: dict[str, pd.Series] = {}
    unusual = text.layout.commas or options.decimal is not None or options.thousands is not None
    if not unusual:
        read = text.columns(names)
    written = [each for each in names if unusual or not pd.api.types.is_numeric_dtype(read[each])]
    styles: dict[str, list[str]] = {}
    texts = text.columns(written, "text") if written else {}
    for name, column in texts.items():
        known = column.mask(column.str.strip().isin(missing_values))
        read[name] = known
        try:
            read[name], style = read_numerals(
                known, decimal=options.decimal, thousands=options.thousands, commas=text.layout.commas
            )
        except UnclearNumeralsError as unclear:
            raise ValueError(_unclear(text, name, column, str(unclear))) from None
        except ValueError:
            continue
        if str(style):
            styles.setdefault(str(style), []).append(name)
    return {each: read[each] for each in names}, [f"{style} in {', '.join(those)}" for style, those in styles.items()]


def _unclear(text: Text, name: str, column: pd.Series, numeral: str) -> str:
    row = int(np.flatnonzero(column.str.strip() == numeral)[0])
    mark = next(each for each in numeral if each in ".,")
    called = {".": "point", ",": "comma"}[mark]
    return (
        f"column {name} of {text.source.name} must not be ambiguous, got {numeral!r} ({text.place(row)}), "
        f"which may have a decimal {called} or a {called} between thousands; say --decimal {mark} or --thousands {mark}"
    )


@contextmanager
def _understood(source: Input, kind: str, text: Text | None = None) -> Iterator[None]:
    """Replace other libraries' errors about unreadable tables by one-sentence errors."""
    broken = f"{source.name} cannot be read as {'text' if kind == 'text' else kind.upper()}"
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source.name} must be text in {error.encoding}, got the byte 0x{error.object[error.start]:02x}; "
            "give its encoding with --encoding"
        ) from None
    except (csv.Error, *BROKEN) as error:
        raise ValueError(f"{broken}: {_first_sentence(error)}") from None
    except (ParserError, ParserWarning) as error:
        reason = text.too_long() if text is not None else ""
        raise ValueError(f"{broken}: {reason or str(error).strip().split('C error: ')[-1]}") from None


def _read_parquet(source: Input) -> Table:
    name = source.name
    try:
        frame = pd.read_parquet(_binary_source(source))
    except ImportError:
        raise ValueError(
            f"{name} cannot be read without pyarrow; install it (pip install pyarrow, or bayesgmm with its extra parquet)"
        ) from None
    except (ValueError, OSError) as error:  # base classes of pyarrow's errors
        raise ValueError(f"{name} cannot be read as Parquet: {_first_sentence(error)}") from None
    frame.columns = frame.columns.map(str)
    return Table(name, list(frame.columns), _picked_from(frame), lambda row: f"row {row + 1}", _only(frame))


def _read_netcdf(source: Input) -> Table:
    """Variables with one dimension are columns. Those with two give a column for each label of the second dimension."""
    name = source.name
    try:
        with xr.open_dataset(_binary_source(source)) as opened:
            data = opened.load()
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ValueError(f"{name} cannot be read as NetCDF: {_first_sentence(error)}") from None
    columns: dict[str, pd.Series] = {}
    groups: dict[str, list[str]] = {}
    for variable in data.data_vars.values():
        called = str(variable.name)
        if variable.ndim == 1:
            columns[called] = pd.Series(variable.values)
        elif variable.ndim == 2:
            along = variable.dims[1]
            labels = data[along].values.tolist() if along in data.coords else []
            textual = bool(labels) and all(isinstance(each, str) for each in labels)
            groups[called] = labels if textual else [f"{called}[{i}]" for i in range(variable.shape[1])]
            columns |= {label: pd.Series(each) for label, each in zip(groups[called], variable.values.T, strict=True)}
    if not columns:
        raise ValueError(f"{name} must hold variables of one or two dimensions in its root group, got none")
    return Table(name, list(columns), _picked_from(columns), lambda row: f"position {row}", _only(data.data_vars), groups)


_BINARY: dict[str, Callable[[Input], Table]] = {"parquet": _read_parquet, "netcdf": _read_netcdf}


def _picked_from(columns: Mapping[str, pd.Series] | pd.DataFrame) -> Columns:
    return lambda names, ids: {each: columns[each] for each in [*names, *ids]}


def _binary_source(source: Input) -> Any:
    if not source.is_stream:
        return Path(source.file)
    with source.opened() as file:
        return io.BytesIO(file.read())


def _only(names: Iterable[Any]) -> str | None:
    called = list(map(str, names))
    return called[0] if len(called) == 1 else None


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0]
