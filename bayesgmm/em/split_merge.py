"""Another look at EM's solution: two of its components made one, and one made two, where that may lead higher.

References
----------
Ueda, Nakano, Ghahramani & Hinton (2000), SMEM algorithm for mixture models, Neural Computation 12, 2109-2128.
doi:10.1162/089976600300015088
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np

from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Observations
from bayesgmm.em.result import are_one, spurious
from bayesgmm.em.runs import Run, Settings, run_em
from bayesgmm.em.starts import Start
from bayesgmm.model.mixture import Mixture
from bayesgmm.model.structures import Structure

_NAME = "split and merged"
_TRIED, _BRIEFLY, _FINISHED = 8, 15, 3  # rearrangements that begin, for so many passes, and how many of them go on
_MERGED = 3  # pairs of components that are divided anew
_ROUNDS = 10  # of solutions, each better than the one before
_PASSES = 10  # over the observations of a component, to divide it
_OWN = 0.01  # responsibility below which an observation is not looked at for that
_APART = 0.8  # standard deviations from the middle, of the halves of a component
_SMALL = 0.1  # share of a part that begins at the farthest observation
_GAINED = 1e-3  # units of log-likelihood, by which a solution is better
_NARROW = 0.1  # times the standard deviation of another component, below which one is narrow,
_FEW = 5.0  # and of what determines a covariance, below which observations are few for that
_LARGEST = 300.0  # logarithm of a ratio of densities


@np.errstate(under="ignore")
def rearrange(rows: Observations, total: float, settings: Settings, runs: list[Run]) -> list[Run]:
    """Further runs, each from the best solution of several so far with two components merged and one split.

    Those that end where others have ended are not kept, nor those with components that few observations make narrow: the
    likelihood has many such maxima. There are none where labels name components. The rows stand for a ``total`` of
    observations.
    """
    found: list[Run] = []
    if len(runs) == 1 or rows.known.labels is not None:
        return found
    best = max(runs, key=lambda run: (not run.end.collapsed, _is_credible(run, settings, total), run.end.log_likelihood))
    if best.end.collapsed or best.end.mixture.n_components == 1:
        return found
    brief = replace(settings, max_iter=min(_BRIEFLY, settings.max_iter))
    for _ in range(_ROUNDS):
        begun = [run_em(rows, brief, each) for each in _rearranged(rows, settings, best.end.mixture)]
        begun = sorted((run for run in begun if _is_credible(run, settings, total)), key=lambda run: -run.end.log_likelihood)
        ended = [run_em(rows, settings, run.where) for run in begun[:_FINISHED]]
        ended = [run for run in ended if _is_credible(run, settings, total)]
        for run in ended:
            if not any(are_one(run.end.mixture, each.end.mixture) and not _is_higher(run, each) for each in runs + found):
                found.append(run)
        higher = max(ended, key=lambda run: run.end.log_likelihood, default=best)
        if not _is_higher(higher, best):
            break
        best = higher
    return found


def _is_higher(run: Run, other: Run) -> bool:
    return run.end.log_likelihood > other.end.log_likelihood + _GAINED


def _is_credible(run: Run, settings: Settings, total: float) -> bool:
    """Whether no component is on the floor, or hardly determined, or narrow because it holds few observations."""
    mixture, covariance = run.end.mixture, settings.structure.covariance
    narrowest = np.sqrt(np.linalg.eigvalsh(mixture.cov)[:, 0])
    held = mixture.weights * total * (1 - (mixture.noise or 0.0))
    narrow = (narrowest < _NARROW * narrowest.max()) & (held < _FEW * settings.structure.determined_by)
    return not (run.end.collapsed or narrow.any() or spurious(mixture, covariance, total))


def _rearranged(rows: Observations, settings: Settings, mixture: Mixture) -> list[Start]:
    """Where splits promise most beyond what the merger costs."""
    k, weights = mixture.n_components, mixture.weights
    z = rows.standardised(settings.units)
    shares = z.responsibilities(*mixture.parameters)[:, :k]
    mergers = _mergers(z, settings.structure, mixture, shares)
    promising: list[tuple[float, Mixture]] = []
    for j in range(k if k > 2 else 0):
        loss, (a, b), whole = next(each for each in mergers if j not in each[1])
        for gain, parts in _splits(z, settings, _as_one(settings.structure, mixture, [j]), shares[:, j]):
            first, second = weights[j] * parts.weights
            placed = {j: (first, parts, 0), a: (weights[a] + weights[b], whole, 0), b: (second, parts, 1)}
            promising.append((gain - loss, _placed(mixture, placed)))
    for loss, (a, b), whole in mergers[:_MERGED]:
        for gain, parts in _splits(z, settings, whole, shares[:, a] + shares[:, b]):
            first, second = (weights[a] + weights[b]) * parts.weights
            promising.append((gain - loss, _placed(mixture, {a: (first, parts, 0), b: (second, parts, 1)})))
    promising.sort(key=lambda each: -each[0])
    return [Start(_NAME, each) for _, each in promising[:_TRIED]]


def _mergers(
    z: Observations, structure: Structure, mixture: Mixture, shares: FloatArray
) -> list[tuple[float, tuple[int, int], Mixture]]:
    """Log-likelihood lost when two components are one with their moments, which two, and that one; the least loss first."""
    log_p, found = z.log_density(*mixture.parameters), []
    of_all = 1 - (mixture.noise or 0.0)
    for a, b in combinations(range(mixture.n_components), 2):
        whole, weight = _as_one(structure, mixture, [a, b]), of_all * (mixture.weights[a] + mixture.weights[b])
        part = np.exp(np.minimum(np.log(weight) + z.log_density(*whole.parameters) - log_p, _LARGEST))
        left = np.maximum(1 - shares[:, a] - shares[:, b], 0.0) + part
        found.append((float(-z.counts @ np.log(np.maximum(left, np.exp(-_LARGEST)))), (a, b), whole))
    return sorted(found, key=lambda each: each[0])


def _splits(z: Observations, settings: Settings, whole: Mixture, share: FloatArray) -> Iterator[tuple[float, Mixture]]:
    """A component as two: from halves along its longest axis, and from a small part at its farthest observation.

    With each comes what it gains of the log-likelihood of the component's share of the observations.
    """
    own = np.flatnonzero(share > _OWN)
    if len(own) <= 2 * (z.n_features + 1):
        return
    known = replace(z.known, labels=None, noise=None)
    rows = Observations.made(z.x, known).weighing(z.counts * share).of(own)
    local = replace(settings.for_standardised(), classes=np.zeros(2, np.int64), max_iter=_PASSES)
    mean, cov, nu = whole.mu[0], whole.cov[0], None if whole.nu is None else np.repeat(whole.nu, 2)
    sizes, axes = np.linalg.eigh(cov)
    step = _APART * np.sqrt(sizes[-1]) * axes[:, -1]
    halves = Mixture([0.5, 0.5], [mean - step, mean + step], np.stack([cov - np.outer(step, step)] * 2), nu=nu)
    far = rows.filled[(np.linalg.solve(whole.factors[0], (rows.filled - mean).T) ** 2).sum(axis=0).argmax()]
    small = Mixture([1 - _SMALL, _SMALL], [mean, far], np.stack([cov, cov]), nu=nu)
    as_one = rows.log_likelihood(*whole.parameters)
    for start in (halves, small):
        end = run_em(rows, local, Start(_NAME, start)).end
        if not end.collapsed:
            yield end.log_likelihood - as_one, end.mixture


def _as_one(structure: Structure, mixture: Mixture, which: list[int]) -> Mixture:
    """Components as one with their moments, as far as a structure has them."""
    weights = mixture.weights[which] / mixture.weights[which].sum()
    mean = weights @ mixture.mu[which]
    apart = mixture.mu[which] - mean
    cov = np.einsum("j,jab->ab", weights, mixture.cov[which]) + (weights * apart.T) @ apart
    nu = None if mixture.nu is None else [weights @ mixture.nu[which]]
    factors, _ = structure.factors(structure.of_mixture(np.ones(1), cov[None]), 0.0)
    return Mixture([1.0], [mean], structure.matrices(factors), nu=nu)


def _placed(mixture: Mixture, placed: dict[int, tuple[float, Mixture, int]]) -> Mixture:
    """The mixture with components in the places of its own: the weight of each, and which it is of another mixture."""
    weights, mu, cov = mixture.weights.copy(), mixture.mu.copy(), mixture.cov.copy()
    nu = None if mixture.nu is None else mixture.nu.copy()
    for place, (weight, of, i) in placed.items():
        weights[place], mu[place], cov[place] = weight, of.mu[i], of.cov[i]
        if nu is not None and of.nu is not None:
            nu[place] = of.nu[i]
    return Mixture(weights / weights.sum(), mu, cov, noise=mixture.noise, nu=nu)
