"""Warning categories: filter or escalate them by name with :mod:`warnings`."""

import warnings
from pathlib import Path

PACKAGE = (str(Path(__file__).parent),)  # warnings skip these frames, and name the user's line


def warn(text: str, category: type[Warning]) -> None:
    """Warn, naming the line outside the package that made the call."""
    warnings.warn(text, category, skip_file_prefixes=PACKAGE)


class CollapsedComponentWarning(UserWarning):
    """The best EM solution has collapsed: a component has its variance at ``variance_floor``, or holds no observation."""


class DataWarning(UserWarning):
    """The data are valid, but the chosen model may not suit them, as with outliers or rounded values."""


class ImproperPosteriorWarning(UserWarning):
    """The posterior is improper on these data: evidence, LOO and p(k | x) do not exist."""


class ConvergenceWarning(UserWarning):
    """An algorithm stopped before its convergence criterion was met."""


class ApproximationWarning(UserWarning):
    """A variational approximation is too far from the posterior (PSIS k-hat above 0.7)."""


class EngineWarning(UserWarning):
    """The compiled engine cannot be used. PyMC's engine takes over: it is slower and gives the same posterior."""


class CacheWarning(UserWarning):
    """A finished fit could not be stored in the cache of a comparison. The comparison continues."""


class InterruptedWarning(UserWarning):
    """The run was interrupted, or an error ended it after sampling. Whatever was finished by then is kept."""
