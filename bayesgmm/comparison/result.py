"""The result of a comparison of several k: the table, the fits, and the preferences of each criterion in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.analysis.diagnosis import Diagnosis
from bayesgmm.analysis.reading import Reading
from bayesgmm.comparison.verdict import SPURIOUS, Best, preferences
from bayesgmm.words import Words, joined

_PRINTED = {  # columns that are printed, and their formats
    **dict.fromkeys(("elpd_loo", "se"), "{:.1f}"),
    "elpd_mcse": "{:.2f}",
    **dict.fromkeys(("elpd_diff", "dse"), "{:.1f}"),
    "weight": "{:.2f}",
    "log_evidence": "{:.2f}",
    **dict.fromkeys(("mcse", "p_k"), "{:.3f}"),
    **dict.fromkeys(("bic", "icl", "occupied", "seconds"), "{:.1f}"),
}
ASKED = "asked_of_compare"  # attribute of its trees: the options, without prior and seed, which trees record anyway


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    table : DataFrame
        One row per k, in order of k. The columns:

        * ``k``;
        * prediction: ``elpd_loo`` with its standard error ``se`` and its Monte Carlo error ``elpd_mcse`` (NaN if LOO cannot
          be trusted); ``elpd_diff``, the difference to the best k, with its standard error ``dse`` (both standard errors
          divide by n - 1); ``p_loo``; ``bad_pareto_k``, the number of observations for which LOO cannot be trusted;
          ``refitted``, the number of observations left out by a refit; ``weight``, the stacking weight;
        * evidence: ``log_evidence`` with its Monte Carlo standard error ``mcse`` (NaN for more than 20 components); ``p_k``,
          the posterior probability of k among those compared;
        * EM: ``bic``, ``aic``, ``icl``, ``log_likelihood``; ``em_spurious``, the number of components that hold hardly more
          observations than are needed to determine them (:attr:`EMResult.spurious`);
        * draws: ``occupied``, the posterior mean of the number of clusters that hold an observation; ``converged``;
          ``finding``, the kind of the first finding of :func:`bayesgmm.diagnose` that keeps the draws from being used;
          ``divergences``; ``seconds``, compiling included.

        If the posterior of a k is improper or has collapsed, its prediction and evidence are NaN. If EM has collapsed, its
        criteria are NaN.
    fits : dict of int to DataTree
    loo : dict of str to ELPDData
        LOO results, ready for ``az.compare``.
    diagnoses : dict of int to Diagnosis
    seed : int or None
        The seed of the whole comparison; None if finished fits were passed.
    prior_k : Series
        The prior probabilities of the k compared, which add to one.
    best : Best
        The k that each criterion prefers, as a dict; prints as sentences that say how decided that is.
    weights : Series
        Stacking weights, by k.
    unfinished : tuple of int
        The k that were not fitted, or not compared with all their draws, because the run was interrupted.
    readings : dict of int to Reading
        The fits, with results that were computed on the way. The report uses these again.
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
        """The fit of one k, with results that were computed before."""
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
        """The sentences of the verdict."""
        before, after = self.caveats
        return (*before, *self.best.sentences, *after)

    @property
    def caveats(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Sentences to read before the answers, and sentences on their limits."""
        by_k = self.table.set_index("k")
        before: list[str] = [*self._left_out()]
        if self.unfinished:
            ks = ", ".join(map(str, self.unfinished))
            before.insert(0, f"interrupted, so that this is provisional: k = {ks} cut short or not compared at all")
        first = next(iter(self.diagnoses.values()))  # strays set the scale of the prior, which is the same for every k
        sentences = [text for each in first.findings if each.kind == "stray" for text in (each.problem, each.remedy)]
        samples = {each.subsample_size for each in self.loo.values() if hasattr(each, "subsample_size")}
        if samples:
            sentences.append(f"LOO is estimated from a sample of {max(samples)} observations")
        for condition, trouble in (
            (
                by_k["elpd_loo"].isna() & pd.Series({k: each.exists for k, each in self.diagnoses.items()}),
                "left out of prediction and evidence, because under some draws an observation has density zero",
            ),
            (
                by_k["bic"].isna(),
                "left out of BIC, AIC and ICL, because a component of EM's estimate sits on the variance floor or holds no "
                "observation",
            ),
            (by_k["em_spurious"] > 0, SPURIOUS),
            (~by_k["converged"], "not converged (see the column converged, and for remedies the diagnosis of these fits)"),
            (
                pd.Series({k: each.converged and not each.labels.trusted for k, each in self.diagnoses.items()}),
                "single clusters cannot be told apart, though densities have converged",
            ),
            (by_k["bad_pareto_k"] > 0, "LOO is unreliable at some observations"),
        ):
            if condition.any():
                sentences.append(f"{trouble}: k = {', '.join(map(str, by_k.index[condition]))}")
        return tuple(before), tuple(sentences)

    def _left_out(self) -> Iterator[str]:
        """Sentences on the k with an improper or collapsed posterior, and the remedy."""
        for kind in ("improper", "collapse"):
            of_k = {k: each.finding(kind) for k, each in self.diagnoses.items()}
            found = {k: each for k, each in of_k.items() if each is not None}
            if found:
                last = found[max(found)]
                ks = ", ".join(map(str, found))
                yield Words(f"k = {ks} left out of prediction and evidence: ", last.problem)
                yield last.remedy

    def __repr__(self) -> str:
        before, after = ([fill(each, 110, subsequent_indent="  ") for each in some] for some in self.caveats)
        table = as_printed(self.table).to_string(line_width=max(60, get_terminal_size((140, 24)).columns))
        return "\n".join([*before, self.best.as_text(110), "", table, *after])


def as_printed(table: pd.DataFrame) -> pd.DataFrame:
    """The printed columns of a comparison's table, as text, by k."""
    by_k = table.set_index("k").rename_axis(index=None, columns="k")
    shown = pd.DataFrame({name: by_k[name].map(text.format) for name, text in _PRINTED.items()}).rename_axis(columns="k")
    return shown.assign(converged=np.where(by_k["converged"], "yes", "no: " + by_k["finding"]))
