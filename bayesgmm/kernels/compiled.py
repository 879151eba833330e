"""Compilation by numba: announced when it happens, and cached on disk, or only in memory if the disk is not writable."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import config, event, sigutils
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock

from bayesgmm.arguments import FloatArray

STRICT = {"contract"}  # allows fused multiply-add, nothing else
SUMS = {"contract", "reassoc", "nsz"}  # allows reordered sums, so that they are vectorised
_PAUSE = 0.3  # seconds without compilation after which it is announced again
_PATIENCE = 120.0  # seconds to wait for another process that compiles the same function


def compiled(*, fastmath: set[str], inline: bool = False, forceinline: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function at its first call. It runs without the GIL.

    ``inline`` puts it into its caller, under the caller's flags.

    A sum in a separate function may round differently in new code than in the same code from the cache. Each caller brings
    its own optimised version, and the linker takes the first that it meets. ``forceinline`` avoids this: the function
    becomes a part of its caller, under its own flags.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        options: dict[str, Any] = {"fastmath": fastmath, "error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}
        options |= {"forceinline": forceinline}
        return _with_cache(numba.njit(**options, inline="always" if inline else "never")(function), function)

    return decorate


def c_callback(signature: Any, function: Callable[..., Any], *, fastmath: set[str]) -> Any:
    """Compile a C callback immediately; its machine code is at ``.address``."""
    options = {"fastmath": fastmath, "error_model": "numpy"}
    callback = CFunc(function, sigutils.normalize_signature(signature), {}, options)
    _with_cache(callback, function).compile()
    return callback


def given(array: Any) -> FloatArray:
    """A contiguous, read-only view, so that every array of a user has the type that the code is compiled for."""
    view = np.ascontiguousarray(array, dtype=float).view()
    view.flags.writeable = False
    return view


def _with_cache(target: Any, function: Callable[..., Any]) -> Any:
    try:
        target._cache = saved = _Cache(function)
    except RuntimeError:  # numba found no directory to write to
        _say("compiled code cannot be saved, so every process compiles it again (NUMBA_CACHE_DIR may name a directory)")
        return target
    compile_now = target.compile

    def compile_once(*signature: Any) -> Any:
        with global_compiler_lock:
            try:
                return compile_now(*signature)
            finally:  # also if compilation is interrupted
                saved.end_turn()

    target.compile = compile_once
    return target


class _Cache(FunctionCache):
    """numba's cache on disk, with two problems solved.

    numba checks the source file of a function, but not those of the functions that it calls. Here all of them are checked.

    If two processes compile the same function for different arguments, one may save its code under the other's name. Here
    processes take turns: a lock is held from the failed look-up until the code is saved. So each function is compiled once.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._lock_file = Path(self.cache_path) / f"{self._impl.filename_base}.lock"
        self._turn: Any = None  # the lock, while it is held
        self._saves = True

    def _index_key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(signature, codegen), _sources(), config.BOUNDSCHECK)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        found = super().load_overload(signature, target_context)
        if found is None and self._saves and self._turn is None:
            self._begin_turn()
            found = super().load_overload(signature, target_context)
        return found

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            if self._saves:
                super().save_overload(signature, data)
        except OSError as error:  # a full disk
            _say_unsaved(error)

    def _begin_turn(self) -> None:
        """Wait for the lock; without it nothing is saved, because two processes could mix up their code."""
        from filelock import FileLock, Timeout  # a slow import, not needed if everything is cached

        turn = FileLock(self._lock_file, thread_local=False)
        try:
            self._impl.locator.ensure_cache_path()
            try:
                turn.acquire(timeout=_PAUSE)
            except Timeout:
                _print("another process is compiling the same functions; waiting for it")
                turn.acquire(timeout=_PATIENCE)
        except Timeout:  # the other process hangs, or has been stopped
            self._saves = False
        except (OSError, NotImplementedError) as error:  # a full disk, or a file system without locks
            self._saves = False
            _say_unsaved(error)
        else:
            self._turn = turn

    def end_turn(self) -> None:
        """Release the lock, if it is held."""
        if self._turn is not None:
            self._turn.release()
            self._turn = None


@cache
def _sources() -> str:
    """Digest of all modules with compiled functions: those in ``kernels``, and others that mention this module."""
    kernels = Path(__file__).parent
    sources = [(path, path.read_bytes()) for path in sorted(kernels.parent.rglob("*.py"))]
    ours = (text for path, text in sources if path.parent == kernels or b"bayesgmm.kernels.compiled" in text)
    return hashlib.sha256(b"".join(ours)).hexdigest()


class _Announcer(event.Listener):
    """Announce compilation, once for functions that follow each other; one compilation may start others (``depth``)."""

    def __init__(self) -> None:
        self.announced, self.depth, self.began, self.ended, self.spent = False, 0, 0.0, -np.inf, 0.0

    def on_start(self, started: Any) -> None:
        ours = str(started.data["dispatcher"].py_func.__module__).startswith("bayesgmm.")
        now = time.monotonic()
        if ours and not self.depth and (not self.announced or now - self.ended > _PAUSE):
            first = "for this machine (up to a minute, at first use only)"
            _print(f"compiling {f'further functions ({self.spent:.0f} s so far)' if self.announced else first}")
            self.announced = True
        if not self.depth:
            self.began = now if ours else np.inf
        self.depth += 1

    def on_end(self, ended: Any) -> None:
        self.depth -= 1
        self.ended = time.monotonic()
        if not self.depth:
            self.spent += max(self.ended - self.began, 0.0)


def _say_unsaved(error: Exception) -> None:
    _say(f"compiled code cannot be saved ({getattr(error, 'strerror', None) or error}), so every process compiles it again")


@cache
def _say(text: str) -> None:
    """Print a text at most once in a process."""
    _print(text)


def _print(text: str) -> None:
    print(f"bayesgmm: {text} ...", file=sys.stderr, flush=True)


event.register("numba:compile", _Announcer())
