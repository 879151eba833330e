"""The report: one HTML file with the answer, the pictures, and the code that reproduces it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from bayesgmm.analysis.contract import require_posterior_k
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.arguments import read_path
from bayesgmm.comparison.result import Comparison
from bayesgmm.comparison.structures import StructureComparison
from bayesgmm.comparison.verdict import smallest_left
from bayesgmm.files import whole_file
from bayesgmm.html_report.blocks import Block, Picture, Section, Text, as_recorded, count, counted, listed
from bayesgmm.html_report.fit_sections import data_section, fit_sections
from bayesgmm.html_report.fitted import METHODS, Fitted
from bayesgmm.html_report.k_sections import (
    comparison_section,
    fits_pictures,
    groups,
    posterior_answer,
    posterior_sections,
    structures_section,
)
from bayesgmm.html_report.observed import feature_names, kind_of, observations
from bayesgmm.html_report.settings import settings_section
from bayesgmm.plots.canvas import clusters_of_em
from bayesgmm.words import Argument, Words, about

__all__ = ["report"]

_MOST_COLUMNS = 5  # values shown for an observation
_WIDTH = 120  # characters of a table that fit a screen


def report(
    result: Tree | Comparison | StructureComparison,
    path: str | Path,
    *,
    k: int | None = None,
    title: str | None = None,
    force: bool = False,
) -> Path:
    """Write a report of a fit, of a comparison over k, or of the posterior of k, as one HTML file.

    The file is self-contained: it holds its pictures as SVG and needs no network. It follows the reader's light or dark
    theme, and can be printed.

    Parameters
    ----------
    result : DataTree, Comparison or StructureComparison
        From :func:`bayesgmm.fit`, :func:`bayesgmm.compare` or :func:`bayesgmm.posterior_k`.
    path : path
        The file to write. Its folder is created if it does not exist.
    k : int, optional
        For a comparison: the fit to describe in detail. Default: the smallest k that neither prediction nor evidence rules
        out. Prediction rules out a k by two standard errors of the difference to the best. Evidence rules it out by a Bayes
        factor of 20 ("strong", Kass & Raftery 1995) and two Monte Carlo standard errors.
    title : str, optional
        Heading of the report.
    force : bool
        Replace the file if it exists.

    Returns
    -------
    Path
        The file. It is written completely or not at all.

    Raises
    ------
    TypeError, ValueError
        If ``result`` has another type or is an incomplete or damaged tree, or if k was not compared.
    FileExistsError
        If the file exists and ``force`` is not given.

    Notes
    -----
    The same result gives the same file. With more than 20 000 observations, memberships come from a sample of that size.
    With more than 2 000, a sample of that size is compared with predictions, and plotted as single points; a scatter matrix
    shows up to 3 000. The report says so.

    The check of the model uses LOO-PIT: where each observation falls in the prediction of the fit without it. This is done
    feature by feature and, for complete and exact rows, along axes across the features. Uniformity is judged by a
    simultaneous band and by Neyman's smooth test (benchmarks/model_check.md). Finding no conflict does not show that the
    model is right. The check is not made for noise with given log densities.

    References
    ----------
    Kass & Raftery (1995), Bayes factors, Journal of the American Statistical Association 90, 773-795.
    doi:10.1080/01621459.1995.10476572

    Säilynoja, Bürkner & Vehtari (2022), Graphical test for discrete uniformity and its applications in goodness-of-fit
    evaluation and multiple sample comparison, Statistics and Computing 32, 32. doi:10.1007/s11222-022-10090-6

    Examples
    --------
    >>> import bayesgmm as bg, tempfile
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.report(tree, tempfile.mkdtemp() + "/galaxies.html").name
    'galaxies.html'
    """
    file = read_path(path, "path")
    if file.is_dir():
        raise ValueError(f"path must be a file to write, got the folder {file}; add a name, such as {file / 'report.html'}")
    if file.exists() and not force:
        raise FileExistsError(f"{file} exists; choose another path, or replace it with force=True")
    with np.errstate(under="ignore"):
        page = _page(result, k, title)
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file, force=force) as part:
        part.write_text(page, encoding="utf-8")
    return file


def _page(result: Any, k: int | None, title: str | None) -> str:
    reading: Reading | None = None
    if isinstance(result, StructureComparison):
        covariance, best = result.recommended or (next(iter(result.comparisons)), None)
        inside = result.comparisons[covariance]
        heading, lead, sections = _of_comparison(inside, best if k is None else k)
        sections = [structures_section(result), *sections]
        heading, reading = f"{heading[:-1]}, and of which shape?", inside.reading(min(inside.fits))
    elif isinstance(result, Comparison):
        heading, lead, sections = _of_comparison(result, k)
        reading = result.reading(min(result.fits))
    elif k is not None:
        got = Words("got ", Argument("k", k), " with a single result; leave it out")
        raise ValueError(about("k", "chooses among the fits of a comparison, ", got))
    elif isinstance(result, xr.DataTree) and "p_k" in result:
        heading, lead, sections = _of_posterior_k(require_posterior_k(result))
    elif isinstance(result, xr.DataTree | Reading):
        reading = Reading.of(result)
        heading, lead, sections = _of_fit(Fitted.of(reading))
    else:
        raise TypeError(f"result must be a DataTree or a Comparison, got {type(result).__name__}; pass what fit returned")
    environment = Environment(
        loader=PackageLoader("bayesgmm.html_report", "."),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    style, script = (
        Markup(environment.loader.get_source(environment, name)[0])  # type: ignore[union-attr]
        for name in ("style.css", "looking.js")
    )
    told = "" if reading is None else _observations(reading, sections)
    template = environment.get_template("template.html")
    return template.render(
        title=title or heading, lead=lead, sections=sections, style=style, script=script, observations=told
    )


def _observations(reading: Reading, sections: Sequence[Section]) -> str:
    """A line for each observation in the pictures: its position, and its values."""
    pictures = [block.svg for section in sections for block in section.blocks if isinstance(block, Picture)]
    drawn = {int(position) for svg in pictures for position in re.findall(r'data-obs="(\d+)"', svg)}
    names = feature_names(reading.tree)
    columns = [(name, column, as_recorded(column)) for name, column in zip(names, reading.x.T, strict=True)]
    lines = []
    for row in np.flatnonzero(np.isin(reading.positions, list(drawn))):
        values = [f"{name} {told(float(column[row]))}" for name, column, told in columns if np.isfinite(column[row])]
        lines.append(f"{reading.positions[row]} {', '.join(values[:_MOST_COLUMNS])}")
    return "\n".join(lines)


def _of_fit(
    fitted: Fitted, how: str | None = None, first: str = "", comparison: Comparison | None = None
) -> tuple[str, str, list[Section]]:
    """Heading, lead and sections of a fit. ``how`` says how k was chosen; ``comparison`` has the other k."""
    tree = fitted.tree
    how = how or (
        f" The number of components, k = {fitted.k}, was given; others were not examined. To compare several, use "
        "bg.compare, or bayesgmm compare in a shell."
    )
    method = METHODS.get(str(tree.attrs.get("method")), "draws")
    sizes = tree["posterior"].sizes
    words = (
        f"{first}{fitted.data[0].upper()}{fitted.data[1:]}, described by {fitted.model}.{how} {fitted.describe()} "
        f"The posterior is represented by {count(sizes['chain'] * sizes['draw'])} draws of {method}, in {sizes['chain']} "
        f"chain{'s' if sizes['chain'] > 1 else ''}."
    )
    answer: list[Block] = [*([] if comparison is None else fits_pictures(comparison))]
    answer += [Text(re.sub(" +", " ", words)), fitted.trust()]
    answer += [*([fitted.adequacy()] if fitted.diagnosis.converged else []), *fitted.table().parts(_WIDTH)]
    sections = [
        Section("answer", "The answer", answer),
        data_section(tree, clusters_of_em(fitted.reading)),
        *([] if comparison is None else [comparison_section(comparison, fitted.k)]),
        *fit_sections(fitted),
        settings_section(tree, comparison),
    ]
    kind = kind_of(tree)
    single = "One Gaussian" if kind == "Gaussian" else "One t distribution"
    clusters = single if fitted.k == 1 else f"{fitted.k} {kind} clusters"
    return (
        f"{clusters}{_of(fitted.features)}",
        f"Bayesian {kind} mixture of {fitted.observations}",
        sections,
    )


def _of_comparison(comparison: Comparison, k: int | None) -> tuple[str, str, list[Section]]:
    by_k, ks = comparison.table.set_index("k"), comparison.table["k"].tolist()
    left, answer = int(by_k.index.min()), "There is no answer: prediction and evidence exist for no k. "
    exists = by_k["elpd_loo"].notna()  # not for improper posteriors
    if exists.any():
        left, why = smallest_left(by_k[exists])
        but = "" if exists.all() else f"; k = {listed(by_k.index[~exists].tolist())} could not be compared"
        answer = f"The answer is k = {left}, {why}{but}. "
    k = left if k is None else k
    if k not in ks:
        raise ValueError(about("k", f"must be one of those compared, {', '.join(map(str, ks))}, got {k!r}"))
    fitted = Fitted.of(comparison.reading(k))
    detail = f"This report describes k = {k} in detail{'' if k == left else ', as asked'}."
    _, lead, sections = _of_fit(fitted, f" {_criteria(comparison, ks)} {detail}", answer, comparison)
    return f"How many {kind_of(fitted.tree)} clusters{_of(fitted.features)}?", lead, sections


def _criteria(comparison: Comparison, ks: list[int]) -> str:
    best = comparison.best
    names = {"elpd_loo": "prediction (LOO)", "log_evidence": "the evidence", "bic": "BIC", "icl": "ICL"}
    if not best:
        return ""
    among = f"{ks[0]} to {ks[-1]}" if len(ks) > 3 and ks == list(range(ks[0], ks[-1] + 1)) else listed(ks)
    return f"Of k = {among}, {listed([f'{said} prefers {best[name]}' for name, said in names.items() if name in best])}."


def _of_posterior_k(tree: xr.DataTree) -> tuple[str, str, list[Section]]:
    rows, features = observations(tree), feature_names(tree)
    sections = [
        Section("answer", "The answer", posterior_answer(tree)),
        data_section(tree, groups(tree)),
        *posterior_sections(tree),
        settings_section(tree),
    ]
    return (
        f"How many {kind_of(tree)} clusters{_of(features)}?",
        f"The posterior of k, given {counted(len(rows), rows.known.weight)}",
        sections,
    )


def _of(features: list[str]) -> str:
    if features == ["x"]:
        return ""
    return f" in {listed(features) if len(features) <= 3 else f'{len(features)} features'}"
