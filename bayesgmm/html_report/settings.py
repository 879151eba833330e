"""The settings of a run: calls that reproduce it, and versions of packages."""

from __future__ import annotations

import json
import platform
import shlex
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.analysis.attempts import in_words
from bayesgmm.analysis.tree import ERROR, LABEL, LOG_NOISE, LOWER, UPPER, WEIGHT
from bayesgmm.arguments import Scale
from bayesgmm.comparison.result import ASKED, Comparison
from bayesgmm.data.noise import as_asked
from bayesgmm.families import GAUSSIAN, family_of
from bayesgmm.html_report.blocks import Block, Code, Section, Table, Text, number
from bayesgmm.html_report.observed import feature_names, observations
from bayesgmm.model.fixed import fixed_of
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior, Prior, prior_of, read_prior

_WIDTH = 76
_PACKAGES = ("bayesgmm", "arviz", "matplotlib", "numba", "numpy", "nutpie", "pymc", "scipy", "xarray")
_DEFAULTS = ("covariance", "full"), ("family", "gaussian")  # not stated in calls
_ONLY_PYTHON = {
    "approximation",
    "relabel",
    "log_likelihood",
    "log_prior",
    "posterior_predictive",
}  # options that the shell lacks
_OF_METHOD = {
    "nuts": ("tune", "thin", "target_accept", "target_ess", "max_draws"),
    "gibbs": ("tune", "thin"),
    "advi": ("max_iter",),
    "laplace": (),
    "telescoping": ("tune", "thin"),
}


def settings_section(tree: xr.DataTree, comparison: Comparison | None = None) -> Section:
    """The section with calls that reproduce the run, its settings, and versions of packages."""
    blocks: list[Block] = []
    attrs = tree.attrs
    custom = attrs.get("prior") == "custom model"
    engines = in_words(tree)
    blocks += [Text(engines)] if engines else []
    if attrs.get("interrupted"):
        blocks.append(Text("The run was interrupted: these calls reproduce the draws that it had made by then."))
    if custom:
        blocks.append(Text("The model is a user's own pm.Model, written as model below; it is not part of this report."))
    if "seed" not in attrs or attrs.get("method") not in _OF_METHOD or not ("k" in attrs or "p_k" in tree):
        blocks.append(Text("The tree does not hold a seed and the settings of a run, so its call cannot be shown."))
    elif comparison is not None:
        blocks += _of_comparison(tree, comparison)
    else:
        blocks.append(Code("In Python", _python(tree)))
        only_python = attrs["method"] == "telescoping" or custom or _is_mean_field(tree) or _unknown_to_shell(tree)
        if not only_python:
            command = f"bayesgmm fit data.csv{_columns(tree)} -k {attrs['k']}"
            stated = {"method": attrs["method"]} | _stated(tree)
            blocks.append(Code("In a shell", _options(tree, command, stated, attrs["seed"])))
    versions = ", ".join([*(f"{name} {version(name)}" for name in _PACKAGES), f"Python {platform.python_version()}"])
    by = f"; the fit itself was made by bayesgmm {attrs['version']}" if attrs.get("version") else ""
    blocks += [_settings(tree), Text(f"Versions when this report was written: {versions}{by}.")]
    return Section("settings", "Settings, to reproduce it", blocks)


def _of_comparison(tree: xr.DataTree, comparison: Comparison) -> list[Block]:
    ks = [int(k) for k in comparison.table["k"]]
    if comparison.seed is None:
        calls = "\n".join(["# fits made one by one, then compared", _python(tree), "bg.compare([tree, ...])"])
        return [Code(f"In Python (the fit of k = {tree.attrs.get('k')})", calls)]
    of_k = comparison.prior_k.to_dict()
    even = max(of_k.values()) - min(of_k.values()) < 1e-12
    prior_k = {} if even else {"prior_k": [of_k.get(k, 0.0) for k in range(1, max(ks) + 1)]}
    asked = {"n_init": tree.attrs.get("n_init", 10)} | json.loads(tree.attrs.get(ASKED, "{}"))
    asked = {name: value for name, value in asked.items() if name != "missing" and (name, value) not in _DEFAULTS}
    numbers = f"range({ks[0]}, {ks[-1] + 1})" if ks == list(range(ks[0], ks[-1] + 1)) else repr(ks)
    x, known = _rows(tree)
    stated = known | _stated_prior(tree) | _sources(asked | prior_k | {"random_seed": comparison.seed})
    methods = {str(each.attrs.get("method")) for each in comparison.fits.values()}
    chosen = "" if "method" in asked else f"# the method is chosen for each k: {' and '.join(sorted(methods))}\n"
    call = f"comparison = bg.compare({_call([x, numbers], stated)})"
    python = Code("In Python", f"import bayesgmm as bg\n\n{chosen}{call}")
    if prior_k or asked.keys() & _ONLY_PYTHON or _unknown_to_shell(tree):
        return [python]
    of_shell = f"{ks[0]}:{ks[-1]}" if numbers.startswith("range") else ",".join(map(str, ks))
    command = f"bayesgmm compare data.csv{_columns(tree)} --k {of_shell}"
    return [python, Code("In a shell", _options(tree, command, asked, comparison.seed))]


def _python(tree: xr.DataTree) -> str:
    attrs = tree.attrs
    x, known = _rows(tree)
    stated = known | _stated_prior(tree) | _sources(_stated(tree) | {"random_seed": attrs["seed"]})
    if attrs["method"] != "telescoping":
        known = _known_parameters(tree)
        call = _call([x, str(attrs["k"])], _sources({"method": attrs["method"]}) | stated | known)
        of_nan = "from math import nan\n\n" if "fixed" in known else ""
        return f"{of_nan}import bayesgmm as bg\n\ntree = bg.fit({call})"
    prior_k = {"prior_k": _constructed("bg.priors", attrs["prior_k"])}
    prior_k |= _sources({name: attrs[name] for name in ("alpha", "weights")})
    return f"import bayesgmm as bg\n\ntree = bg.posterior_k({_call([x], prior_k | stated)})"


def _stated(tree: xr.DataTree) -> dict[str, Any]:
    """The options that a call must state, except method, prior, seed, missing and those about the data."""
    attrs, sizes = tree.attrs, tree["posterior"].sizes
    stated = {name: attrs.get(name, usual) for name, usual in _DEFAULTS} | {"draws": sizes["draw"], "chains": sizes["chain"]}
    stated |= {name: attrs[name] for name in (*_OF_METHOD[attrs["method"]], "n_init") if name in attrs}
    if "target_ess" in attrs:
        stated.pop("draws")  # the argument was the minimum; the tree holds more
    if _is_mean_field(tree):
        stated["approximation"] = "meanfield"
    if attrs.get("engine") == "pymc" and attrs.get("prior") != "custom model":
        stated["engine"] = "pymc"
    return {name: value for name, value in stated.items() if (name, value) not in _DEFAULTS}


def _is_mean_field(tree: xr.DataTree) -> bool:
    return "approximation" in tree.children and tree["approximation"].attrs.get("family") == "meanfield"


def _missing(tree: xr.DataTree) -> dict[str, str]:
    """The argument ``missing``, unless it has its default."""
    missing = tree.attrs.get("missing", "raise")
    return {} if missing == "raise" else {"missing": missing}


def _rows(tree: xr.DataTree) -> tuple[str, dict[str, str]]:
    """The first argument of a call, and further arguments about the data.

    With errors or intervals, the first argument is an Observations, which also takes weights, labels and ``missing``.
    """
    arguments = {"sample_weight": (WEIGHT, "weight"), "labels": (LABEL, "labels")}
    known = {name: called for name, (kept, called) in arguments.items() if kept in tree["observed_data"]}
    known |= _sources(_missing(tree))
    further = _noise(tree) | _rounding(tree)
    held = [f"{name}={name}" for name in _held(tree)]
    if not held:
        return "x", known | further
    held += [f"{name.removeprefix('sample_')}={value}" for name, value in known.items()]
    return f"bg.Observations({', '.join((['x'] if _has_values(tree) else []) + held)})", further


def _held(tree: xr.DataTree) -> list[str]:
    """Names of the arguments for errors and intervals that the data need."""
    rows = observations(tree)
    return [ERROR] * rows.has_errors + [LOWER, UPPER] * bool(rows.bounded.any())


def _rounding(tree: xr.DataTree) -> dict[str, str]:
    """The argument ``rounding``, if values are rounded, or if the user turned its detection off."""
    steps = observations(tree).steps
    if steps is None:
        return {"rounding": "None"} if tree.attrs.get("rounding") == "none" else {}
    return _sources({"rounding": steps.tolist() if len(steps) > 1 else float(steps[0])})


def _noise(tree: xr.DataTree) -> dict[str, str]:
    """The argument ``noise``, if the model has noise."""
    noise = as_asked(observations(tree))
    if noise is None:
        return {"noise": LOG_NOISE}  # given as log densities
    return {} if noise is False else _sources({"noise": noise})


def _has_values(tree: xr.DataTree) -> bool:
    """Whether any value is known by more than an interval."""
    return bool(observations(tree).counts_known.any())


def _unknown_to_shell(tree: xr.DataTree) -> bool:
    """Whether something is known that the shell has no option for.

    That is labels, covariances of errors, log densities of noise, fixed parameters, or the order of the means.
    """
    if _known_parameters(tree):
        return True
    observed = tree["observed_data"]
    of_errors = ERROR in observed and observed[ERROR].ndim > observed["x"].ndim
    return LABEL in observed or of_errors or not isinstance(as_asked(observations(tree)), bool)


def _stated_prior(tree: xr.DataTree) -> dict[str, str]:
    """The argument ``prior`` or ``model``; empty for the default prior."""
    if tree.attrs.get("prior") == "custom model":
        return {"model": "model"}
    prior = _unscaled(tree)
    if prior is None:
        return {"prior": _constructed("bg", tree.attrs["prior"])}
    if isinstance(prior, HierarchicalPrior) and prior.scale == _usual_scale(tree):
        return {}
    scale = "" if prior.scale == "range" else f"scale={json.dumps(prior.scale)}"
    return {"prior": f"bg.{type(prior).__name__}({scale})"}


def _known_parameters(tree: xr.DataTree) -> dict[str, str]:
    """The arguments ``fixed`` and ``ordered``, if they were used."""
    found = {"ordered": "True"} if tree.attrs.get("ordered") else {}
    fixed = fixed_of(tree.attrs.get("fixed"))
    if fixed is not None:
        values = {name: each.tolist() for name, each in fixed.shown.items() if not np.isnan(each).all()}
        found["fixed"] = repr(values)
    return found


def _usual_scale(tree: xr.DataTree) -> Scale:
    """The scale of the default prior."""
    return "core" if LOG_NOISE in tree["observed_data"] else family_of(tree.attrs.get("family", GAUSSIAN.name)).scale


def _constructed(module: str, stored: str) -> str:
    """The source code of a prior that is stored as JSON."""
    values = json.loads(stored)
    arguments = ", ".join(f"{name}={value!r}" for name, value in values.items() if name != "name")
    return f"{module}.{values['name']}({arguments})"


def _unscaled(tree: xr.DataTree) -> Prior | None:
    """The prior before it was scaled to the data; None if the user gave hyperparameters."""
    stored = tree.attrs.get("prior")
    recorded = prior_of(stored)
    if recorded is None:
        return HierarchicalPrior()
    prior = type(recorded)(scale=recorded.scale)
    scaled = read_prior(prior, observations(tree), tree.attrs.get("covariance", "full"), GAUSSIAN.name, [])
    return prior if scaled.to_json() == stored else None


def _call(positional: list[str], stated: dict[str, str]) -> str:
    arguments = [*positional, *(f"{name}={value}" for name, value in stated.items())]
    line = ", ".join(arguments)
    return line if len(line) <= 48 else f"\n    {_packed(arguments, ', ')},\n"


def _packed(words: list[str], between: str, end: str = "") -> str:
    """Words in lines of limited width, without breaks inside a word."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > _WIDTH:
            lines.append("")
        lines[-1] += (between if lines[-1] else "") + word
    return f"{between.rstrip()}{end}\n    ".join(lines)


def _sources(values: dict[str, Any]) -> dict[str, str]:
    """Values as Python source code."""
    return {name: json.dumps(each) if type(each) is str else repr(_plain(each)) for name, each in values.items()}


def _plain(value: Any) -> Any:
    """A Python number for a NumPy one."""
    return value.item() if hasattr(value, "item") else value


def _columns(tree: xr.DataTree) -> str:
    names = feature_names(tree)
    known = " --weight NAME" if WEIGHT in tree["observed_data"] else ""
    for option in _held(tree):
        known += f" --{option}{' NAME' * len(names)}"
    steps = observations(tree).steps
    known += "" if steps is None else f" --rounding {' '.join(f'{step:g}' for step in steps)}"
    known += " --rounding none" if tree.attrs.get("rounding") == "none" else ""
    known += " --noise" if LOG_NOISE in tree["observed_data"] else ""
    if LOWER in _held(tree) and not _has_values(tree):
        return known
    if len(names) == 1:
        named = "long_name" in tree["observed_data"]["x"].attrs
        return f" --column {shlex.quote(names[0]) if named else 'NAME'}{known}"
    return " --columns " + " ".join(shlex.quote(name) for name in names) + known


def _options(tree: xr.DataTree, command: str, stated: dict[str, Any], seed: Any) -> str:
    prior = _unscaled(tree)
    words = [command]
    if isinstance(prior, ConjugatePrior):
        words.append("--prior conjugate")
    if prior is not None and prior.scale != _usual_scale(tree):
        words.append(f"--prior-scale {prior.scale}")
    words += [f"--{name.replace('_', '-')} {_plain(value)}" for name, value in (stated | _missing(tree)).items()]
    words += [f"--seed {seed}", "--out results/"]
    note = "# the prior's numbers are not the default's; the shell cannot set them\n" if prior is None else ""
    return note + _packed(words, " ", " \\")


def _settings(tree: xr.DataTree) -> Table:
    """Table of all settings that the tree records."""
    rows = []
    for name, value in tree.attrs.items():
        if str(name).startswith("seconds_"):
            rows.append([str(name).replace("_", ", "), number(float(value))])
        elif name == "prior" and str(value).startswith("{"):
            stored = json.loads(value)
            rows.append(["prior", stored.pop("name")])
            rows += [[f"prior, {each}", str(of)] for each, of in stored.items()]
        elif name not in ("cache_key", "verdict"):
            rows.append([str(name), str(_plain(value))])
    return Table("All settings, as the tree records them", ["setting", "value"], rows, folded=True)
