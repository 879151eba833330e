"""The results of a fit, a comparison or many fits as one JSON document, for programs to read.

Keys may be added, but are never removed. NaN and infinity, which JSON lacks, become null. Tables are lists of rows.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm.analysis.attempts import read_attempts
from bayesgmm.analysis.clusters import probably_noise
from bayesgmm.analysis.contract import cluster_names
from bayesgmm.analysis.diagnosis import Diagnosis
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import OBS
from bayesgmm.cli.messages import in_shell
from bayesgmm.comparison.result import Comparison
from bayesgmm.comparison.structures import StructureComparison
from bayesgmm.html_report.fitted import INTERVAL, Fitted
from bayesgmm.html_report.observed import observations
from bayesgmm.many.result import ManyFits

_VERSIONED = ("bayesgmm", "arviz", "numpy", "numba", "nutpie", "pymc")
_SECONDS = "seconds_"


def fit_document(fitted: Fitted, columns: Sequence[str]) -> dict[str, Any]:
    """The document of a fit to columns of these names. Messages name command-line options.

    * ``document``: "fit".
    * ``data``: columns, n and, if there are any: counted (sum of the weights), missing (values by column), intervals (values
      by column), errors (smallest and largest by column), rounding (step by column).
    * ``settings``: the settings, including the seed.
    * ``engines``: those that ran, if the user chose none, each with method, because, seconds, r_hat (null for independent
      draws), ess, converged, trouble, kept.
    * ``versions``; ``seconds`` by phase; ``interrupted``.
    * ``ok``: whether there are no findings and EM agrees.
    * ``judgement``: level ("good", "caution", "bad"), title, sentences.
    * ``diagnosis``: ok, converged, findings (kind, problem, remedy, numbers), sampler, labels, invariants.
    * ``clusters``: null, or the names that were given to the clusters.
    * ``parameters``: a row for each.
    * ``noise``: null, or the share of noise (mean and the ends of a 90 % interval), and the positions of the observations
      that are more probably noise than not.
    * ``em``: ok, verdict, reasons, unjudged, log_likelihood, posterior_log_likelihood, total_variation,
      total_variation_limit, and EM's ``parameters``.
    """
    tree, diagnosis, check, judgement = fitted.tree, fitted.diagnosis, fitted.check, fitted.judgement
    return {
        "document": "fit",
        "data": _data(tree, columns),
        "settings": _settings(tree),
        "engines": [asdict(each) for each in read_attempts(tree)],
        "versions": _versions(),
        "seconds": {name.removeprefix(_SECONDS): each for name, each in _attrs(tree).items() if name.startswith(_SECONDS)},
        "interrupted": bool(tree.attrs.get("interrupted")),
        "ok": judgement.level == "good",
        "judgement": {"level": judgement.level, "title": judgement.title, "sentences": list(judgement.told(in_shell))},
        "diagnosis": _diagnosis(diagnosis),
        "clusters": cluster_names(tree),
        "parameters": _rows(diagnosis.parameters),
        "noise": _noise(fitted.reading, fitted.strays),
        "em": {
            "ok": check.ok,
            "verdict": in_shell(check.verdict),
            "reasons": list(map(in_shell, check.reasons)),
            "unjudged": list(map(in_shell, check.unjudged)),
            "log_likelihood": check.em_log_likelihood,
            "posterior_log_likelihood": check.log_likelihood,
            "total_variation": check.total_variation,
            "total_variation_limit": check.total_variation_limit,
            "parameters": _rows(check.table),
        },
    }


def comparison_document(comparison: Comparison | StructureComparison, columns: Sequence[str]) -> dict[str, Any]:
    """The document of a comparison, for columns of these names. Messages name command-line options.

    For a comparison over k:

    * ``document``: "comparison".
    * ``data``: as in :func:`fit_document`.
    * ``seed``; ``versions``; ``interrupted``.
    * ``ok``: whether every fit has converged.
    * ``verdict`` and its ``sentences``.
    * ``best``: the k of each criterion.
    * ``table``: a row for each k, with the columns of ``Comparison.table``.
    * ``prior_k``: by k.
    * ``fits``: k, settings, diagnosis, parameters and noise of each fit.
    """
    if isinstance(comparison, StructureComparison):
        return _structures_document(comparison, columns)
    return {
        "document": "comparison",
        "data": _data(next(iter(comparison.fits.values())), columns),
        "seed": comparison.seed,
        "versions": _versions(),
        "interrupted": bool(comparison.unfinished),
        "ok": bool(comparison.table["converged"].all()),
        "verdict": in_shell(comparison.verdict),
        "sentences": list(comparison.best.sentences),
        "best": comparison.best,
        "table": comparison.table.to_dict(orient="records"),
        "prior_k": {str(k): value for k, value in comparison.prior_k.items()},
        "fits": [
            {"k": k, "settings": _settings(tree), "diagnosis": _diagnosis(found), "parameters": _rows(found.parameters)}
            | {"noise": _noise(each, each.positions[each.ask(probably_noise)])}
            for k, tree in comparison.fits.items()
            for found, each in [(comparison.diagnoses[k], comparison.reading(k))]
        ],
    }


def fits_document(fits: ManyFits) -> dict[str, Any]:
    """The document of many fits.

    * ``document``: "fits"; ``seed``; ``interrupted``; ``ok``: whether every fit has converged.
    * ``fits``: a row for each, with its key and the columns of :class:`bayesgmm.ManyFits`' table.
    """
    table = fits.table.reset_index().astype(object)
    rows = [{name: None if pd.isna(value) else value for name, value in row.items()} for row in table.to_dict("records")]
    sound = bool(fits.table["converged"].all()) and not fits.interrupted
    return {"document": "fits", "seed": fits.seed, "interrupted": fits.interrupted, "ok": sound, "fits": rows}


def _structures_document(comparison: StructureComparison, columns: Sequence[str]) -> dict[str, Any]:
    """The document of a comparison over structures and k, with the documents of the comparisons within each structure."""
    inside = {name: comparison_document(each, columns) for name, each in comparison.comparisons.items()}
    return {
        "document": "structures",
        "data": _data(next(iter(comparison.first.fits.values())), columns),
        "seed": comparison.first.seed,
        "versions": _versions(),
        "interrupted": comparison.unfinished,
        "ok": bool(comparison.table["converged"].all()),
        "verdict": in_shell(comparison.verdict),
        "sentences": list(comparison.sentences),
        "recommended": _model(comparison.recommended),
        "best": {name: _model(each) for name, each in comparison.best.items()},
        "table": comparison.table.to_dict(orient="records"),
        "comparisons": inside,
    }


def _model(model: tuple[str, int] | None) -> dict[str, Any] | None:
    return None if model is None else {"covariance": model[0], "k": model[1]}


def to_json(document: Mapping[str, Any]) -> str:
    """The document as standard JSON text.

    Examples
    --------
    >>> print(to_json({"mcse": np.float64("nan"), "k": np.int64(3)}))
    {
      "mcse": null,
      "k": 3
    }
    """
    return json.dumps(_plain(document), indent=2, allow_nan=False, ensure_ascii=False)


def _data(tree: xr.DataTree, columns: Sequence[str]) -> dict[str, Any]:
    observed = tree["observed_data"]
    counted = {"counted": float(observed["weight"].sum())} if "weight" in observed else {}
    rows = observations(tree)
    missing, bounded, sd = np.isnan(rows.x).sum(axis=0), rows.bounded.sum(axis=0), rows.error_sd
    gaps = {"missing": dict(zip(columns, missing, strict=True))} if missing.any() else {}
    gaps |= {"intervals": dict(zip(columns, bounded, strict=True))} if bounded.any() else {}
    ranges = (
        {}
        if sd is None or not rows.has_errors
        else {"errors": dict(zip(columns, zip(np.nanmin(sd, 0), np.nanmax(sd, 0), strict=True), strict=True))}
    )
    steps = {} if rows.steps is None else {"rounding": dict(zip(columns, rows.steps, strict=True))}
    return {"columns": list(columns), "n": observed.sizes[OBS]} | counted | gaps | ranges | steps


def _noise(reading: Reading, strays: NDArray[np.int64]) -> dict[str, Any] | None:
    share = reading.draws.noise
    if share is None:
        return None
    lower, upper = np.quantile(share, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return {"share": {"mean": share.mean(), "lower": lower, "upper": upper}, "observations": strays}


def _settings(tree: xr.DataTree) -> dict[str, Any]:
    """The settings of a fit, both given and chosen by default, with the prior's hyperparameters."""
    left_out = ("version", "interrupted", "engines")
    settings = {name: each for name, each in _attrs(tree).items() if not name.startswith((*left_out, _SECONDS))}
    sizes = tree["posterior"].sizes
    prior = settings.get("prior", "")
    as_object = {"prior": json.loads(prior)} if str(prior).startswith("{") else {}
    return settings | as_object | {"draws": sizes["draw"], "chains": sizes["chain"]}


def _attrs(tree: xr.DataTree) -> dict[str, Any]:
    return {str(name): value for name, value in tree.attrs.items()}


def _diagnosis(diagnosis: Diagnosis) -> dict[str, Any]:
    labels = diagnosis.labels
    return {
        "ok": diagnosis.ok,
        "converged": diagnosis.converged,
        "findings": [
            {"kind": each.kind, "problem": in_shell(each.problem), "remedy": in_shell(each.remedy), "numbers": each.numbers}
            for each in diagnosis.findings
        ],
        "sampler": diagnosis.sampler,
        "labels": {each: getattr(labels, each) for each in ("trusted", "non_permutation_rate", "ambiguous")},
        "invariants": _rows(diagnosis.invariants, "quantity"),
    }


def _rows(table: pd.DataFrame, index: str = "parameter") -> list[dict[str, Any]]:
    return [{index: str(name)} | row for name, row in zip(table.index, table.to_dict(orient="records"), strict=True)]


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _VERSIONED}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
