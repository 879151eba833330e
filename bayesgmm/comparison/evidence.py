"""The marginal likelihood of a mixture, with all its constants, for Bayes factors and p(k | x)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgmm.analysis.contract import attribute
from bayesgmm.analysis.impropriety import require_existence
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.arguments import FloatArray, read_positive, read_seed
from bayesgmm.comparison.bridge import Bridge, bridge
from bayesgmm.comparison.joint import log_joint, points_of, read_posterior
from bayesgmm.comparison.proposal import Proposal
from bayesgmm.posterior import LogPosterior, SummedPosterior

__all__ = ["Evidence", "log_evidence"]

MOST_COMPONENTS = 20  # largest k: the density sums over all relabellings
_LEAST = 40  # draws of a chain, at least: half of them provide kernels
_KERNELS = (50, 300)  # number of kernels: at least, and if they cost little
_POINTS = (250, 1_000)  # draws on either side of the bridge: at least, and if they cost little
_EFFORT_IN_PASSES = 0.25
_TOLD = ("log_evidence", "log_evidence_mcse", "log_evidence_ess", "log_evidence_overlap")
_OPERATIONS = 250_000_000  # operations to spend on the densities of kernels


@dataclass(frozen=True, repr=False)
class Evidence:
    """What :func:`log_evidence` found.

    Attributes
    ----------
    value : float
        Log marginal likelihood, log p(x | k), in the units of the data.
    mcse : float
        Its Monte Carlo standard error.
    ess : float
        Effective sample size of the draws it was computed from.
    overlap : float
        Overlap of the posterior and the proposal: 1 if they are equal, 0 if they have nothing in common.
    """

    value: float
    mcse: float
    ess: float
    overlap: float

    def __repr__(self) -> str:
        quality = f"effective sample size {self.ess:.0f}, overlap {self.overlap:.2f}"
        return f"log evidence {self.value:.3f} +- {self.mcse:.2g} ({quality})"


@np.errstate(under="ignore")
def log_evidence(tree: Tree, *, effort: float = 1.0, random_seed: int | np.random.Generator | None = None) -> Evidence:
    r"""Log marginal likelihood of the data under a mixture of k components, by bridge sampling.

    .. math::
        \log p(x \mid k) = \log \int \prod_i \sum_j w_j N(x_i; \mu_j, \Sigma_j) \, p(w, \mu, \Sigma) \, d(w, \mu, \Sigma)

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit` by NUTS, Gibbs or "laplace", under one of the package's own priors.
    effort : float
        Factor on the amount of work: the number of kernels of the proposal and of draws used.
    random_seed : int, Generator or None

    Returns
    -------
    Evidence
        ``.value`` and ``.mcse``; prints as a sentence.

    Raises
    ------
    TypeError, ValueError
        If the tree is not from fit, if its draws are by ADVI, if its model is your own, if a chain has fewer
        than 40 draws, or if there are more than 20 components. Also if equal observations make the posterior improper, or
        draws have collapsed onto them.

    Notes
    -----
    The proposal is a mixture of full conditional distributions, given allocations drawn at some draws of the posterior. Its
    density is summed over all K! relabellings by permanents (see ``proposal``). The estimate therefore includes all K!
    mirror images of the posterior's modes, however many of them the chains have visited. The cost depends on how many
    occupied clusters overlap: seconds for K = 12, about a minute for K = 20. The chains are divided into halves. One half
    provides the kernels of the proposal, and the other half provides the draws. Then the halves change roles. The two
    estimates are averaged. If they differ by more than their standard errors suggest, half the difference is the standard
    error.

    The estimate is based on where the chains have been. A solution that no chain has found is missing from it. Chains that
    disagree lead to a large standard error.

    For rows that are read in passes (:func:`bayesgmm.scan_parquet`) the fit itself computed the evidence while it could read
    them: by importance sampling or, if NUTS made the draws, by bridge sampling with a quarter of the work. ``effort`` and
    ``random_seed`` then have no effect.

    Tested properties: it agrees with quadrature, and with the sum over all allocations of a few observations; it does not
    depend on labels; multiplying the data by s lowers it by n log s for each feature.

    References
    ----------
    Frühwirth-Schnatter (2004), Estimating marginal likelihoods for mixture and Markov switching models using bridge sampling
    techniques, Econometrics Journal 7, 143-167. doi:10.1111/j.1368-423X.2004.00125.x

    Celeux, Frühwirth-Schnatter & Robert (2019), Model selection for mixture models: perspectives and strategies, in Handbook
    of Mixture Analysis, CRC Press. doi:10.1201/9780429055911

    Examples
    --------
    >>> from bayesgmm import datasets, fit
    >>> tree = fit(datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> found = log_evidence(tree, random_seed=1)
    >>> round(found.value), found.mcse < 0.05
    (-227, True)
    """
    effort, rng = read_positive(effort, "effort"), np.random.default_rng(read_seed(random_seed))
    reading = Reading.of(tree)
    if reading.whole is not None:
        return _as_told(reading)
    own, points, units = reading.ask(read_posterior)
    require_existence(reading, "the evidence")
    log_unit = units.log_volume(own.observations.counts_known) + own.observations.sum_log_widths(units)
    return _bridged(own, points, log_unit, effort, rng)


def told_of_passes(reading: Reading, own: SummedPosterior, seed: int) -> dict[str, float]:
    """The evidence from draws for rows that are read in passes, as attributes of their tree. It takes four more passes."""
    points = reading.draws.by_chain(points_of(own, reading.draws, own.units))
    try:
        log_unit = own.units.log_volume(own.source.counts_known)
        found = _bridged(own, points, log_unit, _EFFORT_IN_PASSES, np.random.default_rng(seed))
    except ValueError:  # too few draws, too many components, or collapsed ones
        return {}
    return dict(zip(_TOLD, (found.value, found.mcse, found.ess, found.overlap), strict=True))


def _bridged(own: LogPosterior, points: FloatArray, log_unit: float, effort: float, rng: np.random.Generator) -> Evidence:
    """The evidence in the data's units, from posterior draws as points (chain, draw, n_dim)."""
    n_draws = points.shape[1]
    if n_draws < _LEAST:
        raise ValueError(f"tree must have at least {_LEAST} draws in each chain, got {n_draws}; fit with more draws")
    if own.k > MOST_COMPONENTS:
        raise ValueError(f"tree must have at most {MOST_COMPONENTS} components, got {own.k}; fit with a smaller k")
    half = n_draws // 2
    one, other = points[:, :half], points[:, half:]
    bridges = [_estimate(own, kernels, draws, effort, rng) for kernels, draws in ((one, other), (other, one))]
    values = np.array([each.log_ratio for each in bridges])
    variance = sum(each.variance for each in bridges) / 4
    return Evidence(
        value=float(values.mean()) - log_unit,
        mcse=max(math.sqrt(variance), float(np.ptp(values)) / 2),
        ess=sum(each.ess for each in bridges),
        overlap=sum(each.overlap for each in bridges) / 2,
    )


def _as_told(reading: Reading) -> Evidence:
    """The evidence that a fit of rows read in passes has recorded in its tree."""
    require_existence(reading, "the evidence")
    if "log_evidence" not in reading.tree.attrs:
        rule = f"{_LEAST} draws in each chain and at most {MOST_COMPONENTS} components, none of them collapsed"
        raise ValueError(
            "tree must hold the evidence, got none; for rows that are read in passes, fit computes it only in an "
            f"uninterrupted run with at least {rule}; fit again, or a smaller k"
        )
    return Evidence(*(float(attribute(reading.tree, name)) for name in _TOLD))


def _estimate(own: LogPosterior, kernels: FloatArray, draws: FloatArray, effort: float, rng: np.random.Generator) -> Bridge:
    """Bridge estimate with kernels at some draws (chain, draw, n_dim) and densities at others."""
    n_kernels, size = _sizes(own, effort)
    flat = kernels.reshape(-1, own.n_dim)
    proposal = Proposal.at(own, flat[_evenly(len(flat), n_kernels)], rng)
    draws = draws[:, _evenly(draws.shape[1], -(-size // len(draws)))]
    seen, drawn = draws.reshape(-1, own.n_dim), proposal.draw(-(-size // len(proposal.counts)), rng)
    both = np.concatenate([seen, drawn])
    of_p, of_q = np.split(log_joint(own, both, rng) - proposal.log_density(both), [len(seen)])
    return bridge(of_p.reshape(draws.shape[:2]), of_q.reshape(len(proposal.counts), -1), stratified=True)


def _sizes(own: LogPosterior, effort: float) -> tuple[int, int]:
    """Numbers of kernels and of draws on either side, as the budget for pairs of them allows, within limits."""
    k, d = own.k, own.n_features
    of_pair = k**2 * (6 + 1.5 * d**2) + k * 2 ** (k - 1)
    most = effort * _OPERATIONS / (4 * of_pair)
    (least_kernels, most_kernels), (least, largest) = np.sqrt(effort) * np.array([_KERNELS, _POINTS])
    n_kernels = np.clip(most / largest, least_kernels, most_kernels)
    return max(3, int(n_kernels)), max(100, int(np.clip(most / n_kernels, least, largest)))


def _evenly(n: int, wanted: int) -> NDArray[np.int64]:
    return np.linspace(0, n - 1, min(wanted, n)).astype(int)
