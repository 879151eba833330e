"""The steps of an allocation that depend on the kind of values: exact, with errors, in groups, in intervals, Student's t.

If values are not exact, the true values are drawn given the component and added to its sums.
"""

from __future__ import annotations

import math
from inspect import signature
from typing import Any

import numpy as np
from numba import carray
from numba.extending import overload

from bayesgmm.kernels import errors, group_steps, interval_steps, student
from bayesgmm.kernels import regroup as _regrouping
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.errors import Errors
from bayesgmm.kernels.groups import Groups
from bayesgmm.kernels.intervals import Intervals
from bayesgmm.kernels.pointers import at, copy
from bayesgmm.kernels.rows import Exact
from bayesgmm.kernels.spread import Variances
from bayesgmm.kernels.student import Student


def for_each_kind(
    step: Any, of_variances: Any, of_factors: Any, of_errors: Any, of_groups: Any, of_intervals: Any, of_student: Any = None
) -> None:
    """Overload a step, declared as a signature with a docstring, for each type of its argument ``known``.

    For exact values the version depends on the type of ``spread``. t distributions use ``of_student`` if it is given.
    """
    names = list(signature(step).parameters)
    options: Any = {"fastmath": STRICT, "error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}

    @overload(step, strict=False, jit_options=options, inline="always")
    def version(*types: Any) -> Any:
        known, spread = (types[names.index(name)].instance_class for name in ("known", "spread"))
        exact = of_variances if spread is Variances else of_factors
        others = {Errors: of_errors, Groups: of_groups, Intervals: of_intervals, Student: of_student or exact}
        return others.get(known, exact)


def begin(known: Any, spread: Any, offsets: Any, blocks: Any) -> Any:
    """State of an allocation, computed once from the components; ``offsets`` contain their log weights."""


def place_of(known: Any, spread: Any, i: Any) -> Any:
    """Index of the observation at position i."""


def fill_log_densities(
    known: Any, spread: Any, x: Any, i: Any, offsets: Any, mu: Any, blocks: Any, inverse: Any, room: Any, difference: Any,
    out: Any,
) -> Any:  # fmt: skip
    """Fill each component's log joint density at observation i; keep intermediate results for :func:`add`."""


def add(
    rng: Any, known: Any, spread: Any, i: Any, many: Any, inverse: Any, room: Any, difference: Any, j: Any, sums: Any
) -> Any:
    """Add ``many`` copies of observation i to the sums of component j, with true values or scales drawn."""


def draw(rng: Any, known: Any, spread: Any, i: Any, inverse: Any, room: Any, difference: Any, j: Any, out: Any) -> Any:
    """Draw the true row of observation i, as its deviation from the mean of component j."""


def add_moments(
    known: Any, spread: Any, i: Any, inverse: Any, room: Any, difference: Any, j: Any, mu: Any, share: Any, mean: Any,
    square: Any,
) -> Any:  # fmt: skip
    """Add mean and mean square of the true row of observation i given component j, times ``share``."""


def scales_of(known: Any, spread: Any, counts: Any) -> Any:
    """Weights (K) of the sample means in the conditionals of the means: counts, or sums of latent scales for t."""


def draw_nu(rng: Any, known: Any, spread: Any, counts: Any) -> Any:
    """Draw the degrees of freedom of components (K) given the latent scales; nothing for Gaussians."""


def move_scales(known: Any, spread: Any, j: Any, to: Any) -> Any:
    """Copy the sums of latent scales of component j to component ``to``; nothing for Gaussians."""


def kind_of_points(known: Any, spread: Any) -> Any:
    """The kind of exact values under the same components: Student for t distributions, otherwise Exact."""


def nu_of(known: Any, spread: Any, k: Any) -> Any:
    """Degrees of freedom of K components; an empty array for Gaussians."""


def regroup(
    rng: Any, known: Any, spread: Any, tied: Any, rows: Any, k: Any, prior: Any, C0: Any, tables: Any, z: Any, mu: Any,
    blocks: Any, inverse: Any, sums: Any, fitted: Any,
) -> Any:  # fmt: skip
    """Make a split-merge move; return the new k.

    With weights, errors of one feature, intervals or t distributions there is no move. For rows in groups, the true rows
    are drawn given their components, and the move is made on these.
    """


def _regroup_exact(rng, known, spread, tied, rows, k, prior, C0, tables, z, mu, blocks, inverse, sums, fitted):
    if rows.copies is None and len(rows.x) > 1:
        return _regrouping.regroup(
            rng, spread, tied, rows.x, k, prior.c0[0], prior.b0[0], prior.precision[0], C0, tables, z, mu, blocks, inverse,
            sums, fitted,
        )  # fmt: skip
    return k


def _regroup_of_groups(rng, known, spread, tied, rows, k, prior, C0, tables, z, mu, blocks, inverse, sums, fitted):
    if rows.copies is None and len(rows.x) > 1:
        room = begin(known, spread, np.zeros(k), blocks)
        x = group_steps.draw_behind(rng, known.table, known.order, room, z, mu, sums)
        return _regrouping.regroup(
            rng, spread, tied, x, k, prior.c0[0], prior.b0[0], prior.precision[0], C0, tables, z, mu, blocks, inverse, sums,
            fitted,
        )  # fmt: skip
    return k


def _regroup_nothing(rng, known, spread, tied, rows, k, prior, C0, tables, z, mu, blocks, inverse, sums, fitted):
    return k


def _begin_exact(known, spread, offsets, blocks):
    return 0


def _begin_student(known, spread, offsets, blocks):
    """Log constants of the t distributions and scratch for squared distances, (2, K); clear the sums of scales."""
    room = np.empty((2, len(offsets)))
    _begin_sums_of_scales(known.nu, known.tails, spread.n_features, room)
    return room


@compiled(fastmath=STRICT)
def _begin_sums_of_scales(nu, tails, n_features, room):
    tails[:] = 0.0
    for j in range(room.shape[1]):
        room[0, j] = student.log_constant(nu[j], n_features)


def _place_as_it_is(known, spread, i):
    return i


def _place_in_order(known, spread, i):
    return known.order[i]


def _fill_of_variances(known, spread, x, i, offsets, mu, blocks, inverse, room, difference, out):
    for j in range(len(offsets)):
        distance = 0.0
        for d in range(x.shape[1]):
            difference[j, d] = x[i, d] - mu[j, d]
            distance += difference[j, d] * difference[j, d] * inverse[j, d]
        out[j] = offsets[j] - 0.5 * distance


def _fill_of_factors(known, spread, x, i, offsets, mu, blocks, inverse, room, difference, out):
    for j in range(len(offsets)):
        factor, distance = blocks[j if len(blocks) > 1 else 0], 0.0
        for a in range(x.shape[1]):
            difference[j, a] = x[i, a] - mu[j, a]
            whitened = 0.0
            for b in range(a + 1):
                whitened += factor[a, b] * difference[j, b]
            distance += whitened * whitened
        out[j] = offsets[j] - 0.5 * distance


def _fill_of_students(known, spread, x, i, offsets, mu, blocks, inverse, room, difference, out):
    fill_log_densities(Exact(), spread, x, i, offsets, mu, blocks, inverse, 0, difference, out)
    _put_tails(known.nu, offsets, room, x.shape[1], out)


@compiled(fastmath=STRICT)
def _put_tails(nu, offsets, room, n_features, out):
    """Replace Gaussian log densities by those of t distributions, and keep the squared Mahalanobis distances."""
    for j in range(len(offsets)):
        room[1, j] = 2.0 * (offsets[j] - out[j])
        out[j] = offsets[j] + room[0, j] - 0.5 * (nu[j] + n_features) * math.log1p(room[1, j] / nu[j])


def _fill_of_errors(known, spread, x, i, offsets, mu, blocks, inverse, room, difference, out):
    for j in range(len(offsets)):
        q = errors.share(known.variances[i], inverse[j, 0])
        difference[j, 0] = x[i, 0] - mu[j, 0]
        out[j] = offsets[j] + 0.5 * math.log(q) - 0.5 * inverse[j, 0] * q * difference[j, 0] ** 2


def _add_to_variances(rng, known, spread, i, many, inverse, room, difference, j, sums):
    counts, first, second = sums
    counts[j] += many
    for d in range(first.shape[1]):
        first[j, d] += many * difference[j, d]
        second[j, d] += many * difference[j, d] * difference[j, d]


def _add_to_factors(rng, known, spread, i, many, inverse, room, difference, j, sums):
    counts, first, second = sums
    counts[j] += many
    for a in range(first.shape[1]):
        first[j, a] += many * difference[j, a]
        for b in range(a + 1):
            second[j, a, b] += many * difference[j, a] * difference[j, b]


def _add_of_students(rng, known, spread, i, many, inverse, room, difference, j, sums):
    _add_scaled(rng, known.nu, known.tails, many, room, difference[j], j, sums)


@compiled(fastmath=STRICT)
def _add_scaled(rng, nu, tails, many, room, behind, j, sums):
    """Draw latent scales of ``many`` copies; add the copies, times their scales. Compiled as :func:`_add_measured` is."""
    counts, first, second = sums
    scale, of_logs = student.draw_scale(rng, nu[j], room[1, j], len(behind), many)
    counts[j] += many
    tails[0, j] += scale
    tails[1, j] += of_logs
    size = len(behind)
    for a in range(size):
        first[j, a] += scale * behind[a]
        if second[j].size == size:
            carray(at(second[j]), (size,))[a] += scale * behind[a] * behind[a]
        else:
            for b in range(a + 1):
                carray(at(second[j]), (size, size))[a, b] += scale * behind[a] * behind[b]


def _scales_as_counted(known, spread, counts):
    return counts


def _scales_as_drawn(known, spread, counts):
    return known.tails[0]


def _draw_no_nu(rng, known, spread, counts):
    return


def _draw_nu(rng, known, spread, counts):
    _draw_nu_of(rng, known.nu, known.tails, counts)


@compiled(fastmath=STRICT)
def _draw_nu_of(rng, nu, tails, counts):
    for j in range(len(counts)):
        nu[j] = student.draw_nu(rng, nu[j], counts[j], tails[1, j])


def _move_no_scales(known, spread, j, to):
    return


def _move_scales(known, spread, j, to):
    _move_tails(known.tails, j, to)


@compiled(fastmath=STRICT)
def _move_tails(tails, j, to):
    tails[0, to], tails[1, to] = tails[0, j], tails[1, j]


def _exact_points(known, spread):
    return Exact()


def _points_of_student(known, spread):
    return known


def _no_nu(known, spread, k):
    return np.empty(0)


def _nu(known, spread, k):
    return known.nu[:k]


def _add_of_errors(rng, known, spread, i, many, inverse, room, difference, j, sums):
    q = errors.share(known.variances[i], inverse[j, 0])
    _add_measured(rng, q * difference[j, 0], q * known.variances[i], many, j, sums)


@compiled(fastmath=STRICT)
def _add_measured(rng, mean, variance, many, j, sums):
    """Add the sums of ``many`` true values of one measurement, drawn as their mean and a chi-squared scatter.

    Compiled separately, as :func:`bayesgmm.kernels.allocate._clear` is.
    """
    counts, first, second = sums
    behind = mean + math.sqrt(variance / many) * rng.standard_normal()  # mean of the copies' true values
    counts[j] += many
    first[j, 0] += many * behind
    squares = carray(at(second[j]), (1,))
    squares[0] += many * behind * behind
    if many > 1.0:
        squares[0] += variance * 2.0 * rng.standard_gamma(0.5 * (many - 1.0))


def _draw_exact(rng, known, spread, i, inverse, room, difference, j, out):
    copy(difference[j], out)


def _draw_of_errors(rng, known, spread, i, inverse, room, difference, j, out):
    q = errors.share(known.variances[i], inverse[j, 0])
    out[0] = q * difference[j, 0] + math.sqrt(q * known.variances[i]) * rng.standard_normal()


def _add_exact_moments(known, spread, i, inverse, room, difference, j, mu, share, mean, square):
    for d in range(len(mean)):
        value = mu[j, d] + difference[j, d]
        mean[d] += share * value
        square[d] += share * value * value


def _add_moments_of_errors(known, spread, i, inverse, room, difference, j, mu, share, mean, square):
    q = errors.share(known.variances[i], inverse[j, 0])
    value = mu[j, 0] + q * difference[j, 0]
    mean[0] += share * value
    square[0] += share * (value * value + q * known.variances[i])


for_each_kind(begin, _begin_exact, _begin_exact, _begin_exact, group_steps.begin, interval_steps.begin, _begin_student)
for_each_kind(regroup, *[_regroup_exact] * 2, _regroup_nothing, _regroup_of_groups, *[_regroup_nothing] * 2)
for_each_kind(scales_of, *[_scales_as_counted] * 5, _scales_as_drawn)
for_each_kind(draw_nu, *[_draw_no_nu] * 5, _draw_nu)
for_each_kind(move_scales, *[_move_no_scales] * 5, _move_scales)
for_each_kind(kind_of_points, *[_exact_points] * 5, _points_of_student)
for_each_kind(nu_of, *[_no_nu] * 5, _nu)
for_each_kind(place_of, _place_as_it_is, _place_as_it_is, _place_as_it_is, _place_in_order, _place_in_order)
for_each_kind(
    fill_log_densities,
    _fill_of_variances,
    _fill_of_factors,
    _fill_of_errors,
    group_steps.fill_log_densities,
    interval_steps.fill_log_densities,
    _fill_of_students,
)
for_each_kind(add, _add_to_variances, _add_to_factors, _add_of_errors, group_steps.add, interval_steps.add, _add_of_students)
for_each_kind(draw, _draw_exact, _draw_exact, _draw_of_errors, group_steps.draw, interval_steps.draw)
for_each_kind(
    add_moments,
    _add_exact_moments,
    _add_exact_moments,
    _add_moments_of_errors,
    group_steps.add_moments,
    interval_steps.add_moments,
)
