"""Finished fits in a folder, from which an interrupted comparison goes on; recognised by data and settings, not by name."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.validation import Data

_KEY = "cache_key"


@dataclass(frozen=True)
class FitCache:
    """Fits of the same data under the same settings, one file for each k.

    Attributes
    ----------
    folder : Path
    key : str
        Digest of all that a fit depends on but k and the seed.
    seed : int or None
        The seed that a fit must have; any will do if None.
    """

    folder: Path
    key: str
    seed: int | None

    @classmethod
    def of(cls, folder: str | Path, data: Data, settings: Mapping[str, Any], seed: int | None) -> FitCache:
        """The cache of these data and settings; the folder is made if there is none."""
        place = Path(folder)
        if place.exists() and not place.is_dir():
            raise ValueError(f"cache must be a folder, got the file {place}")
        place.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(np.ascontiguousarray(data.values).tobytes())
        stated = {name: repr(value) for name, value in sorted(settings.items())}
        known = [data.values.shape, data.features, data.positions.tolist(), stated, version("bayesgmm")]
        digest.update(json.dumps(known, default=str).encode())
        return cls(place, digest.hexdigest(), seed)

    def get(self, k: int, seed: int) -> xr.DataTree | None:
        """The finished fit of k components, if there is one; with a seed, of that seed only."""
        path = self._path(k)
        if not path.is_file():
            return None
        try:
            with xr.open_datatree(path) as stored:
                tree = stored.load()
        except (OSError, ValueError, KeyError):
            return None  # not a file that was written whole
        fits = tree.attrs.get(_KEY) == self.key and tree.attrs.get("k") == k
        return tree if fits and (self.seed is None or tree.attrs["seed"] == seed) else None

    def put(self, tree: xr.DataTree) -> None:
        """Keep a finished fit: the file is there whole or not at all."""
        path = self._path(int(tree.attrs["k"]))
        kept = tree.copy()
        kept.attrs[_KEY] = self.key
        with tempfile.TemporaryDirectory(prefix=".", dir=self.folder) as beside:
            part = Path(beside) / path.name
            kept.to_netcdf(part)
            part.replace(path)

    def _path(self, k: int) -> Path:
        return self.folder / f"k{k}-{self.key[:12]}.nc"
