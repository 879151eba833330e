"""How many components: fits for several k side by side, by prediction, by evidence, and by EM's criteria."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Any, NamedTuple

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from bayesgmm.analysis.clusters import expected_occupied
from bayesgmm.analysis.contract import attribute
from bayesgmm.analysis.diagnosis import USABLE, Diagnosis, diagnosis_of
from bayesgmm.analysis.forewarning import forewarn
from bayesgmm.analysis.impropriety import of_data
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.stacking import stacking
from bayesgmm.arguments import Covariance, FloatArray, Method, Missing, read_count, read_seed
from bayesgmm.comparison.cache import FitCache
from bayesgmm.comparison.evidence import log_evidence
from bayesgmm.comparison.leave_one_out import FEWEST_DRAWS, NoDensityError, bad_k_hats, error_of_sum, loo, refitted
from bayesgmm.comparison.verdict import SPURIOUS, Best, preferences
from bayesgmm.data.reading import Data, read_fit_data
from bayesgmm.em.result import spurious
from bayesgmm.exceptions import (
    ApproximationWarning,
    ConvergenceWarning,
    DataWarning,
    ImproperPosteriorWarning,
    InterruptedWarning,
)
from bayesgmm.fitting import judged_fit
from bayesgmm.model.number_priors import PriorOnK, read_prior_k
from bayesgmm.model.priors import Prior, read_prior
from bayesgmm.words import Argument, Words, about, joined

_log = logging.getLogger(__name__)
_SWEPT = 5_000  # observations x components x features, up to which Gibbs sweeps cost next to nothing,
_AFFORDABLE = 150_000  # and up to which they are worth a try where NUTS's chains do not agree
_LARGE_ERROR = 0.15  # of a log evidence, beyond which more effort is made for it
_MORE_EFFORT = 8.0
_PRINTED = {  # columns that people read, and how
    **dict.fromkeys(("elpd_loo", "se"), "{:.1f}"),
    "elpd_mcse": "{:.2f}",
    **dict.fromkeys(("elpd_diff", "dse"), "{:.1f}"),
    "weight": "{:.2f}",
    "log_evidence": "{:.2f}",
    **dict.fromkeys(("mcse", "p_k"), "{:.3f}"),
    **dict.fromkeys(("bic", "icl", "occupied", "seconds"), "{:.1f}"),
}
# the table says it, row by row, or it was said before
_SAID = (ApproximationWarning, ConvergenceWarning, DataWarning, ImproperPosteriorWarning, InterruptedWarning)
ASKED = "asked_of_compare"  # attribute of its trees: the options, but prior and seed, which trees record anyway
_SAME = ("prior", "covariance", "method")  # attributes of trees that can be compared


class _Judged(NamedTuple):
    """What is said of one fit; no elpd where the posterior is improper or has collapsed."""

    elpd: Any
    diagnosis: Diagnosis
    log_evidence: float
    mcse: float


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    table : DataFrame
        One row per k, in order of k. Of a k whose posterior is improper or has collapsed, all that LOO and the evidence say
        is NaN; of one on which EM has collapsed, EM's criteria. The columns: k; elpd_loo with its standard error se and its
        Monte Carlo error elpd_mcse (NaN where LOO cannot be trusted), elpd_diff to the best with its standard error dse
        (both standard errors by n - 1), p_loo, bad_pareto_k (observations at which LOO cannot be trusted), refitted (those
        that were left out by a refit instead), stacking weight; log_evidence with its Monte Carlo standard error mcse (NaN
        of more than 12 components), p_k, the posterior probability of k among those compared; EM's bic, aic, icl and
        log_likelihood, and em_spurious, how many of EM's components hold hardly more observations than determine them
        (:attr:`EMResult.spurious`); occupied, the posterior mean of the number of clusters that hold an observation;
        converged, finding (the first of :func:`bayesgmm.diagnose`), divergences, seconds (compiling included).
    fits : dict of int to DataTree
    loo : dict of str to ELPDData
        LOO results, ready for ``az.compare``.
    diagnoses : dict of int to Diagnosis
    seed : int or None
        Of the whole comparison; None of fits that were given.
    prior_k : Series
        The prior probabilities of the k compared, which add to one.
    best : Best
        The k that each criterion prefers, as a dict; prints as sentences that say how decided that is.
    weights : Series
        Stacking weights, by k.
    unfinished : tuple of int
        The k that were asked for and, because of an interrupt, have not been fitted, or compared, with all their draws.
    readings : dict of int to Reading
        The fits with what was learnt of them on the way, which the report does not compute again.
    """

    table: pd.DataFrame
    fits: Mapping[int, xr.DataTree] = field(repr=False)
    loo: Mapping[str, Any] = field(repr=False)
    diagnoses: Mapping[int, Diagnosis] = field(repr=False)
    seed: int | None
    prior_k: pd.Series = field(repr=False)
    unfinished: tuple[int, ...] = ()
    readings: dict[int, Reading] = field(default_factory=dict, repr=False, compare=False)

    def reading(self, k: int) -> Reading:
        """The fit of one k with what has been learnt of it."""
        if k not in self.readings or self.readings[k].tree is not self.fits[k]:
            self.readings[k] = Reading(self.fits[k])
        return self.readings[k]

    @property
    def best(self) -> Best:
        """The k that each criterion prefers, and how decided that is."""
        return preferences(self.table.set_index("k"))

    @property
    def weights(self) -> pd.Series:
        """Stacking weights, by k."""
        return self.table.set_index("k")["weight"]

    @property
    def verdict(self) -> Words:
        """What each criterion prefers, how decided that is, and which fits cannot be trusted."""
        return joined(self.sentences)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The same, sentence by sentence."""
        by_k = self.table.set_index("k")
        sentences: list[str] = [*self._left_out(), *self.best.sentences, *self._strays()]
        if self.unfinished:
            ks = ", ".join(map(str, self.unfinished))
            sentences.insert(0, f"interrupted, so that this is provisional: k = {ks} cut short or not compared at all")
        samples = {each.subsample_size for each in self.loo.values() if hasattr(each, "subsample_size")}
        if samples:
            sentences.append(f"LOO is estimated from a sample of {max(samples)} observations")
        for condition, trouble in (
            (
                by_k["elpd_loo"].isna() & pd.Series({k: each.exists for k, each in self.diagnoses.items()}),
                "left out of prediction and evidence, because some draws give an observation no density",
            ),
            (by_k["bic"].isna(), "EM has collapsed onto equal observations, where its likelihood has no largest value"),
            (by_k["em_spurious"] > 0, SPURIOUS),
            (~by_k["converged"], "not converged (see the column converged)"),
            (
                pd.Series({k: each.converged and not each.labels.trusted for k, each in self.diagnoses.items()}),
                "single clusters cannot be told apart, though densities have converged",
            ),
            (by_k["bad_pareto_k"] > 0, "LOO is unreliable at some observations"),
        ):
            if condition.any():
                sentences.append(f"{trouble}: k = {', '.join(map(str, by_k.index[condition]))}")
        return tuple(sentences)

    def _left_out(self) -> Iterator[str]:
        """The k whose posterior is improper or has collapsed."""
        for kind in ("improper", "collapse"):
            of_k = {k: each.finding(kind) for k, each in self.diagnoses.items()}
            found = {k: each for k, each in of_k.items() if each is not None}
            if found:
                last = found[max(found)]
                ks = ", ".join(map(str, found))
                yield Words(f"k = {ks} left out of prediction and evidence: ", last.problem)
                yield last.remedy

    def _strays(self) -> list[str]:
        """Observations that set the scale of the prior, which is the same for every k."""
        first = next(iter(self.diagnoses.values()))
        return [text for each in first.findings if each.kind == "stray" for text in (each.problem, each.remedy)]

    def __repr__(self) -> str:
        table = as_printed(self.table).to_string(line_width=max(60, get_terminal_size((140, 24)).columns))
        return "\n".join([table, *(fill(each, 110, subsequent_indent="  ") for each in self.sentences)])


def as_printed(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a comparison's table that people read, as text, by k."""
    by_k = table.set_index("k").rename_axis(index=None, columns="k")
    shown = pd.DataFrame({name: by_k[name].map(text.format) for name, text in _PRINTED.items()}).rename_axis(columns="k")
    return shown.assign(converged=np.where(by_k["converged"], "yes", "no: " + by_k["finding"]))


def compare(
    x: ArrayLike | Data | Mapping[int, xr.DataTree] | Iterable[xr.DataTree],
    k: Iterable[int] = range(1, 9),
    *,
    method: Method | None = None,
    prior: Prior | None = None,
    covariance: Covariance = "full",
    draws: int = 1000,
    chains: int = 4,
    prior_k: PriorOnK | ArrayLike | None = None,
    cache: str | Path | None = None,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
    missing: Missing = "raise",
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    **options: Any,
) -> Comparison:
    """Fit every k and compare: how well each predicts observations it has not seen, and how probable each is.

    Parameters
    ----------
    x : (n,) or (n, D) array-like; or several DataTrees
        The data; or fits made before, of the same data under the same settings, which are then compared as they are.
    k : iterable of int
        Numbers of components to try.
    method : {"nuts", "gibbs", "advi"}, optional
        As in :func:`bayesgmm.fit`, for every k. Default: Gibbs where its sweeps cost next to nothing (n k D up to 5 000),
        for it passes between solutions. Elsewhere NUTS, until a k has more components than the data support, so that its
        chains do not agree: then that k by Gibbs as well (n k D up to 150 000), of which the fit with the smaller R-hat is
        kept, and larger k by Gibbs at once if it was that one.
    prior, covariance, draws, chains, missing, sample_weight, labels
        As in :func:`bayesgmm.fit`, the same for every k.
    prior_k : PriorOnK or sequence of float, optional
        Prior on k (:mod:`bayesgmm.priors`), restricted to those compared. Default: all of them equally probable.
    cache : path, optional
        A folder that keeps each finished fit, so that an interrupted comparison goes on where it stopped. A fit is
        taken from it if data and settings are the same, and the seed if one is given.
    random_seed : int, Generator or None
        One seed for the whole comparison. That of a k does not depend on which others are compared.
    progressbar : bool
        Announce phases and show progress on standard error.
    **options
        Further options of :func:`bayesgmm.fit`.

    Returns
    -------
    Comparison
        Prints as a table with a verdict; ``.fits``, ``.best``, ``.weights``.

    Warns
    -----
    InterruptedWarning
        If interrupted; the k finished by then are compared.

    Raises
    ------
    ValueError, TypeError
        For arguments that break a rule; the message names it. Nothing is fitted before all k have been checked. Fits of
        different data or settings are refused.

    Notes
    -----
    Prediction and evidence ask different questions. LOO (:func:`bayesgmm.loo`) asks how well the fitted mixture predicts one
    more observation; components that do little harm it little. The evidence (:func:`bayesgmm.log_evidence`) asks how well
    mixtures drawn from the prior predict all the data, and depends on that prior. ADVI's draws are taken for the
    posterior's in LOO, and have no evidence. Chains of one fit run on all cores, so the k are fitted one after another.

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
    trees = _given_trees(x)
    if trees is not None:
        for name, value in (("sample_weight", sample_weight), ("labels", labels)):
            if value is not None:
                raise ValueError(about(name, "belongs to data; trees hold what is known of theirs"))
        return _compared(_read_fits(trees), None, prior_k)
    if options.get("model") is not None:
        raise TypeError("model states one k and cannot be compared over k; fit each model and pass the trees to az.compare")
    ks = _read_ks(k)
    given: dict[str, Any] = {"missing": missing, "sample_weight": sample_weight, "labels": labels}
    data, _ = read_fit_data(x, ks[0], covariance=covariance, **given)  # type: ignore[arg-type]
    for each in ks[1:]:
        read_fit_data(data, each, covariance=covariance)
    _weights_of(prior_k, ks)
    if read_count(draws, "draws") * read_count(chains, "chains") < FEWEST_DRAWS:
        rule = f"draws x chains must be at least {FEWEST_DRAWS} for LOO, got {draws} x {chains}; raise "
        raise ValueError(Words(rule, Argument("draws")))
    seed = read_seed(random_seed)
    settings: dict[str, Any] = {"covariance": covariance, "draws": draws, "chains": chains} | options
    own_prior = read_prior(prior, data.values, covariance)
    known = forewarn(data, ks, own_prior, covariance)
    stated = settings | {"prior": own_prior.to_json()}
    kept = None
    if cache is not None:
        kept = FitCache.of(cache, data, stated | {"method": method}, None if random_seed is None else seed)
    fits: dict[int, Reading] = {}
    gibbs_is_better = False
    for each in ks:
        own_seed = int(np.random.SeedSequence([seed, each]).generate_state(1)[0] % 2**31)
        operations = data.values.size * each
        few = operations <= _SWEPT
        stored = kept.get(each, own_seed) if kept else None
        if stored is not None:
            fits[each] = Reading(stored, {of_data: known[each]})
            gibbs_is_better = method is None and not few and stored.attrs["method"] == "gibbs"
            continue

        def fitted(engine: Method, each: int = each, own_seed: int = own_seed) -> Reading:
            with warnings.catch_warnings():
                for category in _SAID:
                    warnings.simplefilter("ignore", category)
                asked = {"method": engine, "prior": prior, "random_seed": own_seed, "missing": missing}
                return judged_fit(data, each, known[each], progressbar=progressbar, **asked, **settings)

        interrupted = False
        by_gibbs = few or (gibbs_is_better and operations <= _AFFORDABLE)
        try:
            fits[each] = fitted(method or ("gibbs" if by_gibbs else "nuts"))
            if method is None and not by_gibbs and operations <= _AFFORDABLE:
                fits[each] = _mended(fits[each], fitted)
                gibbs_is_better = fits[each].tree.attrs["method"] == "gibbs"
        except KeyboardInterrupt:
            if not fits:
                raise
            interrupted = True
        if interrupted or fits[each].tree.attrs["interrupted"]:
            if not interrupted and fits[each].draws.n_draws * chains < FEWEST_DRAWS:
                del fits[each]  # of which nothing could be said
            if not fits:
                raise KeyboardInterrupt
            _warn_of_interrupt(f"at k = {each}", fits)
            break
        if kept is not None:
            kept.put(fits[each].tree)
    asked = {"method": method, "missing": missing} | settings
    for reading in fits.values():
        given = {name: value for name, value in asked.items() if value is not None}
        reading.tree.attrs[ASKED] = json.dumps(given, default=_plain)
    return _compared(fits, seed, prior_k, ks)


def _plain(value: Any) -> Any:
    """A Python number for a NumPy one, and words for what has no form in JSON."""
    return value.item() if hasattr(value, "item") else str(value)


def _read_ks(k: Any) -> list[int]:
    if isinstance(k, (str, bytes)) or not isinstance(k, Iterable):
        rule = "must be several numbers of components, such as range(1, 7)"
        raise TypeError(about("k", f"{rule}, got {k!r}; for one k use fit"))
    ks = sorted({read_count(each, "every k") for each in k})
    if not ks:
        raise ValueError(about("k", "must hold at least one number of components, got none"))
    return ks


def _mended(by_nuts: Reading, fitted: Callable[[Method], Reading]) -> Reading:
    """The fit, or one by Gibbs if its chains do not agree and that one's agree better."""
    if by_nuts.ask(diagnosis_of).converged or by_nuts.tree.attrs["interrupted"]:
        return by_nuts
    by_gibbs = fitted("gibbs")
    if by_gibbs.tree.attrs["interrupted"]:
        raise KeyboardInterrupt
    of_nuts, of_gibbs = (each.ask(diagnosis_of).invariants["r_hat"].max() for each in (by_nuts, by_gibbs))
    return by_gibbs if of_gibbs < of_nuts else by_nuts


def _given_trees(x: Any) -> list[xr.DataTree] | None:
    """The trees, if x is several of them and not data."""
    if isinstance(x, xr.DataTree):
        rule = "must be data or several trees of different k"
        raise TypeError(about("x", f"{rule}, got one DataTree; its own k has nothing beside it"))
    if isinstance(x, Mapping) and x and all(isinstance(each, xr.DataTree) for each in x.values()):
        return list(x.values())
    if isinstance(x, list | tuple) and x and all(isinstance(each, xr.DataTree) for each in x):
        return list(x)
    return None


def _read_fits(trees: list[xr.DataTree]) -> dict[int, Reading]:
    """Trees by their k, all of the same data and settings."""
    fits: dict[int, Reading] = {}
    for reading in map(Reading.of, trees):
        k, _ = reading.draws.n_components, reading.em
        attribute(reading.tree, "covariance")
        if k in fits:
            raise ValueError(f"the fits compared must be of different k, got two of k = {k}")
        fits[k] = reading
    first, *others = fits
    for other in others:
        if not (np.array_equal(fits[first].x, fits[other].x) and fits[first].known.equals(fits[other].known)):
            raise ValueError(f"the fits compared must be of the same data, got others for k = {other} than for k = {first}")
        for name in _SAME[:2]:
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
    """The comparison of all fits; after an interrupt, of those that had been judged by then, at least of the first."""
    judged: dict[int, _Judged] = {}
    try:
        for k, reading in fits.items():
            judged[k] = _judged(reading)
    except KeyboardInterrupt:
        if not judged:
            k, reading = next(iter(fits.items()))
            judged[k] = _judged(reading, quickly=True)
        _warn_of_interrupt("before all fits were judged", judged)
    weights = _weights_of(prior_k, list(judged))
    elpds = {str(k): each.elpd for k, each in judged.items() if each.elpd is not None}
    diagnoses = {k: each.diagnosis for k, each in judged.items()}
    unfinished = tuple(k for k in ks or fits if k not in judged or fits[k].tree.attrs.get("interrupted"))
    trees = {k: each.tree for k, each in fits.items()}
    return Comparison(_table(fits, judged, weights), trees, elpds, diagnoses, seed, weights, unfinished, fits)


def _judged(reading: Reading, *, quickly: bool = False) -> _Judged:
    """One fit; quickly without refits of LOO and without evidence."""
    diagnosis = reading.ask(diagnosis_of)
    if not diagnosis.exists:
        return _Judged(None, diagnosis, np.nan, np.nan)
    try:
        elpd = loo(reading, refit=not quickly)
    except NoDensityError:
        return _Judged(None, diagnosis, np.nan, np.nan)
    return _Judged(elpd, diagnosis, *((np.nan, np.nan) if quickly else _evidence(reading)))


def _warn_of_interrupt(when: str, ks: Iterable[int]) -> None:
    warnings.warn(
        f"interrupted {when}: the comparison holds k = {', '.join(map(str, ks))}", InterruptedWarning, stacklevel=3
    )


def _table(fits: Mapping[int, Reading], judged: Mapping[int, _Judged], prior_k: pd.Series) -> pd.DataFrame:
    first = next(iter(fits.values()))
    elpds = {k: each.elpd for k, each in judged.items() if each.elpd is not None}
    compared, rows = _beside_the_best(elpds, first.known.counts(len(first.x))), []
    for k, (elpd, diagnosis, value, mcse) in judged.items():
        reading = fits[k]
        tree, (estimate, _) = reading.tree, reading.em
        em = tree["em_baseline"].attrs
        beside = compared.reindex([k]).iloc[0]
        rows.append(
            {
                "k": k,
                "elpd_loo": np.nan if elpd is None else float(elpd.elpd),
                "se": np.nan if elpd is None else float(elpd.se),
                "elpd_mcse": np.nan if elpd is None else float(elpd.elpd_mcse),
                "elpd_diff": float(beside["elpd_diff"]),
                "dse": float(beside["dse"]),
                "p_loo": np.nan if elpd is None else float(elpd.p),
                "bad_pareto_k": 0 if elpd is None else bad_k_hats(elpd),
                "refitted": 0 if elpd is None else refitted(elpd),
                "weight": float(beside["weight"]),
                "log_evidence": value,
                "mcse": mcse,
                **{name: np.nan if em.get("collapsed") else em[name] for name in ("bic", "aic", "icl", "log_likelihood")},
                "em_spurious": len(spurious(estimate, tree.attrs["covariance"], reading.known.total(len(reading.x)))),
                "occupied": expected_occupied(reading),
                "converged": diagnosis.converged,
                "finding": next((each.kind for each in diagnosis.findings if each.kind not in USABLE), ""),
                "divergences": int(diagnosis.sampler.get("divergences", 0)),
                "seconds": sum(v for name, v in tree.attrs.items() if str(name).startswith("seconds_")),
            }
        )
    table = pd.DataFrame(rows)
    with np.errstate(divide="ignore", under="ignore"):
        joint = table["log_evidence"].to_numpy() + np.log(prior_k.to_numpy())
        exists = table["elpd_loo"].notna().to_numpy()
        p_k = np.where(exists, np.exp(joint - logsumexp(joint[exists])), np.nan) if exists.any() else np.nan
    table.insert(int(table.columns.get_loc("mcse")) + 1, "p_k", p_k)
    return table


def _beside_the_best(elpds: Mapping[int, Any], counts: FloatArray) -> pd.DataFrame:
    """By k: elpd_diff to the best, its standard error dse, and the stacking weight."""
    if len(elpds) < 2:
        return pd.DataFrame({"elpd_diff": 0.0, "dse": 0.0, "weight": 1.0}, index=list(elpds))
    if any(hasattr(each, "subsample_size") for each in elpds.values()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # bad k-hats: in the column bad_pareto_k
            found = az.compare({str(k): each for k, each in elpds.items()}, round_to="none")
        return found.set_axis(found.index.astype(int))
    of_counts = {k: each.elpd_i.values / counts for k, each in elpds.items()}
    best = max(elpds, key=lambda k: float(elpds[k].elpd))
    rows = {
        k: {"elpd_diff": float(counts @ (each - of_counts[best])), "dse": error_of_sum(each - of_counts[best], counts)}
        for k, each in of_counts.items()
    }
    weights = stacking(np.stack(list(of_counts.values()), axis=1), counts)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["elpd_diff", "dse"]).assign(weight=weights)


def _evidence(reading: Reading) -> tuple[float, float]:
    """Log evidence and its error; none of an approximation, nor of too few draws."""
    if reading.tree.attrs.get("method") == "advi" or reading.tree.attrs.get("prior") == "custom model":
        return np.nan, np.nan
    try:
        found = log_evidence(reading, random_seed=0)
        if found.mcse > _LARGE_ERROR:
            found = log_evidence(reading, effort=_MORE_EFFORT, random_seed=0)
    except ValueError:  # too few draws, as after an interrupt, or too many components
        return np.nan, np.nan
    return found.value, found.mcse
