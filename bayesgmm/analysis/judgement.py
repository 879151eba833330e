"""The judgement of a fit, from its diagnosis and its check against EM. Every output shows the same judgement."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import xarray as xr

from bayesgmm.analysis.diagnosis import Diagnosis
from bayesgmm.analysis.em_check import EMCheck
from bayesgmm.analysis.findings import Finding
from bayesgmm.analysis.tree import CLUSTER
from bayesgmm.words import Words, joined

Level = Literal["good", "caution", "bad"]
EM = "em"  # kind of the finding from the check against EM
_TITLES = {  # for fits with findings of these kinds only
    ("labels",): "The sampling can be relied on, single clusters cannot",
    ("improper",): "The draws agree with one another, but the posterior is improper",
    (EM,): "The draws agree with one another, but not with EM",
    ("missed",): "The draws agree with one another, but EM found another solution",
    ("missed", EM): "The draws agree with one another, but EM found another solution",
}
_MEANINGS = {
    "missed": "The draws may lack a part of the posterior. The finding says how large that part is. In that part the "
    "clusters are those of EM's other solution, not those shown here. Intervals may be too narrow.",
    EM: "EM gives the point of highest likelihood. The draws show all that data and prior leave possible. The two may "
    "differ without a fault if the prior is strong, if observations are few, or if EM's solution is narrow and holds hardly "
    "any of the posterior. The clusters shown here are those of the draws, not EM's.",
    "labels": "The draws agree on the density. Statements about a cluster by its number mean little; densities, partitions "
    "and co-clustering are fine.",
}


@dataclass(frozen=True)
class Judgement:
    """Whether a fit can be relied on."""

    level: Level  # "good" if and only if nothing was found and EM agrees
    title: str
    grounds: tuple[Finding, ...]  # findings against the fit, including that of the check against EM
    praise: str = ""  # why the fit can be relied on, if there are no findings

    @property
    def sentences(self) -> tuple[str, ...]:
        """The findings, each followed by its meaning."""
        return self.told(str)

    def told(self, speak: Callable[[str], str]) -> tuple[str, ...]:
        """The sentences, after ``speak`` has translated each problem, for example into the words of the shell."""
        if not self.grounds:
            return (self.praise,)
        told = (text for each in self.grounds for text in (sentence(speak(each.problem)), meaning(each)))
        return tuple(each for each in told if each)


def judgement_of(tree: xr.DataTree, diagnosis: Diagnosis, check: EMCheck) -> Judgement:
    """The judgement of a tree, given its diagnosis and its check against EM."""
    grounds, problem = diagnosis.findings, ""
    if not diagnosis.converged:
        return Judgement("bad", "Not to be relied on as it stands", grounds)
    if check.reasons:
        problem = Words("posterior and EM differ: ", joined(check.reasons))
    elif check.unjudged and not grounds:
        problem = Words("whether the posterior agrees with EM cannot be judged: ", joined(check.unjudged))
    if problem:
        remedy = "before you use the posterior or EM's estimate, compare their clusters in the check against EM"
        grounds += (Finding(EM, problem, remedy),)
    if grounds:
        kinds = tuple(dict.fromkeys(each.kind for each in grounds))
        return Judgement("caution", _TITLES.get(kinds, "To be used with reservations"), grounds)
    if tree.attrs.get("method") == "advi":
        why = (
            "the approximation has converged, its k-hat is within the limit, and it agrees with EM. It is still an "
            "approximation"
        )
    elif tree.attrs.get("method") == "laplace":
        why = "k-hat says that the weights of the draws can be trusted, and posterior and EM agree"
    elif tree["posterior"].sizes[CLUSTER] == 1:
        why = "all monitored quantities have converged, and posterior and EM agree"
    else:
        why = "the chains agree, the clusters can be told apart, and posterior and EM agree"
    return Judgement("good", "The sampling can be relied on", (), f"All diagnostics passed: {why}.")


def meaning(found: Finding) -> str:
    """What a finding means for the results; empty if its problem already says so."""
    return _MEANINGS.get(found.kind, "")


def sentence(text: str) -> str:
    """The text with a full stop, and with a capital letter unless it begins with a symbol."""
    text = text.strip()
    symbol = re.match(r"(?!a )[a-z]\b(?!')", text)  # as in k = 3, k-hat
    return (text if symbol else text[:1].upper() + text[1:]) + ("" if text.endswith((".", "?", "!")) else ".")
