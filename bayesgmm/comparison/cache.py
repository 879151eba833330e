"""Finished fits in a folder, so that an interrupted comparison can continue. Data and settings identify a fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.arguments import read_path
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import as_shown
from bayesgmm.exceptions import CacheWarning, warn
from bayesgmm.files import digest_of, whole_file
from bayesgmm.words import about

_KEY = "cache_key"


@dataclass(frozen=True)
class FitCache:
    """Fits of the same data under the same settings, one file for each k.

    A file's name ends with a digest of its content, so that a damaged file is not opened.
    """

    folder: Path
    key: str  # digest of all that a fit depends on, except k and the seed
    seed: int | None  # seed of the comparison; None accepts fits with any seed

    @classmethod
    def of(cls, folder: str | Path, data: Observations, settings: Mapping[str, Any], seed: int | None) -> FitCache:
        """The cache of these data and settings; a missing folder is created."""
        place = read_path(folder, "cache")
        if place.exists() and not place.is_dir():
            raise ValueError(about("cache", f"must be a folder, got the file {place}"))
        place.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(np.ascontiguousarray(data.x).tobytes())
        for each in data.known.arrays:
            digest.update(b"none" if each is None else np.ascontiguousarray(each).tobytes())
        stated = {name: repr(value) for name, value in sorted(settings.items())}
        known = [as_shown(data.x).shape, data.features, data.positions.tolist(), stated, version("bayesgmm")]
        digest.update(json.dumps(known, default=str).encode())
        return cls(place, digest.hexdigest(), seed)

    def get(self, k: int, seed: int) -> xr.DataTree | None:
        """The finished fit of k components, if there is one. If the comparison has a seed, that of the fit must match."""
        for path in self._paths(k):
            try:
                if digest_of(path) != path.stem.rsplit("-", 1)[-1]:  # HDF5 may hang on a damaged file
                    continue
                with xr.open_datatree(path, engine="h5netcdf") as stored:
                    tree = stored.load()
            except Exception:  # an unreadable fit is made again
                continue
            fits = tree.attrs.get(_KEY) == self.key and tree.attrs.get("k") == k
            if fits and (self.seed is None or tree.attrs["seed"] == seed):
                return tree
        return None

    def put(self, tree: xr.DataTree) -> None:
        """Store a finished fit in place of an earlier one. If it cannot be written, a warning says so."""
        k = int(tree.attrs["k"])
        kept, earlier = tree.copy(), self._paths(k)
        kept.attrs[_KEY] = self.key
        try:
            # through memory, because HDF5 prints tracebacks if the disk is full
            with kept.to_netcdf(engine="h5netcdf") as content:
                path = self.folder / f"{self._begin(k)}{hashlib.sha256(content).hexdigest()}.nc"
                with whole_file(path) as part:
                    part.write_bytes(content)
            for each in set(earlier) - {path}:
                each.unlink(missing_ok=True)
        except OSError as error:
            warn(
                f"the fit of k = {k} cannot be kept in the cache {self.folder} ({error.strerror or error}): if the "
                "comparison is interrupted, that k must be fitted again",
                CacheWarning,
            )

    def _paths(self, k: int) -> list[Path]:
        return sorted(self.folder.glob(f"{self._begin(k)}*.nc"))

    def _begin(self, k: int) -> str:
        return f"k{k}-{self.key[:12]}-"
