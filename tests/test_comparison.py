"""Comparison over k: its table, its sentence, and what an interrupt leaves."""

import arviz as az
import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm import comparison as comparison_module
from bayesgmm.exceptions import InterruptedWarning
from tests.statistics import SEED


@pytest.fixture(scope="module")
def comparison(galaxies):
    return bg.compare(galaxies, range(1, 4), random_seed=SEED, progressbar=False)


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
        loo = az.loo(bg.add_log_likelihood(comparison.fits[k]))
        assert table.loc[k, "elpd_loo"] == pytest.approx(loo.elpd)
        assert table.loc[k, "p_loo"] == pytest.approx(loo.p)
        assert table.loc[k, "bad_pareto_k"] == (loo.pareto_k > 0.7).sum()
        assert table.loc[k, "converged"] == bg.diagnose(comparison.fits[k]).converged
    # the single Gaussian's elpd against its own leave-one-out, refitted in closed form (a flat prior, nearly)
    x, n = galaxies.to_numpy(), len(galaxies)
    from scipy import stats

    others = [np.delete(x, i) for i in range(n)]
    exact = sum(
        stats.t(n - 2, o.mean(), o.std(ddof=1) * np.sqrt(1 + 1 / (n - 1))).logpdf(xi)
        for xi, o in zip(x, others, strict=True)
    )
    assert table.loc[1, "elpd_loo"] == pytest.approx(exact, abs=0.5)


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
        assert str(k) in comparison.verdict.split("not converged (see .diagnoses)")[1]
    assert comparison.seed == SEED
    assert comparison.verdict in repr(comparison).replace("\n", " ")


@pytest.mark.filterwarnings("ignore::UserWarning")  # bad k-hats, which are counted in the table
def test_arviz_compares_the_same_fits(comparison):
    theirs = az.compare(dict(comparison.loo), round_to="none")
    np.testing.assert_allclose(theirs.loc["3", "elpd_diff"], 0)
    np.testing.assert_allclose(theirs["weight"].sort_index(), comparison.table["weight"], atol=1e-6)


def test_one_k_stands_alone(two_small):
    alone = bg.compare(two_small, [2], random_seed=SEED, progressbar=False)
    assert alone.table.loc[0, ["elpd_diff", "dse", "weight"]].tolist() == [0, 0, 1]
    assert "stands alone" in alone.verdict


def test_loo_on_thinned_draws_where_memory_is_short(comparison, monkeypatch):
    whole = comparison_module._loo(comparison.fits[3])
    monkeypatch.setattr(comparison_module, "_LOO_NUMBERS", 1000 * 82)
    thinned = comparison_module._loo(comparison.fits[3])
    assert thinned.n_samples == 1000
    assert whole.n_samples == 4000
    assert thinned.elpd == pytest.approx(whole.elpd, abs=1)


@pytest.mark.parametrize("stop", ["before", "within"])
def test_an_interrupt_leaves_the_fits_made_by_then(two_small, monkeypatch, stop):
    def interrupted(x, k, **options):
        if k == 3 and stop == "before":
            raise KeyboardInterrupt
        tree = bg.fit(x, k, **options)
        if k == 3:
            tree.attrs["interrupted"] = 1
        return tree

    monkeypatch.setattr(comparison_module, "fit", interrupted)
    with pytest.warns(InterruptedWarning, match="interrupted at k = 3"):
        left = bg.compare(two_small, range(2, 6), draws=50, tune=50, random_seed=SEED, progressbar=False)
    assert list(left.fits) == ([2] if stop == "before" else [2, 3])
    assert left.table["k"].tolist() == list(left.fits)


def test_an_interrupt_before_anything_is_an_interrupt(two_small, monkeypatch):
    def interrupted(x, k, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison_module, "fit", interrupted)
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
