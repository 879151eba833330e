"""NUTS on observations that are read in passes: one pass evaluates the density for all chains."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayesgmm.arguments import FloatArray
from bayesgmm.engines.compiled_target import POINT, CompiledTarget
from bayesgmm.engines.interface import Start
from bayesgmm.engines.laplace import laplace
from bayesgmm.engines.nuts import Geometry
from bayesgmm.engines.starts import Optimum, about_mode, deal
from bayesgmm.posterior import SummedPosterior

_GRACE = 0.02, 0.002  # time that the first chain waits for the others: share of a pass, and seconds at least
_SPREAD = 0.5  # spread of starts around a mode, in standard deviations of Laplace's approximation
_STEPS = 8  # leapfrog steps of a draw, roughly, in whitened coordinates

Answer = tuple[float, FloatArray]


@dataclass
class _Question:
    point: FloatArray
    answer: Answer | BaseException | None = None


class Together:
    """Evaluates in one call the points that several threads pass at about the same time.

    The first thread waits a little for the others, because chains that are still sampling pass their next point almost at
    once. It then evaluates all points.
    """

    def __init__(self, answers: Callable[[FloatArray], tuple[FloatArray, FloatArray]], askers: int) -> None:
        self._answers, self._askers = answers, askers
        self._changed = threading.Condition()
        self._asked: list[_Question] = []
        self._busy, self._seconds = False, 0.0

    def __call__(self, point: FloatArray) -> Answer:
        """Value and gradient at a point."""
        mine = _Question(np.array(point))
        with self._changed:
            self._asked.append(mine)
            self._changed.notify_all()
            self._changed.wait_for(lambda: mine.answer is not None or not self._busy)
            if mine.answer is None:
                self._busy = True
                patience = max(_GRACE[0] * self._seconds, _GRACE[1])
                self._changed.wait_for(lambda: len(self._asked) >= self._askers, patience)
        if mine.answer is None:
            self._answer()
        if isinstance(mine.answer, BaseException):
            raise mine.answer
        assert mine.answer is not None
        return mine.answer

    def _answer(self) -> None:
        """Evaluate the points of all threads that wait."""
        with self._changed:
            questions, self._asked = self._asked, []
        begin = time.perf_counter()
        answers: Sequence[Answer | BaseException]
        try:
            answers = list(zip(*self._answers(np.array([each.point for each in questions])), strict=True))
        except BaseException as error:  # every thread raises it
            answers = [error] * len(questions)
        with self._changed:
            for question, answer in zip(questions, answers, strict=True):
                question.answer = answer
            self._busy, self._seconds = False, time.perf_counter() - begin
            self._changed.notify_all()


@dataclass(frozen=True)
class SummedTarget(CompiledTarget):
    """The posterior of observations that are read in passes, with one pass for all chains."""

    log_posterior: SummedPosterior
    chains: int = field(kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_together", Together(self.log_posterior.evaluated, self.chains))

    def for_nuts(self, start: Start) -> Any:
        """A nutpie model for a chain that begins at this start and shares its passes with the others."""
        from nutpie.compiled_pyfunc import from_pyfunc

        whitening, together, size = start.whitening, self.__dict__["_together"], self.log_posterior.n_dim

        def at(noise: FloatArray) -> FloatArray:
            return np.array(noise) if whitening is None else whitening.mean + whitening.factor @ noise

        def log_density(noise: FloatArray) -> Answer:
            value, gradient = together(at(noise))
            return float(value), gradient if whitening is None else whitening.factor.T @ gradient

        return from_pyfunc(
            size,
            lambda: log_density,
            lambda *_: lambda noise: {POINT: at(noise)},
            [np.dtype(float)],
            [(size,)],
            [POINT],
            make_initial_point_fn=start.initial,
        )


def geometry_in_passes(own: SummedPosterior, optima: Sequence[Optimum], chains: int, seed: int) -> Geometry:
    """Starts around the modes, in coordinates that Laplace's approximations there whiten."""
    rng, starts = np.random.default_rng(seed), []
    approximations = {i: optima[i].approximation or laplace(own, optima[i].point) for i in set(deal(optima, chains))}
    for i in deal(optima, chains):
        starts.append(Start(about_mode(own, approximations[i], _SPREAD, rng), approximations[i]))
    return Geometry("whitened", 200, 0.8, 1, starts)


def passes_of(steps: int) -> str:
    """The number of passes of a run with this many steps of each chain, in words."""
    return f"some {_STEPS * steps} passes, one for a step of all chains"
