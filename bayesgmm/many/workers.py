"""Where many fits run: in this process, in a pool of processes, or on the workers of a Dask client."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from bayesgmm.arguments import read_count
from bayesgmm.engines.phases import DeferredInterrupt
from bayesgmm.words import about

_ENOUGH = 20  # fits that are worth starting a process, which takes some seconds
_AHEAD = 2  # tasks that are handed out for each worker, so that none waits
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # the fits of a process use one thread


@dataclass(frozen=True)
class Workers:
    """A number of processes (1: this one), or a Dask client."""

    many: int
    client: Any = None

    @classmethod
    def read(cls, workers: Any, fits: int) -> Workers:
        """Check the argument ``workers``. Default: a process for each core, if there are enough fits."""
        if hasattr(workers, "get_executor") and hasattr(workers, "nthreads"):
            return cls(max(1, sum(workers.nthreads().values())), workers)
        if workers is None:
            return cls(max(1, min(os.cpu_count() or 1, fits // _ENOUGH)))
        try:
            return cls(read_count(workers, "workers"))
        except TypeError as error:
            raise TypeError(about("workers", str(error).removeprefix("workers "), "; or pass a Dask client")) from None

    @property
    def in_words(self) -> str:
        """Where the fits run."""
        if self.client is not None:
            return f"on {self.many} threads of Dask workers"
        return f"in {self.many} processes" if self.many > 1 else "in this process"

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """An executor, which ends its processes on leaving."""
        if self.client is not None:
            with self.client.get_executor(pure=False) as executor:
                yield executor
        elif self.many == 1:
            yield _Here()
        else:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(self.many, context, initializer=_begin) as pool:
                with _apart():  # the pool starts a process for each of the first tasks
                    begun = [pool.submit(int) for _ in range(self.many)]
                wait(begun)
                yield pool

    def run(self, tasks: Iterator[tuple[Any, ...]], function: Callable[..., Any], interrupt: DeferredInterrupt) -> Iterator:
        """Results of a function for tasks, in the order in which they end. An interrupt lets running tasks end."""
        with self.executor() as executor:
            pending: set[Future[Any]] = set()
            most = self.many * _AHEAD if not isinstance(executor, _Here) else 1
            for task in tasks:
                if interrupt.requested:
                    break
                pending.add(executor.submit(function, *task))
                if len(pending) >= most:
                    yield from _results(pending)
            while pending:
                if interrupt.requested:
                    pending -= {each for each in pending if each.cancel()}
                yield from _results(pending)


def _results(pending: set[Future[Any]]) -> Iterator[Any]:
    """Wait for at least one task; its result. Tasks that have ended are no longer pending."""
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    pending -= done
    for each in done:
        try:
            yield each.result()
        except BrokenProcessPool:
            text = "a process that made fits was ended from outside, perhaps because memory ran out; use fewer workers"
            raise ChildProcessError(text) from None


class _Here(Executor):
    """Runs each task at once, in this process."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **others: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args, **others))
        return future


def _begin() -> None:
    """Leave Ctrl-C to the process that hands out tasks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _apart() -> Iterator[None]:
    """Context in which processes start without running the user's script again, and ignore Ctrl-C from the beginning.

    A new process imports the main module, to find functions that it defines. There are none here, and a script without a
    guard for its main part would start processes again and again.
    """
    main, threads = sys.modules["__main__"], {name: os.environ.get(name) for name in _THREADS}
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in threads.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        if in_main:
            signal.signal(signal.SIGINT, before)
