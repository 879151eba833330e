"""The first pass over rows that are read in parts: it checks them, and finds their moments and a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bayesgmm.arguments import FloatArray, Missing, spoken
from bayesgmm.data.known import NOTHING, Known
from bayesgmm.data.observations import Observations
from bayesgmm.words import Argument, Words, about

_SEED = 0  # of the sample: the same rows give the same sample


class Block(NamedTuple):
    """Some rows (m, D) as they were read, and their weights (m,), if they have any."""

    x: FloatArray
    weight: FloatArray | None


class Part(Protocol):
    """Some of the rows, read on demand in blocks."""

    def blocks(self) -> Iterator[Block]:
        """The rows, in their order."""

    def where(self, row: int) -> str:
        """Name of a row for messages."""


@dataclass(frozen=True, eq=False)
class Summary:
    """Results of a first pass. Moments and range of a feature are those of its known values.

    Attributes
    ----------
    n : int
        Number of rows that count.
    total : float
        The sum of their weights.
    known, mean, spread, low, high : (D,) array
        Weight and mean of the values, root of the weighted sum of squares about the mean, and range.
    keys, x, weight : (m,), (m, D) and (m,) arrays
        The sample: the rows with the smallest random keys, in the order of the keys, and their weights.
    extreme_x, extreme_weight : (2 D, D) and (2 D,) arrays
        The row with the smallest value of each feature, then the row with the largest of each; and their weights.
    """

    n: int
    total: float
    known: FloatArray
    mean: FloatArray
    spread: FloatArray
    low: FloatArray
    high: FloatArray
    keys: FloatArray
    x: FloatArray
    weight: FloatArray
    extreme_x: FloatArray
    extreme_weight: FloatArray

    @classmethod
    def of(cls, rows: Observations, keys: FloatArray, share: float) -> Summary:
        """Summary of a block.

        Each row has a random key between 0 and 1. Rows with a key up to ``share`` may enter the sample.
        """
        x, weight = rows.x, rows.counts
        least = keys <= share
        present = ~np.isnan(x)
        counted, filled = weight[:, None] * present, np.where(present, x, 0.0)
        known = counted.sum(axis=0)
        mean = (np.divide(counted, known, out=np.zeros_like(counted), where=known > 0) * filled).sum(axis=0)
        unit = abs(filled - mean).max(axis=0)  # its square may exceed the range of a float
        unit[unit == 0] = 1.0
        spread = unit * np.sqrt((counted * ((filled - mean) / unit) ** 2).sum(axis=0))
        low, high = np.where(present, x, np.inf), np.where(present, x, -np.inf)
        at = np.concatenate([low.argmin(axis=0), high.argmax(axis=0)])
        return cls(
            len(x), float(weight.sum()), known, mean, spread, low.min(axis=0), high.max(axis=0), keys[least], x[least],
            np.array(weight[least]), x[at], np.array(weight[at]),
        )  # fmt: skip

    @classmethod
    def of_all(cls, parts: Sequence[Summary], size: int) -> Summary:
        """Summary of several parts together, with a sample of at most ``size`` rows."""
        keys = np.concatenate([each.keys for each in parts])
        least = np.argsort(keys)[:size]
        x, weight = (np.concatenate(each)[least] for each in zip(*((one.x, one.weight) for one in parts), strict=True))
        moments = reduce(cls._plus, parts)
        return replace(moments, keys=keys[least], x=x, weight=weight)

    def _plus(self, other: Summary) -> Summary:
        """Summary of both, but with the sample of the first."""
        known = self.known + other.known
        share = np.divide(other.known, known, out=np.zeros_like(known), where=known > 0)
        apart = other.mean - self.mean
        ours = np.concatenate([self.low <= other.low, self.high >= other.high])
        return replace(
            self,
            n=self.n + other.n,
            total=self.total + other.total,
            known=known,
            mean=self.mean + share * apart,
            spread=np.hypot(np.hypot(self.spread, other.spread), np.sqrt(self.known * share) * apart),
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            extreme_x=np.where(ours[:, None], self.extreme_x, other.extreme_x),
            extreme_weight=np.where(ours, self.extreme_weight, other.extreme_weight),
        )


@dataclass(frozen=True)
class FirstPass:
    """Summarises a part. Invalid values are refused with a message that names the first."""

    missing: Missing
    names: Sequence[Any] | None
    size: int
    share: float  # largest key of a row that may enter the sample

    def __call__(self, number: int, part: Part) -> Summary | None:
        """Summary of a part; None if it has no rows. The number seeds the random keys."""
        rng, begin = np.random.default_rng([_SEED, number]), 0
        found: list[Summary] = []
        for block in part.blocks():
            self._require_sound(part, begin, block)
            begin += len(block.x)
            rows = in_order(block, self.missing)
            if len(rows):
                found.append(Summary.of(rows, rng.random(len(rows)), self.share))
        return Summary.of_all(found, self.size) if found else None

    def _require_sound(self, part: Part, begin: int, block: Block) -> None:
        def refuse(rule: str, wrong: NDArray[np.bool_], got: str, name: Any, *remedy: Any) -> None:
            at = int(np.flatnonzero(wrong)[0])
            raise ValueError(about(name, f"{rule}, got {got} in {part.where(begin + at)}", *remedy))

        x, weight = block
        if weight is not None:
            wrong = ~(np.isfinite(weight) & (weight >= 0))
            if wrong.any():
                refuse("must not be negative, NaN or infinite", wrong, f"{weight[wrong][0]:g}", "weight", "; correct it")
        if self.missing == "drop":
            return
        at_random = self.missing == "at_random"
        if at_random and x.shape[1] > 1 and (nothing := np.isnan(x).all(axis=1)).any():
            refuse("must have a value in every row", nothing, "nothing but NaN", "x", "; leave it out")
        sound = ~np.isinf(x) if at_random else np.isfinite(x)
        if sound.all():
            return
        row, column = (int(each[0]) for each in np.nonzero(~sound))
        called = "" if self.names is None else f" of column {spoken(self.names[column])}"
        drop = Argument("missing", "drop")
        remedy = Words("; clean the data, or pass ", drop, " to leave such observations out")
        refuse("must be finite", ~sound.all(axis=1), f"{x[row, column]:g}{called}", "x", remedy)


def in_order(block: Block, missing: Missing) -> Observations:
    """Rows of a block that have a positive weight and pass the rule for missing values."""
    x, weight = block
    used = np.ones(len(x), dtype=bool) if weight is None else weight > 0
    if missing == "drop":
        used &= np.isfinite(x).all(axis=1)
    elif missing == "at_random":
        used &= ~np.isnan(x).all(axis=1)
    kept = None
    if not used.all():
        kept, x, weight = used, x[used], None if weight is None else weight[used]
    return Observations.made(x, NOTHING if weight is None else Known(weight), kept)
