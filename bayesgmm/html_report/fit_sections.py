"""Sections on one fit: data, density, clusters, EM, diagnostics, solutions, traces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm.analysis.clusters import membership, most_probable, responsibilities
from bayesgmm.analysis.judgement import sentence
from bayesgmm.analysis.partitions import partition
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.sensitivity import can_be_scaled, sensitivity_of
from bayesgmm.analysis.tree import read_whole
from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Observations
from bayesgmm.html_report import figures
from bayesgmm.html_report.blocks import (
    NONE,
    TYPESET,
    Block,
    Finding,
    Section,
    Table,
    Terms,
    Text,
    Verdict,
    as_recorded,
    count,
    listed,
    number,
    percent,
)
from bayesgmm.html_report.calibration import MOST_OBSERVATIONS
from bayesgmm.html_report.fitted import Fitted
from bayesgmm.html_report.observed import feature_names, observations
from bayesgmm.plots.canvas import Clusters, known

_MOST_JUDGED = 20_000  # observations for which membership is computed
_MOST_PARTITIONED = 2_000  # observations up to which a partition is computed
_UNSURE, _LISTED = 0.9, 10
_LONGEST = 30  # rows of a table of parameters
OF_CHAINS = {
    "R-hat": "Compares the spread between chains with the spread within them. It is 1 if all chains agree. Above 1.01 they "
    "do not: run longer, or look for several solutions.",
    "ESS, bulk and tail": "Effective sample size: how many independent draws the draws are worth, for averages (bulk) and "
    "for the ends of intervals (tail). At least 100 per chain are needed. If there are fewer, raise draws.",
}
_MEANINGS = OF_CHAINS | {
    "Divergences": "Steps of NUTS that failed where the posterior bends sharply. That region may be missing from the "
    "draws. Remedy: a larger target_accept, or Gibbs.",
    "BFMI": "How freely the energy moves from draw to draw. Below 0.3 the tails are visited too rarely. Remedy: more "
    "tuning, or a more informative prior.",
    "k-hat": "How heavy the tail of the importance weights is. ADVI: above 0.7 the approximation misses part of the "
    "posterior. LOO: above its limit an observation's estimate cannot be trusted. Where possible, a refit replaces it.",
    "Label quality": "Whether clusters keep their identity from draw to draw. If the non-permutation rate or the share of "
    "ambiguous draws exceeds 10%, speak of densities and partitions, not of single clusters.",
}


def fit_sections(fitted: Fitted) -> Iterator[Section]:
    """The sections on one fit, which follow those on the data and the choice of k."""
    found = fitted.diagnosis.solutions
    of_solutions = "Several solutions" if found is not None and len(found) > 1 else "How the chains move"
    for name, title, make in (
        ("density", "Density and components", lambda each: [*_doubt(each), figures.density_picture(each)]),
        ("adequacy", "Do data and model conflict?", _adequacy),
        ("clusters", "Cluster probabilities", _clusters),
        ("em", "Check against EM", _em),
        *([("prior", "Does the answer depend on the prior?", _prior)] if can_be_scaled(fitted.reading) else []),
        ("diagnostics", "Diagnostics", _diagnostics),
        *([] if found is None else [("solutions", of_solutions, _solutions)]),
        ("traces", "Traces", lambda each: [*_doubt(each), figures.traces_picture(each)]),
    ):
        try:
            yield Section(name, title, make(fitted))
        except Exception as error:  # the other sections are still useful
            yield Section(name, title, [Text(f"This section is left out, because it cannot be written: {error}")])


def data_section(tree: xr.DataTree, clusters: Sequence[Clusters] = ()) -> Section:
    """The section with a summary and histograms of the data. ``clusters``, one for each feature, influence the bins."""
    seen, features = observations(tree), feature_names(tree)
    x, weight = seen.x, seen.known.weight
    summary = pd.DataFrame(x, columns=features).describe() if weight is None else _weighted(x, features, weight)
    rows, gaps = [], np.isnan(x).any()
    for place, name in enumerate(features):
        column = summary.iloc[:, place]
        spread, told = float(column["std"]), as_recorded(x[:, place])
        moments = [number(float(column[each]), spread) for each in ("mean", "std")]
        quantiles = [told(float(column[each])) for each in ("min", "25%", "50%", "75%", "max")]
        unknown = [count(int(np.isnan(x[:, place]).sum()))] if gaps else []
        rows.append([name, count(int(column["count"])), *unknown, *moments, *quantiles])
    heads = ["feature", "n", "mean", "sd", "smallest", "lower quartile", "median", "upper quartile", "largest"]
    heads[2:2] = ["missing"] if gaps else []
    blocks: list[Block] = [
        Table(f"Summary of {'the data' if read_whole(tree) is None else 'the sample'}", heads, rows),
        figures.data_picture(tree, clusters),
    ]
    return Section("data", "The data", [*blocks, *_known_in_part(seen, features)])


def _known_in_part(rows: Observations, features: list[str]) -> list[Block]:
    """How missing values, errors, rounding and intervals are treated, in words."""
    words, error = [], rows.error_sd if rows.has_errors else None
    if np.isnan(rows.x).any():
        words.append(
            "Missing values are taken as missing at random: whether a value is missing does not depend on the value itself, "
            "given the known values of its row."
        )
    if error is not None:
        each = []
        for name, sd in zip(features, error.T, strict=True):
            told = as_recorded(sd)
            least, most = told(float(np.nanmin(sd))), told(float(np.nanmax(sd)))
            each.append(f"{name} {f'{least} to {most}' if least != most else least}")
        words.append(
            f"Values were measured with errors, whose standard deviations were given: {listed(each)}. The means, standard "
            "deviations and densities of the clusters describe the values without errors. The table above and the "
            "histograms show the values as measured."
        )
    if rows.steps is not None:
        steps = listed([f"{name} to {step:g}" for name, step in zip(features, rows.steps, strict=True) if step])
        of = "is treated as the interval of that width around it"
        if rows.known.lower is None:
            of = "is treated as a measurement with an error of that width"
        words.append(
            f"Values are rounded: {steps}. Each {of}. The means and standard deviations of the clusters describe the values "
            "before rounding."
        )
    if rows.bounded.any():
        words.append(
            "Of some values only an interval is known. The table above shows the expected value within the interval, under "
            "a single Gaussian for the feature."
        )
    return [Text(" ".join(words))] if words else []


def _weighted(columns: FloatArray, features: list[str], weight: FloatArray) -> pd.DataFrame:
    """``DataFrame.describe`` with frequency weights."""
    told, probabilities = [], [0, 0.25, 0.5, 0.75, 1]
    for column in columns.T:
        x, c = known(column), weight[~np.isnan(column)]
        total, mean = c.sum(), np.average(x, weights=c)
        sd = np.sqrt(c @ (x - mean) ** 2 / max(total - 1, 1))
        told.append([total, mean, sd, *np.quantile(x, probabilities, weights=c, method="inverted_cdf")])
    names = ["count", "mean", "std", "min", "25%", "50%", "75%", "max"]
    return pd.DataFrame(np.transpose(told), names, features)


def _adequacy(fitted: Fitted) -> list[Block]:
    if not fitted.calibrations:
        return [fitted.adequacy()]
    blocks: list[Block] = [
        fitted.adequacy()
        if fitted.diagnosis.converged
        else Text(f"This check is no better than the draws, which are not to be relied on: {fitted.doubt}."),
        figures.calibration_picture(fitted),
    ]
    n, total = len(fitted.reading.x), int(fitted.reading.observations.total)
    words = [
        "Where the line rises there are more observations than predicted; where it falls there are fewer. The model was "
        "fitted to these data, so the line of a correct model varies less than the band allows. A line that leaves the band "
        "is a clear sign of a conflict. A line that stays inside proves nothing. A smooth test also looks for waves of the "
        "line, and may find a conflict inside the band."
    ]
    if total > MOST_OBSERVATIONS:
        words.append(f"Only a sample of {count(MOST_OBSERVATIONS)} observations is checked.")
    tied = [
        f"{name} has {count(distinct)}"
        for name, column in zip(fitted.features, fitted.reading.x.T, strict=True)
        if (distinct := len(np.unique(known(column)))) < len(known(column)) / 2
    ]
    if tied:
        words.append(f"Rounding moves the line, too: among {count(n)} observations, {listed(tied[:4])} distinct values.")
    return [*blocks, Text(" ".join(words))]


def _doubt(fitted: Fitted) -> list[Block]:
    if not fitted.doubt or fitted.k == 1:
        return []
    return [Text(f"The pictures of single clusters are not to be relied on: {fitted.doubt}.")]


def _clusters(fitted: Fitted) -> list[Block]:
    of_noise = fitted.reading.draws.noise is not None
    if fitted.k == 1 and not of_noise:
        return [Text("With a single component every observation belongs to it.")]
    blocks: list[Block] = [Text(f"Labels: {fitted.diagnosis.labels}."), *_doubt(fitted)]
    looked_at = figures.sample(fitted.reading, _MOST_JUDGED)
    found = responsibilities(looked_at)
    mean, names = membership(found), fitted.clusters + ["noise"] * of_noise
    judged, sure, whole = len(mean), mean.max(axis=1), fitted.reading.whole
    n = len(fitted.reading.x) if whole is None else whole.rows
    unsure = int((sure < _UNSURE).sum())
    sampled = f", estimated from a sample of {count(judged)}" if judged < n else ""
    if fitted.diagnosis.labels.trusted:
        best, counts = most_probable(found), looked_at.observations.counts
        rows = []
        for j, name in enumerate(names):
            own = best == (j if j < fitted.k else -1)
            shares = [float(np.average(each, weights=counts)) for each in (mean[:, j], own, own & (sure >= _UNSURE))]
            total = fitted.reading.total
            rows.append([name, *(_size(share, total if judged == n else judged, total) for share in shares)])
        heads = ["", "expected number", "most probably in it", "of these 90% sure"]
        blocks.append(Table(f"Sizes of the clusters, in observations{sampled}{fitted.caveat}", heads, rows))
    elif n <= _MOST_PARTITIONED:
        blocks += _partition(fitted)
    blocks.append(figures.responsibilities_picture(fitted, unsure, judged))
    nor = ", nor the noise," if of_noise else ""
    some = f"For {count(unsure)} of {count(judged)} observations ({percent(unsure / judged)}) no cluster{nor} has"
    all_sure = f"Every observation belongs to its cluster{', or to noise,' if of_noise else ''} with"
    blocks.append(Text(f"{some if unsure else all_sure} a probability of 90% or more{sampled}."))
    if unsure and fitted.diagnosis.labels.trusted:
        blocks.append(_unsure_table(fitted, looked_at, mean, names))
    if of_noise:
        blocks.append(_strays_table(fitted, looked_at, mean[:, -1]))
    return blocks


def _size(share: float, judged: float, n: float) -> str:
    """A share of n observations as their number; estimates from a sample are rounded by their standard error."""
    if judged == n:
        return count(round(n * share))
    return number(n * share, n * max(np.sqrt(share * (1 - share) / judged), 1 / judged))


def _partition(fitted: Fitted) -> list[Block]:
    labels = partition(fitted.reading)
    sizes = np.bincount(labels.values + 1, fitted.reading.known.weight)  # noise first
    rows = [[f"group {j}", count(round(float(size)))] for j, size in enumerate(sizes[1:])]
    rows += [["noise", count(round(float(sizes[0])))]] if sizes[0] else []
    words = (
        f"Without labels: the partition with the smallest expected variation of information has "
        f"{labels.attrs['n_clusters']} groups (expected loss {labels.attrs['expected_loss']:.2f})."
    )
    return [Text(words), Table("Sizes of the partition's groups", ["", "observations"], rows)]


def _strays_table(fitted: Fitted, looked_at: Reading, noise: FloatArray) -> Table:
    """The observations that are most probably noise."""
    order = np.argsort(-noise, kind="stable")
    order = order[noise[order] > 0.5]
    rows = [[*row, f"{noise[at]:.2f}"] for at, row in zip(order, _listed(looked_at, order), strict=False)]
    more = f", the {_LISTED} surest of {count(len(order))}" if len(order) > _LISTED else ""
    heads = ["position", *fitted.features[:4], "probability of noise"]
    return Table(f"More probably noise than not, by their position in the data (from 0){more}", heads, rows)


def _listed(looked_at: Reading, order: NDArray[np.int64]) -> list[list[str]]:
    """Table rows with positions and values of the first observations in an order."""
    tellers = [as_recorded(column) for column in looked_at.x.T[:4]]
    return [
        [str(looked_at.positions[at]), *(told(float(each)) for told, each in zip(tellers, looked_at.x[at], strict=False))]
        for at in order[:_LISTED]
    ]


def _unsure_table(fitted: Fitted, looked_at: Reading, mean: FloatArray, names: Sequence[str]) -> Table:
    order = np.argsort(mean.max(axis=1), kind="stable")
    order = order[mean.max(axis=1)[order] < _UNSURE]
    rows = []
    for at, row in zip(order, _listed(looked_at, order), strict=False):
        most = np.argsort(-mean[at], kind="stable")[:2]
        rows.append([*row, *(text for j in most for text in (names[j], f"{mean[at, j]:.2f}"))])
    heads = ["position", *fitted.features[:4], "most probable", "probability", "next", "probability of that"]
    return Table(f"The least certain observations, by their position in the data (from 0){fitted.caveat}", heads, rows)


def _em(fitted: Fitted) -> list[Block]:
    check, likelihood = fitted.check, fitted.check.log_likelihood
    title = "Posterior and EM agree" if check.ok else "Posterior and EM differ"
    if check.unjudged and not check.reasons:
        title = "It cannot be judged whether posterior and EM agree"
        if fitted.diagnosis.converged:
            title = "The densities of posterior and EM agree; more cannot be judged"
    why = "EM maximises the likelihood, so its value is usually the larger one."
    if check.is_mode:
        why = "EM found the mode of the posterior, for the prior tells clusters apart. Draws may have a higher likelihood."
    blocks: list[Block] = [
        Verdict("good" if check.ok else "caution", title, sentence(check.verdict)),
        Text(
            f"The log-likelihood is {number(check.em_log_likelihood, 1.0)} at EM's estimate, and "
            f"{number(likelihood['mean'], 1.0)} on average over the posterior (sd {number(likelihood['sd'], 1.0)}). {why}"
        ),
    ]
    if len(check.table):
        worst, more = _worst(check.table)
        rows = [
            [
                str(name),
                number(row["em"], row["sd"]),
                number(row["mean"], row["sd"]),
                number(row["sd"], row["sd"]),
                TYPESET.set(f"{row['z']:+.2f}"),
                f"{number(row['lower'], row['sd'])} to {number(row['upper'], row['sd'])}",
                "yes" if row["inside"] else "no",
            ]
            for name, row in worst.iterrows()
        ]
        heads = ["parameter", "EM", "posterior mean", "sd", "difference in sd", "95% interval", "EM inside"]
        caption = f"EM beside the posterior{more}{fitted.caveat}"
        blocks.append(Table(caption, heads, rows, folded=len(rows) > 12))
    return blocks


def _prior(fitted: Fitted) -> list[Block]:
    found = fitted.reading.ask(sensitivity_of)
    title = "The prior matters little" if found.ok else "Some answers depend on the prior"
    remedies = [sentence(each.remedy) for each in found.findings]
    rows = [[str(name), *(f"{row[each]:.3f}" for each in ("prior", "likelihood"))] for name, row in found.table.iterrows()]
    more = f", the {_LISTED} largest of {len(rows)} rows" if len(rows) > _LISTED else ""
    heads = ["quantity", "prior", "likelihood"]
    return [
        Verdict("good" if found.ok else "plain", title, " ".join([sentence(found.sentence), *remedies])),
        Table(f"Sensitivity to prior and likelihood{more}{fitted.caveat}", heads, rows[:_LISTED], folded=True),
        Text(
            "The sensitivity says how much the distribution of a quantity changes if the prior, or the likelihood, counts a "
            "little more or less (is raised to a power near one). The scale that the prior takes from the range of the data "
            "stays as it is."
        ),
    ]


def _worst(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The worst rows of a long table, and words about that for its caption."""
    if len(table) <= _LONGEST:
        return table, ""
    by = next(name for name in ("tail", "ess_bulk", "sd") if name in table)
    return table.sort_values(by, kind="stable").head(_LONGEST), f", the {_LONGEST} worst of {len(table)} rows"


def _diagnostics(fitted: Fitted) -> list[Block]:
    diagnosis = fitted.diagnosis
    blocks: list[Block] = []
    if diagnosis.ok:
        but = "" if fitted.check.ok else " See the check against EM above."
        within = f"Every diagnostic of the draws is within its limits.{but}"
        blocks.append(Verdict("good" if fitted.check.ok else "plain", "All diagnostics passed", within))
    blocks += [Finding(sentence(each.problem), sentence(each.remedy)) for each in diagnosis.findings]
    if diagnosis.sampler:
        rows = [
            [name, number(float(value)) if value % 1 else count(int(value))] for name, value in diagnosis.sampler.items()
        ]
        blocks.append(Table("The sampler", ["", "value"], rows))
    blocks.append(draws_table("Label-invariant quantities", diagnosis.invariants))
    blocks.append(draws_table("Parameters, by label", diagnosis.parameters, fitted.caveat))
    return [*blocks, Terms(_MEANINGS)]


def draws_table(caption: str, table: pd.DataFrame, caveat: str = "", *, folded: bool = True) -> Table:
    """Table of the draws' summaries, with convergence diagnostics."""
    heads = {"mean": "mean", "sd": "sd", "mcse_mean": "MCSE"}
    heads |= {"ess_bulk": "ESS, bulk", "ess_tail": "ESS, tail", "r_hat": "R-hat"}
    columns = [name for name in heads if name in table and table[name].notna().any()]
    worst, more = _worst(table)
    rows = [[str(name), *(_cell(each, row[each], row["sd"]) for each in columns)] for name, row in worst.iterrows()]
    return Table(f"{caption}{more}{caveat}", ["quantity", *(heads[each] for each in columns)], rows, folded=folded)


def _cell(column: str, value: float, sd: float) -> str:
    if column.startswith("ess"):
        return count(round(value)) if np.isfinite(value) else NONE
    if column == "r_hat":
        return f"{value:.3f}" if np.isfinite(value) else NONE
    return number(value, value if column == "mcse_mean" else sd)


def _solutions(fitted: Fitted) -> list[Block]:
    found = fitted.diagnosis.solutions
    assert found is not None
    heads: Sequence[str] = ["solution", *(str(name).replace("_", " ") for name in found.table)]
    rows = []
    for solution, row in found.table.iterrows():
        cells = [f"solution {solution}"]
        for name, value in row.items():
            if name == "share":
                cells.append(percent(float(value)))
            elif isinstance(value, (bool, np.bool_)):
                cells.append("yes" if value else "no")
            else:
                cells.append(value if isinstance(value, str) else number(float(value)))
        rows.append(cells)
    blocks: list[Block] = [
        Text(
            "Chains that no label-invariant quantity tells apart sit in one solution. The number of chains in a solution "
            "depends on where they began. It does not say how probable the solution is."
        ),
        Table("The solutions", heads, rows),
    ]
    return [*blocks, figures.solutions_picture(fitted)] if len(found) > 1 else blocks
