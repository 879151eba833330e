"""How many components: fits for several k side by side."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm import predictive
from bayesgmm.diagnostics import MAX_K_HAT, Diagnosis, diagnose
from bayesgmm.exceptions import ApproximationWarning, ConvergenceWarning, InterruptedWarning
from bayesgmm.inference import fit
from bayesgmm.priors import Prior
from bayesgmm.validation import Covariance, Method, Missing, read_count, read_fit_data, read_seed

_LOO_NUMBERS = 2**27  # draws x observations that LOO works on at once (1 GB); longer runs are thinned to this


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    table : DataFrame
        One row per k, in order of k: k, elpd_loo with its standard error se, elpd_diff to the best with its standard
        error dse, p_loo, bad_pareto_k (observations with a Pareto k-hat too high for PSIS-LOO to be trusted), stacking
        weight, EM's bic, aic, icl and log_likelihood, converged, divergences, seconds.
    fits : dict of int to DataTree
    loo : dict of str to ELPDData
        ArviZ's LOO results, ready for ``az.compare``.
    diagnoses : dict of int to Diagnosis
    seed : int
        Of the whole comparison.
    best : dict of str to int
        The k that each criterion prefers.
    weights : Series
        Stacking weights, by k.
    """

    table: pd.DataFrame
    fits: Mapping[int, xr.DataTree] = field(repr=False)
    loo: Mapping[str, Any] = field(repr=False)
    diagnoses: Mapping[int, Diagnosis] = field(repr=False)
    seed: int

    @property
    def best(self) -> dict[str, int]:
        """The k that each criterion prefers."""
        by_k = self.table.set_index("k")
        highest = {"elpd_loo": int(by_k["elpd_loo"].idxmax()), "weight": int(by_k["weight"].idxmax())}
        return highest | {name: int(by_k[name].idxmin()) for name in ("bic", "aic", "icl")}

    @property
    def weights(self) -> pd.Series:
        """Stacking weights, by k."""
        return self.table.set_index("k")["weight"]

    @property
    def verdict(self) -> str:
        """Which k predicts best, how decided that is, and what EM's criteria say."""
        best = self.best
        by_k = self.table.set_index("k")
        rivals = by_k.index[(by_k["elpd_diff"].abs() < 2 * by_k["dse"]) & (by_k.index != best["elpd_loo"])].tolist()
        if rivals:
            decided = f"cannot be told apart from k = {', '.join(map(str, rivals))} (less than two standard errors)"
        else:
            decided = "is better than every other k by more than two standard errors" if len(by_k) > 1 else "stands alone"
        sentence = f"by LOO k = {best['elpd_loo']} predicts best and {decided}; EM's BIC prefers k = {best['bic']}"
        for condition, trouble in (
            (~by_k["converged"], "not converged (see .diagnoses)"),
            (by_k["bad_pareto_k"] > 0, "LOO is unreliable at some observations"),
        ):
            if condition.any():
                sentence += f"; {trouble}: k = {', '.join(map(str, by_k.index[condition]))}"
        return sentence

    def __repr__(self) -> str:
        formats = {"weight": "{:.3f}", "seconds": "{:.1f}"}
        shown = self.table.drop(columns=["aic", "icl", "log_likelihood"])
        formatters = {name: formats.get(name, "{:.2f}").format for name in shown if shown[name].dtype.kind == "f"}
        return f"{shown.to_string(index=False, formatters=formatters)}\n{fill(self.verdict, 110)}"


def compare(
    x: ArrayLike,
    k: Iterable[int] = range(1, 7),
    *,
    method: Method = "nuts",
    prior: Prior | None = None,
    covariance: Covariance = "full",
    draws: int = 1000,
    chains: int = 4,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
    missing: Missing = "raise",
    **options: Any,
) -> Comparison:
    """Fit every k and compare how well each predicts observations it has not seen.

    Parameters
    ----------
    x : (n,) or (n, D) array-like
    k : iterable of int
        Numbers of components to try.
    method, prior, covariance, draws, chains, missing
        As in :func:`bayesgmm.fit`, the same for every k.
    random_seed : int, Generator or None
        One seed for the whole comparison.
    progressbar : bool
        Announce phases and show progress on standard error.
    **options
        Further options of :func:`bayesgmm.fit`.

    Returns
    -------
    Comparison
        Prints as a table; ``.fits``, ``.best``, ``.weights``.

    Warns
    -----
    InterruptedWarning
        If interrupted; the k finished by then are compared.

    Raises
    ------
    ValueError, TypeError
        For arguments that break a rule; the message names it. Nothing is fitted before all k have been checked.

    References
    ----------
    Vehtari, Gelman & Gabry (2017), Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC,
    Statistics and Computing 27, 1413-1432. doi:10.1007/s11222-016-9696-4

    Yao, Vehtari, Simpson & Gelman (2018), Using stacking to average Bayesian predictive distributions, Bayesian
    Analysis 13, 917-1007. doi:10.1214/17-BA1091
    """
    if options.get("model") is not None:
        raise TypeError("model states one k and cannot be compared over k; fit each model and pass the trees to az.compare")
    ks = _read_ks(k)
    for each in ks:
        read_fit_data(x, each, covariance=covariance, missing=missing)
    seed = read_seed(random_seed)
    rng = np.random.default_rng(seed)
    seeds = {each: int(rng.integers(2**31)) for each in ks}
    settings: dict[str, Any] = {
        "method": method,
        "prior": prior,
        "covariance": covariance,
        "draws": draws,
        "chains": chains,
        "missing": missing,
    }
    fits: dict[int, xr.DataTree] = {}
    loo: dict[str, Any] = {}
    for each in ks:
        try:
            with warnings.catch_warnings():
                for category in (ConvergenceWarning, ApproximationWarning, InterruptedWarning):
                    warnings.simplefilter("ignore", category)  # the table says it, row by row
                tree = fit(x, each, random_seed=seeds[each], progressbar=progressbar, **settings, **options)
            fits[each], loo[str(each)] = tree, _loo(tree)
        except KeyboardInterrupt:
            fits.pop(each, None)
            if not fits:
                raise
        if each not in fits or tree.attrs["interrupted"]:
            warnings.warn(
                f"interrupted at k = {each}: the comparison holds k = {', '.join(map(str, fits))}",
                InterruptedWarning,
                stacklevel=2,
            )
            break
    diagnoses = {each: diagnose(tree) for each, tree in fits.items()}
    return Comparison(_table(fits, loo, diagnoses), fits, loo, diagnoses, seed)


def _read_ks(k: Any) -> list[int]:
    if isinstance(k, (str, bytes)) or not isinstance(k, Iterable):
        raise TypeError(f"k must be several numbers of components, such as range(1, 7), got {k!r}; for one k use fit")
    ks = sorted({read_count(each, "every k") for each in k})
    if not ks:
        raise ValueError("k must hold at least one number of components, got none")
    return ks


def _loo(tree: xr.DataTree) -> Any:
    """PSIS-LOO of one fit, on evenly thinned draws where all of them would take too much memory."""
    n_chains, n_draws = tree["posterior"].sizes["chain"], tree["posterior"].sizes["draw"]
    step = int(np.ceil(n_chains * n_draws * tree["observed_data"].sizes["obs"] / _LOO_NUMBERS))
    if step > 1:
        tree = xr.DataTree.from_dict(
            {
                name: tree[name].to_dataset().isel(draw=slice(None, None, step), missing_dims="ignore")
                for name in tree.children
            }
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto distribution", category=UserWarning)
        return az.loo(predictive.add_log_likelihood(tree), pointwise=True)


def _table(fits: Mapping[int, xr.DataTree], loo: Mapping[str, Any], diagnoses: Mapping[int, Diagnosis]) -> pd.DataFrame:
    if len(fits) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # bad k-hats: in the column bad_k
            compared = az.compare(dict(loo), round_to="none")
    rows = []
    for k, tree in fits.items():
        elpd, em = loo[str(k)], tree["em_baseline"].attrs
        beside = compared.loc[str(k)] if len(fits) > 1 else {"elpd_diff": 0.0, "dse": 0.0, "weight": 1.0}
        k_hats = np.asarray(elpd.pareto_k.values)
        rows.append(
            {
                "k": k,
                "elpd_loo": float(elpd.elpd),
                "se": float(elpd.se),
                "elpd_diff": float(beside["elpd_diff"]),
                "dse": float(beside["dse"]),
                "p_loo": float(elpd.p),
                "bad_pareto_k": int((k_hats > min(MAX_K_HAT, float(elpd.good_k))).sum()),
                "weight": float(beside["weight"]),
                **{name: em[name] for name in ("bic", "aic", "icl", "log_likelihood")},
                "converged": diagnoses[k].converged,
                "divergences": int(diagnoses[k].sampler.get("divergences", 0)),
                "seconds": sum(v for name, v in tree.attrs.items() if str(name).startswith("seconds_")),
            }
        )
    return pd.DataFrame(rows)
