"""Compilation: nothing twice, announced when it begins, and where no cache can be written as well."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bayesgmm

pytestmark = pytest.mark.slow  # every process compiles anew

EM = """
import numpy as np
from bayesgmm import fit_em
print(fit_em(np.arange(20.0) ** 2, 2, random_seed=1).mixture.means)
"""
POSTERIOR = """
import bayesgmm as bg
for method in ("nuts", "advi"):
    tree = bg.fit(bg.datasets.galaxies(), 3, method=method, random_seed=1, progressbar=False)
    print(repr(float(tree["posterior"]["mu"].mean())))
"""
ANNOUNCED = "bayesgmm: compiling for this machine (up to half a minute, at first use only) ..."
FURTHER = "bayesgmm: compiling further functions ..."


def run(program=EM, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",  # not the checkout, which would come before PYTHONPATH
        env={**os.environ, **environment},
    )
    return done.stdout, done.stderr.splitlines()


def copied_to(site):
    """A copy of the package in which files can be changed."""
    package = site / "bayesgmm"
    shutil.copytree(Path(bayesgmm.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    return package


def test_the_first_process_compiles_and_says_so_and_the_second_does_not_until_sources_change(tmp_path):
    package = copied_to(tmp_path / "site")
    where = {"PYTHONPATH": str(package.parent), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first, said = run(POSTERIOR, **where)
    assert said[0] == ANNOUNCED
    assert set(said[1:]) == {FURTHER}
    second, said = run(POSTERIOR, **where)
    assert said == []
    assert first == second  # to the last digit
    _, said = run(EM, **where)
    assert said == []
    (package / "another.py").write_text("# bayesgmm.kernels.compiled: one more module with compiled functions")
    first, said = run(EM, **where)
    assert said[0] == ANNOUNCED
    assert set(said[1:]) <= {FURTHER}
    second, said = run(EM, **where)
    assert said == []
    assert first == second


def test_without_a_place_for_a_cache_it_compiles_in_memory(tmp_path):
    package = copied_to(tmp_path)
    for directory in (package, *(path for path in package.rglob("*") if path.is_dir())):
        (directory / "__pycache__").touch()  # a file where a directory is wanted stops even the superuser
    # EM calls both kinds of compiled functions, those that Python calls and those that are called by their address
    out, said = run(EM, PYTHONPATH=str(tmp_path), HOME="/dev/null", XDG_CACHE_HOME="/dev/null", NUMBA_CACHE_DIR="")
    assert out.startswith("[")  # means
    ours = [line for line in said if line.startswith("bayesgmm: ")]  # matplotlib has its own to say
    assert set(ours[2:]) <= {FURTHER}
    assert ours[0].startswith("bayesgmm: no directory for compiled code can be written (NUMBA_CACHE_DIR names one)")
    assert ours[1] == ANNOUNCED
