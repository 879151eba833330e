"""Which k each criterion prefers, how decided that is, and one recommended k."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill, wrap
from typing import Any, Literal

import numpy as np
import pandas as pd

Criterion = Literal["loo", "evidence", "bic", "icl"]
_DECIDED = 2.0  # standard errors of a difference
_BAYES_FACTOR = np.log(3.0)  # below which evidence is "not worth more than a bare mention" (Kass & Raftery 1995)
_STRONG = 20  # Bayes factor that is strong evidence (Kass & Raftery 1995)
_UNKNOWN = 1.0  # standard error above which a log evidence is as good as unknown
SPURIOUS = "BIC, AIC and ICL favour components with hardly enough observations to determine them, and EM has such components"
_CRITERION = 2.0  # difference of BIC, roughly twice a log Bayes factor, not worth more than a mention


_LEAST_ROOM = 30  # characters for how sure an answer is; with fewer it goes on lines below


@dataclass(frozen=True)
class Answer:
    """A question about k, the k that answers it, and how sure that is."""

    question: str
    k: str
    how_sure: str


class Best(dict[str, int]):
    """The k that each criterion prefers, by the criterion's name; prints as sentences that say how decided that is."""

    def __init__(
        self, preferred: dict[str, int], sentences: tuple[str, ...], answers: tuple[Answer, ...], recommended: str
    ) -> None:
        super().__init__(preferred)
        self.sentences, self.answers, self.recommended = sentences, answers, recommended

    def as_text(self, width: int) -> str:
        """The recommended k, then a table of questions, answers, and how sure they are."""
        lines = [fill(f"Recommended: {self.recommended}.", width, subsequent_indent="  "), ""] if self.recommended else []
        rows = [Answer("question", "k", "how sure"), *self.answers]
        question, k = (max(len(getattr(each, name)) for each in rows) for name in ("question", "k"))
        beside = width - question - k - 4  # characters for how sure an answer is
        for each in rows:
            head = f"{each.question:<{question}}  {each.k:<{k}}"
            told = wrap(each.how_sure, beside if beside >= _LEAST_ROOM else width - 4)
            if beside >= _LEAST_ROOM:
                first, *told = told or [""]
                lines += [f"{head}  {first}".rstrip(), *(" " * (question + k + 4) + line for line in told)]
            else:
                lines += [*wrap(head, width), *("    " + line for line in told)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return "\n".join(fill(each, 110, subsequent_indent="  ") for each in self.sentences)


def preferences(by_k: pd.DataFrame) -> Best:
    """The k that each criterion prefers, from a table indexed by k. Prediction and evidence are compared where defined."""
    every, by_k = by_k, by_k[by_k["elpd_loo"].notna()]
    preferred: dict[str, int] = {}
    sentences, answers, recommended = [], [], ""
    if len(by_k):
        preferred = {"elpd_loo": int(by_k["elpd_loo"].idxmax()), "weight": int(by_k["weight"].idxmax())}
        loo, best = preferred["elpd_loo"], preferred["weight"]
        weight = f"{by_k.loc[best, 'weight']:.2f}"
        sentences = [_of_loo(by_k, loo), f"stacking gives k = {best} a weight of {weight}"]
        answers = [
            Answer("Which k predicts new observations best? (LOO)", str(loo), _decided_by_loo(by_k, loo)),
            Answer("Which k counts most in averaged predictions?", str(best), f"stacking weight {weight}"),
        ]
    if by_k["log_evidence"].notna().any():
        preferred |= {name: int(by_k[name].idxmax()) for name in ("log_evidence", "p_k") if by_k[name].notna().any()}
        best, probable = preferred["log_evidence"], preferred.get("p_k")
        sentences.append(_of_evidence(by_k, best, probable))
        answers.append(Answer("Under which k are the data most probable?", str(best), _decided_by_evidence(by_k, best)))
        if probable is not None:
            p_k = f"p(k | x) = {by_k.loc[probable, 'p_k']:.2f} among those compared"
            answers.append(Answer("Which k is most probable?", str(probable), p_k))
    if every["bic"].notna().any():
        preferred |= {name: int(every[name].idxmin()) for name in ("bic", "aic", "icl")}
        sentences.append(_of_em(every, preferred))
        ks, near = ", ".join(str(preferred[name]) for name in ("bic", "aic", "icl")), _near(every, preferred["bic"])
        answers.append(
            Answer("Which k has EM's best BIC, AIC, ICL?", ks, f"the BIC of k = {near} is nearly as good" if near else "")
        )
    if len(by_k) > 1:
        k, why = smallest_left(by_k)
        sentences.append(f"k = {k} is {why}")
        recommended = f"k = {k}, {why}"
    return Best(preferred, tuple(sentences), tuple(answers), recommended)


def choose(by_k: pd.DataFrame, criterion: Criterion) -> tuple[int, str]:
    """One k by one criterion, and sentences on how it was chosen and on what speaks against it."""
    without = by_k.index[by_k["elpd_loo"].isna()].tolist()
    if without and criterion in ("loo", "evidence"):
        raise ValueError(
            f"criterion={criterion!r} cannot be computed for k = {_listed(without)}; print the comparison for the reason, "
            "jitter rounded data (bayesgmm.jitter), or use criterion='bic' or 'icl'"
        )
    k, how = _chosen(by_k, criterion)
    unsettled = by_k.index[~by_k["converged"]].tolist()
    if unsettled:
        of_draws = criterion in ("loo", "evidence")
        but = "so this is provisional" if of_draws else f"but {criterion.upper()} is computed from EM's estimates"
        how += f"; the draws of k = {_listed(unsettled)} have not converged, {but}"
    spurious = by_k.index[by_k["em_spurious"] > 0].tolist()
    if spurious and criterion in ("bic", "icl"):
        how += f"; {SPURIOUS}: k = {_listed(spurious)}"
    return k, how


def _chosen(by_k: pd.DataFrame, criterion: Criterion) -> tuple[int, str]:
    if criterion == "loo":
        best = int(by_k["elpd_loo"].idxmax())
        k = int(by_k.index[by_k["elpd_diff"].abs() <= _DECIDED * by_k["dse"]].union([best]).min())
        return k, f"{_of_loo(by_k, best)}; k = {k} is the smallest that predicts as well within two standard errors"
    if criterion == "evidence":
        if by_k["log_evidence"].isna().any():
            none = _listed(by_k.index[by_k["log_evidence"].isna()].tolist())
            raise ValueError(
                f"criterion='evidence' needs the evidence of every k, got none for k = {none}; use more draws, or another "
                "criterion"
            )
        best, k = int(by_k["log_evidence"].idxmax()), int(by_k["p_k"].idxmax())
        return k, f"{_of_evidence(by_k, best, k)}; k = {k} is the most probable"
    preferred = {name: int(by_k[name].idxmin()) for name in ("bic", "aic", "icl")}
    return preferred[criterion], f"{_of_em(by_k, preferred)}; k = {preferred[criterion]} has the lowest {criterion.upper()}"


def smallest_left(by_k: pd.DataFrame) -> tuple[int, str]:
    """The smallest k that neither prediction nor evidence rules out, and the reason in words."""
    if len(by_k) == 1:
        return int(by_k.index[0]), "the only one compared"
    left, predicts = not_ruled_out(by_k), "prediction (LOO, differences above two standard errors)"
    if by_k["log_evidence"].isna().all():
        return min(left), f"the smallest k that {predicts} does not rule out"
    if left:
        return min(left), (
            f"the smallest k that neither {predicts} nor the evidence (Bayes factors above {_STRONG} and two Monte Carlo "
            "errors) rules out"
        )
    return (
        int(by_k["log_evidence"].idxmax()),
        f"the k of the largest evidence, because prediction or evidence rules out every k; {predicts} rules out this one",
    )


def not_ruled_out(by_model: pd.DataFrame) -> list[Any]:
    """The models, by their names in the index, that neither prediction nor, if there is any, the evidence rules out."""
    best = by_model["elpd_loo"].idxmax()
    left = [best, *close_by_loo(by_model, best)]
    if by_model["log_evidence"].isna().all():
        return left
    behind, error = _behind(by_model, by_model["log_evidence"].idxmax())
    return [each for each in left if not behind[each] > np.log(_STRONG) + _DECIDED * error[each]]


def close_by_loo(by_k: pd.DataFrame, best: Any) -> list[Any]:
    """The k with a prediction that cannot be told apart from that of the best."""
    return by_k.index[(by_k["elpd_diff"].abs() < _DECIDED * by_k["dse"]) & (by_k.index != best)].tolist()


def close_by_evidence(by_k: pd.DataFrame, best: Any) -> list[Any]:
    """The k with an evidence that cannot be told apart from that of the best."""
    behind, error = _behind(by_k, best)
    return by_k.index[(behind < np.maximum(_BAYES_FACTOR, _DECIDED * error)) & (by_k.index != best)].tolist()


def _behind(by_k: pd.DataFrame, best: Any) -> tuple[pd.Series, pd.Series]:
    """Log evidence of the best k minus that of each k, and the standard error of this difference."""
    return by_k.loc[best, "log_evidence"] - by_k["log_evidence"], np.hypot(by_k.loc[best, "mcse"], by_k["mcse"])


def _of_loo(by_k: pd.DataFrame, best: int) -> str:
    return f"by LOO k = {best} predicts best and {_decided_by_loo(by_k, best)}"


def _decided_by_loo(by_k: pd.DataFrame, best: int) -> str:
    close = close_by_loo(by_k, best)
    if close:
        return f"cannot be told apart from k = {_listed(close)} (less than two standard errors)"
    return "is better than every other k by more than two standard errors" if len(by_k) > 1 else "stands alone"


def _of_evidence(by_k: pd.DataFrame, best: int, most_probable: int | None) -> str:
    probable = "p(k | x) is unknown"
    if most_probable is not None:
        probable = f"k = {most_probable} has p(k | x) = {by_k.loc[most_probable, 'p_k']:.2f} among those compared"
    return f"the evidence prefers k = {best}, which {_decided_by_evidence(by_k, best)}, and {probable}"


def _decided_by_evidence(by_k: pd.DataFrame, best: int) -> str:
    behind, _ = _behind(by_k, best)
    close = close_by_evidence(by_k, best)
    if close:
        decided = f"cannot be told apart from k = {_listed(close)} (Bayes factors below 3, or within two Monte Carlo errors)"
    elif behind.drop(best).notna().any():
        second = int(behind.drop(best).idxmin())
        decided = f"is ahead of k = {second} by a log Bayes factor of {behind[second]:.1f}"
    else:
        decided = "stands alone"
    unsure = by_k.index[~(by_k["mcse"] <= _UNKNOWN)].tolist()
    return decided + (f" (the evidence of k = {_listed(unsure)} is as good as unknown)" if unsure else "")


def _of_em(by_k: pd.DataFrame, preferred: dict[str, int]) -> str:
    best = preferred["bic"]
    near = _near(by_k, best)
    hardly = f" (k = {near} within {_CRITERION:g})" if near else ""
    return f"EM's BIC prefers k = {best}{hardly}, AIC k = {preferred['aic']}, ICL k = {preferred['icl']}"


def _near(by_k: pd.DataFrame, best: int) -> str:
    """The k with a BIC nearly as good as that of the best, as text."""
    return _listed(by_k.index[(by_k["bic"] - by_k.loc[best, "bic"] < _CRITERION) & (by_k.index != best)].tolist())


def _listed(ks: list[int]) -> str:
    return ", ".join(map(str, ks))
