"""Comparison of fits with several k, by prediction, by evidence, and by EM's criteria."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from bayesgmm.analysis.contract import attribute
from bayesgmm.analysis.impropriety import OfData, forewarn, of_data, settled
from bayesgmm.analysis.reading import Reading
from bayesgmm.arguments import (
    Covariance,
    FamilyName,
    Method,
    Missing,
    Noise,
    Rounding,
    read_count,
    read_covariance,
    read_seed,
)
from bayesgmm.comparison.cache import FitCache
from bayesgmm.comparison.judging import Judged, judge, table_of
from bayesgmm.comparison.leave_one_out import FEWEST_DRAWS
from bayesgmm.comparison.result import ASKED, Comparison
from bayesgmm.comparison.structures import StructureComparison
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import read_fit_data
from bayesgmm.data.rounding import is_auto
from bayesgmm.data.scan import Scan
from bayesgmm.data.sources import read_fit_source
from bayesgmm.engines.phases import Phases
from bayesgmm.exceptions import (
    ApproximationWarning,
    ConvergenceWarning,
    DataWarning,
    ImproperPosteriorWarning,
    InterruptedWarning,
    warn,
)
from bayesgmm.fitting import judged_fit
from bayesgmm.fitting.asked import first_pass
from bayesgmm.model.number_priors import PriorOnK, read_prior_k
from bayesgmm.model.priors import Prior, read_prior
from bayesgmm.words import Argument, Words, about

_log = logging.getLogger(__name__)
# warnings that the table repeats by row, or that were given before
_SAID = (ApproximationWarning, ConvergenceWarning, DataWarning, ImproperPosteriorWarning, InterruptedWarning)


@overload
def compare(
    x: ArrayLike | Observations | Scan | Mapping[int, xr.DataTree] | Iterable[xr.DataTree],
    k: Iterable[int] = ...,
    *,
    covariance: Covariance = "full",
    **options: Any,
) -> Comparison: ...
@overload
def compare(
    x: ArrayLike | Observations | Scan,
    k: Iterable[int] = ...,
    *,
    covariance: Sequence[Covariance],
    **options: Any,
) -> StructureComparison: ...
def compare(
    x: ArrayLike | Observations | Scan | Mapping[int, xr.DataTree] | Iterable[xr.DataTree],
    k: Iterable[int] = range(1, 9),
    *,
    method: Method | None = None,
    prior: Prior | None = None,
    covariance: Covariance | Sequence[Covariance] = "full",
    draws: int | None = None,
    chains: int = 4,
    prior_k: PriorOnK | ArrayLike | None = None,
    cache: str | Path | None = None,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
    missing: Missing = "raise",
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    noise: Noise = False,
    rounding: Rounding = "auto",
    family: FamilyName = "gaussian",
    **options: Any,
) -> Comparison | StructureComparison:
    """Fit a mixture for every k, and compare how well each predicts new observations and how probable each k is.

    Parameters
    ----------
    x : (n,) or (n, D) array-like; or several DataTrees
        The data; or finished fits of the same data with the same settings, which are compared as they are.
    k : iterable of int
        Numbers of components to try.
    method : {"nuts", "gibbs", "advi", "laplace"}, optional
        As in :func:`bayesgmm.fit`, for every k. Default: the engine that suits each k.
    covariance : str or sequence of str
        As in :func:`bayesgmm.fit`. With several structures, such as ``["full", "tied"]``, each is fitted for every k, and
        all are compared with each other.
    prior, draws, chains, missing, sample_weight, labels, noise, rounding, family
        As in :func:`bayesgmm.fit`, the same for every k. If values must be treated as rounded for one k, they are for all.
    prior_k : PriorOnK or sequence of float, optional
        Prior on k (:mod:`bayesgmm.priors`), restricted to the k compared. Default: all are equally probable.
    cache : path, optional
        A folder in which every finished fit is stored. An interrupted comparison then continues where it stopped. A stored
        fit is used if data and settings are the same, and also the seed, if one is given.
    random_seed : int, Generator or None
        One seed for the whole comparison. The seed of the fit for one k does not depend on which others are compared.
    progressbar : bool
        Whether to announce phases and show progress on standard error.
    **options
        Further options of :func:`bayesgmm.fit`.

    Returns
    -------
    Comparison
        Prints one recommended k, a table of questions and answers, and a row for each k. See ``.table``, ``.best``,
        ``.fits``, ``.weights``. For several structures it is a :class:`StructureComparison`, which recommends one structure
        and k.

    Warns
    -----
    InterruptedWarning
        If interrupted; the k with enough draws by then are compared.

    Raises
    ------
    ValueError, TypeError
        For arguments that break a rule; the message names it. Nothing is fitted before all k have been checked. Fits of
        different data or settings are refused.

    Notes
    -----
    Prediction and evidence ask different questions. LOO (:func:`bayesgmm.loo`) asks how well the fitted mixture predicts one
    more observation; a superfluous component costs it little. The evidence (:func:`bayesgmm.log_evidence`) asks how well
    mixtures drawn from the prior predict all the data, and depends on that prior. LOO treats ADVI's draws as if they came
    from the posterior. The evidence is not computed from them. The k are fitted one after another, because the chains of one
    fit use all cores.

    References
    ----------
    Vehtari, Gelman & Gabry (2017), Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC,
    Statistics and Computing 27, 1413-1432. doi:10.1007/s11222-016-9696-4

    Yao, Vehtari, Simpson & Gelman (2018), Using stacking to average Bayesian predictive distributions, Bayesian
    Analysis 13, 917-1007. doi:10.1214/17-BA1091

    Celeux, Frühwirth-Schnatter & Robert (2018), Model selection for mixture models: perspectives and strategies,
    arXiv:1812.09885.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> comparison = bg.compare(bg.datasets.galaxies(), [1, 3], draws=200, random_seed=1, progressbar=False)
    >>> comparison.best["log_evidence"]
    3
    """
    given: dict[str, Any]
    trees = _given_trees(x)
    if not isinstance(covariance, str):
        if trees is not None:
            raise ValueError(about("covariance", "cannot be given with trees, which hold their own; leave it out"))
        given = {"method": method, "prior": prior, "draws": draws, "chains": chains, "prior_k": prior_k, "cache": cache}
        given |= {"progressbar": progressbar, "missing": missing, "sample_weight": sample_weight, "labels": labels}
        given |= {"noise": noise, "rounding": rounding, "family": family} | options
        return _of_structures(x, _read_ks(k), _read_structures(covariance), read_seed(random_seed), given)
    if trees is not None:
        for name, value in (("sample_weight", sample_weight), ("labels", labels), ("noise", noise)):
            if value is not None and value is not False:
                raise ValueError(about(name, "cannot be given with trees, which hold their own; leave it out"))
        if not is_auto(rounding):
            raise ValueError(about("rounding", "cannot be given with trees, which hold their own; leave it out"))
        if family != "gaussian":
            raise ValueError(about("family", "cannot be given with trees, which hold their own; leave it out"))
        return _compared(_read_fits(trees), None, prior_k)
    if options.get("model") is not None:
        raise TypeError("model states one k and cannot be compared over k; fit each model and pass the trees to az.compare")
    ks = _read_ks(k)
    given = {"missing": missing, "sample_weight": sample_weight, "labels": labels, "noise": noise, "rounding": rounding}
    x = first_pass(x, given, Phases(announce=progressbar))
    data, source, _ = read_fit_source(x, ks[0], covariance=covariance, family=family, **given)  # type: ignore[arg-type]
    for each in ks[1:]:
        read_fit_data(data, each, covariance=covariance)
    data = source.shown if isinstance(source, Scan) else data
    _weights_of(prior_k, ks)
    if draws is None:
        draws = 250 if isinstance(source, Scan) else 1000
    if read_count(draws, "draws") * read_count(chains, "chains") < FEWEST_DRAWS:
        rule = f"draws x chains must be at least {FEWEST_DRAWS} for LOO, got {draws} x {chains}; raise "
        raise ValueError(Words(rule, Argument("draws")))
    seed = read_seed(random_seed)
    settings: dict[str, Any] = {"covariance": covariance, "draws": draws, "chains": chains} | options
    settings |= {} if family == "gaussian" else {"family": family}
    own_prior = read_prior(prior, data, covariance, family, ks)
    in_parts = isinstance(source, Scan)
    data, found = settled(data, ks, own_prior, covariance, family, None if in_parts else rounding)
    asked = _Asked(
        data=data,
        source=source if in_parts else data,
        ks=ks,
        method=method,
        of_every_fit=settings | {"prior": prior, "missing": missing, "progressbar": progressbar, "rounding": rounding},
        known=forewarn(found),
        seed=seed,
    )
    kept = None
    if cache is not None:
        stated = settings | {"prior": own_prior.to_json(), "method": method}
        stated |= {"total": source.total, "rows": len(source)} if isinstance(source, Scan) else {}
        kept = FitCache.of(cache, data, stated, None if random_seed is None else seed)
    fits = _fits_of(asked, kept)
    given = {name: value for name, value in ({"method": method, "missing": missing} | settings).items() if value is not None}
    for reading in fits.values():
        reading.tree.attrs[ASKED] = json.dumps(
            given, default=lambda each: each.item() if hasattr(each, "item") else str(each)
        )
    return _compared(fits, seed, prior_k, ks)


def _of_structures(
    x: Any, ks: list[int], structures: list[Covariance], seed: int, given: dict[str, Any]
) -> StructureComparison:
    """A comparison within each structure, with the same seed. All data are checked first, so that no fit is in vain."""
    about_data = {name: given[name] for name in ("missing", "sample_weight", "labels", "noise")}
    found: dict[Covariance, Comparison] = {}
    x = first_pass(x, about_data | {"rounding": given["rounding"]}, Phases(announce=given["progressbar"]))
    for each in structures:
        data, source, _ = read_fit_source(x, ks[0], covariance=each, family=given["family"], **about_data)
        if isinstance(source, Scan) or not is_auto(given["rounding"]):
            continue
        own = read_prior(given["prior"], data, each, given["family"], ks)
        steps = settled(data, ks, own, each, given["family"], "auto")[0].steps
        if steps is not None and data.steps is None:  # treated as rounded for one structure, they are for all
            given["rounding"] = steps
    for each in structures:
        found[each] = compare(x, ks, covariance=each, random_seed=seed, **given)
        if found[each].unfinished:
            break
    return StructureComparison(found)


def _read_structures(covariance: Any) -> list[Covariance]:
    if isinstance(covariance, Mapping) or not isinstance(covariance, Iterable):
        rule = "must be the name of a structure, or several such as ['full', 'tied']"
        raise TypeError(about("covariance", f"{rule}, got {covariance!r}"))
    names: list[Any] = list(dict.fromkeys(read_covariance(each) for each in covariance))
    if not names:
        raise ValueError(about("covariance", "must hold at least one structure, got none"))
    return names


@dataclass(frozen=True)
class _Asked:
    """The checked arguments for the fits of all k."""

    data: Observations
    source: Observations | Scan
    ks: list[int]
    method: Method | None
    of_every_fit: Mapping[str, Any]
    known: Mapping[int, OfData]
    seed: int

    def seed_of(self, k: int) -> int:
        """The seed of the fit for k. It does not depend on which others are compared."""
        return int(np.random.SeedSequence([self.seed, k]).generate_state(1)[0] % 2**31)

    def fit(self, k: int) -> Reading:
        """Fit k components, without warnings that the table repeats."""
        with warnings.catch_warnings():
            for category in _SAID:
                warnings.simplefilter("ignore", category)
            own: dict[str, Any] = {"method": self.method, "random_seed": self.seed_of(k)}
            return judged_fit(self.source, k, self.known[k], **own, **self.of_every_fit)


def _fits_of(asked: _Asked, kept: FitCache | None) -> dict[int, Reading]:
    """Fits for all k in turn, from the cache if possible. After an interrupt, those with enough draws."""
    fits: dict[int, Reading] = {}
    for k in asked.ks:
        stored = kept.get(k, asked.seed_of(k)) if kept else None
        if stored is not None:
            fits[k] = Reading(stored, {of_data: asked.known[k]})
            continue
        interrupted = False
        try:
            fits[k] = asked.fit(k)
        except KeyboardInterrupt:
            if not fits:
                raise
            interrupted = True
        if interrupted or fits[k].tree.attrs["interrupted"]:
            if not interrupted and fits[k].draws.n_draws * asked.of_every_fit["chains"] < FEWEST_DRAWS:
                del fits[k]  # too few draws to be judged
            if not fits:
                raise KeyboardInterrupt
            _warn_of_interrupt(f"at k = {k}", fits)
            break
        if kept is not None:
            kept.put(fits[k].tree)
    return fits


def _read_ks(k: Any) -> list[int]:
    if isinstance(k, (str, bytes)) or not isinstance(k, Iterable):
        rule = "must be several numbers of components, such as range(1, 7)"
        raise TypeError(about("k", f"{rule}, got {k!r}; for one k use fit"))
    ks = sorted({read_count(each, "every k") for each in k})
    if not ks:
        raise ValueError(about("k", "must hold at least one number of components, got none"))
    return ks


def _given_trees(x: Any) -> list[xr.DataTree] | None:
    """The trees, if x is several of them and not data."""
    if isinstance(x, xr.DataTree):
        rule = "must be data or several trees of different k"
        raise TypeError(about("x", f"{rule}, got one DataTree; add trees of other k"))
    given = x.values() if isinstance(x, Mapping) else x if isinstance(x, list | tuple) else ()
    return list(given) if len(given) and all(isinstance(each, xr.DataTree) for each in given) else None


def _read_fits(trees: list[xr.DataTree]) -> dict[int, Reading]:
    """Readings of trees by their k. All must have the same data and settings."""
    fits: dict[int, Reading] = {}
    for reading in map(Reading.of, trees):
        k, _ = reading.draws.n_components, reading.em
        attribute(reading.tree, "covariance")
        if k in fits:
            raise ValueError(f"the fits compared must be of different k, got two of k = {k}")
        fits[k] = reading
    first, *others = fits
    for other in others:
        if not (
            np.array_equal(fits[first].x, fits[other].x, equal_nan=True) and fits[first].known.equals(fits[other].known)
        ):
            raise ValueError(f"the fits compared must be of the same data, got different data for k = {first} and {other}")
        for name in ("prior", "covariance"):
            values = [fits[each].tree.attrs.get(name) for each in (first, other)]
            if values[0] != values[1]:
                raise ValueError(
                    f"the fits compared must have the same {name}, got {values[0]!r} for k = {first} and {values[1]!r} for "
                    f"k = {other}"
                )
    return dict(sorted(fits.items()))


def _weights_of(prior_k: Any, ks: list[int]) -> pd.Series:
    """Prior probabilities of these k, which add to one."""
    if prior_k is None:
        return pd.Series(1 / len(ks), index=ks)
    log_p = read_prior_k(prior_k).log_pmf(np.array(ks))
    if not np.isfinite(log_p).any():
        raise ValueError(f"prior_k must give at least one of the k compared a positive probability, got none of {ks}")
    with np.errstate(under="ignore"):
        return pd.Series(np.exp(log_p - logsumexp(log_p)), index=ks)


def _compared(fits: dict[int, Reading], seed: int | None, prior_k: Any, ks: Sequence[int] = ()) -> Comparison:
    """The comparison of all fits; after an interrupt, of those judged by then, and at least of the first."""
    judged: dict[int, Judged] = {}
    try:
        for k, reading in fits.items():
            judged[k] = judge(reading)
    except KeyboardInterrupt:
        if not judged:
            k, reading = next(iter(fits.items()))
            judged[k] = judge(reading, quickly=True)
        _warn_of_interrupt("before all fits were judged", judged)
    weights = _weights_of(prior_k, list(judged))
    elpds = {str(k): each.elpd for k, each in judged.items() if each.elpd is not None}
    diagnoses = {k: each.diagnosis for k, each in judged.items()}
    unfinished = tuple(k for k in ks or fits if k not in judged or fits[k].tree.attrs.get("interrupted"))
    trees = {k: each.tree for k, each in fits.items()}
    return Comparison(table_of(fits, judged, weights), trees, elpds, diagnoses, seed, weights, unfinished, fits)


def _warn_of_interrupt(when: str, ks: Iterable[int]) -> None:
    text = f"interrupted {when}: the comparison holds k = {', '.join(map(str, ks))}"
    warn(text, InterruptedWarning)
