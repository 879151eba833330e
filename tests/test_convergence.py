"""R-hat and effective sample sizes of many quantities at once are those of ArviZ."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

from bayesgmm.analysis import convergence
from bayesgmm.analysis.quantities import have_reached, summarise
from tests.statistics import rng

AXES = {"chain_axis": 1, "draw_axis": 2}


def chains(n_chains, n_draws, memory):
    """Six series: autocorrelated, rounded, with chains apart, binary, constant, and with a NaN at the end of a chain."""
    x = rng(n_draws).standard_normal((6, n_chains, n_draws))
    for t in range(1, n_draws):
        x[:, :, t] += memory * x[:, :, t - 1]
    x[1] = np.round(x[1])
    x[2] += np.arange(n_chains)[:, None]
    x[3] = x[3] > 0
    x[4] = 1.0
    x[5, 0, -1] = np.nan
    return x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_chains", [1, 2, 4])
@pytest.mark.parametrize("n_draws", [4, 5, 6, 7, 9, 20, 101, 1_000])
def test_are_those_of_arviz(n_chains, n_draws):
    for memory in (0.0, 0.9, 0.99, -0.5, -0.9):
        x = chains(n_chains, n_draws, memory)
        with np.errstate(all="ignore"):
            bulk, r_hat = convergence.of_ranks(x)
            pairs = [
                (bulk, array_stats.ess(x, method="bulk", **AXES)),
                (convergence.ess_tail(x), array_stats.ess(x, method="tail", prob=(0.05, 0.95), **AXES)),
                (convergence.ess_mean(x), array_stats.ess(x, method="mean", **AXES)),
                (convergence.mcse_mean(x), array_stats.mcse(x, **AXES)),
                (r_hat, array_stats.rhat(x, **AXES)),
            ]
        for mine, wanted in pairs:
            np.testing.assert_allclose(mine, wanted, rtol=1e-10)


def test_a_table_leaves_out_what_stands_still_and_keeps_the_order(monkeypatch):
    x = chains(4, 100, 0.5)
    names = ["free", "steps", "apart", "two", "still"]
    monkeypatch.setattr("bayesgmm.analysis.quantities._TOGETHER", 3)
    table = summarise(iter(zip(names, x[:5], strict=True)))
    assert table.index.tolist() == names[:4]
    for name, values in zip(names[:4], x, strict=False):
        assert table["mean"][name] == pytest.approx(values.mean())
        assert table["sd"][name] == pytest.approx(values.std())
        assert table["r_hat"][name] == pytest.approx(float(array_stats.rhat(values, chain_axis=0, draw_axis=1)))
    assert summarise(iter([("still", x[4])])).empty
    assert np.isnan(summarise(iter([("few", x[0, :, :3])]))["ess_bulk"]["few"])
    assert np.isnan(summarise(iter([("one chain", x[0, :1])]))["r_hat"]["one chain"])


def test_all_must_have_reached_what_is_wanted():
    x = chains(4, 1_000, 0.0)
    good, apart = ("good", x[0]), ("apart", x[2])
    assert have_reached(iter([good]), 1_000, 1.01)
    assert not have_reached(iter([good]), 100_000, 1.01)
    assert not have_reached(iter([good, apart]), 10, 1.01)
    assert have_reached(iter([]), 1_000, 1.01)
