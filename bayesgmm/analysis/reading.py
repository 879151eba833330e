"""A tree with what has been learnt of it: whoever passes it on asks nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm.analysis.draws import Draws, read_draws
from bayesgmm.analysis.tree import OBS, Whole, permute, read_em, read_known, read_observations, read_tree, read_whole
from bayesgmm.arguments import FloatArray
from bayesgmm.data.known import Known
from bayesgmm.data.observations import Observations
from bayesgmm.model.mixture import Mixture


class Reading:
    """A tree, and the answers to the questions that have been asked about it.

    A question is a function of a reading. Its answer is computed when it is first asked for, and kept as long as the reading
    lives.

    Parameters
    ----------
    tree : DataTree
        It must not change any more.
    known : mapping, optional
        Answers that are known already, by their question.
    """

    def __init__(self, tree: xr.DataTree, known: Mapping[Callable[..., Any], Any] | None = None) -> None:
        self.tree = tree
        self._known = dict(known or {})

    @classmethod
    def of(cls, tree: Tree) -> Reading:
        """A new reading of a tree, or the reading that was passed on."""
        return tree if isinstance(tree, Reading) else cls(read_tree(tree))

    def ask[T](self, question: Callable[..., T], of: Any = None) -> T:
        """The answer to a question, of the reading unless it is one of its tree."""
        if question not in self._known:
            self._known[question] = question(self if of is None else of)
        answer: T = self._known[question]
        return answer

    @property
    def draws(self) -> Draws:
        """The mixture's parameters."""
        return self.ask(read_draws, self.tree)

    @property
    def x(self) -> FloatArray:
        """The data, (n, D)."""
        return self.ask(read_observations, self.tree)

    @property
    def observations(self) -> Observations:
        """The data, and what is known of them."""
        return self.ask(_observations_of)

    @property
    def known(self) -> Known:
        """Weights and labels of the data."""
        return self.ask(read_known, self.tree)

    @property
    def classes(self) -> NDArray[np.int64]:
        """Which clusters labels do not tell apart, (K,)."""
        return self.known.classes(self.draws.n_components)

    @property
    def whole(self) -> Whole | None:
        """How many rows there are, where the data are a sample of them."""
        return self.ask(read_whole, self.tree)

    @property
    def total(self) -> float:
        """The sum of the weights of all rows."""
        return self.observations.total if self.whole is None else self.whole.total

    @property
    def positions(self) -> NDArray[np.int64]:
        """Which observations of those that were given the data are, (n,)."""
        _ = self.x  # which is read and checked first
        return np.asarray(self.tree["observed_data"].to_dataset()["x"][OBS].values)

    @property
    def em(self) -> tuple[Mixture, float]:
        """The EM estimate, and its log-likelihood."""
        return self.ask(read_em, self.tree)

    @property
    def _of_data(self) -> dict[Callable[..., Any], Any]:
        """What is known of data and EM, whatever the draws are."""
        kept = (read_observations, read_known, read_em, read_whole, _observations_of)
        return {question: self._known[question] for question in kept if question in self._known}

    def of_data(self, data: Observations) -> Reading:
        """The same reading, of a tree that holds these data: what has been found of them is not found again."""
        self.observations.take_from(data)
        return self

    def beside(self, tree: xr.DataTree) -> Reading:
        """The same draws, data and answers in a tree with another group beside them."""
        return Reading(tree, self._known)

    def reordered(self, order: NDArray[np.int64]) -> Reading:
        """The tree with the clusters of each draw in another order, (S, K), of which nothing else has been asked."""
        known = {**self._of_data, read_draws: self.draws.reordered(order)}
        return Reading(permute(self.tree, self.draws.by_chain(order)), known)

    def of_others(self, tree: xr.DataTree) -> Reading:
        """The same draws in a tree with other observations."""
        return Reading(tree, {read_draws: self.draws})

    def drawing(self, draws: Draws) -> Reading:
        """The same data with other draws, such as some of them, of which nothing else has been asked."""
        return Reading(self.tree, {**self._of_data, read_draws: draws})

    def knowing[T](self, question: Callable[[Reading], T], answer: T) -> Reading:
        """The reading with an answer that is known from elsewhere."""
        return Reading(self.tree, self._known | {question: answer})


def _observations_of(reading: Reading) -> Observations:
    return Observations.made(reading.x, reading.known)


type Tree = xr.DataTree | Reading
