"""Whether the draws can be trusted, and what to do if they cannot.

Convergence is judged on label-invariant quantities. Labelled parameters are judged only if these have converged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill

import numpy as np
import pandas as pd

from bayesgmm.analysis.attempts import read_attempts
from bayesgmm.analysis.contract import attribute, group_of
from bayesgmm.analysis.findings import (
    MAX_R_HAT,
    MIN_ESS_PER_CHAIN,
    USABLE,
    Finding,
    advi_findings,
    label_findings,
    missed_findings,
    mixing_findings,
    sampler_findings,
    sampler_numbers,
)
from bayesgmm.analysis.impropriety import COLLAPSE_REMEDY, existence, of_data
from bayesgmm.analysis.labels import LabelQuality, quality_of
from bayesgmm.analysis.quantities import as_text, invariant_summary, labelled_summary
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.solutions import Solutions, solutions
from bayesgmm.analysis.tree import is_relabelled
from bayesgmm.arguments import TRAITS
from bayesgmm.exceptions import ApproximationWarning, ConvergenceWarning, warn
from bayesgmm.words import Argument, Words

_FEW = 2_000  # observations up to which Gibbs makes thousands of sweeps per second
_FEW_WITH_MOVES = 20_000  # observations up to which Gibbs is suggested for one feature, unless variances are tied


@dataclass(frozen=True)
class Diagnosis:
    """Result of :func:`diagnose`.

    Attributes
    ----------
    invariants : DataFrame
        Label-invariant quantities: mean, sd, mcse_mean, ess_bulk, ess_tail, r_hat.
    parameters : DataFrame
        Labelled parameters and hyperparameters, with the columns of ``invariants``.
    sampler : dict
        Divergences, smallest BFMI and draws at the largest tree depth (NUTS); k-hat and efficiency of importance sampling
        (ADVI, "laplace").
    findings : tuple of Finding
    labels : LabelQuality
        Whether single clusters can be told apart: non-permutation rate and share of ambiguous draws.
    solutions : Solutions or None
        If the chains disagree: the solutions in which they sit; see :func:`bayesgmm.solutions`.
    converged : bool
        Whether the label-invariant quantities have converged. For ADVI: whether the optimisation has converged to a usable
        k-hat.
    """

    invariants: pd.DataFrame
    parameters: pd.DataFrame
    sampler: Mapping[str, float]
    findings: tuple[Finding, ...]
    labels: LabelQuality
    converged: bool
    solutions: Solutions | None = None

    @property
    def ok(self) -> bool:
        """True if there are no findings."""
        return not self.findings

    @property
    def exists(self) -> bool:
        """True if evidence and LOO exist: the posterior is proper, and no draw has collapsed onto equal observations."""
        return self.finding("improper") is None and self.finding("collapse") is None

    def finding(self, kind: str) -> Finding | None:
        """The first finding of a kind."""
        return next((each for each in self.findings if each.kind == kind), None)

    def warn(self) -> None:
        """Warn of every finding that keeps the draws from being used."""
        for each in self.findings:
            if each.kind not in USABLE:
                category = ApproximationWarning if each.kind == "k_hat" else ConvergenceWarning
                warn(each.sentence, category)

    def __repr__(self) -> str:
        lines = [f"Diagnosis: {'ok' if self.ok else 'see the findings'}"]
        for each in self.findings:
            lines.append(fill(each.problem, 110, initial_indent="  - ", subsequent_indent="    "))
            lines.append(fill(f"remedy: {each.remedy}", 110, initial_indent="    ", subsequent_indent="    "))
        lines += [
            "  " + ", ".join(f"{name} {value:g}" for name, value in self.sampler.items()),
            "label-invariant quantities (log density at points of the data, log posterior, sorted weights)",
            as_text(self.invariants),
        ]
        if any(each.kind == "solutions" for each in self.findings):
            lines.append(repr(self.solutions))
        lines.append(fill(f"labelled parameters ({self.labels})", 110))
        lines.append(as_text(self.parameters))
        return "\n".join(lines)


def diagnose(tree: Tree) -> Diagnosis:
    """Judge whether the draws can be used, and say what to do if they cannot.

    Convergence is judged on label-invariant quantities: log densities, the log posterior, the share of noise and the sorted
    weights. The log density is taken at nine quantiles of the data; for several features, at the observations at these
    quantiles along the two principal axes of the standardised data. When labels switch, these quantities may converge
    although labelled parameters do not. The limits are R-hat 1.01, 100 effective draws (bulk and tail) per chain, no
    divergences, BFMI 0.3, and 1 % of draws at the largest tree depth; for ADVI, convergence and a PSIS k-hat of 0.7.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.

    Returns
    -------
    Diagnosis
        Prints as tables; ``.ok``, ``.converged``, ``.findings`` with remedies.

    Raises
    ------
    TypeError, ValueError
        If the tree is incomplete or damaged.

    Notes
    -----
    The chains start at distinct optima that EM found within five units of log-likelihood of the best. A solution that
    neither EM nor a chain found goes unnoticed. A solution that EM found but no chain visited is reported if it holds at
    least one per cent of the posterior by Laplace's method.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Rank-normalization, folding, and localization: an improved
    R-hat for assessing convergence of MCMC, Bayesian Analysis 16, 667-718. doi:10.1214/20-BA1221

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.diagnose(tree).converged
    True
    """
    return Reading.of(tree).ask(diagnosis_of)


@np.errstate(under="ignore")
def diagnosis_of(reading: Reading) -> Diagnosis:
    """The diagnosis of a tree."""
    tree, draws, x = reading.tree, reading.draws, reading.x
    invariants = reading.ask(invariant_summary)
    parameters, labels = reading.ask(labelled_summary), reading.ask(quality_of)
    found = reading.ask(existence)
    collapse: tuple[Finding, ...] = ()
    if found.collapsed > 0:
        collapse = (Finding("collapse", found.collapse, COLLAPSE_REMEDY, {"share": found.collapsed}),)
    data = reading.ask(of_data)
    about_data = tuple(Finding("stray", each.problem, each.remedy) for each in data.strays)
    if data.improper is not None:
        about_data = (Finding("improper", data.improper.problem, data.improper.remedy), *about_data)
    sampler: dict[str, float]
    if "approximation" in tree.children:
        attrs = tree["approximation"].attrs
        trouble = collapse + tuple(advi_findings(attrs))
        sampler = {"PSIS k-hat": attrs["pareto_k"], "importance sampling efficiency": attrs["importance_efficiency"]}
        invariants, parameters = _of_independent(invariants), _of_independent(parameters)
        return Diagnosis(invariants, parameters, sampler, trouble + about_data, labels, converged=not trouble)
    if tree.attrs.get("method") == "laplace":
        return _of_weighted(reading, invariants, parameters, collapse, about_data)
    disagree = draws.n_draws >= 4 and invariants["r_hat"].max() > MAX_R_HAT
    apart = reading.ask(solutions) if disagree else None
    # Gibbs may help if NUTS sampled the package's own model, and the data are few enough for many sweeps
    with_moves = draws.n_features == 1 and not TRAITS[tree.attrs.get("covariance", "full")].shared
    few = reading.whole is None and len(x) <= (_FEW_WITH_MOVES if with_moves else _FEW)
    gibbs = tree.attrs.get("method") == "nuts" and tree.attrs.get("prior") != "custom model" and few
    gibbs = gibbs and not any(each.method == "gibbs" for each in read_attempts(tree))
    better = _other_engine(reading, gibbs_would_help=gibbs)
    mixing = collapse + tuple(mixing_findings(invariants, draws, apart, better))
    stats = group_of(tree, "sample_stats")
    sampler = sampler_numbers(stats)
    findings = mixing + tuple(sampler_findings(stats, sampler, gibbs_would_help=gibbs)) + about_data
    if tree.attrs.get("interrupted"):
        kept = " x ".join(str(tree["posterior"].sizes[name]) for name in ("chain", "draw"))
        findings += (Finding("interrupted", f"the run was interrupted; {kept} draws were kept", "let it run to its end"),)
    findings += tuple(missed_findings(reading))
    if not mixing:
        findings += tuple(label_findings(parameters, draws, labels, relabelled=is_relabelled(tree)))
    return Diagnosis(invariants, parameters, sampler, findings, labels, converged=not mixing, solutions=apart)


def _other_engine(reading: Reading, *, gibbs_would_help: bool) -> Words | str:
    """The beginning of a remedy that names an engine which may do better; empty if there is none."""
    attrs = reading.tree.attrs
    is_own = attrs.get("method", "nuts") in ("nuts", "gibbs") and attrs.get("prior") != "custom model"
    if is_own and reading.whole is None and not read_attempts(reading.tree):  # the engine was chosen by hand
        return Words("leave ", Argument("method"), " out, and fit changes the engine, or runs longer, by itself; ")
    if gibbs_would_help:
        return Words("try ", Argument("method", "gibbs"), ", which may mix faster than NUTS here; ")
    return ""


def _of_weighted(
    reading: Reading,
    invariants: pd.DataFrame,
    parameters: pd.DataFrame,
    collapse: tuple[Finding, ...],
    about_data: tuple[Finding, ...],
) -> Diagnosis:
    """Diagnosis of draws from importance resampling, which are independent except for repeated ones."""
    draws, labels = reading.draws, reading.ask(quality_of)
    k_hat, efficiency = (float(attribute(reading.tree, name)) for name in ("pareto_k", "importance_efficiency"))
    trouble, worth, needed = list(collapse), efficiency * len(draws.w), MIN_ESS_PER_CHAIN * draws.n_chains
    if worth < needed:
        enough = int(np.ceil(draws.n_draws * needed / worth / 100)) * 100
        remedy = Words("raise ", Argument("draws"), f" to about {enough}, or use ", Argument("method", "nuts"))
        problem = (
            f"too few effective draws: {len(draws.w)} weighted draws are worth {worth:.0f} independent ones (< {needed})"
        )
        trouble.append(Finding("ess_bulk", problem, remedy, {"ess_bulk": worth, "draws": enough}))
    findings = [*trouble, *about_data, *missed_findings(reading)]
    if not trouble and not labels.trusted:
        findings += label_findings(parameters, draws, labels, relabelled=is_relabelled(reading.tree))
    sampler = {"PSIS k-hat": k_hat, "importance sampling efficiency": efficiency}
    invariants, parameters = _of_independent(invariants), _of_independent(parameters)
    return Diagnosis(invariants, parameters, sampler, tuple(findings), labels, converged=not trouble)


def _of_independent(table: pd.DataFrame) -> pd.DataFrame:
    """A summary of independent draws, without the columns about chains."""
    return table[["mean", "sd", "mcse_mean"]]
