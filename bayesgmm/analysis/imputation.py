"""Imputation: the true values of observations that are missing or were measured with errors."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm.analysis.densities import shares_given
from bayesgmm.analysis.predictive import read_points, require_room
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import FEATURE, OBS
from bayesgmm.arguments import FloatArray, read_count, read_seed
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import as_shown
from bayesgmm.data.units import Units

_BLOCK = 1_000  # observations handled together


@np.errstate(under="ignore")
def impute(
    tree: Tree,
    x: ArrayLike | Observations | None = None,
    *,
    draws: int | None = None,
    random_seed: int | np.random.Generator | None = None,
) -> xr.Dataset:
    r"""Posterior mean and standard deviation of values that are missing or were measured with errors.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    x : Observations or array-like, optional
        New observations, each treated separately. Default: the fitted ones.
    draws : int, optional
        Also draw this many complete data sets, each with the parameters of one draw of the posterior, for multiple
        imputation.
    random_seed : int, Generator or None
        Seed for the complete data sets.

    Returns
    -------
    Dataset
        ``mean`` and ``sd``, with the shape of x, (obs) or (obs, feature), in the units of the data. They describe the
        distribution of an entry's true value, given its row, the errors and the fitted data. For an exact entry they are the
        value and 0.
        With ``draws`` also ``draws`` (draw, obs[, feature]).

    Raises
    ------
    ValueError
        If x has other features than the data, or is infinite.
    MemoryError
        If the draws would not fit into memory.

    Notes
    -----
    Mean and variance are averaged over the posterior's draws in closed form (Rao-Blackwellised). With o the known features,

    .. math::
        E[x_i \mid k] = \mu_k + A_{ik} (x_o - \mu_o), \quad \mathrm{Var}[x_i \mid k] = \Sigma_k - A_{ik} \Sigma_{o \cdot},
        \quad A_{ik} = \Sigma_{\cdot o} (\Sigma_{oo} + E_i)^{-1}.

    References
    ----------
    Rubin (1987), Multiple Imputation for Nonresponse in Surveys. doi:10.1002/9780470316696

    Examples
    --------
    >>> import bayesgmm as bg
    >>> geyser = bg.jitter(bg.datasets.old_faithful(), random_seed=1)
    >>> geyser.iloc[0, 1] = float("nan")  # the eruption took 3.6 minutes; the wait for the next is lost
    >>> options = {"missing": "at_random", "random_seed": 1, "progressbar": False}
    >>> lost = bg.impute(bg.fit(geyser, 2, **options)).isel(obs=0).sel(feature="waiting")
    >>> round(lost["mean"].item()), round(lost["sd"].item())
    (76, 6)
    """
    reading = Reading.of(tree)
    parameters = reading.draws
    observed, positions = read_points(reading, x, "x")
    units = Units(parameters.mu.mean(axis=(0, 1)), parameters.sd.mean(axis=(0, 1)))
    rows = observed.standardised(units)  # avoids cancellation for values far from zero
    parameters = parameters.standardised(units)
    mean, square = np.zeros(rows.x.shape), np.zeros(rows.x.shape)

    def of_block(begin: int) -> None:
        part = slice(begin, begin + _BLOCK)
        of_part = rows.of(part)
        shares = None if x is None else shares_given(parameters, of_part)
        for s, one in enumerate(parameters.each()):
            share = 1 / len(parameters.w) if shares is None else shares[s, :, None]
            first, second = of_part.expected(one)
            mean[part] += share * first
            square[part] += share * second

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(of_block, range(0, len(rows), _BLOCK)))
    exact = ~np.isnan(rows.exact)
    sd = np.where(exact, 0.0, np.sqrt(np.maximum(square - mean**2, 0.0)))
    dims: tuple[str, ...] = (OBS, FEATURE)[: 1 if rows.n_features == 1 else 2]
    mean = np.where(exact, observed.x, units.shift + units.scale * mean)
    coords = {OBS: positions}
    if rows.n_features > 1:
        coords[FEATURE] = reading.tree["posterior"][FEATURE].to_numpy()
    result = xr.Dataset({"mean": (dims, as_shown(mean)), "sd": (dims, as_shown(units.scale * sd))}, coords=coords)
    if draws is not None:
        many = min(read_count(draws, "draws"), len(parameters.w))
        require_room(many, rows.x.size, "draws")
        rng, few = np.random.default_rng(read_seed(random_seed)), parameters.thinned(many)
        completed: FloatArray = units.shift + units.scale * np.stack([rows.completed(one, rng) for one in few.each()])
        result["draws"] = (("draw", *dims), as_shown(np.where(exact, observed.x, completed)))
    return result
