"""Rows on disk or on workers, read in parts: passes over them, a first summary, and a sample."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial, reduce
from typing import Any, Protocol

import numpy as np

from bayesgmm.arguments import FloatArray, Missing, Noise, read_choice
from bayesgmm.data.first_pass import FirstPass, Part, Summary, in_order
from bayesgmm.data.known import NOTHING, Known
from bayesgmm.data.noise import box_of, uniform
from bayesgmm.data.observations import Observations
from bayesgmm.data.units import Units
from bayesgmm.kernels.estep import ESums
from bayesgmm.kernels.student import Nu
from bayesgmm.words import about

_SAMPLE = 2**20, 2**23  # rows and values in the sample, at most
_SHOWN = 20_000  # rows that represent all others in a tree; up to this number all are read into memory
_LEFT_OFF: dict[Any, dict[Any, Any]] = {}


def left_off_of(rows: Any) -> dict[Any, Any]:
    """States of interrupted EM on these rows. They outlive a scan, because each call makes a new scan."""
    return _LEFT_OFF.setdefault(rows, {})


class Workers(Protocol):
    """The threads or workers that process all parts."""

    def __call__[T](self, work: Work[T], parts: Sequence[Any], merge: Callable[[list[T]], T]) -> T | None:
        """Results of all parts, merged in order; None if no part has a result."""


class Work[T](Protocol):
    """A function of a part and its number, which may be sent to another process."""

    def __call__(self, number: int, part: Part) -> T | None:
        """Result for the part; None if it has no rows."""


def on_threads[T](work: Work[T], parts: Sequence[Any], merge: Callable[[list[T]], T]) -> T | None:
    """Process all parts on threads, one for each core of this machine."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            found = [each for each in pool.map(work, range(len(parts)), parts) if each is not None]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return merge(found) if found else None


@dataclass(frozen=True, eq=False)
class Scan:
    """Rows on disk or on workers, which are read in passes and never held in memory together.

    Made by :func:`bayesgmm.scan_parquet`, or from a memory map or a Dask collection that is passed as data.
    :func:`bayesgmm.fit_em`, :func:`bayesgmm.fit`, :func:`bayesgmm.compare` and :class:`bayesgmm.BayesianGMM` accept it
    instead of an array.

    Attributes
    ----------
    parts : sequence
        The parts that are read one by one: each a :class:`Part`, or what the workers turn into one.
    n_features : int
        D.
    names : tuple, or None
        The columns' names.
    missing : {"raise", "drop", "at_random"}
        What to do with NaN, as in :class:`bayesgmm.Observations`.
    weighted : bool
        Whether the rows have weights.
    n_stored, n_bytes : int or None
        How many rows are stored, used or not, and how many bytes a pass reads; None if not known beforehand.
    lengths : tuple of int, or None
        Number of rows in each part, needed for results of single rows; None if not known.
    noise : bool or float
        Whether rows may be noise, as in :meth:`bayesgmm.Observations.with_noise`.
    workers : Workers
        The threads or Dask workers that read the parts.
    advice : str
        What would make passes faster.
    left_off : dict
        Where EM was interrupted: see :mod:`bayesgmm.em.left_off`.
    """

    parts: Sequence[Any]
    n_features: int
    names: tuple[str, ...] | tuple[int, ...] | None
    missing: Missing = "raise"
    weighted: bool = False
    n_stored: int | None = None
    n_bytes: int | None = None
    lengths: tuple[int, ...] | None = None
    noise: bool | float = False
    workers: Workers = field(default=on_threads, repr=False)
    advice: str = ""
    left_off: dict[Any, Any] = field(default_factory=dict, repr=False)  # by k, covariance, family and noise

    def __post_init__(self) -> None:
        read_choice(self.missing, Missing, "missing")

    def __repr__(self) -> str:
        n = "?" if self.n_stored is None else self.n_stored
        features = f"{self.n_features} feature{'s' if self.n_features > 1 else ''}"
        return f"Scan(n = {n}, {features}{', with weights' if self.weighted else ''})"

    def __len__(self) -> int:
        """The number of rows that count, known from the first pass."""
        return self.summary.n

    @property
    def has_been_read(self) -> bool:
        """Whether the first pass has been made."""
        return "summary" in self.__dict__

    @property
    def pass_words(self) -> str:
        """Rows and bytes that a pass reads, in words."""
        n = self.summary.n if self.has_been_read else self.n_stored
        rows = "an unknown number of rows" if n is None else f"{n} rows"
        return rows if self.n_bytes is None else f"{rows}, {self.n_bytes / 1e9:.2g} GB"

    def announce(self, what: str) -> None:
        """Announce a pass on standard error, for functions that show no progress."""
        print(f"bayesgmm: {what} over {self.pass_words}", file=sys.stderr, flush=True)

    @cached_property
    def summary(self) -> Summary:
        """Results of the first pass."""
        size = self._size
        share = 1.0
        if self.n_stored is not None and self.n_stored > size:
            share = min(1.0, (size + 10 * np.sqrt(size)) / self.n_stored)  # with a margin, so that enough keys are below it
        found = self.workers(FirstPass(self.missing, self.names, size, share), self.parts, partial(_summarised, size))
        if found is None:
            raise ValueError(about("x", "must hold at least one observation, got none"))
        return found

    @property
    def total(self) -> float:
        """n, or the sum of the weights."""
        return self.summary.total

    @property
    def counts_known(self) -> FloatArray:
        """Weighted number of known values of each feature, (D,)."""
        return np.full(self.n_features, self.total) if self.n_features == 1 else self.summary.known

    def units(self, *, one_unit: bool) -> Units:
        """Units in which all rows are standardised."""
        return Units.with_moments(self.summary.mean, self.summary.spread / np.sqrt(self.summary.known), one_unit=one_unit)

    @cached_property
    def sample(self) -> Observations:
        """Up to a million rows chosen at random, followed by the rows with the extremes of each feature."""
        return self._chosen(len(self.summary.x))

    @cached_property
    def shown(self) -> Observations:
        """Twenty thousand rows that represent all rows in a tree: random ones, then the extremes of each feature."""
        return self._chosen(max(1, _SHOWN - len(self.summary.extreme_x)))

    @property
    def is_small(self) -> bool:
        """Whether all rows are few enough to be read into memory."""
        return self.summary.n <= _SHOWN

    def read(self) -> Observations:
        """Read all rows into memory."""
        blocks = list(self.over_blocks(_as_it_is))
        weight = np.concatenate([rows.counts for rows in blocks]) if self.weighted else None
        x = np.concatenate([rows.x for rows in blocks])
        return Observations.made(x, Known(weight), None, self.names, self.missing).with_noise(self.noise)

    def with_noise(self, noise: Noise) -> Scan:
        """A scan of these rows, each of which may be noise."""
        if np.ndim(noise):
            rule = "must be True, False or one log density for rows that are read in parts, got an array"
            raise ValueError(about("noise", f"{rule}; read them into memory, or give one number"))
        return self._but(noise=noise if isinstance(noise, bool) else float(np.asarray(noise)))

    def sums(
        self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None, *, units: Units | None = None
    ) -> ESums:
        """Expected sufficient statistics under a mixture, or under S mixtures, in one pass."""
        work = _Summing(self.reader, weights, means, factors, nu, units)
        found = self.workers(work, self.parts, _sum_of)
        assert found is not None  # the first pass has seen rows
        return found

    def over_blocks[T](self, work: Callable[[Observations], T]) -> Iterator[T]:
        """Results of a function of each block of rows, in one pass."""
        yield from self.workers(_OfBlocks(self.reader, work), self.parts, _chained) or ()

    def of_parts(self, parts: Sequence[Any]) -> Scan:
        """A scan of some of the parts."""
        return self._but(parts=parts)

    def _but(self, **other: Any) -> Scan:
        """A copy with other attributes, and with the summary of the first pass."""
        result = replace(self, **other)
        if self.has_been_read:
            result.__dict__["summary"] = self.summary
        return result

    @property
    def lazy(self) -> bool:
        """Whether results for single rows are computed lazily."""
        return self.workers is not on_threads

    @property
    def reader(self) -> Reader:
        """How to read a part. It is sent to every worker, so it holds nothing large."""
        if self.noise is True:
            return Reader(self.missing, box_of(self._chosen(_SHOWN, noise=False)))
        return Reader(self.missing, None if self.noise is False else self.noise)

    @property
    def _size(self) -> int:
        return min(_SAMPLE[0], _SAMPLE[1] // self.n_features)

    def _chosen(self, size: int, *, noise: bool = True) -> Observations:
        summary = self.summary
        x = np.concatenate([summary.x[:size], summary.extreme_x])
        weight = np.concatenate([summary.weight[:size], summary.extreme_weight])
        known = Known(weight) if self.weighted else NOTHING
        return Observations.made(x, known, None, self.names, self.missing).with_noise(self.noise if noise else False)


@dataclass(frozen=True)
class Reader:
    """How to read a part: the rule for NaN, and the box on which noise is uniform, or its log density."""

    missing: Missing
    noise: tuple[FloatArray, FloatArray] | float | None

    def rows_of(self, part: Part) -> Iterator[Observations]:
        """The rows of a part that count, in blocks. A block may be empty."""
        for block in part.blocks():
            rows = in_order(block, self.missing)
            if self.noise is None:
                yield rows
            else:
                of_noise = uniform(rows, self.noise) if isinstance(self.noise, tuple) else np.full(len(rows), self.noise)
                yield Observations.made(rows.x, replace(rows.known, noise=of_noise), rows.kept)


@dataclass(frozen=True)
class _Summing:
    """Computes the expected sufficient statistics of a part; None if it has no rows."""

    reader: Reader
    weights: FloatArray
    means: FloatArray
    factors: FloatArray
    nu: Nu
    units: Units | None

    def __call__(self, number: int, part: Part) -> ESums | None:
        found: ESums | None = None
        for rows in self.reader.rows_of(part):
            sums = rows.sums(self.weights, self.means, self.factors, self.nu, units=self.units)
            found = sums if found is None else found.plus(sums)
        return found


@dataclass(frozen=True)
class _OfBlocks[T]:
    """Computes the results of a function of each block of a part."""

    reader: Reader
    work: Callable[[Observations], T]

    def __call__(self, number: int, part: Part) -> list[T] | None:
        return [self.work(rows) for rows in self.reader.rows_of(part)]


def _summarised(size: int, parts: list[Summary]) -> Summary:
    return Summary.of_all(parts, size)


def _sum_of(parts: list[ESums]) -> ESums:
    return reduce(ESums.plus, parts)


def _chained[T](parts: list[list[T]]) -> list[T]:
    return [each for part in parts for each in part]


def _as_it_is(rows: Observations) -> Observations:
    return rows
