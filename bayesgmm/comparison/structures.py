"""Comparison of several covariance structures, each with several k: one table, and one recommended structure and k."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from shutil import get_terminal_size
from textwrap import fill

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from bayesgmm.analysis.reading import Reading
from bayesgmm.arguments import Covariance
from bayesgmm.comparison.judging import beside_the_best
from bayesgmm.comparison.result import Comparison, as_printed
from bayesgmm.comparison.verdict import close_by_evidence, close_by_loo, not_ruled_out
from bayesgmm.em.result import n_parameters
from bayesgmm.words import Words, joined

Model = tuple[Covariance, int]
_WIDTH = 110


@dataclass(frozen=True)
class StructureComparison:
    """What :func:`compare` found for several covariance structures.

    Attributes
    ----------
    comparisons : dict of str to Comparison
        The comparison over k within each structure, as it would be without the others.
    """

    comparisons: Mapping[Covariance, Comparison] = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each structure and k.

        The columns are those of :attr:`Comparison.table`, after ``covariance``, and ``n_parameters`` after ``k``.
        ``elpd_diff``, ``dse``, ``weight`` and ``p_k`` compare all rows: ``p_k`` is the posterior probability of
        structure and k if all structures are equally probable beforehand.
        """
        parts = [each.table.assign(covariance=name) for name, each in self.comparisons.items()]
        table = pd.concat(parts, ignore_index=True)
        models = list(zip(table["covariance"], table["k"], strict=True))
        readings = {(name, k): self.comparisons[name].reading(k) for name, k in models}
        table["n_parameters"] = [n_parameters(each.em[0], name) for (name, _), each in readings.items()]
        elpds = {
            (name, int(k)): elpd for name, each in self.comparisons.items() for k, elpd in each.loo.items()
        }  # those that exist
        beside = beside_the_best(elpds, next(iter(readings.values())))
        for name in ("elpd_diff", "dse", "weight"):
            table[name] = [float(beside[name].get(model, np.nan)) for model in models]
        with np.errstate(divide="ignore", under="ignore"):
            prior = np.array([self.comparisons[name].prior_k[k] for name, k in models])
            joint = table["log_evidence"].to_numpy() + np.log(prior)
            exists = table["elpd_loo"].notna().to_numpy()
            table["p_k"] = np.where(exists, np.exp(joint - logsumexp(joint[exists])), np.nan) if exists.any() else np.nan
        first = ["covariance", "k", "n_parameters"]
        return table[first + [name for name in table if name not in first]]

    @property
    def best(self) -> dict[str, Model]:
        """The structure and k that each criterion prefers."""
        table = self.table
        return {name: _model(table, row) for name, row in _preferred(table).items()}

    @property
    def recommended(self) -> Model | None:
        """The model with the fewest parameters among those that neither LOO nor the evidence rules out.

        If prediction or evidence rules out every model, it is that of the largest evidence. None if none can be compared.
        """
        table = self.table
        found = _recommended(table)
        return None if found is None else _model(table, found)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer, and how sure it is."""
        table = self.table
        compared, recommended = _compared(table), _recommended(table)
        if recommended is None:
            return ("no model can be compared, because prediction and evidence exist for none",)
        left = not_ruled_out(compared)
        why = "the fewest parameters among the models that neither prediction (LOO) nor the evidence rules out"
        why = why if left else "the largest evidence, because prediction or evidence rules out every model"
        found = [f"recommended: {_listed(table, [recommended])}, with {why}"]
        others = [each for each in left if each != recommended]
        found.append(f"not ruled out either: {_listed(table, others)}" if others else "all other models are ruled out")
        best = _preferred(table)
        for name, criterion, close in (
            ("elpd_loo", "LOO", close_by_loo),
            ("log_evidence", "the evidence", close_by_evidence),
        ):
            if name in best:
                as_good = _listed(table, close(compared, best[name]))
                apart = f"cannot be told apart from {as_good}" if as_good else "is ahead of all others"
                found.append(f"{criterion} prefers {_listed(table, [best[name]])}, which {apart}")
        if "bic" in best:
            found.append(f"EM's BIC prefers {_listed(table, [best['bic']])}, ICL {_listed(table, [best['icl']])}")
        return tuple(found)

    @property
    def caveats(self) -> tuple[Words, ...]:
        """Sentences on the limits of the answer, for each structure."""
        told = {name: (*before, *after) for name, each in self.comparisons.items() for before, after in [each.caveats]}
        return tuple(Words(f"{name}: ", joined(some)) for name, some in told.items() if some)

    @property
    def verdict(self) -> str:
        """The answer and its limits."""
        return "; ".join([*self.sentences, *self.caveats])

    @property
    def first(self) -> Comparison:
        """The comparison of the first structure."""
        return next(iter(self.comparisons.values()))

    @property
    def unfinished(self) -> bool:
        """Whether the run was interrupted."""
        return any(each.unfinished for each in self.comparisons.values())

    def reading(self, model: Model) -> Reading:
        """The fit of a structure and k."""
        return self.comparisons[model[0]].reading(model[1])

    def as_text(self, width: int | None = None) -> str:
        """The answer, a row for each structure and k, and the caveats."""
        wide = _WIDTH if width is None else min(width, _WIDTH)
        lines = [fill(f"{each[0].upper()}{each[1:]}.", wide, subsequent_indent="  ") for each in self.sentences]
        shown = printed(self.table).to_string(index=False, line_width=width or max(60, get_terminal_size((140, 24)).columns))
        return "\n".join([*lines, "", shown, *(fill(each, wide, subsequent_indent="  ") for each in self.caveats)])

    def __repr__(self) -> str:
        return self.as_text()


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """The printed columns of the table, as text."""
    shown = as_printed(table.assign(model=table["k"], k=range(len(table)))).reset_index(drop=True)
    shown = shown.rename(columns={"p_k": "p"}).rename_axis(columns=None)
    shown.insert(0, "covariance", table["covariance"].to_numpy())
    shown.insert(1, "k", table["k"].to_numpy())
    return shown


def _compared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows for which prediction is defined."""
    return table[table["elpd_loo"].notna()]


def _recommended(table: pd.DataFrame) -> int | None:
    """The row of the recommended model."""
    compared = _compared(table)
    if compared.empty:
        return None
    left = not_ruled_out(compared)
    return int(compared.loc[left, "n_parameters"].idxmin() if left else compared["log_evidence"].idxmax())


def _preferred(table: pd.DataFrame) -> dict[str, int]:
    """The row that each criterion prefers."""
    found: dict[str, int] = {}
    for name in ("elpd_loo", "weight", "log_evidence", "p_k", "bic", "aic", "icl"):
        of_em = name in ("bic", "aic", "icl")
        values = (table if of_em else _compared(table))[name].dropna()
        if len(values):
            found[name] = int(values.idxmin() if of_em else values.idxmax())
    return found


def _model(table: pd.DataFrame, row: int) -> Model:
    return table.loc[row, "covariance"], int(table.loc[row, "k"])


def _listed(table: pd.DataFrame, rows: list[int]) -> str:
    """Models in words, grouped by structure."""
    ks: dict[str, list[str]] = {}
    for name, k in (_model(table, row) for row in rows):
        ks.setdefault(name, []).append(str(k))
    return "; ".join(f"{name} with k = {', '.join(some)}" for name, some in ks.items())
