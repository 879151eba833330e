"""The steps of an allocation that depend on the kind of values: exact, with errors, in groups, in intervals, Student's t.

If values are not exact, the true values are drawn given the component and added to its sums. Groups (:mod:`.groups`) use
conditioning by simulation: with x* ~ N(0, Sigma) and e* ~ N(0, E), the true row is mu + x* + A (d - x*_o - e*). Its
deviation from mu has mean A d and covariance Sigma - A Sigma_o.

References
----------
Journel & Huijbregts (1978), Mining Geostatistics, section VII.A. ISBN 978-0-12-391050-9
"""

from __future__ import annotations

import math
from inspect import signature
from typing import Any

import numpy as np
from numba import carray
from numba.extending import overload

from bayesgmm.kernels import errors, groups, intervals, steps, student
from bayesgmm.kernels import regroup as _regrouping
from bayesgmm.kernels.blocks import HALF_LOG_2PI, ROOT_HALF
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.errors import Errors
from bayesgmm.kernels.groups import Groups
from bayesgmm.kernels.intervals import Intervals
from bayesgmm.kernels.pointers import at, copy, pointer
from bayesgmm.kernels.rows import Exact
from bayesgmm.kernels.spread import Variances
from bayesgmm.kernels.student import Student

SUMMED = 1_000.0  # copies of a row beyond which their sum is drawn as normal: its skewness is at most .06


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
    rng: Any, known: Any, spread: Any, tied: Any, rows: Any, k: Any, c0: Any, b0: Any, inverse_B0: Any, C0: Any, tables: Any,
    z: Any, mu: Any, blocks: Any, inverse: Any, sums: Any,
) -> Any:  # fmt: skip
    """Make a split-merge move; return the new k.

    With weights, errors of one feature, intervals or t distributions there is no move. For rows in groups, the true rows
    are drawn given their components, and the move is made on these.
    """


def _regroup_exact(
    rng, known, spread, tied, rows, k, c0, b0, inverse_B0, C0, tables, z, mu, blocks, inverse, sums
):  # fmt: skip
    if rows.copies is None and len(rows.x) > 1:
        return _regrouping.regroup(
            rng, spread, tied, rows.x, k, c0, b0, inverse_B0, C0, tables, z, mu, blocks, inverse, sums
        )
    return k


def _regroup_of_groups(
    rng, known, spread, tied, rows, k, c0, b0, inverse_B0, C0, tables, z, mu, blocks, inverse, sums
):  # fmt: skip
    if rows.copies is None and len(rows.x) > 1:
        room = begin(known, spread, np.zeros(k), blocks)
        x = _draw_behind(rng, known.table, known.order, room, z, mu, sums)
        return _regrouping.regroup(rng, spread, tied, x, k, c0, b0, inverse_B0, C0, tables, z, mu, blocks, inverse, sums)
    return k


@compiled(fastmath=STRICT)
def _draw_behind(rng, table, order, room, z, mu, sums):
    """Draw the true rows (n, D) of rows in groups, given their components; replace the sums by those of the new rows."""
    (k, n_features), (_, first, second) = (len(room[2]), mu.shape[1]), sums
    x, current = np.zeros((len(z), n_features)), room[3]
    first[:k], second[:k] = 0.0, 0.0
    for i in range(len(z)):
        _enter_group(table, i, room)
        row, group = order[i], table[current[0]]
        j = z[row]
        if j < 0:
            continue
        _fill_white(group, i, mu, room, j)
        behind = _draw_of_group(rng, table, room, j)
        _add_row(behind, first[j], second[j])
        for d in range(n_features):
            x[row, d] = mu[j, d] + behind[d]
    return x


def _regroup_nothing(
    rng, known, spread, tied, rows, k, c0, b0, inverse_B0, C0, tables, z, mu, blocks, inverse, sums
):  # fmt: skip
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


def _begin_groups(known, spread, offsets, blocks):
    k, size = len(offsets), spread.n_features
    roots, covariances, log_w = np.empty((k, size, size)), np.empty((k, size, size)), np.empty(k)
    groups.fill_coefficients(offsets, steps.whiteners_of(spread, k, blocks), roots, covariances, log_w)
    current = np.empty(1, np.int64)
    current[0] = -1
    matrices = np.empty((3, k, size, size))  # C, C^-1 and W of the current group
    vectors = np.empty((k + 3, size))  # C^-1 d of each component, and scratch
    return roots, covariances, log_w, current, matrices, np.empty(k), vectors, np.empty((size, size)), np.ones(size)


def _begin_intervals(known, spread, offsets, blocks):
    k, size = len(offsets), spread.n_features
    whiteners = steps.whiteners_of(spread, k, blocks)
    h, log_scale, unit, no_moments = np.empty((k, size)), np.empty((k, size)), np.empty((2, size)), np.empty((0, size))
    for j in range(k):
        for d in range(size):
            h[j, d] = whiteners[j, d, d if whiteners.shape[2] > 1 else 0]
    intervals.fill_scales(h, log_scale)
    unit[0], unit[1] = 0.0, 1.0
    return h, log_scale, unit, no_moments, np.empty(size), np.empty(k)


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


def _fill_of_intervals(known, spread, x, i, offsets, mu, blocks, inverse, room, difference, out):
    h, log_scale, unit, no_moments, _, kept = room
    if i == 0 or not intervals.are_alike(known.ends, i - 1, i):
        low, high = known.ends[0, i], known.ends[1, i]
        intervals.fill_row(low, high, unit[0], unit[1], offsets, mu, h, log_scale, kept, no_moments, no_moments)
        for j in range(len(offsets)):
            copy(mu[j], difference[j])
    copy(kept, out)


def _fill_of_groups(known, spread, x, i, offsets, mu, blocks, inverse, room, difference, out):
    _fill_of_one(known.table, i, mu, room, out)


@compiled(fastmath=STRICT)
def _fill_of_one(table, i, mu, room, out):
    log_w, current, log_determinants = room[2], room[3], room[5]
    _enter_group(table, i, room)
    group = table[current[0]]
    for j in range(len(log_w)):
        distance = _fill_white(group, i, mu, room, j)
        out[j] = log_w[j] - group[2] * HALF_LOG_2PI - log_determinants[j] - 0.5 * distance


@compiled(fastmath=STRICT)
def _enter_group(table, i, room):
    """If observation i begins the next group, make that the current one; i must increase in steps of one."""
    _, covariances, log_w, current, matrices, log_determinants, _, of_errors, unit = room
    if current[0] + 1 < len(table) and i == table[current[0] + 1, 0]:
        current[0] += 1
        group = table[current[0]]
        for j in range(len(log_w)):
            log_determinants[j] = groups.fill_marginal(covariances[j], group, unit, matrices[0, j], matrices[1, j])
            groups.fill_gain(covariances[j], group, matrices[1, j], matrices[2, j])
        groups.fill_root_of_errors(group, of_errors)


@compiled(fastmath=STRICT)
def _fill_white(group, i, mu, room, j):
    """Fill C^-1 d of component j for observation i of the current group; return its squared length."""
    matrices, vectors, size = room[4], room[6], group[2]
    values, distance = carray(pointer(group[3]), (group[1] - group[0], size))[i - group[0]], 0.0
    for a in range(size):
        white = 0.0
        for b in range(a + 1):
            white += matrices[1, j, a, b] * (values[b] - mu[j, group[groups.AHEAD + b]])
        vectors[j, a] = white
        distance += white * white
    return distance


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


def _add_of_intervals(rng, known, spread, i, many, inverse, room, difference, j, sums):
    _add_bounded(rng, known.ends, i, many, room[0][j], room[4], difference[j], j, sums)


@compiled(fastmath=STRICT)
def _add_bounded(rng, ends, i, many, h, behind, mu, j, sums):
    """Draw and add ``many`` true rows of row i. Compiled separately, as :func:`_add_measured` is."""
    counts, first, second = sums
    counts[j] += many
    if many > SUMMED:
        _add_many(rng, ends[0, i], ends[1, i], many, mu, h, behind, first[j], second[j])
        return
    for _ in range(int(many)):
        _draw_of_row(rng, ends[0, i], ends[1, i], mu, h, behind)
        _add_row(behind, first[j], second[j])


@compiled(fastmath=STRICT)
def _add_many(rng, lower, upper, many, mu, h, sums, first, second):
    """Add ``many`` true rows of one row of intervals, drawing only their sums; cross products are those of the means."""
    size = len(mu)
    for a in range(size):
        sd, distance = ROOT_HALF / h[a], lower[a] - mu[a]
        sums[a], square = many * distance, many * distance * distance
        if lower[a] != upper[a]:
            sums[a], square = intervals.draw_sums(rng, distance / sd, (upper[a] - mu[a]) / sd, many)
            sums[a], square = sd * sums[a], sd * sd * square
        first[a] += sums[a]
        if second.size == size:
            carray(at(second), (size,))[a] += square
        else:
            for b in range(a):
                carray(at(second), (size, size))[a, b] += sums[a] * sums[b] / many
            carray(at(second), (size, size))[a, a] += square


@compiled(fastmath=STRICT)
def _draw_of_row(rng, lower, upper, mu, h, behind):
    """Draw a true row within one row of intervals, as its deviation from the mean of its component."""
    for d in range(len(behind)):
        behind[d] = lower[d] - mu[d]
        if lower[d] != upper[d]:
            sd = ROOT_HALF / h[d]
            behind[d] = sd * intervals.draw_between(rng, behind[d] / sd, (upper[d] - mu[d]) / sd)


def _add_of_groups(rng, known, spread, i, many, inverse, room, difference, j, sums):
    _add_in_group(rng, known.table, many, room, j, sums)


@compiled(fastmath=STRICT)
def _add_in_group(rng, table, many, room, j, sums):
    """Draw and add ``many`` true rows of the current observation. Compiled separately, as :func:`_add_measured` is."""
    counts, first, second = sums
    counts[j] += many
    for _ in range(int(many)):
        _add_row(_draw_of_group(rng, table, room, j), first[j], second[j])


@compiled(fastmath=STRICT)
def _add_row(behind, first, second):
    """Add a deviation to the first and second moments of its component: squares, or the lower triangle of products."""
    size = len(behind)
    for a in range(size):
        first[a] += behind[a]
        if second.size == size:
            carray(at(second), (size,))[a] += behind[a] * behind[a]
        else:
            for b in range(a + 1):
                carray(at(second), (size, size))[a, b] += behind[a] * behind[b]


@compiled(fastmath=STRICT)
def _draw_of_group(rng, table, room, j):
    """Draw the true row of the current observation, as its deviation from the mean of component j."""
    roots, _, log_w, current, matrices, _, vectors, of_errors, _ = room
    group, k = table[current[0]], len(log_w)
    size, n_features = group[2], roots.shape[1]
    noise, behind, known = vectors[k], vectors[k + 1], vectors[k + 2]
    for d in range(n_features):
        noise[d] = rng.standard_normal()
        behind[d] = 0.0
        for e in range(d + 1):
            behind[d] += roots[j, d, e] * noise[e]
    for a in range(size):
        known[a] = behind[group[groups.AHEAD + a]]
    if group[4] != 0:
        for a in range(size):
            noise[a] = rng.standard_normal()
            for b in range(a + 1):
                known[a] += of_errors[a, b] * noise[b]
    for a in range(size):
        white = vectors[j, a]
        for b in range(a + 1):
            white -= matrices[1, j, a, b] * known[b]
        for d in range(n_features):
            behind[d] += matrices[2, j, a, d] * white
    return behind


def _draw_exact(rng, known, spread, i, inverse, room, difference, j, out):
    copy(difference[j], out)


def _draw_of_errors(rng, known, spread, i, inverse, room, difference, j, out):
    q = errors.share(known.variances[i], inverse[j, 0])
    out[0] = q * difference[j, 0] + math.sqrt(q * known.variances[i]) * rng.standard_normal()


def _draw_of_intervals(rng, known, spread, i, inverse, room, difference, j, out):
    _draw_of_row(rng, known.ends[0, i], known.ends[1, i], difference[j], room[0][j], out)


def _draw_of_groups(rng, known, spread, i, inverse, room, difference, j, out):
    copy(_draw_of_group(rng, known.table, room, j), out)


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


def _add_moments_of_intervals(known, spread, i, inverse, room, difference, j, mu, share, mean, square):
    for d in range(len(mean)):
        first, second = _moments_between(known.ends[0, i, d], known.ends[1, i, d], mu[j, d], room[0][j, d])
        mean[d] += share * (mu[j, d] + first)
        square[d] += share * (mu[j, d] * (mu[j, d] + 2.0 * first) + second)


@compiled(fastmath=STRICT)
def _moments_between(lower, upper, mu, h):
    """Mean and mean square of the distance from mu of the value between two ends, if it is of that component."""
    distance, sd = lower - mu, ROOT_HALF / h
    if lower == upper:
        return distance, distance * distance
    _, first, second = intervals.moments(distance / sd, (upper - mu) / sd, (upper - lower) / sd)
    return sd * first, sd * sd * second


def _add_moments_of_groups(known, spread, i, inverse, room, difference, j, mu, share, mean, square):
    _add_moments_of_group(known.table, room, j, mu, share, mean, square)


@compiled(fastmath=STRICT)
def _add_moments_of_group(table, room, j, mu, share, mean, square):
    covariances, current, matrices, vectors = room[1], room[3], room[4], room[6]
    size = table[current[0], 2]
    for d in range(len(mean)):
        value, variance = mu[j, d], covariances[j, d, d]
        for a in range(size):
            value += matrices[2, j, a, d] * vectors[j, a]
            variance -= matrices[2, j, a, d] * matrices[2, j, a, d]
        mean[d] += share * value
        square[d] += share * (value * value + max(variance, 0.0))


for_each_kind(begin, _begin_exact, _begin_exact, _begin_exact, _begin_groups, _begin_intervals, _begin_student)
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
    _fill_of_groups,
    _fill_of_intervals,
    _fill_of_students,
)
for_each_kind(add, _add_to_variances, _add_to_factors, _add_of_errors, _add_of_groups, _add_of_intervals, _add_of_students)
for_each_kind(draw, _draw_exact, _draw_exact, _draw_of_errors, _draw_of_groups, _draw_of_intervals)
for_each_kind(
    add_moments,
    _add_exact_moments,
    _add_exact_moments,
    _add_moments_of_errors,
    _add_moments_of_groups,
    _add_moments_of_intervals,
)
