"""Messages of the package in the words of the shell: options for arguments, results' files for functions."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bayesgmm.analysis.diagnosis import Diagnosis
    from bayesgmm.analysis.em_check import EMCheck

_OPTION = "missing|method|covariance|chains|engine|draws|tune|thin|cache"
_ONLY_ARGUMENTS = "target_accept|target_ess|max_draws|max_iter|n_init"  # words that mean nothing else
# in this order: whole remedies first, then values, then bare names
_TRANSLATIONS = [
    (r"use a ConjugatePrior", "use --prior conjugate"),
    (r"bayesgmm\.jitter\(x\)", "--jitter"),
    (
        r"scale the prior to the others, prior=HierarchicalPrior\(\)\.scaled_to\(others\), or leave them out of the data",
        "leave them out of the file, or scale the prior to the others in Python",
    ),
    (r"look at plots\.plot_solutions, weigh them by solutions\(tree, weigh='stacking'\)", "look at trace.png in --out"),
    (r"bayesgmm\.relabel, if the labels are still the sampler's; else ?", ""),
    (r" \(which bayesgmm\.relabel mends, unless the clusters cannot be told apart\)", ""),
    (r"\(predictive_density, partition(, coclustering)?\)", "(the density of all clusters together)"),
    (r" \(give em=fit_em\(x, k, max_iter=\.\.\.\)\)", " (raise --n-init)"),
    (r"\brandom_seed\b", "--seed"),
    (rf"\b({_OPTION}|{_ONLY_ARGUMENTS}|k)\s?=\s?'(\w+)'(?: or '(\w+)')?", r"--\1 \2 or \3"),
    (rf"\b({_OPTION}|{_ONLY_ARGUMENTS})\s?=\s?(\d+)", r"--\1 \2"),
    (rf"(?<!-)\b({_ONLY_ARGUMENTS})\b", r"--\1"),
    (r"\b(raise|lower|and) (draws|tune|chains|thin)\b", r"\1 --\2"),
    (rf"^({_OPTION}) (must|is)\b", r"--\1 \2"),
    (r"^(k|weights|means|sigma) must", r"--\1 must"),
    (r"^covariances must", "--covariance must"),
    (r"^n must", "-n must"),
    (r"^x must", "the data must"),
    (r"\b(column .+?) of x\b", r"\1 of the data"),
]


def in_shell_words(message: str | Exception) -> str:
    """One line that names options of the command line where the message names arguments in Python.

    Examples
    --------
    >>> in_shell_words("raise max_iter, or use method='nuts'")
    'raise --max-iter, or use --method nuts'
    """
    text = " ".join(str(message).split())
    for pattern, words in _TRANSLATIONS:
        text = re.sub(pattern, words, text)
    text = re.sub(r"(--[a-z]+ \w+) or (?!--|\w)", r"\1", text)  # of an alternative that was not there
    return re.sub(r"--[a-z]+(?:_[a-z]+)+", lambda option: option[0].replace("_", "-"), text)


def diagnosis_in_shell_words(diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis with its findings' remedies as options."""
    findings = tuple(
        replace(each, problem=in_shell_words(each.problem), remedy=in_shell_words(each.remedy))
        for each in diagnosis.findings
    )
    return replace(diagnosis, findings=findings)


def check_in_shell_words(check: EMCheck) -> EMCheck:
    """The check against EM with its reasons in the shell's words."""
    reasons, unjudged = (tuple(map(in_shell_words, each)) for each in (check.reasons, check.unjudged))
    return replace(check, reasons=reasons, unjudged=unjudged)
