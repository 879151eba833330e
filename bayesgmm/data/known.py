"""What is known of observations beside their values: how often each counts, and to which component it belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgmm.arguments import FloatArray


@dataclass(frozen=True, eq=False)
class Known:
    """Frequency weights and labels of n observations.

    Attributes
    ----------
    weight : (n,) array, or None
        Positive; an observation of weight c counts as c observations.
    labels : (n,) array of int, or (n, K) array, or None
        Each observation's component, -1 where it is unknown; or probabilities of the components, of which only ratios
        within an observation matter.
    """

    weight: FloatArray | None = None
    labels: NDArray[Any] | None = None

    def of(self, rows: Any) -> Known:
        """What is known of some of the observations."""
        return Known(*(None if each is None else each[rows] for each in (self.weight, self.labels)))

    def equals(self, other: Known) -> bool:
        """Whether the same is known."""
        pairs = (self.weight, other.weight), (self.labels, other.labels)
        return all(one is other if one is None or other is None else np.array_equal(one, other) for one, other in pairs)

    def total(self, n: int) -> float:
        """The number of observations, each counted as often as it counts."""
        return float(n if self.weight is None else self.weight.sum())

    def counts(self, n: int) -> FloatArray:
        """How often each observation counts, (n,)."""
        return np.ones(n) if self.weight is None else self.weight

    def log_labels(self, k: int) -> FloatArray | None:
        """Logarithms (K, n) of what labels say of K components: 0 where they say nothing, -inf where they forbid."""
        if self.labels is None:
            return None
        if self.labels.ndim == 2:
            possible = self.labels.T / self.labels.max(axis=1)
        else:
            possible = ((self.labels == np.arange(k)[:, None]) | (self.labels < 0)).astype(float)
        with np.errstate(divide="ignore"):
            return np.ascontiguousarray(np.log(possible))

    def classes(self, k: int) -> NDArray[np.int64]:
        """For each component the first of those that labels do not tell it from, (K,): these are exchangeable."""
        log_labels = self.log_labels(k)
        if log_labels is None:
            return np.zeros(k, dtype=np.int64)
        alike = [[np.array_equal(one, other) for other in log_labels] for one in log_labels]
        return np.argmax(alike, axis=1)


NOTHING = Known()


def sorting(classes: NDArray[np.int64], *keys: FloatArray) -> NDArray[np.int64]:
    """The order of components (..., K) in which those of a class stand in the places of that class, sorted by the keys.

    Keys are as in ``np.lexsort``, the last one first.
    """
    by_keys = np.lexsort((*keys, np.broadcast_to(classes, keys[0].shape)), axis=-1)
    order = np.empty_like(by_keys)
    order[..., np.argsort(classes, kind="stable")] = by_keys
    return order
