"""Verdicts: whether the posterior can be trusted, and whether it agrees with EM.

Convergence is judged on quantities that do not depend on the labels of the clusters; labelled parameters come second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from textwrap import fill

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats

from bayesgmm.em import EMResult, location_and_scale
from bayesgmm.labels import match
from bayesgmm.mixture import Mixture
from bayesgmm.predictive import log_density, log_likelihood
from bayesgmm.tree import CLUSTER, PARAMETERS, Draws, read_draws, read_em, read_observations
from bayesgmm.validation import FloatArray

MAX_R_HAT = 1.01  # Vehtari et al. (2021)
_HOPELESS_R_HAT = 1.05  # above this, more draws are no remedy and an effective sample size means little
MIN_ESS_PER_CHAIN = 100  # the same
MIN_BFMI = 0.3  # Betancourt (2016)
MAX_K_HAT = 0.7  # Yao et al. (2018)
MAX_MISMATCH = 0.05  # share of draws that EM's components would label otherwise
INTERVAL = 0.95
_POINTS = np.linspace(0.05, 0.95, 9)  # quantiles of the data at which densities are followed
_SPREAD_DRAWS = 400  # draws whose densities tell how far from their mean a posterior density lies


@dataclass(frozen=True)
class Finding:
    """Something that limits what the posterior can be used for, and what to do about it."""

    kind: str
    problem: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`diagnose` found.

    Attributes
    ----------
    invariants : DataFrame
        Label-invariant quantities: mean, sd, mcse_mean, ess_bulk, ess_tail, r_hat.
    parameters : DataFrame
        The same for labelled parameters and hyperparameters.
    sampler : dict
        Divergences, smallest BFMI and draws at the largest tree depth (NUTS); k-hat (ADVI).
    findings : tuple of Finding
    converged : bool
        Whether the label-invariant quantities have converged (for ADVI: the optimisation has, to a usable k-hat).
    """

    invariants: pd.DataFrame
    parameters: pd.DataFrame
    sampler: Mapping[str, float]
    findings: tuple[Finding, ...]
    converged: bool

    @property
    def ok(self) -> bool:
        """Whether there is no finding at all."""
        return not self.findings

    def __repr__(self) -> str:
        lines = [f"Diagnosis: {'ok' if self.ok else 'see the findings'}"]
        for each in self.findings:
            lines.append(fill(each.problem, 110, initial_indent="  - ", subsequent_indent="    "))
            lines.append(fill(f"remedy: {each.remedy}", 110, initial_indent="    ", subsequent_indent="    "))
        lines.append("  " + ", ".join(f"{name} {value:g}" for name, value in self.sampler.items()))
        lines += ["label-invariant quantities", _as_text(self.invariants)]
        lines += ["labelled parameters", _as_text(self.parameters)]
        return "\n".join(lines)


@dataclass(frozen=True)
class EMCheck:
    """What :func:`check_against_em` found.

    Attributes
    ----------
    table : DataFrame
        Per parameter: em, mean, sd, z = (em - mean) / sd, lower, upper and inside (the 95 % interval), tail
        (two-sided posterior probability beyond EM's value), mcse_mean, ess_bulk, ess_tail, r_hat.
        Empty if EM has another number of components.
    em_log_likelihood : float
        Of the EM estimate.
    log_likelihood : dict
        Mean, sd and maximum of the log-likelihood over the draws.
    total_variation : float
        Between EM's density and the posterior predictive density; 0 = equal, 1 = disjoint.
    total_variation_limit : float
        The 99 % quantile of the same distance for the draws' own densities.
    reasons : tuple of str
        Why they do not agree; empty if they do.
    """

    table: pd.DataFrame
    em_log_likelihood: float
    log_likelihood: Mapping[str, float]
    total_variation: float
    total_variation_limit: float
    reasons: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether posterior and EM agree."""
        return not self.reasons

    @property
    def verdict(self) -> str:
        """The answer in a sentence."""
        if self.ok:
            outside = ", ".join(self.table.index[~self.table["inside"].astype(bool)])
            but = (
                f" ({outside} outside the single {INTERVAL:.0%} interval, as one of {len(self.table)} may be)"
                if outside
                else ""
            )
            return (
                f"the posterior agrees with EM: the estimates lie in the joint {INTERVAL:.0%} interval{but}, and the "
                f"densities differ by {self.total_variation:.3f} in total variation, within the posterior's own spread "
                f"({self.total_variation_limit:.3f})"
            )
        return "the posterior does not agree with EM: " + "; ".join(self.reasons)

    def __repr__(self) -> str:
        likelihood = self.log_likelihood
        lines = [
            fill(f"EMCheck: {self.verdict}", 110),
            f"  log-likelihood: EM {self.em_log_likelihood:.2f}, posterior {likelihood['mean']:.2f} "
            f"(sd {likelihood['sd']:.2f}, highest {likelihood['max']:.2f})",
            f"  total variation between the densities: {self.total_variation:.4f} (limit {self.total_variation_limit:.4f})",
        ]
        return "\n".join([*lines, _as_text(self.table)] if len(self.table) else lines)


def diagnose(tree: xr.DataTree) -> Diagnosis:
    """Judge whether the draws can be used, and say what to do where they cannot.

    Label-invariant quantities come first: the log density at nine quantiles of the data, the log posterior, and the
    sorted weights. Labelled parameters can fail where these are fine, when labels switch.

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
        If the tree does not keep the contract.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Rank-normalization, folding, and localization: an improved
    R-hat for assessing convergence of MCMC, Bayesian Analysis 16, 667-718. doi:10.1214/20-BA1221
    """
    draws = read_draws(tree)
    invariants = _summary(_invariants(tree, draws))
    parameters = _summary(_labelled(tree))
    if tree.attrs.get("method") == "advi":
        findings, sampler = _advi_findings(tree)
        return Diagnosis(invariants, parameters, sampler, findings, converged=not findings)
    mixing = tuple(_mixing_findings(invariants, draws))
    sampler_findings, sampler = _sampler_findings(tree)
    findings = mixing + sampler_findings
    if not mixing:
        findings += tuple(_label_findings(parameters, draws))
    return Diagnosis(invariants, parameters, sampler, findings, converged=not mixing)


def check_against_em(tree: xr.DataTree, em: EMResult | None = None) -> EMCheck:
    """Compare the posterior with the EM estimate, parameter by parameter and as densities.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    em : EMResult, optional
        Compare with this estimate in place of the one stored in the tree.

    Returns
    -------
    EMCheck
        Prints as a table; ``.ok`` and ``.verdict``.

    Raises
    ------
    TypeError, ValueError
        If the tree does not keep the contract.

    Notes
    -----
    They agree if EM has the same number of components, every EM estimate lies in the joint 95 % interval of its
    parameter (Bonferroni: a two-sided tail probability of at least 0.05 / number of parameters), the draws carry EM's
    labels, no draw beats EM's log-likelihood by more than rounding, EM's density lies no further from the posterior
    predictive density than the draws' own densities do (99 % quantile of the total variation distance), and the chains
    have converged. EM maximises the likelihood, so the draws' log-likelihood lies below it, by half the
    number of parameters on average where the posterior is normal and the prior weak.
    """
    draws, x = read_draws(tree), read_observations(tree)
    if em is None:
        mixture, em_log_likelihood = read_em(tree)
    else:
        mixture = em.mixture
        em_log_likelihood = float(mixture.log_density(x).sum())
    same_k = mixture.n_components == draws.n_components
    table = _em_table(tree, mixture) if same_k else pd.DataFrame()
    per_draw = log_likelihood(draws, x)
    likelihood = {"mean": float(per_draw.mean()), "sd": float(per_draw.std()), "max": float(per_draw.max())}
    distance, limit = _total_variation(draws, mixture, x)

    reasons = []
    if not same_k:
        reasons.append(f"EM has {mixture.n_components} components, the posterior {draws.n_components}")
    else:
        outside = table[table["tail"] < (1 - INTERVAL) / max(len(table), 1)]
        if len(outside):
            named = ", ".join(f"{name} ({z:+.1f} sd)" for name, z in outside["z"].items())
            reasons.append(f"EM lies outside the joint {INTERVAL:.0%} interval of {named}")
        mismatch = float((match(draws, mixture) != np.arange(draws.n_components)).any(axis=1).mean())
        if mismatch > MAX_MISMATCH:
            reasons.append(
                f"{mismatch:.0%} of the draws carry other labels than EM's components (bayesgmm.relabel mends this)"
            )
    if likelihood["max"] > em_log_likelihood + 1e-6 * max(1.0, abs(em_log_likelihood)):
        reasons.append(
            f"a draw has a higher log-likelihood ({likelihood['max']:.2f}) than EM ({em_log_likelihood:.2f}), "
            "so EM stopped at a local optimum (raise n_init)"
        )
    if not distance <= limit:
        reasons.append(
            f"the densities differ by {distance:.3f} in total variation, more than the posterior's spread {limit:.3f}"
        )
    diagnosis = diagnose(tree)
    if not diagnosis.converged:
        reasons.append(f"the posterior cannot be judged: {diagnosis.findings[0].problem}")
    return EMCheck(table, em_log_likelihood, likelihood, distance, limit, tuple(reasons))


def _invariants(tree: xr.DataTree, draws: Draws) -> Iterator[tuple[str, FloatArray]]:
    points = np.quantile(read_observations(tree), _POINTS)
    for point, values in zip(points, log_density(draws, points).T, strict=True):
        yield f"log p({point:.4g})", draws.by_chain(values)
    if "sample_stats" in tree.children and "lp" in tree["sample_stats"]:
        yield "log posterior", tree["sample_stats"].to_dataset()["lp"].values
    for rank, values in enumerate(np.sort(draws.w, axis=1).T[::-1]):
        yield f"w, rank {rank}", draws.by_chain(values)


def _labelled(tree: xr.DataTree) -> Iterator[tuple[str, FloatArray]]:
    posterior = tree["posterior"].to_dataset()
    names = [*PARAMETERS, *(str(name) for name in posterior.data_vars if name not in PARAMETERS)]
    for name in names:
        values = posterior[name]
        if values.dims == ("chain", "draw", CLUSTER):
            for j in range(values.sizes[CLUSTER]):
                yield f"{name}[{j}]", values.values[:, :, j]
        elif values.dims == ("chain", "draw"):
            yield name, values.values


def _summary(quantities: Iterator[tuple[str, FloatArray]]) -> pd.DataFrame:
    """Mean, sd, Monte Carlo error and convergence of each quantity; a constant one (the weight for k = 1) is left out."""
    rows = {}
    for name, values in quantities:
        if np.ptp(values) == 0:
            continue
        mean, sd = location_and_scale(values)
        row = {"mean": mean, "sd": sd}
        if values.shape[1] >= 4:  # ArviZ splits chains in halves, each of which needs two draws
            standard = (values - mean) / sd  # squares of draws in the data's units could overflow
            axes = {"chain_axis": 0, "draw_axis": 1}
            row["mcse_mean"] = sd * float(array_stats.mcse(standard, **axes))
            row["ess_bulk"] = float(array_stats.ess(standard, method="bulk", **axes))
            row["ess_tail"] = float(array_stats.ess(standard, method="tail", prob=(0.05, 0.95), **axes))
            if len(values) > 1:
                row["r_hat"] = float(array_stats.rhat(standard, **axes))
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "sd", "mcse_mean", "ess_bulk", "ess_tail", "r_hat"])


def _mixing_findings(invariants: pd.DataFrame, draws: Draws) -> Iterator[Finding]:
    if draws.n_chains < 2:
        yield Finding("chains", "one chain cannot show whether it has converged", "run several: chains=4")
    if draws.n_draws < 4:
        yield Finding("draws", f"{draws.n_draws} draws in each chain are too few to be judged", "raise draws")
        return
    if invariants["r_hat"].max() > MAX_R_HAT:
        worst = invariants["r_hat"].idxmax()
        yield Finding(
            "r_hat",
            f"the chains have not converged: R-hat of {worst} is {invariants['r_hat'].max():.2f} (> {MAX_R_HAT})",
            "look at az.plot_trace; run longer (raise draws and tune), and if chains stay apart they sit in different "
            "solutions: try a smaller k or covariance='tied'",
        )
    if invariants["r_hat"].max() > _HOPELESS_R_HAT:
        return
    needed = MIN_ESS_PER_CHAIN * draws.n_chains
    for kind in ("ess_bulk", "ess_tail"):
        if invariants[kind].min() < needed:
            worst = invariants[kind].idxmin()
            yield Finding(
                kind,
                f"too few effective draws: {kind} of {worst} is {invariants[kind].min():.0f} (< {needed})",
                f"raise draws to some {int(np.ceil(draws.n_draws * needed / max(invariants[kind].min(), 1) / 100)) * 100}",
            )


def _sampler_findings(tree: xr.DataTree) -> tuple[tuple[Finding, ...], dict[str, float]]:
    findings: list[Finding] = []
    sampler: dict[str, float] = {}
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    if "diverging" in stats:
        count = int(stats["diverging"].sum())
        sampler["divergences"] = count
        if count:
            findings.append(
                Finding(
                    "divergences",
                    f"{count} divergent transitions: parts of the posterior may be missed",
                    "raise target_accept (to 0.95 or 0.99), or use a smaller k",
                )
            )
    if "energy" in stats and stats["energy"].sizes["draw"] >= 4:
        energy = stats["energy"].values
        bfmi = (np.diff(energy, axis=1) ** 2).mean(axis=1) / energy.var(axis=1)
        sampler["smallest BFMI"] = float(bfmi.min())
        if bfmi.min() < MIN_BFMI:
            findings.append(
                Finding(
                    "energy",
                    f"the energy moves too slowly: BFMI {bfmi.min():.2f} (< {MIN_BFMI})",
                    "raise tune and draws, or use a more informative prior",
                )
            )
    if "reached_max_treedepth" in stats:
        count = int(stats["reached_max_treedepth"].sum())
        sampler["draws at largest tree depth"] = count
        if count > 0.01 * stats["reached_max_treedepth"].size:
            findings.append(
                Finding(
                    "tree depth",
                    f"{count} draws reached the largest tree depth: sampling is slow",
                    "raise tune, or use a smaller k",
                )
            )
    return tuple(findings), sampler


def _advi_findings(tree: xr.DataTree) -> tuple[tuple[Finding, ...], dict[str, float]]:
    if "approximation" not in tree.children:
        raise ValueError("tree must have a group approximation for method 'advi'; pass what fit returned")
    attrs = tree["approximation"].attrs
    findings = []
    if not attrs["converged"]:
        findings.append(Finding("elbo", "ADVI has not converged", "raise max_iter, or use method='nuts'"))
    if not attrs["pareto_k"] <= MAX_K_HAT:
        findings.append(
            Finding(
                "k_hat",
                f"the approximation misses part of the posterior, at the least its tails: PSIS k-hat "
                f"{attrs['pareto_k']:.2f} (> {MAX_K_HAT}), "
                f"importance sampling efficiency {attrs['importance_efficiency']:.0%}",
                "check it against method='nuts'",
            )
        )
    return tuple(findings), {
        "PSIS k-hat": attrs["pareto_k"],
        "importance sampling efficiency": attrs["importance_efficiency"],
    }


def _label_findings(parameters: pd.DataFrame, draws: Draws) -> Iterator[Finding]:
    worst = parameters["r_hat"].idxmax()
    needed = MIN_ESS_PER_CHAIN * draws.n_chains
    if parameters["r_hat"].max() > MAX_R_HAT or parameters["ess_bulk"].min() < needed:
        yield Finding(
            "labels",
            f"the density has converged but single clusters have not: R-hat of {worst} is {parameters['r_hat'].max():.2f}, "
            f"smallest ess_bulk {parameters['ess_bulk'].min():.0f}",
            "use what does not depend on labels (predictive_density, comparison over k); draw more, or use a smaller k, "
            "before describing single clusters",
        )


def _em_table(tree: xr.DataTree, mixture: Mixture) -> pd.DataFrame:
    estimates = {
        f"{name}[{j}]": value
        for name, values in zip(PARAMETERS, (mixture.weights, mixture.means, mixture.sigma), strict=True)
        for j, value in enumerate(values)
    }
    labelled = {name: values for name, values in _labelled(tree) if name in estimates and np.ptp(values) > 0}
    summary = _summary(iter(labelled.items()))
    tail = (1 - INTERVAL) / 2
    bounds = np.array([np.quantile(values, [tail, 1 - tail]) for values in labelled.values()])
    em = np.array([estimates[name] for name in labelled])
    table = pd.DataFrame({"em": em, "mean": summary["mean"], "sd": summary["sd"]}, index=summary.index)
    table["z"] = (table["em"] - table["mean"]) / table["sd"]
    table["lower"], table["upper"] = bounds.T
    table["inside"] = (table["lower"] <= table["em"]) & (table["em"] <= table["upper"])
    below = np.array([(values < estimates[name]).mean() for name, values in labelled.items()])
    table["tail"] = 2 * np.minimum(below, 1 - below)
    return table.join(summary[["mcse_mean", "ess_bulk", "ess_tail", "r_hat"]])


def _total_variation(draws: Draws, mixture: Mixture, x: FloatArray) -> tuple[float, float]:
    """Distance between EM's density and the mean density of the draws, and the 99 % quantile of the draws' own distances.

    Half the integral of |p - q|, by the trapezoidal rule on a grid that reaches five standard deviations past the
    data and is finer where EM's components are.
    """
    spread = x.std()
    grid = np.unique(
        np.concatenate(
            [
                np.linspace(x.min() - 5 * spread, x.max() + 5 * spread, 1_000),
                *(np.linspace(m - 6 * s, m + 6 * s, 200) for m, s in zip(mixture.means, mixture.sigma, strict=True)),
            ]
        )
    )
    densities = np.exp(log_density(draws.thinned(_SPREAD_DRAWS), grid))
    mean = densities.mean(axis=0)
    em = np.exp(mixture.log_density(grid))
    own = 0.5 * np.trapezoid(np.abs(densities - mean), grid, axis=1)
    return float(0.5 * np.trapezoid(np.abs(em - mean), grid)), float(np.quantile(own, 0.99))


def _as_text(table: pd.DataFrame) -> str:
    formats = {
        "ess_bulk": "{:.0f}",
        "ess_tail": "{:.0f}",
        "r_hat": "{:.3f}",
        "z": "{:+.2f}",
        "mcse_mean": "{:.2g}",
        "tail": "{:.3f}",
    }
    formatters = {name: formats.get(name, "{:.4g}").format for name in table.columns if name != "inside"}
    return table.to_string(formatters=formatters)
