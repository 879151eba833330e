"""Rounded values: each true value lies within half a step of the rounded one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm.arguments import TRAITS, Covariance, FloatArray, Missing, read_covariance
from bayesgmm.data.noise import uniform_on
from bayesgmm.data.observations import Observations
from bayesgmm.data.ties import read_steps, steps_of
from bayesgmm.words import about


def rounded(
    x: ArrayLike | Observations,
    width: ArrayLike | None = None,
    *,
    covariance: Covariance = "full",
    missing: Missing = "raise",
) -> Observations:
    """Treat values as rounded: known to within half a step.

    A component of a mixture can shrink onto equal values without limit. If values are known only to within half a step,
    components cannot be narrower than the step, and the default posterior is proper.

    Parameters
    ----------
    x : (n,) or (n, D) array-like, or Observations
        Values that already have an error or an interval stay as they are.
    width : float or (D,) array-like, optional
        The step to which each feature is rounded, in its units; 0 leaves a feature as it is. Default: if a feature
        has ties and its values lie on a grid, the smallest step between its values.
    covariance : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}
        The structure to be fitted. If there is only one feature, or features are independent within a component, a value
        becomes the interval of that width around it. Otherwise, and if other values in x have errors, it gets a
        measurement error with variance width^2 / 12.
    missing : {"raise", "drop", "at_random"}
        As in :class:`bayesgmm.Observations`.

    Returns
    -------
    Observations

    Raises
    ------
    ValueError, TypeError
        For data or widths that break a rule. Without a width also if ties do not come from rounding, such as zeros among
        continuous values.

    Notes
    -----
    The likelihood of an interval is its probability divided by its width, which is the mean density within it. It tends to
    the density of the exact value as the width goes to zero. Log-likelihoods and evidences are therefore comparable with
    those of exact values. The mean and standard deviation of a component describe the values before rounding.

    References
    ----------
    Heitjan (1989), Inference from grouped continuous data: a review, Statistical Science 4, 164-179.
    doi:10.1214/ss/1177012601

    Examples
    --------
    >>> rounded([1, 1, 1, 2, 2, 4])
    Observations(n = 6, 1 feature, 6 values rounded)
    """
    read_covariance(covariance)
    data = Observations.read(x, missing=missing)
    return with_rounding(data, read_steps(data.exact, data.called, width, "width", data.known.weight), covariance)


def is_auto(rounding: Any) -> bool:
    """Whether ``rounding`` is "auto": values are exact unless that would make the posterior improper."""
    return isinstance(rounding, str) and rounding == "auto"


def as_asked(data: Observations, rounding: Any, covariance: Covariance) -> Observations:
    """Data rounded to the width that ``rounding`` gives; unchanged if it is None or "auto"."""
    if rounding is None or is_auto(rounding):
        return data
    if isinstance(rounding, str):
        raise ValueError(about("rounding", f"must be 'auto', None, or the width of a step, got {rounding!r}"))
    return with_rounding(data, read_steps(data.exact, data.called, rounding, "rounding"), covariance)


def as_detected(data: Observations, covariance: Covariance) -> Observations:
    """Data rounded to the step that is detected in each feature."""
    return with_rounding(data, steps_of(data.exact, data.called, data.known.weight), covariance)


def with_rounding(data: Observations, width: FloatArray, covariance: Covariance) -> Observations:
    """The data with exact values known only to within half a step; ``width`` (D,) holds the steps."""
    is_rounded = ~np.isnan(data.exact) & (width > 0)
    if not is_rounded.any():
        return data
    of_box, added = uniform_on(data) is not None, np.where(is_rounded, width, 0.0)
    if data.known.error is not None or (data.n_features > 1 and TRAITS[covariance].matrix):
        known = replace(data.known, error=_with_variance(data.known.error, added))
    else:
        lower, upper = _ends(data)
        known = replace(data.known, lower=lower - added / 2, upper=upper + added / 2)
    before = 0.0 if data.known.width is None else data.known.width
    known = replace(known, width=before + added, noise=None if of_box else data.known.noise)
    made = Observations.made(data.x, known, data.kept, data.names, data.missing)
    return made.with_noise() if of_box else made


def _with_variance(error: FloatArray | None, width: FloatArray) -> FloatArray:
    """Errors with the variance of rounding added."""
    sd = width / math.sqrt(12)
    if error is None:
        return sd
    if error.ndim == 2:
        return np.hypot(error, sd)
    return error + sd[:, :, None] ** 2 * np.eye(sd.shape[1])


def _ends(data: Observations) -> tuple[FloatArray, FloatArray]:
    if data.known.lower is not None and data.known.upper is not None:
        return data.known.lower, data.known.upper
    gaps = np.isnan(data.x)
    return np.where(gaps, -np.inf, data.x), np.where(gaps, np.inf, data.x)
