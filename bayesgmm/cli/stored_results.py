"""Draws and comparisons in folders of results: writing and reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.analysis.diagnosis import diagnosis_of
from bayesgmm.analysis.reading import Reading
from bayesgmm.arguments import read_covariance
from bayesgmm.cli.folders import require_undamaged
from bayesgmm.comparison.leave_one_out import LOO, SampledLOO
from bayesgmm.comparison.result import Comparison
from bayesgmm.comparison.structures import StructureComparison
from bayesgmm.files import whole_file

POSTERIOR = "posterior.nc"
VERDICT = "verdict.txt"  # every folder of results has one
_LOO, _REST, _STRUCTURES = "loo.nc", "comparison.json", "structures.json"


def read_results(place: str | Path) -> xr.DataTree | Comparison | StructureComparison:
    """Read the fit, posterior of k or comparison in a folder of results, or the tree in a NetCDF file.

    Other content, and files that were damaged or changed, are refused.
    """
    folder = Path(place)
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist; give a folder of results, or a posterior.nc")
    if folder.is_file():
        return _read_tree(folder)
    if (folder / _STRUCTURES).is_file():
        return _read_structures(folder)
    if (folder / _REST).is_file():
        return _read_comparison(folder)
    if (folder / POSTERIOR).is_file():
        return _read_tree(folder / POSTERIOR)
    inside = sorted(each.parent.name for each in folder.glob(f"*/{POSTERIOR}"))
    inside += sorted(each.parent.name for each in folder.glob(f"*/{_REST}"))
    remedy = f"give one of its folders {', '.join(inside)}" if inside else "give what fit --out or compare --out wrote"
    raise ValueError(f"{folder} must hold {POSTERIOR} or {_REST}, got neither; {remedy}")


def keep_draws(tree: xr.DataTree, folder: Path) -> None:
    """Write the posterior before it is judged, so that no later error loses it."""
    # through memory, because HDF5 prints its own tracebacks if the disk is full
    with whole_file(folder / POSTERIOR) as file, tree.to_netcdf(engine="h5netcdf") as content, file.open("wb") as opened:
        opened.write(content)
    (folder / VERDICT).write_text("not judged: the run ended before the fit was judged\n", encoding="utf-8")


def write_comparison_parts(comparison: Comparison, folder: Path) -> None:
    """Write LOO, table and settings of a comparison. The fits are in k*/posterior.nc."""
    groups = {f"k{k}": _loo_as_dataset(elpd) for k, elpd in comparison.loo.items()}
    (folder / _LOO).write_bytes(bytes(xr.DataTree.from_dict(groups).to_netcdf(engine="h5netcdf")))
    probabilities = {str(k): float(p) for k, p in comparison.prior_k.items()}
    table = comparison.table.to_dict("list")  # read back exactly, unlike a CSV file
    rest = {"seed": comparison.seed, "prior_k": probabilities, "k": list(map(int, comparison.fits)), "table": table}
    rest["unfinished"] = list(comparison.unfinished)
    (folder / _REST).write_text(json.dumps(rest, indent=1) + "\n", encoding="utf-8")


def _read_tree(file: Path) -> xr.DataTree:
    tree = _read_netcdf(file)
    if "posterior" not in tree.children or "observed_data" not in tree.children:
        raise ValueError(
            f"{file} must hold the groups posterior and observed_data, got {', '.join(tree.children) or 'none'}"
        )
    return tree


def _read_netcdf(file: Path) -> xr.DataTree:
    require_undamaged(file)  # first, because HDF5 may hang on a damaged file
    try:
        with xr.open_datatree(file, engine="h5netcdf") as stored:
            return stored.load()
    except Exception as error:  # h5py raises errors of many types
        raise ValueError(f"{file} must be a tree in NetCDF, got something that cannot be read: {_first(error)}") from None


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_comparison(folder: Path) -> Comparison:
    require_undamaged(folder / _REST)
    missing = [_LOO] if not (folder / _LOO).is_file() else []
    try:
        rest = json.loads((folder / _REST).read_text(encoding="utf-8"))
        seed, prior_k = rest["seed"], {int(k): float(p) for k, p in rest["prior_k"].items()}
        ks, table = [int(k) for k in rest["k"]], pd.DataFrame(rest["table"])
        unfinished = tuple(int(k) for k in rest["unfinished"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _changed(folder / _REST, _first(error)) from None
    missing += [f"k{k}/{POSTERIOR}" for k in ks if not (folder / f"k{k}" / POSTERIOR).is_file()]
    if missing:
        raise _changed(folder, f"no {', '.join(missing)}")
    fits = {k: _read_tree(folder / f"k{k}" / POSTERIOR) for k in ks}
    parts = _read_netcdf(folder / _LOO)
    try:
        loo = {str(k): _loo_from(parts[f"k{k}"].to_dataset()) for k in prior_k}
    except (KeyError, TypeError) as error:
        raise _changed(folder / _LOO, _first(error)) from None
    readings = {k: Reading(fits[k]) for k in prior_k}
    diagnoses = {k: each.ask(diagnosis_of) for k, each in readings.items()}
    return Comparison(table, fits, loo, diagnoses, seed, pd.Series(prior_k), unfinished, readings)


def write_structures_list(comparison: StructureComparison, folder: Path) -> None:
    """Write the names of the structures, whose comparisons are in folders of these names."""
    (folder / _STRUCTURES).write_text(json.dumps(list(comparison.comparisons)) + "\n", encoding="utf-8")


def _read_structures(folder: Path) -> StructureComparison:
    require_undamaged(folder / _STRUCTURES)
    try:
        names: list[Any] = [read_covariance(each) for each in json.loads((folder / _STRUCTURES).read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise _changed(folder / _STRUCTURES, _first(error)) from None
    missing = [f"{name}/{_REST}" for name in names if not (folder / name / _REST).is_file()]
    if missing or not names:
        raise _changed(folder, f"no {', '.join(missing) or 'structures'}")
    return StructureComparison({name: _read_comparison(folder / name) for name in names})


def _changed(place: Path, got: str) -> ValueError:
    return ValueError(f"{place} must be as compare --out wrote it, got {got}; run compare again")


def _loo_as_dataset(elpd: Any) -> xr.Dataset:
    """A LOO result as a dataset: arrays over the observations as variables, numbers as attributes."""
    values = {name: value for name, value in vars(elpd).items() if value is not None}
    arrays = {name: value for name, value in values.items() if isinstance(value, xr.DataArray)}
    lists = {name: ("chosen", value) for name, value in values.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in values.items() if name not in arrays and name not in lists}
    numbers = {name: int(value) if isinstance(value, bool) else value for name, value in rest.items()}
    return xr.Dataset({**arrays, **lists}, attrs=numbers)


def _loo_from(stored: xr.Dataset) -> Any:
    attrs: dict[str, Any] = {
        str(name): value.item() if hasattr(value, "item") else value for name, value in stored.attrs.items()
    }
    attrs |= {name: bool(attrs[name]) for name in ("warning", "approx_posterior") if name in attrs}
    arrays: dict[str, Any] = {
        str(name): value.values if value.dims == ("chosen",) else value for name, value in stored.data_vars.items()
    }
    kind: Any = SampledLOO if "subsample_size" in attrs else LOO
    return kind(**attrs, **arrays)
