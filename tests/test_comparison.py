"""Comparison over k: its table, its sentence, and what an interrupt leaves."""

from dataclasses import replace

import arviz as az
import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.comparison import comparing as comparison_module
from bayesgmm.comparison import leave_one_out
from bayesgmm.comparison.cache import FitCache
from bayesgmm.exceptions import InterruptedWarning
from tests.conftest import as_judged, make_tree
from tests.statistics import SEED, rng


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto distribution")  # counted in the table
def test_table(comparison, galaxies):
    table = comparison.table.set_index("k")
    assert table.index.tolist() == [1, 2, 3]
    assert table["elpd_diff"].max() == 0
    np.testing.assert_allclose(table["elpd_diff"], table["elpd_loo"] - table["elpd_loo"].max(), atol=1e-9)
    assert table["weight"].sum() == pytest.approx(1)
    assert (table["seconds"] > 0).all()
    for k in (1, 2, 3):
        em = bg.fit_em(galaxies, k, n_init=20, random_seed=SEED)
        assert table.loc[k, "bic"] == pytest.approx(em.bic(), abs=0.01)
        assert table.loc[k, "em_spurious"] == len(em.spurious)
        loo = bg.loo(comparison.fits[k])
        assert table.loc[k, "elpd_loo"] == loo.elpd
        assert table.loc[k, "p_loo"] == loo.p
        assert table.loc[k, "bad_pareto_k"] == (loo.pareto_k > 0.7).sum()
        assert table.loc[k, "refitted"] == (loo.influence_pareto_k > 0.5).sum() - table.loc[k, "bad_pareto_k"]
        evidence = bg.log_evidence(comparison.fits[k], random_seed=0)
        assert (table.loc[k, "log_evidence"], table.loc[k, "mcse"]) == (evidence.value, evidence.mcse)
        occupied = bg.occupied_clusters(comparison.fits[k], random_seed=SEED)
        assert table.loc[k, "occupied"] == pytest.approx(float(occupied.mean()), abs=0.1)
        assert table.loc[k, "converged"] == bg.diagnose(comparison.fits[k]).converged
    # elpd of a single Gaussian against exact leave-one-out, in closed form because the prior is nearly flat
    x, n = galaxies.to_numpy(), len(galaxies)
    from scipy import stats

    others = [np.delete(x, i) for i in range(n)]
    exact = sum(
        stats.t(n - 2, o.mean(), o.std(ddof=1) * np.sqrt(1 + 1 / (n - 1))).logpdf(xi)
        for xi, o in zip(x, others, strict=True)
    )
    assert table.loc[1, "elpd_loo"] == pytest.approx(exact, abs=0.5)


def test_spurious_components_of_em_are_named(comparison):
    assert "hardly more" not in comparison.verdict
    spurious = replace(comparison, table=comparison.table.assign(em_spurious=[0, 1, 2]))
    assert "and EM has such components: k = 2, 3" in spurious.verdict


def test_best_and_verdict(comparison):
    table = comparison.table.set_index("k")
    assert comparison.best["elpd_loo"] == 3 == table["elpd_loo"].idxmax()
    assert comparison.best["bic"] == table["bic"].idxmin()
    assert comparison.weights.loc[3] == table.loc[3, "weight"]
    assert "by LOO k = 3 predicts best" in comparison.verdict
    for k in (1, 2):
        rival = abs(table.loc[k, "elpd_diff"]) < 2 * table.loc[k, "dse"]
        assert rival == ("cannot be told apart" in comparison.verdict and f"{k}" in comparison.verdict.split(";")[0])
    for k in table.index[~table["converged"]]:
        assert str(k) in comparison.verdict.split("the diagnosis of these fits)")[1]
    assert comparison.seed == SEED
    assert comparison.best.as_text(110) in repr(comparison)
    printed = " ".join(repr(comparison).split())
    assert all(" ".join(each.split()) in printed for some in comparison.caveats for each in some)
    assert all(
        each in comparison.verdict for each in (*comparison.best.sentences, *comparison.caveats[0], *comparison.caveats[1])
    )


def test_probabilities_of_k(comparison, galaxies):
    """Probabilities of k follow from the evidence by Bayes' theorem, with a uniform prior on the k compared."""
    table = comparison.table.set_index("k")
    joint = np.exp(table["log_evidence"] - table["log_evidence"].max())
    np.testing.assert_allclose(table["p_k"], joint / joint.sum())
    assert comparison.prior_k.tolist() == pytest.approx([1 / 3] * 3)
    with pytest.raises(ValueError, match="prior_k must give at least one of the k compared a positive probability"):
        bg.compare(galaxies, [2, 3], prior_k=[1.0])


@pytest.mark.slow
def test_probabilities_of_k_under_another_prior(comparison):
    other = bg.compare(comparison.fits, prior_k=[0.5, 0.25, 0.125, 0.125])
    table = comparison.table.set_index("k")
    joint = np.exp(table["log_evidence"] - table["log_evidence"].max()) * [4, 2, 1]
    np.testing.assert_allclose(other.table.set_index("k")["p_k"], joint / joint.sum())


@pytest.mark.slow
def test_fits_made_before_are_compared_as_they_are(comparison):
    again = bg.compare(list(comparison.fits.values())[::-1])
    assert again.table.drop(columns="seconds").equals(comparison.table.drop(columns="seconds"))
    assert again.seed is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda x: make_tree(x[1:], 3), "must be of the same data, got different data for k = 2 and 3"),
        (lambda x: make_tree(x, 2), "must be of different k, got two of k = 2"),
        (
            lambda x: _with(make_tree(x, 3), prior=_conjugate(x)),
            "must have the same prior, got None for k = 2 and '{.*for k = 3",
        ),
        (
            lambda x: _with(make_tree(x, 3), covariance="diag"),
            "must have the same covariance, got 'full' for k = 2 and 'diag'",
        ),
    ],
)
def test_fits_that_cannot_be_compared_are_refused(two_small, other, message):
    x = two_small[:50]
    with pytest.raises(ValueError, match=message):
        bg.compare([make_tree(x, 2), other(x)])


def _conjugate(x):
    return bg.ConjugatePrior().scaled_to(x).to_json()


def _with(tree, **attrs):
    tree.attrs.update(attrs)
    return tree


def test_one_tree_is_not_a_comparison(two_small):
    with pytest.raises(TypeError, match="several trees of different k, got one DataTree"):
        bg.compare(make_tree(two_small[:50], 2))


@pytest.mark.parametrize("method", [None, "nuts"])
def test_every_k_is_fitted_as_fit_does_it(two_small, monkeypatch, method):
    """The method is passed on; None lets ``fit`` choose the engine."""
    asked = []

    def by_hand(x, k, method, **options):
        asked.append((k, method))
        return _with(make_tree(two_small, k), interrupted=0)

    monkeypatch.setattr(comparison_module, "judged_fit", as_judged(by_hand))
    bg.compare(two_small, [1, 2], method=method, progressbar=False)
    assert asked == [(1, method), (2, method)]


@pytest.mark.slow
def test_a_seed_of_k_does_not_depend_on_the_others(two_small):
    options = {"draws": 50, "random_seed": SEED, "progressbar": False}
    one, several = bg.compare(two_small, [2], **options), bg.compare(two_small, [1, 2], **options)
    assert one.fits[2].equals(several.fits[2])


@pytest.mark.slow
def test_approximations_have_no_evidence(two_small):
    by_advi = bg.compare(two_small, [1, 2], method="advi", max_iter=2_000, random_seed=SEED, progressbar=False)
    assert by_advi.table["log_evidence"].isna().all()
    assert "evidence" not in by_advi.verdict


@pytest.mark.slow
def test_a_cache_resumes_and_trusts_only_its_own_key(two_small, tmp_path, monkeypatch):
    options = {"draws": 50, "random_seed": SEED, "progressbar": False, "cache": tmp_path / "fits"}
    first = bg.compare(two_small, [1, 2], **options)
    assert len(list((tmp_path / "fits").iterdir())) == 2
    fitted = []

    def counted(x, k, **settings):
        fitted.append(k)
        return bg.fit(x, k, **settings)

    monkeypatch.setattr(comparison_module, "judged_fit", as_judged(counted))
    resumed = bg.compare(two_small, [1, 2, 3], **options)
    assert fitted == [3]
    assert resumed.fits[2]["posterior"].equals(first.fits[2]["posterior"])
    # another file under the right name, and half a file
    other = next((tmp_path / "fits").glob("k2-*.nc")).read_bytes()
    for content in (other, other[:1000]):
        [right] = (tmp_path / "fits").glob("k3-*.nc")
        right.write_bytes(content)
        fitted.clear()
        bg.compare(two_small, [3], **options)
        assert fitted == [3]
    for changed in (
        {"draws": 60},
        {"prior": bg.HierarchicalPrior(alpha=2)},
        {"covariance": "tied"},
        {"random_seed": SEED + 1},
        {"method": "nuts"},
        {"n_init": 3},
    ):
        fitted.clear()
        bg.compare(two_small, [1], **(options | changed))
        assert fitted == [1], changed
    fitted.clear()
    bg.compare(two_small + 1e-9, [1], **options)
    assert fitted == [1]
    fitted.clear()
    bg.compare(two_small, [2], **(options | {"random_seed": None}))  # any seed will do
    assert fitted == []


def test_a_damaged_fit_is_never_opened(two_small, tmp_path, monkeypatch):
    cache, tree = FitCache(tmp_path, "key", None), make_tree(two_small)
    cache.put(tree)
    assert cache.get(2, 0)["posterior"].equals(tree["posterior"])
    [file] = tmp_path.iterdir()
    whole, places = file.read_bytes(), rng(0)
    monkeypatch.setattr("xarray.open_datatree", lambda *_, **__: pytest.fail("opened"))
    for bits in (1, 4):
        content = bytearray(whole)
        for at in places.choice(len(whole), size=bits, replace=False):
            content[at] ^= 1 << int(places.integers(8))
        file.write_bytes(content)
        assert cache.get(2, 0) is None
    file.write_bytes(whole[:4096] + bytes(4096) + whole[8192:])
    assert cache.get(2, 0) is None
    monkeypatch.undo()
    cache.put(tree)
    assert cache.get(2, 0)["posterior"].equals(tree["posterior"])
    assert len(list(tmp_path.iterdir())) == 1


def test_a_cache_that_cannot_be_written_loses_no_fit(two_small, tmp_path):
    cache = FitCache(tmp_path / "gone", "key", None)
    with pytest.warns(
        bg.exceptions.CacheWarning, match=r"k = 2 cannot be kept in the cache .*gone \(No such file or directory\)"
    ):
        cache.put(make_tree(two_small))


def test_a_cache_must_be_a_folder(two_small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cache must be a folder, got the file"):
        bg.compare(two_small, [1], cache=tmp_path / "file")


@pytest.mark.filterwarnings("ignore::UserWarning")  # bad k-hats, which are counted in the table
def test_arviz_compares_the_same_fits(comparison):
    theirs = az.compare(dict(comparison.loo), round_to="none")
    np.testing.assert_allclose(theirs.loc["3", "elpd_diff"], 0)
    weights, others = comparison.table["weight"].to_numpy(), theirs["weight"].loc[list(comparison.loo)].to_numpy()
    np.testing.assert_allclose(weights, others, atol=1e-4)  # the sum is flat near its maximum
    density = np.exp(np.stack([each.elpd_i.values for each in comparison.loo.values()], axis=1))
    assert np.log(density @ weights).sum() > np.log(density @ others).sum() - 1e-9


def test_one_rule_for_both_standard_errors(comparison):
    """Both standard errors divide by n - 1, as for a mean."""
    by_k, best = comparison.table.set_index("k"), comparison.best["elpd_loo"]
    for k, row in by_k.iterrows():
        values = comparison.loo[str(k)].elpd_i.values
        differences = values - comparison.loo[str(best)].elpd_i.values
        assert row["se"] == pytest.approx(np.sqrt(len(values)) * values.std(ddof=1))
        assert row["dse"] == pytest.approx(np.sqrt(len(values)) * differences.std(ddof=1))
        assert row["elpd_mcse"] == comparison.loo[str(k)].elpd_mcse


def test_a_sample_of_the_observations_is_named(two_small, monkeypatch):
    monkeypatch.setattr("bayesgmm.comparison.leave_one_out._MOST_EXACT", 300)
    monkeypatch.setattr("bayesgmm.comparison.leave_one_out._SAMPLE", 150)
    sampled = bg.compare([make_tree(two_small, 1), make_tree(two_small, 2)])
    assert "LOO is estimated from a sample of 150 observations" in sampled.verdict
    assert sampled.best["elpd_loo"] == 2
    [alone] = bg.compare([make_tree(two_small, 2)]).table[["elpd_diff", "dse", "weight"]].to_numpy()
    assert alone.tolist() == [0, 0, 1]


def test_one_k_stands_alone(two_small):
    alone = bg.compare(two_small, [2], draws=100, random_seed=SEED, progressbar=False)
    assert alone.table.loc[0, ["elpd_diff", "dse", "weight"]].tolist() == [0, 0, 1]
    assert "stands alone" in alone.verdict


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # as above
def test_arviz_weights_the_predictions(galaxies):
    comparison = bg.compare(galaxies, [2, 3], posterior_predictive=True, draws=100, random_seed=SEED, progressbar=False)
    mixed = az.weight_predictions(list(comparison.fits.values()), weights=comparison.weights.to_numpy())
    assert mixed["posterior_predictive"]["x"].sizes["obs"] == 82


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["before", "early", "within"])
def test_an_interrupt_leaves_the_fits_made_by_then(two_small, monkeypatch, stop):
    def interrupted(x, k, **options):
        if k == 3 and stop == "before":
            raise KeyboardInterrupt
        tree = bg.fit(x, k, **options)
        if k == 3:
            tree = tree.isel(draw=slice(0, 3 if stop == "early" else None), missing_dims="ignore")
            tree.attrs["interrupted"] = 1
        return tree

    monkeypatch.setattr(comparison_module, "judged_fit", as_judged(interrupted))
    with pytest.warns(InterruptedWarning, match="interrupted at k = 3"):
        left = bg.compare(two_small, range(2, 6), draws=50, tune=50, random_seed=SEED, progressbar=False)
    assert list(left.fits) == ([2, 3] if stop == "within" else [2])
    assert left.table["k"].tolist() == list(left.fits)
    assert left.unfinished == (3, 4, 5)
    assert left.verdict.startswith(
        "interrupted, so that this is provisional: k = 3, 4, 5 cut short or not compared at all; "
    )
    if stop == "early":
        with pytest.raises(KeyboardInterrupt):
            bg.compare(two_small, [3, 4], draws=50, tune=50, random_seed=SEED, progressbar=False)


def test_too_few_draws_for_loo_are_refused_before_any_is_made(two_small):
    with pytest.raises(ValueError, match="draws x chains must be at least 25 for LOO, got 5 x 4; raise draws"):
        bg.compare(two_small, [2], draws=5, random_seed=SEED, progressbar=False)
    short = make_tree(two_small, draws=6)
    with pytest.raises(ValueError, match="tree must hold at least 25 draws for LOO, got"):
        bg.loo(short)


@pytest.mark.slow
def test_an_interrupt_while_fits_are_judged_keeps_the_fits(two_small, monkeypatch):
    def interrupted(reading, **options):
        if reading.tree.attrs["k"] == 3:
            raise KeyboardInterrupt
        return bg.log_evidence(reading, **options)

    monkeypatch.setattr("bayesgmm.comparison.judging.log_evidence", interrupted)
    with pytest.warns(InterruptedWarning, match="interrupted before all fits were judged: the comparison holds k = 1, 2"):
        left = bg.compare(two_small, [1, 2, 3], draws=50, random_seed=SEED, progressbar=False)
    assert left.table["k"].tolist() == [1, 2]
    assert list(left.fits) == [1, 2, 3]
    assert left.table["p_k"].sum() == pytest.approx(1)


def test_an_interrupt_while_the_first_fit_is_judged_keeps_it(two_small, monkeypatch):
    def interrupted(tree, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("bayesgmm.comparison.judging.log_evidence", interrupted)
    with pytest.warns(InterruptedWarning, match="interrupted before all fits were judged: the comparison holds k = 1"):
        left = bg.compare(two_small, [1, 2], draws=50, random_seed=SEED, progressbar=False)
    assert list(left.fits) == [1, 2]
    assert left.table["k"].tolist() == [1]
    assert left.table["log_evidence"].isna().all()
    assert left.unfinished == (2,)


def test_labels_that_cannot_be_trusted_are_named(comparison):
    untrusted = replace(comparison.diagnoses[3].labels, non_permutation_rate=0.5)
    diagnoses = dict(comparison.diagnoses) | {3: replace(comparison.diagnoses[3], labels=untrusted)}
    assert (
        "single clusters cannot be told apart, though densities have converged: k = 3"
        in replace(comparison, diagnoses=diagnoses).verdict
    )


def test_an_interrupt_before_anything_is_an_interrupt(two_small, monkeypatch):
    def interrupted(x, k, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison_module, "judged_fit", as_judged(interrupted))
    with pytest.raises(KeyboardInterrupt):
        bg.compare(two_small, [1, 2], progressbar=False)


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (3, TypeError, "k must be several numbers of components, such as range.1, 7., got 3; for one k use fit"),
        ("12", TypeError, "k must be several numbers"),
        ([], ValueError, "k must hold at least one number"),
        ([1, 2.5], TypeError, "every k must be an integer of at least 1, got 2.5"),
        ([0, 1], ValueError, "every k must be an integer of at least 1, got 0"),
        ([2, 500], ValueError, "k must be at most the number of observations, got k = 500"),
    ],
)
def test_bad_k_is_refused_before_anything_is_fitted(two_small, k, error, message):
    with pytest.raises(error, match=message):
        bg.compare(two_small, k)


def test_a_model_of_one_k_is_refused(two_small):
    with pytest.raises(TypeError, match="model states one k and cannot be compared over k"):
        bg.compare(two_small, [2, 3], model=bg.build_model(two_small, 2))


def test_a_fit_whose_draws_give_no_density_is_left_out(two_small, monkeypatch):
    whole = leave_one_out.log_density

    def broken(draws, rows):
        densities = whole(draws, rows)
        densities[0] = -np.inf if draws.n_components == 2 else densities[0]
        return densities

    monkeypatch.setattr(leave_one_out, "log_density", broken)
    monkeypatch.setattr(leave_one_out, "EXACT", ())
    found = bg.compare([make_tree(two_small, 1), make_tree(two_small, 2)])
    assert found.table["elpd_loo"].isna().tolist() == [False, True]
    assert found.best["elpd_loo"] == 1
    assert "under some draws an observation has density zero: k = 2" in found.verdict
