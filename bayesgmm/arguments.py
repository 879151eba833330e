"""Checks and types of arguments.

Every public function reads its arguments through these functions, so messages about a wrong argument are the same
everywhere: argument, rule, value, remedy.
"""

from __future__ import annotations

import numbers
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import psutil
from numpy.typing import ArrayLike, NDArray

from bayesgmm.choices import Covariance as Covariance
from bayesgmm.choices import Engine as Engine
from bayesgmm.choices import FamilyName as FamilyName
from bayesgmm.choices import Method as Method
from bayesgmm.choices import Missing as Missing
from bayesgmm.choices import Scale as Scale
from bayesgmm.words import Words, about

type Noise = bool | float | ArrayLike  # whether observations may be noise, or the log density of noise
type Rounding = Literal["auto"] | ArrayLike | None  # the step to which values are rounded
FloatArray = NDArray[np.float64]


class Traits(NamedTuple):
    """Properties of a covariance structure, for all code that depends on it."""

    shared: bool  # whether all components share one covariance
    matrix: bool  # whether features are correlated within a component
    per_feature: bool  # whether each feature has a separate variance
    words: str  # description, for several features


TRAITS: dict[str, Traits] = {
    "full": Traits(False, True, True, "each with a covariance matrix of its own"),
    "tied": Traits(True, True, True, "all with the same covariance"),
    "diag": Traits(False, False, True, "each with independent features"),
    "spherical": Traits(False, False, False, "each with independent features of one variance"),
    "tied_diag": Traits(True, False, True, "all with the same variances of independent features"),
    "tied_spherical": Traits(True, False, False, "all with independent features of the same one variance"),
}
OF_MCLUST = {  # its names of the structures that are here
    **{"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical", "EEI": "tied_diag", "EII": "tied_spherical"},
    **{"V": "full", "E": "tied"},
}
_LONGEST = 80  # characters of a value in a message
_LARGEST = 2**63 - 1  # integer


def read_count(value: Any, name: str, *, minimum: int = 1) -> int:
    """Check an integer that counts something."""
    if isinstance(value, (bool, np.bool_, np.timedelta64)) or not isinstance(value, numbers.Integral):
        got = f"{_shown(value)} ({type(value).__name__})"
        raise TypeError(about(name, f"must be an integer of at least {minimum}, got {got}"))
    if value < minimum:
        raise ValueError(about(name, f"must be an integer of at least {minimum}, got {value}"))
    if int(value) > _LARGEST:  # too large for compiled code and for files
        raise ValueError(about(name, f"must be an integer below 2**63, got {value}"))
    return int(value)


def read_choice(value: Any, choices: Any, name: str) -> str:
    """Check a value that must be one of ``choices``, a sequence of words or a ``Literal`` type."""
    choices = get_args(choices) or choices
    if not isinstance(value, str) or value not in choices:
        raise ValueError(about(name, f"must be one of {', '.join(map(repr, choices))}, got {_shown(value)}"))
    return str(value)


def read_covariance(value: Any, name: str = "covariance") -> str:
    """Check the name of a covariance structure."""
    if isinstance(value, str) and value in OF_MCLUST:
        raise ValueError(
            about(name, f"must be the name of a structure here, got mclust's {value!r}; use {OF_MCLUST[value]!r}")
        )
    return read_choice(value, Covariance, name)


def read_positive(value: Any, name: str) -> float:
    """Check a positive finite number."""
    try:
        is_number = value is not np.ma.masked and np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiuO"
        number = float(value) if is_number and not isinstance(value, str | bytes) else None
    except (TypeError, ValueError):
        number = None
    except OverflowError:
        number = np.inf
    if number is None:
        raise TypeError(about(name, f"must be a positive number, got {_shown(value)}")) from None
    if not (np.isfinite(number) and number > 0):
        raise ValueError(about(name, f"must be a positive finite number, got {value!r}"))
    return number


def read_probability(value: Any, name: str) -> float:
    """Check a number strictly between 0 and 1."""
    number = read_positive(value, name)
    if number >= 1:
        raise ValueError(about(name, f"must lie between 0 and 1, got {value!r}"))
    return number


def read_path(value: Any, name: str) -> Path:
    """Check the name of a file or folder."""
    if not isinstance(value, str | os.PathLike):
        got = f"{_shown(value)} ({type(value).__name__})"
        raise TypeError(about(name, f"must be the name of a file or folder, got {got}"))
    if "\0" in str(value):
        rule = "must be the name of a file or folder, which holds no NUL character"
        raise ValueError(about(name, f"{rule}, got {str(value)!r}"))
    return Path(value)


def read_seed(random_seed: int | np.random.Generator | None) -> int:
    """Turn any accepted seed into one integer, so that every run can be repeated from its record."""
    if isinstance(random_seed, np.random.Generator):
        return int(random_seed.integers(2**31))
    return _fresh_seed() if random_seed is None else read_count(random_seed, "random_seed", minimum=0)


def _fresh_seed() -> int:
    return int(np.random.default_rng().integers(2**31))


def require_memory(n_bytes: int, what: str, remedy: str) -> None:
    """Raise an error, before the allocation, if ``n_bytes`` exceed the available memory."""
    available = psutil.virtual_memory().available
    if n_bytes > available:
        size = f"{what} would take {n_bytes / 1e9:.1f} GB, more than the {available / 1e9:.1f} GB available; "
        raise MemoryError(Words(size, remedy))


def spoken(name: Any) -> str:
    """A column's name for a sentence, in quotation marks if it is blank."""
    return str(name) if str(name).strip() else f'"{name}"'


def named(feature: Any) -> str:
    """A feature's name for a sentence; a number becomes "column" with the number."""
    return f"column {feature}" if isinstance(feature, numbers.Integral) else str(feature)


def _shown(value: Any) -> str:
    """A value in one line, shortened if it is long."""
    words = " ".join(repr(value).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
