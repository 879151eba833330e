"""Independent tasks in this process, in several processes, or on the workers of a Dask client.

The processes do not import the user's program again, as those of :mod:`multiprocessing` do, so that a script needs no
``__main__`` guard. Nor are they those of :class:`~concurrent.futures.ProcessPoolExecutor`: it waits for ever if a process is
killed while it writes a long result, and its processes outlive a parent that is killed.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice, starmap
from queue import SimpleQueue
from threading import Thread
from typing import Any, BinaryIO

_AHEAD = 2  # tasks that are handed out for each worker, so that none waits
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # of a process: one


@dataclass(frozen=True)
class Pool:
    """A number of processes (1: this one), or a Dask client with a number of threads.

    A process that is ended from outside raises ChildProcessError, with ``fewer`` as the remedy. An interrupt, or an error of
    a task, ends all processes at once.
    """

    many: int
    client: Any = None
    fewer: str = "fewer workers"

    @property
    def in_words(self) -> str:
        """Where the tasks run."""
        if self.client is not None:
            return f"on {self.many} threads of Dask workers"
        return f"in {self.many} processes" if self.many > 1 else "in this process"

    def results(
        self, function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]], *, in_order: bool = False
    ) -> Iterator[Any]:
        """Results of ``function(*task)`` as they end, or in the order of the tasks.

        Function, tasks and results must be picklable.
        """
        if self.client is None and (self.many == 1 or not sys.executable):
            yield from starmap(function, tasks)
            return
        with self._submit() as submit:
            begun = (submit(function, *task) for task in tasks)
            yield from map(Future.result, list(begun) if in_order else _as_they_end(begun, self.many * _AHEAD))

    @contextmanager
    def _submit(self) -> Iterator[Callable[..., Future[Any]]]:
        """What hands out a task: ``submit(function, *task)``."""
        if self.client is not None:
            with self.client.get_executor(pure=False) as executor:
                yield executor.submit
            return
        idle = SimpleQueue[subprocess.Popen[bytes]]()
        with ThreadPoolExecutor(self.many) as threads, ExitStack() as processes:
            for _ in range(self.many):
                idle.put(processes.enter_context(_process()))
            processes.callback(threads.shutdown, wait=False, cancel_futures=True)
            yield lambda function, *task: threads.submit(self._ask, idle, function, *task)

    def _ask(self, idle: SimpleQueue[Any], function: Callable[..., Any], *task: Any) -> Any:
        """The result of a task in a process that is idle; an error in the process is raised here."""
        process = idle.get()
        try:
            _write((function, task), process.stdin)
            done, result = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            text = f"a process that made fits was ended from outside, perhaps because memory ran out; use {self.fewer}"
            raise ChildProcessError(text) from None
        finally:
            idle.put(process)
        if not done:
            raise result
        return result


def _as_they_end(begun: Iterator[Future[Any]], most: int) -> Iterator[Future[Any]]:
    """Futures in the order in which they end. No more than ``most`` are taken before others have ended."""
    pending: set[Future[Any]] = set()
    while pending := pending | set(islice(begun, most - len(pending))):
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        yield from done


@contextmanager
def _process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs tasks. In the end it is killed, whatever it does."""
    program = f"import sys; sys.path[:] = {list(map(str, sys.path))}; from bayesgmm.pool import serve; serve()"
    given: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": os.environ | dict.fromkeys(_THREADS, "1")}
    # in a session of its own, Ctrl-C does not reach it
    process = subprocess.Popen([sys.executable, "-c", program], **given, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        with suppress(BrokenPipeError), process:  # which closes the pipes
            pass


def serve() -> None:
    """Run the tasks that come on standard input, and write their results, until the other process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows has no sessions
    Thread(target=_end_after, args=(os.getppid(),), daemon=True).start()
    with suppress(EOFError, BrokenPipeError), os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a task prints goes to standard error
        while True:
            function, task = pickle.load(sys.stdin.buffer)
            try:
                answer = True, function(*task)
            except Exception as error:
                answer = False, error
            _write(answer, answers)


def _end_after(parent: int) -> None:
    """End in the midst of a task, if the process that hands out tasks has been killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _write(what: Any, to: BinaryIO) -> None:
    to.write(pickle.dumps(what))
    to.flush()
