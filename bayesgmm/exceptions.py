"""Warning categories: filter or escalate them by name with :mod:`warnings`."""

import warnings
from pathlib import Path

PACKAGE = (str(Path(__file__).parent),)  # whose own frames a warning passes over: it names the line of its user


def warn(text: str, category: type[Warning]) -> None:
    """Warn of the line outside the package that asked."""
    warnings.warn(text, category, skip_file_prefixes=PACKAGE)


class CollapsedComponentWarning(UserWarning):
    """The best EM solution has a component whose variance sits on the floor."""


class DataWarning(UserWarning):
    """The data are legal, but not what the chosen model was made for."""


class ImproperPosteriorWarning(UserWarning):
    """The posterior is improper on these data: evidence, LOO and p(k | x) do not exist."""


class ConvergenceWarning(UserWarning):
    """An algorithm stopped before its convergence criterion was met."""


class ApproximationWarning(UserWarning):
    """A variational approximation is too far from the posterior (PSIS k-hat above 0.7)."""


class EngineWarning(UserWarning):
    """The compiled engine cannot be used here; PyMC's, which gives the same posterior more slowly, takes over."""


class CacheWarning(UserWarning):
    """A finished fit could not be kept in the cache of a comparison; the comparison goes on all the same."""


class InterruptedWarning(UserWarning):
    """The run was interrupted, or ended by an error after sampling; what had been finished by then is kept."""
