"""Assignments of many draws at once equal SciPy's, also with ties, and membership reordered by them has the same sums."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from bayesgmm.kernels.assignments import add_in_order, assign_each, harden
from tests.statistics import rng

COSTS = {
    "real": lambda generator, shape: generator.normal(size=shape),
    "full of ties": lambda generator, shape: generator.integers(0, 3, shape).astype(float),
    "with some forbidden": lambda generator, shape: np.where(
        generator.random(shape) < 0.3, 1e9, generator.normal(size=shape)
    ),
    "all equal": lambda _, shape: np.ones(shape),
}


@pytest.mark.parametrize("kind", COSTS)
@pytest.mark.parametrize("k", [1, 2, 3, 6, 12])
def test_assignments_are_scipys(kind, k):
    costs = COSTS[kind](rng(k), (500, k, k))
    orders = np.empty((500, k), dtype=np.int64)
    assign_each(costs, orders)
    np.testing.assert_array_equal(orders, [linear_sum_assignment(each)[1] for each in costs])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_whatever_the_costs_are_there_is_an_assignment(value):
    costs = np.full((2, 4, 4), value)
    costs[1, 0] = 1.0
    orders = np.empty((2, 4), dtype=np.int64)
    assign_each(costs, orders)
    assert (np.sort(orders, axis=1) == np.arange(4)).all()


def test_membership_is_summed_in_the_orders_that_fit_a_target():
    generator, k, n = rng(1), 3, 700
    membership, target = generator.dirichlet(np.ones(k + 1), (5, n)), generator.normal(size=(n, k))
    forbidden = np.where(np.arange(k)[:, None] + np.arange(k) == 3, -1e3, 0.0)
    orders, total = np.empty((5, k), dtype=np.int64), np.zeros((n, k))
    add_in_order(membership, target, forbidden, orders, total)
    expected = [linear_sum_assignment(target.T @ each[:, :k] + forbidden, maximize=True)[1] for each in membership]
    np.testing.assert_array_equal(orders, expected)
    np.testing.assert_allclose(
        total, sum(each[:, order] for each, order in zip(membership, expected, strict=True)), rtol=1e-13
    )
    again = np.zeros((n, k))
    add_in_order(membership, np.empty((0, k)), forbidden, orders, again)
    np.testing.assert_array_equal(again, total)


def test_the_most_probable_are_all_that_are_so():
    shares = np.array([[[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [1.0, 0.0, 0.0]]])
    harden(shares)
    np.testing.assert_array_equal(shares, [[[0, 1, 0], [1, 1, 0], [1, 0, 0]]])
