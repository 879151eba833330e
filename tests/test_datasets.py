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


def test_air_quality_is_chambers_and_others_with_its_gaps():
    data = datasets.air_quality()
    assert list(data.columns) == ["ozone", "radiation", "wind", "temperature"]
    assert data.shape == (153, 4)
    assert data.isna().sum().to_list() == [37, 7, 0, 0]
    assert data.mean().to_list() == pytest.approx([42.129310, 185.931507, 9.957516, 77.882353], abs=1e-6)


def test_crabs_are_a_histogram_of_weldons():
    data = datasets.crabs()
    assert list(data.columns) == ["lower", "upper", "crabs"]
    assert data.shape == (29, 3)
    assert data["crabs"].dtype.kind == "i"
    assert data["crabs"].sum() == 1000
    assert (data["crabs"] == 0).sum() == 1
    assert (data["lower"].iloc[0], data["upper"].iloc[-1]) == (0.5795, 0.6955)
    np.testing.assert_array_equal(data["lower"][1:], data["upper"][:-1])
    np.testing.assert_allclose(data["upper"] - data["lower"], 0.004, rtol=1e-9)
    middle = (data["lower"] + data["upper"]) / 2
    assert np.average(middle, weights=data["crabs"]) == pytest.approx(0.644696, abs=1e-9)


def test_neutron_stars_have_masses_and_errors():
    data = datasets.neutron_stars()
    assert list(data.columns) == ["star", "companion", "mass", "error"]
    assert data.shape == (54, 4)
    assert data["star"].is_unique
    assert data["companion"].value_counts().to_dict() == {"white dwarf": 22, "neutron star": 16, "X-ray binary": 16}
    assert data["mass"].sum() == pytest.approx(81.1035, abs=1e-9)
    assert data["error"].sum() == pytest.approx(6.8642, abs=1e-9)
    assert data["error"].min() > 0
    hulse_and_taylor = data.set_index("star").loc["B1913+16 pulsar"]
    assert (hulse_and_taylor["mass"], hulse_and_taylor["error"]) == (1.4398, 0.0002)


def test_lakes_are_crawfords():
    x = datasets.acidity()
    assert len(x) == 155
    assert x.mean() == pytest.approx(5.105096, abs=1e-6)
    anc = np.exp(x) - 50
    np.testing.assert_allclose(anc, anc.round(1), atol=2e-3)  # measured to a tenth


def test_penguins_are_gormans_with_two_that_were_not_measured():
    data = datasets.penguins()
    assert list(data.columns) == ["species", "island", "bill_length", "bill_depth", "flipper_length", "body_mass"]
    assert data.shape == (344, 6)
    measured = data[["bill_length", "bill_depth", "flipper_length", "body_mass"]]
    assert np.flatnonzero(measured.isna().all(axis=1)).tolist() == [3, 271]
    assert measured.isna().sum().tolist() == [2, 2, 2, 2]
    assert measured.mean().to_list() == pytest.approx([43.921930, 17.151170, 200.915205, 4201.754386], abs=1e-6)


def test_irises_are_fishers():
    data = datasets.iris()
    assert data.shape == (150, 5)
    assert data["species"].value_counts().to_dict() == {"setosa": 50, "versicolor": 50, "virginica": 50}
    assert data.iloc[:, :4].mean().to_list() == pytest.approx([5.843333, 3.057333, 3.758000, 1.199333], abs=1e-6)


def test_diabetes_is_reaven_and_millers():
    data = datasets.diabetes()
    assert data["diagnosis"].value_counts().to_dict() == {"normal": 76, "chemical": 36, "overt": 33}
    assert data.iloc[:, :4].mean().to_list() == pytest.approx([543.613793, 186.117241, 184.206897, 121.986207], abs=1e-6)


def test_diamonds_are_wickhams():
    data = datasets.diamonds()
    assert data.shape == (53_940, 2)
    assert data.mean().to_list() == pytest.approx([0.797940, 3932.799722], abs=1e-6)


def test_switched_genes_have_two_levels():
    values, switched = datasets.expression(n_genes=200, n_samples=400)
    assert values.shape == (200, 400)
    assert switched.sum() == 20
    sd = values.std(axis=1)
    assert sd[~switched].max() < 1.2
    assert np.median(sd[switched]) > 1.4
    np.testing.assert_array_equal(values, datasets.expression(n_genes=200, n_samples=400)[0])
    assert not np.array_equal(values, datasets.expression(n_genes=200, n_samples=400, random_seed=1)[0])


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
