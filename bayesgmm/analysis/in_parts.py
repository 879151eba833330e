"""Answers for rows that are read in parts: in memory, lazily by Dask, or written to Parquet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import batched
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm.analysis.contract import cluster_names
from bayesgmm.analysis.predictive import require_features
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import CLUSTER, OBS
from bayesgmm.arguments import FloatArray, read_path, require_memory
from bayesgmm.data.dask_rows import lazily
from bayesgmm.data.observations import Observations
from bayesgmm.data.scan import Scan
from bayesgmm.files import is_of_full_disk, whole_file
from bayesgmm.words import about

Answer = Callable[[Reading, Observations], xr.Dataset]  # the answer for rows in memory


@dataclass(frozen=True)
class OfRows:
    """Columns of means, sds and noise for a block of rows, (m, 2 K) or (m, 2 K + 1); NaN for rows that are left out."""

    tree: xr.DataTree
    answer: Answer
    width: int

    @classmethod
    def of(cls, reading: Reading, scan: Scan, answer: Answer) -> OfRows:
        """Check that a scan has the data's features, and prepare its columns."""
        require_features(reading, scan, "x")
        return cls(reading.tree, answer, 2 * reading.draws.n_components + (reading.draws.noise is not None))

    def __call__(self, rows: Observations) -> FloatArray:
        """The columns for one block."""
        columns = np.empty((0, self.width))
        if len(rows):
            found = self.answer(Reading(self.tree), Observations.made(rows.x, names=rows.names))
            columns = np.column_stack([found[name].to_numpy() for name in ("mean", "sd", "noise") if name in found])
        if rows.kept is None:
            return columns
        result = np.full((len(rows.kept), columns.shape[1]), np.nan)
        result[rows.kept] = columns
        return result


def in_parts(reading: Reading, scan: Scan, answer: Answer) -> xr.Dataset:
    """The answer for all rows of a scan; lazy for a Dask collection."""
    k, work = reading.draws.n_components, OfRows.of(reading, scan, answer)
    width = work.width
    if scan.lazy:
        columns = lazily(scan, work, width, float)
        n = columns.shape[0]
        if np.isnan(n):
            rule = "must have chunks of known length, because the result has the same ones; call compute_chunk_sizes() on it"
            raise ValueError(about("x", f"{rule}, or to_dask_array(lengths=True) on a DataFrame"))
    else:
        remedy = "write them to a file, by write_responsibilities"
        require_memory(16 * (scan.n_stored or 0) * width, f"probabilities of {scan.n_stored} observations", remedy)
        scan.announce("one pass")
        columns = np.concatenate(list(scan.over_blocks(work)))
        n = len(columns)
    parts: dict[str, Any] = {"mean": columns[:, :k], "sd": columns[:, k : 2 * k]}
    found: dict[str, Any] = {name: ((OBS, CLUSTER), part) for name, part in parts.items()}
    if width > 2 * k:
        found["noise"] = ((OBS,), columns[:, 2 * k])
    coords = {OBS: np.arange(n), CLUSTER: reading.tree["posterior"][CLUSTER].to_numpy()}
    return xr.Dataset(found, coords=coords, attrs={"draws": len(reading.draws.w)})


def write_in_parts(reading: Reading, scan: Scan, answer: Answer, path: Any, *, force: bool) -> None:
    """Write the answer for all rows to a Parquet file, a few parts at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = read_path(path, "path")
    if file.exists() and not force:
        raise FileExistsError(f"{file} exists; choose another name, or pass force=True to replace it")
    k, work = reading.draws.n_components, OfRows.of(reading, scan, answer)
    names = cluster_names(reading.tree)
    called = [f"{name}_{j}" for name in ("mean", "sd") for j in names or range(k)] + ["noise"] * (work.width - 2 * k)
    scan.announce("one pass")
    kind = pa.int32() if names is None else pa.string()
    schema = pa.schema([("cluster", kind), *((name, pa.float64()) for name in called)])
    try:
        with whole_file(file, force=force) as part, pq.ParquetWriter(part, schema) as out:
            for columns in _few_at_a_time(scan, work):
                best = pa.array(most_probable_of(columns, k), pa.int32())
                if names is not None:
                    said = np.array([*names, "noise"])[most_probable_of(columns, k)]
                    best = pa.array(said, kind, mask=np.isnan(columns[:, 0]))
                arrays = [best, *map(pa.array, columns.T)]
                out.write_table(pa.table(arrays, schema=schema))
    except OSError as error:
        full = "; free some space, and write it again: no part of it was kept" if is_of_full_disk(error) else ""
        raise OSError(f"{file} cannot be written: {error.strerror or error}{full}") from None


def most_probable_of(columns: FloatArray, k: int) -> NDArray[np.int64]:
    """Most probable cluster of each row, from the columns of :class:`OfRows`; -1 for noise and for rows left out."""
    mean = np.column_stack([columns[:, :k], columns[:, 2 * k :]])
    best = np.nan_to_num(mean, nan=-1.0).argmax(axis=1)
    return np.where((best == k) | np.isnan(columns[:, 0]), -1, best)


def _few_at_a_time(scan: Scan, work: OfRows) -> Iterator[FloatArray]:
    for few in batched(scan.parts, os.cpu_count() or 1):
        yield from scan.of_parts(few).over_blocks(work)
