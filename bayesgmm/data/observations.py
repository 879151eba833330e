"""Observations: rows of data with what is known of them, their densities, and their expected sufficient statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import repeat
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm.arguments import FloatArray, Missing, Noise
from bayesgmm.data.intervals import INTERVALS_ALONE, expected_within, read_bins, read_intervals, read_limits
from bayesgmm.data.known import NOTHING, Known, read_error, read_labels, read_weight
from bayesgmm.data.noise import read_noise
from bayesgmm.data.tables import column_names, read_rows
from bayesgmm.data.units import Units
from bayesgmm.kernels import estep
from bayesgmm.kernels.allocations import complete_at, expect_at
from bayesgmm.kernels.compiled import given
from bayesgmm.kernels.errors import Errors
from bayesgmm.kernels.estep import ESums
from bayesgmm.kernels.groups import Groups, groups_of
from bayesgmm.kernels.interval_steps import SUMMED
from bayesgmm.kernels.intervals import Intervals, intervals_of
from bayesgmm.kernels.quadrature import Nodes, nodes_of, rescaled
from bayesgmm.kernels.rows import EXACT, Kind, Rows, rows_of
from bayesgmm.kernels.student import Nu
from bayesgmm.words import Argument, Words, about

EXACT_ALONE = Words(
    "must be exact, complete rows for a mixture of t distributions: with errors or intervals their density has no closed "
    "form, and missing values are not supported; use ",
    Argument("family", "gaussian"),
)
_ROWS = 2**16  # rows in a block
_ROUNDED = 1e-9  # relative excess over a rounding error that reveals another error
_DRAWN = 5  # cost of drawing one latent value, in exact values


class Summable(Protocol):
    """What EM's iterations need of observations."""

    def sums(
        self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None, *, units: Units | None = None
    ) -> ESums:
        """Expected sufficient statistics under a mixture, or under S mixtures: see :func:`bayesgmm.kernels.estep.e_step`."""


class Source(Summable, Protocol):
    """Observations in memory, on disk or on workers: what can be computed wherever they are."""

    @property
    def total(self) -> float:
        """n, or the sum of the weights."""

    @property
    def counts_known(self) -> FloatArray:
        """Weighted number of values of each feature that have a density, (D,)."""

    def units(self, *, one_unit: bool) -> Units:
        """Units in which the observations are standardised."""

    def over_blocks[T](self, work: Callable[[Observations], T]) -> Iterator[T]:
        """Results of a function of each block of rows."""


class Observations:
    """Rows of data with what is known of each: weights, labels, errors, intervals, missing values.

    They can be given wherever an array of data can, except to :func:`bayesgmm.jitter`.

    Parameters
    ----------
    x : (n,) or (n, D) array-like, optional
        One row for each observation. The names of the columns become coordinates. May be omitted if ``lower`` and ``upper``
        say everything.
    weight : (n,) array-like, optional
        Frequency weights, not negative. An observation of weight c counts as c observations; weight 0 leaves it out.
    error : (n,), (n, D) or (n, D, D) array-like, optional
        Measurement errors: standard deviations of independent errors with mean zero, in the units of x, or a covariance
        matrix for each row. The mixture then describes the values without errors. Zero means that a value is exact. A
        missing value has an infinite error.
    lower, upper : (n,) or (n, D) array-like, optional
        Ends of the intervals of values that are NaN in x. An end that is infinite, NaN or omitted is no
        bound. If both ends are equal the value is exact. Features must be independent within a component (one feature, or
        ``covariance="diag"`` or ``"spherical"``), and errors cannot be given as well.
    labels : (n,) array-like of int, or (n, K) array-like, optional
        What is known of the components: for each observation the number of its component, or -1 if that is unknown; or
        probabilities of all components.
    missing : {"raise", "drop", "at_random"}
        What to do with NaN: refuse it, leave out its row, or use the known values of the row. "at_random" is right if the
        chance that a value is missing does not depend on the value itself, given the known values of its row. With one
        feature a missing value says nothing, and its row is left out.

    Attributes
    ----------
    x : (n, D) array
        The rows that count. NaN where nothing is known; for an interval the expected value within it, under a single
        Gaussian for the feature. The prior takes its scale from these.
    known : Known
        Weights, labels, errors and intervals of these rows, and their log densities as noise.
    kept : (n_input,) array of bool, or None
        Which of the input rows these are; None if all.
    names : tuple of str, tuple of int, or None
        Names of the columns, if x had names other than 0, ..., D - 1.
    missing : {"raise", "drop", "at_random"}
        What was done with NaN.

    Raises
    ------
    ValueError, TypeError
        For data that break a rule; the message names it.

    References
    ----------
    Little & Rubin (2019), Statistical Analysis with Missing Data. doi:10.1002/9781119482260

    Bovy, Hogg & Roweis (2011), Extreme deconvolution: inferring complete distribution functions from noisy, heterogeneous
    and incomplete observations, Annals of Applied Statistics 5, 1657-1677. doi:10.1214/10-AOAS439

    McLachlan & Jones (1988), Fitting mixture models to grouped and truncated data via the EM algorithm, Biometrics 44,
    571-578. doi:10.2307/2531869

    Examples
    --------
    >>> Observations([[1.0, 2.0], [3.0, float("nan")]], missing="at_random")
    Observations(n = 2, 2 features, 1 value missing)
    >>> Observations(lower=[0.5, 1.5], upper=[1.5, float("inf")])
    Observations(n = 2, 1 feature, 2 values in intervals)
    """

    x: FloatArray
    known: Known
    kept: NDArray[np.bool_] | None
    names: tuple[str, ...] | tuple[int, ...] | None
    missing: Missing

    def __init__(
        self,
        x: ArrayLike | None = None,
        *,
        weight: ArrayLike | None = None,
        error: ArrayLike | None = None,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        missing: Missing = "raise",
    ) -> None:
        given: Any = {"weight": weight, "error": error, "lower": lower, "upper": upper, "labels": labels}
        read = Observations.read(x, **given, missing=missing, weight_name="weight")
        self.__dict__.update(read.__dict__)

    @classmethod
    def binned(cls, counts: ArrayLike, edges: Any, *, labels: ArrayLike | None = None) -> Observations:
        """A histogram: each bin stands for the observations counted in it.

        Parameters
        ----------
        counts : (B,) or (B_1, ..., B_D) array-like
            How many observations lie in each bin, not negative; they are weights, and may be fractional.
        edges : (B + 1,) array-like, or D of them
            Edges of the bins, increasing; the first and the last may be infinite. ``numpy.histogram`` and
            ``numpy.histogramdd`` return counts and edges in this form.
        labels : (B,) or (B, K) array-like, optional
            As in :class:`Observations`, for all bins; with several features in the order of ``counts.ravel()``.

        Returns
        -------
        Observations
            A row for each bin that is not empty.

        Raises
        ------
        ValueError, TypeError
            For counts or edges that break a rule; the message names it.

        Notes
        -----
        A bin costs as much as one observation, whatever its count. With Gibbs sampling it costs as much as its observations,
        up to 1 000. If a bin holds more, the sum of its values is drawn from the normal distribution with the same mean and
        covariance.

        Examples
        --------
        >>> Observations.binned([3, 0, 1], [0.0, 1.0, 2.0, float("inf")])
        Observations(n = 2, 1 feature, 2 values in intervals, with weights)
        """
        lower, upper, weight = read_bins(counts, edges)
        return cls(lower=lower, upper=upper, weight=weight, labels=labels)

    @classmethod
    def censored(
        cls,
        x: ArrayLike,
        below: ArrayLike | None = None,
        above: ArrayLike | None = None,
        *,
        weight: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        missing: Missing = "raise",
    ) -> Observations:
        """Censored values: some are known only to lie below or above a limit of measurement.

        Parameters
        ----------
        x : (n,) or (n, D) array-like
            Values. A value at or beyond a limit is known only to lie beyond it.
        below, above : float, (D,), or array-like of the shape of x, optional
            Lower and upper limits of measurement, in the units of x. For one feature (n,) is a limit for each row.
        weight, labels, missing
            As in :class:`Observations`.

        Returns
        -------
        Observations

        Raises
        ------
        ValueError, TypeError
            For data or limits that break a rule; the message names it.

        Examples
        --------
        >>> Observations.censored([0.1, 0.1, 0.4, 2.0], below=0.1)
        Observations(n = 4, 1 feature, 2 values in intervals)
        """
        lower, upper = read_limits(x, below, above)
        nothing = np.full(lower.shape, np.nan)
        read = cls(nothing, lower=lower, upper=upper, weight=weight, labels=labels, missing=missing)
        return cls.made(read.x, read.known, read.kept, column_names(x), read.missing)

    @classmethod
    def made(
        cls,
        x: FloatArray,
        known: Known = NOTHING,
        kept: NDArray[np.bool_] | None = None,
        names: tuple[str, ...] | tuple[int, ...] | None = None,
        missing: Missing = "raise",
    ) -> Observations:
        """Observations from rows (n, D) that have been checked."""
        result = object.__new__(cls)
        result.__dict__.update(x=x, known=known, kept=kept, names=names, missing=missing)
        return result

    @classmethod
    def read(
        cls,
        x: Any,
        *,
        weight: ArrayLike | None = None,
        error: ArrayLike | None = None,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        missing: Missing | None = "raise",
        name: str = "x",
        weight_name: str = "sample_weight",
        frequencies: bool = True,
    ) -> Observations:
        """Check rows and bring them to shape (n, D), without a copy if possible. Observations are returned as they are.

        ``missing=None`` is for callers without such an option. Messages then do not recommend it. Weights that are not
        ``frequencies`` may have any scale.
        """
        if isinstance(x, Observations):
            beside = {weight_name: weight, "error": error, "lower": lower, "upper": upper, "labels": labels}
            for other, value in beside.items():
                if value is not None:
                    raise ValueError(
                        about(other, "must not be given beside Observations, which hold their own; give it there")
                    )
            if missing not in (None, "raise", x.missing):
                rule = "must not be given beside Observations, which have settled their missing values; give it there"
                raise ValueError(about("missing", rule))
            return x
        ends: Any = ()
        if lower is None and upper is None:
            if x is None:
                raise ValueError(about(name, "must be given, unless lower or upper is"))
            values, kept, names = read_rows(x, missing=missing, name=name)
        else:
            if error is not None:
                rule = "must not be given beside lower and upper: an interval of a value with an error is not supported"
                raise ValueError(about("error", f"{rule}; widen the interval, or give the error alone"))
            values, kept, names, *ends = read_intervals(x, lower, upper, missing=missing, name=name)
        known = Known(
            read_weight(weight, kept, len(values), frequencies=frequencies, name=weight_name),
            read_labels(labels, kept, len(values)),
            read_error(error, kept, values),
            *ends,
        )
        read = cls.made(values, known, kept, names, missing or "raise")
        if known.weight is not None and not known.weight.all():
            used = known.weight > 0
            kept = np.zeros(len(values) if kept is None else len(kept), dtype=bool)
            kept[read.positions[used]] = True
            read = cls.made(values[used], known.of(used), kept, names, read.missing)
        if read.known.lower is not None and read.known.upper is not None:
            read.x[:] = expected_within(read.known.lower, read.known.upper, read.known.weight)
        return read

    def __repr__(self) -> str:
        many = [
            (np.isnan(self.x).sum(), "value missing", "values missing"),
            (np.count_nonzero(self.bounded), "value in an interval", "values in intervals"),
            (np.count_nonzero(self.rounded), "value rounded", "values rounded"),
        ]
        features = f"{self.n_features} feature{'s' if self.n_features > 1 else ''}"
        said = [f"n = {len(self)}", features, *(f"{n} {one if n == 1 else more}" for n, one, more in many if n)]
        known = self.known
        kinds = {"weights": known.weight, "labels": known.labels, "errors": known.error, "noise": known.noise}
        held = [name for name, value in kinds.items() if value is not None]
        return f"Observations({', '.join(said)}{', with ' + ' and '.join(held) if held else ''})"

    def __len__(self) -> int:
        """The number of rows, n."""
        return len(self.x)

    def __getstate__(self) -> dict[str, Any]:
        """Attributes without cached values, because those hold addresses of one process."""
        return {name: self.__dict__[name] for name in ("x", "known", "kept", "names", "missing")}

    @property
    def n_features(self) -> int:
        """D, the number of features."""
        return self.x.shape[1]

    @property
    def positions(self) -> NDArray[np.int64]:
        """Row of each observation in the user's input, (n,)."""
        return np.arange(len(self)) if self.kept is None else np.flatnonzero(self.kept)

    @property
    def features(self) -> NDArray[Any]:
        """Names of the features, or their numbers."""
        return np.arange(self.n_features) if self.names is None else np.array(self.names)

    @property
    def called(self) -> list[Any]:
        """Name or number of each feature for messages; x for a single feature without a name."""
        return ["x"] if self.n_features == 1 and self.names is None else self.features.tolist()

    @property
    def total(self) -> float:
        """n, or the sum of the weights."""
        return self.known.total(len(self))

    @property
    def counts(self) -> FloatArray:
        """The weight of each row, (n,); 1 without weights."""
        return self.known.counts(len(self))

    @property
    def counts_known(self) -> FloatArray:
        """Weighted number of values of each feature that have a density, not a probability, (D,)."""
        if self.known.lower is None and (self.kind is EXACT or self.n_features == 1):
            return np.full(self.n_features, self.total)
        return self.counts @ self.has_density

    @property
    def work(self) -> int:
        """Cost of a Gibbs sweep for each component. The unit is the cost of one exact value."""
        if self.known.weight is None or self.kind is EXACT or isinstance(self.kind, Errors):
            return self.x.size
        drawn = self.counts if isinstance(self.kind, Groups) else np.minimum(self.counts, SUMMED)
        return self.x.size + int(_DRAWN * self.n_features * drawn.sum())

    @property
    def filled(self) -> FloatArray:
        """Rows with missing values replaced by the mean of the known values of the feature."""
        gaps = np.isnan(self.x)
        return np.where(gaps, np.nanmean(self.x, axis=0), self.x) if gaps.any() else self.x

    @property
    def exact(self) -> FloatArray:
        """Rows with NaN where a value is missing, has an error, or lies in an interval."""
        known = np.where(self.known.lower == self.known.upper, self.x, np.nan) if self.known.lower is not None else self.x
        return known if self.error_sd is None else np.where(self.error_sd > 0, np.nan, known)

    @property
    def bounded(self) -> NDArray[np.bool_]:
        """Which values lie in an interval, (n, D). It must have a bound, and not come from rounding."""
        if self.known.lower is None or self.known.upper is None:
            return np.zeros(self.x.shape, dtype=bool)
        return (self.known.lower < self.known.upper) & ~np.isnan(self.x) & ~self.rounded

    @property
    def rounded(self) -> NDArray[np.bool_]:
        """Which values are known to have been rounded, (n, D)."""
        return np.zeros(self.x.shape, dtype=bool) if self.known.width is None else self.known.width > 0

    @property
    def steps(self) -> FloatArray | None:
        """Step to which each feature is rounded, (D,), 0 if it is not; None if no feature is."""
        return None if self.known.width is None else self.known.width.max(axis=0)

    @property
    def has_errors(self) -> bool:
        """Whether values have errors other than rounding errors."""
        error, width = self.known.error, self.known.width
        if error is None or width is None or error.ndim == 3:
            return error is not None
        return bool((error > (1 + _ROUNDED) * width / np.sqrt(12)).any())

    @property
    def error_sd(self) -> FloatArray | None:
        """Standard deviations (n, D) of the errors, NaN where a value is missing; None without errors."""
        error = self.known.error
        if error is None:
            return None
        sd = error if error.ndim == 2 else np.sqrt(np.diagonal(error, axis1=1, axis2=2))
        return np.where(np.isnan(self.x), np.nan, sd)

    @property
    def ranges(self) -> FloatArray:
        """Range of the known values of each feature, (D,)."""
        with np.errstate(over="ignore"):
            return np.nanmax(self.x, axis=0) - np.nanmin(self.x, axis=0)

    def of(self, rows: Any) -> Observations:
        """The rows at these positions."""
        return Observations.made(self.x[rows], self.known.of(rows))

    def of_feature(self, place: int) -> Observations:
        """Observations of one feature, in the rows in which something is known of it."""
        rows, sd = np.flatnonzero(~np.isnan(self.x[:, place])), self.error_sd
        known = replace(
            self.known,
            error=None if sd is None else sd[:, [place]],
            lower=None if self.known.lower is None else self.known.lower[:, [place]],
            upper=None if self.known.upper is None else self.known.upper[:, [place]],
            width=None if self.known.width is None else self.known.width[:, [place]],
            noise=None,
        )
        return Observations.made(self.x[rows][:, [place]], known.of(rows))

    def weighing(self, weight: FloatArray | None) -> Observations:
        """These rows with other weights."""
        return Observations.made(self.x, replace(self.known, weight=weight))

    def copied(self) -> Observations:
        """These observations with a read-only copy of the values."""
        x = self.x.copy()
        x.flags.writeable = False
        return Observations.made(x, self.known, self.kept, self.names, self.missing)

    def with_noise(self, noise: Noise = True) -> Observations:
        """These rows, each of which may be noise: not from a component, but from a fixed density.

        Parameters
        ----------
        noise : bool, float, or (n,) array-like
            True: uniform on a box that exceeds the range of the data by a tenth at either end. A number: a log density that
            is the same everywhere, in the data's units, for example minus the logarithm of the volume in which noise may
            lie. An array: the log density of each row. For an interval it is a log probability; for a row with missing
            values it is the log density of the known values. False leaves the rows as they are.

        Returns
        -------
        Observations

        Raises
        ------
        ValueError
            If a log density is not finite, if labels are probabilities, or if ``noise`` is True and an interval has an open
            end.

        Examples
        --------
        >>> Observations([1.0, 2.0, 5.0]).with_noise().known.noise.round(2)
        array([-1.57, -1.57, -1.57])
        """
        found = read_noise(noise, self)
        if found is None:
            return self
        return Observations.made(self.x, replace(self.known, noise=found), self.kept, self.names, self.missing)

    def standardised(self, units: Units) -> Observations:
        """A copy in these units."""
        error = self.known.error
        if error is not None:
            error = error / (units.scale if error.ndim == 2 else np.outer(units.scale, units.scale))
        lower, upper = (None if end is None else units.standardised(end) for end in (self.known.lower, self.known.upper))
        width = None if self.known.width is None else self.known.width / units.scale
        known = replace(self.known, error=error, lower=lower, upper=upper, width=width, noise=self._noise_in(units))
        result = Observations.made(units.standardised(self.x), known)
        nodes = self.__dict__.get("nodes")  # finding them again would cost a sort of the values
        if nodes is not None:
            result.__dict__["nodes"] = rescaled(nodes, units.shift[0], units.scale[0])
        return result

    def take_from(self, same: Observations) -> None:
        """Reuse quadrature nodes found for the same observations: finding them costs time and memory for a sort."""
        nodes = same.__dict__.get("nodes")
        if nodes is not None:
            self.__dict__["nodes"] = nodes

    @cached_property
    @np.errstate(under="ignore")
    def kind(self) -> Kind:
        """What is known of the values, in the form that compiled code takes."""
        error = self.known.error
        if self.known.lower is not None and self.known.upper is not None:
            return intervals_of(self.known.lower, self.known.upper)
        if error is None and not np.isnan(self.x.min(initial=0.0)):
            return EXACT
        if error is not None and error.ndim == 2:
            error = error[:, :, None] ** 2 * np.eye(self.n_features)
        return groups_of(self.x, error) if error is None or self.n_features > 1 else Errors(given(error[:, 0, 0]))

    @cached_property
    def nodes(self) -> Nodes | None:
        """Quadrature nodes that replace many exact values of one feature in sums; None if they cannot."""
        known, noise = self.known, self.known.noise
        plain = self.kind is EXACT and known.weight is None and known.labels is None
        if not plain or self.n_features > 1 or (noise is not None and (noise != noise[0]).any()):
            return None
        return nodes_of(self.x[:, 0])

    @property
    def has_density(self) -> NDArray[np.bool_]:
        """Which values (n, D) have a density: known ones, also with errors or rounded, but not those in intervals."""
        if self.known.lower is not None:
            return np.asarray(self.known.lower == self.known.upper) | self.rounded
        return ~np.isnan(self.x)

    def _noise_in(self, units: Units | None) -> FloatArray | None:
        """Log densities of the rows as noise, in these units."""
        if self.known.noise is None or units is None:
            return self.known.noise
        return self.known.noise + self.has_density @ np.log(units.scale)

    def _log_widths(self, units: Units | None = None) -> FloatArray | float:
        """Log of the product of each row's rounding widths, in these units; 0 without rounding intervals."""
        known = self.known.log_widths
        return known if units is None or isinstance(known, float) else known - self.rounded @ np.log(units.scale)

    def sum_log_widths(self, units: Units | None = None) -> float:
        """Number to subtract from the log-likelihood in these units, because compiled code ignores rounding widths."""
        widths = self._log_widths(units)
        return 0.0 if isinstance(widths, float) else float(self.counts @ widths)

    def _in_order(
        self, k: int, *, noise: bool = True, units: Units | None = None
    ) -> tuple[FloatArray | None, FloatArray | None]:
        """Weights and log labels in compiled code's order of rows. The last row of log labels has the densities of noise."""
        weight, log_labels = self.known.weight, self.known.log_labels(k)
        of_noise = self._noise_in(units) if noise else None
        if of_noise is not None:
            of_noise = of_noise + self._log_widths(units)  # compiled code has probabilities of intervals
            if log_labels is None:
                log_labels = of_noise[None]
            else:  # an observation of a known component is not noise
                unknown = np.isfinite(log_labels).all(axis=0)
                log_labels = np.concatenate([log_labels, np.where(unknown, of_noise, -np.inf)[None]])
        if not isinstance(self.kind, Groups | Intervals):
            return weight, log_labels
        order = self.kind.order
        return None if weight is None else weight[order], None if log_labels is None else log_labels[:, order]

    def rows(self, k: int, *, student: bool = False, units: Units | None = None) -> Rows:
        """The rows in the form that compiled code takes, for K Gaussians or t distributions.

        If compiled code standardises the rows, give its units: log densities of noise are then in these units.
        """
        x = self.x[self.kind.order] if isinstance(self.kind, Groups | Intervals) else self.x
        nodes, noise = None if student else self.nodes, self.known.noise is not None
        return rows_of(x, *self._in_order(k, units=units), self.kind, noise=noise, student=student, nodes=nodes)

    def _shares(self, weights: FloatArray, means: FloatArray) -> tuple[FloatArray, bool]:
        """Weights for these rows, and whether the last is the share of noise.

        That share is dropped if these rows cannot be noise.
        """
        k = means.shape[-2]
        if weights.shape[-1] == k or self.known.noise is not None:
            return weights, weights.shape[-1] > k
        weights = weights[..., :k]
        return weights / weights.sum(axis=-1, keepdims=True), False

    def _require_exact(self, nu: Nu) -> None:
        """Refuse t distributions unless all rows are exact and complete."""
        if nu is not None and self.kind is not EXACT:
            raise ValueError(about("x", EXACT_ALONE))

    def _separable(self, means: FloatArray, factors: FloatArray) -> FloatArray:
        """Factors of covariances. Intervals of several features need standard deviations: correlations are refused."""
        if not isinstance(self.kind, Intervals) or self.n_features == 1:
            return factors
        sd = estep.without_zeros(means, factors)
        if sd.ndim > means.ndim:
            raise ValueError(about("x", INTERVALS_ALONE))
        return sd

    def log_density(self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None) -> FloatArray:
        """Log density of each row, (n,), or (S, n) for S mixtures, over the components that its label allows.

        The share of noise, if any, is the last weight. If these rows cannot be noise, it is ignored, and the density is that
        of the components.
        """
        self._require_exact(nu)
        weights, noise = self._shares(weights, means)
        known = self._in_order(means.shape[-2], noise=noise)[1]
        found = estep.log_density(self.x, weights, means, self._separable(means, factors), known, self.kind, nu)
        return found - self.known.log_widths

    def responsibilities(self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None) -> FloatArray:
        """Probability of each component given each row and its label, (n, K), or (S, n, K) for S mixtures.

        If rows may be noise, its probability is one more column, the last.
        """
        self._require_exact(nu)
        weights, noise = self._shares(weights, means)
        known = self._in_order(means.shape[-2], noise=noise)[1]
        return estep.responsibilities(self.x, weights, means, self._separable(means, factors), known, self.kind, nu)

    def log_likelihood(self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None) -> float:
        """Log-likelihood: the weighted sum of the log densities."""
        return float(self.counts @ self.log_density(weights, means, factors, nu))

    def sums(
        self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None, *, units: Units | None = None,
        by_nodes: bool = False,
    ) -> ESums:  # fmt: skip
        """Expected sufficient statistics under a mixture, or under S mixtures, with parameters in these units.

        With ``by_nodes`` they are sums over quadrature nodes, if there are any. The nodes are kept for the next call.
        """
        if means.ndim == 3:
            given: Any = [weights, means, factors, repeat(None, len(means)) if nu is None else nu]
            return ESums.stacked(self.sums(*each, units=units, by_nodes=by_nodes) for each in zip(*given, strict=True))
        standardise: Any = {} if units is None else {"shift": units.shift, "scale": units.scale}
        weights, noise = self._shares(weights, means)
        known = self._in_order(means.shape[-2], noise=noise, units=units)
        nodes = self.nodes if by_nodes and nu is None else None
        kind = self.kind if nodes is None else nodes
        found = estep.e_step(self.x, weights, means, self._separable(means, factors), *known, kind, nu, **standardise)
        widths = self._log_widths(units)
        return found if isinstance(widths, float) else found._replace(log_likelihood=found[0] - float(self.counts @ widths))

    def units(self, *, one_unit: bool) -> Units:
        """Units in which the rows are standardised."""
        return Units.of(self.x, self.known.weight, one_unit=one_unit)

    def over_blocks[T](self, work: Callable[[Observations], T]) -> Iterator[T]:
        """Results of a function of each block of rows."""
        for begin in range(0, len(self), _ROWS):
            yield work(self.of(slice(begin, begin + _ROWS)))

    def completed(self, parameters: tuple[FloatArray, ...], rng: np.random.Generator) -> FloatArray:
        """Exact, complete rows (n, D), drawn given these observations under a mixture."""
        if self.kind is EXACT:
            return self.x
        weights, means, factors = parameters
        result = np.empty(self.x.shape)
        complete_at(rng, self.rows(len(means)), *_as_drawn(self._shares(weights, means)[0], means, factors), result)
        return result

    def measured(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Other exact rows (n, D), with random errors added. The errors are distributed like the errors of these rows."""
        error = self.known.error
        if error is None:
            return x
        if error.ndim == 2:
            return x + error * rng.standard_normal(x.shape)
        values, vectors = np.linalg.eigh(error)
        noise = np.sqrt(np.maximum(values, 0.0)) * rng.standard_normal(x.shape)
        return x + np.einsum("nij,nj->ni", vectors, noise)

    def expected(self, parameters: tuple[FloatArray, ...]) -> tuple[FloatArray, FloatArray]:
        """Mean and mean square (n, D) of the exact, complete rows given these observations, under a mixture."""
        if self.kind is EXACT:
            return self.x, self.x**2
        weights, means, factors = parameters
        mean, square = np.empty(self.x.shape), np.empty(self.x.shape)
        expect_at(self.rows(len(means)), *_as_drawn(self._shares(weights, means)[0], means, factors), mean, square)
        return mean, square


def _as_drawn(weights: FloatArray, means: FloatArray, factors: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Log weights, means and factors of precisions, as :mod:`bayesgmm.kernels.allocations` takes them."""
    matrices = factors if factors.ndim == 3 else factors[..., None] * np.eye(means.shape[1])
    with np.errstate(divide="ignore"):
        return given(np.log(weights)), given(means), given(estep.inverse_factors(matrices))
