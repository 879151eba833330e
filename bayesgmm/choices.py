"""What arguments choose among; apart from :mod:`.arguments`, because the help of a command does not wait for NumPy."""

from __future__ import annotations

from typing import Literal

Missing = Literal["raise", "drop", "at_random"]
Covariance = Literal["full", "tied", "diag", "spherical"]
Method = Literal["nuts", "gibbs", "advi", "laplace"]
Engine = Literal["compiled", "pymc"]
Scale = Literal["range", "core"]
FamilyName = Literal["gaussian", "t"]
