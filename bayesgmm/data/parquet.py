"""Parquet files, read by pyarrow one row group after the other: only the columns needed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.arguments import FloatArray, Missing, read_path, spoken
from bayesgmm.data.first_pass import Block
from bayesgmm.data.scan import Scan
from bayesgmm.words import about

_ROWS = 2**17  # rows in a block


def scan_parquet(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    columns: Sequence[str] | None = None,
    weight: str | None = None,
    *,
    missing: Missing = "raise",
) -> Scan:
    """Read Parquet files in passes, as data for a fit: they may hold more rows than fit into memory.

    Only the metadata of the files are read now. A fit makes a first pass for the range, mean and standard deviation of each
    column and for a sample of the rows. Further passes compute the sums that EM and the posterior need.

    Parameters
    ----------
    paths : str, path, or sequence of them
        Files, folders of files, or patterns such as ``"data/*.parquet"``.
    columns : sequence of str, optional
        Features, in this order. Default: all columns but ``weight``.
    weight : str, optional
        Column of frequency weights: see ``sample_weight`` of :func:`bayesgmm.fit`.
    missing : {"raise", "drop", "at_random"}
        What to do with NaN and nulls: refuse them, leave out their rows, or use the known values of a row.

    Returns
    -------
    Scan
        Pass it to :func:`bayesgmm.fit_em`, :func:`bayesgmm.fit`, :func:`bayesgmm.compare`, :func:`bayesgmm.responsibilities`
        or :class:`bayesgmm.BayesianGMM` instead of an array.

    Raises
    ------
    FileNotFoundError
        If a file does not exist, or no file matches a pattern or folder.
    ValueError, TypeError
        If a file is not a Parquet file or is truncated, lacks a column, or has a column that does not hold numbers.
    ModuleNotFoundError
        If pyarrow is not installed (the extra ``parquet``).

    Examples
    --------
    >>> import pyarrow as pa, pyarrow.parquet as pq, tempfile
    >>> file = f"{tempfile.mkdtemp()}/rows.parquet"
    >>> pq.write_table(pa.table({"a": [1.0, 2.0], "b": [3.0, 5.0], "c": ["x", "y"]}), file)
    >>> scan_parquet(file, columns=["a", "b"])
    Scan(n = 2, 2 features)
    """
    dataset = _dataset(_files(paths))
    names = list(dataset.schema.names)
    chosen = [name for name in names if name != weight] if columns is None else _read_columns(columns)
    read = [*chosen, *([] if weight is None else [weight])]
    parts: list[_RowGroup] = []
    n_bytes = begin = 0
    for fragment in dataset.get_fragments():
        _require_columns(fragment, read)
        in_file = 0
        for group in fragment.split_by_row_group():
            information = group.row_groups[0]
            if information.num_rows:
                parts.append(_RowGroup(group, tuple(chosen), weight, begin, in_file))
            begin += information.num_rows
            in_file += information.num_rows
            n_bytes += _stored_bytes(group, read)
    if not begin:
        raise ValueError(about("paths", f"must name files with rows, got none in {_listed(dataset.files)}"))
    return Scan(parts, len(chosen), tuple(chosen), missing, weight is not None, n_stored=begin, n_bytes=n_bytes)


@dataclass(frozen=True)
class _RowGroup:
    """A row group of a file."""

    fragment: Any
    columns: tuple[str, ...]
    weight: str | None
    begin: int  # number of its first row among all rows
    in_file: int  # number of its first row in the file

    def blocks(self) -> Iterator[Block]:
        """The rows as floats, in their order."""
        import pyarrow as pa

        columns = [*self.columns, *([] if self.weight is None else [self.weight])]
        try:
            for batch in self.fragment.to_batches(columns=columns, batch_size=_ROWS, use_threads=False):
                if batch.num_rows:
                    yield self._block(batch)
        except (OSError, pa.ArrowException) as error:
            said = " ".join(str(error).split())
            raise ValueError(f"{self.fragment.path} cannot be read to its end: {said}; write it again") from None

    def where(self, row: int) -> str:
        """Name of a row for messages: its number among all rows, and in its file."""
        return f"row {self.begin + row} (row {self.in_file + row} of {self.fragment.path})"

    def _block(self, batch: Any) -> Block:
        values = np.empty((batch.num_rows, len(self.columns)))
        for place, name in enumerate(self.columns):
            values[:, place] = _as_floats(batch.column(name))
        return Block(values, None if self.weight is None else np.array(_as_floats(batch.column(self.weight))))


def _as_floats(column: Any) -> FloatArray:
    """A column, with NaN for nulls."""
    import pyarrow as pa

    if not pa.types.is_floating(column.type):
        column = column.cast(pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _dataset(files: list[str]) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.dataset as ds
    except ModuleNotFoundError:
        needs = "scan_parquet reads files by pyarrow, which is not installed; pip install 'bayesgmm[parquet]'"
        raise ModuleNotFoundError(needs, name="pyarrow") from None
    try:
        return ds.dataset(files, format="parquet")
    except (OSError, pa.ArrowException) as error:
        raise ValueError(_unreadable(error, files)) from None


def _unreadable(error: Exception, files: Sequence[str]) -> str:
    said = " ".join(str(error).split())
    named = _listed([each for each in files if each in said] or list(files))
    return f"{named} cannot be read as Parquet, or is cut short: {said}; write it again, or leave it out"


def _files(paths: Any) -> list[str]:
    """The files that paths, folders and patterns name, in order."""
    each = [paths] if isinstance(paths, str | os.PathLike) else paths
    try:
        given = [read_path(path, "paths") for path in each]
    except TypeError as error:
        if isinstance(each, Sequence) and each:
            raise
        rule = "must be the name of a file or folder, a pattern, or a sequence of them"
        raise TypeError(about("paths", f"{rule}, got {type(paths).__name__}")) from error
    files: list[str] = []
    for path in given:
        if path.is_dir():
            found = sorted(str(file) for file in path.rglob("*.parquet"))
        elif path.exists():
            found = [str(path)]
        else:
            found = sorted(glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob refuses absolute patterns
        if not found:
            what = "there are no files *.parquet in the folder" if path.is_dir() else "there is no file"
            raise FileNotFoundError(f"{what} {path}; check the name")
        files += found
    if not files:
        raise ValueError(about("paths", "must name at least one file, got none"))
    return files


def _read_columns(columns: Any) -> list[str]:
    if isinstance(columns, str) or not isinstance(columns, Sequence) or not all(isinstance(each, str) for each in columns):
        raise TypeError(about("columns", f'must be a sequence of names, as in ["a", "b"], got {columns!r}'))
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(about("columns", f"must name at least one column, and none twice, got {list(columns)}"))
    return list(columns)


def _require_columns(fragment: Any, columns: Sequence[str]) -> None:
    """Refuse a file that lacks a column, or has one that does not hold numbers."""
    import pyarrow as pa
    import pyarrow.types as types

    try:
        schema = fragment.physical_schema
    except (OSError, pa.ArrowException) as error:
        raise ValueError(_unreadable(error, [fragment.path])) from None
    lacking = [name for name in columns if name not in schema.names]
    if lacking:
        got = f"got {', '.join(map(spoken, schema.names))} in {fragment.path}"
        raise ValueError(about("columns", f"must be in every file, {got}, which lacks {', '.join(map(spoken, lacking))}"))
    numeric = (types.is_floating, types.is_integer, types.is_boolean, types.is_decimal)
    found = {name: schema.field(name).type for name in columns}
    wrong = [f"{spoken(name)} ({each})" for name, each in found.items() if not any(is_(each) for is_ in numeric)]
    if wrong:
        got = f"got {', '.join(wrong)} in {fragment.path}"
        raise TypeError(about("columns", f"must hold numbers, {got}; choose others by columns="))


def _stored_bytes(group: Any, columns: Sequence[str]) -> int:
    """Bytes on disk of these columns of a row group."""
    information = group.metadata.row_group(group.row_groups[0].id)
    each = (information.column(i) for i in range(information.num_columns))
    return sum(column.total_compressed_size for column in each if column.path_in_schema.split(".")[0] in columns)


def _listed(files: Sequence[str]) -> str:
    return ", ".join(str(Path(file)) for file in files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
