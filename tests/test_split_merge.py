"""EM's split-merge moves find higher maxima, but none with a narrow component on few observations."""

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.em import split_merge
from bayesgmm.em.split_merge import _as_one, _mergers, _placed, rearrange
from bayesgmm.model.structures import Structure
from tests.statistics import rng

THREE = bg.Mixture([0.4, 0.3, 0.3], [[0.0, 0.0], [12.0, 0.0], [0.0, 12.0]], np.stack([np.eye(2)] * 3))
STUCK = bg.Mixture([0.2, 0.2, 0.6], [[-0.5, 0.0], [0.5, 0.0], [6.0, 6.0]], np.stack([np.eye(2), np.eye(2), 40 * np.eye(2)]))


@pytest.fixture(scope="module")
def x():
    return THREE.sample(600, random_seed=1)[0]


def settings_of(x, options):
    """The arguments that fit_em passes to ``rearrange``."""
    found = {}

    def caught(rows, total, settings, runs):
        found.update(rows=rows, total=total, settings=settings, runs=runs)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayesgmm.em.fitting.rearrange", caught)
        bg.fit_em(x, 3, n_init=2, random_seed=0, **options)
    return found


@pytest.mark.parametrize(
    "options",
    [{}, {"covariance": "diag"}, {"covariance": "tied"}, {"covariance": "spherical"}, {"family": "t"}, {"noise": True},
     {"sample_weight": np.full(600, 2.0)}],
    ids=["full", "diag", "tied", "spherical", "t", "noise", "weights"],
)  # fmt: skip
def test_a_component_that_holds_two_clusters_is_split_and_two_that_share_one_are_merged(x, options):
    kept = settings_of(x, options)
    units, settings = kept["settings"].units, kept["settings"]
    stuck = split_merge.Start("stuck", units.standardised_mixture(STUCK))
    runs = [split_merge.run_em(kept["rows"], settings, stuck)] * 2
    best = bg.fit_em(x, 3, start=THREE, **options)
    stuck_there = bg.fit_em(x, 3, start=STUCK, **options)
    assert best.log_likelihood > stuck_there.log_likelihood + 20
    ends = [run.end for run in rearrange(kept["rows"], kept["total"], settings, runs)]
    total = best.n_observations
    highest = max(end.log_likelihood for end in ends) - units.log_volume(kept["rows"].counts_known)
    assert highest == pytest.approx(best.log_likelihood, abs=1e-3 * total / 600)


def test_a_rare_cluster_far_from_the_others_is_found_from_every_seed():
    """It has five of 2 000 rows. From some seeds, k-means++ and random starts alone miss it."""
    truth = bg.Mixture([0.996, 0.004], [[0.0, 0.0], [8.5, 8.5]], np.stack([np.eye(2)] * 2))
    x = truth.sample(2_000, random_seed=20261128)[0]
    best = bg.fit_em(x, 2, start=truth).log_likelihood
    ends = [bg.fit_em(x, 2, random_seed=seed) for seed in range(5)]
    assert [em.log_likelihood for em in ends] == pytest.approx([best] * 5, abs=1e-3)
    alone = [max(end.log_likelihood for end in em.restarts if end.start != "split and merged") for em in ends]
    assert min(alone) < best - 1


def test_what_few_observations_make_narrow_is_not_looked_for(galaxies):
    for seed in range(3):
        for end in bg.fit_em(galaxies, 6, random_seed=seed).restarts:
            if end.start == "split and merged":
                narrow = end.mixture.sigma < split_merge._NARROW * end.mixture.sigma.max()
                assert not (narrow & (end.mixture.weights * len(galaxies) < 2 * split_merge._FEW)).any()


def test_one_start_and_labels_are_left_alone(galaxies):
    assert [end.start for end in bg.fit_em(galaxies, 3, n_init=1, random_seed=1).restarts] == ["k-means++"]
    labels = np.full(len(galaxies), -1)
    labels[0] = 1
    starts = {end.start for end in bg.fit_em(galaxies, 3, labels=labels, random_seed=1).restarts}
    assert starts == {"k-means++", "random"}


def test_a_merger_keeps_weight_mean_and_covariance():
    whole = _as_one(Structure("full", 2), THREE, [0, 2])
    x = bg.Mixture(THREE.weights[[0, 2]] / 0.7, THREE.mu[[0, 2]], THREE.cov[[0, 2]]).sample(200_000, rng(3))[0]
    np.testing.assert_allclose(whole.mu[0], x.mean(axis=0), atol=0.06)
    np.testing.assert_allclose(whole.cov[0], np.cov(x.T), rtol=0.02, atol=0.2)
    merged = _placed(THREE, {0: (0.7, whole, 0), 2: (0.0, whole, 0)})
    np.testing.assert_allclose(merged.weights, [0.7, 0.3, 0.0])
    np.testing.assert_array_equal(merged.mu[1], THREE.mu[1])


def test_the_loss_of_a_merger_is_that_of_the_likelihood(x):
    rows = bg.Observations(x)
    shares = rows.responsibilities(*THREE.parameters)
    for loss, (a, b), whole in _mergers(rows, Structure("full", 2), THREE, shares):
        other = ({0, 1, 2} - {a, b}).pop()
        weights = [THREE.weights[a] + THREE.weights[b], THREE.weights[other]]
        merged = bg.Mixture(weights, [whole.mu[0], THREE.mu[other]], [whole.cov[0], THREE.cov[other]])
        exact = rows.log_likelihood(*THREE.parameters) - rows.log_likelihood(*merged.parameters)
        assert loss == pytest.approx(exact, rel=1e-9)
