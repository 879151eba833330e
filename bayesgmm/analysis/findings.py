"""What limits the use of draws, one kind of finding after another, each with a remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats

from bayesgmm.analysis.contract import group_of
from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.labels import WITHOUT_LABELS, LabelQuality
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.solutions import Solutions, missed_optima
from bayesgmm.words import Argument, Either, Sentence, Words

MAX_R_HAT = 1.01  # Vehtari et al. (2021)
_HOPELESS_R_HAT = 1.05  # above this, more draws are no remedy and an effective sample size means little
MIN_ESS_PER_CHAIN = 100  # Vehtari et al. (2021)
MIN_BFMI = 0.3  # Betancourt (2016)
MAX_K_HAT = 0.7  # Yao et al. (2018)
USABLE = ("improper", "stray", "labels", "missed", "interrupted")  # kinds of findings with which draws can still be used


@dataclass(frozen=True)
class Finding(Sentence):
    """Something that limits what the posterior can be used for, and what to do about it.

    Attributes
    ----------
    kind : str
    problem, remedy : str
        Texts that name Python arguments. The command line replaces these by its options (:class:`bayesgmm.words.Words`).
    numbers : dict of str to float
        The values that led to the finding.
    """

    kind: str
    problem: str
    remedy: str
    numbers: Mapping[str, float] = field(default_factory=dict)


def mixing_findings(
    invariants: pd.DataFrame, draws: Draws, found: Solutions | None, better: Words | str
) -> Iterator[Finding]:
    """Findings about convergence and effective sample size. ``better`` begins a remedy and names another engine."""
    if draws.n_chains < 2:
        yield Finding(
            "chains", "one chain cannot show whether it has converged", Words("run several: ", Argument("chains", 4))
        )
    if draws.n_draws < 4:
        yield Finding(
            "draws", f"{draws.n_draws} draws in each chain are too few to be judged", Words("raise ", Argument("draws"))
        )
        return
    if found is not None:
        worst = invariants["r_hat"].idxmax()
        numbers = {"r_hat": float(invariants["r_hat"].max())}
        evidence = f"R-hat of {worst} is {invariants['r_hat'].max():.4f} (> {MAX_R_HAT})"
        if found.table["steady"].sum() > 1:
            yield Finding(
                "solutions",
                f"the chains sit in different solutions and have not converged ({found.in_words()}): {evidence}",
                Words(
                    better,
                    "do not average over the solutions, because the number of chains in each depends on where the chains "
                    "began; look at ",
                    Either(
                        "plots.plot_solutions, weigh the solutions by solutions(tree, weigh='stacking')",
                        "trace.png in --out",
                    ),
                    ", or use a smaller k",
                ),
                numbers,
            )
        else:
            one = "no chain sits apart from the others, but they mix too slowly"
            how = one if len(found) == 1 else "they move too slowly to have explored the posterior"
            yield Finding(
                "r_hat",
                f"the chains have not converged: {how}, {evidence}",
                Words(better, "run longer (raise ", Argument("draws"), "), or use a smaller k"),
                numbers,
            )
    if invariants["r_hat"].max() > _HOPELESS_R_HAT:
        return
    needed = MIN_ESS_PER_CHAIN * draws.n_chains
    for kind in ("ess_bulk", "ess_tail"):
        if (ess := float(invariants[kind].min())) < needed:
            enough = int(np.ceil(draws.n_draws * needed / max(ess, 1) / 100)) * 100
            yield Finding(
                kind,
                f"too few effective draws: {kind} of {invariants[kind].idxmin()} is {ess:.0f} (< {needed})",
                Words("raise ", Argument("draws"), f" to about {enough}"),
                {kind: ess, "draws": enough},
            )


def missed_findings(reading: Reading) -> Iterator[Finding]:
    """Findings about optima of EM that have a share of the posterior but too few draws."""
    for log_likelihood, mass, share in missed_optima(reading):
        yield Finding(
            "missed",
            f"EM found another solution (log-likelihood {log_likelihood:.2f}) with some {mass:.0%} of the posterior by "
            f"Laplace's method; no chain began there, and {share:.1%} of the draws lie near it",
            "if so small a part of the posterior matters, run more chains: each begins at a solution, chosen in proportion "
            "to its mass",
            {"log_likelihood": log_likelihood, "mass": mass, "share": share},
        )


def sampler_numbers(stats: xr.Dataset) -> dict[str, float]:
    """Divergences, smallest BFMI and draws at the largest tree depth, of those that the sampler recorded."""
    sampler: dict[str, float] = {}
    if "diverging" in stats:
        sampler["divergences"] = int(stats["diverging"].sum())
    if "energy" in stats and stats["energy"].sizes["draw"] >= 4:
        bfmi = stats["bfmi"].values if "bfmi" in stats else array_stats.bfmi(stats["energy"].values)
        sampler["smallest BFMI"] = float(bfmi.min())
    if "reached_max_treedepth" in stats:
        sampler["draws at largest tree depth"] = int(stats["reached_max_treedepth"].sum())
    return sampler


def sampler_trouble(tree: xr.DataTree) -> str:
    """Kind of the first finding about NUTS itself; empty if there is none."""
    stats = group_of(tree, "sample_stats")
    return next((each.kind for each in sampler_findings(stats, sampler_numbers(stats), gibbs_would_help=False)), "")


def sampler_findings(stats: xr.Dataset, sampler: Mapping[str, float], *, gibbs_would_help: bool) -> Iterator[Finding]:
    """Findings about NUTS itself."""
    if count := sampler.get("divergences"):
        yield Finding(
            "divergences",
            f"{count} divergent transition{'s' if count > 1 else ''}: parts of the posterior may be missed",
            Words(
                Words("compare with ", Argument("method", "gibbs"), ", ") if gibbs_would_help else "",
                "raise ",
                Argument("target_accept"),
                " (to 0.99), or use a smaller k",
            ),
            {"divergences": count},
        )
    if (bfmi := sampler.get("smallest BFMI", MIN_BFMI)) < MIN_BFMI:
        yield Finding(
            "energy",
            f"the energy moves too slowly: BFMI {bfmi:.2f} (< {MIN_BFMI})",
            Words("raise ", Argument("tune"), " and ", Argument("draws"), ", or use a more informative prior"),
            {"bfmi": bfmi},
        )
    count = sampler.get("draws at largest tree depth")
    if count and count > 0.01 * stats["reached_max_treedepth"].size:
        yield Finding(
            "tree depth",
            f"{count} draws reached the largest tree depth: sampling is slow",
            Words("raise ", Argument("tune"), ", or use a smaller k"),
            {"draws": count},
        )


def advi_findings(attrs: Mapping[Any, Any]) -> Iterator[Finding]:
    """Findings about ADVI, from the attributes of its group."""
    missing = [name for name in ("converged", "pareto_k", "importance_efficiency") if name not in attrs]
    if missing:
        raise ValueError(
            f"group approximation of tree must have the attributes {', '.join(missing)}, got none; pass what fit returned"
        )
    if not attrs["converged"]:
        yield Finding(
            "elbo",
            "ADVI did not converge: the averages of its last two windows still differ",
            Words("raise ", Argument("max_iter"), ", or use ", Argument("method", "nuts")),
        )
    if not attrs["pareto_k"] <= MAX_K_HAT:
        yield Finding(
            "k_hat",
            f"the approximation misses part of the posterior, at the least its tails: PSIS k-hat "
            f"{attrs['pareto_k']:.2f} (> {MAX_K_HAT}), "
            f"importance sampling efficiency {attrs['importance_efficiency']:.0%}",
            Words("check it against ", Argument("method", "nuts")),
            {"pareto_k": attrs["pareto_k"], "importance_efficiency": attrs["importance_efficiency"]},
        )


def label_findings(parameters: pd.DataFrame, draws: Draws, labels: LabelQuality, *, relabelled: bool) -> Iterator[Finding]:
    """Findings about single clusters, for draws whose label-invariant quantities have converged."""
    if not labels.trusted:
        yield Finding(
            "labels",
            f"single clusters cannot be told apart: in {labels.non_permutation_rate:.0%} of the draws the components do not "
            f"match the clusters one to one, in {labels.ambiguous:.0%} another numbering is nearly as plausible",
            Words(
                "" if relabelled else Either("if the draws have not been relabelled, call bayesgmm.relabel; else ", ""),
                "use answers that need no labels ",
                WITHOUT_LABELS,
                ", or a smaller k",
            ),
            {"non_permutation_rate": labels.non_permutation_rate, "ambiguous": labels.ambiguous},
        )
        return
    worst = parameters["r_hat"].idxmax()
    needed = MIN_ESS_PER_CHAIN * draws.n_chains
    if parameters["r_hat"].max() > MAX_R_HAT or parameters["ess_bulk"].min() < needed:
        yield Finding(
            "labels",
            f"the density has converged but single clusters have not: R-hat of {worst} is {parameters['r_hat'].max():.3f}, "
            f"smallest ess_bulk {parameters['ess_bulk'].min():.0f}",
            Words(
                "use answers that need no labels ",
                Either("(predictive_density, partition)", WITHOUT_LABELS.shell),
                "; draw more, or use a smaller k, before describing single clusters",
            ),
            {"r_hat": float(parameters["r_hat"].max()), "ess_bulk": float(parameters["ess_bulk"].min())},
        )
