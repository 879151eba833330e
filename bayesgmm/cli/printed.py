"""The results of a fit or a comparison as text that names command-line options: the answer first, then the details."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from textwrap import fill

import pandas as pd

from bayesgmm.analysis.attempts import in_words
from bayesgmm.analysis.diagnosis import Diagnosis
from bayesgmm.analysis.judgement import meaning, sentence
from bayesgmm.analysis.quantities import as_text
from bayesgmm.cli.messages import in_shell
from bayesgmm.comparison.result import Comparison, as_printed
from bayesgmm.comparison.structures import StructureComparison, printed
from bayesgmm.html_report.blocks import PLAIN
from bayesgmm.html_report.fitted import Fitted

_WIDEST = 110  # columns of a line of prose
_WORST = 5  # rows of label-invariant quantities
_OF_CHAINS = ("ess_bulk", "ess_tail", "r_hat")
# columns that a narrow terminal can do without, the least needed first
_OF_DRAWS = ("mcse_mean", "ess_tail", "sd", "ess_bulk")
_OF_EM = ("ess_tail", "mcse_mean", "ess_bulk", "r_hat", "tail", "sd")
_OF_COMPARISON = ("seconds", "se", "mcse", "occupied", "weight", "icl", "dse", "bic", "p_k")


def fit_text(fitted: Fitted, width: int | None = None, *, worst: bool = False) -> str:
    """Text of a fit: the answer, its judgement, the clusters, data and model, the check against EM, and the draws.

    Tables leave out columns that do not fit into ``width``. With ``worst`` only the worst rows of the label-invariant
    quantities are listed, and no labelled parameters.
    """
    fitted, diagnosis = replace(fitted, signs=PLAIN), fitted.diagnosis
    parts = [f"{_filled(fitted.headline, width, '  ')}\n{_reliance(fitted, width)}", _clusters(fitted, width)]
    parts += [_filled(f"{fitted.data}, described by {fitted.model}. {fitted.of_noise()}", width), _against_em(fitted, width)]
    engines = in_words(fitted.tree)
    parts += [_filled(engines, width)] if engines else []
    parts.append(_of_draws(diagnosis, width, worst=worst))
    if not worst:
        labels = _filled(f"labelled parameters ({in_shell(diagnosis.labels.in_words)})", width)
        parts.append(f"{labels}\n{_fitted_in(diagnosis.parameters, width, _OF_DRAWS, as_text)}")
    return "\n\n".join(parts)


def comparison_text(comparison: Comparison | StructureComparison, width: int | None = None) -> str:
    """Text of a comparison: the recommended k, the questions with their answers, the table over k, and the caveats."""
    if isinstance(comparison, StructureComparison):
        told = [_filled(f"{each[0].upper()}{each[1:]}.", width, "  ") for each in comparison.sentences]
        rows = _fitted_in(printed(comparison.table), width, _OF_COMPARISON, partial(pd.DataFrame.to_string, index=False))
        return "\n".join([*told, "", rows, *(_filled(in_shell(each), width, "  ") for each in comparison.caveats)])
    before, after = ([_filled(in_shell(each), width, "  ") for each in some] for some in comparison.caveats)
    answers = comparison.best.as_text(_WIDEST if width is None else min(width, _WIDEST))
    table = _fitted_in(as_printed(comparison.table), width, _OF_COMPARISON, pd.DataFrame.to_string)
    return "\n".join([*before, answers, "", table, *after])


def _reliance(fitted: Fitted, width: int | None) -> str:
    """The judgement with its reason, or with the findings and their remedies."""
    judgement = fitted.judgement
    if not judgement.grounds:
        return _filled(f"{judgement.title}. {judgement.praise}", width)
    lines = [_filled(f"{judgement.title}. What was found:", width)]
    for each in judgement.grounds:
        lines.append(_filled(f"- {in_shell(each.problem)}", width, "    ", begin="  "))
        if meaning(each):
            lines.append(_filled(meaning(each), width, "    ", begin="    "))
        lines.append(_filled(f"remedy: {in_shell(each.remedy)}", width, "    ", begin="    "))
    found = fitted.diagnosis.solutions
    if found is not None and any(each.kind == "solutions" for each in fitted.diagnosis.findings):
        heading, *_ = str(found).splitlines()
        dispensable = [name for name in ("sd", *reversed(list(found.table))) if name not in ("chains", "share")]
        lines += [heading, _fitted_in(found.table, width, dispensable, as_text)]
    return "\n".join(lines)


def _clusters(fitted: Fitted, width: int | None) -> str:
    """Table with a row for each cluster, or with a column for each if that takes fewer lines."""
    table = fitted.table()
    frame = pd.DataFrame([row[1:] for row in table.rows], columns=table.columns[1:], index=[row[0] for row in table.rows])
    lines = min((each.to_string(line_width=width).splitlines() for each in (frame, frame.T)), key=len)
    return "\n".join([_filled(table.caption, width), *(each.rstrip(" \\") for each in lines)])


def _against_em(fitted: Fitted, width: int | None) -> str:
    check, likelihood = fitted.check, fitted.check.log_likelihood
    words = (
        f"log-likelihood: EM {check.em_log_likelihood:.2f}, posterior {likelihood['mean']:.2f} "
        f"(sd {likelihood['sd']:.2f}, highest {likelihood['max']:.2f})"
    )
    lines = [_filled(sentence(in_shell(check.verdict)), width), _filled(words, width)]
    if len(check.table):
        lines.append(_filled(f"labels: {in_shell(check.labels.in_words)}", width))
        of_chains = [name for name in _OF_CHAINS if name not in fitted.diagnosis.parameters]
        # its interval is of another probability than those of the clusters above
        table = check.table.drop(columns=["lower", "upper", "inside", *of_chains])
        lines.append(_fitted_in(table, width, _OF_EM, as_text))
    return "\n".join(lines)


def _of_draws(diagnosis: Diagnosis, width: int | None, *, worst: bool) -> str:
    lines = [_filled(f"The draws: {', '.join(f'{name} {value:.4g}' for name, value in diagnosis.sampler.items())}", width)]
    table, key = diagnosis.invariants, "ess_bulk"
    if worst and key not in table:  # draws from an approximation, which are independent
        return lines[0]
    few = worst and len(table) > _WORST
    shown = table.sort_values(key, kind="stable").head(_WORST) if few else table
    what = "label-invariant quantities: log density at points of the data, log posterior, sorted weights"
    lines = [*(lines if diagnosis.sampler else []), _filled(what, width), _fitted_in(shown, width, _OF_DRAWS, as_text)]
    return "\n".join([*lines, f"({len(table) - len(shown)} more rows, with a larger {key})"] if few else lines)


def _fitted_in(
    table: pd.DataFrame, width: int | None, dispensable: Sequence[str], text: Callable[[pd.DataFrame], str]
) -> str:
    """A table as text, without dispensable columns that do not fit into the width."""
    left_out: list[str] = []
    for each in [name for name in dispensable if name in table]:
        if width is None or max(map(len, text(table.drop(columns=left_out)).splitlines())) <= width:
            break
        left_out.append(each)
    lines = text(table.drop(columns=left_out))
    return f"{lines}\n{_filled(f'(no room for {", ".join(left_out)})', width)}" if left_out else lines


def _filled(text: str, width: int | None, indent: str = "", *, begin: str = "") -> str:
    most = _WIDEST if width is None else min(width, _WIDEST)
    return fill(" ".join(text.split()), most, initial_indent=begin, subsequent_indent=indent, break_on_hyphens=False)
