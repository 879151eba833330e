"""Dask arrays and DataFrames: the workers sum their partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgmm.arguments import Missing
from bayesgmm.data.first_pass import Block
from bayesgmm.data.observations import Observations
from bayesgmm.data.scan import Reader, Scan, Work, left_off_of
from bayesgmm.data.tables import column_names, is_dask, read_numbers
from bayesgmm.words import about

_ROWS = 2**17  # rows in a block
_TOGETHER = 8  # results that one task merges
PERSIST = "Dask computes the partitions anew in every pass: call .persist() on them if they fit into the workers' memory"


def scan_dask(x: Any, *, missing: Missing = "raise", sample_weight: Any = None) -> Scan:
    """A scan of a Dask array (n,) or (n, D), Series or DataFrame. Sizes of chunks may be unknown."""
    names, n_features, meta = column_names(x), *_shape(x)
    read_numbers(meta, "x", copy=False)  # refuses what is not numeric
    if x.ndim == 2 and hasattr(x, "chunks") and len(x.chunks[1]) > 1:
        x = x.rechunk({1: -1})  # whole rows
    blocks = list(np.ravel(x.to_delayed()))
    weights: list[Any] = [None] * len(blocks)
    if sample_weight is not None:
        weights = _weights(sample_weight, x, len(blocks))
    n_stored, n_bytes = (_known(x.shape[0]), _known(x.nbytes)) if hasattr(x, "chunks") else (None, None)
    advice = "" if _is_persisted(x, len(blocks)) else PERSIST
    parts = list(zip(blocks, weights, strict=True))
    return Scan(
        parts, n_features, names, missing, sample_weight is not None, n_stored, n_bytes,
        lengths=None if n_stored is None else tuple(map(int, x.chunks[0])),
        workers=by_dask, advice=advice, left_off=left_off_of(str(x.name if hasattr(x, "chunks") else x._name)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Partition:
    """The rows of one partition, in the memory of a worker."""

    x: Any
    weight: Any
    number: int

    def blocks(self) -> Iterator[Block]:
        """The rows as floats, in their order."""
        x = _as_array(self.x)
        weight = None if self.weight is None else _as_array(self.weight)
        if weight is not None and len(weight) != len(x):
            rule = f"must be partitioned as x is, got {len(weight)} weights for {len(x)} rows in partition {self.number}"
            raise ValueError(about("sample_weight", rule))
        for begin in range(0, len(x), _ROWS):
            rows = slice(begin, begin + _ROWS)
            values = np.ascontiguousarray(x[rows], dtype=np.float64)
            yield Block(values.reshape(len(values), -1), None if weight is None else weight[rows].astype(np.float64))

    def where(self, row: int) -> str:
        """Name of a row for messages: its number in the partition."""
        return f"row {row} of partition {self.number}"


def by_dask[T](work: Work[T], parts: Sequence[Any], merge: Callable[[list[T]], T]) -> T | None:
    """Process all parts on the workers of the open client, or on threads of this process, and merge the results in a tree.

    All parts form one graph. The work includes the model and is one key of the graph, so each worker receives it once. If a
    worker is lost, only its tasks are repeated.
    """
    import dask

    what = dask.delayed(work, traverse=False, pure=False)
    of_part, of_some = dask.delayed(_of_partition, pure=False), dask.delayed(_merged, pure=False)
    found = [of_part(what, number, *part) for number, part in enumerate(parts)]
    while len(found) > 1:
        found = [of_some(merge, found[begin : begin + _TOGETHER]) for begin in range(0, len(found), _TOGETHER)]
    with _named_failures():
        client = _client()
        if client is None:
            (result,) = dask.compute(found[0], scheduler="threads")
        else:
            result = client.compute(found[0]).result()
    return result


def lazily(scan: Scan, work: Callable[[Observations], NDArray[Any]], width: int | None, dtype: Any) -> Any:
    """A lazy Dask array, (n, width) or (n,), of a function of the rows of a Dask collection."""
    import dask
    import dask.array as da

    empty = np.empty((0,) if width is None else (0, width), dtype)
    what = dask.delayed(_OfRows(scan.reader, work, empty), traverse=False, pure=False)
    lengths = scan.lengths or (np.nan,) * len(scan.parts)
    blocks = [
        da.from_delayed(what(x, number), shape=(length,) if width is None else (length, width), dtype=dtype)
        for number, ((x, _), length) in enumerate(zip(scan.parts, lengths, strict=True))
    ]
    return da.concatenate(blocks, allow_unknown_chunksizes=True)


@dataclass(frozen=True)
class _OfRows:
    reader: Reader
    work: Callable[[Observations], NDArray[Any]]
    empty: NDArray[Any]

    def __call__(self, x: Any, number: int) -> NDArray[Any]:
        return np.concatenate([self.empty, *map(self.work, self.reader.rows_of(_Partition(x, None, number)))])


def _of_partition(work: Any, number: int, x: Any, weight: Any) -> Any:
    return work(number, _Partition(x, weight, number))


def _merged(merge: Any, parts: list[Any]) -> Any:
    some = [part for part in parts if part is not None]
    return merge(some) if some else None


def _client() -> Any:
    """The open client, if distributed is in use; else None."""
    import sys

    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None


@contextmanager
def _named_failures() -> Iterator[None]:
    """Replace Dask's errors about workers and clients by sentences with a remedy."""
    try:
        yield
    except Exception as error:
        name, said = type(error).__name__, " ".join(str(error).split())[:200]
        if name == "KilledWorker":
            remedy = "give workers more memory, or smaller partitions"
            raise RuntimeError(f"Dask's workers died repeatedly at one partition ({said}); {remedy}") from None
        if name in ("CancelledError", "FutureCancelledError", "CommClosedError", "ClosedClientError"):
            remedy = "open a client again, and repeat the call, which resumes EM where it stopped"
            raise RuntimeError(f"Dask's client was closed or lost its cluster ({said or name}); {remedy}") from None
        raise


def _as_array(x: Any) -> NDArray[Any]:
    return np.asarray(x.to_numpy(dtype=float, na_value=np.nan) if hasattr(x, "to_numpy") else x)


def _shape(x: Any) -> tuple[int, Any]:
    """D, and an empty collection of the same kind."""
    if x.ndim not in (1, 2):
        rule = "must have shape (n,) or (n, D)"
        raise ValueError(about("x", f"{rule}, got {x.ndim} dimensions; pass one row for each observation"))
    n_features = 1 if x.ndim == 1 else len(x.columns) if hasattr(x, "columns") else x.shape[1]
    if not n_features or np.isnan(n_features):
        raise ValueError(about("x", "must have a known number of columns, at least one, got none or an unknown number"))
    return int(n_features), x._meta


def _weights(given: Any, x: Any, n_parts: int) -> list[Any]:
    """Partitions of the weights, one for each partition of the rows."""
    if not is_dask(given):
        rule = "must be a Dask array or Series, partitioned as x is, if x is a Dask collection"
        raise TypeError(about("sample_weight", f"{rule}, got {type(given).__name__}; use dask.array.from_array"))
    if given.ndim != 1:
        raise ValueError(about("sample_weight", f"must hold one weight for each observation, got {given.ndim} dimensions"))
    if hasattr(given, "chunks") and hasattr(x, "chunks") and not np.isnan(np.sum(given.chunks[0] + x.chunks[0])):
        if given.shape[0] != x.shape[0]:
            rule = f"must hold one weight for each observation, shape ({x.shape[0]},)"
            raise ValueError(about("sample_weight", f"{rule}, got shape {given.shape}"))
        given = given.rechunk((x.chunks[0],))
    parts = list(np.ravel(given.to_delayed()))
    if len(parts) != n_parts:
        raise ValueError(about("sample_weight", f"must have the {n_parts} partitions of x, got {len(parts)}"))
    return parts


def _known(size: float) -> int | None:
    return None if np.isnan(size) else int(size)


def _is_persisted(x: Any, n_parts: int) -> bool:
    """Whether the graph holds nothing but the partitions themselves."""
    return len(dict(x.__dask_graph__())) <= n_parts
