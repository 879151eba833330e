"""Estimators for scikit-learn, which must be installed. They may import all other packages."""

try:
    from sklearn.utils.validation import validate_data  # noqa: F401  since version 1.6
except ImportError as error:
    raise ImportError(
        "BayesianGMM and BayesianGMMRegressor need scikit-learn 1.6 or newer, which is not installed; install it, or "
        "bayesgmm[sklearn]"
    ) from error
