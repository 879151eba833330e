"""The pool of processes: order, errors, interrupts, and processes that are ended from outside."""

import io
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import psutil
import pytest

from bayesgmm.pool import Pool

ENDED = "a process that made fits was ended from outside, perhaps because memory ran out; use fewer workers"
signals = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")


def double(i):
    return 2 * i


def inverse(i):
    return 1 / i


def end(i):
    os._exit(i)


def call(function, *task):
    return function(*task)


def wait_for(path):
    while not path.exists():
        time.sleep(0.01)
    return "waited"


def touch(path):
    path.touch()
    return "touched"


def serving():
    """The processes of pools that have not ended."""
    return [each for each in psutil.Process().children() if "bayesgmm.pool" in " ".join(each.cmdline())]


def blas_threads():
    import numpy  # noqa: F401 - which loads BLAS
    from threadpoolctl import threadpool_info

    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("many", [1, 2])
def test_every_task_has_its_result(many, in_order):
    found = list(Pool(many).results(double, zip(range(20)), in_order=in_order))
    assert (found if in_order else sorted(found)) == list(range(0, 40, 2))
    assert list(Pool(many).results(double, [], in_order=in_order)) == []


@pytest.mark.parametrize(("in_order", "found"), [(True, ["waited", "touched"]), (False, ["touched", "waited"])])
def test_results_come_in_order_or_as_they_end(in_order, found, tmp_path):
    path = tmp_path / "file"
    tasks = [(wait_for, path), (touch, path)]
    assert list(Pool(2).results(call, tasks, in_order=in_order)) == found


@pytest.mark.parametrize("many", [1, 2])
def test_tasks_are_taken_when_they_are_needed(many):
    taken = []
    results = Pool(many).results(double, ((taken.append(i) or i,) for i in range(50)))
    next(results)
    assert len(taken) <= 2 * many
    assert len(serving()) == (many if many > 1 else 0)
    results.close()
    assert len(taken) <= 2 * many


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("many", [1, 2])
def test_an_error_in_a_task_is_raised_here(many, in_order):
    with pytest.raises(ZeroDivisionError):
        list(Pool(many).results(inverse, [(1,), (0,), (1,)], in_order=in_order))
    assert serving() == []


@pytest.mark.parametrize("in_order", [True, False])
def test_a_process_that_is_ended_from_outside_is_named(in_order):
    with pytest.raises(ChildProcessError, match=f"^{ENDED}$"):
        list(Pool(2).results(end, [(1,), (2,)], in_order=in_order))
    with pytest.raises(ChildProcessError, match=r"; use cores=1$"):
        list(Pool(2, fewer="cores=1").results(end, [(1,), (2,)], in_order=in_order))


@pytest.mark.parametrize("length", [0, 20])
def test_a_process_may_be_ended_while_it_writes_its_answer(length):
    idle, answer = SimpleQueue(), pickle.dumps((True, bytes(1_000)))
    idle.put(SimpleNamespace(stdin=io.BytesIO(), stdout=io.BytesIO(answer[:length])))
    with pytest.raises(ChildProcessError, match=ENDED):
        Pool(2)._ask(idle, double, 1)
    idle.get()
    idle.put(SimpleNamespace(stdin=io.BytesIO(), stdout=io.BytesIO(answer)))
    assert Pool(2)._ask(idle, double, 1) == bytes(1_000)


def test_who_wants_no_more_results_does_not_wait():
    """Neither for tasks that run, nor for those that are being written or answered."""
    for function, given in ((time.sleep, [0, *[600] * 9]), (len, [bytes(10**7)] * 9), (bytes, [10**7] * 9)):
        results = Pool(2).results(function, zip(given))
        next(results)
        results.close()
        assert serving() == []


def test_a_process_uses_one_blas_thread(monkeypatch):
    pytest.importorskip("threadpoolctl")
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    assert list(Pool(2).results(blas_threads, [(), ()])) == [[1], [1]]
    assert os.environ["OPENBLAS_NUM_THREADS"] == "2"


def test_what_a_task_prints_is_no_answer(capfd):
    assert list(Pool(2).results(print, [("one",), ("two",)])) == [None, None]
    out, err = capfd.readouterr()
    assert out == ""
    assert sorted(err.split()) == ["one", "two"]


def test_paths_of_modules_may_be_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, Path(tmp_path)])
    assert list(Pool(2).results(double, [(1,), (2,)], in_order=True)) == [2, 4]


@pytest.fixture
def script(tmp_path):
    """A script without a guard, and its processes after two results. The next tasks take ten minutes."""
    path = tmp_path / "script.py"
    path.write_text(
        "import time\nfrom bayesgmm.pool import Pool\nprint('begins', flush=True)\n"
        "try:\n"
        "    for number, _ in enumerate(Pool(2).results(time.sleep, zip([0, 0, 600, 600]))):\n"
        "        print(number, flush=True)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    given["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    with subprocess.Popen([sys.executable, path], **given) as running:
        assert [running.stdout.readline() for _ in range(3)] == ["begins\n", "0\n", "1\n"]
        yield running, psutil.Process(running.pid).children()
        running.kill()


@signals
def test_ctrl_c_is_left_to_the_process_that_hands_out_tasks(script):
    running, processes = script
    assert len(processes) == 2
    assert all(os.getsid(each.pid) == each.pid for each in processes)  # nor does it reach them while they start
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    out, err = running.communicate(timeout=100)
    assert (out, err) == ("interrupted\n", "")
    assert not any(each.is_running() for each in processes)


@signals
def test_processes_end_with_the_one_that_hands_out_tasks(script):
    running, processes = script
    running.kill()
    gone, left = psutil.wait_procs(processes, timeout=60)
    assert (len(gone), left) == (2, [])
