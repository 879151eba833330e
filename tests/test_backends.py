"""Figures of plotly hold the same curves, points and bars as those of matplotlib, which other tests compare with numbers."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PathCollection

import bayesgmm as bg
from bayesgmm.plots import backends
from tests.conftest import make_tree

PLOTS = {
    "plot_fit": lambda fits, **options: bg.plots.plot_fit(fits["one"], **options),
    "plot_pairs": lambda fits, **options: bg.plots.plot_pairs(fits["two"], **options),
    "plot_responsibilities": lambda fits, **options: bg.plots.plot_responsibilities(fits["one"], **options),
    "plot_responsibilities, two": lambda fits, **options: bg.plots.plot_responsibilities(fits["two"], **options),
    "plot_regression": lambda fits, **options: bg.plots.plot_regression(fits["two"], **options),
    "plot_conditional": lambda fits, **options: bg.plots.plot_conditional(fits["two"], {"eruptions": 3.0}, **options),
    "plot_coclustering": lambda fits, **options: bg.plots.plot_coclustering(fits["one"], **options),
    "plot_relabelling": lambda fits, **options: bg.plots.plot_relabelling(fits["one"], **options),
    "plot_solutions": lambda fits, **options: bg.plots.plot_solutions(fits["one"], **options),
    "plot_em_history": lambda fits, **options: bg.plots.plot_em_history(fits["em"], **options),
    "plot_compare": lambda fits, **options: bg.plots.plot_compare(fits["comparison"], **options),
    "plot_fits": lambda fits, **options: bg.plots.plot_fits(fits["comparison"], **options),
    "plot_k": lambda fits, **options: bg.plots.plot_k(fits["k"], **options),
}


@pytest.fixture(scope="module")
def fits(galaxies, faithful_tree, comparison, k_tree):
    em = bg.fit_em(galaxies, 3, random_seed=1)
    return {"one": make_tree(galaxies, 3), "two": faithful_tree, "em": em, "comparison": comparison, "k": k_tree}


@pytest.fixture(autouse=True)
def closed():
    plt.close("all")  # what other tests have left open
    yield
    plt.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("name", PLOTS)
def test_what_is_drawn_is_the_same(fits, name):
    figure, other = PLOTS[name](fits), PLOTS[name](fits, backend="plotly")
    assert not [each for each in plt.get_fignums() if plt.figure(each) is not figure]  # nothing is left open
    drawn = [(np.array(each.x, float), np.array(each.y, float)) for each in other.data if each.type == "scatter"]
    panels = [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]
    for ax in panels:
        for line in ax.lines:
            x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
            if line.get_transform() is ax.transData and np.isfinite(x).any():
                assert any(np.array_equal(x, a, True) and np.array_equal(y, b, True) for a, b in drawn), line
        for points in ax.collections:
            if isinstance(points, PathCollection) and len(points.get_offsets()):
                at = np.ma.getdata(points.get_offsets())
                assert any(len(a) == len(at) and np.allclose(np.c_[a, b], at, equal_nan=True) for a, b in drawn)
        bars = sorted(box.get_height() for container in ax.containers for box in getattr(container, "patches", ()))
        heights = sorted(y for each in other.data if each.type == "bar" for y in each.y)
        assert set(np.round(bars, 9)) <= set(np.round(heights, 9))
    labels = [text.get_text() for ax in panels if ax.get_legend() for text in ax.get_legend().get_texts()]
    labels += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert [each.name for each in other.data if each.name] == labels
    titles = {text.text for text in other.layout.annotations}
    assert {ax.get_title() for ax in panels} - {""} <= titles
    names = {
        axis["title"]["text"] for key, axis in other.layout.to_plotly_json().items() if key.startswith(("xaxis", "yaxis"))
    }
    assert {ax.get_xlabel() for ax in panels} | {ax.get_ylabel() for ax in panels} <= names
    json.loads(other.to_json())


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of ten draws
def test_what_is_under_the_pointer_is_told():
    x = [[0.0, 0.1], [0.2, 0.3], [5.0, 5.2], [5.1, 5.4], [0.1, np.nan], [5.2, 5.1], [0.3, 0.0], [4.9, 5.3]]
    tree = bg.fit(x, 2, missing="at_random", method="gibbs", draws=10, tune=20, chains=1, random_seed=1, progressbar=False)
    figure = bg.plots.plot_pairs(tree, backend="plotly")
    (points,) = [each for each in figure.data if each.text and "observation" in "".join(each.text)]
    told = {text: (a, b) for text, a, b in zip(points.text, points.x, points.y, strict=True)}
    assert told[next(text for text in told if text.startswith("observation 2,"))] == (5.0, 5.2)
    assert sum(text.startswith("observation") for text in points.text) == 7  # the one with a gap is a tick at the margin
    assert any("cluster 1" in (each.hovertemplate or "") for each in figure.data)


def test_what_cannot_be_drawn_is_named(galaxies, monkeypatch):
    tree = make_tree(galaxies, 2)
    with pytest.raises(ValueError, match="backend must be one of 'matplotlib', 'plotly', got 'bokeh'"):
        bg.plots.plot_fit(tree, backend="bokeh")
    with pytest.raises(ValueError, match="ax belongs to matplotlib, got it with backend='plotly'; leave one of them out"):
        bg.plots.plot_fit(tree, ax=plt.subplots()[1], backend="plotly")
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match="needs plotly, which is not installed; install it, or bayesgmm\\[plotly\\]"):
        bg.plots.plot_k(tree, backend="plotly")
