"""Compilation: nothing is compiled twice, it is announced, and it also works without a cache."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numba
import pytest
from filelock import FileLock

import bayesgmm
from bayesgmm.kernels import compiled as compiled_functions

pytestmark = pytest.mark.slow  # every process compiles anew

EM = """
import numpy as np
from bayesgmm import fit_em
print(fit_em(np.arange(20.0) ** 2, 2, random_seed=1).mixture.means)
"""
POSTERIOR = """
import bayesgmm as bg
for method in ("nuts", "gibbs", "advi"):
    tree = bg.fit(bg.datasets.galaxies(), 3, method=method, random_seed=1, progressbar=False)
    print(repr(float(tree["posterior"]["mu"].mean())))
"""
ANNOUNCED = "bayesgmm: compiling for this machine (up to a minute, at first use only) ..."
FURTHER = re.compile(r"bayesgmm: compiling further functions \(\d+ s so far\) \.\.\.")
WAITING = "bayesgmm: another process is compiling the same functions; waiting for it ..."


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
    assert len(said) > 1
    assert all(map(FURTHER.fullmatch, said[1:]))
    second, said = run(POSTERIOR, **where)
    assert said == []
    assert first == second  # to the last digit
    _, said = run(EM, **where)
    assert said == []
    (package / "another.py").write_text("# bayesgmm.kernels.compiled: one more module with compiled functions")
    first, said = run(EM, **where)
    assert said[0] == ANNOUNCED
    assert all(map(FURTHER.fullmatch, said[1:]))
    second, said = run(EM, **where)
    assert said == []
    assert first == second


def test_the_seconds_told_are_those_of_compiling(monkeypatch):
    """The time between two compilations does not count."""
    now, said = [0.0], []
    monkeypatch.setattr(compiled_functions, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(compiled_functions, "_print", said.append)
    announcer = compiled_functions._Announcer()
    started = SimpleNamespace(data={"dispatcher": SimpleNamespace(py_func=compiled_functions._sources)})
    for begin, end in ((10, 13), (500, 510), (1000, 1001)):
        now[0] = begin
        announcer.on_start(started)
        announcer.on_start(started)  # a function that the first one calls
        announcer.on_end(started)
        now[0] = end
        announcer.on_end(started)
    assert [re.sub(".*function", "function", each) for each in said[1:]] == [
        "functions (3 s so far)",
        "functions (13 s so far)",
    ]


def test_processes_that_start_at_once_compile_each_function_once(tmp_path):
    counted = """
from numba.core import event
with event.install_recorder("numba:compile") as compilations:
    program()
ours = {each.data["dispatcher"].py_func for _, each in compilations.buffer if each.is_start}
print(*{f"{each.__module__}.{each.__qualname__}:{each.__code__.co_firstlineno}" for each in ours})
"""
    program = "def program():\n" + textwrap.indent(EM, "    ") + counted
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(run, program, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(3)]
        outs, said = zip(*(each.result() for each in runs), strict=True)
    means, compiled = zip(*(out.rsplit("\n", 2)[:2] for out in outs), strict=True)
    assert len(set(means)) == 1
    each = [name for names in compiled for name in names.split() if name.startswith("bayesgmm.")]
    assert len(each) > 10
    assert len(set(each)) == len(each)
    assert any(WAITING in lines for lines in said)
    assert run(program, NUMBA_CACHE_DIR=str(tmp_path))[0] == f"{means[0]}\n\n"


def test_only_what_is_asked_for_is_compiled(tmp_path):
    def compiled_by(program):
        directory = tmp_path / hashlib.sha256(program.encode()).hexdigest()[:8]
        run(program, NUMBA_CACHE_DIR=str(directory))
        return {path.name.split("-")[0] for path in directory.rglob("*.nbi")}

    em = compiled_by(EM)
    program = POSTERIOR.replace("bg.datasets.galaxies(), 3", "bg.datasets.two_gaussians().x, 2")
    near_a_gaussian = compiled_by(program.replace('"gibbs", ', ""))
    assert "sums._of_one_feature" in em
    assert not {name for name in em if name.startswith(("density.", "sweeps.", "assignments."))}
    assert "density._of_variances" in near_a_gaussian
    assert not {name for name in near_a_gaussian if name.startswith(("sweeps.", "split_merge."))}


def test_a_lock_that_is_never_given_back_costs_the_saving_only(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled_functions, "_PATIENCE", 0.1)

    def doubled(x):
        return 2 * x

    ours = compiled_functions.compiled(fastmath=set())(doubled)
    hung = FileLock(ours._cache._lock_file)
    Path(hung.lock_file).parent.mkdir(parents=True, exist_ok=True)
    with hung:
        assert ours(3.0) == 6.0
    assert not list(tmp_path.rglob("*.nbi"))
    another = compiled_functions.compiled(fastmath=set())(doubled)
    assert another(3.0) == 6.0
    assert list(tmp_path.rglob("*.nbi"))
    with FileLock(another._cache._lock_file, timeout=0):  # given back
        pass


def test_without_locks_nothing_is_saved_that_could_be_confused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def no_locks(*_, **__):
        raise NotImplementedError("no locks here")

    def tripled(x):
        return 3 * x

    with monkeypatch.context() as without:
        without.setattr(FileLock, "acquire", no_locks)
        assert compiled_functions.compiled(fastmath=set())(tripled)(2.0) == 6.0
    assert not list(tmp_path.rglob("*.nbi"))
    said = capsys.readouterr().err.splitlines()
    assert "bayesgmm: compiled code cannot be saved (no locks here), so every process compiles it again ..." in said


def test_without_a_place_for_a_cache_it_compiles_in_memory(tmp_path):
    package = copied_to(tmp_path)
    for directory in (package, *(path for path in package.rglob("*") if path.is_dir())):
        (directory / "__pycache__").touch()  # a file where a directory is wanted stops even the superuser
    # EM calls both kinds of compiled functions, those that Python calls and those that are called by their address
    out, said = run(EM, PYTHONPATH=str(tmp_path), HOME="/dev/null", XDG_CACHE_HOME="/dev/null", NUMBA_CACHE_DIR="")
    assert out.startswith("[")  # means
    ours = [line for line in said if line.startswith("bayesgmm: ")]  # matplotlib has its own to say
    assert all(map(FURTHER.fullmatch, ours[2:]))
    assert ours[0].startswith("bayesgmm: compiled code cannot be saved, so every process compiles it again (NUMBA_CACHE_DIR")
    assert ours[1] == ANNOUNCED
