"""Regression by a mixture of features and targets together, as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from bayesgmm.analysis.conditionals import predict
from bayesgmm.analysis.tree import features_of
from bayesgmm.arguments import FloatArray
from bayesgmm.data.tables import column_names, refuse_hidden_numbers
from bayesgmm.estimators.mixture import BayesianGMM
from bayesgmm.estimators.settings import SettingsOfFit


class BayesianGMMRegressor(RegressorMixin, SettingsOfFit):
    r"""Regression by a Bayesian Gaussian mixture of X and y together (Gaussian mixture regression).

    A mixture is fitted to the columns of X and y side by side; a prediction is the distribution of y given X
    (:func:`bayesgmm.predict`). The curve may bend, the noise may depend on X, and the distribution of y may have several
    modes. The work grows with the square of the number of features: use it for a few.

    Parameters
    ----------
    n_components, covariance_type, method, prior, draws, tune, chains, n_init
        As in :class:`bayesgmm.BayesianGMM`, for the mixture of X and y. With ``covariance_type`` "diag" or "spherical" y
        depends on X through the components alone.
    candidates, criterion, fit_options, noise, rounding, family, random_state, verbose
        As in :class:`bayesgmm.BayesianGMM`. ``family="t"`` and ``noise=True`` make the regression robust.

    Attributes
    ----------
    mixture_ : BayesianGMM
        The mixture of X and y, fitted.
    posterior_ : DataTree
        Its posterior, for the functions of this package. The columns of y are the last features.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : array of str
        Names of the columns of X, if all of them are text.

    Notes
    -----
    ``predict`` is the mean of :func:`bayesgmm.predict`. ``check_estimator`` passes with ``covariance_type="diag"``,
    ``prior=ConjugatePrior()`` and ``rounding=None``. With "full" four of its checks do not, because their data are refused:
    columns that are linear combinations of others, and fewer rows than columns.

    References
    ----------
    Muller, Erkanli & West (1996), Bayesian curve fitting using multivariate normal mixtures. doi:10.1093/biomet/83.1.67

    Examples
    --------
    >>> import bayesgmm as bg
    >>> eruptions, waiting = bg.jitter(bg.datasets.old_faithful(), random_seed=1).to_numpy().T
    >>> model = bg.BayesianGMMRegressor(2, random_state=1).fit(eruptions[:, None], waiting)
    >>> model.predict([[2.0], [4.0]]).round().tolist()
    [54.0, 78.0]
    """

    mixture_: BayesianGMM

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Sample the posterior of the mixture of X and y.

        Parameters
        ----------
        X : (n, D) array-like
            NaN is refused, here and in the other methods. :func:`bayesgmm.fit` and :func:`bayesgmm.predict` take it.
        y : (n,) or (n, M) array-like
            One target, or several.
        sample_weight : (n,) array-like, optional
            Frequency weights, as in :func:`bayesgmm.fit`.

        Returns
        -------
        BayesianGMMRegressor
            Itself.

        Warns
        -----
        ConvergenceWarning, ApproximationWarning
            As :class:`bayesgmm.BayesianGMM` does.

        Raises
        ------
        ValueError, TypeError
            For data or parameters that break a rule; the message names it.
        KeyboardInterrupt
            If interrupted. If sampling had begun, the draws made until then are kept.
        """
        named = column_names(y)
        X, y = refuse_hidden_numbers(X, "X"), refuse_hidden_numbers(y, "y")
        y = y.to_numpy() if hasattr(y, "to_numpy") else y  # whose columns may have the same name
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, ensure_min_samples=2)
        targets = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
        self._single = np.ndim(y) == 1
        table: Any = np.column_stack([X, targets])
        if hasattr(self, "feature_names_in_"):
            names = list(map(str, self.feature_names_in_))
            several = [f"y{i}" for i in range(targets.shape[1])]
            for name in map(str, named or (["y"] if self._single else several)):
                while name in names:
                    name = f"target {name}"
                names.append(name)
            table = pd.DataFrame(table, columns=names)
        self.mixture_ = BayesianGMM(**self.get_params(deep=False))
        self.mixture_.fit(table, sample_weight=sample_weight)
        return self

    @property
    def posterior_(self) -> xr.DataTree:
        """The posterior of the mixture of X and y."""
        if "mixture_" not in vars(self):
            raise AttributeError("posterior_ is there after fit")
        return self.mixture_.posterior_

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Mean of y given X, averaged over the posterior.

        Parameters
        ----------
        X : (m, D) array-like
        return_std : bool
            Whether to return the standard deviation of y given X, too.

        Returns
        -------
        mean : (m,) or (m, M) array
        sd : (m,) or (m, M) array
            Only with ``return_std``.
        """
        found = self._predicted(X, ())
        mean, sd = (self._shown(found[name].values) for name in ("mean", "sd"))
        return (mean, sd) if return_std else mean

    def predict_quantiles(self, X: Any, probabilities: ArrayLike = (0.05, 0.5, 0.95)) -> FloatArray:
        """Quantiles of y given X, from its posterior predictive distribution.

        Parameters
        ----------
        X : (m, D) array-like
        probabilities : (P,) array-like
            Between 0 and 1.

        Returns
        -------
        (m, P) or (m, P, M) array
        """
        found = self._predicted(X, probabilities)["quantile"].transpose("obs", "probability", "feature")
        return self._shown(found.values)

    def _predicted(self, X: Any, probabilities: Any) -> xr.Dataset:
        check_is_fitted(self)
        X = validate_data(self, refuse_hidden_numbers(X, "X"), dtype=np.float64, reset=False)
        names = features_of(self.posterior_)
        given = dict(zip(names, X.T, strict=False))
        return predict(self.posterior_, given, names[len(given) :], probabilities=probabilities)

    def _shown(self, values: FloatArray) -> FloatArray:
        """Without the last axis if y had a single target."""
        return values[..., 0] if self._single else values

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are draws, from a fit that may have been interrupted."""
        return hasattr(getattr(self, "mixture_", None), "posterior_")

    def __sklearn_tags__(self) -> Any:
        """Several targets are taken."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
