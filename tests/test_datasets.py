"""The data are the published ones."""

import numpy as np
import pytest

from bayesgmm import datasets


def test_galaxies_are_roeders():
    x = datasets.galaxies()
    assert x.name == "velocity"
    assert len(x) == 82
    assert x.iloc[77] == 26.960  # MASS has 26.690 here
    assert (x.min(), x.max()) == (9.172, 34.279)
    assert x.mean() == pytest.approx(20.8315, abs=5e-5)


def test_old_faithful_is_azzalini_and_bowmans():
    data = datasets.old_faithful()
    assert list(data.columns) == ["eruptions", "waiting"]
    assert data.shape == (272, 2)
    assert data["eruptions"].mean() == pytest.approx(3.487783, abs=1e-6)
    assert data["waiting"].mean() == pytest.approx(70.897059, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "weights", "means", "sigma"),
    [
        ("two_gaussians", [0.25, 0.75], [5, 10], [1.5, 2]),
        ("three_gaussians", [0.3, 0.5, 0.2], [0, 10, 3], [1, 1, 1]),
    ],
)
def test_worked_examples(name, weights, means, sigma):
    make = getattr(datasets, name)
    x, z, mixture = make()
    assert x.shape == z.shape == (10_000,)
    np.testing.assert_allclose(mixture.weights, weights)
    np.testing.assert_array_equal(mixture.means, means)
    np.testing.assert_allclose(mixture.sigma, sigma)
    np.testing.assert_array_equal(make().x, x)
    assert not np.array_equal(make(random_seed=1).x, x)
