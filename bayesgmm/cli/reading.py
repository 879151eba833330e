"""Data files and standard input: CSV, TSV, Parquet and NetCDF, of which columns are chosen.

Whatever is wrong is said in one sentence, in which rows are counted as the file counts them.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from bayesgmm.validation import Missing

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["csv", "tsv", "parquet", "netcdf"]
STANDARD_INPUT = "-"
_TEXT = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "text", ".dat": "text"}
_ENDINGS = _TEXT | {f"{ending}.gz": kind for ending, kind in _TEXT.items()}
ENDINGS = _ENDINGS | {".parquet": "parquet", ".pq": "parquet", ".nc": "netcdf", ".netcdf": "netcdf"}
_DELIMITERS = "\t,;"
_SHOWN = 5  # of the places that are wrong
_LISTED = 20  # of the columns that could have been named


@dataclass(frozen=True)
class Table:
    """What a file holds.

    Attributes
    ----------
    name : str
        What to call the file.
    columns : DataFrame or dict of Series
        By name; of one length unless they come from a NetCDF file.
    place : callable
        What the file calls its row 0, 1, ...
    only : str or None
        The column, or group of columns, that is meant if none is named.
    groups : dict
        Names that stand for several columns.
    """

    name: str
    columns: Mapping[str, pd.Series] | pd.DataFrame
    place: Callable[[int], str]
    only: str | None
    groups: Mapping[str, list[str]] = field(default_factory=dict)


def read_columns(
    file: str, columns: list[str] | None = None, *, format: Format | None = None, missing: Missing = "raise"
) -> pd.DataFrame:
    """The columns to fit.

    Parameters
    ----------
    file : str
        A path, or "-" for standard input.
    columns : list of str, optional
        Their names, in the order wanted; not needed if there is only one.
    format : {"csv", "tsv", "parquet", "netcdf"}, optional
        Default: by the file's ending; of standard input and of text, by the delimiter in the header line.
    missing : {"raise", "drop"}
        Whether missing and infinite values are refused here, where the file's own count of rows is known.

    Raises
    ------
    ValueError, OSError
        One sentence that says what is wrong with which file, and what to do.
    """
    import pandas as pd

    table = _read_table(file, format)
    names = list(map(str, table.columns))
    asked = columns or ([table.only] if table.only else [])
    chosen = [one for each in asked for one in table.groups.get(each, [each])]
    wrong = [each for each in chosen if each not in names]
    if wrong or not chosen:
        listed = ", ".join(map(repr, names[:_LISTED])) + (f", ... ({len(names)} in all)" if len(names) > _LISTED else "")
        got = ", ".join(map(repr, wrong)) or "none"
        raise ValueError(f"--columns must name one or several of {listed}, got {got}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"--columns must name each column once, got {', '.join(chosen)}")
    lengths = {len(table.columns[each]) for each in chosen}
    if len(lengths) > 1:
        raise ValueError(f"--columns must name variables of one length, got {', '.join(chosen)} of {table.name}")
    if lengths == {0}:
        raise ValueError(f"{table.name} must hold at least one observation under its header line, got none")
    for name in chosen:
        _require_numbers(table, name)
    frame = pd.DataFrame({name: table.columns[name] for name in chosen})
    if missing == "raise":
        _require_finite(table, frame)
    return frame


def column_names(file: str) -> list[str]:
    """What the columns of a text file are called, from its first line; nothing of other files."""
    kind = _ENDINGS.get(_ending(Path(file)))
    if kind is None or not Path(file).is_file():
        return []
    with _opened_text(file) as text:
        header = text.readline()
    return next(csv.reader([header], delimiter=_delimiter(header, kind)), [])


def _read_table(file: str, format: Format | None) -> Table:
    path, name = Path(file), "standard input" if file == STANDARD_INPUT else file
    if file != STANDARD_INPUT and path.is_dir():
        raise IsADirectoryError(f"{file} is a folder; give one file in it")
    if file != STANDARD_INPUT and not path.exists():
        raise FileNotFoundError(f"{file} is not a file; give one that exists, or - for standard input")
    kind = format or _kind_of(file)
    if kind in _BINARY:
        return _BINARY[kind](file, name)
    return _read_text(file, name, kind)


def _kind_of(file: str) -> str:
    if _is_stream(file):
        return "text"
    kind = ENDINGS.get(_ending(Path(file)))
    if kind is None:
        raise ValueError(
            f"{file} must end in .csv, .tsv, .txt, .parquet or .nc for its format to be known; "
            "rename it, or say which it is by --format"
        )
    return kind


def _is_stream(file: str) -> bool:
    """Standard input, or a pipe such as shells make for <(command)."""
    return file == STANDARD_INPUT or not Path(file).is_file()


def _ending(path: Path) -> str:
    suffixes = [each.lower() for each in path.suffixes[-2:]]
    return "".join(suffixes) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


def _read_text(file: str, name: str, kind: str) -> Table:
    import pandas as pd

    try:
        with _opened_text(file) as text, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # more fields than the header line names
            header = text.readline()
            delimiter = _delimiter(header, kind)
            names = next(csv.reader([header], delimiter=delimiter), [])
            if not header:
                raise ValueError(f"{name} is empty; it must hold a header line and observations")
            if all(_is_number(each) for each in names) or not header.strip():
                got = f"the numbers {', '.join(names)}" if header.strip() else "a blank line"
                raise ValueError(f"{name} must begin with a header line of column names, got {got}")
            text.seek(0)
            # a blank line in a single column is a missing observation
            frame = pd.read_csv(text, sep=delimiter, skip_blank_lines=False, index_col=False, low_memory=False)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} must be text in UTF-8, got the byte 0x{error.object[error.start]:02x}; "
            "save it in that encoding, or name its format by --format"
        ) from None
    except pd.errors.ParserWarning:
        raise ValueError(f"{name} must have as many fields in each line as in its header line, got more") from None
    except (pd.errors.ParserError, csv.Error, gzip.BadGzipFile, zlib.error, EOFError) as error:
        reason = str(error).strip().split("C error: ")[-1]
        raise ValueError(f"{name} cannot be read as {'text' if kind == 'text' else kind.upper()}: {reason}") from None
    broken = any(frame[each].astype(str).str.contains("\n").any() for each in frame if frame[each].dtype.kind not in "iufb")
    place = (lambda row: f"row {row + 1}") if broken else (lambda row: f"line {row + 2}")  # text may go over several lines
    return Table(name, frame, place, _only(frame))


@contextmanager
def _opened_text(file: str) -> Iterator[IO[str]]:
    if not _is_stream(file):
        opened = gzip.open if Path(file).suffix.lower() == ".gz" else open
        with opened(file, "rt", encoding="utf-8-sig", newline="") as text:
            yield text
    else:
        yield io.StringIO(_bytes_of(file).decode("utf-8-sig"), newline="")


def _bytes_of(file: str) -> bytes:
    if file != STANDARD_INPUT:
        return Path(file).read_bytes()
    if sys.stdin.isatty():
        print("reading standard input; Ctrl-D ends it", file=sys.stderr, flush=True)
    return sys.stdin.buffer.read()


def _delimiter(header: str, kind: str) -> str:
    """A tab in TSV; a comma in CSV, or a semicolon if there is none; elsewhere what the header line has most of."""
    if kind == "tsv":
        return "\t"
    if kind == "csv":
        return ";" if ";" in header and "," not in header else ","
    counts = {each: header.count(each) for each in _DELIMITERS}
    return max(counts, key=counts.__getitem__) if any(counts.values()) else ","


def _read_parquet(file: str, name: str) -> Table:
    import pandas as pd

    source = _binary_source(file)
    try:
        frame = pd.read_parquet(source)
    except ImportError:
        raise ValueError(
            f"{name} cannot be read without pyarrow; install it (pip install pyarrow, or bayesgmm with its extra parquet)"
        ) from None
    except (ValueError, OSError) as error:  # pyarrow's own errors are of these kinds
        raise ValueError(f"{name} cannot be read as Parquet: {_first_sentence(error)}") from None
    frame.columns = frame.columns.map(str)
    return Table(name, frame, lambda row: f"row {row + 1}", _only(frame))


def _read_netcdf(file: str, name: str) -> Table:
    """Variables of one dimension are columns; of two, columns along the second, called by its labels."""
    import pandas as pd
    import xarray as xr

    try:
        with xr.open_dataset(_binary_source(file)) as opened:
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
    return Table(name, columns, lambda row: f"position {row}", _only(data.data_vars), groups)


_BINARY: dict[str, Callable[[str, str], Table]] = {"parquet": _read_parquet, "netcdf": _read_netcdf}


def _binary_source(file: str) -> Any:
    return io.BytesIO(_bytes_of(file)) if _is_stream(file) else Path(file)


def _only(names: Iterable[Any]) -> str | None:
    called = list(map(str, names))
    return called[0] if len(called) == 1 else None


def _require_numbers(table: Table, name: str) -> None:
    import pandas as pd

    column = table.columns[name]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
        return
    bad = column.notna()
    if not pd.api.types.is_datetime64_any_dtype(column) and not pd.api.types.is_timedelta64_dtype(column):
        bad &= pd.to_numeric(column.astype(str), errors="coerce").isna()
    row = int(np.flatnonzero(bad)[0]) if bad.any() else 0
    raise ValueError(
        f"column {name} of {table.name} must hold numbers, got {str(column.iloc[row])!r} ({table.place(row)}); "
        "mend it, or choose other columns with --columns"
    )


def _require_finite(table: Table, frame: pd.DataFrame) -> None:
    values = frame.to_numpy(dtype=float, na_value=np.nan)
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if not len(wrong):
        return
    where = ", ".join(table.place(int(row)) for row in wrong[:_SHOWN]) + (", ..." if len(wrong) > _SHOWN else "")
    raise ValueError(
        f"{', '.join(frame)} of {table.name} must have no gaps, got {len(wrong)} of {len(values)} observations with missing "
        f"or infinite values ({where}); mend them, or leave these observations out by --missing drop"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0]
