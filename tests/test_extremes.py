"""With one component, one chain and ten draws everything still works. A group that a tree lacks is named."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import bayesgmm as bg
from tests.conftest import make_tree
from tests.statistics import SEED

pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ApproximationWarning"),
    pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto"),
]


@pytest.fixture(scope="module", params=[("nuts", 1), ("nuts", 2), ("gibbs", 1), ("advi", 1)], ids=str)
def short(request, galaxies, faithful):
    method, n_features = request.param
    x = galaxies if n_features == 1 else faithful
    return bg.fit(x, 1, method=method, chains=1, draws=10, random_seed=SEED, progressbar=False)


def test_one_component_is_dull(short):
    assert bg.label_quality(short) == bg.LabelQuality(0.0, 0.0)
    found = bg.solutions(short, weigh="stacking")
    assert found.of_chain.tolist() == [0]
    assert found.table["weight"].tolist() == [1.0]
    assert (bg.responsibilities(short)["mean"] == 1).all()
    assert (bg.responsibilities(short)["sd"] == 0).all()
    assert (bg.coclustering(short) == 1).all()
    assert (bg.partition(short) == 0).all()
    assert (bg.occupied_clusters(short) == 1).all()
    for method in ("stephens", "ecr", "pivot"):
        np.testing.assert_array_equal(bg.relabel(short, method)["posterior"]["mu"], short["posterior"]["mu"])
    assert bg.diagnose(short).labels.trusted
    assert bg.check_against_em(short).table["inside"].all()


def test_one_component_has_pictures(short):
    feature = short["posterior"]["feature"].values[0] if "feature" in short["posterior"].coords else None
    bg.plots.plot_fit(short, feature)
    bg.plots.plot_relabelling(short, feature)
    bg.plots.plot_responsibilities(short)
    bg.plots.plot_coclustering(short)
    bg.plots.plot_solutions(short)
    plt.close("all")


def test_one_component_has_a_normal_predictive(short):
    feature = short["posterior"]["feature"].values[0] if "feature" in short["posterior"].coords else None
    middle = bg.predictive_quantiles(short, [0.5], feature)
    np.testing.assert_allclose(bg.predictive_cdf(short, middle[0].values, feature).sel(statistic="mean"), 0.5, atol=1e-9)


NEEDS = {
    "observed_data": [bg.responsibilities, bg.coclustering, bg.partition, bg.diagnose, bg.solutions, bg.add_log_likelihood],
    "em_baseline": [bg.relabel, bg.check_against_em, bg.partition],
    "posterior": [bg.label_quality, bg.diagnose, bg.solutions, bg.raw_order, bg.responsibilities],
}


@pytest.mark.parametrize(("group", "function"), [(group, each) for group, all_of in NEEDS.items() for each in all_of])
def test_a_missing_group_is_named(two_small, group, function):
    tree = make_tree(two_small, draws=10)
    bare = tree.filter(lambda node: node.name != group)
    with pytest.raises(ValueError, match=f"tree must have a group {group}"):
        function(bare)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tree: bg.predictive_cdf(tree, [1.0, np.nan]), "grid must be finite, got 1 of 2 observations with NaN"),
        (lambda tree: bg.predictive_cdf(tree, [[1.0, 2.0]]), "grid must hold values of one feature, got 2 columns"),
        (lambda tree: bg.predictive_cdf(tree, [1.0], "waiting"), "feature must be one of 'x', got 'waiting'"),
        (lambda tree: bg.predictive_quantiles(tree, [0.5, 1.0]), "probabilities must lie between 0 and 1, got 1.0"),
        (lambda tree: bg.predictive_quantiles(tree, 0.5, interval=2), "interval must lie between 0 and 1, got 2"),
        (lambda tree: bg.responsibilities(tree, [[1.0, 2.0]]), r"x must have 1 feature\(s\) like the data, got 2"),
        (
            lambda tree: bg.responsibilities(tree, [1.0, np.inf]),
            r"clean the data, or pass bayesgmm.Observations\(x, missing='drop'\)$",
        ),
        (lambda tree: bg.predictive_density(tree, [np.nan]), "grid must be finite"),
    ],
)
def test_bad_input_is_named(two_small, call, message):
    with pytest.raises(ValueError, match=message):
        call(make_tree(two_small, draws=10))
