"""Figures: curves, points and bars are compared with the quantities that they show."""

import warnings
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_rgba

import bayesgmm as bg
from bayesgmm.analysis.predictive import read_points
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import permute, set_permutation
from bayesgmm.plots.canvas import CLUSTERS, bars
from bayesgmm.plots.names import fonts_for, name_axes
from tests.conftest import make_tree, one_chain_elsewhere
from tests.oracles.membership import of_all
from tests.statistics import rng


@pytest.fixture(scope="module")
def tree(galaxies):
    return make_tree(galaxies, 3)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def curve(ax, label):
    [line] = [line for line in ax.lines if line.get_label() == label]
    return line.get_xdata(), line.get_ydata()


def test_plot_fit_draws_the_densities(tree, galaxies):
    figure = bg.plots.plot_fit(tree)
    [ax] = figure.axes
    grid, mean = curve(ax, "posterior mean density")
    np.testing.assert_allclose(mean, bg.predictive_density(tree, grid).sel(statistic="mean"))
    grid, em = curve(ax, "EM")
    np.testing.assert_allclose(em, np.exp(bg.fit_em(galaxies, 3, random_seed=0).mixture.log_density(grid)), rtol=1e-6)
    clusters = [line.get_ydata() for line in ax.lines if line.get_linestyle() == ":"]
    assert len(clusters) == 3
    np.testing.assert_allclose(np.sum(clusters, axis=0), mean, rtol=0.02, atol=1e-3)
    bars = sum(patch.get_width() * patch.get_height() for patch in ax.patches)
    assert bars == pytest.approx(1)
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {
        "data (n = 82)", "90% band", "its clusters", "posterior mean density", "EM",
    }  # fmt: skip


def test_options_are_heeded(tree):
    figure, ax = plt.subplots()
    grid = np.linspace(0, 40, 77)
    assert bg.plots.plot_fit(tree, ax=ax, grid=grid[::-1], bins=[0, 20, 40], interval=0.5) is figure
    np.testing.assert_array_equal(curve(ax, "EM")[0], grid)
    assert len(ax.patches) == 2
    assert any(text.get_text() == "50% band" for text in ax.get_legend().get_texts())
    narrow, wide = (bg.predictive_density(tree, [21.0], interval=each) for each in (0.5, 0.9))
    assert np.diff(narrow.values[1:, 0]) < np.diff(wide.values[1:, 0])


def test_narrow_components_are_not_lost_between_grid_points(galaxies):
    spiky = make_tree(galaxies, 6)  # EM has a component of standard deviation 0.0175 here
    grid, em = curve(bg.plots.plot_fit(spiky).axes[0], "EM")
    assert em.max() == pytest.approx(np.exp(bg.fit_em(galaxies, 6, random_seed=0).mixture.log_density(grid)).max())
    assert em.max() > 0.5


def test_one_component_and_outlying_data(two_small):
    bg.plots.plot_fit(make_tree(np.append(two_small, 1e6), 1))  # a bin rule alone would ask for a million bars
    assert len(plt.gcf().axes[0].patches) <= 200


def test_plot_em_history_draws_every_run(galaxies):
    em = bg.fit_em(galaxies, 4, n_init=7, random_seed=1)
    figure = bg.plots.plot_em_history(em)
    [ax] = figure.axes
    x, y = curve(ax, "best run")
    np.testing.assert_array_equal(x, np.arange(1, len(em.history)))
    np.testing.assert_allclose(y, np.maximum(em.log_likelihood - em.history[:-1], 1e-8))
    ends = np.concatenate([collection.get_offsets() for collection in ax.collections])
    assert sorted(ends[:, 0]) == sorted(each.n_iter for each in em.restarts[1:])
    _, own = plt.subplots()
    assert bg.plots.plot_em_history(em, ax=own) is own.figure


def test_plot_fit_of_one_of_several_features(faithful_tree, faithful):
    figure = bg.plots.plot_fit(faithful_tree, "waiting")
    [ax] = figure.axes
    assert ax.get_xlabel() == "waiting"
    grid, em = curve(ax, "EM")
    mixture = bg.fit_em(faithful, 2, random_seed=0).mixture
    marginal = bg.Mixture(mixture.weights, mixture.means[:, 1], sigma=mixture.sigma[:, 1])
    np.testing.assert_allclose(em, np.exp(marginal.log_density(grid)), rtol=1e-4)
    grid, mean = curve(ax, "posterior mean density")
    assert np.trapezoid(mean, grid) == pytest.approx(1, abs=0.02)
    with pytest.raises(ValueError, match="feature must be one of 'eruptions', 'waiting', got 'length'"):
        bg.plots.plot_fit(faithful_tree, "length")


@pytest.mark.parametrize("plot", [bg.plots.plot_fit, bg.plots.plot_relabelling, bg.plots.plot_solutions])
def test_without_a_feature_every_one_is_drawn(plot, faithful_tree):
    labels = {label for ax in plot(faithful_tree).axes for label in (ax.get_xlabel(), ax.get_ylabel())}
    assert {"eruptions", "waiting"} <= {label.removeprefix("mean of ") for label in labels}


@pytest.mark.parametrize("plot", [bg.plots.plot_fit, bg.plots.plot_solutions])
def test_one_axis_takes_one_feature(plot, faithful_tree):
    with pytest.raises(ValueError, match=r"features? must name one feature where ax is given, .*\['eruptions', 'waiting'\]"):
        plot(faithful_tree, ax=plt.figure().subplots())


def test_plot_pairs_draws_points_and_ellipses(faithful_tree, faithful):
    figure = bg.plots.plot_pairs(faithful_tree, level=0.5)
    lower = figure.axes[2]
    points, rings = lower.collections
    assert len(points.get_offsets()) == len(faithful)
    assert 0 < len(rings.get_offsets()) < 0.1 * len(faithful)
    assert (lower.get_xlabel(), lower.get_ylabel()) == ("eruptions", "waiting")
    dashed = [line for line in lower.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 2
    em = bg.fit_em(faithful, 2, random_seed=0).mixture
    for line, mean, covariance in zip(dashed, em.means, em.covariances, strict=True):
        deviation = np.column_stack(line.get_data()) - mean
        distance = np.einsum("ni,ij,nj->n", deviation, np.linalg.inv(covariance), deviation)
        np.testing.assert_allclose(distance, 2 * np.log(2), rtol=1e-2)  # median of chi-squared, 2 degrees of freedom
    solid = [line for line in lower.lines if line.get_linewidth() == 2]
    posterior = faithful_tree["posterior"].to_dataset().mean(("chain", "draw"))
    for j, line in enumerate(solid):
        deviation = np.column_stack(line.get_data()) - posterior["mu"].values[j]
        distance = np.einsum("ni,ij,nj->n", deviation, np.linalg.inv(posterior["cov"].values[j]), deviation)
        np.testing.assert_allclose(distance, 2 * np.log(2), rtol=1e-8)
    assert len(bg.plots.plot_pairs(faithful_tree, ["waiting", "eruptions"]).axes) == 4


def test_pairs_need_several_features(tree, faithful_tree):
    with pytest.raises(ValueError, match="tree must have several features to be drawn in pairs, got one; use plot_fit"):
        bg.plots.plot_pairs(tree)
    with pytest.raises(ValueError, match=r"features must name at least one feature, each of them once, got \[\]"):
        bg.plots.plot_pairs(faithful_tree, [])
    with pytest.raises(ValueError, match=r"each of them once, got \['waiting', 'waiting'\]"):
        bg.plots.plot_pairs(faithful_tree, ["waiting", "waiting"])


def over_all_draws(tree, points):
    reading = Reading(tree)
    return of_all(reading.draws, read_points(reading, points, "x")[0], further=True)[0]


def test_responsibilities_along_one_feature(tree):
    figure = bg.plots.plot_responsibilities(tree)
    ax = figure.axes[0]
    points, mean = curve(ax, "cluster 0")
    np.testing.assert_allclose(mean, over_all_draws(tree, points)[:, 0], rtol=1e-9)
    assert len(ax.collections) == 3
    band = ax.collections[0].get_paths()[0].vertices
    assert 0 <= band[:, 1].min() < band[:, 1].max() <= 1
    own = plt.figure().subplots()
    assert bg.plots.plot_responsibilities(tree, ax=own) is own.figure


def test_responsibilities_of_two_features(faithful_tree):
    figure = bg.plots.plot_responsibilities(faithful_tree, ("waiting", "eruptions"))
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("waiting", "eruptions")
    mean = bg.responsibilities(faithful_tree)["mean"].values
    doubt, points = 1 - mean.max(axis=1), ax.collections[0]
    np.testing.assert_allclose(points.get_sizes(), 16 + 120 * doubt / 0.5)
    np.testing.assert_allclose(points.get_facecolors()[:, 3], 0.5 + 0.5 * doubt / 0.5)
    expected = [to_rgba(CLUSTERS[j])[:3] for j in mean.argmax(axis=1)]
    np.testing.assert_allclose(points.get_facecolors()[:, :3], expected)
    with pytest.raises(
        ValueError, match=r"features must name two features, or one if the data have only one, got \['waiting'\]"
    ):
        bg.plots.plot_responsibilities(faithful_tree, ("waiting",))


def test_coclustering_in_the_order_of_the_partition(tree):
    image = bg.plots.plot_coclustering(tree).axes[0].images[0].get_array().data
    together = bg.coclustering(tree).values
    np.testing.assert_allclose(np.sort(image.ravel()), np.sort(together.ravel()))
    np.testing.assert_allclose(image, image.T)
    sizes = np.unique(bg.partition(tree), return_counts=True)[1]
    inside = image[: sizes[0], : sizes[0]].mean()
    assert inside > 0.7 > image[: sizes[0], sizes[0] :].mean()


def test_traces_before_and_after_relabelling(tree):
    order = np.broadcast_to([0, 1, 2], tree["posterior"]["w"].shape)
    mixed = set_permutation(permute(tree, rng(1).permuted(order, axis=2)), order)
    left, right = bg.plots.plot_relabelling(bg.relabel(mixed)).axes[:2]
    for ax, each in ((left, mixed), (right, tree)):
        dots, colours = ax.collections[0].get_offsets().data, ax.collections[0].get_facecolors()
        first = dots[(colours == to_rgba(CLUSTERS[0])).all(axis=1)]
        inside = first[np.argsort(first[:, 0], kind="stable")]
        np.testing.assert_array_equal(inside[:, 1], each["posterior"]["mu"].values[..., 0].ravel())


def test_solutions_are_drawn_apart(two_small, faithful_tree):
    tree = make_tree(two_small, change=one_chain_elsewhere)
    figure = bg.plots.plot_solutions(tree)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [label.split(",")[0] for label in labels[1:]] == ["solution 0: chains 1-3", "solution 1: chain 0"]
    points, density = curve(figure.axes[0], labels[2])
    chain = tree.isel(chain=[0], missing_dims="ignore")
    np.testing.assert_allclose(density, bg.predictive_density(chain, points).sel(statistic="mean"), rtol=1e-12)
    assert [each.get_xlabel() for each in bg.plots.plot_solutions(faithful_tree).axes] == ["eruptions", "waiting"]
    with pytest.raises(ValueError, match="features must name one feature where ax is given"):
        bg.plots.plot_solutions(faithful_tree, ax=plt.figure().subplots())


def test_criteria_over_k(comparison):
    figure = bg.plots.plot_compare(comparison)
    by_k = comparison.table.set_index("k")
    prediction, evidence, em = figure.axes
    for ax, differences, errors in (
        (prediction, by_k["elpd_diff"], by_k["dse"]),
        (evidence, by_k["log_evidence"] - by_k["log_evidence"].max(), by_k["mcse"]),
    ):
        (drawn,) = ax.containers
        line, _, (bars,) = drawn
        np.testing.assert_allclose(line.get_ydata(), differences)
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends[:, 1] - ends[:, 0], 4 * errors, atol=1e-9)
    for name in ("bic", "icl"):
        np.testing.assert_allclose(curve(em, name.upper())[1], by_k[name].min() - by_k[name])
    rings = [[int(line.get_xdata()[0]) for line in ax.lines if line.get_markersize() == 13] for ax in figure.axes]
    best = comparison.best
    assert rings == [[best["elpd_loo"]], [best["log_evidence"]], [best["bic"], best["icl"]]]


def test_what_is_far_behind_is_an_arrow_with_its_number(comparison):
    """This leaves room to tell the relevant k apart."""
    evidence, elpd = [-247.6, -227.2, -226.0], [-33.0, -2.8, 0.0]
    table = comparison.table.assign(
        log_evidence=evidence, mcse=0.03, elpd_loo=elpd, elpd_diff=elpd, dse=[7.0, 2.0, 0.0], bic=[490.0, 442.0, 440.0]
    )
    prediction, ax, em = bg.plots.plot_compare(replace(comparison, table=table)).axes
    assert [(text.xy[0], text.get_text()) for text in ax.texts] == [(1, "\N{MINUS SIGN}22")]
    assert [text.get_text() for text in prediction.texts] == ["\N{MINUS SIGN}33"]
    icl = table["icl"].min() - table["icl"]
    far = [("BIC", 1, -50.0), *(("ICL", k, value) for k, value in zip((1, 2, 3), icl, strict=True) if value < -15)]
    assert len(far) == 3
    told = [(text.get_text(), text.xy[0]) for text in em.texts]
    assert told == [(f"{name}\n{value:.0f}".replace("-", "\N{MINUS SIGN}"), k) for name, k, value in far]
    bottom, top = ax.get_ylim()
    assert -2 < bottom < -1.2 - 0.06
    assert 0.06 < top < 1
    bottom, top = prediction.get_ylim()
    assert -12 < bottom < -2.8 - 4
    assert top > -2.8 + 4


def test_an_axis_with_nothing_far_behind_is_left_alone(comparison):
    table = comparison.table.assign(log_evidence=[-1.5, -1.0, 0.0], mcse=0.03)
    ax = bg.plots.plot_compare(replace(comparison, table=table)).axes[1]
    assert not ax.texts
    assert -2 < ax.get_ylim()[0] < -1.5


def test_criteria_of_approximations_and_of_chains_that_disagree(comparison):
    table = comparison.table.assign(log_evidence=np.nan, mcse=np.nan, p_k=np.nan, converged=[True, False, True])
    spoilt = type(comparison)(
        table, comparison.fits, comparison.loo, comparison.diagnoses, comparison.seed, comparison.prior_k
    )
    figure = bg.plots.plot_compare(spoilt)
    assert "no evidence of any k" in figure.axes[1].texts[0].get_text()
    assert figure.get_supxlabel() == "not converged: k = 2"
    assert "k = 2" in bg.plots.plot_fits(spoilt).axes[1].get_title()
    assert "not converged" in bg.plots.plot_fits(spoilt).axes[1].get_title()


def test_fits_side_by_side(comparison):
    figure = bg.plots.plot_fits(comparison)
    assert len(figure.axes) == 3
    highest = 0.0
    for k, ax in zip((1, 2, 3), figure.axes, strict=True):
        grid, mean = curve(ax, "posterior mean density")
        np.testing.assert_allclose(mean, bg.predictive_density(comparison.fits[k], grid).sel(statistic="mean"))
        upper = bg.predictive_density(comparison.fits[k], grid).sel(statistic="upper")
        highest = max(highest, float(upper.max()))
        assert ax.get_title().startswith(f"k = {k}: elpd {comparison.table['elpd_loo'][k - 1]:.1f}")
    assert figure.axes[0].get_ylim() == pytest.approx((0, 1.05 * highest), rel=0.01)


@pytest.mark.filterwarnings("ignore:R-hat of")  # of a run as short as this
def test_posterior_of_k(galaxies):
    tree = bg.posterior_k(galaxies, draws=200, tune=200, chains=2, random_seed=1, progressbar=False)
    figure = bg.plots.plot_k(tree)
    for ax, name in zip(figure.axes, ("p_k", "p_occupied"), strict=True):
        heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in ax.patches}
        for k, height in heights.items():
            assert height == pytest.approx(float(tree[name].sel(k=k)))
        assert sum(heights.values()) > 0.98
    k, prior = curve(figure.axes[0], "prior")
    np.testing.assert_allclose(prior, tree["prior_k"].sel(k=k))


def test_a_posterior_of_k_is_needed(tree):
    with pytest.raises(ValueError, match="tree must come from posterior_k"):
        bg.plots.plot_k(tree)


@pytest.fixture(scope="module")
def nobodys_cluster(faithful_tree, galaxies):
    """Trees with one feature and with two. One cluster is not the most probable one of any observation."""
    trees = []
    for tree in (make_tree(galaxies, 2), faithful_tree.copy()):
        posterior = tree["posterior"].to_dataset().copy(deep=True)
        posterior["w"].values[:] = [0.999, 0.001]
        for name in set(posterior.data_vars) & {"mu", "sigma", "cov"}:
            posterior[name].values[:, :, 1] = posterior[name].values[:, :, 0]
        groups = {name: tree[name].to_dataset() for name in tree.children}
        trees.append(xr.DataTree.from_dict({"/": xr.Dataset(attrs=tree.attrs), **groups, "posterior": posterior}))
    return trees


@pytest.mark.slow
@pytest.mark.parametrize("features", [1, 2])
def test_a_cluster_that_is_nobodys_most_probable_is_drawn_as_any_other(nobodys_cluster, features):
    tree = nobodys_cluster[features - 1]
    assert (bg.responsibilities(tree)["mean"].values.argmax(axis=1) == 0).all()
    assert bg.plots.plot_responsibilities(tree)
    assert bg.plots.plot_coclustering(tree)
    assert bg.plots.plot_fit(tree, None if features == 1 else "waiting")
    assert bg.plots.plot_relabelling(tree, None if features == 1 else "waiting")
    assert bg.plots.plot_solutions(tree)
    if features == 2:
        assert bg.plots.plot_pairs(tree)


def far_apart(n=120, sd=0.8):
    return np.concatenate([rng(5).normal(20 * j, sd, n) for j in range(8)])


def test_bars_are_as_high_as_the_density_of_clusters_far_apart():
    x = far_apart()
    ax = bg.plots.plot_fit(make_tree(x, 8)).axes[0]
    _, density = curve(ax, "EM")
    heights = np.array([bar.get_height() for bar in ax.patches])
    # ten bars over the whole range would be seven times too low
    assert heights.max() == pytest.approx(density.max(), rel=0.4)
    assert sum(bar.get_width() * bar.get_height() for bar in ax.patches) == pytest.approx(1)
    assert max(bar.get_width() for bar in ax.patches) < 0.8


def test_bars_of_rounded_data_stand_on_whole_steps():
    x = np.round(rng(6).normal(50, 7, 300))
    lefts, width = bars(x)
    assert width == round(width)
    np.testing.assert_allclose([(left + 0.5) % 1 for left, _ in lefts], 0, atol=1e-12)
    assert sum(count for _, count in lefts) == len(x)
    for left, count in lefts:
        assert count == ((x > left) & (x < left + width)).sum()


def test_pairs_keep_to_the_data_where_components_are_empty(faithful_tree):
    tree = faithful_tree.copy(deep=True)
    tree["posterior"]["mu"][:, ::2, 1] = 1e4  # as if the component were empty in every second draw
    for ax in bg.plots.plot_pairs(tree).axes:
        if ax.axison:
            assert ax.get_xlim()[1] < 120


def test_the_legend_of_solutions_hides_nothing(two_small):
    figure = bg.plots.plot_solutions(make_tree(two_small, change=one_chain_elsewhere))
    figure.draw_without_rendering()
    [ax] = figure.axes
    assert ax.get_legend().get_window_extent().y1 < ax.get_window_extent().y0


def named(*names):
    x = np.column_stack([rng(place).normal(size=60) for place in range(len(names))])
    data = pd.DataFrame(x, columns=list(names))
    return bg.fit(data, 1, method="gibbs", draws=20, random_seed=1, progressbar=False)


@pytest.fixture(scope="module")
def oddly_named():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so few draws
        return named("Ba$$in", "a$b_$")


@pytest.mark.parametrize(
    "plot",
    [
        bg.plots.plot_fit,
        bg.plots.plot_pairs,
        bg.plots.plot_responsibilities,
        bg.plots.plot_relabelling,
        bg.plots.plot_solutions,
    ],
)
def test_names_are_drawn_as_they_are(plot, oddly_named):
    figure = plot(oddly_named)
    figure.draw_without_rendering()  # parses mathtext, if there is any
    labels = {label.get_text(): label for ax in figure.axes for label in (ax.xaxis.label, ax.yaxis.label)}
    for name in ("Ba$$in", "a$b_$"):
        assert any(text.endswith(name) and not label.get_parse_math() for text, label in labels.items())


def test_an_axis_that_was_there_takes_any_name(oddly_named):
    ax = plt.figure().subplots()
    bg.plots.plot_fit(oddly_named, "Ba$$in", ax=ax)
    ax.figure.draw_without_rendering()
    assert ax.get_xlabel() == "Ba$$in"


def test_letters_come_from_another_font_where_one_has_them():
    with mpl.rc_context({"font.family": "cmr10", "axes.formatter.use_mathtext": True}):  # cmr10 has no Cyrillic letters
        ax = plt.figure().subplots()
        name_axes(ax, x="Рост")
        ax.figure.draw_without_rendering()  # would warn of a missing letter
    assert ax.get_xlabel() == "Рост"
    assert fonts_for("length") == []


def test_letters_that_no_font_has_are_named_once(monkeypatch):
    monkeypatch.setattr("bayesgmm.plots.names._installed", lambda: ())
    ax = plt.figure().subplots()
    with pytest.warns(bg.exceptions.DataWarning, match="no installed font has all letters of the name") as caught:
        name_axes(ax, x="\N{EGYPTIAN HIEROGLYPH A001}\N{EGYPTIAN HIEROGLYPH A002} (cm)")
    ax.figure.draw_without_rendering()  # without a further warning
    assert len(caught) == 1
    assert ax.get_xlabel() == "?? (cm)"


def test_an_empty_name_is_seen():
    ax = plt.figure().subplots()
    name_axes(ax, x="")
    assert ax.get_xlabel() == '""'


@pytest.mark.parametrize("unknown", [[2], [1, 2, 3]])
def test_k_of_which_nothing_is_known_are_left_out(comparison, unknown):
    """An example is a k with an improper posterior, on which EM has collapsed too."""
    columns = ["elpd_loo", "se", "elpd_diff", "dse", "weight", "log_evidence", "mcse", "p_k", "bic", "aic", "icl"]
    table = comparison.table.copy()
    table.loc[table["k"].isin(unknown), columns] = np.nan
    partly = replace(comparison, table=table)
    prediction, evidence, em = bg.plots.plot_compare(partly).axes
    if len(unknown) == 3:
        assert prediction.texts[0].get_text() == "no prediction of any k"
        assert evidence.texts[0].get_text() == "no evidence of any k"
    assert len([line for line in em.lines if line.get_markersize() == 13]) == (0 if len(unknown) == 3 else 2)
    assert bg.plots.plot_fits(partly).axes[1].get_title().startswith("k = 2: no elpd")


@pytest.fixture(scope="module")
def in_part():
    """A fit of two features with gaps and errors, and a fit of one with errors."""
    generator, n = rng(7), 80
    x = np.where(generator.uniform(size=(n, 1)) < 0.5, -3.0, 3.0) + generator.normal(size=(n, 2))
    error = generator.uniform(0.1, 1.5, (n, 2))
    gaps = generator.uniform(size=(n, 2)) < 0.2
    gaps[gaps.all(axis=1), 0] = False
    seen = np.where(gaps, np.nan, x + error * generator.normal(size=(n, 2)))
    quick = {"method": "gibbs", "draws": 60, "chains": 2, "thin": 2, "random_seed": 1, "progressbar": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)
        two = bg.fit(bg.Observations(seen, error=error, missing="at_random"), 2, **quick)
        return two, bg.fit(bg.Observations(seen[~gaps[:, 0], 0], error=error[~gaps[:, 0], 0]), 2, **quick)


def texts(figure):
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend() is not None)]
    return [text.get_text() for each in legends for text in each.get_texts()]


def test_what_is_known_in_part_is_drawn_in_part(in_part):
    two, _ = in_part
    order = np.random.default_rng(0).permutation(two["observed_data"].sizes["obs"])  # as they are drawn
    x, error = (two["observed_data"][name].values[order] for name in ("x", "error"))
    figure = bg.plots.plot_pairs(two)
    scatter, known = figure.axes[2], ~np.isnan(x)
    offsets = [each.get_offsets() for each in scatter.collections]
    for place in range(2):
        alone = x[known[:, place] & ~known[:, 1 - place], place]
        assert any(np.array_equal(at[:, place], alone) and not at[:, 1 - place].any() for at in offsets)
    across, _ = scatter.containers[0].lines[2]
    segments, whole = across.get_segments(), np.flatnonzero(known.all(axis=1))
    np.testing.assert_allclose([np.ptp(segments[i][:, 0]) for i in whole], 2 * error[whole, 0])
    said = {"ticks at an axis: the other value is missing", "bars: one standard deviation of the error"}
    assert said <= set(texts(figure))
    assert [text.get_text() for text in figure.axes[0].texts] == [f"{np.isnan(x[:, 0]).sum()} missing"]


@pytest.mark.parametrize("draw", ["plot_fit", "plot_solutions", "plot_responsibilities", "plot_coclustering"])
def test_every_picture_can_be_drawn_of_what_is_known_in_part(in_part, draw):
    for tree in in_part:
        figure = getattr(bg.plots, draw)(tree)
        figure.canvas.draw()
        if draw in ("plot_fit", "plot_solutions"):
            assert "densities: of values without errors" in texts(figure)
            shares = [sum(bar.get_height() * bar.get_width() for bar in ax.containers[0]) for ax in figure.axes]
            assert shares == pytest.approx([1] * len(shares))


def test_intervals_are_drawn_as_bins_bars_and_arrows():
    x = np.where(rng(3).uniform(size=(90, 1)) < 0.4, -3.0, 3.0) + rng(4).normal(size=(90, 2))
    quick = {"method": "gibbs", "draws": 60, "chains": 2, "thin": 2, "random_seed": 1, "progressbar": False}
    edges = [-np.inf, -4.0, -2.0, 0.0, 1.0, 5.0]
    counts = np.histogram(x[:, 0], [-99.0, *edges[1:]])[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)
        one = bg.fit(bg.Observations.binned(counts, edges), 1, **quick)
        lower, upper = np.where(x < -3, -np.inf, x), np.where(x < -3, -3.0, x)
        lower[:30, 1], upper[:30, 1] = np.floor(x[:30, 1]), np.floor(x[:30, 1]) + 1
        two = bg.fit(bg.Observations(lower=lower, upper=upper), 2, covariance="diag", **quick)
    ax = bg.plots.plot_fit(one).axes[0]
    bars = ax.containers[0]
    np.testing.assert_allclose([bar.get_x() for bar in bars], edges[1:-1])
    np.testing.assert_allclose([bar.get_height() * bar.get_width() for bar in bars], counts[1:] / counts.sum())
    assert [text.get_text() for text in ax.texts] == [f"{counts[0]} without a lower limit"]
    figure = bg.plots.plot_pairs(two)
    assert {"bars: the intervals in which values lie", "arrows: intervals that are open in that direction"} <= set(
        texts(figure)
    )
    order, places = np.random.default_rng(0).permutation(90), two["observed_data"]["x"].values
    _, along = figure.axes[2].containers[0].lines[2]
    np.testing.assert_allclose(
        [np.ptp(each[:, 1]) for each in along.get_segments()], np.where(order < 30, 1.0, 0.0), atol=1e-12
    )
    offsets = [each.get_offsets() for each in figure.axes[2].collections]
    assert any(np.array_equal(at, places[order][np.isinf(lower[order, 0])]) for at in offsets)
    for draw in ("plot_solutions", "plot_responsibilities", "plot_coclustering"):
        for tree in (one, two):
            getattr(bg.plots, draw)(tree).canvas.draw()


@pytest.mark.parametrize("draw", ["plot_compare", "plot_fits"])
def test_what_is_no_comparison_is_refused(draw):
    with pytest.raises(TypeError, match=r"comparison must be what bayesgmm.compare returns, got DataTree"):
        getattr(bg.plots, draw)(xr.DataTree())


@pytest.fixture(scope="module")
def noisy():
    """Fits of one feature and of two: two clusters among twenty strays."""
    x = np.concatenate([rng(1).normal(0, 1, (150, 2)), rng(2).normal(6, 1, (100, 2)), rng(3).uniform(-40, 60, (20, 2))])
    options = {"noise": True, "method": "gibbs", "random_seed": 1, "progressbar": False}
    # the first has so few draws that its plots use all of them, except for the clusters' dotted densities
    return bg.fit(x[:, 0], 2, draws=200, **options), bg.fit(x, 2, draws=600, **options)


def crosses(ax):
    [line] = [line for line in ax.lines if line.get_label() == "more probably noise than not"]
    return line.get_xydata()


def strays_of(tree):
    return tree["observed_data"]["x"].values[bg.responsibilities(tree)["noise"].values > 0.5]


def test_densities_beside_noise_have_the_share_that_it_leaves(noisy):
    one, two = noisy
    share, grid = 1 - one["posterior"]["w_noise"], np.linspace(-6, 12, 1_801)
    [ax] = bg.plots.plot_fit(one, grid=grid).axes
    alone = bg.predictive_density(one, grid).sel(statistic="mean")
    np.testing.assert_allclose(np.trapezoid(alone, grid), 1, atol=1e-4)
    mean = curve(ax, "posterior mean density")[1]
    assert np.trapezoid(mean, grid) == pytest.approx(share.mean().item(), abs=1e-4)
    assert sum(np.trapezoid(line.get_ydata(), grid) for line in ax.lines if line.get_linestyle() == ":") == pytest.approx(
        share.mean().item(), abs=2e-3
    )
    assert np.trapezoid(curve(ax, "EM")[1], grid) == pytest.approx(1 - one["em_baseline"]["w_noise"].item(), abs=1e-4)
    np.testing.assert_array_equal(crosses(ax)[:, 0], strays_of(one))
    for place, ax in enumerate(bg.plots.plot_fit(two).axes):
        np.testing.assert_array_equal(crosses(ax)[:, 0], strays_of(two)[:, place])
    [ax] = bg.plots.plot_solutions(one).axes
    assert np.trapezoid(ax.lines[0].get_ydata(), ax.lines[0].get_xdata()) == pytest.approx(share.mean().item(), abs=2e-3)


def test_noise_is_a_line_and_strays_are_crosses(noisy):
    one, two = noisy
    [ax] = bg.plots.plot_responsibilities(one).axes
    grid, of_noise = curve(ax, "noise")
    np.testing.assert_allclose(of_noise, over_all_draws(one, grid)[:, -1], atol=1e-9)
    total = of_noise + sum(curve(ax, f"cluster {j}")[1] for j in range(2))
    np.testing.assert_allclose(total, 1)
    np.testing.assert_array_equal(crosses(ax)[:, 0], strays_of(one))
    assert {*curve(ax, "data (n = 270)")[0], *crosses(ax)[:, 0]} == {*one["observed_data"]["x"].values}
    [ax] = bg.plots.plot_responsibilities(two).axes
    np.testing.assert_array_equal(crosses(ax), strays_of(two))
    assert len(ax.collections[0].get_offsets()) == 270 - len(strays_of(two))
    ax = bg.plots.plot_pairs(two).axes[2]
    assert {*map(tuple, crosses(ax))} == {*map(tuple, strays_of(two))}
    assert len(ax.collections[0].get_offsets()) == 270 - len(strays_of(two))
    n = (bg.partition(one) < 0).sum().item()
    assert bg.plots.plot_coclustering(one).axes[0].get_title() == f"partition of 270 observations into 2, {n} of them noise"


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_noise_that_is_not_known_elsewhere_has_no_line():
    x = np.append(rng(1).normal(size=60), [30.0, -40.0])
    tree = bg.fit(x, 1, noise=np.linspace(-5, -4, 62), method="gibbs", draws=50, random_seed=1, progressbar=False)
    [ax] = bg.plots.plot_responsibilities(tree).axes
    assert not [line for line in ax.lines if line.get_label() == "noise"]
    np.testing.assert_array_equal(np.sort(crosses(ax)[:, 0]), [-40.0, 30.0])


def test_plot_regression_draws_the_predictions(faithful_tree):
    figure = bg.plots.plot_regression(faithful_tree, grid=[4.0, 2.0, 3.0], interval=0.8)
    [ax] = figure.axes
    grid, mean = curve(ax, "posterior mean")
    np.testing.assert_array_equal(grid, [2.0, 3.0, 4.0])
    found = bg.predict(faithful_tree, {"eruptions": grid}, probabilities=[0.1, 0.9])
    np.testing.assert_array_equal(mean, found["mean"].values[:, 0])
    bands = {each.get_label(): each.get_paths()[0].vertices for each in ax.collections}
    for label, name in (("80% band of observations", "quantile"), ("80% band of the mean", "quantile_of_mean")):
        for at, ends in zip(grid, found[name].values[:, :, 0].T, strict=True):
            there = [y for x, y in bands[label].tolist() if x == at]
            for end in ends:
                np.testing.assert_allclose(min(there, key=lambda y, end=end: abs(y - end)), end, rtol=1e-9)
    em, _ = Reading(faithful_tree).em
    given = [em.conditional({0: value}) for value in grid]
    np.testing.assert_allclose(curve(ax, "EM")[1], [each.weights @ each.means for each in given])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("eruptions", "waiting")
    assert bg.plots.plot_regression(faithful_tree, "eruptions", "waiting").axes[0].get_ylabel() == "eruptions"
    for options in ({"of": "waiting", "along": "waiting"}, {"given": {"eruptions": 2.0}}):
        with pytest.raises(ValueError, match="of, along and given must name different features, got of='waiting'"):
            bg.plots.plot_regression(faithful_tree, **options)
    with pytest.raises(ValueError, match="along must be one of 'eruptions', 'waiting', got 'wait'"):
        bg.plots.plot_regression(faithful_tree, along="wait")
    for given in ([1.0], "abc", 3):
        with pytest.raises(TypeError, match="given must map names of features to values, got "):
            bg.plots.plot_regression(faithful_tree, given=given)
    assert bg.plots.plot_regression(faithful_tree, "eruptions").axes[0].get_xlabel() == "waiting"


def test_the_band_of_a_curve_does_not_vanish_beyond_the_data(faithful_tree):
    found = bg.predict(faithful_tree, {"eruptions": [4.5, 8.0, 20.0]}, probabilities=[0.05, 0.95])
    widths = np.diff(found["quantile_of_mean"].values[:, :, 0], axis=0)[0]
    assert (np.diff(widths) > 3 * widths[:-1]).all()


def test_plot_conditional_draws_the_density(faithful_tree):
    figure = bg.plots.plot_conditional(faithful_tree, {"eruptions": [3.0]})
    [ax] = figure.axes
    grid, mean = curve(ax, "posterior mean density")
    np.testing.assert_array_equal(mean, bg.conditional(faithful_tree, {"eruptions": 3.0}).sel(statistic="mean"))
    em, _ = Reading(faithful_tree).em
    np.testing.assert_allclose(curve(ax, "EM")[1], np.exp(em.conditional({0: 3.0}).log_density(grid)))
    assert ax.get_title() == "given eruptions = 3"
    with pytest.raises(ValueError, match=r"given must hold one finite value for each feature, got \{'eruptions': nan\}"):
        bg.plots.plot_conditional(faithful_tree, {"eruptions": np.nan})
