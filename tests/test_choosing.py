"""The engine chosen by default, and engines that take over: which ran, whose draws are kept, and what is reported."""

import json
import warnings

import numpy as np
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.analysis.attempts import in_words, read_attempts
from bayesgmm.engines.interface import Sampled
from bayesgmm.fitting import choosing
from tests.statistics import rng

QUIET = {"random_seed": 3, "progressbar": False}
OVERLAP = bg.Mixture([0.4, 0.6], [0.0, 1.5], sigma=[1.0, 1.0]).sample(200, random_seed=3)[0]


def methods_of(tree):
    return [(each.method, each.because) for each in read_attempts(tree)]


def test_near_a_gaussian_nuts_draws():
    tree = bg.fit(bg.datasets.two_gaussians(n=500).x, 2, **QUIET)
    assert methods_of(tree) == [("nuts", "near")]
    assert tree.attrs["method"] == "nuts"
    assert bg.diagnose(tree).converged


def test_far_from_a_gaussian_gibbs_draws():
    tree = bg.fit(bg.datasets.galaxies(), 3, **QUIET)
    (attempt,) = read_attempts(tree)
    assert (attempt.method, attempt.because, attempt.converged, attempt.kept) == ("gibbs", "far", True, True)
    found = bg.diagnose(tree)
    assert found.converged
    assert attempt.r_hat == pytest.approx(found.invariants["r_hat"].max())
    assert attempt.ess == pytest.approx(found.invariants[["ess_bulk", "ess_tail"]].min(axis=None))


def test_between_several_solutions_gibbs_draws():
    tree = bg.fit(bg.datasets.galaxies(), 8, **QUIET)
    assert methods_of(tree)[0] == ("gibbs", "several")
    assert bg.diagnose(tree).converged


def test_gibbs_takes_over_where_nuts_has_not_converged():
    """The posterior of an overlapping pair is near a Gaussian in its middle but not in its tails."""
    for seed in range(1, 20):  # with some seeds NUTS converges
        if not bg.diagnose(unwarned(OVERLAP, 2, method="nuts", random_seed=seed)).converged:
            break
    tree = bg.fit(OVERLAP, 2, **QUIET | {"random_seed": seed})
    assert not read_attempts(tree)[0].converged
    assert methods_of(tree) == [("nuts", "near"), ("gibbs", "instead")]
    assert [each.kept for each in read_attempts(tree)] == [False, True]
    assert bg.diagnose(tree).converged
    assert "NUTS was chosen, because the posterior is near a Gaussian" in in_words(tree)
    assert "Its draws are kept." in in_words(tree)


def test_one_seed_has_one_text():
    """Seconds differ from run to run, so they are kept in the tree but not printed."""
    tree = unwarned(OVERLAP, 2, draws=500)
    told = in_words(tree)
    attempts = json.loads(tree.attrs["engines"])
    assert len(attempts) > 1
    assert all(each["seconds"] > 0 for each in attempts)
    tree.attrs["engines"] = json.dumps([each | {"seconds": each["seconds"] + 100} for each in attempts])
    assert in_words(tree) == told


def unwarned(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)
        return bg.fit(*arguments, **QUIET | options)


@pytest.mark.parametrize(
    "options", [{"method": "gibbs"}, {"method": "nuts"}, {"tune": 300}, {"thin": 2}, {"target_accept": 0.9}]
)
def test_what_is_asked_for_is_done(options):
    tree = unwarned(OVERLAP, 2, **options)
    assert methods_of(tree) == []
    assert in_words(tree) == ""
    assert tree.attrs["method"] == options.get("method", "nuts")


def test_draws_that_were_kept_are_those_of_the_engine_asked_for_alone():
    tree = bg.fit(OVERLAP, 2, **QUIET)
    alone = bg.fit(OVERLAP, 2, method="gibbs", **QUIET)
    np.testing.assert_array_equal(tree["posterior"]["mu"], alone["posterior"]["mu"])


@pytest.mark.parametrize("few", [{"draws": 100}, {"chains": 1}])
def test_too_few_draws_are_not_judged(few):
    tree = unwarned(OVERLAP, 2, **few)
    assert methods_of(tree) == [("nuts", "near")]


class Engines:
    """The engines with given outcomes: an exception, an interrupt, chains shifted apart, or the draws as they are."""

    def __init__(self, monkeypatch, outcomes):
        self.outcomes, self.calls = outcomes, []
        for name in ("by_nuts", "by_gibbs"):
            own = getattr(choosing, name)
            monkeypatch.setattr(
                choosing, name, lambda *given, name=name, own=own, **more: self.draw(name, own, *given, **more)
            )

    def draw(self, name, own, asked, problem, optima, phases, *known, times=1):
        outcome = self.outcomes[len(self.calls)]
        self.calls.append((name, times))
        if isinstance(outcome, BaseException):
            raise outcome
        sampled, settings = own(asked, problem, optima, phases)
        if outcome == "interrupted":
            return Sampled(sampled.posterior, sampled.sample_stats, interrupted=True), settings
        if outcome == "apart":
            shift = 5.0 * (np.arange(4) % 2)[:, None, None]
            posterior = sampled.posterior.assign(mu=sampled.posterior["mu"] + shift)
            sampled = Sampled(posterior, sampled.sample_stats)
        return sampled, settings


GALAXIES = bg.datasets.galaxies()


def test_the_order_of_engines_and_that_the_best_is_kept(monkeypatch):
    engines = Engines(monkeypatch, ["apart", "apart", "apart"])
    tree = unwarned(GALAXIES, 3)
    assert [name for name, _ in engines.calls] == ["by_gibbs", "by_gibbs", "by_nuts"]
    assert 4 <= engines.calls[1][1] <= 16
    attempts = read_attempts(tree)
    assert not any(each.converged for each in attempts)
    (kept,) = [each for each in attempts if each.kept]
    assert kept.r_hat == min(each.r_hat for each in attempts)
    assert bg.diagnose(tree).invariants["r_hat"].max() == pytest.approx(kept.r_hat)
    assert f"The best draws, by {kept.name}, are kept" in in_words(tree) or kept is attempts[-1]


def test_an_engine_that_fails_gives_way(monkeypatch):
    Engines(monkeypatch, [ValueError("collapsed"), "fine"])
    tree = bg.fit(GALAXIES, 3, **QUIET)
    assert methods_of(tree) == [("nuts", "instead")]
    assert "because another engine failed" in in_words(tree)


def test_if_all_fail_the_first_says_why(monkeypatch):
    Engines(monkeypatch, [ValueError("the first"), ValueError("the second")])
    with pytest.raises(ValueError, match="the first"):
        bg.fit(GALAXIES, 3, **QUIET)


@pytest.mark.parametrize("second", ["interrupted", KeyboardInterrupt()])
def test_an_interrupt_of_the_second_keeps_the_draws_of_the_first(monkeypatch, second):
    Engines(monkeypatch, ["apart", second])
    with pytest.warns(bg.exceptions.InterruptedWarning, match="4 x 1000"), pytest.warns(bg.exceptions.ConvergenceWarning):
        tree = bg.fit(GALAXIES, 3, **QUIET)
    assert tree.attrs["interrupted"] == 1
    assert methods_of(tree) == [("gibbs", "far")]


def test_an_interrupt_of_the_first_ends_it(monkeypatch):
    Engines(monkeypatch, [KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        bg.fit(GALAXIES, 3, **QUIET)


def test_what_was_tried_survives_a_file(tmp_path):
    tree = bg.fit(OVERLAP, 2, **QUIET)
    path = tmp_path / "posterior.nc"
    tree.to_netcdf(path, engine="h5netcdf")
    again = xr.open_datatree(path, engine="h5netcdf").load()
    assert read_attempts(again) == read_attempts(tree)


@pytest.mark.parametrize("told", ["nonsense", "[1]", '[{"method": "nuts"}]', 3])
def test_a_record_that_is_none_is_refused(told):
    tree = unwarned(OVERLAP, 2, method="gibbs", draws=100)
    tree.attrs["engines"] = told
    with pytest.raises(ValueError, match="attribute engines of tree must be a record as fit writes it"):
        read_attempts(tree)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* rounded:bayesgmm.exceptions.DataWarning")  # to a millimetre
def test_the_settings_kept_repeat_the_draws():
    """The settings also repeat an engine that ran longer, as on iris with a component to spare."""
    from sklearn.datasets import load_iris

    x = load_iris().data
    tree = bg.fit(x, 4, **QUIET)
    assert ("gibbs", "longer") in methods_of(tree)
    settings = {name: tree.attrs[name] for name in ("method", "tune", "thin")}
    again = bg.fit(x, 4, **settings, **QUIET)
    np.testing.assert_array_equal(again["posterior"]["mu"], tree["posterior"]["mu"])


@pytest.mark.slow
def test_compare_and_the_estimator_take_the_same_engines():
    x = rng(8).permutation(OVERLAP)
    fits = bg.compare(x, k=[1, 2], **QUIET).fits
    alone = {k: bg.fit(x, k, random_seed=fits[k].attrs["seed"], progressbar=False) for k in (1, 2)}
    assert {k: methods_of(tree) for k, tree in fits.items()} == {k: methods_of(tree) for k, tree in alone.items()}
    model = bg.BayesianGMM(2, random_state=3).fit(OVERLAP[:, None])
    assert methods_of(model.posterior_)
    assert model.converged_
