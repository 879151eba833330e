"""The command line in a terminal: the width of its output, and the effect of Ctrl-C at each stage."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pandas as pd
import pytest

import bayesgmm as bg

CTRL_C = b"\x03"
TIMEOUT = 120  # seconds
DRAWN = r"NUTS.* ([5-9]|\d\d)%"  # then every chain has draws: tuning takes less than one hundredth of the steps


@pytest.fixture
def folder(tmp_path, monkeypatch, galaxies, faithful):
    """A working folder with nothing but data."""
    monkeypatch.chdir(tmp_path)
    galaxies.to_frame().to_csv("galaxies.csv", index=False)
    faithful.to_csv("geyser.csv", index=False)
    pd.DataFrame({"x": bg.datasets.three_gaussians(n=2_000).x}).to_csv("large.csv", index=False)
    return tmp_path


def in_terminal(*arguments, columns=80, keys=()):
    """Run in a terminal; return exit code and output. ``keys`` holds pairs: a pattern to wait for, and a key or signal."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}  # xdist sets them
    program = subprocess.Popen(
        [sys.executable, "-m", "bayesgmm", *map(str, arguments)],
        stdin=side, stdout=side, stderr=side, start_new_session=True, env=environment | {"TERM": "xterm"},
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(side)
    shown, waiting, end = b"", list(keys), time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if select.select([main], [], [], 1)[0]:
            try:
                part = os.read(main, 2**16)
            except OSError:  # the program has ended
                break
            if not part:
                break
            shown += part
        if waiting and re.search(waiting[0][0], shown.decode(errors="ignore")):
            _, then = waiting.pop(0)
            os.write(main, then) if isinstance(then, bytes) else program.send_signal(then)
    else:
        program.kill()
    os.close(main)
    code = program.wait()
    return code, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")


@pytest.mark.slow
def test_a_fit_shows_its_progress_and_keeps_to_the_width(folder):
    arguments = ("fit", "geyser.csv", "--columns", "eruptions", "waiting", "-k", 2, "--draws", 300, "--seed", 1)
    code, shown = in_terminal(*arguments, columns=60)
    assert code == 0, shown
    assert re.search("NUTS.*━", shown)  # the bar, even if the run was quick
    answer = shown[shown.index("eruptions, waiting: n = 272") :].splitlines()
    assert max(map(len, answer)) <= 60
    assert any(line.startswith("(no room for ess_tail") for line in answer)


@pytest.mark.slow
def test_a_comparison_keeps_to_the_width(folder):
    code, shown = in_terminal("compare", "galaxies.csv", "--k", "1:2", "--draws", 200, "--seed", 1, "-q")
    assert code == 0, shown
    answer = shown[shown.index("velocity: n = 82") :].splitlines()
    assert max(map(len, answer)) <= 80
    assert answer[1].startswith("Recommended: k = 2, ")
    (columns,) = [line.split() for line in answer if line.startswith("k ")]
    assert {"elpd_loo", "elpd_diff", "dse", "log_evidence", "bic"} <= set(columns)


@pytest.mark.parametrize("columns", [40, 80])
def test_help_names_options_in_full(columns):
    code, shown = in_terminal("fit", "--help", columns=columns)
    assert code == 0
    assert {"--columns", "--target-ess", "--target-accept", "--covariance"} <= set(re.findall(r"--[a-z-]+", shown))


def test_a_wrong_option_suggests_the_nearest(folder):
    code, shown = in_terminal("fit", "galaxies.csv", "-k", 2, "--draw", 5)
    assert code == 2
    assert "Did you mean --draws?" in shown


@pytest.mark.slow
def test_ctrl_c_while_sampling_keeps_the_draws(folder):
    arguments = ("fit", "large.csv", "--column", "x", "-k", 3, "--draws", 50_000, "--seed", 1, "--out", "results")
    code, shown = in_terminal(*arguments, keys=[(DRAWN, CTRL_C)])
    assert code == 130, shown
    assert re.search(r"the tree keeps the \d x \d+ draws", shown)
    assert shown.splitlines()[-2:] == ["Posteriors, tables and pictures are in results", "interrupted"]
    assert {"posterior.nc", "report.html"} <= set(os.listdir("results"))


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(folder):
    arguments = ("fit", "large.csv", "--column", "x", "-k", 3, "--draws", 50_000, "--seed", 1, "--out", "results")
    code, shown = in_terminal(*arguments, keys=[(DRAWN, CTRL_C), ("writing each", CTRL_C)])
    assert code == 130, shown
    assert shown.endswith("interrupted: what had been finished is in results\n")
    assert "Traceback" not in shown
    written = set(os.listdir("results"))
    assert {"posterior.nc", "verdict.txt"} <= written
    assert "report.html" not in written
    assert not [name for name in [*os.listdir(), *written] if name.startswith(".")]


@pytest.mark.slow
def test_to_be_told_to_terminate_is_ctrl_c(folder):
    arguments = ("fit", "large.csv", "--column", "x", "-k", 3, "--draws", 50_000, "--out", "results")
    code, shown = in_terminal(*arguments, keys=[(DRAWN, signal.SIGTERM)])
    assert code == 130, shown
    assert shown.splitlines()[-1] == "interrupted"
    assert (Path("results") / "posterior.nc").is_file()
    assert sorted(os.listdir()) == ["galaxies.csv", "geyser.csv", "large.csv", "results"]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["typer", "numpy", "pandas", "numba", "arviz_stats", "bayesgmm.fitting"])
def test_ctrl_c_while_loading_is_one_line(folder, module):
    (folder / "interrupting.py").write_text(
        "import signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n"
        "            exec('signal.raise_signal(signal.SIGINT)')  # as when a dataclass is made\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from bayesgmm.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-m", "interrupting", "fit", "galaxies.csv", "-k", "2", "--out", "results"]
    done = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    assert not (folder / "results").exists()
    assert not list(folder.glob(".*"))
