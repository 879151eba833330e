"""Leave-one-out cross-validation: by PSIS, and by exact refits where PSIS fails."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from arviz_stats.utils import ELPDDataLOO, ELPDDataLOOSubsample
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayesgmm.analysis.convergence import ess_mean
from bayesgmm.analysis.densities import log_density, log_predictive
from bayesgmm.analysis.draws import Draws, draws_of
from bayesgmm.analysis.findings import MAX_K_HAT
from bayesgmm.analysis.impropriety import require_existence
from bayesgmm.analysis.quantities import followed
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import OBS, Whole
from bayesgmm.arguments import FloatArray, read_count, read_seed
from bayesgmm.comparison.bridge import Bridge, bridge, effective_size
from bayesgmm.comparison.joint import EXACT, read_posterior
from bayesgmm.data.observations import Observations
from bayesgmm.engines.compiled_target import CompiledTarget
from bayesgmm.engines.gibbs import GibbsSettings, sample_gibbs, sweeps_between_draws
from bayesgmm.engines.interface import Start
from bayesgmm.engines.phases import Phases
from bayesgmm.engines.starts import can_begin, near
from bayesgmm.posterior import LogPosterior
from bayesgmm.words import Argument, Words

FEWEST_DRAWS = 25  # PSIS smooths a fifth of them, the tail
_NUMBERS = 2**24  # draws x observations in a block, 128 MB
_MOST_EXACT = 20_000  # largest number of observations that are all left out in turn, not only a sample
_SAMPLE = 2_000
_FEW_DRAWS = 400  # draws for the approximation at observations outside the sample
_MOST_REFITS = 30
_FAIR_K = 0.5  # k-hat up to which PSIS is accurate on few observations, too
_CHEAP, _MOST_CHEAP = 1_000, 10  # observations x components x features up to which this many k-hats above 0.5 are refitted
_REFIT_CHAINS, _REFIT_TUNE, _REFIT_DRAWS = 4, 300, 1000
_MOST_SWEEPS = 10  # largest thinning of a refit
_FEW_OPERATIONS = 20_000  # observations x components x features up to which Gibbs refits, else NUTS
_LARGEST_ERROR = 0.3  # standard error of a refit's log predictive density above which it is not used


class NoDensityError(ValueError):
    """Some draws give an observation a density beyond the range of a float."""


@dataclass(kw_only=True, repr=False)
class _WithMcse:
    """Prints the Monte Carlo standard error of elpd under the table."""

    elpd_mcse: float = np.nan

    def _footer(self) -> str:
        elpd: Any = self
        fair = int(((elpd.pareto_k.values > _FAIR_K) & (elpd.pareto_k.values <= elpd.good_k)).sum())
        said = f"\nMonte Carlo standard error of elpd: {self.elpd_mcse:.2g}\n" if self.elpd_mcse >= 0 else "\n"
        if fair:
            said += f"Pareto k is above {_FAIR_K}, but within its limit, at {fair} observation(s) without a refit. "
            said += "If data are few, their estimates may be off.\n"
        return said + str(super()._footer())  # type: ignore[misc]


@dataclass(kw_only=True, repr=False)
class LOO(_WithMcse, ELPDDataLOO):
    """ArviZ's result with the Monte Carlo standard error of elpd, which is NaN if a k-hat is too large."""


@dataclass(kw_only=True, repr=False)
class SampledLOO(_WithMcse, ELPDDataLOOSubsample):
    """ArviZ's result from a sample of the observations, with the Monte Carlo standard error of elpd."""


class _Pointwise(NamedTuple):
    """Results for one count of each observation: elpd, log posterior predictive density, Pareto k-hat, and errors.

    The Monte Carlo error of elpd_i is the mean over draws of S w_s (p_s / exp(elpd_i) - 1), with weights w_s that add to
    one. ``error`` holds each draw's term, summed over all counts of the observations. They share the draws, so their errors
    must be added before they are squared.
    """

    elpd: FloatArray
    lpd: FloatArray
    k_hat: FloatArray
    error: FloatArray


def loo(
    tree: Tree, *, refit: bool = True, sample: int | None = None, random_seed: int | np.random.Generator | None = 0
) -> LOO | SampledLOO:
    r"""Expected log predictive density of an observation that the fit has not seen, summed over the observations.

    .. math::
        \mathrm{elpd} = \sum_i \log \int p(x_i \mid \theta) \, p(\theta \mid x_{-i}) \, d\theta

    by Pareto-smoothed importance sampling. If the Pareto k-hat of an observation shows that this cannot be trusted, the
    posterior without that observation is sampled, under the same prior. The integral is the ratio of the two posteriors'
    normalising constants, and is found by bridge sampling from the draws of both. For an observation of weight c one count
    is left out (or all of it if c is less than one), and the result counts c times. An observation with a label is predicted
    together with its label.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    refit : bool
        Whether to sample again without each observation of a bad k-hat: at most 30 of them, the worst first. If refits cost
        next to nothing (n k D up to 1 000), up to 10 observations with a k-hat above 0.5 are refitted too. Refits need a
        posterior by NUTS, Gibbs or "laplace" under one of the package's own priors.
    sample : int, optional
        Leave out only this many observations, chosen at random, and use them to correct an approximation for all others (the
        difference estimator). Default: all observations if there are at most 20 000, else 2 000.
    random_seed : int, Generator or None
        For the sample and the refits.

    Returns
    -------
    LOO
        An ELPDDataLOO like that of ``az.loo(..., pointwise=True)``, which ``az.compare`` accepts (it does not know of
        weights: see :func:`bayesgmm.compare`). Refitted observations have 0 in ``pareto_k`` and their original value in
        ``influence_pareto_k``. ``elpd_i`` is the contribution of an observation, with all its counts. ``se`` is the standard
        error of elpd as an estimate for new data. ``elpd_mcse`` is its Monte Carlo standard error, NaN if a k-hat is still
        bad. For a sample of the observations: an ELPDDataLOOSubsample, with ``subsampling_se``.

    Raises
    ------
    ValueError, TypeError
        If the tree is incomplete or damaged, or has fewer than 25 draws, or ``sample`` is not a count. Also if equal
        observations make the posterior improper, if draws have collapsed onto them, or if draws give an observation no
        density.

    Notes
    -----
    For rows that are read in passes the tree holds a sample. The approximation for all others is then EM's log-likelihood,
    which is known for all rows; ``subsampling_se`` is the error due to the sample.

    Observations are processed in blocks. The matrix of draws x observations is never in memory as a whole. Tested property:
    equal to leaving out every observation by a refit, within Monte Carlo error.

    References
    ----------
    Vehtari, Gelman & Gabry (2017), Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC,
    Statistics and Computing 27, 1413-1432. doi:10.1007/s11222-016-9696-4

    Meng & Wong (1996), Simulating ratios of normalizing constants via a simple identity, Statistica Sinica 6, 831-860.

    Magnusson, Andersen, Jonasson & Vehtari (2019), Bayesian leave-one-out cross-validation for large data, Proceedings of
    Machine Learning Research 97, 4244-4253.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.loo(tree).warning
    False
    """
    reading = Reading.of(tree)
    tree, draws, x, whole = reading.tree, reading.draws, reading.x, reading.whole
    require_existence(reading, "LOO")
    if len(draws.w) < FEWEST_DRAWS:
        raise ValueError(f"tree must hold at least {FEWEST_DRAWS} draws for LOO, got {len(draws.w)}; keep more draws")
    rng = np.random.default_rng(read_seed(random_seed))
    size = len(x) if len(x) <= _MOST_EXACT else _SAMPLE
    if sample is not None:
        size = min(read_count(sample, "sample"), len(x))
    chosen = np.sort(rng.choice(len(x), size, replace=False)) if size < len(x) else np.arange(len(x))
    counts = reading.observations.counts
    relative = _relative_efficiency(draws, x)
    found = _by_importance(reading, chosen, relative)
    good_k = min(1 - 1 / np.log10(max(len(draws.w), 11)), MAX_K_HAT)
    before, variance = found.k_hat.copy(), 0.0
    if refit and whole is None and tree.attrs.get("method") in EXACT and tree.attrs.get("prior") != "custom model":
        variance = _mend(found, reading, chosen, good_k, relative, rng)
    if not np.isfinite(found.elpd).all():
        at = f"{np.count_nonzero(~np.isfinite(found.elpd))} of {len(found.elpd)} observations"
        got = f"densities beyond it at {at}, because a component has nearly collapsed; fit a smaller k or "
        rule = "LOO needs densities within the range of a float for all observations under all draws"
        raise NoDensityError(Words(f"{rule}, got {got}", Argument("covariance", "tied")))
    trusted = bool((found.k_hat <= good_k).all())
    error = draws.by_chain(found.error)
    variance += float(error.var()) / effective_size(error)
    coords = {OBS: reading.positions}

    def pointwise(values: FloatArray) -> xr.DataArray:
        whole = np.full(len(x), np.nan)
        whole[chosen] = values
        return xr.DataArray(whole, dims=(OBS,), coords=coords)

    elpd_i = counts[chosen] * found.elpd
    shared: dict[str, Any] = {
        "n_samples": len(draws.w),
        "n_data_points": len(x),
        "scale": "log",
        "warning": not trusted,
        "good_k": float(good_k),
        "elpd_mcse": float(np.sqrt(variance)) * len(x) / size if trusted else np.nan,
        "elpd_i": pointwise(elpd_i),
        "pareto_k": pointwise(found.k_hat),
        "influence_pareto_k": pointwise(before),
    }
    if size == len(x):
        result = LOO(
            elpd=float(counts @ found.elpd), se=error_of_sum(found.elpd, counts), p=float(counts @ (found.lpd - found.elpd)),
            **shared,
        )  # fmt: skip
        return result if whole is None else _of_whole(result, reading, whole, counts)
    of_count = log_predictive(draws.thinned(_FEW_DRAWS), reading.observations)
    approximate = counts * of_count
    estimate, subsampling_se, se = xr.DataArray(elpd_i, dims=(OBS,)).azstats.diff_srs_estimator(
        lpd_approx_sample=xr.DataArray(approximate[chosen], dims=(OBS,)),
        lpd_approx_all=xr.DataArray(approximate, dims=(OBS,)),
        n_data_points=len(x),
    )
    sampled = SampledLOO(
        elpd=float(estimate),
        se=float(se) if reading.known.weight is None else error_of_sum(of_count, counts),
        p=float(len(x) * (counts[chosen] * (found.lpd - found.elpd)).mean()),
        subsample_size=size,
        subsampling_se=float(subsampling_se),
        loo_subsample_observations=chosen,
        elpd_loo_approx=xr.DataArray(approximate, dims=(OBS,), coords=coords),
        **shared,
    )
    return sampled if whole is None else _of_whole(sampled, reading, whole, counts)


def _of_whole(found: LOO | SampledLOO, reading: Reading, whole: Whole, counts: FloatArray) -> SampledLOO:
    """LOO of all rows if the tree holds a sample: EM's log-likelihood, corrected by the sample's mean difference."""
    mixture, of_em = reading.em
    approximate = xr.zeros_like(found.elpd_i) + counts * reading.observations.log_density(*mixture.parameters)
    chosen = np.flatnonzero(np.isfinite(found.elpd_i.values))
    factor, some = whole.total / counts.sum(), counts[chosen]
    differences = (found.elpd_i - approximate).values[chosen] / some
    kept = ("n_samples", "scale", "warning", "good_k", "elpd_i", "pareto_k", "influence_pareto_k")
    return SampledLOO(
        elpd=of_em + whole.total * float(np.average(differences, weights=some)),
        se=float(np.sqrt(factor) * found.se),
        p=factor * found.p,
        elpd_mcse=factor * found.elpd_mcse,
        n_data_points=whole.rows,
        subsample_size=len(chosen),
        subsampling_se=whole.total / some.sum() * error_of_sum(differences, some),
        loo_subsample_observations=chosen,
        elpd_loo_approx=approximate,
        **{name: getattr(found, name) for name in kept},
    )


def _mend(
    found: _Pointwise, reading: Reading, chosen: NDArray[np.int64], good_k: float, relative: float, rng: np.random.Generator
) -> float:
    """Replace bad approximations by refits, in place; return the variance of the sum of the refits' results."""
    draws, x, counts = reading.draws, reading.x, reading.observations.counts
    worst, variance = _to_refit(found.k_hat, good_k, draws.n_components * x.size), 0.0
    worst = worst[counts[chosen[worst]] >= 1]
    for at, exact in zip(worst, _left_out(reading, chosen[worst], rng), strict=True):
        if exact is not None:
            found.error[:] -= _by_importance(reading, chosen[[at]], relative).error
            found.elpd[at], found.k_hat[at] = exact.log_ratio, 0.0
            variance += counts[chosen[at]] ** 2 * exact.variance
    return variance


def error_of_sum(values: FloatArray, counts: FloatArray) -> float:
    """Standard error of a sum over observations with these counts."""
    total = counts.sum()
    deviations = values - counts @ values / total
    return float(np.sqrt(total * (counts @ deviations**2) / (total - 1))) if total > 1 else np.nan


def bad_k_hats(elpd: ELPDDataLOO) -> int:
    """Number of observations at which the estimate cannot be trusted."""
    k_hats = elpd.pareto_k.values
    return int((k_hats[~np.isnan(k_hats)] > elpd.good_k).sum())


def refitted(elpd: ELPDDataLOO) -> int:
    """Number of observations that were left out by a refit."""
    return int(((elpd.pareto_k.values == 0) & (elpd.influence_pareto_k.values > 0)).sum())


def _to_refit(k_hat: FloatArray, good_k: float, operations: int) -> NDArray[np.int64]:
    """Places of the observations to leave out by a refit, the worst first."""
    worst = np.argsort(-k_hat, kind="stable")
    bad = int(np.count_nonzero(k_hat > good_k))
    fair = int(np.count_nonzero(k_hat > _FAIR_K)) - bad if operations <= _CHEAP else 0
    return worst[: min(bad + min(fair, _MOST_CHEAP), _MOST_REFITS)]


def _by_importance(reading: Reading, places: NDArray[np.int64], relative: float) -> _Pointwise:
    """PSIS-LOO of some observations, in blocks. One count of each is left out, or all of it if its weight is below one."""
    draws, rows, size, n = reading.draws, reading.observations.of(places), len(reading.draws.w), len(places)
    counts = rows.counts
    left_out = np.minimum(counts, 1.0)[:, None]
    found = _Pointwise(np.empty(n), np.empty(n), np.empty(n), np.zeros(size))
    step = max(1, _NUMBERS // size)
    for begin in range(0, n, step):
        part = slice(begin, begin + step)
        values = np.ascontiguousarray(log_density(draws, rows.of(part)).T)
        log_weights, found.k_hat[part] = _smoothed(left_out[part] * values, relative)
        with np.errstate(invalid="ignore"):  # where a draw gives no density, elpd is -inf or NaN
            found.elpd[part] = logsumexp(log_weights + values, axis=1)
            found.lpd[part] = logsumexp(values, axis=1) - np.log(size)
            shares = np.exp(log_weights + values - found.elpd[part, None]) - np.exp(log_weights)
        found.error[:] += size * counts[part] @ np.where(np.isfinite(found.elpd[part, None]), shares, 0.0)
    return found


def _smoothed(values: FloatArray, relative: float) -> tuple[FloatArray, FloatArray]:
    """Log weights (observations, draws) and Pareto k-hats; raw weights and an infinite k-hat if no tail can be fitted."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", UserWarning)  # a warning of few draws: the k-hats show it
        try:
            log_weights, k_hat = array_stats.psislw(values, r_eff=relative)
        except ValueError:  # a tail of equal values
            if len(values) > 1:
                rows = [_smoothed(row[None], relative) for row in values]
                return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])
            log_weights, k_hat = -values - logsumexp(-values), np.array([np.inf])
    return log_weights, np.where(np.isnan(k_hat), np.inf, k_hat)


def _relative_efficiency(draws: Draws, x: FloatArray) -> float:
    """Effective over actual sample size of log densities, which are label-invariant; at most one."""
    if draws.n_draws < 4:
        return 1.0
    values = log_density(draws, Observations.made(followed(x)))
    moving = np.isfinite(values).all(axis=0) & (values.max(axis=0) > values.min(axis=0))
    values = draws.by_chain(values)[:, :, moving]
    each = ess_mean(np.moveaxis(values, 2, 0))
    return float(min(each.mean() / len(draws.w), 1.0)) if len(each) else 1.0


def _left_out(reading: Reading, places: NDArray[np.int64], rng: np.random.Generator) -> Iterator[Bridge | None]:
    """Log predictive densities of observations given all others, by refits and bridge sampling; None if uncertain."""
    if not len(places):
        return
    own, points, units = reading.ask(read_posterior)
    draws = draws_of(CompiledTarget(own).constrained(points))
    starts = points.reshape(-1, own.n_dim)[np.linspace(0, points[..., 0].size - 1, _REFIT_CHAINS).astype(int)]
    if own.hierarchical:
        starts, _ = own.with_exact_scale(starts, rng)
    for i in places:
        others, left_out = _without(own, i), own.standardised.of([i])
        try:
            without = draws_of(_sampled(others, list(starts), int(rng.integers(2**31))))
            of_all, of_others = (each.by_chain(log_density(each, left_out)[:, 0]) for each in (draws, without))
            found = bridge(of_all, of_others)
        except ValueError:  # a posterior that collapses without this observation
            yield None
            continue
        exact = replace(found, log_ratio=found.log_ratio - units.log_volume(left_out.weighing(None).counts_known))
        yield exact if found.variance <= _LARGEST_ERROR**2 else None


def _without(own: LogPosterior, i: int) -> LogPosterior:
    """The posterior without one count of an observation."""
    rows, counts = own.observations, own.observations.counts.copy()
    counts[i] -= 1
    others = rows if rows.known.weight is None else rows.weighing(counts)
    return replace(own, observations=others.of(counts > 0))


def _sampled(own: LogPosterior, starts: list[FloatArray], seed: int) -> xr.Dataset:
    target, quiet = CompiledTarget(own), Phases(announce=False)
    if own.work * own.k <= _FEW_OPERATIONS:
        thin = min(_MOST_SWEEPS, sweeps_between_draws(own.work * own.k))
        gibbs = GibbsSettings(_REFIT_DRAWS, _REFIT_TUNE, thin, len(starts), seed, progressbar=False)
        sampled = sample_gibbs(target, starts, gibbs, quiet)
    else:
        from bayesgmm.engines.nuts import NutsSettings, sample_nuts

        nuts = NutsSettings(_REFIT_DRAWS, _REFIT_TUNE, len(starts), seed, 0.9, progressbar=False, adaptation="diag")
        rng = np.random.default_rng(seed)
        begun = [Start(point if can_begin(own, point) else near(own, point, rng)) for point in starts]
        sampled = sample_nuts(target, begun, nuts, quiet)
    if sampled.interrupted:
        raise KeyboardInterrupt
    return sampled.posterior
