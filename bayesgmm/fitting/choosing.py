"""The automatic choice of an engine, and of the next one if draws have not converged.

If the posterior is near a Gaussian, NUTS is the most efficient engine, by far if there are many observations. If it is not,
or has several solutions, chains of NUTS are slow to agree. Chains of Gibbs sweeps with split-merge moves then agree in less
time, as long as a sweep is quick (benchmarks/converge.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bayesgmm.analysis.attempts import Attempt, Because, called, keep_attempts
from bayesgmm.analysis.findings import MAX_R_HAT, MIN_ESS_PER_CHAIN, sampler_trouble
from bayesgmm.analysis.quantities import invariant_summary
from bayesgmm.analysis.reading import Reading
from bayesgmm.em.result import EMResult
from bayesgmm.engines.interface import Sampled
from bayesgmm.engines.phases import Phases
from bayesgmm.engines.problem import Problem
from bayesgmm.engines.starts import Optimum, nearness
from bayesgmm.fitting.asked import Asked
from bayesgmm.fitting.drawing import Drawn, by_gibbs, by_laplace, by_nuts, sampled_by
from bayesgmm.fitting.finishing import assembled
from bayesgmm.posterior import SummedPosterior

_AFFORDABLE = 1_500_000  # observations x components x features up to which Gibbs sampling takes a minute or two
_LONGER = 4, 16  # factors on burn-in and thinning of a longer Gibbs run: least and largest
_BRIEF = 0.2  # factor on burn-in and thinning of the first Gibbs run of one of many fits
_MARGIN = 2  # times the effective sample size that is needed
_FEW = 20_000  # observations x components x features up to which NUTS is tried if Gibbs has failed
_FEWEST = 1_000  # draws needed to judge convergence


@dataclass(frozen=True)
class _Turn:
    """An engine, why it is tried, and a function that returns draws with their settings, or why there are none."""

    method: str
    because: Because
    draw: Callable[[], Drawn | str]


@dataclass(frozen=True)
class _Kept:
    attempt: Attempt
    reading: Reading
    sampled: Sampled


def drawn(
    asked: Asked, em: EMResult, problem: Problem, optima: Sequence[Optimum] | None, phases: Phases
) -> tuple[Reading, Sampled]:
    """Draws by the engine that the user chose, or by the first suitable engine whose draws have converged without trouble.

    If there is no such engine, the best draws are kept (:func:`_rank`). The tree's attributes record what was tried.
    """
    if not asked.chooses or optima is None:
        sampled, settings = sampled_by(asked, em, problem, optima, phases)
        return Reading(assembled(asked, em, problem, sampled, settings)).of_data(asked.data), sampled
    attempts: list[Attempt] = []
    best: _Kept | None = None
    failure: ValueError | None = None
    interrupted, can_tell = False, asked.options.chains > 1 and asked.options.chains * asked.options.draws >= _FEWEST
    for turn in _in_turn(asked, em, problem, optima, attempts, phases):
        if attempts:
            phases.say(f"{attempts[-1].outcome} ({attempts[-1].seconds:.1f} s); next: {called(turn.method, turn.because)}")
        began = time.perf_counter()
        try:
            found = turn.draw()
        except KeyboardInterrupt:
            if best is None:
                raise
            interrupted = True
            break
        except ValueError as error:  # it could not begin, or has collapsed
            phases.say(f"{called(turn.method, turn.because)} failed: {error}")
            failure = failure or error
            continue
        if isinstance(found, str):
            phases.say(found)
            continue
        sampled, settings = found
        interrupted = sampled.interrupted
        if interrupted and best is not None:
            break
        reading = Reading(assembled(asked, em, problem, sampled, settings)).of_data(asked.data)
        attempts.append(_judged(turn, reading, time.perf_counter() - began))
        if best is None or _rank(attempts[-1]) > _rank(best.attempt):
            best = _Kept(attempts[-1], reading, sampled)
        if attempts[-1].sound or interrupted or not can_tell:
            break
    if best is None:
        assert failure is not None
        raise failure
    best.reading.tree.attrs["interrupted"] = int(interrupted)
    keep_attempts(best.reading.tree, [replace(each, kept=each is best.attempt) for each in attempts])
    return best.reading, replace(best.sampled, interrupted=interrupted)


def _judged(turn: _Turn, reading: Reading, seconds: float) -> Attempt:
    """The record of an attempt: R-hat, effective sample size, convergence and trouble of its draws."""
    if turn.method == "laplace":  # independent draws, certified by their weights
        worth = float(reading.tree.attrs["importance_efficiency"] * len(reading.draws.w))
        return Attempt(turn.method, turn.because, seconds, None, worth, converged=True)
    found, chains = reading.ask(invariant_summary), reading.draws.n_chains
    r_hat, ess = float(found["r_hat"].max()), float(found[["ess_bulk", "ess_tail"]].min(axis=None))
    converged = chains > 1 and r_hat <= MAX_R_HAT and ess >= MIN_ESS_PER_CHAIN * chains
    return Attempt(turn.method, turn.because, seconds, r_hat, ess, converged, sampler_trouble(reading.tree))


def _rank(attempt: Attempt) -> tuple[bool, bool, bool, float]:
    """Sort key, larger for better draws. If chains agree, the effective sample size decides, else R-hat."""
    r_hat = 1.0 if attempt.r_hat is None else attempt.r_hat
    agree = r_hat <= MAX_R_HAT
    return attempt.sound, attempt.converged, agree, attempt.ess if agree else -r_hat


def _in_turn(
    asked: Asked, em: EMResult, problem: Problem, optima: Sequence[Optimum], attempts: Sequence[Attempt], phases: Phases
) -> Iterator[_Turn]:
    """The engines in turn. The length of a run depends on the attempts before."""
    own = problem.own
    assert own is not None
    if asked.options.method == "laplace":
        because: Because = "fits" if asked.one_of_many else "many"
        yield _Turn("laplace", because, lambda: by_laplace(asked, em, problem, optima, phases))
    if isinstance(own, SummedPosterior):
        yield _Turn("nuts", "passes", lambda: by_nuts(asked, problem, optima, phases))
        return
    with phases("geometry", None):
        known = nearness(own, optima)
    near = known.near and asked.options.method != "laplace"  # a failure of "laplace" shows that it is not near
    nuts = partial(by_nuts, asked, problem, optima, phases, known)
    begin = _BRIEF if asked.one_of_many else 1
    gibbs = partial(by_gibbs, asked, problem, optima, phases, times=begin)
    operations = own.work * asked.k
    shape: Because = "near" if near else "far" if known.approximation is not None and len(optima) == 1 else "several"
    if near or operations > _AFFORDABLE:
        yield _Turn("nuts", shape, nuts)
        if operations > _AFFORDABLE:
            return
        yield _Turn("gibbs", "instead", gibbs)
    else:
        yield _Turn("gibbs", shape, gibbs)
    least, most = _LONGER
    if attempts and attempts[-1].method == "gibbs" and least * operations <= _AFFORDABLE:
        wanted = _MARGIN * MIN_ESS_PER_CHAIN * asked.options.chains / max(attempts[-1].ess, 1.0)
        times = min(int(np.clip(wanted, least, most)), _AFFORDABLE // operations)
        yield _Turn("gibbs", "longer", partial(gibbs, times=begin * times))
    if not near and operations <= _FEW:
        yield _Turn("nuts", "instead", nuts)
