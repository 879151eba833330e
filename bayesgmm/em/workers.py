"""Work shared out among processes.

EM of a few hundred rows spends most of its time in Python, so threads would wait for each other. These processes do not
import the user's program again, as those of :mod:`multiprocessing` do, so that a script needs no ``__main__`` guard.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any, cast

from bayesgmm.words import Argument, Words

_WORTH_IT = 8.0  # seconds of work from which processes are quicker, though each takes a second or two to start
_ENDED = Words("a process that helped was ended from outside, perhaps for lack of memory; use ", Argument("cores", 1))


def shared_out[T](work: Callable[[Any], T], items: Sequence[Any], cores: int | None, seconds: float) -> Iterator[T]:
    """Results of ``work`` for each item, in order, whatever the number of processes.

    Without ``cores`` there is a process for each core, if the work takes long enough. ``seconds`` is the expected time of
    one item. Function, items and results must be picklable.
    """
    if cores is None:
        cores = (os.cpu_count() or 1) if seconds * len(items) > _WORTH_IT else 1
    cores = min(cores, len(items))
    if cores == 1 or not sys.executable:
        yield from map(work, items)
        return
    with ExitStack() as stack:
        idle: SimpleQueue[_Process] = SimpleQueue()
        for _ in range(cores):
            idle.put(stack.enter_context(_Process(work)))

        def ask(item: Any) -> T:
            process = idle.get()
            try:
                return cast(T, process.ask(item))
            finally:
                idle.put(process)

        yield from stack.enter_context(ThreadPoolExecutor(cores)).map(ask, items)


class _Process:
    """A Python process that calls one function for one item after another."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        program = f"import sys; sys.path[:] = {sys.path!r}; from bayesgmm.em.workers import serve; serve()"
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        # in a session of its own, an interrupt from the keyboard does not reach it
        self._process = subprocess.Popen([sys.executable, "-c", program], **pipes, start_new_session=True)
        self._send(work)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def ask(self, item: Any) -> Any:
        """The result for an item; an error in the process is raised here."""
        try:
            self._send(item)
            assert self._process.stdout is not None
            done, result = pickle.load(self._process.stdout)
        except (EOFError, OSError):
            raise RuntimeError(_ENDED) from None
        if not done:
            raise result
        return result

    def _send(self, what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(pickle.dumps(what))
        self._process.stdin.flush()


def serve() -> None:
    """Call the function that comes first on standard input for each item that follows, and write the results."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what the function prints goes to standard error
        work = pickle.load(sys.stdin.buffer)
        while True:
            try:
                item = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            try:
                answer = True, work(item)
            except Exception as error:
                answer = False, error
            pickle.dump(answer, answers)
            answers.flush()
