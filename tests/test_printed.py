"""Fits as text: the answer comes first, remedies are worded for the shell, and lines fit the width."""

import pytest
import xarray as xr

from bayesgmm.cli.printed import fit_text
from bayesgmm.html_report.fitted import Fitted
from tests.conftest import make_tree, one_chain_elsewhere


@pytest.fixture(scope="module")
def apart(two_small):
    """A fit of negative data whose chains sit in two solutions."""
    return Fitted.of(make_tree(two_small - 100, change=one_chain_elsewhere))


def test_the_answer_comes_first(good):
    parts = ["2 clusters in x: ", "can be relied on", "The clusters:", "400 observations, described by"]
    parts += ["The posterior agrees with EM", "log p("]
    text = fit_text(Fitted.of(good), worst=True)
    assert sorted(parts, key=text.index) == parts
    assert "labelled parameters" not in text
    assert "(7 more rows, with a larger ess_bulk)" in text
    everything = fit_text(Fitted.of(good))
    assert everything.index("w, rank 0") < everything.index("labelled parameters")
    assert "more rows" not in everything


@pytest.mark.parametrize("width", [50, 65, 80])
def test_lines_keep_to_the_width(good, apart, width):
    for fitted in (Fitted.of(good), apart):
        assert max(map(len, fit_text(fitted, width).splitlines())) <= width
    assert "no room" in fit_text(apart, width)
    assert "no room" not in fit_text(apart)


def test_remedies_and_signs_are_those_of_a_shell(apart):
    text = fit_text(apart)
    assert "remedy: leave --method out" in text
    assert "method=" not in text
    assert "2 solutions, in which different chains sit" in text
    assert "cluster 0" in text
    assert text.isascii()
    assert "(-9" in text  # an interval


def test_of_an_approximation_nothing_is_said_of_chains(good):
    tree = good.copy()
    tree.attrs = {**good.attrs, "method": "advi"}
    attrs = {"pareto_k": 0.3, "importance_efficiency": 0.9, "converged": 1}
    tree["approximation"] = xr.DataTree(xr.Dataset(attrs=attrs))
    text = fit_text(Fitted.of(tree), worst=True)
    assert text.endswith("The draws: PSIS k-hat 0.3, importance sampling efficiency 0.9")
    assert "r_hat" not in text
    assert "r_hat" in fit_text(Fitted.of(good), worst=True)
