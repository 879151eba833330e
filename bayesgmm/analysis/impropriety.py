r"""Whether the posterior is proper: hierarchical priors let components shrink onto equal observations without limit.

Let C0 shrink by a factor eps along one direction u of the feature space. The integrated likelihood then has these factors:

* eps^(-(m - 1)/2) for a component that shrinks onto m observations with equal u'x;
* eps^c0 for a component that does not shrink, and 1 for an empty one;
* eps^g0 for the prior of C0.

For Gaussian components, the posterior is therefore improper if some allocation of the observations satisfies

.. math::
    \sum_j (m_j - 1) / 2 \ge g_0 + B c_0.

The sum is over the components that shrink, and B is the number of those that do not. For a given direction the condition is
also necessary. One component that does not shrink can hold all other observations. None is needed, B = 0, if u'x has no more
distinct values than there are components. None is needed either if something else holds the other observations. Noise does
so at no cost. The tail of a shrunk t distribution does so for a factor eps^((nu + D - 1) / 2) per observation, where nu is
at its lower bound.

For one feature, and for each feature of diagonal covariances, u is that feature. Spherical covariances shrink in all D
features at once, onto equal rows: each m_j - 1 counts D times, and an observation in a tail costs eps^(nu / 2). A full
covariance can shrink along any direction. A tied one shrinks only if all components do.
Fixed scales (:class:`bayesgmm.priors.ConjugatePrior`) make every posterior proper.

The condition is derived here and tested against quadrature (tests/test_impropriety.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import features_of
from bayesgmm.arguments import TRAITS, Covariance, FamilyName, FloatArray, named
from bayesgmm.data.known import Known
from bayesgmm.data.observations import Observations
from bayesgmm.data.rounding import as_detected, is_auto
from bayesgmm.data.ties import Ties, directions
from bayesgmm.exceptions import DataWarning, ImproperPosteriorWarning, warn
from bayesgmm.families import family_of
from bayesgmm.model.priors import HierarchicalPrior, Prior, prior_of, scaled_to_range
from bayesgmm.model.strays import Strays, strays
from bayesgmm.words import Argument, Either, Sentence, Words, joined

_JITTER, _TIED = Either("bayesgmm.jitter(x)", "--jitter"), Argument("covariance", "tied")
COLLAPSE_REMEDY = Words("jitter rounded data: ", _JITTER, ", or use ", _TIED, " or a smaller k")
_SHRUNK = 1e-3  # largest ratio of a collapsed component's standard deviation to the gap around the value it sits on
_ROUNDING = 1e-12  # tolerance for a component's centre, relative to the largest value
_NAMED = 3  # groups of equal observations that a message lists


@dataclass(frozen=True)
class Impropriety(Sentence):
    """Ties onto which components can shrink without limit."""

    ties: Ties  # along the direction in which they shrink
    groups: NDArray[np.int64]  # indices of the tied values onto which components shrink
    covariance: Covariance
    tied_is_proper: bool  # whether covariance="tied" would have a proper posterior

    @property
    def problem(self) -> str:
        """The problem, in words."""
        ties, named = self.ties, self.groups[:_NAMED]  # the largest
        if ties.of_rows:
            parts = [f"{ties.counts[at]:g} rows are equal" for at in named]
        else:
            parts = [f"{ties.counts[at]:g} observations have {ties.name} = {ties.values[at]:g}" for at in named]
        more = len(self.groups) - len(parts)
        equal = ", ".join(parts) + (f", and so on for {more} more values" if more > 0 else "")
        return (
            f"the posterior is improper: {equal}, and components can shrink onto equal observations without limit, "
            "so that evidence, LOO and p(k | x) do not exist; draws in which no component has shrunk describe the rest of "
            "the posterior"
        )

    @property
    def remedy(self) -> Words:
        """The remedy, in words."""
        tied = Words(", or use ", _TIED) if self.tied_is_proper else ""
        if len(self.groups) == len(self.ties.values):
            tied += f", or let k be below {len(self.groups)}, the number of distinct values"
        if self.ties.of_rows:
            return Words("leave repeated rows out, or jitter rounded ones: ", _JITTER, tied)
        if self.ties.weighted:
            what = "a weight c counts as c equal observations: divide weights that are no counts by their mean, or fix the "
            prior = Either("prior's scale, prior=ConjugatePrior()", "prior's scale, --prior conjugate")
            return Words(what, prior, tied)
        if self.ties.resolution is None:
            ends = Either("Observations(lower=, upper=)", "--lower, --upper")
            rounded_before = Words("if values were rounded before a transformation, give the limits of each (", ends, "); ")
            return Words(rounded_before, "else leave these observations out and describe them separately", tied)
        rounded = f"the values of {self.ties.name} look rounded to {self.ties.resolution:g}; jitter them: "
        return Words(rounded, _JITTER, tied)


@dataclass(frozen=True, eq=False)
class OfData:
    """What the data imply for the posterior of k components: ties, impropriety, strays."""

    ties: tuple[Ties, ...]  # directions along which some observations are equal
    improper: Impropriety | None  # None if the posterior is proper or the prior unknown
    strays: tuple[Strays, ...]  # outlying observations that determine the prior's scale


def look_at(
    data: Observations, ks: Sequence[int], prior: Prior, covariance: Covariance, family: FamilyName = "gaussian"
) -> dict[int, OfData]:
    """Ties, impropriety and strays for each k, with the data as they were read."""
    positions = None if data.kept is None else data.positions
    return _look_at(data.x, data.known, data.called, positions, ks, prior, covariance, family)


def settled(
    data: Observations,
    ks: Sequence[int],
    prior: Prior,
    covariance: Covariance,
    family: FamilyName = "gaussian",
    rounding: Any = None,
) -> tuple[Observations, dict[int, OfData]]:
    """The data, and their :class:`OfData` for each k.

    If exact values would make the posterior of some k improper, ``rounding="auto"`` treats them as rounded and warns.
    """
    found = look_at(data, ks, prior, covariance, family)
    improper = [k for k, each in found.items() if each.improper is not None]
    if not improper or not is_auto(rounding) or family_of(family).exact_alone:
        return data, found
    result = as_detected(data, covariance)
    if result is data or result.steps is None:
        return data, found
    steps = zip(data.called, result.steps, strict=True)
    features = [f"{named(name)} ({step:g})" for name, step in steps if step]
    of, looks = ", ".join(map(str, improper)), "look" if len(features) > 1 else "looks"
    why = f" {looks} rounded, and values taken as exact would make the posterior of k = {of} improper; "
    stands = "each value is treated as an interval around it, of the width in brackets ("
    if result.known.lower is None:
        stands = "rounding is treated as a measurement error of the width in brackets ("
    warn(Words(joined(features, ", "), why, stands, Argument("rounding", "auto"), ")"), DataWarning)
    return result, look_at(result, ks, prior, covariance, family)


def forewarn(found: dict[int, OfData]) -> dict[int, OfData]:
    """Warn of ties that make the posterior of some k improper, and of strays that determine the prior's scale."""
    improper = {k: each.improper for k, each in found.items() if each.improper is not None}
    if improper:
        of = f"k = {', '.join(map(str, improper))}: " if len(found) > 1 else ""
        last = improper[max(improper)]
        warn(Words(of, last.sentence), ImproperPosteriorWarning)
    warn_of_strays(found[min(found)])
    return found


def warn_of_strays(found: OfData) -> list[str]:
    """Warn of strays that determine the prior's scale, and return the warnings' texts."""
    for each in found.strays:
        warn(each.sentence, DataWarning)
    return [each.sentence for each in found.strays]


def of_data(reading: Reading) -> OfData:
    """The :class:`OfData` of a tree."""
    tree, k, covariance = reading.tree, reading.draws.n_components, reading.tree.attrs.get("covariance", "full")
    prior = prior_of(tree.attrs.get("prior"))
    of_family = covariance, reading.draws.family
    return _look_at(reading.x, reading.known, features_of(tree), reading.positions, [k], prior, *of_family)[k]


def _look_at(
    x: FloatArray,
    known: Known,
    names: Sequence[Any],
    positions: NDArray[np.int64] | None,
    ks: Sequence[int],
    prior: Prior | None,
    covariance: Covariance,
    family: FamilyName,
) -> dict[int, OfData]:
    exact = Observations.made(x, known).exact  # a component cannot shrink without limit onto values with errors
    along = tuple(each for each in directions(exact, names, covariance, known.weight) if each.any)
    if prior is None:
        return {k: OfData(along, None, ()) for k in ks}
    found = strays(x, names, positions, known.weight) if scaled_to_range(prior, x, covariance) else ()
    outside = tuple(replace(each, may_be_noise=known.noise is not None) for each in found)
    told: dict[str, Any] = {"weight": known.weight, "noise": known.noise is not None, "family": family}
    return {k: OfData(along, _found(along, x, exact, k, prior, covariance, **told), outside) for k in ks}


def impropriety(
    x: FloatArray,
    names: Sequence[Any],
    k: int,
    prior: Prior,
    covariance: Covariance,
    *,
    weight: FloatArray | None = None,
    noise: bool = False,
    family: FamilyName = "gaussian",
) -> Impropriety | None:
    """Why the posterior of k components under a prior scaled to the data is improper; None if it is proper.

    With full covariances of D >= 2 features, ties may lie along any direction. Only those of
    :func:`bayesgmm.data.ties.directions` are checked.
    """
    along = directions(x, names, covariance, weight)
    return _found(along, x, x, k, prior, covariance, weight=weight, noise=noise, family=family)


def _found(
    along: Iterable[Ties],
    x: FloatArray,
    exact: FloatArray,
    k: int,
    prior: Prior,
    covariance: Covariance,
    *,
    weight: FloatArray | None,
    noise: bool,
    family: FamilyName,
) -> Impropriety | None:
    if not isinstance(prior, HierarchicalPrior):
        return None
    assert prior.c0 is not None
    assert prior.g0 is not None
    for ties in along:
        groups = _shrinking(
            ties, k, float(np.min(prior.c0)), prior.g0, covariance, _cost_of_rest(ties, x.shape[1], noise, family)
        )
        if len(groups):
            tied = None if TRAITS[covariance].shared else HierarchicalPrior().scaled_to(x, "tied", noise=noise)
            told: dict[str, Any] = {"weight": weight, "noise": noise, "family": family}
            by_tied = tied is not None and impropriety(exact, range(x.shape[1]), k, tied, "tied", **told) is None
            return Impropriety(ties, groups, covariance, tied_is_proper=by_tied)
    return None


def _cost_of_rest(ties: Ties, n_features: int, noise: bool, family: FamilyName) -> float:
    """Power of eps for each observation away from the ties, when all components have shrunk onto ties."""
    if noise:
        return 0.0
    return family_of(family).cost_of_rest(0 if ties.of_rows else n_features - 1)


def _shrinking(ties: Ties, k: int, c0: float, g0: float, covariance: Covariance, cost_of_rest: float) -> NDArray[np.int64]:
    """The tied values onto which components shrink without limit along one direction; empty if they do not."""
    gains = (ties.values.shape[1] if ties.of_rows else 1) * (ties.counts - 1) / 2
    some, all_of_them = ties.largest(k - 1), ties.largest(k)
    if not TRAITS[covariance].shared and gains[some].sum() >= c0 + g0:
        return _fewest(some, gains, c0 + g0)
    rest = float(ties.counts.sum() - ties.counts[all_of_them].sum())
    loss = cost_of_rest * rest if rest > 0 else 0.0
    if gains[all_of_them].sum() - loss >= g0:
        return _fewest(all_of_them, gains, g0) if cost_of_rest == 0 else all_of_them
    return some[:0]


def _fewest(groups: NDArray[np.int64], gains: FloatArray, needed: float) -> NDArray[np.int64]:
    """The fewest first groups with a total gain of at least ``needed``."""
    return groups[: int((np.cumsum(gains[groups]) >= needed).argmax()) + 1]


@dataclass(frozen=True)
class Existence:
    """Whether a posterior is proper, and how many of its draws have collapsed.

    A draw has collapsed if a component sits on equal observations along some direction: its centre is at their value, and
    its standard deviation is below a thousandth of the gap around them.
    """

    improper: Impropriety | None  # None if the posterior is proper, or the tree does not record its prior
    collapsed: float  # share of the draws

    @property
    def collapse(self) -> str:
        """The collapse, in words."""
        return (
            f"in {self.collapsed:.0%} of the draws a component has shrunk onto equal observations (its standard deviation "
            f"is below {_SHRUNK:g} of the gap around them): these draws describe ties, not clusters"
        )

    @property
    def refusal(self) -> Words | None:
        """Why evidence, LOO and p(k | x) do not exist; None if they do."""
        if self.improper is not None:
            return self.improper.sentence
        return Words(self.collapse, "; ", COLLAPSE_REMEDY) if self.collapsed > 0 else None


def existence(tree: Tree) -> Existence:
    """The :class:`Existence` of a tree, from its prior, data and draws."""
    reading = Reading.of(tree)
    return existence_of(reading.draws, reading.ask(of_data))


def existence_of(draws: Draws, data: OfData) -> Existence:
    """The :class:`Existence` of a posterior, from its draws and the :class:`OfData` of its data."""
    shrunk = np.zeros(len(draws.w), dtype=bool)
    for ties in data.ties:
        shrunk |= _shrunk(draws, ties)
    return Existence(data.improper, float(shrunk.mean()))


def require_existence(reading: Reading, what: str) -> None:
    """Raise an error if the posterior is improper or has collapsed; ``what`` names the quantity that does not exist."""
    reason = reading.ask(existence).refusal
    if reason:
        raise ValueError(Words(f"{what} cannot be computed: ", reason))


def _shrunk(draws: Draws, ties: Ties) -> NDArray[np.bool_]:
    """Whether each draw has a component that has collapsed onto a tie, (S,)."""
    values = ties.values
    if ties.of_rows:
        rows = KDTree(values)
        sd, gaps = draws.factors[..., 0, 0], rows.query(values, k=2)[0][:, 1]
        distance, nearest = rows.query(draws.mu)
    else:
        centre, sd = draws.mu @ ties.along, np.sqrt(((ties.along @ draws.factors) ** 2).sum(axis=-1))
        steps = np.concatenate([[np.inf], np.diff(values), [np.inf]])
        gaps = np.minimum(steps[:-1], steps[1:])
        right = np.clip(np.searchsorted(values, centre), 1, len(values) - 1)
        nearest = np.where(centre - values[right - 1] < values[right] - centre, right - 1, right)
        distance = abs(centre - values[nearest])
    near = distance <= np.maximum(6 * np.sqrt(draws.n_features) * sd, _ROUNDING * abs(values).max())
    return np.asarray(((sd <= _SHRUNK * gaps[nearest]) & near & (ties.counts[nearest] > 1)).any(axis=1))
