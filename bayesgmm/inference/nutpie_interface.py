"""What is relied on of nutpie beyond its public interface, and whether the installed one still has it."""

from __future__ import annotations

import inspect
from dataclasses import fields

_FIELDS = {
    *("dims", "compiled_logp_func", "compiled_expand_func", "initial_point_func", "shared_data", "shared_var_keys"),
    *("user_data", "n_expanded", "shape_info", "logp_func", "expand_func", "_n_dim", "_shapes", "_coords"),
}
_OPTIONAL = {"reparameterized_names", "_transform_adapt_args"}
_NATIVE = ("LogpFunc", "ExpandFunc", "PyMcModel", "PySampler", "PyVariable")
_OPTIONS = {
    *("draws", "tune", "chains", "cores", "seed", "adaptation", "progress_bar", "progress_callback", "progress_rate"),
    *("save_warmup", "blocking"),
}
_METHODS = ("wait", "inspect", "abort", "cancel", "is_finished")


def interface_problem() -> str | None:
    """Why the installed nutpie cannot be used, if it cannot."""
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
