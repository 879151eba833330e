"""A mixture as an estimator: ``fit`` samples the posterior; ``predict``, ``score`` and ``sample`` use its draws."""

from __future__ import annotations

import numbers
import warnings
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from sklearn.base import DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from bayesgmm.analysis.clusters import most_probable, responsibilities
from bayesgmm.analysis.densities import log_predictive
from bayesgmm.analysis.diagnosis import Diagnosis, diagnosis_of
from bayesgmm.analysis.draws import read_draws
from bayesgmm.analysis.findings import USABLE
from bayesgmm.analysis.in_parts import OfRows, most_probable_of
from bayesgmm.analysis.predictive import read_points, require_features
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import read_em
from bayesgmm.arguments import (
    TRAITS,
    FloatArray,
    read_choice,
    read_count,
    read_covariance,
    read_seed,
)
from bayesgmm.comparison.comparing import compare
from bayesgmm.comparison.result import Comparison
from bayesgmm.comparison.verdict import Criterion, choose
from bayesgmm.data.dask_rows import lazily
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import count_distinct
from bayesgmm.data.scan import Scan
from bayesgmm.data.sources import scan_of
from bayesgmm.data.tables import is_dask, refuse_hidden_numbers
from bayesgmm.em.result import n_parameters
from bayesgmm.estimators.settings import SettingsOfFit
from bayesgmm.exceptions import ApproximationWarning, CollapsedComponentWarning, ConvergenceWarning, warn
from bayesgmm.fitting import judged_fit

_FURTHER = ("approximation", "engine", "max_draws", "max_iter", "target_accept", "target_ess", "thin")  # options of fit


class BayesianGMM(DensityMixin, SettingsOfFit):
    r"""Bayesian Gaussian mixture as a scikit-learn estimator.

    Its answers are averages over the posterior: ``score_samples`` is the log of the posterior predictive density,
    ``predict_proba`` the posterior probability of each component. ``posterior_`` is the tree of :func:`bayesgmm.fit`, for
    the other functions of this package.

    Parameters
    ----------
    n_components : int or "auto"
        Number of components, or "auto" to choose it among ``candidates`` by ``criterion``.
    covariance_type : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}
        As in :class:`sklearn.mixture.GaussianMixture`. The functions of this package call it ``covariance``.
    method : {"nuts", "gibbs", "advi", "laplace"} or None
        As in :func:`bayesgmm.fit`. None: the engine that suits the problem, replaced by another one if its draws have not
        converged.
    prior : HierarchicalPrior or ConjugatePrior, optional
        Default: ``HierarchicalPrior()``, scaled to the data.
    draws, chains : int
        Draws kept in each chain, and chains; None stands for the default of :func:`bayesgmm.fit`.
    tune : int, optional
        As in :func:`bayesgmm.fit`.
    n_init : int
        Starts of EM.
    candidates : sequence or array of int
        The numbers of components that ``n_components="auto"`` fits and compares.
    criterion : {"loo", "evidence", "bic", "icl"}
        How "auto" chooses. "loo": the smallest number whose leave-one-out predictions are within two standard errors of the
        best; this matches ``score`` and hardly depends on the prior. "evidence": the most probable number, with all equally
        probable a priori; this depends on the prior of weights, means and variances. "bic", "icl": by EM's estimates alone.
        In 50 simulated data sets of 200 observations the four criteria, in this order, found the truth in 76, 64, 80 and
        76 % of cases (standard error 6). "loo", "bic" and "icl" erred towards too few components, "evidence" towards too
        many.
    fit_options : mapping, optional
        Further options of :func:`bayesgmm.fit`: approximation, engine, max_draws, max_iter, target_accept, target_ess, thin.
    noise : bool or float
        Whether observations may belong to no component, as in :func:`bayesgmm.fit`. True: noise is uniform over the range of
        X and a tenth beyond either end. A number: the log density of the noise.
    rounding : "auto", float, array-like of shape (n_features,), or None
        The step to which values are rounded, as in :func:`bayesgmm.fit`. By default it is found from the data if it is
        needed.
    family : {"gaussian", "t"}
        Distribution of the components, as in :func:`bayesgmm.fit`. For t distributions ``covariances_`` are scale matrices.
    random_state : int, RandomState or None
        An integer is passed to :func:`bayesgmm.fit` or :func:`bayesgmm.compare` as ``random_seed``. ``sample`` then returns
        the same observations at every call.
    verbose : bool
        Announce phases and show progress on standard error.

    Attributes
    ----------
    posterior_ : DataTree
        From :func:`bayesgmm.fit`, relabelled; names of columns are kept.
    weights_ : (K,) array
        Posterior means of the weights, from the relabelled draws.
    means_ : (K, D) array
        Posterior means of the means.
    covariances_ : array
        Posterior means of the covariances: (K, D, D) "full", (D, D) "tied", (K, D) "diag", (K,) "spherical". If
        :func:`bayesgmm.label_quality` does not trust the labels, averages for single components mean little; densities and
        scores are not affected.
    precisions_, precisions_cholesky_ : array
        Inverses of ``covariances_``, in the same shape, and their Cholesky factors: upper triangular U with precision U U'.
        For "diag" and "spherical" these are the square roots of the precisions.
    lower_bound_ : float
        The largest log-likelihood that EM reached, divided by the number of observations. Like ``n_iter_``, ``bic`` and
        ``aic`` it belongs to the EM estimate that is stored with the posterior.
    n_iter_ : int
        The number of iterations that EM took.
    n_components_ : int
        Number of components, K.
    converged_ : bool
        Whether the draws have converged, by :func:`bayesgmm.diagnose`.
    comparison_ : Comparison or None
        What "auto" compared; its ``fits`` holds every posterior.
    selection_ : str or None
        How "auto" chose, in a sentence. It also names candidates that have not converged and, for "bic" and "icl",
        candidates with spurious components of EM (:attr:`bayesgmm.EMResult.spurious`).
    n_features_in_ : int
    feature_names_in_ : (D,) array of str
        Names of the columns of X, if all of them are text.

    Notes
    -----
    Arrays are returned regardless of ``set_output``, as by every scikit-learn estimator that does not transform.

    Tested properties: ``check_estimator`` passes; ``predict_proba`` is :func:`bayesgmm.responsibilities`; ``score_samples``
    is the log of the mean of all draws' densities.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> geyser = bg.jitter(bg.datasets.old_faithful(), random_seed=1)  # rounded to minutes: spread again
    >>> gmm = bg.BayesianGMM(2, random_state=1).fit(geyser)
    >>> gmm.means_.round(1).tolist()
    [[2.0, 54.5], [4.3, 80.0]]
    """

    weights_: FloatArray
    means_: FloatArray
    covariances_: FloatArray
    precisions_: FloatArray
    precisions_cholesky_: FloatArray
    comparison_: Comparison | None
    selection_: str | None

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Sample the posterior, for each candidate if ``n_components="auto"``.

        Parameters
        ----------
        X : (n, D) array-like, or Observations
            One row for each observation. The other methods take the same types.
        y : ignored
        sample_weight : (n,) array-like, optional
            Frequency weights, as in :func:`bayesgmm.fit`.

        Returns
        -------
        BayesianGMM
            Itself.

        Warns
        -----
        ConvergenceWarning, ApproximationWarning
            As in :func:`bayesgmm.fit`, but in words without numbers, so that the many fits of a search give one warning.
            With several candidates there is a warning for the chosen one, and one more if others have not converged.

        Raises
        ------
        ValueError, TypeError
            For data or parameters that break a rule; the message names it.
        KeyboardInterrupt
            If interrupted, so that a search or pipeline ends, too. If sampling had begun, the estimator is fitted to the
            draws made until then.
        """
        data = self._read_fitted(X, sample_weight)
        ks = self._read_components(data)
        read_covariance(self.covariance_type, "covariance_type")
        options = dict(self.fit_options or {})
        wrong = [str(name) for name in options if name not in _FURTHER]
        if wrong:
            raise ValueError(f"fit_options may hold {', '.join(_FURTHER)}, got {', '.join(wrong)}; leave these out")
        settings: dict[str, Any] = {
            "covariance": self.covariance_type,
            "prior": self.prior,
            "draws": self.draws,
            "chains": self.chains,
            "n_init": self.n_init,
            "noise": self._read_noise(),
            "rounding": self.rounding,
            "family": self.family,
            "random_seed": self._seed(),
            "progressbar": bool(self.verbose),
            **options,
            **({} if self.tune is None else {"tune": self.tune}),
        }
        if self.n_components == "auto":
            comparison = compare(data, ks, method=self.method, **settings)
            k, self.selection_ = choose(comparison.table.set_index("k"), self.criterion)
            self.posterior_, diagnosis = comparison.fits[k], comparison.diagnoses[k]
            self.comparison_ = comparison
        else:
            self.comparison_ = self.selection_ = None
            with warnings.catch_warnings():
                for category in (ApproximationWarning, CollapsedComponentWarning, ConvergenceWarning):
                    warnings.simplefilter("ignore", category)  # their texts hold numbers; _warn replaces them
                reading = judged_fit(data, ks[0], method=self.method, **settings)
            self.posterior_, diagnosis = reading.tree, reading.ask(diagnosis_of)
        self.converged_, self._counted = diagnosis.converged, data.total
        self._scanned = X if isinstance(data, Scan) else None  # rows in memory are in the tree
        self._warn(diagnosis)
        self._set_means()
        if self.posterior_.attrs["interrupted"] or (self.comparison_ is not None and self.comparison_.unfinished):
            raise KeyboardInterrupt("the draws made by then are kept in posterior_, means_ and the other attributes")
        return self

    @property
    def labels_(self) -> Any:
        """The most probable component of each fitted row, (n,); -1 for noise. For a Dask collection it is lazy."""
        check_is_fitted(self)
        if self._scanned is not None:
            return self.predict(self._scanned)
        return most_probable(responsibilities(self.posterior_))

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> NDArray[np.int64]:
        """Fit, then return the most probable component of each observation, (n,); -1 if noise is more probable."""
        return self.fit(X, y, sample_weight).predict(X)

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Most probable component of each observation by ``predict_proba``, (n,); -1 if noise is more probable.

        For a Dask collection ``predict``, ``predict_proba`` and ``score_samples`` return lazy Dask arrays.
        """
        columns = self._lazy_columns(X)
        if columns is not None:
            return columns.map_blocks(most_probable_of, self.n_components_, drop_axis=1, dtype=np.int64)
        return most_probable(self._responsibilities(X))

    def predict_proba(self, X: Any) -> FloatArray:
        """Probability of each component for new observations X, (n, K).

        Rows sum to one, or, with ``noise``, to one minus the probability that the observation is noise.

        The probabilities are p(z | X, fitted data), as in :func:`bayesgmm.responsibilities` of X. For observations that were
        fitted, use ``bayesgmm.responsibilities(posterior_)``: here they would count twice. The difference is seldom visible.
        """
        columns = self._lazy_columns(X)
        if columns is not None:
            return columns[:, : self.n_components_]
        return np.asarray(self._responsibilities(X)["mean"].values)

    def score_samples(self, X: Any) -> FloatArray:
        """Log of the posterior predictive density of each observation, averaged over all draws, (n,).

        With ``noise`` it is the density of the components and noise together. Noise is then taken to be as dense outside the
        range of the fitted data as inside.
        """
        points = self._read(X)
        if isinstance(points, Scan):
            work = partial(_scores, self.posterior_)
            return lazily(points, work, None, float) if points.lazy else np.concatenate(list(points.over_blocks(work)))
        return log_predictive(read_draws(self.posterior_), points)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of ``score_samples``; higher is better. For X that was not fitted it says how well X is predicted."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1) -> tuple[FloatArray, NDArray[np.int64]]:
        """Draw from the posterior predictive distribution, without noise. Each observation uses a random posterior draw.

        Parameters
        ----------
        n_samples : int

        Returns
        -------
        X : (n_samples, D) array
        labels : (n_samples,) array of int
            Component of each observation.
        """
        check_is_fitted(self)
        n = read_count(n_samples, "n_samples")
        rng, draws = np.random.default_rng(self._seed()), read_draws(self.posterior_)
        s = rng.integers(len(draws.w), size=n)
        cumulated = draws.w[s].cumsum(axis=1)
        z = (rng.random(n)[:, None] * cumulated[:, -1:] >= cumulated).sum(axis=1)
        noise = rng.standard_normal((n, draws.n_features))
        if draws.nu is not None:
            noise /= np.sqrt(rng.chisquare(draws.nu[s, z]) / draws.nu[s, z])[:, None]
        return draws.mu[s, z] + np.einsum("nij,nj->ni", draws.factors[s, z], noise), z

    def bic(self, X: Any) -> float:
        """Bayesian information criterion on X, of the EM estimate stored with the posterior; lower is better.

        The criterion belongs to the maximum of the likelihood, which is EM's estimate and not the posterior mean.
        Its theory assumes that X are the fitted data and that the model is regular. Mixtures are not regular.
        """
        n, log_likelihood, parameters = self._at_em(X)
        return -2 * log_likelihood + parameters * float(np.log(n))

    def aic(self, X: Any) -> float:
        """Akaike information criterion on X, of the EM estimate stored with the posterior; lower is better.

        The remarks on :meth:`bic` apply.
        """
        _, log_likelihood, parameters = self._at_em(X)
        return -2 * log_likelihood + 2 * parameters

    def _at_em(self, X: Any) -> tuple[int, float, int]:
        """Number of observations, log-likelihood at EM's estimate, and number of free parameters."""
        points = self._read(X)
        mixture, _ = read_em(self.posterior_)
        return (
            len(points),
            float(points.sums(*mixture.parameters).log_likelihood),
            n_parameters(mixture, self.posterior_.attrs["covariance"]),
        )

    def _responsibilities(self, X: Any) -> xr.Dataset:
        points = self._read(X)
        return responsibilities(self.posterior_, points)

    def _lazy_columns(self, X: Any) -> Any:
        """Columns of :class:`bayesgmm.analysis.in_parts.OfRows` for a Dask collection; None for other data."""
        if not is_dask(X):
            return None
        scan, reading = self._read(X), Reading(self.posterior_)
        work = OfRows.of(reading, scan, responsibilities)
        return lazily(scan, work, work.width, float)

    def _read_noise(self) -> bool | float:
        """The parameter ``noise``, checked."""
        if isinstance(self.noise, bool | np.bool_):
            return bool(self.noise)
        if not isinstance(self.noise, numbers.Real) or not np.isfinite(float(self.noise)):
            raise ValueError(f"noise must be True, False, or a finite log density, got {self.noise!r}")
        return float(self.noise)

    def _read_fitted(self, X: Any, sample_weight: Any) -> Observations | Scan:
        """Read the rows to fit, and set ``n_features_in_`` and ``feature_names_in_``."""
        scan = scan_of(X, sample_weight=sample_weight)
        if scan is not None:
            self.__dict__.pop("feature_names_in_", None)
            self.n_features_in_ = scan.n_features
            if scan.names is not None and all(isinstance(name, str) for name in scan.names):
                self.feature_names_in_ = np.array(scan.names, dtype=object)
            return scan
        if isinstance(X, Observations):
            table = X.x if X.names is None else pd.DataFrame(X.x, columns=list(X.names))
            validate_data(self, table, ensure_all_finite=False)
            return Observations.read(X, name="X", missing=None, weight=sample_weight)
        X = refuse_hidden_numbers(X, "X")
        values = validate_data(self, X, dtype=np.float64, ensure_min_samples=2, ensure_all_finite=False)
        read = Observations.read(values, name="X", missing=None, weight=sample_weight)
        names = getattr(self, "feature_names_in_", None)
        return Observations.made(read.x, read.known, read.kept, None if names is None else tuple(map(str, names)))

    def _read(self, X: Any) -> Any:
        """Points with the features of the tree's data: Observations, or a Scan if they are read in parts."""
        check_is_fitted(self)
        scan = scan_of(X)
        if scan is not None:
            require_features(Reading(self.posterior_), scan, "X")
            return scan
        if not isinstance(X, Observations):
            X = refuse_hidden_numbers(X, "X")
            X = validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite=False)
        return read_points(Reading(self.posterior_), X, "X")[0]

    def _read_components(self, data: Observations | Scan) -> list[int]:
        """The numbers of components to be fitted, in increasing order."""
        if isinstance(self.n_components, str) and self.n_components != "auto":
            raise ValueError(f"n_components must be an integer of at least 1 or 'auto', got {self.n_components!r}")
        if self.n_components == "auto":
            name = "candidates"
            read_choice(self.criterion, Criterion, "criterion")
            if self.method == "advi" and self.criterion == "evidence":
                raise ValueError(
                    "criterion='evidence' needs draws of the posterior itself, got method='advi'; use criterion='loo'"
                )
            wanted = [] if isinstance(self.candidates, str) or np.ndim(self.candidates) != 1 else list(self.candidates)
            if not wanted:
                raise ValueError(f"candidates must hold at least one number of components, got {self.candidates!r}")
            ks = sorted({read_count(each, "every one of candidates") for each in wanted})
        else:
            name, ks = "n_components", [read_count(self.n_components, "n_components")]
        distinct = count_distinct(data.sample.x if isinstance(data, Scan) else data.x, ks[-1])
        if distinct < ks[-1]:
            raise ValueError(
                f"{name} must be at most the number of distinct observations, got {ks[-1]} for {distinct} of them "
                f"(n_samples = {len(data)}); use fewer components"
            )
        return ks

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            return read_seed(int(self.random_state))
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _warn(self, diagnosis: Diagnosis) -> None:
        """Warn of findings by their kind, in texts that are the same for every fit."""
        kinds = {each.kind for each in diagnosis.findings if each.kind not in USABLE}
        for kind in sorted(kinds):
            category = ApproximationWarning if kind == "k_hat" else ConvergenceWarning
            text = f"the posterior has not passed its diagnostics ({kind}); print bayesgmm.diagnose(posterior_) for remedies"
            warn(text, category)
        if self.comparison_ is None and self.posterior_["em_baseline"].attrs["collapsed"]:
            warn(
                "EM's best estimate has a component whose variance sits on its floor, or that holds no observation; use "
                "fewer components, or a simpler covariance_type",
                CollapsedComponentWarning,
            )
        if self.posterior_.attrs.get("stopped_by") == "max_draws":
            warn(
                "max_draws ended the run before target_ess was reached; raise max_draws, or lower target_ess",
                ConvergenceWarning,
            )
        others = () if self.comparison_ is None else self.comparison_.diagnoses.values()
        of_draws = self.criterion in ("loo", "evidence")  # the other criteria use EM's estimates
        if of_draws and not all(each.converged for each in others if each is not diagnosis):
            warn(
                "some candidates have not converged, so that the choice of n_components is provisional; raise draws, or "
                "leave out those that selection_ names",
                ConvergenceWarning,
            )

    def _set_means(self) -> None:
        """Posterior means, in the shapes of scikit-learn's mixtures."""
        draws = self.posterior_["posterior"].to_dataset()
        several = "cov" in draws
        spread = draws["cov"] if several else draws["sigma"] ** 2
        w, mu, moments = (np.asarray(each.mean(("chain", "draw")).values) for each in (draws["w"], draws["mu"], spread))
        self.weights_, self.n_components_ = w, len(w)
        self.means_ = mu if several else mu[:, None]
        matrices = moments if several else moments[:, None, None]
        traits = TRAITS[self.covariance_type]
        variances = np.diagonal(matrices, axis1=1, axis2=2)
        of_components = matrices if traits.matrix else (variances if traits.per_feature else variances[:, 0]).copy()
        self.covariances_ = of_components[0] if traits.shared else of_components
        # as in scikit-learn: upper triangular U with precision U U', or square roots of precisions
        if traits.matrix:
            factors = np.linalg.inv(np.linalg.cholesky(self.covariances_)).swapaxes(-1, -2)
            self.precisions_cholesky_, self.precisions_ = factors, factors @ factors.swapaxes(-1, -2)
        else:
            factors = 1 / np.sqrt(self.covariances_)
            self.precisions_cholesky_, self.precisions_ = factors, factors**2
        em = self.posterior_["em_baseline"].attrs
        self.n_iter_ = int(em["n_iter"])
        self.lower_bound_ = float(em["log_likelihood"]) / self._counted


def _scores(tree: xr.DataTree, rows: Observations) -> FloatArray:
    """Log predictive densities of a block of rows; NaN for rows that are left out."""
    result = np.full(len(rows) if rows.kept is None else len(rows.kept), np.nan)
    if len(rows):
        points, _ = read_points(Reading(tree), Observations.made(rows.x), "X")
        result[rows.positions] = log_predictive(read_draws(tree), points)
    return result
