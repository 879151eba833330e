"""Fits that many tests look at are made once; trees that need no sampler are built by hand."""

import itertools
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one core for each xdist worker; set before NumPy is imported
if sys.dont_write_bytecode:  # set in many containers: every process would compile all libraries to bytecode
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": sys.pycache_prefix}

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm import arguments
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import build_tree
from bayesgmm.data.observations import Observations
from bayesgmm.em import runs
from tests.scanned import ONE, THREE, rows_of
from tests.statistics import SEED, rng

mpl.use("agg")


@pytest.fixture(autouse=True)
def repeatable_seeds(monkeypatch):
    """What a test asks of the package without a seed is the same in every run."""
    monkeypatch.setattr(arguments, "_fresh_seed", itertools.count(SEED).__next__)


def make_tree(x, k=2, *, chains=4, draws=250, seed=0, change=None):
    """A tree whose draws scatter around the EM estimate as a posterior's do. ``change(w, mu, sigma)`` may spoil them."""
    x = np.asarray(x, dtype=float)
    em = bg.fit_em(x, k, random_seed=seed)
    mixture, generator = em.mixture, np.random.default_rng(seed)
    counts = mixture.weights * len(x)
    shape = (chains, draws, k)
    w = generator.dirichlet(counts + 1, size=(chains, draws)) if k > 1 else np.ones(shape)
    mu = mixture.means + mixture.sigma / np.sqrt(counts) * generator.standard_normal(shape)
    sigma = mixture.sigma * np.exp(generator.standard_normal(shape) / np.sqrt(2 * counts))
    values = {"w": w, "mu": mu, "sigma": sigma}
    if change is not None:
        values = dict(zip(values, change(**values), strict=True))
    dims = ("chain", "draw", "cluster")
    coords = {"chain": np.arange(chains), "draw": np.arange(draws)}
    posterior = xr.Dataset({name: (dims, value) for name, value in values.items()}, coords=coords)
    posterior["C0"] = (("chain", "draw"), generator.gamma(2, size=(chains, draws)))
    stats = xr.Dataset({"lp": (("chain", "draw"), generator.standard_normal((chains, draws)))}, coords=coords)
    return build_tree(posterior, stats, Observations.read(x), em, {"method": "nuts", "k": k, "covariance": "full"})


@pytest.fixture
def plain_em(monkeypatch):
    """EM without acceleration."""
    monkeypatch.setattr(runs, "_STEPS", 10**9)


@pytest.fixture(scope="session")
def galaxies():
    return bg.datasets.galaxies()


@pytest.fixture(scope="session")
def nuts_tree(galaxies):
    """Three clusters in the galaxies, by NUTS with the default settings."""
    return bg.fit(
        galaxies, 3, method="nuts", random_seed=SEED, progressbar=False, log_likelihood=True, posterior_predictive=True
    )


@pytest.fixture(scope="session")
def advi_tree(galaxies):
    """Three clusters in the galaxies, by ADVI."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ApproximationWarning)  # its k-hat is near the limit on these data
        return bg.fit(galaxies, 3, method="advi", random_seed=SEED, progressbar=False)


@pytest.fixture(scope="session")
def comparison(galaxies):
    """One to three clusters in the galaxies, with fewer draws than by default."""
    return bg.compare(galaxies, range(1, 4), draws=300, random_seed=SEED, progressbar=False)


@pytest.fixture(scope="session")
def k_tree(galaxies):
    """The posterior of k for the galaxies, from a run that is too short to have converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)
        return bg.posterior_k(galaxies, draws=400, random_seed=SEED, progressbar=False)


@pytest.fixture(scope="session")
def faithful_as_published():
    """Old Faithful with waiting times in whole minutes. With these ties the default posterior is improper."""
    return bg.datasets.old_faithful()


@pytest.fixture(scope="session")
def faithful(faithful_as_published):
    """Old Faithful, with each value spread over the interval to which it was rounded."""
    return bg.jitter(faithful_as_published, random_seed=SEED)


@pytest.fixture(scope="session")
def faithful_tree(faithful):
    """Two clusters of the eruptions in both features, by NUTS."""
    return bg.fit(faithful, 2, random_seed=SEED, progressbar=False)


@pytest.fixture(scope="session")
def two_small():
    """400 draws of two overlapping Gaussians."""
    return bg.datasets.two_gaussians(n=400, random_seed=SEED).x


@pytest.fixture(scope="module")
def good(two_small):
    """A tree with nothing wrong."""
    return make_tree(two_small)


# ways to spoil the draws of make_tree


def turned(**parameters):
    return [parameters[name][..., ::-1] for name in ("w", "mu", "sigma")]


def first_chain_turned(**parameters):
    for values in parameters.values():
        values[0] = values[0, :, ::-1]
    return parameters.values()


def half_turned(**parameters):
    which = rng(0).random(parameters["w"].shape[:2]) < 0.5
    return [np.where(which[..., None], values[..., ::-1], values) for values in parameters.values()]


def shifted(w, mu, sigma):
    return w, mu + [0, 4 * mu[..., 1].std()], sigma


def one_chain_elsewhere(w, mu, sigma):
    mu[0] += 3
    return w, mu, sigma


def slow(w, mu, sigma):
    return tuple(np.repeat(values[:, ::50], 50, axis=1) for values in (w, mu, sigma))


def as_judged(fit):
    """Turn a stand-in for ``fit`` into one for ``judged_fit``, which the package calls."""
    return lambda x, k, known=None, **options: Reading(fit(x, k, **options))


@pytest.fixture(scope="session")
def one():
    """Rows of one feature, more than are read into memory."""
    return rows_of(ONE)


@pytest.fixture(scope="session")
def three():
    """Rows of three features, more than are read into memory."""
    return rows_of(THREE)
