"""Rows to be read in passes or in memory, and a check that two posteriors agree."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

import bayesgmm as bg
from tests.statistics import assert_same_means, rng

N = 30_000  # more than are read into memory
QUIET = {"progressbar": False, "random_seed": 1}
ONE = bg.Mixture([0.3, 0.5, 0.2], [0.0, 10.0, 3.0], sigma=[1.0, 1.0, 1.0])
THREE = bg.Mixture([0.6, 0.4], [[0.0, 0.0, 0.0], [4.0, 2.0, 1.0]], np.array([np.eye(3), np.eye(3) + 0.5]))


def rows_of(mixture, n=N, seed=3):
    return mixture.sample(n, rng(seed))[0]


def assert_same_posterior(one, other, names=("w", "mu")):
    for name in names:
        drawn = [tree["posterior"][name].values.reshape(*tree["posterior"][name].shape[:2], -1) for tree in (one, other)]
        for i in range(drawn[0].shape[2]):
            found = [(each[..., i].mean(), array_stats.mcse(each[..., i], chain_axis=0, draw_axis=1)) for each in drawn]
            assert_same_means(*found[0], *found[1], f"{name}, {i}")
            assert drawn[0][..., i].std() == pytest.approx(drawn[1][..., i].std(), rel=0.15)
