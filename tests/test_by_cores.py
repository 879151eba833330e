"""Sums on several cores equal those on one core, and are the same on any machine."""

import os

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.data import by_cores as cores
from bayesgmm.data.observations import Observations
from tests.rows import rows
from tests.statistics import rng


def seen(kind):
    if kind == "weights, labels and noise":
        x = rng(0).standard_normal((101, 2))
        weight, labels = rng(1).uniform(0, 3, 101), np.where(np.arange(101) % 7, -1, np.arange(101) % 2)
        return Observations(x, weight=weight, labels=labels).with_noise(-3.0)
    x, error = rows(kind, 3, n=101)
    return Observations(x, error=error, missing="at_random")


@pytest.mark.parametrize("kind", ["exact", "gaps", "errors", "gaps and covariances", "weights, labels and noise"])
def test_sums_are_those_of_one_core(monkeypatch, kind):
    monkeypatch.setattr(cores, "_ENOUGH", 100)
    data = seen(kind)
    d = data.n_features
    together, units = cores.by_cores(data, 2), data.units(one_unit=False)
    assert together is not data
    weights = [0.2, 0.5, 0.3] if data.known.noise is not None else [0.4, 0.6]
    place = np.array(weights), rng(2).standard_normal((2, d)), np.broadcast_to(np.eye(d), (2, d, d)).copy()
    for one, other in zip(data.sums(*place, units=units), together.sums(*place, units=units), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)


def test_em_is_the_same_to_the_last_bit_on_any_number_of_cores(monkeypatch):
    monkeypatch.setattr(cores, "_ENOUGH", 100)
    x, _, _ = bg.datasets.three_gaussians(n=3_000)
    found = []
    for n_cores in (1, 3, 3):
        monkeypatch.setattr(os, "cpu_count", lambda n_cores=n_cores: n_cores)
        found.append(bg.fit_em(x, 3, random_seed=1))
    for other in found[1:]:
        np.testing.assert_array_equal(other.history, found[0].history)
        for mine, wanted in zip(other.mixture.parameters, found[0].mixture.parameters, strict=True):
            np.testing.assert_array_equal(mine, wanted)


def test_few_rows_and_those_with_workers_are_left_alone():
    data = Observations.read(np.arange(10.0))
    assert cores.by_cores(data, 2) is data
