"""Whether the draws can be trusted, and what to do where they cannot.

Convergence is judged on quantities that do not depend on the labels of the clusters; labelled parameters come second.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats
from numpy.typing import NDArray

from bayesgmm.predictive import log_density
from bayesgmm.standardisation import location_and_scale
from bayesgmm.tree import CLUSTER, DRAWN, FEATURE, FEATURE_BIS, OBS, Draws, read_draws, read_observations
from bayesgmm.validation import FloatArray

MAX_R_HAT = 1.01  # Vehtari et al. (2021)
_HOPELESS_R_HAT = 1.05  # above this, more draws are no remedy and an effective sample size means little
MIN_ESS_PER_CHAIN = 100  # the same
MIN_BFMI = 0.3  # Betancourt (2016)
MAX_K_HAT = 0.7  # Yao et al. (2018)
_FEW = 2_000  # observations, through which Gibbs sweeps thousands of times in a second
_COLLAPSED = 1e-6  # standard deviation within a cluster, over the data's range, that stands for none
_LONGEST = 40  # rows of a table that are printed
_POINTS = np.linspace(0.05, 0.95, 9)  # quantiles of the data at which densities are followed


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
        lines += [
            "label-invariant quantities (log density at points of the data, log posterior, sorted weights)",
            as_text(self.invariants),
        ]
        lines += ["labelled parameters", as_text(self.parameters)]
        return "\n".join(lines)


def diagnose(tree: xr.DataTree) -> Diagnosis:
    """Judge whether the draws can be used, and say what to do where they cannot.

    Label-invariant quantities come first: the log density at nine quantiles of the data (for several features: at the
    observations that stand at these quantiles along each of the two principal axes of the standardised data), the log
    posterior, and the sorted weights. Labelled parameters can fail where these are fine, when labels switch. Limits:
    R-hat 1.01, 100 effective draws (bulk and tail) for each chain, no divergences, BFMI 0.3, 1 % of draws at the largest
    tree depth; for ADVI, convergence and a PSIS k-hat of 0.7.

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

    Notes
    -----
    Chains can only be compared where they have been. They start at the distinct optima that EM's restarts found within
    five units of log-likelihood of the best; a solution that neither EM nor a chain found is not noticed.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Rank-normalization, folding, and localization: an improved
    R-hat for assessing convergence of MCMC, Bayesian Analysis 16, 667-718. doi:10.1214/20-BA1221
    """
    draws = read_draws(tree)
    x, positions = read_observations(tree), tree["observed_data"].to_dataset()["x"][OBS].values
    invariants = summarise(invariant_quantities(draws, x, _log_posterior(tree), positions))
    parameters = summarise(labelled_quantities(tree))
    if tree.attrs.get("method") == "advi":
        findings, sampler = _advi_findings(tree)
        chains = ["ess_bulk", "ess_tail", "r_hat"]  # of independent draws, about which they say nothing
        invariants, parameters = invariants.drop(columns=chains), parameters.drop(columns=chains)
        return Diagnosis(invariants, parameters, sampler, findings, converged=not findings)
    mixing = tuple(_collapse_findings(draws, x)) + tuple(
        _mixing_findings(invariants, draws, gibbs_would_help=_gibbs_would_help(tree, x))
    )
    sampler_findings, sampler = _sampler_findings(tree)
    findings = mixing + sampler_findings
    if not mixing:
        findings += tuple(_label_findings(parameters, draws))
    return Diagnosis(invariants, parameters, sampler, findings, converged=not mixing)


def _log_posterior(tree: xr.DataTree) -> FloatArray | None:
    if "sample_stats" in tree.children and "lp" in tree["sample_stats"]:
        return np.asarray(tree["sample_stats"]["lp"].values)
    return None


def invariant_quantities(
    draws: Draws, x: FloatArray, log_posterior: FloatArray | None = None, positions: NDArray[Any] | None = None
) -> Iterator[tuple[str, FloatArray]]:
    """Draws (chain, draw) of what does not depend on the labels: densities, log posterior, sorted weights.

    Of several features observations are called by their positions, which are 0, ..., n - 1 unless given.
    """
    names, points = _points(x, np.arange(len(x)) if positions is None else positions)
    for name, values in zip(names, log_density(draws, points).T, strict=True):
        yield name, draws.by_chain(values)
    if log_posterior is not None:
        yield "log posterior", log_posterior
    for rank, values in enumerate(np.sort(draws.w, axis=1).T[::-1]):
        yield f"w, rank {rank}", draws.by_chain(values)


def _points(x: FloatArray, positions: NDArray[Any]) -> tuple[list[str], FloatArray]:
    """Where densities are followed: at quantiles of one feature, at observations along the data's two principal axes."""
    if x.ndim == 1:
        points = np.quantile(x, _POINTS)
        return [f"log p({point:.5g}), {quantile:.0%}" for quantile, point in zip(_POINTS, points, strict=True)], points
    shift, scale = np.array([location_and_scale(np.ascontiguousarray(column)) for column in x.T]).T
    z = (x - shift) / scale
    axes = np.linalg.eigh(z.T @ z)[1][:, :-3:-1]
    axes *= np.sign(axes[abs(axes).argmax(axis=0), [0, 1]])
    places = np.round(_POINTS * (len(x) - 1)).astype(int)
    chosen = np.unique(np.argsort(z @ axes, axis=0, kind="stable")[places])
    return [f"log p(x[{position}])" for position in positions[chosen]], x[chosen]


def labelled_quantities(tree: xr.DataTree) -> Iterator[tuple[str, FloatArray]]:
    """Draws (chain, draw) of each single parameter, by its name."""
    posterior = tree["posterior"].to_dataset()
    parameters = [name for name in ("w", "mu", "sigma", "cov", "corr") if name in posterior]
    for name in [*parameters, *(str(each) for each in posterior.data_vars if each not in (*parameters, *DRAWN))]:
        values = posterior[name]
        if values.dims[:2] == ("chain", "draw") and set(values.dims[2:]) <= {CLUSTER, FEATURE, FEATURE_BIS}:
            labels = [values[dim].values.tolist() for dim in values.dims[2:]]
            for index, label in entries(name, values.dims[2:], labels):
                yield label, np.moveaxis(values.values, (0, 1), (-2, -1))[index]


def entries(name: str, dims: Sequence[Hashable], labels: Sequence[Sequence[Any]]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Index and name of every entry of a variable over clusters and features; of symmetric matrices the upper half."""
    symmetric = name in ("cov", "corr", "C0") and FEATURE_BIS in dims
    for index in np.ndindex(*map(len, labels)):
        if not symmetric or index[-2] <= index[-1]:
            called = ", ".join(str(each[i]) for each, i in zip(labels, index, strict=True))
            yield index, f"{name}[{called}]" if index else name


def summarise(quantities: Iterator[tuple[str, FloatArray]]) -> pd.DataFrame:
    """Mean, sd, Monte Carlo error and convergence of each quantity; a constant one (the weight for k = 1) is left out."""
    rows = {}
    for name, values in quantities:
        if np.ptp(values) == 0:
            continue
        mean, sd = location_and_scale(values.ravel())
        row = {"mean": mean, "sd": sd}
        if values.shape[1] < 4:  # ArviZ splits chains in halves, each of which needs two draws
            rows[name] = row
            continue
        with np.errstate(invalid="ignore", divide="ignore"):  # of a chain that stands still
            standard = (values - mean) / sd  # squares of draws in the data's units could overflow
            axes = {"chain_axis": 0, "draw_axis": 1}
            row["mcse_mean"] = sd * float(array_stats.mcse(standard, **axes))
            row["ess_bulk"] = float(array_stats.ess(standard, method="bulk", **axes))
            row["ess_tail"] = float(array_stats.ess(standard, method="tail", prob=(0.05, 0.95), **axes))
            if len(values) > 1:
                row["r_hat"] = float(array_stats.rhat(standard, **axes))
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "sd", "mcse_mean", "ess_bulk", "ess_tail", "r_hat"])


def _collapse_findings(draws: Draws, x: FloatArray) -> Iterator[Finding]:
    """Components that have shrunk onto equal or collinear observations, where the learnt scale C0 goes to zero with them."""
    sd = draws.factors if draws.n_features == 1 else np.diagonal(draws.factors, axis1=-2, axis2=-1)  # given those before
    share = float((sd / np.ptp(x, axis=0) < _COLLAPSED).reshape(len(sd), -1).any(axis=1).mean())
    if share > 0:
        yield Finding(
            "collapse",
            f"in {share:.0%} of the draws a component has shrunk onto equal or collinear observations (its sd is "
            f"below {_COLLAPSED:g} of the data's range in some direction): with many ties the posterior is improper",
            "use a ConjugatePrior, whose scale is fixed, covariance='tied' or a smaller k, or undo the rounding of the data",
        )


def _gibbs_would_help(tree: xr.DataTree, x: FloatArray) -> bool:
    """Whether the chains are NUTS's, of the package's own posterior, and observations few enough for many sweeps."""
    return tree.attrs.get("method") == "nuts" and tree.attrs.get("prior") != "custom model" and len(x) <= _FEW


def _mixing_findings(invariants: pd.DataFrame, draws: Draws, *, gibbs_would_help: bool) -> Iterator[Finding]:
    if draws.n_chains < 2:
        yield Finding("chains", "one chain cannot show whether it has converged", "run several: chains=4")
    if draws.n_draws < 4:
        yield Finding("draws", f"{draws.n_draws} draws in each chain are too few to be judged", "raise draws")
        return
    if invariants["r_hat"].max() > MAX_R_HAT:
        worst = invariants["r_hat"].idxmax()
        yield Finding(
            "r_hat",
            f"the chains have not converged: R-hat of {worst} is {invariants['r_hat'].max():.3f} (> {MAX_R_HAT})",
            ("try method='gibbs', which may pass between solutions that NUTS is slow to leave; " if gibbs_would_help else "")
            + "look at az.plot_trace, run longer (raise draws and tune), and if chains stay apart they sit in different "
            "solutions: try a smaller k",
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
        bfmi = array_stats.bfmi(stats["energy"].values)
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
        findings.append(
            Finding(
                "elbo",
                "ADVI did not converge: the averages of its last two windows still differ",
                "raise max_iter, or use method='nuts'",
            )
        )
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
            f"the density has converged but single clusters have not: R-hat of {worst} is {parameters['r_hat'].max():.3f}, "
            f"smallest ess_bulk {parameters['ess_bulk'].min():.0f}",
            "use what does not depend on labels (predictive_density, comparison over k); draw more, or use a smaller k, "
            "before describing single clusters",
        )


def as_text(table: pd.DataFrame) -> str:
    """A table of draws' summaries with as many digits as they deserve; of a long one the rows that are worst."""
    if len(table) > _LONGEST:
        key = "tail" if "tail" in table else "ess_bulk" if "ess_bulk" in table else "sd"
        shown = table.sort_values(key, kind="stable").head(_LONGEST // 2)
        return f"{as_text(shown)}\n({len(table) - len(shown)} more rows, with a larger {key})"
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
