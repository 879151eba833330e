"""The bootstrap test of k against k + 1 components: statistic, p-value, drawn data sets, processes, sentences."""

import subprocess
import sys
from itertools import islice, starmap

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.em import bootstrap
from bayesgmm.em.bootstrap import BootstrapLRT, _drawn, _one_by_one
from bayesgmm.em.split_merge import divided
from bayesgmm.exceptions import InterruptedWarning
from bayesgmm.pool import Pool
from tests.families import STRUCTURES
from tests.statistics import SEED, assert_mean, rng

QUICK = {"n_bootstrap": 9, "n_init": 2, "random_seed": SEED, "progressbar": False}
APART = bg.Mixture([0.5, 0.5], [0, 6], sigma=[1, 1])


@pytest.fixture(scope="module")
def x():
    return APART.sample(60, rng(1))[0]


@pytest.fixture(scope="module")
def test(x):
    return bg.bootstrap_lrt(x, 1, **QUICK)


def made(test, statistic, replicates):
    return BootstrapLRT(statistic, np.array(replicates, dtype=float), test.null, test.alternative, 0)


def test_the_statistic_is_twice_the_difference_of_log_likelihoods(test, x):
    assert test.null.mixture.n_components == 1
    assert test.alternative.mixture.n_components == 2
    exact = [bg.fit_em(x, k, random_seed=1).log_likelihood for k in (1, 2)]
    assert test.statistic == pytest.approx(2 * (exact[1] - exact[0]), abs=1e-4)
    assert test.p_value == 0.1
    assert (test.replicates < test.statistic).all()


def test_the_p_value_counts_the_replicates(test):
    counted = made(test, 3.0, [1, 2, 3, 4, np.inf, 0, 0, 0, 0])
    assert counted.p_value == 0.4
    assert counted.p_error == pytest.approx(np.sqrt(0.4 * 0.6 / 9))


@pytest.mark.parametrize(
    ("as_large", "said"),
    [
        (0, "3 components fit better than 2: none of 999 data sets drawn from the mixture of 2 have a statistic as large (p = 0.001"),
        (49, "whether 3 components fit better than 2 is open: 49 of 999"),
        (500, "2 components suffice, as far as this test can tell against 3: 500 of 999"),
    ],
)  # fmt: skip
def test_the_answer_is_a_sentence(galaxies, as_large, said):
    fits = [bg.fit_em(galaxies, k, random_seed=1) for k in (2, 3)]
    result = BootstrapLRT(5.0, np.where(np.arange(999) < as_large, 9.0, 1.0), *fits, 0)
    assert result.verdict.startswith(said)
    assert said.split(":")[0] in repr(result)
    assert ("raise n_bootstrap" in result.verdict) == (as_large == 49)


def test_limits_of_the_answer_are_said(test):
    assert test.caveats == ()
    assert "2 data sets on which EM found no maximum" in made(test, 1.0, [0, np.inf, np.inf]).caveats[0]
    far = np.append(rng(2).normal(size=60), [40.0, 40.01])
    spurious = bg.bootstrap_lrt(far, 1, **QUICK)
    assert spurious.alternative.spurious
    assert "one with hardly more observations than its covariance needs" in repr(spurious).replace("\n ", "")


@pytest.mark.parametrize("family", ["gaussian", "t"])
@pytest.mark.parametrize(("covariance", "n_features"), STRUCTURES)
def test_one_component_more_is_never_worse(covariance, n_features, family):
    """EM from the split components alone reaches the likelihood of k components."""
    data = rng(3).normal(size=(80, n_features)) + 4 * (np.arange(80) % 2)[:, None]
    null = bg.fit_em(data, 2, covariance=covariance, family=family, n_init=3, random_seed=1)
    starts = divided(null)
    assert [each.n_components for each in starts] == [3] * len(starts)
    wider = bg.fit_em(data, 3, covariance=covariance, family=family, start=starts)
    assert wider.log_likelihood > null.log_likelihood - 1e-6
    assert (
        bg.bootstrap_lrt(data, 2, covariance=covariance, family=family, **QUICK | {"n_bootstrap": 3}).replicates.min() >= 0
    )


def test_a_worse_estimate_of_k_plus_one_counts_as_equal(test):
    assert bootstrap._statistic(test.alternative, test.null) == 0.0


def test_the_number_of_processes_changes_nothing(x, test):
    again = bg.bootstrap_lrt(x, 1, cores=2, **QUICK)
    np.testing.assert_array_equal(again.replicates, test.replicates)
    other = bg.bootstrap_lrt(x, 1, **QUICK | {"random_seed": SEED + 1})
    assert (other.replicates != test.replicates).all()


def test_a_script_needs_no_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import bayesgmm as bg\nx = bg.datasets.galaxies()\n"
        "print(bg.bootstrap_lrt(x, 1, n_bootstrap=4, n_init=2, random_seed=1, cores=2, progressbar=False).p_value)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "0.2\n"


def test_processes_are_used_only_where_they_are_quicker(x, monkeypatch):
    used = []

    class Asked(Pool):
        def results(self, function, tasks, *, in_order):
            used.append(self.many)
            return Pool(1).results(function, tasks, in_order=in_order)

    monkeypatch.setattr(bootstrap, "Pool", Asked)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    for seconds, cores in ((0.0, None), (1e3, None), (1e3, 1), (0.0, 2), (0.0, 99)):
        monkeypatch.setattr(bootstrap, "_WORTH_IT", 100.0 - seconds)
        bg.bootstrap_lrt(x, 1, cores=cores, **QUICK)
    assert used == [1, 8, 1, 2, 9]


def test_an_interrupt_keeps_what_is_finished(x, test, monkeypatch):
    def interrupted(pool, function, tasks, *, in_order):
        yield from starmap(function, islice(tasks, 4))
        raise KeyboardInterrupt

    monkeypatch.setattr(Pool, "results", interrupted)
    with pytest.warns(InterruptedWarning, match="interrupted after 4 of 9 data sets"):
        kept = bg.bootstrap_lrt(x, 1, **QUICK)
    np.testing.assert_array_equal(kept.replicates, test.replicates[:4])


def test_a_collapse_leaves_the_answer_open():
    """Two components, each on equal values, have an infinite likelihood."""
    found = bg.bootstrap_lrt([1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0], 1, **QUICK)
    assert found.alternative.collapsed
    assert found.statistic == 0
    assert found.p_value == 1
    assert found.verdict.startswith("whether 2 components fit better than 1 is open: in every run of EM with 2")
    rounded = bg.bootstrap_lrt(bg.rounded([1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0], 1.0), 1, **QUICK)
    assert not rounded.alternative.collapsed


# drawn data sets


def test_missing_values_and_errors_are_as_in_the_data():
    data = rng(4).normal(size=(2_000, 2))
    data[::3, 0] = np.nan
    error = np.tile([2.0, 0.5], (2_000, 1))
    rows = _one_by_one(bg.Observations(data, error=error, missing="at_random"))
    drawn = _drawn(rows, bg.Mixture([1.0], [[1, 2]], [np.eye(2)]), rng(5))
    np.testing.assert_array_equal(np.isnan(drawn.x), np.isnan(data))
    for column, mean, variance in zip(drawn.x.T, (1, 2), (5.0, 1.25), strict=True):
        known = column[~np.isnan(column)]
        assert_mean(known, mean)
        assert_mean((known - mean) ** 2, variance)


def test_rounding_is_as_in_the_data():
    data = np.column_stack([rng(6).normal(size=500).round(1), rng(7).normal(size=500)])
    data[:5, 0] = np.nan
    rows = _one_by_one(bg.rounded(bg.Observations(data, missing="at_random"), [0.1, 0.0], covariance="diag"))
    drawn = _drawn(rows, bg.Mixture([1.0], [[0.04, 0]], [np.eye(2)]), rng(8))
    known, left = drawn.known, drawn.x[5:]
    np.testing.assert_allclose(left[:, 0], left[:, 0].round(1), atol=1e-12)
    assert len(np.unique(left[:, 1])) == 495
    np.testing.assert_allclose(known.upper[5:] - known.lower[5:], np.tile([0.1, 0.0], (495, 1)), atol=1e-12)
    np.testing.assert_allclose((known.upper[5:] + known.lower[5:]) / 2, left)
    assert (known.lower[:5, 0] == -np.inf).all()
    assert (known.upper[:5, 0] == np.inf).all()
    bg.fit_em(drawn, 2, covariance="diag", n_init=2, random_seed=1)


def test_a_weight_counts_as_rows(x):
    weight = np.arange(60) % 3
    rows = _one_by_one(bg.Observations(x, weight=weight))
    np.testing.assert_array_equal(rows.x[:, 0], np.repeat(x, weight))
    assert rows.known.weight is None
    weighted = bg.bootstrap_lrt(x, 1, sample_weight=weight, **QUICK)
    repeated = bg.bootstrap_lrt(np.repeat(x, weight), 1, **QUICK)
    assert weighted.statistic == pytest.approx(repeated.statistic, abs=1e-4)


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        ([1.0, 2.0, 4.0], {"k": 0}, "k must be an integer of at least 1"),
        ([1.0, 2.0, 4.0], {"k": 3}, "k must be at most the number of observations, got k = 4 for n = 3"),
        ([1.0, 2.0, 4.0], {"n_bootstrap": 0}, "n_bootstrap must be an integer of at least 1"),
        ([1.0, 2.0, 4.0], {"cores": 0}, "cores must be an integer of at least 1"),
        ([1.0, 2.0, 4.0], {"covariance": "round"}, "covariance must be one of"),
        ([1.0, 2.0, 4.0], {"sample_weight": [1, 2, 1.5]}, "sample_weight must be whole numbers.*got 1.5"),
        (bg.Observations([1.0, 2.0, 4.0], labels=[0, 1, -1]), {}, "x must not have labels"),
        (bg.Observations([1.0, 2.0, 4.0]).with_noise(), {}, "x must not have noise"),
        (bg.Observations.censored([1.0, 2.0, 4.0, 1.0], below=1.0), {}, "intervals other than those of rounding"),
        ([1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 5.0], {"k": 2}, "x must have a maximum of the likelihood for k = 2"),
    ],
)  # fmt: skip
def test_wrong_arguments_get_a_sentence(data, options, said):
    with pytest.raises((ValueError, TypeError), match=said):
        bg.bootstrap_lrt(data, **{"k": 1, **QUICK, **options})


def test_rows_read_in_parts_are_refused(one, tmp_path):
    np.save(tmp_path / "x.npy", one)
    with pytest.raises(ValueError, match="x must be rows in memory"):
        bg.bootstrap_lrt(np.load(tmp_path / "x.npy", mmap_mode="r"), 1, **QUICK)
