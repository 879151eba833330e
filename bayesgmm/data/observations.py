"""Observations: any table as rows with what is known of them, and the sums and densities for which they answer."""

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
_ROWS = 2**16  # handled together
_ROUNDED = 1e-9  # of a rounding error, which another one beside it exceeds
_DRAWN = 5  # exact values that are looked at while one behind another is drawn


class Summable(Protocol):
    """All that EM's iterations ask of observations."""

    def sums(
        self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None, *, units: Units | None = None
    ) -> ESums:
        """Completed sums for a mixture with K components, or for S of them: :func:`bayesgmm.kernels.estep.e_step`."""


class Source(Summable, Protocol):
    """Where observations are does not matter to those who ask for no more than this."""

    @property
    def total(self) -> float:
        """How many there are, each counted as often as it counts."""

    @property
    def counts_known(self) -> FloatArray:
        """How many values of each feature have a density, weighted, (D,)."""

    def units(self, *, one_unit: bool) -> Units:
        """Those in which they are standardised."""

    def over_blocks[T](self, work: Callable[[Observations], T]) -> Iterator[T]:
        """What comes of them in blocks."""


class Observations:
    """Rows of data with what is known of each: weights, labels, errors, intervals, missing values.

    Every function that takes data takes Observations.

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
        Ends of the intervals in which those values lie that are NaN in x. An end that is infinite, NaN or omitted is no
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
        """A histogram: bins, each as many observations as were counted there.

        Parameters
        ----------
        counts : (B,) or (B_1, ..., B_D) array-like
            How many observations lie in each bin, not negative; they are weights, and may be fractional.
        edges : (B + 1,) array-like, or D of them
            Between bins, increasing; the first and the last may be infinite. What ``numpy.histogram`` or
            ``numpy.histogramdd`` returns are counts and edges.
        labels : (B,) or (B, K) array-like, optional
            As of :class:`Observations`, of all bins, those of several features in the order of ``counts.ravel()``.

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
        Each bin costs as much as one observation, however many it counts. For Gibbs it costs as much as its observations, up
        to 1 000. The sum of more values in a bin is then drawn from the normal distribution with its mean and covariance.

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
        """Values that are only known to lie below, or above, what can be measured.

        Parameters
        ----------
        x : (n,) or (n, D) array-like
            Values. One at a limit, or beyond it, is known only to lie beyond the limit.
        below, above : float, (D,), or array-like of the shape of x, optional
            Lower and upper limits of what can be measured, in the units of x; of one feature (n,) says it for each row.
        weight, labels, missing
            As of :class:`Observations`.

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
        """Observations of rows (n, D) that have been checked."""
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
        """Check rows and bring them to shape (n, D); what is in order already is not copied, what was read is kept.

        ``missing=None`` is for a caller that has no such option to recommend; weights that are no ``frequencies`` have no
        unit.
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
        """Without what is cached, which holds addresses of one process."""
        return {name: self.__dict__[name] for name in ("x", "known", "kept", "names", "missing")}

    @property
    def n_features(self) -> int:
        """D."""
        return self.x.shape[1]

    @property
    def positions(self) -> NDArray[np.int64]:
        """Where each observation stood in the user's input, (n,)."""
        return np.arange(len(self)) if self.kept is None else np.flatnonzero(self.kept)

    @property
    def features(self) -> NDArray[Any]:
        """What the features are called: their names, or their numbers."""
        return np.arange(self.n_features) if self.names is None else np.array(self.names)

    @property
    def called(self) -> list[Any]:
        """What to call each feature: its name or its number; a single one without a name is x."""
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
        """How many values of each feature have a density, not a probability, weighted, (D,)."""
        if self.known.lower is None and (self.kind is EXACT or self.n_features == 1):
            return np.full(self.n_features, self.total)
        return self.counts @ self.has_density

    @property
    def work(self) -> int:
        """How many values a sweep of Gibbs sampling looks at or draws, in those that are known as they are."""
        if self.known.weight is None or self.kind is EXACT or isinstance(self.kind, Errors):
            return self.x.size
        drawn = self.counts if isinstance(self.kind, Groups) else np.minimum(self.counts, SUMMED)
        return self.x.size + int(_DRAWN * self.n_features * drawn.sum())

    @property
    def filled(self) -> FloatArray:
        """Rows with the mean of what is known of a feature where a value is missing."""
        gaps = np.isnan(self.x)
        return np.where(gaps, np.nanmean(self.x, axis=0), self.x) if gaps.any() else self.x

    @property
    def exact(self) -> FloatArray:
        """Rows with NaN where a value is missing, has an error, or lies in an interval."""
        known = np.where(self.known.lower == self.known.upper, self.x, np.nan) if self.known.lower is not None else self.x
        return known if self.error_sd is None else np.where(self.error_sd > 0, np.nan, known)

    @property
    def bounded(self) -> NDArray[np.bool_]:
        """Which values lie in an interval that is neither everywhere nor that of a rounded value, (n, D)."""
        if self.known.lower is None or self.known.upper is None:
            return np.zeros(self.x.shape, dtype=bool)
        return (self.known.lower < self.known.upper) & ~np.isnan(self.x) & ~self.rounded

    @property
    def rounded(self) -> NDArray[np.bool_]:
        """Which values are known to have been rounded, (n, D)."""
        return np.zeros(self.x.shape, dtype=bool) if self.known.width is None else self.known.width > 0

    @property
    def steps(self) -> FloatArray | None:
        """To which each feature is rounded, 0 where it is not, (D,); None if none is."""
        return None if self.known.width is None else self.known.width.max(axis=0)

    @property
    def has_errors(self) -> bool:
        """Whether values have errors beside that of rounding."""
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
        """The range of what is known of each feature, (D,)."""
        with np.errstate(over="ignore"):
            return np.nanmax(self.x, axis=0) - np.nanmin(self.x, axis=0)

    def of(self, rows: Any) -> Observations:
        """The rows at these positions."""
        return Observations.made(self.x[rows], self.known.of(rows))

    def of_feature(self, place: int) -> Observations:
        """What is known of one feature alone, of the rows of which something is."""
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
        """The same rows with other weights."""
        return Observations.made(self.x, replace(self.known, weight=weight))

    def copied(self) -> Observations:
        """The same values in an array of their own that nobody changes."""
        x = self.x.copy()
        x.flags.writeable = False
        return Observations.made(x, self.known, self.kept, self.names, self.missing)

    def with_noise(self, noise: Noise = True) -> Observations:
        """The same rows, each of which may be noise: of no component, but of a density that is fixed beforehand.

        Parameters
        ----------
        noise : bool, float, or (n,) array-like
            True: uniform on the box that goes a tenth of the data's range beyond either end. A number: a log density that
            is the same everywhere, in the data's units, as minus the logarithm of the volume in which noise may lie. An
            array: the log density of each row. False leaves the rows as they are. Of an interval the density is a
            probability, of a row with gaps that of the values that are known.

        Returns
        -------
        Observations

        Raises
        ------
        ValueError
            If a log density is not finite, or if there is no such box for intervals with an open end.

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
        nodes = self.__dict__.get("nodes")  # which take as long as a sort of the values
        if nodes is not None:
            result.__dict__["nodes"] = rescaled(nodes, units.shift[0], units.scale[0])
        return result

    def take_from(self, same: Observations) -> None:
        """Nodes that have been found of the same observations take as long as a sort of the values, and as much memory."""
        nodes = same.__dict__.get("nodes")
        if nodes is not None:
            self.__dict__["nodes"] = nodes

    @cached_property
    @np.errstate(under="ignore")
    def kind(self) -> Kind:
        """What is known of the values, as compiled code takes it."""
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
        """What stands for many values of one feature in sums, if it may."""
        known, noise = self.known, self.known.noise
        plain = self.kind is EXACT and known.weight is None and known.labels is None
        if not plain or self.n_features > 1 or (noise is not None and (noise != noise[0]).any()):
            return None
        return nodes_of(self.x[:, 0])

    @property
    def has_density(self) -> NDArray[np.bool_]:
        """Which values (n, D) have a density: those that are known, if with errors or rounded, and not in intervals."""
        if self.known.lower is not None:
            return np.asarray(self.known.lower == self.known.upper) | self.rounded
        return ~np.isnan(self.x)

    def _noise_in(self, units: Units | None) -> FloatArray | None:
        """Log densities of all if they are noise, in these units."""
        if self.known.noise is None or units is None:
            return self.known.noise
        return self.known.noise + self.has_density @ np.log(units.scale)

    def _log_widths(self, units: Units | None = None) -> FloatArray | float:
        """What divides each row's probability, so that it is a density in these units, its logarithm."""
        known = self.known.log_widths
        return known if units is None or isinstance(known, float) else known - self.rounded @ np.log(units.scale)

    def sum_log_widths(self, units: Units | None = None) -> float:
        """What to subtract from the log-likelihood in these units, because compiled code ignores widths."""
        widths = self._log_widths(units)
        return 0.0 if isinstance(widths, float) else float(self.counts @ widths)

    def _in_order(
        self, k: int, *, noise: bool = True, units: Units | None = None
    ) -> tuple[FloatArray | None, FloatArray | None]:
        """Weights and logarithms of labels, noise's densities behind them, in the order in which code takes the rows."""
        weight, log_labels = self.known.weight, self.known.log_labels(k)
        of_noise = self._noise_in(units) if noise else None
        if of_noise is not None:
            of_noise = of_noise + self._log_widths(units)  # compiled code has the intervals' probabilities
            if log_labels is None:
                log_labels = of_noise[None]
            else:  # what is of a known component is not noise
                unknown = np.isfinite(log_labels).all(axis=0)
                log_labels = np.concatenate([log_labels, np.where(unknown, of_noise, -np.inf)[None]])
        if not isinstance(self.kind, Groups | Intervals):
            return weight, log_labels
        order = self.kind.order
        return None if weight is None else weight[order], None if log_labels is None else log_labels[:, order]

    def rows(self, k: int, *, student: bool = False, units: Units | None = None) -> Rows:
        """As compiled code takes them, for K components, which are Gaussians or t distributions.

        If it standardises them in passing, densities as noise are those in these units.
        """
        x = self.x[self.kind.order] if isinstance(self.kind, Groups | Intervals) else self.x
        nodes, noise = None if student else self.nodes, self.known.noise is not None
        return rows_of(x, *self._in_order(k, units=units), self.kind, noise=noise, student=student, nodes=nodes)

    def _shares(self, weights: FloatArray, means: FloatArray) -> tuple[FloatArray, bool]:
        """Weights of K components, and, behind them, of noise if these rows may be noise: whether one is."""
        k = means.shape[-2]
        if weights.shape[-1] == k or self.known.noise is not None:
            return weights, weights.shape[-1] > k
        weights = weights[..., :k]
        return weights / weights.sum(axis=-1, keepdims=True), False

    def _require_exact(self, nu: Nu) -> None:
        """Refuse rows of which less is known beside t distributions."""
        if nu is not None and self.kind is not EXACT:
            raise ValueError(about("x", EXACT_ALONE))

    def _separable(self, means: FloatArray, factors: FloatArray) -> FloatArray:
        """Factors of covariances; of intervals of several features the standard deviations, for nothing else is possible."""
        if not isinstance(self.kind, Intervals) or self.n_features == 1:
            return factors
        sd = estep.without_zeros(means, factors)
        if sd.ndim > means.ndim:
            raise ValueError(about("x", INTERVALS_ALONE))
        return sd

    def log_density(self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None) -> FloatArray:
        """Log density of each, (n,), or (S, n) of S mixtures, over the components that its label allows.

        Where there is noise, its share is the last of the weights; of rows that are not said to be noise, perhaps, the
        density is that of the other components.
        """
        self._require_exact(nu)
        weights, noise = self._shares(weights, means)
        known = self._in_order(means.shape[-2], noise=noise)[1]
        found = estep.log_density(self.x, weights, means, self._separable(means, factors), known, self.kind, nu)
        return found - self.known.log_widths

    def responsibilities(self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None) -> FloatArray:
        """Probability of each component given each of them and its label, (n, K), or (S, n, K) of S mixtures.

        That of noise, if it is possible, is the last.
        """
        self._require_exact(nu)
        weights, noise = self._shares(weights, means)
        known = self._in_order(means.shape[-2], noise=noise)[1]
        return estep.responsibilities(self.x, weights, means, self._separable(means, factors), known, self.kind, nu)

    def log_likelihood(self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None) -> float:
        """Log density of all, each counted as often as it counts."""
        return float(self.counts @ self.log_density(weights, means, factors, nu))

    def sums(
        self, weights: FloatArray, means: FloatArray, factors: FloatArray, nu: Nu = None, *, units: Units | None = None,
        by_nodes: bool = False,
    ) -> ESums:  # fmt: skip
        """Completed sums for a mixture, or for S of them, in whose units the rows are standardised in passing.

        They may be formed over nodes in place of many values, which are kept for the next time.
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
        """Those in which they are standardised."""
        return Units.of(self.x, self.known.weight, one_unit=one_unit)

    def over_blocks[T](self, work: Callable[[Observations], T]) -> Iterator[T]:
        """Apply a function block by block."""
        for begin in range(0, len(self), _ROWS):
            yield work(self.of(slice(begin, begin + _ROWS)))

    def completed(self, parameters: tuple[FloatArray, ...], rng: np.random.Generator) -> FloatArray:
        """Rows (n, D) drawn from the distribution, under a mixture, of the exact and complete ones behind these."""
        if self.kind is EXACT:
            return self.x
        weights, means, factors = parameters
        result = np.empty(self.x.shape)
        complete_at(rng, self.rows(len(means)), *_as_drawn(self._shares(weights, means)[0], means, factors), result)
        return result

    def measured(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Other exact rows (n, D) with errors drawn as these have them."""
        error = self.known.error
        if error is None:
            return x
        if error.ndim == 2:
            return x + error * rng.standard_normal(x.shape)
        values, vectors = np.linalg.eigh(error)
        noise = np.sqrt(np.maximum(values, 0.0)) * rng.standard_normal(x.shape)
        return x + np.einsum("nij,nj->ni", vectors, noise)

    def expected(self, parameters: tuple[FloatArray, ...]) -> tuple[FloatArray, FloatArray]:
        """Mean and mean square (n, D) of the rows behind these under a mixture."""
        if self.kind is EXACT:
            return self.x, self.x**2
        weights, means, factors = parameters
        mean, square = np.empty(self.x.shape), np.empty(self.x.shape)
        expect_at(self.rows(len(means)), *_as_drawn(self._shares(weights, means)[0], means, factors), mean, square)
        return mean, square


def _as_drawn(weights: FloatArray, means: FloatArray, factors: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Log weights, means and factors of precisions, as what draws allocations takes them."""
    matrices = factors if factors.ndim == 3 else factors[..., None] * np.eye(means.shape[1])
    with np.errstate(divide="ignore"):
        return given(np.log(weights)), given(means), given(estep.inverse_factors(matrices))
