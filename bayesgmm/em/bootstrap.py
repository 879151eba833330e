"""Bootstrap test of k components against k + 1, by the likelihood ratio."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass, field, replace
from functools import partial
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console
from rich.progress import Progress

from bayesgmm.arguments import Covariance, FamilyName, FloatArray, Missing, read_count, read_seed
from bayesgmm.data.observations import Observations
from bayesgmm.data.scan import Scan
from bayesgmm.data.sources import read_fit_source
from bayesgmm.em.fitting import fit_em
from bayesgmm.em.result import EMResult
from bayesgmm.em.split_merge import divided
from bayesgmm.exceptions import CollapsedComponentWarning, ConvergenceWarning, DataWarning, InterruptedWarning, warn
from bayesgmm.model.mixture import Mixture
from bayesgmm.pool import Pool
from bayesgmm.words import Argument, Words, about

LEVEL = 0.05  # p-value below which the verdict is for k + 1 components
_CLEAR = 2.0  # Monte Carlo standard errors from this level within which the verdict is open
_WORTH_IT = 8.0  # seconds of work from which processes are quicker, though each takes a second or two to start
_WIDTH = 110


@dataclass(frozen=True)
class BootstrapLRT:
    """Result of :func:`bootstrap_lrt`.

    Attributes
    ----------
    statistic : float
        Twice the difference of the log-likelihoods, never negative; 0 if every run with k + 1 components has collapsed.
    replicates : (B,) array
        The statistic of each data set drawn from the mixture of k components. Infinite if EM found no maximum for k.
    null, alternative : EMResult
        The estimates with k and with k + 1 components.
    seed : int
    """

    statistic: float
    replicates: FloatArray = field(repr=False)
    null: EMResult = field(repr=False)
    alternative: EMResult = field(repr=False)
    seed: int

    @property
    def p_value(self) -> float:
        """(1 + the number of replicates at least as large as the statistic) / (B + 1)."""
        return (1 + self._as_large) / (len(self.replicates) + 1)

    @property
    def p_error(self) -> float:
        """Monte Carlo standard error of the p-value, sqrt(p (1 - p) / B)."""
        return float(np.sqrt(self.p_value * (1 - self.p_value) / len(self.replicates)))

    @property
    def verdict(self) -> Words:
        """The answer in a sentence."""
        k, b = self.null.mixture.n_components, len(self.replicates)
        if self.alternative.collapsed:
            why = f"is open: in every run of EM with {k + 1} a component has collapsed onto few observations; use "
            remedy = Words(Argument("covariance", "tied"), ", or bayesgmm.rounded if values are rounded")
            return Words(f"whether {k + 1} components fit better than {k} {why}", remedy)
        drawn = f"{self._as_large or 'none'} of {b} data sets drawn from the mixture of {k} have a statistic as large"
        p = f"p = {self.p_value:.2g}, Monte Carlo standard error {self.p_error:.1g}"
        if abs(self.p_value - LEVEL) <= _CLEAR * self.p_error:
            remedy = Words("; p is too near to ", f"{LEVEL} to say more, raise ", Argument("n_bootstrap"))
            return Words(f"whether {k + 1} components fit better than {k} is open: {drawn} ({p})", remedy)
        if self.p_value < LEVEL:
            return Words(f"{k + 1} components fit better than {k}: {drawn} ({p})")
        return Words(f"{k} components suffice, as far as this test can tell against {k + 1}: {drawn} ({p})")

    @property
    def caveats(self) -> tuple[Words, ...]:
        """Sentences on the limits of the answer."""
        found, without = [], int(np.isinf(self.replicates).sum())
        if without:
            found.append(Words(f"{without} data sets on which EM found no maximum count as having a larger statistic"))
        if self.alternative.spurious and not self.alternative.collapsed:
            k = self.alternative.mixture.n_components
            few = f"the estimate with {k} components has one with hardly more observations than its covariance needs; try "
            found.append(Words(few, Argument("covariance", "tied")))
        return tuple(found)

    @property
    def _as_large(self) -> int:
        return int((self.replicates >= self.statistic).sum())

    def __repr__(self) -> str:
        k, middle, high = self.null.mixture.n_components, *np.quantile(self.replicates, [0.5, 0.95], method="lower")
        lines = [fill(f"BootstrapLRT: {self.verdict}", _WIDTH)]
        lines.append(
            f"  log-likelihood: {self.null.log_likelihood:.2f} for k = {k}, {self.alternative.log_likelihood:.2f} for "
            f"k = {k + 1}; statistic {self.statistic:.2f}"
        )
        lines.append(
            f"  drawn data sets: median {middle:.2f}, 95 % quantile {high:.2f}, largest {self.replicates.max():.2f}"
        )
        return "\n".join([*lines, *(fill(each, _WIDTH, initial_indent="  ") for each in self.caveats)])


def bootstrap_lrt(
    x: ArrayLike | Observations,
    k: int,
    *,
    n_bootstrap: int = 199,
    covariance: Covariance = "full",
    family: FamilyName = "gaussian",
    sample_weight: ArrayLike | None = None,
    missing: Missing = "raise",
    n_init: int = 10,
    random_seed: int | np.random.Generator | None = None,
    cores: int | None = None,
    progressbar: bool = True,
) -> BootstrapLRT:
    r"""Test k components against k + 1 by the likelihood ratio, without a prior.

    .. math::
        \text{statistic} = 2 \left(\max_\theta \log p(x \mid \theta, k + 1) - \max_\theta \log p(x \mid \theta, k)\right)

    Its distribution under k components is not a chi-squared one. It is estimated from data sets drawn from the mixture of k
    components that was fitted.

    Parameters
    ----------
    x : (n,) or (n, D) array-like, or Observations
        Data in memory. Drawn data sets have the same missing values, measurement errors and steps of rounding.
    k : int
        Number of components under the null hypothesis.
    n_bootstrap : int
        B, the number of data sets drawn.
    covariance, family, missing, n_init
        As in :func:`bayesgmm.fit_em`.
    sample_weight : (n,) array-like, optional
        Whole numbers: an observation of weight c counts as c observations.
    random_seed : int, Generator or None
        The same seed gives the same result, whatever the number of processes.
    cores : int, optional
        Number of processes that fit the drawn data sets. Default: one for each core, if it takes more than a few seconds.
    progressbar : bool
        Whether to show progress on standard error.

    Returns
    -------
    BootstrapLRT
        Prints as a sentence; ``.p_value``, ``.p_error``, ``.statistic``, ``.replicates``, ``.null``, ``.alternative``.

    Warns
    -----
    InterruptedWarning
        If interrupted; the data sets fitted by then are used.

    Raises
    ------
    ValueError, TypeError
        For arguments that break a rule. Also for labels, noise, and intervals that do not come from rounding, because no
        data sets like these can be drawn; and if every run of EM with k components has collapsed.
    ChildProcessError
        If a process was ended from outside, for example because memory ran out.

    Notes
    -----
    EM with k + 1 components starts at ``n_init`` chosen points, and at the best estimate with k components, each of which is
    split in turn. As in :func:`bayesgmm.fit_em`, estimates with a component on the variance floor do not count. A mixture of
    k + 1 components, two of them equal, is as likely as one of k, so the statistic is never negative.

    Tested properties: for one Gaussian against two, where the null distribution does not depend on the parameters, the
    p-value is uniform. Two clusters well apart are found.

    A p-value above 0.05 does not show that k is the number of components: few observations may not tell k from k + 1.
    Values that are missing in each data set are the same as in ``x``. This is right if the chance that a value is missing
    does not depend on the data.

    References
    ----------
    McLachlan (1987), On bootstrapping the likelihood ratio test statistic for the number of components in a normal mixture,
    Applied Statistics 36, 318-324. doi:10.2307/2347790

    Examples
    --------
    >>> x = Mixture([0.5, 0.5], [0, 6], sigma=[1, 1]).sample(100, random_seed=1)[0]
    >>> bootstrap_lrt(x, 1, n_bootstrap=99, random_seed=1, progressbar=False).p_value
    0.01
    """
    k = read_count(k, "k")
    n_bootstrap = read_count(n_bootstrap, "n_bootstrap")
    cores = None if cores is None else read_count(cores, "cores")
    seed = read_seed(random_seed)
    data, source, _ = read_fit_source(
        x, k + 1, covariance=covariance, missing=missing, sample_weight=sample_weight, family=family
    )
    if isinstance(source, Scan):
        raise ValueError(about("x", "must be rows in memory, got rows that are read in parts; read them into memory"))
    rows = _one_by_one(data)
    options: dict[str, Any] = {"covariance": covariance, "family": family, "n_init": n_init}
    own, *seeds = np.random.SeedSequence(seed).spawn(n_bootstrap + 1)
    begin = time.perf_counter()
    null, alternative = _estimates(data, k, np.random.default_rng(own), options)
    seconds = time.perf_counter() - begin
    if null.collapsed:
        got = f"must have a maximum of the likelihood for k = {k}, but in every run of EM a component has collapsed; use "
        raise ValueError(about("x", got, Argument("covariance", "tied"), ", or bayesgmm.rounded if values are rounded"))
    if cores is None:
        cores = (os.cpu_count() or 1) if seconds * n_bootstrap > _WORTH_IT else 1
    pool, work = Pool(min(cores, n_bootstrap), fewer="cores=1"), partial(_replicate, rows, null.mixture, options)
    found: list[float] = []
    with Progress(console=Console(stderr=True), disable=not progressbar) as bar:
        task = bar.add_task("bootstrap", total=n_bootstrap)
        try:
            for each in pool.results(work, zip(seeds), in_order=True):
                found.append(each)
                bar.update(task, advance=1)
        except KeyboardInterrupt:
            if not found:
                raise
            warn(f"interrupted after {len(found)} of {n_bootstrap} data sets, which are used", InterruptedWarning)
    return BootstrapLRT(_statistic(null, alternative), np.array(found), null, alternative, seed)


def _one_by_one(data: Observations) -> Observations:
    """Rows without weights, one for each observation, from which data sets like these can be drawn."""
    known = data.known
    for name, value in (("labels", known.labels), ("noise", known.noise)):
        if value is not None:
            raise ValueError(about("x", f"must not have {name}, because no data sets like it can be drawn; leave them out"))
    if data.bounded.any():
        rule = "must not have intervals other than those of rounding, because no data sets like it can be drawn"
        raise ValueError(about("x", f"{rule}: the limits of the other values are not known"))
    if known.weight is None:
        return data
    if (known.weight != np.round(known.weight)).any():
        rule = "must be whole numbers, as drawn data sets hold whole observations"
        raise ValueError(about("sample_weight", f"{rule}, got {known.weight[known.weight != np.round(known.weight)][0]:g}"))
    return data.weighing(None).of(np.repeat(np.arange(len(data)), known.weight.astype(np.int64)))


def _estimates(
    rows: Observations, k: int, rng: np.random.Generator, options: dict[str, Any], truth: Mixture | None = None
) -> tuple[EMResult, EMResult]:
    """The best estimates with k and with k + 1 components."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapsedComponentWarning)
        null = [fit_em(rows, k, random_seed=rng, **options)]
        if truth is not None:
            null.append(fit_em(rows, k, start=truth, **options))
        alternative = [fit_em(rows, k + 1, random_seed=rng, **options)]
        starts = divided(_best(null))
        if starts:
            alternative.append(fit_em(rows, k + 1, start=starts, **options))
    return _best(null), _best(alternative)


def _best(estimates: list[EMResult]) -> EMResult:
    return min(estimates, key=lambda each: (each.collapsed, -each.log_likelihood))


def _statistic(null: EMResult, alternative: EMResult) -> float:
    """Twice the difference of log-likelihoods; 0, as for two equal components, if nothing better was found."""
    return 0.0 if alternative.collapsed else 2 * max(0.0, alternative.log_likelihood - null.log_likelihood)


def _replicate(rows: Observations, mixture: Mixture, options: dict[str, Any], seed: np.random.SeedSequence) -> float:
    """The statistic of a data set drawn from the mixture; infinite if EM finds no maximum."""
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, DataWarning):
            warnings.simplefilter("ignore", category)
        try:
            null, alternative = _estimates(_drawn(rows, mixture, rng), mixture.n_components, rng, options, mixture)
        except ValueError:  # coarse rounding has left fewer distinct values than components
            return np.inf
    return np.inf if null.collapsed else _statistic(null, alternative)


def _drawn(rows: Observations, mixture: Mixture, rng: np.random.Generator) -> Observations:
    """Rows from a mixture, with the missing values, errors and rounding of these rows."""
    x = rows.measured(mixture.sample(len(rows), rng)[0].reshape(rows.x.shape), rng)
    known = rows.known
    if known.lower is not None and known.width is not None:
        steps = np.where(rows.rounded, known.width, 1.0)
        x = np.where(rows.rounded, rows.x + np.round((x - rows.x) / steps) * steps, x)
        ends = ((np.where(np.isnan(rows.x), sign * np.inf, x + sign * known.width / 2)) for sign in (-1, 1))
        known = replace(known, lower=next(ends), upper=next(ends))
    return Observations.made(np.where(np.isnan(rows.x), np.nan, x), known, missing=rows.missing)
