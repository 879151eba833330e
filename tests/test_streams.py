"""Standard streams that are closed, full or in another encoding: no results are lost, and there is no traceback."""

import json
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest

import bayesgmm as bg

TIMEOUT = 300  # seconds
# what the command line does with its streams, without the rest of it
PRINT = "from bayesgmm.cli.streams import make_safe, output_error; make_safe(); import sys, os; "


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"größe": bg.datasets.two_gaussians(n=60, random_seed=1).x})
    frame.to_csv("data.csv", index=False, encoding="utf-8")
    return tmp_path


def shell(line, **environment):
    """Run a line in a shell, where ``$python`` is this interpreter; return the finished process."""
    return subprocess.run(
        ["sh", "-c", line], capture_output=True, env=os.environ | {"python": sys.executable} | environment, timeout=TIMEOUT
    )


def printing(code, redirections, **environment):
    return shell(f'$python -c "{PRINT}{code}" {redirections}', **environment)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", ">&-", ">/dev/full", ">&- 2>&-", "<&- >&- 2>&-"])
def test_printing_never_fails(folder, redirection):
    code = "print('a' * 100_000); print('b', file=sys.stderr); open('done', 'w').write('c'); sys.exit(7 if output_error() else 3)"
    done = printing(code, redirection)
    assert done.returncode == (7 if redirection == ">/dev/full" else 3), done
    assert (folder / "done").read_text() == "c"
    for stream, closed in ((done.stdout, ">&-" in redirection.split() or ">/dev/full" in redirection.split()), (done.stderr, "2>" in redirection)):  # fmt: skip
        assert (stream == b"") == closed


def test_a_closed_stream_is_not_the_next_file(folder):
    code = "file = open('file', 'w'); os.write(2, b'a panic'); os.write(1, b'another'); file.close()"
    assert printing(code, ">&- 2>&-").returncode == 0
    assert (folder / "file").read_text() == ""


def test_any_text_can_be_printed_as_json_and_in_bytes_as_they_came(folder):
    code = "print(sys.argv[1]); print(chr(34) + chr(0xDF) + chr(0x7C07) + chr(0x1F600) + chr(34))"
    done = printing(code, "$(printf 'h\\303\\266he')", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="")
    first, second = done.stdout.splitlines()
    assert first == "höhe".encode()
    assert second.isascii()
    assert json.loads(second) == "ß簇😀"


FIT = "$python -m bayesgmm fit data.csv -k 1 --draws 100 --chains 2 --seed 1 --out results"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "environment", "code"),
    [
        (f"{FIT} --json", {"LC_ALL": "C", "PYTHONUTF8": "0"}, 0),
        (f"{FIT} >&- 2>&-", {}, 0),
        (f"{FIT} >/dev/full 2>/dev/full", {}, 1),
        (f"{FIT} >/dev/full", {}, 1),
    ],
)
def test_results_are_written_whatever_becomes_of_the_streams(folder, line, environment, code):
    done = shell(line, **environment)
    assert done.returncode == code, done
    assert {"posterior.nc", "summary.json", "clusters.csv", "fit.png", "trace.png", "report.html"} <= set(
        os.listdir("results")
    )
    assert json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8"))["data"]["columns"] == ["größe"]
    assert list(pd.read_csv("results/clusters.csv", encoding="utf-8"))[1] == "größe"
    assert b"Traceback" not in done.stderr
    assert b"left out" not in done.stderr
    if "--json" in line:
        assert json.loads(done.stdout)["data"]["columns"] == ["größe"]
    if line.endswith("full") and "2>" not in line:
        assert done.stderr.splitlines()[-1] == b"error: the answer could not be printed: No space left on device"


SIGNALLED = """
import os, signal, sys
from bayesgmm import cli
from bayesgmm.cli import commands
def command(arguments):
    os.kill(os.getpid(), signal.SIGHUP)
    print("went on", flush=True)
commands.app = command
cli.main()
"""


COLLECTING = """
import signal, time, weakref
from bayesgmm import cli
from bayesgmm.cli import commands
def command(arguments):
    unused = set()
    watch = weakref.ref(unused, lambda _: signal.raise_signal(signal.SIGINT))
    del unused
    for _ in range(1_000):
        time.sleep(0.01)
    print("went on", flush=True)
commands.app = command
cli.main()
"""


def test_an_interrupt_while_something_is_collected_is_not_lost():
    done = subprocess.run(
        [sys.executable, "-c", COLLECTING], capture_output=True, text=True, timeout=TIMEOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_closed_terminal_is_ctrl_c_unless_that_is_to_be_ignored(folder):
    def hung_up(ignoring):
        return subprocess.run(
            [sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=TIMEOUT,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN if ignoring else signal.SIG_DFL),
        )  # fmt: skip

    done = hung_up(ignoring=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    done = hung_up(ignoring=True)
    assert (done.returncode, done.stdout) == (0, "went on\n")
