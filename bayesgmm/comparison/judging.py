"""Judgement of each fit in a comparison: prediction, evidence, diagnosis, and its row in the table."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import arviz as az
import numpy as np
import pandas as pd
from scipy.special import logsumexp

from bayesgmm.analysis.clusters import expected_occupied
from bayesgmm.analysis.diagnosis import Diagnosis, diagnosis_of
from bayesgmm.analysis.findings import USABLE
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.solutions import stacking
from bayesgmm.comparison.evidence import log_evidence
from bayesgmm.comparison.leave_one_out import NoDensityError, bad_k_hats, error_of_sum, loo, refitted
from bayesgmm.em.result import spurious

_LARGE_ERROR = 0.15  # standard error of a log evidence above which more effort is made
_MORE_EFFORT = 8.0


class Judged(NamedTuple):
    """Judgement of one fit. elpd is None if the posterior is improper or has collapsed."""

    elpd: Any
    diagnosis: Diagnosis
    log_evidence: float
    mcse: float


def judge(reading: Reading, *, quickly: bool = False) -> Judged:
    """Judge one fit. ``quickly`` skips the refits of LOO and the evidence."""
    diagnosis = reading.ask(diagnosis_of)
    try:
        elpd = loo(reading, refit=not quickly) if diagnosis.exists else None
    except NoDensityError:
        elpd = None
    return Judged(elpd, diagnosis, *((np.nan, np.nan) if quickly or elpd is None else _evidence(reading)))


def table_of(fits: Mapping[int, Reading], judged: Mapping[int, Judged], prior_k: pd.Series) -> pd.DataFrame:
    """The table of a comparison: see :class:`bayesgmm.Comparison`."""
    first = next(iter(fits.values()))
    elpds = {k: each.elpd for k, each in judged.items() if each.elpd is not None}
    compared, rows = beside_the_best(elpds, first), []
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
                "em_spurious": len(spurious(estimate, tree.attrs["covariance"], reading.total)),
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


def beside_the_best(elpds: Mapping[Any, Any], reading: Reading) -> pd.DataFrame:
    """By k, or by other names of the models: elpd_diff to the best, its standard error dse, and the stacking weight.

    If the trees hold a sample of the rows, dse includes the sampling error.
    """
    counts, whole = reading.observations.counts, reading.whole
    if len(elpds) < 2:
        return pd.DataFrame({"elpd_diff": 0.0, "dse": 0.0, "weight": 1.0}, index=_index(elpds))
    if whole is None and any(hasattr(each, "subsample_size") for each in elpds.values()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # bad k-hats: in the column bad_pareto_k
            found = az.compare({str(k): each for k, each in elpds.items()}, round_to="none")
        names = {str(k): k for k in elpds}
        return found.set_axis(_index(names[each] for each in found.index))
    of_counts = {k: each.elpd_i.values / counts for k, each in elpds.items()}
    best = max(elpds, key=lambda k: float(elpds[k].elpd))
    rows = {}
    for k, each in of_counts.items():
        apart = each - of_counts[best]
        difference, error = float(counts @ apart), error_of_sum(apart, counts)
        if whole is not None:
            factor = whole.total / counts.sum()
            by_em = [elpds[one].elpd_loo_approx.values / counts for one in (k, best)]
            of_sample = factor * error_of_sum(apart - (by_em[0] - by_em[1]), counts)
            difference, error = elpds[k].elpd - elpds[best].elpd, float(np.hypot(np.sqrt(factor) * error, of_sample))
        rows[k] = {"elpd_diff": difference, "dse": error}
    weights = stacking(np.stack(list(of_counts.values()), axis=1), counts)
    return pd.DataFrame(list(rows.values()), index=_index(rows)).assign(weight=weights)


def _index(names: Iterable[Any]) -> pd.Index:
    return pd.Index(list(names), tupleize_cols=False)


def _evidence(reading: Reading) -> tuple[float, float]:
    """Log evidence and its standard error; NaN for ADVI, a custom model, too few draws or too many components."""
    if reading.tree.attrs.get("method") == "advi" or reading.tree.attrs.get("prior") == "custom model":
        return np.nan, np.nan
    try:
        found = log_evidence(reading, random_seed=0)
        if found.mcse > _LARGE_ERROR:
            found = log_evidence(reading, effort=_MORE_EFFORT, random_seed=0)
    except ValueError:  # too few draws, as after an interrupt, or too many components
        return np.nan, np.nan
    return found.value, found.mcse
