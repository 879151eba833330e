"""Several features: engine against engine in every structure, and against the truth."""

import warnings

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.exceptions import ApproximationWarning
from tests.families import COVARIANCES, OF_SKLEARN
from tests.statistical.test_engines import assert_close_to_nuts, assert_same_posterior
from tests.statistics import SEED, Z, rng

pytestmark = pytest.mark.statistical


@pytest.fixture(scope="module", params=COVARIANCES)
def compiled(request, faithful):
    """The posterior of two clusters of eruptions in one of the structures."""
    return bg.fit(faithful, 2, covariance=request.param, draws=2000, random_seed=SEED, progressbar=False)


@pytest.mark.parametrize("compiled", OF_SKLEARN, indirect=True)  # of the others PyMC's density is compared elsewhere
def test_pymcs_engine_has_the_same_posterior(compiled, faithful):
    covariance = compiled.attrs["covariance"]
    pymc = bg.fit(faithful, 2, covariance=covariance, engine="pymc", draws=1000, random_seed=SEED, progressbar=False)
    assert bg.diagnose(compiled).ok, bg.diagnose(compiled)
    assert pymc.attrs["engine"] == "pymc"
    for name, values in compiled["posterior"].data_vars.items():
        assert pymc["posterior"][name].dims == values.dims
    assert_same_posterior(compiled, pymc)


def test_gibbs_has_the_same_posterior(compiled, faithful):
    covariance = compiled.attrs["covariance"]
    gibbs = bg.fit(faithful, 2, covariance=covariance, method="gibbs", random_seed=SEED, progressbar=False)
    assert bg.diagnose(gibbs).ok, bg.diagnose(gibbs)
    assert_same_posterior(compiled, gibbs, with_log_posterior=True)


def test_control_another_prior_is_noticed(compiled, faithful):
    covariance = compiled.attrs["covariance"]
    prior = bg.HierarchicalPrior(alpha=8.0, c0=9.0)
    other = bg.fit(faithful, 2, covariance=covariance, prior=prior, draws=2000, random_seed=SEED, progressbar=False)
    with pytest.raises(AssertionError):
        assert_same_posterior(compiled, other)


def test_advi_is_close_to_nuts(compiled, faithful):
    covariance = compiled.attrs["covariance"]
    advi = bg.fit(faithful, 2, covariance=covariance, method="advi", random_seed=SEED, progressbar=False)
    assert_close_to_nuts(advi, compiled)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_covers_the_truth_in_five_dimensions(covariance):
    generator = rng(55)
    root = np.eye(5) + 0.4 * np.tril(generator.normal(size=(5, 5)), -1)
    matrices = {
        "full": np.array([root @ root.T, 2 * np.eye(5), root.T @ root]),
        "tied": np.broadcast_to(root @ root.T, (3, 5, 5)),
        "diag": np.array([np.diag(each) for each in generator.uniform(0.5, 2, (3, 5))]),
        "spherical": np.array([each * np.eye(5) for each in (0.5, 1.0, 2.0)]),
        "tied_diag": np.broadcast_to(np.diag(generator.uniform(0.5, 2, 5)), (3, 5, 5)),
        "tied_spherical": np.broadcast_to(0.8 * np.eye(5), (3, 5, 5)),
    }[covariance]
    truth = bg.Mixture([0.2, 0.3, 0.5], generator.normal(0, 3, (3, 5)), matrices).sorted()
    x, _ = truth.sample(3_000, generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ApproximationWarning)
        tree = bg.fit(x, 3, covariance=covariance, random_seed=SEED, progressbar=False)
    assert bg.diagnose(tree).converged, bg.diagnose(tree)
    assert bg.check_against_em(tree).ok
    posterior = tree["posterior"].to_dataset()
    for name, true in (("w", truth.weights), ("mu", truth.means), ("cov", truth.covariances)):
        values = posterior[name]
        mean, sd = values.mean(("chain", "draw")).values, values.std(("chain", "draw")).values
        free = sd > 0
        assert np.abs((mean - true)[free] / sd[free]).max() < Z, name
