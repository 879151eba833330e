"""A tree with a cache of what was computed from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm.analysis.draws import Draws, read_draws
from bayesgmm.analysis.tree import OBS, Whole, permute, read_em, read_known, read_observations, read_tree, read_whole
from bayesgmm.arguments import FloatArray
from bayesgmm.data.known import Known, both_classes
from bayesgmm.data.observations import Observations
from bayesgmm.model.fixed import classes_with, fixed_of
from bayesgmm.model.hyperparameters import Hyperparameters
from bayesgmm.model.mixture import Mixture
from bayesgmm.model.priors import prior_of


class Reading:
    """A tree with a cache of answers.

    A question is a function of a reading. :meth:`ask` computes its answer once, and keeps it as long as the reading lives.

    Parameters
    ----------
    tree : DataTree
        Must not be changed afterwards.
    known : mapping, optional
        Answers that are already known, by question.
    """

    def __init__(self, tree: xr.DataTree, known: Mapping[Callable[..., Any], Any] | None = None) -> None:
        self.tree = tree
        self._known = dict(known or {})

    @classmethod
    def of(cls, tree: Tree) -> Reading:
        """A new reading of a tree. A reading is returned as it is."""
        return tree if isinstance(tree, Reading) else cls(read_tree(tree))

    def ask[T](self, question: Callable[..., T], of: Any = None) -> T:
        """The answer to a question about this reading, or about ``of``."""
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
        """The data with weights, labels, errors and intervals."""
        return self.ask(_observations_of)

    @property
    def known(self) -> Known:
        """Weights, labels, errors and intervals of the data, and their log densities as noise."""
        return self.ask(read_known, self.tree)

    @property
    def classes(self) -> NDArray[np.int64]:
        """Class of each cluster, (K,). Neither known labels nor the prior tell clusters of one class apart."""
        return self.ask(_classes_of)

    @property
    def whole(self) -> Whole | None:
        """Number and total weight of all rows, if the tree holds only a sample of them."""
        return self.ask(read_whole, self.tree)

    @property
    def total(self) -> float:
        """The sum of the weights of all rows."""
        return self.observations.total if self.whole is None else self.whole.total

    @property
    def positions(self) -> NDArray[np.int64]:
        """Positions of the data in the user's input, (n,)."""
        _ = self.x  # checks that the group is complete
        return np.asarray(self.tree["observed_data"].to_dataset()["x"][OBS].values)

    @property
    def em(self) -> tuple[Mixture, float]:
        """The EM estimate, and its log-likelihood."""
        return self.ask(read_em, self.tree)

    @property
    def _of_data(self) -> dict[Callable[..., Any], Any]:
        """Answers about data and EM, which do not depend on the draws."""
        kept = (read_observations, read_known, read_em, read_whole, _observations_of)
        return {question: self._known[question] for question in kept if question in self._known}

    def of_data(self, data: Observations) -> Reading:
        """Take over what was computed for these data before the fit, and return this reading."""
        self.observations.take_from(data)
        return self

    def beside(self, tree: xr.DataTree) -> Reading:
        """A reading of this tree with another group added; all answers are kept."""
        return Reading(tree, self._known)

    def reordered(self, order: NDArray[np.int64]) -> Reading:
        """A reading with the clusters of each draw in the order (S, K).

        If any of them move, only answers about data and EM are kept.
        """
        tree = permute(self.tree, self.draws.by_chain(order))
        if tree is self.tree:
            return self
        return Reading(tree, {**self._of_data, read_draws: self.draws.reordered(order)})

    def named(self, tree: xr.DataTree) -> Reading:
        """A reading of this tree with other names of the clusters. Only answers that hold no names are kept."""
        return Reading(tree, {**self._of_data, read_draws: self.draws})

    def of_others(self, tree: xr.DataTree) -> Reading:
        """A reading of a tree with these draws and other observations."""
        return Reading(tree, {read_draws: self.draws})

    def drawing(self, draws: Draws) -> Reading:
        """A reading of the same data with other draws, such as a subset. Only answers about data and EM are kept."""
        return Reading(self.tree, {**self._of_data, read_draws: draws})

    def knowing[T](self, question: Callable[[Reading], T], answer: T) -> Reading:
        """A reading with a further answer, which was computed elsewhere."""
        return Reading(self.tree, self._known | {question: answer})


def _observations_of(reading: Reading) -> Observations:
    return Observations.made(reading.x, reading.known)


def _classes_of(reading: Reading) -> NDArray[np.int64]:
    attrs, k = reading.tree.attrs, reading.draws.n_components
    if attrs.get("ordered"):
        return np.arange(k)
    prior, by_labels = prior_of(attrs.get("prior")), reading.known.classes(k)
    if prior is None:
        return by_labels
    classes = both_classes(by_labels, Hyperparameters.of(prior, attrs.get("covariance", "full")).classes(k))
    return classes_with(fixed_of(attrs.get("fixed")), classes)


type Tree = xr.DataTree | Reading
