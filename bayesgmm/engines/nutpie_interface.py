"""Parts of nutpie beyond its public interface, and whether the installed version has them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Container
from dataclasses import fields
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

import numpy as np
import xarray as xr

_FIELDS = {
    *("dims", "compiled_logp_func", "compiled_expand_func", "initial_point_func", "shared_data", "shared_var_keys"),
    *("user_data", "n_expanded", "shape_info", "logp_func", "expand_func", "_n_dim", "_shapes", "_coords"),
}
_OPTIONAL = {"reparameterized_names", "_transform_adapt_args"}
_NATIVE = ("LogpFunc", "ExpandFunc", "PyMcModel", "PySampler", "PyVariable")
_OPTIONS = {
    *("draws", "tune", "chains", "cores", "seed", "adaptation", "progress_bar", "progress_callback", "progress_rate"),
    *("return_raw_trace", "blocking"),
}
_METHODS = ("wait", "inspect", "abort", "cancel", "is_finished")


def _load_when_used(name: str) -> None:
    """Defer loading a package, which nutpie imports but does not need here, to its first use.

    ``importlib.util.LazyLoader`` would load it at once, because an import statement reads the module's ``__spec__``.
    """
    spec = None if name in sys.modules else find_spec(name)
    if spec is None or spec.loader is None:
        return
    module, loader = module_from_spec(spec), spec.loader

    def loaded() -> ModuleType:
        module.__dict__.pop("__getattr__", None)
        module.__dict__.pop("__dir__", None)
        try:
            loader.exec_module(module)
        except BaseException:
            sys.modules.pop(name, None)  # the next import tries again
            raise
        return module

    module.__dict__["__getattr__"] = lambda attribute: getattr(loaded(), attribute)
    module.__dict__["__dir__"] = lambda: dir(loaded())
    sys.modules[name] = module


def interface_problem() -> str | None:
    """The reason why the installed nutpie cannot be used; None if it can."""
    _load_when_used("arviz")
    try:
        from nutpie import _lib, sample
        from nutpie.compile_pymc import CompiledPyMCModel
        from nutpie.sample import _BackgroundSampler
    except ImportError as error:
        return str(error)
    found = {field.name for field in fields(CompiledPyMCModel)}
    if found - _OPTIONAL != _FIELDS:
        return f"its compiled model has other fields ({', '.join(sorted((found - _OPTIONAL) ^ _FIELDS))})"
    missing = [name for name in _NATIVE if not hasattr(_lib, name)]
    missing += sorted(_OPTIONS - set(inspect.signature(sample).parameters))
    missing += [name for name in _METHODS if not hasattr(_BackgroundSampler, name)]
    return f"it lacks {', '.join(missing)}" if missing else None


def read_trace(trace: Any, statistics: Container[str]) -> xr.DataTree:
    """Draws and these statistics of one chain after tuning, from the raw trace of a sampler with one chain.

    Nutpie's conversion takes about 15 ms for a chain, longer than the sampling of an easy posterior.
    """
    draws, stats = (batches[0] for batches in trace.get_arrow_trace())
    tuning = int(np.sum(_column(stats, "tuning")[1]))
    coords = {"chain": [0], "draw": np.arange(draws.num_rows - tuning)}
    groups = {}
    for group, batch, wanted in (("posterior", draws, draws.column_names), ("sample_stats", stats, statistics)):
        columns = {name: _column(batch, name) for name in batch.column_names if name in wanted}
        variables = {name: (("chain", "draw", *dims), values[None, tuning:]) for name, (dims, values) in columns.items()}
        groups[group] = xr.Dataset(variables, coords)
    return xr.DataTree.from_dict(groups)


def _column(batch: Any, name: str) -> tuple[list[str], Any]:
    """The names of a column's dims after the draw, and its values, one row for each draw."""
    import pyarrow

    column = batch.column(name)
    metadata = {key: value.decode() for key, value in (column.field.metadata or {}).items()}
    shape = [int(size) for size in metadata.get(b"shape", "").split(",") if size]
    array = pyarrow.array(column)
    values = (array.flatten() if shape else array).to_numpy(zero_copy_only=False)
    return [dim for dim in metadata.get(b"dims", "").split(",") if dim], values.reshape(batch.num_rows, *shape)
