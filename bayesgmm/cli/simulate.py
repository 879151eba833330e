"""``bayesgmm simulate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def simulate(
    weights: Annotated[str, typer.Option(help="Probabilities, separated by commas.")] = "0.25,0.75",
    means: Annotated[str, typer.Option(help="Means, separated by commas.")] = "5,10",
    sigma: Annotated[str, typer.Option(help="Standard deviations, separated by commas.")] = "1.5,2",
    n: Annotated[int, typer.Option("-n", help="How many observations.")] = 10_000,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write; default: standard output.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Draw from a mixture: columns x, the observation, and z, its component."""
    from bayesgmm.mixture import Mixture

    mixture = Mixture(_numbers(weights, "weights"), _numbers(means, "means"), sigma=_numbers(sigma, "sigma"))
    x, z = mixture.sample(n, seed)
    lines = "".join(f"{value!r},{component}\n" for value, component in zip(x.tolist(), z.tolist(), strict=True))
    if out is None:
        sys.stdout.write("x,z\n" + lines)
        return
    if out.exists() and not (force and out.is_file()):
        raise FileExistsError(f"{out} exists; choose another --out, or replace a file with --force")
    beside = out.with_name(f".{out.name}.part")
    beside.write_text("x,z\n" + lines)
    beside.replace(out)
    print(f"{n} observations are in {out}")


def _numbers(text: str, name: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise ValueError(f"--{name} must be numbers separated by commas, got {text!r}") from None
