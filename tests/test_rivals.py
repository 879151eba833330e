"""Whether a component may be empty: the share of the posterior that Gaussians at its modes miss."""

import numpy as np
import pytest
from scipy import stats

import bayesgmm as bg
from bayesgmm.data.observations import Observations
from bayesgmm.engines import rivals
from bayesgmm.engines.starts import weigh
from bayesgmm.model.priors import read_prior
from bayesgmm.posterior import standardised_posterior
from tests.statistics import SEED


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_empty_components_beforehand(k, alpha):
    n = 7
    empty = stats.betabinom(n, alpha, (k - 1) * alpha).pmf(0)  # of each component
    assert rivals.log_empty_beforehand(k, alpha, n) == pytest.approx(np.log(k * empty), rel=1e-9)


def asked(x, k, prior=None, **given):
    """What decides: rows, EM, the posterior, its optima, and a seed."""
    rows = Observations.read(x)
    em = bg.fit_em(rows, k, random_seed=1, **given)
    prior = read_prior(prior, rows, em.covariance, em.family, [k])
    own, units = standardised_posterior(rows, k, prior, em.covariance, em.family)
    return rows, em, own, weigh(own, [own.at(units.standardised_mixture(each)) for each in em.optima()])


@pytest.mark.parametrize(
    ("gap", "alpha", "covariance"),
    [(2.0, 1.0, "full"), (2.6, 1.0, "full"), (2.6, 4.0, "full"), (3.2, 1.0, "full"), (2.6, 1.0, "tied")],
)
def test_the_chance_of_an_empty_component_is_that_of_the_evidence(gap, alpha, covariance):
    x, _ = bg.Mixture([0.4, 0.6], [0, gap], sigma=[1.0, 0.8]).sample(200, SEED)
    prior = bg.HierarchicalPrior(alpha=alpha)
    rows, _, own, optima = asked(x, 2, prior, covariance=covariance)
    smaller = bg.fit_em(rows, 1, covariance=covariance)
    given = {"method": "gibbs", "prior": prior, "covariance": covariance, "random_seed": 1, "progressbar": False}
    one, two = (bg.log_evidence(bg.fit(x, k, **given), random_seed=1).value for k in (1, 2))
    expected = rivals.log_empty_beforehand(2, alpha, 200) + one - two
    assert rivals.log_chance_of_empty(own, optima, smaller) == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize("n", [2_000, 100_000])
def test_a_superfluous_component_has_a_rival(n):
    """Neither the modes nor the importance weights show that the component may be empty."""
    x = bg.datasets.three_gaussians(n=n).x
    found = []
    for k in (1, 2, 3, 4):
        rows, em, own, optima = asked(x, k)
        found.append(rivals.has_rival(rows, em, own, optima, 1))
    assert found == [False, False, False, True]


@pytest.mark.parametrize(("gap", "expected"), [(1.0, True), (2.0, False)])
def test_a_component_that_may_be_empty_once_in_ten_thousand_draws(gap, expected, monkeypatch):
    """BIC is clear about neither, and Gibbs sampling shows which component is ever without observations."""
    x, _ = bg.Mixture([0.4, 0.6], [0, gap], sigma=[1.0, 0.8]).sample(200, SEED)
    found = asked(x, 2)
    assert rivals.has_rival(*found, 1) == expected
    monkeypatch.setattr(rivals, "log_chance_of_empty", lambda *given: 0.0)
    assert rivals.has_rival(*found, 1)
    draws = bg.fit(x, 2, method="gibbs", draws=2_000, random_seed=1, progressbar=False)["posterior"]["w"].values
    assert (draws.min() < 1 / 200) == expected
