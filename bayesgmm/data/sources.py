"""Rows in memory, on disk or with Dask: what functions accept as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm.arguments import Missing, Noise, Rounding
from bayesgmm.data.dask_rows import scan_dask
from bayesgmm.data.first_pass import Block
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import read_fit_data
from bayesgmm.data.rounding import is_auto
from bayesgmm.data.scan import Scan, left_off_of
from bayesgmm.data.tables import is_dask, read_numbers
from bayesgmm.words import about

_ROWS = 2**17  # rows in a block
_BLOCKS = 8  # blocks in a part


def read_fit_source(
    x: ArrayLike | Observations | Scan,
    k: Any,
    *,
    missing: Missing = "raise",
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    noise: Noise = False,
    rounding: Rounding = None,
    **others: Any,
) -> tuple[Observations, Observations | Scan, int]:
    """Check data for a fit; return rows in memory, the source of all rows, and k: see :func:`read_fit_data`.

    If rows are read in parts, a sample of them is in memory. If they are few, all of them are.
    """
    scan = scan_of(x, missing=missing, sample_weight=sample_weight)
    if scan is None:
        given: dict[str, Any] = {"missing": missing, "sample_weight": sample_weight, "labels": labels, "noise": noise}
        data, k = read_fit_data(x, k, rounding=rounding, **given, **others)  # type: ignore[arg-type]
        return data, data, k
    if labels is not None:
        raise ValueError(about("labels", "cannot be given for rows that are read in parts; read them into memory"))
    if not scan.has_been_read:  # fit has made and announced a first pass before this
        scan.announce("a first pass, and then those of EM,")
    scan = scan if noise is False else scan.with_noise(noise)
    if scan.is_small:
        data, k = read_fit_data(scan.read(), k, rounding=rounding, **others)
        return data, data, k
    if rounding is not None and not is_auto(rounding):
        raise ValueError(about("rounding", "cannot be given for rows that are read in parts; read them into memory"))
    data, k = read_fit_data(scan.sample, k, **others)
    return data, scan, k


def scan_of(x: Any, *, missing: Missing = "raise", sample_weight: ArrayLike | None = None) -> Scan | None:
    """A scan of rows that are read in parts (a scan, memory map or Dask collection); None for other data."""
    if isinstance(x, Scan):
        if sample_weight is not None:
            raise ValueError(about("sample_weight", "must not be given beside a scan, which has its own; give it there"))
        if missing not in ("raise", x.missing):
            raise ValueError(about("missing", "must not be given beside a scan, which deals with gaps; give it there"))
        return x
    if isinstance(x, np.memmap):
        return scan_memmap(x, missing=missing, sample_weight=sample_weight)
    if is_dask(x):
        return scan_dask(x, missing=missing, sample_weight=sample_weight)
    return None


@dataclass(frozen=True)
class _Slices:
    """Some rows of a memory map, and of their weights."""

    x: NDArray[Any]
    weight: NDArray[Any] | None
    begin: int
    end: int

    def blocks(self) -> Iterator[Block]:
        """The rows as floats, in their order."""
        for begin in range(self.begin, self.end, _ROWS):
            rows = slice(begin, min(begin + _ROWS, self.end))
            values = np.ascontiguousarray(self.x[rows], dtype=np.float64).view(np.ndarray)
            weight = None if self.weight is None else np.asarray(self.weight[rows], dtype=np.float64)
            yield Block(values.reshape(len(values), -1), weight)

    def where(self, row: int) -> str:
        """Name of a row for messages: its number."""
        return f"row {self.begin + row}"


def scan_memmap(x: NDArray[Any], *, missing: Missing, sample_weight: ArrayLike | None = None) -> Scan:
    """A scan of a memory map, which is read in slices."""
    read_numbers(x[:1], "x", copy=False)  # refuses what is not numeric
    if x.ndim not in (1, 2):
        rule = "must have shape (n,) or (n, D)"
        raise ValueError(about("x", f"{rule}, got {x.ndim} dimensions; pass one row for each observation"))
    if not x.size:
        raise ValueError(about("x", "must hold at least one observation, got none"))
    weight = None if sample_weight is None else np.asanyarray(sample_weight)
    if weight is not None and weight.shape != (len(x),):
        rule = f"must hold one weight for each observation, shape ({len(x)},)"
        raise ValueError(about("sample_weight", f"{rule}, got shape {weight.shape}"))
    step = _BLOCKS * _ROWS
    parts = [_Slices(x, weight, begin, min(begin + step, len(x))) for begin in range(0, len(x), step)]
    n_features = 1 if x.ndim == 1 else x.shape[1]
    kept = left_off_of((str(x.filename), x.offset, x.shape, x.dtype.str)) if isinstance(x, np.memmap) else {}
    return Scan(parts, n_features, None, missing, weight is not None, n_stored=len(x), n_bytes=x.nbytes, left_off=kept)
