"""``bayesgmm simulate``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from bayesgmm.cli.messages import answer, say
from bayesgmm.files import whole_file

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from bayesgmm.model.mixture import Mixture

EXAMPLES = """
Examples:

bayesgmm simulate --weights 0.25,0.75 --means 5,10 --sigma 1.5,2 -n 1000 --seed 1

bayesgmm simulate --weights 0.5,0.5 --means 0,0 --means 3,3 --sigma 1,1 --sigma 1,2      (two features)

bayesgmm simulate --weights 0.5,0.5 --means 0,0 --means 3,3 --covariance 1,0.8,0.8,1      (correlated)

bayesgmm simulate --dataset old_faithful --out geyser.csv
"""

_SIMULATED = ("two_gaussians", "three_gaussians")
Dataset = Literal[
    "acidity", "air_quality", "crabs", "diabetes", "diamonds", "galaxies", "iris", "neutron_stars", "old_faithful",
    "penguins", "two_gaussians", "three_gaussians",
]  # fmt: skip
_WEIGHTS, _MEANS, _SIGMA, _N = "0.25,0.75", ["5,10"], ["1.5,2"], 10_000
_ROWS = 2**16  # written together
_numerals = partial(typer.Option, metavar="NUMBERS")
_DELIMITERS = {".csv": ",", ".txt": ",", ".tsv": "\t", ".tab": "\t"}


def simulate(
    weights: Annotated[str | None, _numerals(help="Probabilities, separated by commas.", show_default=_WEIGHTS)] = None,
    means: Annotated[
        list[str] | None,
        _numerals(
            help="Means of the components, for one feature. For several features, one --means for each component.",
            show_default=_MEANS[0],
        ),
    ] = None,
    sigma: Annotated[
        list[str] | None,
        _numerals(
            help="Standard deviations, given like the means. One --sigma may be given for all components.",
            show_default=_SIGMA[0],
        ),
    ] = None,
    covariance: Annotated[
        list[str] | None, _numerals(help="Covariance matrix, row by row, for each component or for all, instead of --sigma.")
    ] = None,
    dataset: Annotated[
        Dataset | None,
        typer.Option(metavar="NAME", help=f"A data set of the package: {', '.join(get_args(Dataset))}."),
    ] = None,
    n: Annotated[int | None, typer.Option("-n", help="Number of observations.", show_default=str(_N))] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed. If it is omitted, the one used is printed.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV or TSV file to write.", show_default="standard output")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Draw from a mixture, or write a data set, to try the other commands on.

    Columns: x, the observation (for several features x1, x2, ...), and z, the component it was drawn from.
    """
    from bayesgmm.arguments import read_seed

    _require_free(out, force)
    if dataset is None:
        mixture = _mixture(weights or _WEIGHTS, means or _MEANS, sigma or [], covariance or [], given=means is not None)
        used = read_seed(seed)
        frame = _as_frame(*mixture.sample(_N if n is None else n, used))
        if seed is None:
            say(f"seed {used}")
    else:
        if any(each is not None for each in (weights, means, sigma, covariance)):
            raise ValueError("--dataset has a mixture of its own; leave out --weights, --means, --sigma and --covariance")
        frame = _packaged(dataset, n, seed)
    if out is None:
        for part in _text(frame, ","):
            if not answer(part, end=""):
                return
        return
    with whole_file(out, force=force) as file, file.open("w") as opened:
        opened.writelines(_text(frame, _DELIMITERS[out.suffix.lower()]))
    answer(f"{len(frame)} observations are in {out}")


def _require_free(out: Path | None, force: bool) -> None:
    if out is None:
        return
    if out.exists() and not (force and out.is_file()):
        raise FileExistsError(f"{out} exists; choose another --out, or replace a file with --force")
    if out.suffix.lower() not in _DELIMITERS:
        raise ValueError(f"--out must end in .csv, .txt, .tsv or .tab, got {out}; write CSV or TSV")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent} is not a folder; make it first, or choose another --out")


def _mixture(weights: str, means: list[str], sigma: list[str], covariance: list[str], *, given: bool) -> Mixture:
    """The mixture that the options describe.

    A single list of means is for one feature, unless there is one component. Several lists are for one component each.
    """
    import numpy as np

    from bayesgmm.model.mixture import Mixture

    shares = _numbers(weights, "weights")
    centres = [_numbers(each, "means") for each in means]
    if len(centres) == 1 and not (len(shares) == 1 and len(centres[0]) > 1):
        if covariance:
            raise ValueError("--covariance is for several features, got means of one; give --sigma")
        if len(sigma) > 1:
            raise ValueError("--sigma must be one list for one feature, got several; give --means for each component")
        if given and not sigma:
            raise ValueError("--sigma must be given with --means, got none")
        return Mixture(shares, centres[0], sigma=_numbers((sigma or _SIGMA)[0], "sigma"))
    n_features = len(centres[0])
    if any(len(each) != n_features for each in centres):
        got = ", ".join(str(len(each)) for each in centres)
        raise ValueError(f"--means must hold the same number of values for every component, got {got}")
    if bool(sigma) == bool(covariance):
        raise ValueError("give either --sigma or --covariance with means of several features, once or for each component")
    name, size = ("sigma", n_features) if sigma else ("covariance", n_features**2)
    spreads = [_numbers(each, name) for each in sigma or covariance]
    if len(spreads) not in (1, len(centres)) or any(len(each) != size for each in spreads):
        got = ", ".join(str(len(each)) for each in spreads)
        raise ValueError(f"--{name} must hold {size} numbers, once or for each component, got {got}")
    if sigma and not (np.array(spreads) > 0).all():
        raise ValueError(f"--sigma must be positive, got {', '.join(sigma)}")
    matrices = [np.diag(np.square(each)) if sigma else np.reshape(each, (n_features, n_features)) for each in spreads]
    return Mixture(shares, centres, np.array(matrices) if len(matrices) > 1 else matrices[0])


def _packaged(name: str, n: int | None, seed: int | None) -> pd.DataFrame:
    from bayesgmm import datasets

    make = getattr(datasets, name)
    if name in _SIMULATED:
        simulated = make(_N if n is None else n, 0 if seed is None else seed)
        return _as_frame(simulated.x, simulated.z)
    if n is not None or seed is not None:
        raise ValueError(f"-n and --seed are for simulated data, and {name} is not simulated; leave them out")
    data = make()
    return data if data.ndim == 2 else data.to_frame()


def _as_frame(x: np.ndarray, z: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    names = ["x"] if x.ndim == 1 else [f"x{j + 1}" for j in range(x.shape[1])]
    return pd.DataFrame(x.reshape(len(z), -1), columns=names).assign(z=z)


def _text(frame: pd.DataFrame, delimiter: str) -> Iterator[str]:
    for begin in range(0, max(len(frame), 1), _ROWS):
        yield frame.iloc[begin : begin + _ROWS].to_csv(index=False, header=begin == 0, sep=delimiter)


def _numbers(text: str, name: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise ValueError(f"--{name} must be numbers separated by commas, got {text!r}") from None
