"""The report: what it says, that it needs no other file, and that the command line's results reproduce it."""

import itertools
import re
import shutil
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from scipy.special import eval_legendre
from scipy.stats import norm

import bayesgmm as bg
from bayesgmm.analysis.reading import Reading
from bayesgmm.cli import stored_results
from bayesgmm.cli.folders import whole_folder
from bayesgmm.cli.results import _write_clusters, keep_draws, write_comparison, write_fit
from bayesgmm.comparison.verdict import smallest_left
from bayesgmm.html_report import blocks, figures
from bayesgmm.html_report.calibration import _scores, band, calibrations, smooth_test
from bayesgmm.html_report.fit_sections import fit_sections
from bayesgmm.html_report.fitted import Fitted, as_logarithm
from bayesgmm.html_report.settings import settings_section
from tests.conftest import make_tree, one_chain_elsewhere
from tests.statistics import SEED, assert_same_means, rng

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Elements of a page in order, with attributes and text. ``unmatched`` holds end tags without a start tag."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.open, self.unmatched = [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_endtag(self, tag):
        if self.open and self.open[-1][0] == tag:
            self.open.pop()
            self.handle_data(" ")  # between cells
        else:
            self.unmatched.append(tag)

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def all(self, *tags):
        return [each for each in self.elements if each[0] in tags]

    def text(self, tag="main"):
        return " ".join(" ".join(each[2] for each in self.all(tag)).split())


def written(result, tmp_path, **options):
    return Page(bg.report(result, tmp_path / "report.html", **options).read_text(encoding="utf-8"))


class Cases(dict):
    """Results by their names, each made when it is first asked for."""

    def __init__(self, made_by):
        self.made_by = made_by

    def __missing__(self, name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of runs that are too short on purpose
            self[name] = self.made_by[name]()
        return self[name]


def users_model(x):
    import pymc as pm

    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 20, 10, shape=2, initval=[10, 25])
        sigma = pm.HalfNormal("sigma", 10, shape=2)
        pm.NormalMixture("x", w, mu, sigma, observed=x)
    return model


@pytest.fixture(scope="module")
def cases(request, galaxies, nuts_tree, advi_tree, faithful, faithful_tree, comparison, two_small):
    """Every kind of result, by its name."""
    short = {"random_seed": SEED, "progressbar": False, "draws": 10, "tune": 50}
    interrupted = make_tree(two_small)
    interrupted.attrs["interrupted"] = 1
    rng = np.random.default_rng(0)
    many = np.concatenate([rng.normal(5, 1, 30_000), rng.normal(12, 2, 70_000)])
    return Cases(
        {
            "one feature": lambda: nuts_tree,
            "two features": lambda: faithful_tree,
            "ADVI": lambda: advi_tree,
            "one component": lambda: bg.fit(galaxies, 1, method="gibbs", thin=5, random_seed=SEED, progressbar=False),
            "one component of two features": lambda: bg.fit(
                faithful, 1, method="gibbs", draws=200, random_seed=SEED, progressbar=False
            ),
            "one chain": lambda: bg.fit(galaxies, 2, method="gibbs", chains=1, random_seed=SEED, progressbar=False),
            "ten draws": lambda: bg.fit(galaxies, 2, method="gibbs", **short),
            "a user's model": lambda: bg.fit(galaxies, 2, model=users_model(galaxies), chains=2, **short),
            "interrupted": lambda: interrupted,
            # converged, with labels that mean nothing
            "five clusters": lambda: bg.fit(galaxies, 5, method="gibbs", thin=10, random_seed=SEED, progressbar=False),
            "several solutions": lambda: make_tree(two_small, change=one_chain_elsewhere),
            "little known of the run": lambda: make_tree(two_small),
            "many observations": lambda: make_tree(many, draws=50),
            "comparison": lambda: comparison,
            "posterior of k": lambda: request.getfixturevalue("k_tree"),
            "posterior of k, two features": lambda: bg.posterior_k(faithful, draws=50, random_seed=SEED, progressbar=False),
        }
    )


@pytest.fixture(scope="module")
def pages(cases, tmp_path_factory):
    """The reports on ``cases``, each written when it is first asked for."""
    folder = tmp_path_factory.mktemp("pages")

    def write(name):
        return lambda: bg.report(cases[name], folder / f"{name}.html")

    return Cases({name: write(name) for name in cases.made_by})


def page_of(file):
    return Page(file.read_text(encoding="utf-8"))


NAMES = [
    "one feature", "two features", "ADVI", "one component", "one component of two features", "one chain", "ten draws",
    "a user's model", "interrupted", "several solutions", "little known of the run", "many observations", "comparison",
    "posterior of k", "posterior of k, two features",
]  # fmt: skip
LATER = {
    "two features",
    "ADVI",
    "one component",
    "one component of two features",
    "one chain",
    "ten draws",
    "a user's model",
    "interrupted",
    "little known of the run",
    "many observations",
    "comparison",
    "posterior of k",
    "posterior of k, two features",
}
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in LATER else name for name in NAMES]


@pytest.mark.parametrize("name", EACH)
def test_every_result_gives_a_sound_page(pages, name):
    page = page_of(pages[name])
    assert not page.open
    assert not page.unmatched
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    local = {attrs["href"][1:] for _, attrs, _ in page.elements if attrs.get("href", "").startswith("#")}
    assert local <= set(ids)
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for _, attrs, text in page.all("svg"):
        assert attrs["role"] == "img"
        title = next(each for each in page.all("title") if each[1].get("id") == attrs["aria-labelledby"])
        assert re.search(r"\d", title[2]), "a picture is described with numbers"
        assert "nan" not in text
    for _, attrs, _ in page.all("th"):
        assert attrs["scope"] in ("col", "row")
    assert len(page.all("caption")) == len(page.all("table"))
    assert not re.search(r"\b(nan|NaN|inf|None)\b", page.text())
    assert pages[name].stat().st_size < 3e6


@pytest.mark.parametrize("name", EACH)
def test_a_page_asks_for_nothing_else(pages, name):
    page = page_of(pages[name])
    for _, attrs, _ in page.elements:
        for key in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            assert attrs.get(key, "#").startswith(("#", "data:"))
    source = pages[name].read_text(encoding="utf-8")
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org)", source)


@pytest.mark.slow
def test_the_same_result_gives_the_same_file(nuts_tree, pages, tmp_path):
    assert bg.report(nuts_tree, tmp_path / "other.html").read_bytes() == pages["one feature"].read_bytes()


def test_the_answer_has_the_numbers_of_the_tree(cases, pages):
    page = page_of(pages["one feature"])
    posterior = cases["one feature"]["posterior"]
    answer = page.text("main").split("The data")[0]
    assert "82 observations, described by a mixture of 3 Gaussians. The number of components, k = 3, was given; " in answer
    assert "others were not examined. To compare several, use bg.compare" in answer
    assert "The sampling can be relied on." in answer
    for j in range(3):
        mean, (lower, upper) = float(posterior["mu"][..., j].mean()), np.quantile(posterior["mu"][..., j], [0.05, 0.95])
        told = re.search(rf"cluster {j} \S+ \(\S+ to \S+\) (\S+) \((\S+) to (\S+)\)", answer)
        sd = float(posterior["mu"][..., j].std())
        np.testing.assert_allclose([float(each) for each in told.groups()], [mean, lower, upper], rtol=0, atol=0.06 * sd)


def test_trouble_comes_first_and_with_its_remedy(cases, pages):
    page = page_of(pages["several solutions"])
    answer, rest = page.text().split("The data", 1)
    assert "Not to be relied on as it stands" in answer
    assert "The sampling can be relied on" not in answer
    assert "no conflict" not in page.text().lower()
    assert "This check is no better than the draws" in page.text()
    diagnosis = bg.diagnose(cases["several solutions"])
    for finding in diagnosis.findings:
        assert finding.problem[1:] in rest
        assert finding.remedy[1:] in rest
    assert "Several solutions" in page.text("nav")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ADVI", ["It is still an approximation", "k-hat"]),
        ("one chain", ["one chain cannot show whether it has converged", "Not to be relied on"]),
        ("ten draws", ["Not to be relied on"]),
        ("interrupted", ["The run was interrupted"]),
        ("a user's model", ["The model is a user's own pm.Model", "model=model"]),
        ("many observations", ["estimated from a sample of 20 000", "A sample of 2 000 observations is drawn"]),
        ("one component", ["a single Gaussian", "every observation belongs to it"]),
        (
            "posterior of k",
            [
                "The answer The answer is ",
                "most probably that many clusters hold data",
                "components, with or without data, is",
                "bg.posterior_k(",
                "bg.priors.Uniform(most=30)",
            ],
        ),
    ],
)
def test_what_is_special_is_said(cases, pages, name, words):
    if name == "ADVI" and not bg.diagnose(cases[name]).converged:
        words = words[1:]
    text = page_of(pages[name]).text().replace("\N{NO-BREAK SPACE}", " ")
    for each in words:
        assert each in text


def test_chains_have_shades_of_their_cluster(cases):
    fitted = Fitted.of(cases["several solutions"])
    left, right = figures.plot_traces(fitted).axes[:2]
    for ax in (left, right):
        colours = [line.get_color() for line in ax.lines]
        assert len(set(colours)) == 8  # of two clusters in four chains
        lightness = np.array([sum(to_rgb(each)) for each in colours]).reshape(2, 4)
        assert (np.diff(lightness, axis=1) > 0.1).all()
    plt.close("all")
    svg = str(figures.traces_picture(fitted).svg)
    assert "color-mix(in srgb, var(--cluster-0) 55%, black)" in svg
    assert "color-mix(in srgb, var(--cluster-1) 55%, white)" in svg


@pytest.mark.parametrize("n", [50, 500])
def test_the_band_holds_uniform_numbers_as_often_as_it_says(n):
    points, lower, upper = band(n)
    generator, runs = rng(1), 2_000
    values = np.sort(generator.uniform(size=(runs, n)), axis=1)
    shares = np.array([np.searchsorted(each, points, side="right") for each in values]) / n
    outside = ((shares < lower) | (shares > upper)).any(axis=1).mean()
    errors = (np.sqrt(0.05 * 0.95 / each) for each in (runs, 4_000))  # the band is simulated too
    assert_same_means(outside, next(errors), 0.05, next(errors), "outside")


@pytest.mark.slow
def test_where_observations_fall_equals_leaving_each_of_them_out(two_small):
    x = two_small[::20]
    [found] = calibrations(Reading(_quick(x, 2, thin=5)), ["x"])
    pit = np.empty(len(x))
    for i, value in enumerate(x):
        pit[i] = bg.predictive_cdf(_quick(np.delete(x, i), 2, thin=5), [value]).sel(statistic="mean").item()
    shares = np.searchsorted(np.sort(pit), found.points, side="right") / len(x)
    np.testing.assert_allclose(found.shares, shares, rtol=0, atol=1.01 / len(x))  # may differ by one observation


def _quick(x, k, **options):
    return bg.fit(x, k, method="gibbs", random_seed=SEED, progressbar=False, **options)


@pytest.mark.slow
def test_a_model_that_is_right_is_not_blamed_and_one_that_is_wrong_is(tmp_path):
    right = bg.Mixture([0.4, 0.6], [0, 4], sigma=[1, 1.5]).sample(400, rng(2))[0]
    wrong = rng(3).exponential(size=400)
    text = written(_quick(right, 2), tmp_path).text()
    assert "The check found no conflict between data and model." in text
    assert "This does not show that the model is right" in text
    assert "Data and model conflict." not in text
    text = written(_quick(wrong, 1), tmp_path, force=True).text()
    assert "Data and model conflict." in text
    share, place, expected = re.search(
        r"(\d+)% of the observations lie below (\S+), where the model expects (\d+)%", text
    ).groups()
    place = float(place.replace("\N{MINUS SIGN}", "-"))
    assert (wrong < place).mean() == pytest.approx(int(share) / 100, abs=0.02)
    assert norm.cdf(place, wrong.mean(), wrong.std()) == pytest.approx(int(expected) / 100, abs=0.02)


def test_each_feature_is_checked_by_itself():
    generator = rng(4)
    x = np.column_stack([generator.normal(size=400), generator.exponential(size=400)])
    data = xr.DataArray(x, dims=("row", "feature"), coords={"feature": ["even", "skewed"]})
    tree = bg.fit(data, 1, method="gibbs", draws=250, random_seed=SEED, progressbar=False)
    found = calibrations(Reading(tree), ["even", "skewed"])
    assert [each.inside for each in found] == [True, False]
    text = Fitted.of(tree).adequacy().text
    assert re.search(r"of the observations lie below \S+ in skewed, where", text)
    assert "in even, where" not in text


@pytest.mark.slow
def test_values_with_errors_are_compared_with_what_is_predicted_of_these():
    generator = rng(5)
    error = generator.uniform(0.1, 3, (400, 2))
    x = generator.normal(size=(400, 2)) + error * generator.normal(size=(400, 2))
    x[:100, 1] = np.nan
    tree = _quick(bg.Observations(x, error=error, missing="at_random"), 1, draws=250)
    found = calibrations(Reading(tree), ["0", "1"])
    assert [(each.n, each.inside) for each in found] == [(400, True), (300, True)]
    without = tree.copy()
    without["observed_data"] = xr.DataTree(tree["observed_data"].to_dataset().drop_vars("error"))
    assert not any(each.inside for each in calibrations(Reading(without), ["0", "1"]))  # the control


@pytest.fixture(scope="module")
def in_part():
    """Two positive features with gaps and errors, and frequency weights."""
    generator, n = rng(6), 90
    x = np.exp(np.where(generator.uniform(size=(n, 1)) < 0.5, 0.0, 2.0) + 0.3 * generator.normal(size=(n, 2)))
    x[:12, 0], x[12:20, 1] = np.nan, np.nan
    frame = pd.DataFrame(x, columns=["a", "b"])
    return {"x": frame, "error": generator.uniform(0.1, 0.4, (n, 2)), "weight": generator.integers(1, 3, n).astype(float)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_a_report_of_what_is_known_in_part(in_part, tmp_path):
    """The report counts gaps and describes errors. The call that it shows repeats the fit."""
    known = bg.Observations(in_part["x"], error=in_part["error"], weight=in_part["weight"], missing="at_random")
    tree = _quick(known, 2, draws=100, thin=2)
    page = written(tree, tmp_path)
    text = " ".join(page.text().split())
    assert "left out, because it cannot be written" not in text
    assert "20 values missing, measured with errors" in text
    assert "feature n missing mean sd" in text
    assert re.search(r"standard deviations were given: a 0\.1\d+ to 0\.[34]\d+ and b 0\.1\d+ to", text)
    assert "A tick at an axis is an observation whose other value is missing. Bars are one standard deviation" in text
    assert "The predictions include the measurement errors." in text
    assert "Fit the logarithm" not in text
    python, shell = (each[2] for each in page.all("code"))
    assert "--columns a b --weight NAME --error NAME NAME" in shell
    assert "--missing at_random" in shell
    scope = dict(in_part)
    exec(python, scope)
    np.testing.assert_array_equal(scope["tree"]["posterior"]["mu"], tree["posterior"]["mu"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_a_report_of_k_where_values_are_known_in_part(in_part, tmp_path):
    known = bg.Observations(in_part["x"], error=in_part["error"], missing="at_random")
    text = written(bg.posterior_k(known, draws=60, random_seed=1, progressbar=False), tmp_path).text()
    assert "The data are 90 observations, 20 values missing, measured with errors. The model is a mixture" in text
    assert "bg.posterior_k" in text
    assert "nan" not in text.lower().split()


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("single", [True, False])
def test_rows_are_typed_as_what_they_are(single):
    """Error covariances have no option in the shell. ``missing`` is shown as it was given."""
    x = rng(1).normal(size=(40, 2))
    covariances = np.broadcast_to(np.eye(2) * 0.1, (40, 2, 2))
    if single:
        x, covariances = x[:, 0], np.full(40, 0.3)
    else:
        x[3, 0] = np.nan
    tree = _quick(bg.Observations(x, error=covariances, missing="at_random"), 1, draws=100, chains=2)
    code = {each.label: each.text for each in settings_section(tree).blocks if isinstance(each, blocks.Code)}
    assert 'bg.Observations(x, error=error, missing="at_random")' in code["In Python"]
    assert ("In a shell" in code) == single
    assert not single or "--column NAME --error NAME -k 1" in code["In a shell"]
    assert not single or "--missing at_random" in code["In a shell"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "doubt"),
    [("several solutions", "the chains do not agree"), ("five clusters", "their labels cannot be told apart")],
)
def test_every_table_by_label_says_that_labels_mean_nothing(pages, name, doubt):
    captions = [text.strip() for _, _, text in page_of(pages[name]).all("caption")]
    by_label = re.compile("The clusters|Sizes of the clusters|The least certain|EM beside|Parameters, by label")
    about = [caption for caption in captions if by_label.match(caption)]
    assert len(about) >= 3
    assert all(caption.endswith(f"; not to be relied on, because {doubt}") for caption in about)
    sound = page_of(pages["one feature"])
    assert "not to be relied on" not in sound.text()


@pytest.mark.slow
def test_em_is_not_said_to_differ_where_labels_mean_nothing(pages):
    text = page_of(pages["five clusters"]).text()
    assert "The densities of posterior and EM agree; more cannot be judged." in text
    assert "differ." not in text


@pytest.mark.slow
def test_names_are_escaped(tmp_path):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (60, 2)), rng.normal(6, 1, (60, 2))])
    names = ["<script>alert(1)</script>", "a & b $x$ \"quoted\" 'so'"]
    data = xr.DataArray(x, dims=("row", "feature"), coords={"feature": names})
    tree = bg.fit(data, 2, method="gibbs", draws=200, random_seed=SEED, progressbar=False)
    page = written(tree, tmp_path, title="<b>bold</b>")
    assert len(page.all("script")) == 1
    assert "alert" not in page.all("script")[0][2]
    assert not page.all("b")
    assert page.all("h1")[0][2] == "<b>bold</b>"
    for name in names:
        assert name in page.text()
        assert any(name in text for _, _, text in page.all("svg"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the approximation misses part")
def test_what_is_to_be_typed_gives_the_fit_again(cases, two_small, tmp_path):
    """The call that a report shows gives the same draws."""
    x = two_small
    options = {"prior": bg.ConjugatePrior(alpha=2), "covariance": "tied", "thin": 2, "random_seed": 3}
    tree = bg.fit(x, 2, method="gibbs", **options, progressbar=False)
    by_advi = bg.fit(x, 2, method="advi", approximation="meanfield", random_seed=3, progressbar=False)
    for result, data in ((tree, x), (by_advi, x), (cases["one feature"], bg.datasets.galaxies())):
        code = written(result, tmp_path, force=True).all("code")[0][2]
        scope = {"x": data}
        exec(code, scope)
        np.testing.assert_array_equal(scope["tree"]["posterior"]["mu"], result["posterior"]["mu"])


@pytest.mark.parametrize(
    ("prior", "python", "shell"),
    [
        (bg.HierarchicalPrior(), "", ""),
        (bg.ConjugatePrior(), "prior=bg.ConjugatePrior()", "--prior conjugate"),
        (bg.HierarchicalPrior(scale="core"), 'prior=bg.HierarchicalPrior(scale="core")', "--prior-scale core"),
        (bg.ConjugatePrior(scale="core"), 'prior=bg.ConjugatePrior(scale="core")', "--prior conjugate --prior-scale core"),
        (bg.ConjugatePrior(B0=9), "prior=bg.ConjugatePrior(alpha=1.0, ", "the shell cannot set them"),
    ],
)
def test_the_prior_is_typed_as_it_was_asked_for(two_small, prior, python, shell):
    x = np.append(two_small, 90.0)
    tree = make_tree(x, 1)
    tree.attrs.update(method="gibbs", seed=1, prior=prior.scaled_to(x).to_json())
    in_python, in_shell = (each.text for each in settings_section(tree).blocks if isinstance(each, blocks.Code))
    for text, stated in ((in_python, python), (in_shell, shell)):
        assert " ".join(stated.split()) in " ".join(text.replace("\\\n", " ").split())
        assert bool(stated) == ("prior" in text)


@pytest.mark.slow
def test_a_comparison_tells_its_choice(comparison, tmp_path):
    page = written(comparison, tmp_path)
    k, why = smallest_left(comparison.table.set_index("k"))
    assert f"The answer is k = {k}, {why}. 82 observations" in page.text()
    assert next(attrs["id"] for _, attrs, _ in page.all("figure")) == "figure-fits"  # the first figure
    assert f"This report describes k = {k} in detail." in page.text()
    for each in (*comparison.caveats[0], *comparison.caveats[1], *(each.how_sure for each in comparison.best.answers)):
        assert each[1:] in page.text()
    assert "K = " not in page.text()
    assert ".diagnoses" not in page.text()
    marked = [text for _, attrs, text in page.all("tr") if attrs.get("class") == "marked"]
    assert len(marked) == 1
    assert marked[0].startswith(str(k))
    other = written(comparison, tmp_path, k=2, force=True)
    assert "This report describes k = 2 in detail, as asked." in other.text()
    assert "described by a mixture of 2 Gaussians" in other.text()


def test_the_k_told_is_the_smallest_not_ruled_out(comparison):
    """The definitions are computed again: two standard errors; a Bayes factor of 20, plus two Monte Carlo errors."""
    by_k = comparison.table.set_index("k")
    open_by_loo = by_k.index[by_k["elpd_diff"].abs() <= 2 * by_k["dse"]]
    behind = by_k["log_evidence"].max() - by_k["log_evidence"]
    error = np.hypot(by_k["mcse"], by_k.loc[behind.idxmin(), "mcse"])
    open_by_evidence = by_k.index[(behind < np.log(20) + 2 * error) | (behind == 0)]
    assert smallest_left(comparison.table.set_index("k"))[0] == min(set(open_by_loo) & set(open_by_evidence))
    assert smallest_left(comparison.table.set_index("k"))[0] == 3


@pytest.mark.parametrize(
    ("log_evidence", "elpd_diff", "k"),
    [
        ([-21.8, -9.6, -1.2, 0], [-33, -16, -3, 0], 3),  # a Bayes factor of little more than 3 rules nothing out
        ([-21.8, -9.6, -3.1, 0], [-33, -16, -3, 0], 3),  # beyond 20, but not by two Monte Carlo errors
        ([-21.8, -9.6, -3.4, 0], [-33, -16, -3, 0], 4),
        ([-21.8, -9.6, -1.2, 0], [-33, -16, -5, 0], 4),  # prediction rules it out
        ([-21.8, 0, -8, -9], [-33, -16, -3, 0], 2),  # no k is left by both
        ([np.nan] * 4, [-33, -16, -3, 0], 3),
        ([-21.8, -9.6, np.nan, 0], [-33, -16, -3, 0], 3),  # what is unknown rules nothing out
    ],
)
def test_what_rules_a_k_out(comparison, log_evidence, elpd_diff, k):
    known = np.isfinite(log_evidence)
    changed = {"log_evidence": log_evidence, "mcse": np.where(known, 0.1, np.nan), "p_k": np.where(known, 0.25, np.nan)}
    elpd = -200.0 + np.array(elpd_diff)
    table = pd.concat([comparison.table, comparison.table.tail(1).assign(k=4)], ignore_index=True)
    table = table.assign(**changed, elpd_loo=elpd, elpd_diff=elpd_diff, dse=[7.0, 6.0, 2.0, 0.0])
    assert smallest_left(table.set_index("k"))[0] == k


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"method": "nuts", "tune": 150, "thin": 2, "target_accept": 0.85, "draws": 60, "chains": 2, "n_init": 5},
        {"method": "gibbs", "covariance": "tied", "thin": 3, "draws": 50, "prior": bg.ConjugatePrior(alpha=2)},
        {"draws": np.int64(50), "missing": "drop", "prior_k": [0, 0.7, 0.3]},
    ],
)
def test_what_is_to_be_typed_gives_the_comparison_again(options, two_small, tmp_path):
    x = np.append(two_small[::4], np.nan if "missing" in options else 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of runs that are too short on purpose
        result = bg.compare(x, [2, 3], **options, random_seed=3, progressbar=False)
        (tmp_path / "folder").mkdir()
        write_comparison(result, tmp_path / "folder")
        back = stored_results.read_results(tmp_path / "folder")
        scope = {"x": x}
        exec(written(back, tmp_path).all("code")[0][2], scope)
    again = scope["comparison"]
    for k in (2, 3):
        assert again.fits[k]["posterior"].equals(result.fits[k]["posterior"])
    assert again.table["log_evidence"].equals(result.table["log_evidence"])
    assert again.prior_k.equals(result.prior_k)


@pytest.mark.slow
def test_a_report_is_written_whole_and_over_nothing(nuts_tree, tmp_path, monkeypatch):
    file = tmp_path / "new" / "folder" / "report.html"
    assert bg.report(nuts_tree, str(file)) == file
    before = file.read_bytes()
    with pytest.raises(FileExistsError, match=r"report\.html exists; choose another path, or replace it with force=True"):
        bg.report(nuts_tree, file)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        bg.report(nuts_tree, file, force=True)
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == ["report.html"]


def test_bad_arguments_get_a_sentence(nuts_tree, comparison, tmp_path):
    with pytest.raises(TypeError, match="result must be a DataTree or a Comparison, got list"):
        bg.report([nuts_tree], tmp_path / "a.html")
    with pytest.raises(ValueError, match="path must be a file to write, got the folder"):
        bg.report(nuts_tree, tmp_path)
    with pytest.raises(ValueError, match="k chooses among the fits of a comparison, got k=2 with a single result"):
        bg.report(nuts_tree, tmp_path / "a.html", k=2)
    with pytest.raises(ValueError, match="k must be one of those compared, 1, 2, 3, got 7"):
        bg.report(comparison, tmp_path / "a.html", k=7)
    with pytest.raises(ValueError, match="tree must"):
        bg.report(xr.DataTree(), tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def comparison_folder(comparison, tmp_path_factory):
    with whole_folder(tmp_path_factory.mktemp("results") / "comparison") as results:
        write_comparison(comparison, results.folder)
    return results.place


@pytest.mark.slow
def test_a_comparison_comes_back_from_its_folder(comparison, comparison_folder, tmp_path):
    back = stored_results.read_results(comparison_folder)
    assert back.table.equals(comparison.table)
    assert back.table.dtypes.equals(comparison.table.dtypes)
    assert back.seed == comparison.seed
    assert back.prior_k.equals(comparison.prior_k)
    assert back.best == comparison.best
    assert back.verdict == comparison.verdict
    assert list(back.fits) == list(comparison.fits)
    for k, elpd in comparison.loo.items():
        for name, value in vars(elpd).items():
            other = getattr(back.loo[k], name)
            same = value.equals(other) if isinstance(value, xr.DataArray) else value == other
            assert same, f"{name} of k = {k}"
    assert bg.report(back, tmp_path / "again.html").read_bytes() == (comparison_folder / "report.html").read_bytes()


def test_loo_of_a_sample_comes_back(nuts_tree):
    elpd = bg.loo(nuts_tree, sample=30)
    stored = stored_results._loo_as_dataset(elpd)
    back = stored_results._loo_from(stored)
    assert type(back) is type(elpd)
    for name, value in vars(elpd).items():
        other = getattr(back, name)
        if isinstance(value, xr.DataArray):
            assert value.equals(other)
        else:
            np.testing.assert_array_equal(other, value)


@pytest.mark.slow
def test_a_fit_comes_back_from_its_folder(cases, tmp_path):
    keep_draws(cases["two features"], tmp_path)
    write_fit(Fitted.of(cases["two features"]), tmp_path)
    for place in (tmp_path, tmp_path / "posterior.nc"):
        assert bg.report(stored_results.read_results(place), tmp_path / "again.html", force=True)
        assert (tmp_path / "again.html").read_bytes() == (tmp_path / "report.html").read_bytes()


def test_a_folder_of_something_else_gets_a_sentence(comparison, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        stored_results.read_results(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"must hold posterior.nc or comparison.json, got neither"):
        stored_results.read_results(tmp_path)
    (tmp_path / "text.nc").write_text("no tree")
    with pytest.raises(ValueError, match="must be a tree in NetCDF, got something that cannot be read"):
        stored_results.read_results(tmp_path / "text.nc")
    xr.DataTree.from_dict({"other": xr.Dataset({"a": 1})}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(ValueError, match="must hold the groups posterior and observed_data, got other"):
        stored_results.read_results(tmp_path / "other.nc")
    stored_results.write_comparison_parts(comparison, tmp_path)
    with pytest.raises(ValueError, match=r"got no k1/posterior\.nc, k2/posterior\.nc"):
        stored_results.read_results(tmp_path)
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(ValueError, match="must be as compare --out wrote it"):
        stored_results.read_results(tmp_path)


@pytest.mark.parametrize(
    ("value", "spread", "told"),
    [
        (21.3912, 0.2605, "21.39"), (21.3912, 14.0, "21"), (-203.4819, 1.0, "\N{MINUS SIGN}203.5"), (1234567.0, 3e4, "1\N{NARROW NO-BREAK SPACE}235\N{NARROW NO-BREAK SPACE}000"),
        (3.2e-160, 1e-161, "3.20e\N{MINUS SIGN}160"), (np.nan, 1.0, "\N{EN DASH}"), (0.0, None, "0"), (0.87086, None, "0.8709"),
        (5.0, 0.0, "5.000"), (1e9, 12.0, "1.000000000e+09"),
    ],
)  # fmt: skip
def test_numbers_have_the_digits_that_their_spread_leaves(value, spread, told):
    assert blocks.number(value, spread) == told


@pytest.mark.slow
def test_a_damaged_result_is_a_sentence_and_is_never_opened(faithful_tree, comparison_folder, tmp_path, monkeypatch):
    with whole_folder(tmp_path / "fit") as results:
        keep_draws(faithful_tree, results.folder)
    shutil.copytree(comparison_folder, tmp_path / "comparison")
    monkeypatch.setattr("xarray.open_datatree", lambda *_, **__: pytest.fail("opened"))
    for name in ("fit/posterior.nc", "comparison/comparison.json", "comparison/k1/posterior.nc", "comparison/loo.nc"):
        file = tmp_path / name
        whole = file.read_bytes()
        if name == "comparison/loo.nc":
            monkeypatch.setattr(stored_results, "_read_tree", lambda _: None)
        middle = len(whole) // 2
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])  # one bit
        place = file if file.parent.name == "k1" else file.parent
        with pytest.raises(ValueError, match=rf"{file.name} has been damaged or changed since it was written; run"):
            stored_results.read_results(place)
        file.write_bytes(whole)


def test_results_without_digests_are_read_as_before(faithful_tree, tmp_path):
    with whole_folder(tmp_path / "fit") as results:
        keep_draws(faithful_tree, results.folder)
    (tmp_path / "fit" / "digests.json").unlink()
    back = stored_results.read_results(tmp_path / "fit")
    assert back["posterior"].equals(faithful_tree["posterior"])
    (tmp_path / "fit" / "posterior.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(ValueError, match=r"posterior\.nc must be a tree in NetCDF, got something that cannot be read"):
        stored_results.read_results(tmp_path / "fit")


def test_data_are_shown_in_their_own_digits():
    price = np.array([326, 18823, 950, 5324, 2401.0])
    assert [blocks.as_recorded(price)(each) for each in (326, 18823, 5324.25)] == [
        "326", "18\N{NARROW NO-BREAK SPACE}823", "5\N{NARROW NO-BREAK SPACE}324.2",
    ]  # fmt: skip
    small = np.exp(rng(7).normal(0, 3, 500))
    assert blocks.as_recorded(small)(0.159123) == "0.1591"
    assert blocks.as_recorded(1.7e9 + np.arange(30.0))(1.7e9 + 12) == "1 700 000 012".replace(
        " ", "\N{NARROW NO-BREAK SPACE}"
    )
    assert blocks.as_recorded(np.array([0.1, 0.25, 3.0]))(3.0) == "3.00"
    assert blocks.as_recorded(1e-160 * np.array([1.5, 2.5]))(1.5e-160).startswith("1.5")


@pytest.mark.slow
def test_numbers_do_not_break_at_their_thousands(pages):
    page = page_of(pages["many observations"])
    assert page.all("p")[1][2].startswith("100\N{NARROW NO-BREAK SPACE}000 observations")
    assert not [text for _, _, text in page.all("p", "td", "figcaption") if re.search(r"\d \d{3}\b", text)]


def test_columns_may_be_called_as_ours_are(two_small, tmp_path):
    tree = make_tree(two_small)
    for name, called in (("p[0]", "p[0] (data)"), ("sd[1]", "sd[1] (data)"), ("cluster", "cluster (data)"), ("y", "y")):
        _write_clusters(Reading(tree), tmp_path / "clusters.csv", [name], None)
        table = pd.read_csv(tmp_path / "clusters.csv")
        assert list(table) == ["obs", called, "cluster", "p[0]", "p[1]", "sd[0]", "sd[1]"]
        np.testing.assert_allclose(table[called], two_small)


@pytest.mark.parametrize(
    ("share", "other", "told"),
    [
        (0.24, 0.18, ("24%", "18%")), (0.002, 0.0099, ("0.2%", "1.0%")), (0.0, 0.17, ("0%", "17%")),
        (0.101, 0.104, ("10.1%", "10.4%")), (1.0, 0.98, ("100%", "98%")),
    ],
)  # fmt: skip
def test_two_shares_are_told_apart(share, other, told):
    assert blocks.percents(share, other) == told


def test_what_lies_below_is_true_of_the_data():
    x = np.round(np.exp(rng(8).normal(7.9, 0.9, 800)))
    text = Fitted.of(make_tree(x, 1)).adequacy().text
    share, place = re.search(r"([\d.]+)% of the observations lie below ([\d. ]+), where", text).groups()
    assert (x < float(place.replace(" ", ""))).mean() == pytest.approx(float(share) / 100, abs=0.01)


def test_skewed_positive_data_are_advised_the_logarithm():
    generator = rng(9)
    skewed = np.exp(generator.normal(3, 1, 500))
    text = Fitted.of(make_tree(skewed, 1)).adequacy().text
    assert "All values of x are positive, and one Gaussian describes their logarithms better" in text
    assert text.index("Fit the logarithm of x.") < text.index("Else try more components")
    gain = float(re.search(r"log-likelihood is higher by (\d+)", text)[1])
    exact = norm.logpdf(np.log(skewed), np.log(skewed).mean(), np.log(skewed).std()).sum() - np.log(skewed).sum()
    assert gain == pytest.approx(exact - norm.logpdf(skewed, skewed.mean(), skewed.std()).sum(), rel=0.06)
    for other in (skewed - 100, 100 + generator.choice([0, 10], 400) + generator.normal(0, 1, 400)):
        assert as_logarithm("x", other, 1) == ""


@pytest.mark.slow
def test_sizes_are_those_of_all_observations(cases):
    tree = cases["many observations"]
    [table] = [
        block
        for section in fit_sections(Fitted.of(tree))
        for block in section.blocks
        if isinstance(block, blocks.Table) and block.caption.startswith("Sizes of the clusters")
    ]
    expected = 100_000 * tree["posterior"]["w"].mean(("chain", "draw")).values
    told = [float("".join(row[1].split())) for row in table.rows]
    np.testing.assert_allclose(told, expected, rtol=0, atol=5 * np.sqrt(0.21 / 20_000) * 100_000)


@pytest.fixture(scope="module")
def four_features():
    means = np.array([[0, 0, 0, 0], [5, 5, 5, 5], [10, 0, 10, 0]])
    x = means[np.arange(150) % 3] + rng(10).normal(size=(150, 4))
    names = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
    data = xr.DataArray(x, dims=("row", "feature"), coords={"feature": names})
    return names, Fitted.of(bg.fit(data, 3, method="gibbs", draws=250, random_seed=SEED, progressbar=False))


@pytest.mark.slow
def test_every_panel_of_the_check_and_of_the_traces_has_its_name(four_features, monkeypatch):
    names, fitted = four_features
    texts = []
    monkeypatch.setattr(figures, "drawn", lambda name, draw, description: texts.append(draw()) or "")
    figures.calibration_picture(fitted)
    figures.traces_picture(fitted)
    calibration, traces = texts
    assert [ax.get_title() for ax in calibration.axes if ax.axison] == names
    traces.draw_without_rendering()
    left = traces.axes[::2]
    assert [ax.get_title(loc="left") for ax in left] == ["weight", *(f"mean, {name}" for name in names)]
    boxes = [ax._left_title.get_window_extent() for ax in left] + [ax.get_window_extent() for ax in left]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    plt.close("all")


@pytest.mark.parametrize("width", [40, 60, 61, 70, 111])
def test_parts_of_a_table_keep_to_the_width(width):
    """Columns differ in width, so parts with equally many columns do, too."""
    table = blocks.Table("", ["", *("x" * letters for letters in (5, 5, 5, 20, 20, 20, 5, 5, 5))], [["r", *"123456789"]])
    parts = table.parts(width)
    assert all(
        sum(2 + max(map(len, cells)) for cells in zip(each.columns, *each.rows, strict=True)) <= width for each in parts
    )
    assert [cell for each in parts for cell in each.rows[0][1:]] == list("123456789")
    assert len(parts) == {40: 9, 60: 5, 61: 5, 70: 2, 111: 1}[width]


@pytest.mark.slow
def test_many_numbers_stand_below_one_another(four_features):
    names, fitted = four_features
    table = fitted.table()
    assert list(table.columns) == ["", "cluster 0", "cluster 1", "cluster 2"]
    assert [row[0] for row in table.rows][:3] == ["weight in %", f"mean of {names[0]}", f"sd of {names[0]}"]
    label, *widths = (2 + max(map(len, cells)) for cells in zip(table.columns, *table.rows, strict=True))
    one, other = table.parts(label + sum(sorted(widths)[1:]))  # two of three columns fit
    assert (list(one.columns), list(other.columns)) == (["", "cluster 0", "cluster 1"], ["", "cluster 2"])
    assert [row[0] for row in other.rows] == [row[0] for row in table.rows]
    assert table.parts(label + sum(widths)) == [table]
    assert [part.columns[1:] for part in table.parts(1)] == [["cluster 0"], ["cluster 1"], ["cluster 2"]]


@pytest.mark.slow
@pytest.mark.parametrize(("unknown", "answer"), [([3], "could not be compared"), ([1, 2, 3], "There is no answer")])
def test_how_many_is_answered_where_some_k_have_no_prediction(comparison, unknown, answer, tmp_path):
    columns = ["elpd_loo", "se", "elpd_diff", "dse", "weight", "log_evidence", "mcse", "p_k"]
    table = comparison.table.copy()
    table.loc[table["k"].isin(unknown), columns] = np.nan
    text = written(replace(comparison, table=table), tmp_path).text()
    assert answer in text.split("The data")[0]
    assert not re.search(r"\bnan\b", text)


@pytest.mark.slow
def test_intervals_are_compared_with_what_is_predicted_of_these():
    """Values are rounded down to integers, and censored below -1. The control treats the intervals as exact values."""
    x = np.floor(rng(5).normal(size=(600, 1)))
    lower, upper = np.where(x < -1, -np.inf, x), np.where(x < -1, -1.0, x + 1)
    tree = _quick(bg.Observations(lower=lower, upper=upper), 1, draws=250)
    (found,) = calibrations(Reading(tree), ["x"])
    assert (found.n, found.inside) == (600, True)
    without = tree.copy()
    without["observed_data"] = xr.DataTree(tree["observed_data"].to_dataset().drop_vars(["lower", "upper"]))
    assert not calibrations(Reading(without), ["x"])[0].inside


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_a_report_of_intervals(tmp_path):
    """The call that the report shows repeats the fit."""
    x = np.where(rng(3).uniform(size=90) < 0.4, -3.0, 3.0) + rng(4).normal(size=90)
    scope = {"lower": np.where(x > 4, 4.0, np.floor(x)), "upper": np.where(x > 4, np.inf, np.floor(x) + 1)}
    tree = _quick(bg.Observations(**scope), 2, draws=100, thin=2)
    page = written(tree, tmp_path)
    text = " ".join(page.text().split())
    assert "left out, because it cannot be written" not in text
    assert "90 observations, 90 values in intervals" in text
    assert "Of some values only an interval is known" in text
    assert "the predicted share is drawn at random between those of its two ends" in text
    python, shell = (each[2] for each in page.all("code"))
    assert "data.csv --lower NAME --upper NAME -k 2" in shell
    exec(python, scope)
    np.testing.assert_array_equal(scope["tree"]["posterior"]["mu"], tree["posterior"]["mu"])


def _strays(n, d=1, many=3):
    """A cluster of n observations, and one stray for every ``many`` of them."""
    return np.concatenate([rng(1).normal(size=(n, d)), rng(2).uniform(-20, 30, (n // many, d))])


@pytest.mark.parametrize("d", [1, 2])
def test_a_model_with_noise_is_not_blamed_and_without_it_is(d):
    """The control leaves noise out of the same tree.

    In the model, noise also lies beyond the range of the data, by a tenth of it at either end. No observation does, but with
    so few strays the check does not notice.
    """
    tree = _quick(_strays(300, d, many=10), 1, noise=True)
    assert all(each.inside for each in calibrations(Reading(tree), list("ab")[:d]))
    alone = tree.copy()
    for group, name in (("posterior", "w_noise"), ("observed_data", "log_noise"), ("em_baseline", "w_noise")):
        alone[group] = xr.DataTree(tree[group].to_dataset().drop_vars(name))
    assert not any(each.inside for each in calibrations(Reading(alone), list("ab")[:d]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("noise", "python", "said", "shell"),
    [
        (
            True,
            "noise=True",
            "beside noise spread evenly over the range of the data, extended by a tenth of it at either end",
            "--column NAME --noise -k 2",
        ),
        (-4.0, "noise=-4.0", "beside noise whose density was given", None),
        (np.linspace(-4.1, -3.9, 163), "noise=log_noise", "beside noise whose density was given", None),
    ],
)
def test_a_report_of_noise(noise, python, said, shell, tmp_path):
    """The call that the report shows repeats the fit."""
    x = np.concatenate([rng(3).normal(-3, 1, 60), rng(4).normal(3, 1, 90), rng(5).uniform(-40, 40, 13)])
    tree = _quick(x, 2, draws=100, thin=2, noise=noise)
    page = written(tree, tmp_path)
    text = page.text()
    assert "left out, because it cannot be written" not in text
    assert said in text
    count = int((bg.responsibilities(tree)["noise"] > 0.5).sum())
    assert f"{count} observations are more probably noise than not" in text
    assert ("Whether data and model conflict was not checked" in text) == (noise is not True)
    assert ("where each observation falls in the prediction of the model fitted without it" in text) == (noise is True)
    codes = [each[2] for each in page.all("code")]
    assert python in codes[0]
    assert "prior" not in codes[0]
    assert len(codes) == (1 if shell is None else 2)
    assert shell is None or (shell in codes[1] and "--prior-scale" not in codes[1])
    scope = {"x": x, "log_noise": noise}
    exec(codes[0], scope)
    np.testing.assert_array_equal(scope["tree"]["posterior"]["w_noise"], tree["posterior"]["w_noise"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:observation 120 .* lies far from all others")
def test_the_prior_of_noise_is_typed_where_it_is_not_the_default(tmp_path):
    tree = _quick(np.append(_strays(90)[:, 0], 500.0), 1, draws=50, noise=True, prior=bg.HierarchicalPrior())
    python, shell = (each[2] for each in written(tree, tmp_path).all("code"))
    assert "prior=bg.HierarchicalPrior()" in python
    assert "--prior-scale range" in shell


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_where_labels_mean_nothing_noise_is_no_group(tmp_path):
    tree = _quick(_strays(150)[:, 0], 3, draws=150, noise=True)
    assert not bg.label_quality(tree).trusted
    labels = bg.partition(tree).values
    rows = [
        row.split()
        for row in written(tree, tmp_path).text().partition("Sizes of the partition's groups")[2].split(" noise ")
    ]
    assert int(rows[1][0]) == (labels < 0).sum()
    assert int(rows[0][rows[0].index("0") + 1]) == (labels == 0).sum()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("d", [1, 2])
def test_a_report_of_t_distributions(d, tmp_path):
    x = np.where(np.arange(160)[:, None] < 60, -4.0, 4.0) + rng(2).standard_t(3, (160, d))
    tree = _quick(x[:, 0] if d == 1 else x, 2, draws=100, thin=2, family="t")
    page = written(tree, tmp_path)
    text, codes = page.text(), [each[2] for each in page.all("code")]
    assert "a mixture of 2 Student's t distributions" in text
    assert "degrees of freedom" in text
    assert ("mean scale degrees of freedom" in text) == (d == 1)
    assert 'family="t"' in codes[0]
    assert "prior" not in codes[0]
    assert "--family t" in codes[1]
    scope = {"x": x[:, 0] if d == 1 else x}
    exec(codes[0], scope)
    np.testing.assert_array_equal(scope["tree"]["posterior"]["nu"], tree["posterior"]["nu"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_a_report_of_k_beside_noise(tmp_path):
    tree = bg.posterior_k(_strays(150)[:, 0], noise=True, draws=100, thin=5, tune=500, random_seed=1, progressbar=False)
    page = written(tree, tmp_path)
    n = int((tree["partition"]["partition"] < 0).sum())
    assert f"{n} observations are more probably noise than not" in page.text()
    assert f"noise {n}" in page.text().partition("Groups of the partition")[2]
    assert "noise=True" in page.all("code")[0][2]


def test_the_smooth_test_is_calibrated_and_sees_waves():
    """The parameters are known, so there are no scores."""
    generator = rng(6)
    p = np.array([smooth_test(generator.uniform(size=200), np.empty((200, 0))) for _ in range(2_000)])
    assert_same_means((p < 0.05).mean(), np.sqrt(0.05 * 0.95 / 2_000), 0.05, 0.0, "below 5 %")
    even, known = (np.arange(400) + 0.5) / 400, np.empty((400, 0))
    assert smooth_test(even, known) > 0.999  # the control
    assert smooth_test(even + 0.02 * np.sin(6 * np.pi * even), known) < 0.05


def test_the_smooth_test_is_calibrated_where_parameters_were_fitted():
    """Mean and sd of a Gaussian are fitted. If they counted as known, the test would reject too rarely."""
    generator, n, sets = rng(8), 400, 2_000
    p = {"fitted": np.empty(sets), "a tenth of what was fitted": np.empty(sets), "taken for known": np.empty(sets)}
    for i in range(sets):
        x = generator.normal(size=n)
        z = (x - x.mean()) / x.std()
        scores = np.column_stack([z, z**2 - 1])
        p["fitted"][i] = smooth_test(norm.cdf(z), scores)
        p["taken for known"][i] = smooth_test(norm.cdf(z), np.empty((n, 0)))
        more = np.concatenate([x, generator.normal(size=9 * n)])
        z = (x - more.mean()) / more.std()
        p["a tenth of what was fitted"][i] = smooth_test(norm.cdf(z), np.column_stack([z, z**2 - 1]), 0.1)
    error = np.sqrt(0.05 * 0.95 / sets)
    shares = {name: (each < 0.05).mean() for name, each in p.items()}
    assert_same_means(shares["a tenth of what was fitted"], error, 0.05, 0.0, "a tenth")
    assert 0.05 - 4 * error < shares["fitted"] < 0.065  # may be larger, because the covariance is estimated
    assert shares["taken for known"] < 0.05 - 4 * error  # the control


def test_the_smooth_test_of_equal_values_and_of_as_many_parameters_as_can_be():
    generator = rng(10)
    assert smooth_test(np.full(100, 0.3), generator.normal(size=(100, 2))) < 1e-6
    assert 0 <= smooth_test(generator.uniform(size=100), generator.normal(size=(100, 40))) <= 1
    some = generator.uniform(size=60)
    every = np.stack([eval_legendre(j, 2 * some - 1) for j in range(1, 9)], axis=1)
    assert smooth_test(some, every) == 1.0  # the scores explain all polynomials
    assert _scores(np.full((10, 5), -np.inf), 1.0).shape == (5, 0)


def test_draws_span_the_scores_of_the_parameters():
    """They span the scores of a Gaussian's mean and sd, and no more."""
    generator, n = rng(9), 300
    x = generator.normal(size=n)
    mean = x.mean() + x.std() * generator.normal(size=(1_000, 1)) / np.sqrt(n)
    sd = x.std() * np.exp(generator.normal(size=(1_000, 1)) / np.sqrt(2 * n))
    scores = _scores(norm.logpdf(x, mean, sd), 1.0)
    assert scores.shape == (n, 2)
    z = (x - x.mean()) / x.std()
    expected = np.column_stack([z, z**2 - 1])
    left = expected - scores @ np.linalg.lstsq(scores, expected)[0]
    assert (left**2).sum() < 0.02 * (expected**2).sum()
    few = _scores(norm.logpdf(x[:30], mean, sd), 0.1)
    assert few.shape == (30, 2)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.slow
def test_two_clusters_in_the_place_of_one_are_seen(d):
    """Two components are wrong for three clusters, and for a curved one. With 800 observations power is near one."""
    generator, n = rng(7), 800
    if d == 1:
        wrong = bg.Mixture([1 / 3] * 3, [0.0, 3.0, 8.0], sigma=[1.0] * 3).sample(n, generator)[0]
        right = bg.Mixture([1 / 3, 2 / 3], [0.0, 8.0], sigma=[1.0, 2.0]).sample(n, generator)[0]
    else:
        x = generator.normal(size=n)
        wrong = np.column_stack([x, x**2 + 0.3 * generator.normal(size=n)])
        right = bg.Mixture([0.4, 0.6], [[0, 0], [3, 2]], np.stack([np.eye(2)] * 2)).sample(n, generator)[0]
    by_wrong, by_right = (Fitted.of(_quick(x, 2)) for x in (wrong, right))
    assert by_wrong.adequacy().title == "Data and model conflict"
    assert by_right.adequacy().title == "The check found no conflict between data and model"
    assert ("along axes across them" in by_right.adequacy().text) == (d == 2)
    assert len(by_right.along_axes) == (2 if d == 2 else 0)


def test_draws_along_an_axis_are_those_of_the_weighted_sum():
    tree = _quick(rng(8).normal(size=(50, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0.3], [0, 0, 2.0]]), 1, draws=250)
    draws, axis = Reading(tree).draws, np.array([0.5, -1.0, 2.0])
    along = draws.along(axis)
    cov = draws.factors @ draws.factors.swapaxes(-1, -2)
    np.testing.assert_allclose(along.mu[..., 0], draws.mu @ axis)
    np.testing.assert_allclose(along.sd[..., 0] ** 2, np.einsum("d,skde,e->sk", axis, cov, axis))


@pytest.mark.slow
def test_whether_answers_depend_on_the_prior_is_said(galaxies):
    tree = bg.fit(galaxies, 3, method="gibbs", draws=300, random_seed=SEED, progressbar=False)
    found = bg.prior_sensitivity(tree)
    (section,) = [each for each in fit_sections(Fitted.of(tree)) if each.name == "prior"]
    verdict, table, _ = section.blocks
    assert verdict.title == "Some answers depend on the prior"
    assert found.sentence in verdict.text
    assert [row[0] for row in table.rows] == list(found.table.index[:10])
    assert [row[1] for row in table.rows] == [f"{value:.3f}" for value in found.table["prior"][:10]]
    assert table.caption == f"Sensitivity to prior and likelihood, the 10 largest of {len(found.table)} rows"
