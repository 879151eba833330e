"""EM: the point estimate that is the baseline of every posterior."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm.arguments import (
    Covariance,
    FamilyName,
    FloatArray,
    Missing,
    Noise,
    read_count,
    read_positive,
    read_seed,
    require_memory,
)
from bayesgmm.data.by_cores import by_cores
from bayesgmm.data.observations import Observations, Source
from bayesgmm.data.reading import count_distinct, warn_of_unlike_scales
from bayesgmm.data.scan import Scan
from bayesgmm.data.sources import read_fit_source
from bayesgmm.em import starts as em_starts
from bayesgmm.em.left_off import left_off
from bayesgmm.em.penalty import Penalty
from bayesgmm.em.result import EMResult, are_one, order_within, sorted_within
from bayesgmm.em.runs import Run, Settings, run_em
from bayesgmm.em.split_merge import rearrange
from bayesgmm.em.starts import Start
from bayesgmm.exceptions import PACKAGE, CollapsedComponentWarning, ConvergenceWarning
from bayesgmm.families import GAUSSIAN, family_of
from bayesgmm.kernels.rows import EXACT
from bayesgmm.model.fixed import Fixed, classes_with, read_fixed
from bayesgmm.model.mixture import Mixture
from bayesgmm.model.priors import Prior, read_prior
from bayesgmm.model.structures import Structure
from bayesgmm.words import Argument, Words, about

_ENOUGH_TO_START = 2**14  # observations that the starts of EM are chosen from
_OF_START = 3_000  # bytes, at least, for a start and its result
_ON_SAMPLE = 1e-4  # tolerance of log-likelihood for runs on the sample
_HOPELESS = 100.0  # log-likelihood below the best, on the sample, at which a run does not continue


def fit_em(
    x: ArrayLike | Observations | Scan,
    k: int,
    *,
    covariance: Covariance = "full",
    n_init: int = 10,
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    random_seed: int | np.random.Generator | None = None,
    start: Mixture | Sequence[Mixture] | None = None,
    tol: float = 1e-6,
    max_iter: int = 5_000,
    variance_floor: float = 1e-12,
    missing: Missing = "raise",
    noise: Noise = False,
    family: FamilyName = "gaussian",
    fixed: Mapping[str, ArrayLike] | None = None,
    prior: Prior | None = None,
) -> EMResult:
    r"""Maximise the likelihood of a Gaussian mixture, or its posterior density, by expectation-maximisation.

    .. math::
        r_{ik} = \frac{w_k N(x_i; \mu_k, \Sigma_k)}{\sum_j w_j N(x_i; \mu_j, \Sigma_j)}, \quad
        w_k = \frac{N_k}{n}, \quad \mu_k = \frac{\sum_i r_{ik} x_i}{N_k}, \quad
        \Sigma_k = \frac{\sum_i r_{ik} (x_i - \mu_k)(x_i - \mu_k)'}{N_k}, \quad N_k = \sum_i r_{ik}

    Parameters
    ----------
    x : (n,) or (n, D) array-like, or Observations
    k : int
        Number of components.
    covariance : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}
        A covariance matrix for each component; one for all components; independent features; or one variance for all
        features of a component. "tied_diag" and "tied_spherical" are like "diag" and "spherical", with the same variances
        for all components. For one feature "full", "diag" and "spherical" are the same, a variance for each component, and
        so are those that begin with "tied", one variance for all.
        scikit-learn and :class:`bayesgmm.BayesianGMM` call it ``covariance_type``.
    n_init : int
        Number of starts: k-means++ and random ones in turn. Unless labels are given or there is only one start, the best
        result is then improved by merging two components and splitting another (Ueda et al. 2000). This is repeated as long
        as the likelihood rises; a move to components that sit on few observations does not count. The best run that did not
        collapse is kept. For more than 16 384 observations without labels all this happens first on a weighted sample of
        about that many, which contains rare and distant groups. If several runs end in the same place, only one of them
        continues on all observations. Runs that end more than 100 units of log-likelihood below the best do not continue.
    sample_weight : (n,) array-like, optional
        Frequency weights, not negative. An observation of weight c counts as c observations; weight 0 leaves it out.
    labels : (n,) array-like of int, or (n, K) array-like, optional
        What is known of the components: for each observation the number of its component, or -1; or probabilities of all
        components. Components that labels tell apart keep their numbers; the others are sorted.
    random_seed : int, Generator or None
    start : Mixture or sequence of Mixture, optional
        Start here instead of at ``n_init`` chosen points. Covariances are pooled as the structure requires.
    tol : float
        EM has converged when a Newton step would raise the log-likelihood by no more than this, or by less than its rounding
        error (1e-14 of it). Weights with a mean below one are scaled to a mean of one for this purpose.
    max_iter : int
        Maximum number of passes over the data in a run.
    variance_floor : float
        Smallest variance of a component, in any direction, with every feature in units of its standard deviation.
    missing : {"raise", "drop", "at_random"}
        What to do with NaN: refuse it, leave out its row, or use the known values of the row
        (:class:`bayesgmm.Observations`).
    noise : bool, float, or (n,) array-like
        Whether observations may belong to no component, and the density of noise: see :func:`bayesgmm.fit`.
    family : {"gaussian", "t"}
        Gaussians, or Student's t distributions, each with its own degrees of freedom nu between 1 and 200.
    fixed : mapping of str to array-like, optional
        Parameters that are known: see :func:`bayesgmm.fit`. The likelihood is maximised over the others, by EM steps alone.
    prior : HierarchicalPrior or ConjugatePrior, optional
        Find the mode of the posterior under this prior (MAP) instead of the maximum of the likelihood. The mode is that of
        the density of weights, means, and variances or covariance matrices; C0 is integrated out. alpha must be at least 1,
        because otherwise the density has no maximum. A prior with values for each component gives each its number.

    Returns
    -------
    EMResult

    Warns
    -----
    CollapsedComponentWarning
        If every run ended with a component that sits on the variance floor or holds no observation.
    ConvergenceWarning
        If the best run used up ``max_iter``.

    Raises
    ------
    ValueError, TypeError
        For data or options that break a rule; the message names it.

    Notes
    -----
    Rows that are read in passes (:func:`bayesgmm.scan_parquet`, memory maps, Dask) are not held in memory. Starts are tried
    on a sample of them, and the distinct results are refined on all rows. After an interrupt, or the failure of a worker or
    disk, the same call goes on from EM's last state.

    If every component has its own variance, the likelihood is unbounded (Kiefer & Wolfowitz 1956): a component that shrinks
    onto one observation makes it infinite. ``fit_em`` looks for the best local maximum away from that boundary.

    EM is slow if components overlap: an iteration may gain only a thousandth of the remaining distance, and EM then seems to
    have converged. A run therefore takes five EM steps and continues with quasi-Newton steps (Jamshidian & Jennrich 1997).
    Their gradient comes from the same sums. Each step must raise the likelihood. If none does, or a component comes close to
    the boundary, EM steps follow again.

    References
    ----------
    Dempster, Laird & Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm, Journal of the Royal
    Statistical Society: Series B 39, 1-22. doi:10.1111/j.2517-6161.1977.tb01600.x

    Arthur & Vassilvitskii (2007), k-means++: the advantages of careful seeding, Proceedings of SODA, 1027-1035.

    Ueda, Nakano, Ghahramani & Hinton (2000), SMEM algorithm for mixture models, Neural Computation 12, 2109-2128.
    doi:10.1162/089976600300015088

    Peel & McLachlan (2000), Robust mixture modelling using the t distribution, Statistics and Computing 10, 339-348.
    doi:10.1023/A:1008981510081

    Jamshidian & Jennrich (1997), Acceleration of the EM algorithm by using quasi-Newton methods, Journal of the Royal
    Statistical Society: Series B 59, 569-587. doi:10.1111/1467-9868.00083

    Fraley & Raftery (2007), Bayesian regularization for normal mixture estimation and model-based clustering, Journal of
    Classification 24, 155-181. doi:10.1007/s00357-007-0004-5

    Examples
    --------
    >>> from bayesgmm.datasets import galaxies
    >>> fit_em(galaxies(), 3, random_seed=1).mixture.means.round(2)
    array([ 9.71, 21.4 , 33.04])
    """
    data, source, k = read_fit_source(
        x, k, covariance=covariance, missing=missing, sample_weight=sample_weight, labels=labels, noise=noise,
        family=family, frequencies=False,
    )  # fmt: skip
    n_init = read_count(n_init, "n_init")
    remedy = Words("ask for a smaller ", Argument("n_init"))
    require_memory(n_init * (_OF_START + 32 * data.n_features * k), f"{n_init} starts of EM", remedy)
    max_iter = read_count(max_iter, "max_iter")
    tol = read_positive(tol, "tol")
    variance_floor = read_positive(variance_floor, "variance_floor")
    rng = np.random.default_rng(read_seed(random_seed))

    structure = Structure(covariance, data.n_features)
    if structure.one_unit:
        warn_of_unlike_scales(data, covariance)
    units = source.units(one_unit=structure.one_unit)
    held = read_fixed(fixed, k, data.n_features, covariance)
    classes = classes_with(held, data.known.classes(k))
    scaled = None if prior is None else _read_prior(prior, data, covariance, family, k)
    settings = Settings(
        classes=classes,
        units=units,
        structure=structure,
        tol=tol * min(1.0, source.total / len(source)),  # weights with a mean below one count as if it were one
        max_iter=max_iter,
        variance_floor=variance_floor,
        noise=data.known.noise is not None,
        family=family_of(family),
        fixed=None if held is None else units.standardised_mixture(held),
    )
    if scaled is not None:
        of_units = scaled.rescaled(units.shift, units.scale, covariance)
        settings = replace(settings, penalty=Penalty(of_units, structure, k, settings.fixed))
    reached = left_off(source, k, covariance, family)
    if start is None and reached.starts:
        starts = [Start("left off", units.standardised_mixture(each.mixture), each.pairs) for each in reached.starts]
    elif start is None:
        starts = _chosen_starts(data, settings, k, n_init if k > 1 else 1, rng)
        if isinstance(source, Scan):
            starts = _ends([run_em(data, settings, each) for each in starts], settings) or starts
    else:
        given = em_starts.read(start, k, data.n_features)
        starts = [Start("given", units.standardised_mixture(mixture)) for mixture in given]
    if isinstance(source, Scan):
        with reached:
            reached.begin(starts, units)
            runs = [run_em(source, settings, each, partial(reached.at, i)) for i, each in enumerate(starts)]
    else:
        summed = by_cores(source, k)
        runs = [run_em(summed, settings, each) for each in starts]
        if start is None and len(data) <= _ENOUGH_TO_START and settings.interchangeable:
            runs += rearrange(data, data.total, settings, runs)
        runs += [run_em(summed, settings, each) for each in _in_other_places(runs, settings)]
    runs.sort(key=lambda run: (run.end.collapsed, -run.end.height))
    best = runs[0].end

    if best.collapsed:
        _warn_of_collapse(runs[0], data, settings.apart, units.scale, np.sqrt(variance_floor))
    if not best.converged:
        text = Words(f"EM did not converge in {max_iter} iterations for k = {k}; raise ", Argument("max_iter"))
        warnings.warn(text, ConvergenceWarning, skip_file_prefixes=PACKAGE)
    if isinstance(source, Scan):
        return _in_data_units(runs, source.shown, source, settings, scaled, held)
    kept = data if x is data else data.copied()
    return _in_data_units(runs, kept, kept, settings, scaled, held)


def _read_prior(prior: Prior, data: Observations, covariance: Covariance, family: FamilyName, k: int) -> Prior:
    """The prior scaled to the data, under which the posterior's density has a maximum."""
    scaled = read_prior(prior, data, covariance, family, [k])
    if (least := float(np.min(scaled.alpha))) < 1:
        rule = "must have alpha of at least 1 in EM, because with less the density grows without bound as a weight goes to 0"
        raise ValueError(about("prior", f"{rule}, got {least:g}"))
    return scaled


def _in_data_units(
    runs: Sequence[Run], shown: Observations, source: Source, settings: Settings, prior: Prior | None, fixed: Fixed | None
) -> EMResult:
    """The result in the data's units, from runs with the best one first."""
    units, best = settings.units, runs[0].end
    unit = units.log_volume(source.counts_known)
    mixtures = [sorted_within(settings.apart, run.end.mixture.rescaled(units.shift, units.scale)) for run in runs]
    log_priors = [0.0] * len(runs)
    if prior is not None:
        penalty = Penalty(prior, settings.structure, best.mixture.n_components, fixed)
        log_priors = [penalty.log_density(*mixture.parameters) for mixture in mixtures]
    restarts = tuple(
        replace(run.end, log_likelihood=run.end.log_likelihood - unit, mixture=mixture, log_prior=log_prior)
        for run, mixture, log_prior in zip(runs, mixtures, log_priors, strict=True)
    )
    of_history = restarts[0].height - best.height
    return EMResult(
        mixture=restarts[0].mixture,
        log_likelihood=restarts[0].log_likelihood,
        history=np.array(runs[0].history) + of_history,
        converged=best.converged,
        n_iter=best.n_iter,
        collapsed=best.collapsed,
        restarts=restarts,
        covariance=settings.structure.covariance,
        n_observations=source.total,
        rows=shown.x,
        known=shown.known,
        source=source,
        n_fixed=0 if settings.fixed is None else settings.fixed.count(settings.structure),
        ends=tuple(run.where.rescaled(units.shift, units.scale) for run in runs),
        prior=prior,
        log_prior=restarts[0].log_prior,
    )


def _warn_of_collapse(run: Run, data: Observations, classes: NDArray[np.int64], scale: Any, floor: float) -> None:
    """Warn which components, by their number in the result, sit on the floor or are empty, and how to avoid it."""
    k, order = run.end.mixture.n_components, order_within(classes, run.end.mixture)
    which = ", ".join(str(j) for j in np.flatnonzero(run.fallen[order]))
    floors = ", ".join(f"{each:.3g}" for each in np.atleast_1d(scale * floor))
    warnings.warn(
        f"a component of the best EM solution for k = {k} (component {which}) sits on the variance floor (standard "
        f"deviation {floors}) or holds no observation; use fewer components, a simpler covariance ('tied'"
        f"{", 'diag' or 'spherical'" if data.n_features > 1 else ''}) or other starts",
        CollapsedComponentWarning,
        skip_file_prefixes=PACKAGE,
    )


def _chosen_starts(rows: Observations, settings: Settings, k: int, n_init: int, rng: np.random.Generator) -> list[Start]:
    """Starts from the standardised data. For many observations, the ends of EM on a weighted sample of them."""
    if len(rows.x) > _ENOUGH_TO_START and rows.known.labels is None:
        few, weight = em_starts.sample(rows.filled, rows.known.weight, settings.units.scale, k, _ENOUGH_TO_START, rng)
        if count_distinct(rows.x[few], k) >= k:
            sample = rows.of(few).weighing(weight)
            starts, settings = _near_data(sample, settings, k, n_init, rng), replace(settings, tol=_ON_SAMPLE)
            runs = [run_em(sample, settings, each) for each in starts]
            runs += rearrange(sample, rows.total, settings, runs) if settings.interchangeable else []
            return _ends(runs, settings) or starts
    return _near_data(rows, settings, k, n_init, rng)


def _near_data(rows: Observations, settings: Settings, k: int, n_init: int, rng: np.random.Generator) -> list[Start]:
    z, counts, log_labels = rows.standardised(settings.units), rows.counts, rows.known.log_labels(k)
    counts, again = counts / counts.mean(), _completed_again(z, settings, rng)
    if settings.noise:
        one_unit = settings.structure.one_unit
        starts = em_starts.choose_among_noise(again, counts, k, n_init, rng, one_unit=one_unit)
    else:
        starts = em_starts.choose(again, counts, k, n_init, rng)
    if log_labels is not None:
        lead = em_starts.led_by_labels
        starts = [each._replace(mixture=lead(each.mixture, z.filled, counts, log_labels)) for each in starts]
    if settings.fixed is not None:
        by_labels = rows.known.classes(k)
        starts = [each._replace(mixture=em_starts.led_by_fixed(each.mixture, settings.fixed, by_labels)) for each in starts]
    if settings.penalty is not None:
        suited = partial(settings.penalty.suited, classes=settings.classes)
        starts = [each._replace(mixture=each.mixture.reordered(suited(each.mixture))) for each in starts]
    return starts


def _in_other_places(runs: Sequence[Run], settings: Settings) -> Iterator[Start]:
    """Starts at the ends of runs whose components have a higher prior in another order."""
    if settings.penalty is None:
        return
    for run in runs:
        order = settings.penalty.suited(run.end.mixture, settings.classes)
        if (order != np.arange(len(order))).any():
            yield Start(run.end.start, run.end.mixture.reordered(order))


def _completed_again(z: Observations, settings: Settings, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Standardised data for each start. Values that are not exact are drawn anew each time, under a single Gaussian."""
    if z.kind is EXACT:
        yield from repeat(z.x)
    single = Mixture(np.ones(1), np.zeros((1, z.n_features)), np.eye(z.n_features)[None])
    unlabelled = Observations.made(z.x, replace(z.known, labels=None, noise=None))
    gaussian = replace(settings.for_standardised(), family=GAUSSIAN)
    fitted = run_em(unlabelled, gaussian, Start("", single)).end.mixture
    while True:
        yield unlabelled.completed(fitted.parameters, rng)


def _ends(runs: Sequence[Run], settings: Settings) -> list[Start]:
    """Starts at which runs continue: one for each distinct result, without collapsed and hopeless ones."""
    sound = [run for run in runs if not run.end.collapsed]
    best = max((run.end.height for run in sound), default=-np.inf)
    places: list[Mixture] = []
    kept: list[Start] = []
    for run in sound:
        mixture = sorted_within(settings.apart, run.end.mixture)
        if run.end.height <= best - _HOPELESS:
            continue
        same = next((i for i, other in enumerate(places) if are_one(mixture, other, settings.apart)), None)
        if same is None:
            places.append(mixture)
            kept.append(run.where)
        else:
            kept[same] = kept[same]._replace(found=kept[same].found + run.end.found)
    return kept
