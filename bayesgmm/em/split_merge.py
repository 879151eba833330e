"""Split-merge moves of EM's solution: merge two components, split another, and run EM again.

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
from bayesgmm.em.result import EMResult, are_one, spurious
from bayesgmm.em.runs import Run, Settings, run_em
from bayesgmm.em.starts import Start
from bayesgmm.families import family_of
from bayesgmm.model.mixture import Mixture
from bayesgmm.model.structures import Structure

_NAME = "split and merged"
_TRIED, _BRIEFLY, _FINISHED = 8, 15, 3  # moves that are tried, passes of each trial, and trials that continue
_MERGED = 3  # pairs of components that are merged and split again
_ROUNDS = 10  # rounds at most, each from a better solution than the one before
_PASSES = 10  # passes of the EM run that splits a component
_OWN = 0.01  # responsibility below which an observation is left out of that run
_APART = 0.8  # standard deviations from the centre at which the halves of a component start
_SMALL = 0.1  # share of a part that starts at the farthest observation
_GAINED = 1e-3  # gain of log-likelihood that makes a solution better
_NARROW = 0.1  # a component is narrow if its smallest sd is below this share of the largest of these sds
_FEW = 5.0  # observations are few below this multiple of those that determine a covariance
_LEAST = 1e-12  # variance of a standardised part
_LARGEST = 300.0  # bound on logarithms of ratios of densities


@np.errstate(under="ignore")
def rearrange(rows: Observations, total: float, settings: Settings, runs: list[Run]) -> list[Run]:
    """Further runs, each from the best solution so far with two components merged and one split.

    Runs that end where others have ended are dropped. So are runs with narrow components on few observations, because the
    likelihood has many such maxima. There are no further runs if labels are given, or after a single run. The rows
    represent ``total`` observations.
    """
    found: list[Run] = []
    if len(runs) == 1 or rows.known.labels is not None:
        return found
    best = max(runs, key=lambda run: (not run.end.collapsed, _is_credible(run, settings, total), run.end.height))
    if best.end.collapsed or best.end.mixture.n_components == 1:
        return found
    brief = replace(settings, max_iter=min(_BRIEFLY, settings.max_iter))
    for _ in range(_ROUNDS):
        begun = [run_em(rows, brief, each) for each in _rearranged(rows, settings, best.end.mixture)]
        begun = sorted((run for run in begun if _is_credible(run, settings, total)), key=lambda run: -run.end.height)
        ended = [run_em(rows, settings, run.where) for run in begun[:_FINISHED]]
        ended = [run for run in ended if _is_credible(run, settings, total)]
        for run in ended:
            if not any(are_one(run.end.mixture, each.end.mixture) and not _is_higher(run, each) for each in runs + found):
                found.append(run)
        higher = max(ended, key=lambda run: run.end.height, default=best)
        if not _is_higher(higher, best):
            break
        best = higher
    return found


@np.errstate(under="ignore")
def divided(em: EMResult) -> list[Mixture]:
    """Starts with one more component, in the data's units: each component of an estimate split, the most promising first."""
    rows, mixture = Observations.made(em.rows, em.known), em.mixture
    structure = Structure(em.covariance, mixture.n_features)
    units = rows.units(one_unit=structure.one_unit)
    settings = Settings(
        classes=np.zeros(mixture.n_components, np.int64), units=units, structure=structure, tol=_GAINED, max_iter=_PASSES,
        variance_floor=_LEAST, noise=False, family=family_of(em.family),
    )  # fmt: skip
    z, mixture = rows.standardised(units), units.standardised_mixture(mixture)
    shares, promising = z.responsibilities(*mixture.parameters), []
    for j, weight in enumerate(mixture.weights):
        again = [*range(mixture.n_components), j]
        nu = None if mixture.nu is None else mixture.nu[again]
        wider = Mixture(np.append(mixture.weights, 0.0), mixture.mu[again], mixture.cov[again], nu=nu)
        for gain, parts in _splits(z, settings, _as_one(structure, mixture, [j]), shares[:, j]):
            first, second = weight * parts.weights
            promising.append((gain, _placed(wider, {j: (first, parts, 0), -1: (second, parts, 1)})))
    promising.sort(key=lambda each: -each[0])
    return [each.rescaled(units.shift, units.scale) for _, each in promising[:_FINISHED]]


def _is_higher(run: Run, other: Run) -> bool:
    return run.end.height > other.end.height + _GAINED


def _is_credible(run: Run, settings: Settings, total: float) -> bool:
    """Whether no component is on the floor, spurious, or narrow with few observations."""
    mixture, covariance = run.end.mixture, settings.structure.covariance
    narrowest = np.sqrt(np.linalg.eigvalsh(mixture.cov)[:, 0])
    held = mixture.weights * total * (1 - (mixture.noise or 0.0))
    narrow = (narrowest < _NARROW * narrowest.max()) & (held < _FEW * settings.structure.determined_by)
    return not (run.end.collapsed or narrow.any() or spurious(mixture, covariance, total))


def _rearranged(rows: Observations, settings: Settings, mixture: Mixture) -> list[Start]:
    """Starts for the moves with the largest gain by the split, less the loss by the merger."""
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
    """Mergers of two components, the least loss first: loss of log-likelihood, the pair, one component with its moments."""
    log_p, found = z.log_density(*mixture.parameters), []
    of_all = 1 - (mixture.noise or 0.0)
    for a, b in combinations(range(mixture.n_components), 2):
        whole, weight = _as_one(structure, mixture, [a, b]), of_all * (mixture.weights[a] + mixture.weights[b])
        part = np.exp(np.minimum(np.log(weight) + z.log_density(*whole.parameters) - log_p, _LARGEST))
        left = np.maximum(1 - shares[:, a] - shares[:, b], 0.0) + part
        found.append((float(-z.counts @ np.log(np.maximum(left, np.exp(-_LARGEST)))), (a, b), whole))
    return sorted(found, key=lambda each: each[0])


def _splits(z: Observations, settings: Settings, whole: Mixture, share: FloatArray) -> Iterator[tuple[float, Mixture]]:
    """Splits of a component: one from halves along its longest axis, one from a small part at its farthest observation.

    Each comes with its gain of log-likelihood, over observations weighted by the component's responsibilities.
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
    """One component with the moments of several, as far as the structure allows."""
    weights = mixture.weights[which] / mixture.weights[which].sum()
    mean = weights @ mixture.mu[which]
    apart = mixture.mu[which] - mean
    cov = np.einsum("j,jab->ab", weights, mixture.cov[which]) + (weights * apart.T) @ apart
    nu = None if mixture.nu is None else [weights @ mixture.nu[which]]
    factors, _ = structure.factors(structure.of_mixture(np.ones(1), cov[None]), 0.0)
    return Mixture([1.0], [mean], structure.matrices(factors), nu=nu)


def _placed(mixture: Mixture, placed: dict[int, tuple[float, Mixture, int]]) -> Mixture:
    """The mixture with some components replaced: by place a weight, another mixture, and one of its components."""
    weights, mu, cov = mixture.weights.copy(), mixture.mu.copy(), mixture.cov.copy()
    nu = None if mixture.nu is None else mixture.nu.copy()
    for place, (weight, of, i) in placed.items():
        weights[place], mu[place], cov[place] = weight, of.mu[i], of.cov[i]
        if nu is not None and of.nu is not None:
            nu[place] = of.nu[i]
    return Mixture(weights / weights.sum(), mu, cov, noise=mixture.noise, nu=nu)
