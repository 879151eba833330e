"""The result of many fits."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import shorten

import pandas as pd

from bayesgmm.many.one import FAILED, SOUND
from bayesgmm.many.table import parameters_of

_SHOWN = 5  # rows in the text


@dataclass(frozen=True, repr=False)
class ManyFits:
    """Result of :func:`fit_many`.

    Attributes
    ----------
    table : DataFrame
        A row for each key, in the order of the data:

        * ``n`` and ``k``, the numbers of rows and of components; ``verdict``: "ok", the kinds of
          :func:`bayesgmm.diagnose`'s findings, or "failed"; ``converged``; ``problem``, the first finding, or why there is
          no fit.
        * ``method``, the engine whose draws are kept, with ``tune`` and ``thin``; ``engines_tried``; ``r_hat``, the largest
          R-hat of the label-invariant quantities, and ``ess``, their smallest effective sample size (bulk or tail);
          ``pareto_k``, k-hat of importance sampling.
        * ``bic`` of EM's estimate; if k was chosen ``p_k``, the probability of the chosen k among those that were tried, and
          with ``criterion="evidence"`` its ``log_evidence``.
        * For each parameter, such as ``mu[0]``: its posterior mean, and in further columns its ``sd`` and its quantiles
          (``mu[0] sd``, ``mu[0] 5%``, ``mu[0] 95%``). They are NaN beyond the k of the row.
        * ``seed`` of the fit; ``settings`` (JSON) and a digest of the ``data``, by which a file is recognised.
    seed : int
        The seed of all fits.
    interrupted : bool
        Whether the run ended before all keys were fitted. The others are missing from ``table``.
    """

    table: pd.DataFrame
    seed: int
    interrupted: bool = False

    @property
    def failed(self) -> pd.Series:
        """Why there is no fit, by key, for the keys without one."""
        return self.table.loc[self.table["verdict"] == FAILED, "problem"]

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters: columns of ``table`` that hold posterior means."""
        return parameters_of(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        counts = self.table["verdict"].value_counts()
        order = sorted(counts.index, key=lambda each: (each != SOUND, each == FAILED, -counts[each]))
        lines = [f"{len(self)} fits: {', '.join(f'{counts[each]} {each}' for each in order)}"]
        lines += ["interrupted before all keys were fitted"] if self.interrupted else []
        of_k = self.table["k"].dropna().value_counts().sort_index()
        lines += [f"components: {', '.join(f'k = {k} in {count}' for k, count in of_k.items())}"] if len(of_k) > 1 else []
        for key, problem in self.failed.head(_SHOWN).items():
            lines.append(f"  failed: {key}: {shorten(problem, 100)}")
        lines += [f"  ... {len(self.failed) - _SHOWN} more failed"] if len(self.failed) > _SHOWN else []
        shown = self.table[["n", "k", "verdict", *self.parameters]].head(_SHOWN)
        rest = [f"... {len(self) - _SHOWN} more rows in .table"] if len(self) > _SHOWN else []
        return "\n".join([*lines, shown.to_string(float_format="{:.4g}".format, na_rep="", max_cols=12), *rest])
