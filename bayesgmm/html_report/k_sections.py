"""Sections on the number of components: of a comparison, and of the posterior of k."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.analysis.findings import MAX_R_HAT, MIN_ESS_PER_CHAIN
from bayesgmm.analysis.judgement import sentence
from bayesgmm.analysis.quantities import summarise
from bayesgmm.analysis.tree import features_of
from bayesgmm.comparison.result import Comparison
from bayesgmm.comparison.structures import StructureComparison, printed
from bayesgmm.data.observations import Observations
from bayesgmm.digits import with_digits
from bayesgmm.html_report import figures
from bayesgmm.html_report.blocks import (
    NONE,
    Block,
    Section,
    Table,
    Terms,
    Text,
    Verdict,
    count,
    counted,
    known_in_part,
    number,
    percent,
)
from bayesgmm.html_report.fit_sections import OF_CHAINS, draws_table
from bayesgmm.html_report.observed import feature_names, kind_of, observations
from bayesgmm.model.mixture import NOISE
from bayesgmm.plots.canvas import Clusters, known
from bayesgmm.plots.numbers import probable

_ASKED = {
    "LOO (elpd)": "How well one more observation is predicted. A difference within two standard errors decides nothing. A "
    "superfluous component costs little. Fewer components than the smallest k within two standard errors predict clearly "
    "worse, so this k is a lower bound.",
    "Stacking weight": "The weights with which an average over k predicts best. They do not say which k is true.",
    "Evidence, p(k | x)": "How probable the data are under model and prior. It depends on the prior of means and variances, "
    "by definition. A Bayes factor below 3 decides nothing.",
    "BIC, AIC, ICL": "Which point estimate has the best penalised likelihood; smaller is better. ICL also prefers clusters "
    "that are well apart.",
    "Occupied": "How many clusters hold data. If it stays below k, some components are superfluous.",
}


def comparison_section(comparison: Comparison, k: int) -> Section:
    """The section on the questions about k and their answers, and on the criteria over k and their meanings."""
    before, after = (" ".join(map(sentence, some)) for some in comparison.caveats)
    answers = [[each.question, each.k, each.how_sure] for each in comparison.best.answers]
    caption, columns = "Each question, the k that answers it, and how sure that is", ["question", "k", "how sure"]
    blocks: list[Block] = [*([Text(before)] if before else []), Table(caption, columns, answers)]
    blocks += [Text(after)] if after else []
    blocks += [figures.compare_picture(comparison), _criteria(comparison, k), Terms(_ASKED)]
    return Section("number", "How many components", blocks)


def structures_section(comparison: StructureComparison) -> Section:
    """The section on the covariance structures and k that were compared."""
    recommended, shown = comparison.recommended, printed(comparison.table)
    models = list(zip(comparison.table["covariance"], comparison.table["k"], strict=True))
    words = " ".join(map(sentence, comparison.sentences))
    caption = (
        "Each structure and k. elpd_diff, weight and p compare all rows; p is the posterior probability of structure and k. "
        "The sections below describe the recommended structure"
    )
    marked = None if recommended is None else models.index(recommended)
    blocks: list[Block] = [Text(words), Table(caption, list(shown), shown.astype(str).to_numpy().tolist(), marked=marked)]
    blocks += [Text(sentence(each)) for each in comparison.caveats]
    return Section("structures", "Which covariance structure", blocks)


def fits_pictures(comparison: Comparison) -> list[Block]:
    """The picture with the fit of every k, for the beginning of a comparison's report."""
    names = features_of(next(iter(comparison.fits.values())))
    return [figures.fits_picture(comparison, names[0] if len(names) > 1 else None)]


def _criteria(comparison: Comparison, k: int) -> Table:
    rows = []
    ks = comparison.table["k"].tolist()
    for row in comparison.table.itertuples():
        has, differs = np.isfinite(row.log_evidence), row.elpd_diff or row.dse
        cells = {
            "k": str(row.k),
            "elpd (LOO) ± SE": f"{number(row.elpd_loo, 1.0)} ± {number(row.se, 1.0)}",
            "difference ± SE": f"{number(row.elpd_diff, 1.0)} ± {number(row.dse, 1.0)}" if differs else "best",
            "weight": f"{row.weight:.2f}" if np.isfinite(row.weight) else NONE,
            "log evidence ± MCSE": f"{number(row.log_evidence, max(row.mcse, 0.1))} ± {number(row.mcse, row.mcse)}"
            if has
            else NONE,
            "p(k\N{NO-BREAK SPACE}|\N{NO-BREAK SPACE}x)": f"{row.p_k:.3f}" if has else NONE,
            "BIC": number(row.bic, 1.0),
            "ICL": number(row.icl, 1.0),
            "occupied": f"{row.occupied:.1f}",
            "bad k-hat": str(row.bad_pareto_k),
            "converged": "yes" if row.converged else f"no: {row.finding}",
        }
        rows.append(list(cells.values()))
    caption = (
        f"Criteria for each k; the report describes k = {k} in detail. SE: standard error, which shrinks with more "
        "observations; MCSE: Monte Carlo standard error, which shrinks with more draws"
    )
    return Table(caption, list(cells), rows, marked=ks.index(k))


def posterior_sections(tree: xr.DataTree) -> Iterator[Section]:
    """Sections on p(k | x) and the number of occupied clusters, on the partition, and on convergence."""
    rows = []
    for k, row in probable(tree).to_dataframe().iterrows():
        cells = [f"{row[name]:.3f} ± {row[f'{name}_mcse']:.3f}" for name in ("p_k", "p_occupied")]
        rows.append([str(k), *cells, f"{row['prior_k']:.3f}"])
    heads = ["k", "components: p(k | x)", "clusters that hold data", "prior of k"]
    blocks: list[Block] = [
        figures.numbers_picture(tree),
        Table("Posterior probabilities, with Monte Carlo standard errors", heads, rows),
        Text("Probabilities of k depend on the priors of k and of the components, by design: report them together."),
    ]
    yield Section("number", "How many components", blocks)
    group = tree["partition"]
    labels, data, names = group["partition"].to_numpy(), observations(tree), feature_names(tree)
    x, counts, of_groups = data.x, data.counts, []
    for j in np.unique(labels):
        inside, means = labels == j, []
        for column in x.T:
            own, c = known(column[inside]), counts[inside & ~np.isnan(column)]
            spread = (own.std() if len(own) else 0.0) or known(column).std()
            means.append(number(c @ own / c.sum(), spread) if len(own) else NONE)
        of_groups.append([f"group {j}" if j >= 0 else "noise", count(round(counts[inside].sum())), *means])
    heads = ["", "observations", *(f"mean of {name}" for name in names)]
    words = (
        f"The partition with the smallest expected loss, averaged over k, has {group.attrs['n_clusters']} groups "
        f"(expected variation of information {float(group.attrs['expected_loss']):.2f})."
    )
    yield Section("clusters", "Clusters", [Text(words), Table("Groups of the partition", heads, of_groups)])
    blocks = [draws_table("Label-invariant quantities", _convergence(tree), folded=False), Terms(OF_CHAINS)]
    yield Section("diagnostics", "Diagnostics", blocks)


def groups(tree: xr.DataTree) -> list[Clusters]:
    """Sizes and standard deviations of the partition's groups, for each feature."""
    rows, labels = observations(tree), tree["partition"]["partition"].to_numpy()
    of_groups = [rows.of(labels == j) for j in np.unique(labels[labels >= 0])]
    spreads = np.array([[_sd(each.of_feature(place)) for place in range(rows.n_features)] for each in of_groups])
    return [Clusters(np.array([each.total for each in of_groups]), sigma) for sigma in spreads.T]


def _sd(rows: Observations) -> float:
    """Standard deviation of one feature, with frequency weights."""
    return float(np.sqrt(np.cov(rows.x[:, 0], aweights=rows.counts, ddof=0))) if len(rows) else 0.0


def posterior_answer(tree: xr.DataTree) -> list[Block]:
    """The answer of the posterior of k."""
    p_k, p_occupied = tree["p_k"], tree["p_occupied"]
    data = observations(tree)
    known_of = f"{counted(len(data), data.known.weight)}{known_in_part(data)}"
    ks, cumulative = tree["k"].to_numpy(), np.cumsum(p_occupied.to_numpy())
    lower, upper = (int(ks[np.argmax(cumulative >= share)]) for share in (0.05, 0.95))
    between = f"; a 90% interval is {lower} to {upper} clusters" if lower < upper else ""
    components = "Gaussians" if kind_of(tree) == "Gaussian" else "Student's t distributions"
    words = (
        f"The answer is {int(p_occupied.idxmax())}: most probably that many clusters hold data (probability "
        f"{float(p_occupied.max()):.2f}){between}. The data are {known_of}. The model is a mixture of "
        f"{components} whose number is unknown. The most probable number of components, with or without data, is "
        f"{int(p_k.idxmax())} (probability {float(p_k.max()):.2f}). The best single partition has "
        f"{tree['partition'].attrs['n_clusters']} groups.{_of_noise(tree)}"
    )
    table = _convergence(tree)
    chains, judged = tree["posterior"].sizes["chain"], "r_hat" in table and table["r_hat"].notna().any()
    enough = judged and table["r_hat"].max() <= MAX_R_HAT and table["ess_bulk"].min() >= MIN_ESS_PER_CHAIN * chains
    verdict = f"{' '.join(str(tree.attrs.get('verdict', '')).split())}.".replace("+-", "±")
    if enough:
        return [Text(words), Verdict("good", "The chains agree", verdict)]
    found = "chains do not agree, or have too few effective draws" if judged else "draws are too few to be judged"
    return [Text(words), Verdict("bad", f"The {found}", verdict)]


def _of_noise(tree: xr.DataTree) -> str:
    """The share of noise, and the number of noise observations in the best single partition; empty without noise."""
    if NOISE not in tree["components"]:
        return ""
    share, n = tree["components"][NOISE].to_numpy(), int((tree["partition"]["partition"] < 0).sum())
    mean, lower, upper = (percent(float(each)) for each in (share.mean(), *np.quantile(share, [0.05, 0.95])))
    are = f"{count(n)} observation{' is' if n == 1 else 's are'} more probably noise than not"
    return f" Noise holds {mean} of the observations ({lower} to {upper}, a 90% interval); {are}."


def _convergence(tree: xr.DataTree) -> pd.DataFrame:
    """Summary of the numbers of components and occupied clusters and of log densities, with convergence diagnostics."""
    posterior = tree["posterior"].to_dataset()
    quantities = [(name, posterior[name].values.astype(float)) for name in ("n_components", "occupied")]
    points = posterior["point"].values
    names = [f"log density {place} ({with_digits(point, np.std(points))})" for place, point in enumerate(points)]
    return summarise(iter([*quantities, *zip(names, np.moveaxis(posterior["log_density"].values, -1, 0), strict=True)]))
