"""One of many fits: from the values of a key to a row of the table."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from bayesgmm import exceptions
from bayesgmm.analysis.attempts import read_attempts
from bayesgmm.analysis.diagnosis import diagnosis_of
from bayesgmm.analysis.impropriety import OfData, settled
from bayesgmm.analysis.quantities import labelled_quantities
from bayesgmm.analysis.reading import Reading
from bayesgmm.arguments import FloatArray
from bayesgmm.comparison.evidence import log_evidence
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import read_fit_data
from bayesgmm.data.units import location_and_scale
from bayesgmm.em.fitting import fit_em
from bayesgmm.fitting import judged_fit
from bayesgmm.model.priors import read_prior
from bayesgmm.words import Words, said

Criterion = Literal["bic", "evidence"]
FAILED = "failed"  # the verdict of a key without a posterior
SOUND = "ok"
TAILS = 0.05, 0.95
STATISTICS = ("", " sd", *(f" {tail:.0%}" for tail in TAILS))  # of a parameter: its mean has the parameter's name
_OF_DATA = ("covariance", "missing", "noise", "rounding", "family")
_OF_EM = ("covariance", "family", "n_init")
_CATEGORIES = [each for each in vars(exceptions).values() if isinstance(each, type) and issubclass(each, Warning)]


@dataclass(frozen=True)
class How:
    """How every key is fitted: numbers of components, the criterion that chooses, the seed, and options of ``fit``."""

    ks: tuple[int, ...]
    criterion: Criterion
    seed: int
    features: tuple[str, ...]
    options: Mapping[str, Any]

    def seed_of(self, key: str) -> int:
        """The seed of a key's fit, which depends on nothing else."""
        words = np.frombuffer(hashlib.sha256(key.encode(errors="surrogatepass")).digest(), dtype="<u4")
        return int(np.random.SeedSequence([self.seed, *words.tolist()]).generate_state(1)[0] % 2**31)

    def fit(self, data: Observations, k: int, known: OfData, seed: int) -> Reading:
        """The posterior of k components."""
        reading = judged_fit(data, k, known, one_of_many=True, random_seed=seed, progressbar=False, **self.options)
        if reading.tree.attrs["interrupted"]:
            raise KeyboardInterrupt
        return reading


def fitted(keys: Sequence[str], values: Sequence[FloatArray | Words], how: How) -> list[dict[str, Any]]:
    """A row of the table for each key. A key that cannot be fitted gets a row that says why."""
    return [{"key": key, **_row(each, how, how.seed_of(key))} for key, each in zip(keys, values, strict=True)]


def _row(values: FloatArray | Words, how: How, seed: int) -> dict[str, Any]:
    if isinstance(values, Words):
        return _failed(values, seed)
    with warnings.catch_warnings():
        for category in _CATEGORIES:  # the verdict says what they say
            warnings.simplefilter("ignore", category)
        try:
            reading, more = _chosen(values, how, seed)
            return summary(reading) | more | {"seed": seed}
        except Exception as error:  # concerns this key alone
            text = said(error)
            return _failed(text if isinstance(text, Words) else " ".join(text.split()) or type(error).__name__, seed)


def _failed(problem: str, seed: int) -> dict[str, Any]:
    return {"verdict": FAILED, "converged": False, "problem": problem, "seed": seed}


def _chosen(values: FloatArray, how: How, seed: int) -> tuple[Reading, dict[str, float]]:
    """The fit of the only k, or of the best one, with its probability among those that were tried."""
    x: Any = pd.DataFrame(values, columns=list(how.features)) if how.features else values
    options = how.options
    of_data = {name: options[name] for name in _OF_DATA}
    data, ks, refused = None, [], None
    for k in how.ks:
        try:
            data, _ = read_fit_data(x, k, **of_data)
        except ValueError as error:
            refused = refused or error
            continue
        ks.append(k)
    if data is None:
        assert refused is not None
        raise refused
    covariance, family = options["covariance"], options["family"]
    prior = read_prior(options["prior"], data, covariance, family, ks)
    data, known = settled(data, ks, prior, covariance, family, options["rounding"])
    if len(how.ks) == 1:
        return how.fit(data, ks[0], known[ks[0]], seed), {}
    if how.criterion == "evidence":
        fits = {k: how.fit(data, k, known[k], seed) for k in ks}
        found = {k: _log_evidence(each, seed) for k, each in fits.items()}
        best, p_k = _best(found)
        return fits[best], {"log_evidence": found[best], "p_k": p_k}
    best, p_k = _best({k: _half_bic(data, k, how, seed) for k in ks})
    return how.fit(data, best, known[best], seed), {"p_k": p_k}


def _best(scores: Mapping[int, float]) -> tuple[int, float]:
    """The k of the highest log probability of the data, and its probability if all k are equally probable before."""
    log_p = np.array(list(scores.values()))
    if not np.isfinite(log_p).any():
        raise ValueError("no k can be judged: the evidence does not exist, or EM has collapsed for every k; give one k")
    best = max(scores, key=lambda k: scores[k])
    return best, float(np.exp(scores[best] - logsumexp(log_p[np.isfinite(log_p)])))


def _log_evidence(reading: Reading, seed: int) -> float:
    """The log evidence; minus infinity if it does not exist."""
    try:
        return log_evidence(reading, random_seed=seed).value
    except ValueError:
        return -np.inf


def _half_bic(data: Observations, k: int, how: How, seed: int) -> float:
    """-BIC / 2 of EM's estimate; minus infinity if a component has collapsed or holds hardly more than one observation."""
    em = fit_em(data, k, random_seed=seed, **{name: how.options[name] for name in _OF_EM})
    return -np.inf if em.collapsed or em.spurious else -em.bic() / 2


def summary(reading: Reading) -> dict[str, Any]:
    """The numbers of a fit: its verdict and how it was judged, and mean, sd and quantiles of every parameter."""
    found, attrs = reading.ask(diagnosis_of), reading.tree.attrs
    independent = "r_hat" not in found.invariants
    if independent:
        worth = float(found.sampler["importance sampling efficiency"]) * len(reading.draws.w)
    else:
        worth = float(found.invariants[["ess_bulk", "ess_tail"]].min(axis=None))
    row: dict[str, Any] = {
        "n": len(reading.x),
        "k": reading.draws.n_components,
        "verdict": ", ".join(dict.fromkeys(each.kind for each in found.findings)) or SOUND,
        "converged": found.converged,
        "problem": found.findings[0].sentence if found.findings else "",
        "method": attrs["method"],
        "tune": attrs.get("tune"),
        "thin": attrs.get("thin"),
        "engines_tried": max(len(read_attempts(reading.tree)), 1),
        "r_hat": np.nan if independent else float(found.invariants["r_hat"].max()),
        "ess": worth,
        "pareto_k": found.sampler.get("PSIS k-hat", np.nan),
        "bic": float(reading.tree["em_baseline"].attrs["bic"]),
    }
    for name, values in labelled_quantities(reading.tree):
        if not name.startswith("C0"):
            row |= _described(name, values.ravel())
    return row


def _described(name: str, draws: FloatArray) -> dict[str, float]:
    mean, sd = location_and_scale(draws) if np.ptp(draws) > 0 else (float(draws[0]), 0.0)
    numbers = [mean, sd, *np.quantile(draws, TAILS).tolist()]
    return dict(zip((f"{name}{statistic}" for statistic in STATISTICS), numbers, strict=True))
