"""Choices for arguments. They are not in :mod:`.arguments`, so that the help of commands does not import NumPy."""

from __future__ import annotations

from typing import Literal

Missing = Literal["raise", "drop", "at_random"]
Covariance = Literal["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"]
Method = Literal["nuts", "gibbs", "advi", "laplace"]
Engine = Literal["compiled", "pymc"]
Scale = Literal["range", "core"]
FamilyName = Literal["gaussian", "t"]
