"""Frequency weights at every entry point: an observation of weight c counts as c observations, one of weight 0 as none."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm.analysis.clusters import expected_occupied
from bayesgmm.analysis.draws import draws_of
from bayesgmm.analysis.impropriety import look_at
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.solutions import stacking
from bayesgmm.cli import main
from bayesgmm.data.known import Known
from bayesgmm.data.reading import read_fit_data
from bayesgmm.engines.sweeps import sweeps
from bayesgmm.kernels.rows import rows_of, whole_counts
from bayesgmm.model.strays import strays
from bayesgmm.posterior import log_posterior
from tests.families import COVARIANCES
from tests.statistics import SEED, Z, rng

pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.DataWarning"),
]
OWN = bg.ConjugatePrior(alpha=1.5, b0=0.0, B0=9.0, c0=2.5, C0=1.0)  # proper whatever the ties


def data(d, n=60):
    generator = rng(d)
    return np.concatenate([generator.normal(-2, 1, (n // 2, d)), generator.normal(2, 0.7, (n - n // 2, d))])


def counts_of(n):
    return rng(7).integers(1, 4, n).astype(float)


def repeated(x, counts):
    return np.repeat(x, counts.astype(int), axis=0)


def prior_of(d, covariance):
    if d == 1:
        return OWN
    scale = {"diag": np.ones(d), "spherical": 1.0}.get(covariance.removeprefix("tied_"), np.eye(d))
    return bg.ConjugatePrior(alpha=1.5, b0=np.zeros(d), B0=9 * np.eye(d), c0=d + 1.0, C0=scale)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("prior", [bg.HierarchicalPrior(), None])
def test_the_density_is_that_of_repeated_rows(covariance, d, prior):
    x, generator = data(d), rng(3)
    weight = counts_of(len(x))
    rows = repeated(x, weight)
    given = (prior or prior_of(d, covariance)).scaled_to(x, covariance)
    one = log_posterior(x, 3, given, covariance, Known(weight))
    other = log_posterior(rows, 3, given, covariance)
    zero = np.append(weight, 0.0)  # weight 0 has no effect in compiled code either
    with_zero = log_posterior(np.concatenate([x, x[:1] + 1]), 3, given, covariance, Known(zero))
    halves = log_posterior(np.concatenate([x, x]), 3, given, covariance, Known(np.concatenate([0.3 * weight, 0.7 * weight])))
    for _ in range(3):
        point = generator.normal(0, 0.7, one.n_dim)
        value, slopes = one(point)
        for each in (other, with_zero, halves):
            assert value == pytest.approx(each(point)[0], rel=1e-10)
            np.testing.assert_allclose(slopes, each(point)[1], rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("d", [1, 2])
def test_em_and_its_criteria_are_those_of_repeated_rows(covariance, d):
    x = data(d)
    weight = counts_of(len(x))
    one = bg.fit_em(x, 2, covariance=covariance, sample_weight=weight, random_seed=1)
    other = bg.fit_em(repeated(x, weight), 2, covariance=covariance, random_seed=1)
    np.testing.assert_allclose(one.mixture.means, other.mixture.means, rtol=1e-5)
    for name in ("bic", "aic", "icl"):
        assert getattr(one, name)() == pytest.approx(getattr(other, name)(), rel=1e-8)
    absent = bg.fit_em(x, 2, covariance=covariance, sample_weight=np.append(np.ones(len(x) - 5), np.zeros(5)), random_seed=1)
    np.testing.assert_allclose(
        absent.mixture.means, bg.fit_em(x[:-5], 2, covariance=covariance, random_seed=1).mixture.means
    )
    assert len(absent.x) == len(x) - 5


def moments(chains, centre):
    """Each chain's mean of deviations from a centre, and of their squares: two columns for each quantity in ``chains``."""
    away = chains - centre
    return np.concatenate([away, away**2], axis=2).mean(axis=1)


def assert_same_distribution(one, other, name):
    a, b = (moments(each, one.mean(axis=(0, 1))) for each in (one, other))
    error = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
    z = (a.mean(axis=0) - b.mean(axis=0)) / error
    assert (abs(z) < Z).all(), f"{name}: z = {z.round(1)} (seed {SEED})"


def chains_of(own, many=60, draws=150, thin=3):
    """Weights and means of the first feature in Gibbs chains, with the components sorted by these means."""
    result = np.empty((many, draws, own.n_dim))
    run = sweeps(own)
    start = own.at(bg.fit_em(own.x, own.k, covariance=own.covariance, random_seed=0).mixture)
    for chain, generator in zip(result, rng(11).spawn(many), strict=True):
        state = start.copy()
        run(generator, state, 50, np.empty((1, own.n_dim)))
        run(generator, state, thin, chain)
    flat = result.reshape(-1, own.n_dim)
    w = np.exp(own.log_weights(flat))
    order = np.argsort(own.means(flat)[..., 0], axis=1)
    return np.concatenate(
        [np.take_along_axis(w, order, axis=1), np.take_along_axis(own.means(flat)[..., 0], order, axis=1)], axis=1
    ).reshape(many, draws, -1)


@pytest.mark.parametrize(("covariance", "d"), [("full", 1), ("tied", 1), ("full", 2), ("diag", 2)])
def test_gibbs_draws_are_those_of_repeated_rows(covariance, d):
    x = data(d, 40)
    weight, prior = counts_of(len(x)), prior_of(d, covariance)
    one = chains_of(log_posterior(x, 2, prior, covariance, Known(weight)))
    assert_same_distribution(one, chains_of(log_posterior(repeated(x, weight), 2, prior, covariance)), "repeated")


LATER = [
    *(("full", d, "between") for d in (1, 2)),
    *((covariance, 2, "all below one half") for covariance in ("full", "diag", "tied")),
    ("diag", 2, "between"),
]


@pytest.mark.parametrize(
    ("covariance", "d", "weight"),
    [
        ("full", 1, "all below one half"),
        ("tied", 2, "between"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in LATER),
    ],
)
def test_gibbs_draws_with_weights_that_are_no_integers(covariance, d, weight):
    """The reference: draws of the posterior with whole counts, importance-weighted to the given weights."""
    x = data(d, 40)
    c = rng(4).uniform(0.3, 2.2, len(x)) if weight == "between" else np.full(len(x), 0.45)
    own = log_posterior(x, 2, prior_of(d, covariance), covariance, Known(c))
    chains = chains_of(own)
    rows = rows_of(x, c, None)
    used = rows.copies > 0
    near = log_posterior(x[used], 2, own.prior, covariance, Known(rows.copies[used]))
    run, generator = sweeps(near), rng(5)
    state = near.at(bg.fit_em(near.x, 2, covariance=covariance, random_seed=0).mixture)
    draws = np.empty((40_000, near.n_dim))
    run(generator, state, 5, draws)
    log_ratio = own.values(draws) - near.values(draws)
    shares = np.exp(log_ratio - logsumexp(log_ratio))
    assert 1 / (shares**2).sum() > 300
    order = np.argsort(own.means(draws)[..., 0], axis=1)
    w, mu = (np.take_along_axis(v, order, axis=1) for v in (np.exp(own.log_weights(draws)), own.means(draws)[..., 0]))
    values = np.concatenate([w, mu], axis=1)
    centre = shares @ values
    values = np.concatenate([values - centre, (values - centre) ** 2], axis=1)
    found, expected = moments(chains, centre), shares @ values
    error = np.sqrt(found.var(axis=0, ddof=1) / len(found) + shares**2 @ (values - expected) ** 2)
    z = (found.mean(axis=0) - expected) / error
    assert (abs(z) < Z).all(), f"z = {z.round(1)} (seed {SEED})"


def test_control_whole_counts_alone_are_noticed():
    """If fractions were ignored, weights of 1.45 would count as 1."""
    x, c = data(1, 40), np.full(40, 1.45)
    own = log_posterior(x, 2, OWN, "full", Known(c))
    right = chains_of(own)
    wrong = chains_of(log_posterior(x, 2, OWN, "full", Known(np.round(c))))
    with pytest.raises(AssertionError, match="seed"):
        assert_same_distribution(right, wrong, "rounded")


def test_whole_counts_are_near_and_keep_the_sum_everywhere():
    x, c = rng(1).normal(size=(1_000, 2)), rng(2).uniform(0, 3, 1_000)
    counts = whole_counts(x, c)
    assert (counts == np.round(counts)).all()
    assert (abs(counts - c) <= 1).all()
    order = np.argsort(x[:, 0])
    assert (abs(np.cumsum((counts - c)[order])) <= 0.5 + 1e-9).all()
    np.testing.assert_array_equal(whole_counts(x, np.round(c)), np.round(c))


@pytest.fixture(scope="module")
def pair():
    """Gibbs fits of weighted rows, and of the same rows repeated."""
    x = data(1)
    weight = counts_of(len(x))
    options = {"method": "gibbs", "thin": 10, "prior": OWN, "random_seed": 1, "progressbar": False}
    return bg.fit(x, 2, sample_weight=weight, **options), bg.fit(repeated(x, weight), 2, **options)


def test_evidence_and_loo_are_those_of_repeated_rows(pair):
    one, other = (bg.log_evidence(tree, random_seed=1) for tree in pair)
    assert abs(one.value - other.value) < Z * np.hypot(one.mcse, other.mcse)
    one, other = map(bg.loo, pair)
    assert abs(one.elpd - other.elpd) < Z * np.hypot(one.elpd_mcse, other.elpd_mcse)
    assert one.se == pytest.approx(other.se, rel=0.05)
    assert one.p == pytest.approx(other.p, rel=0.2)
    assert one.elpd_i.values.sum() == pytest.approx(one.elpd)


@pytest.mark.slow
def test_answers_are_those_of_repeated_rows(pair):
    one, other = map(Reading, pair)
    assert expected_occupied(one) == pytest.approx(expected_occupied(other), abs=1e-3)
    assert bg.check_against_em(pair[0]).em_log_likelihood == pytest.approx(bg.check_against_em(pair[1]).em_log_likelihood)
    weight = pair[0]["observed_data"]["weight"].values.astype(int)
    np.testing.assert_allclose(
        np.repeat(bg.responsibilities(pair[0])["mean"].values, weight, axis=0),
        bg.responsibilities(pair[1])["mean"].values,
        atol=0.02,
    )
    labels = [bg.partition(tree) for tree in pair]
    np.testing.assert_array_equal(np.repeat(labels[0].values, weight), labels[1].values)
    assert labels[0].attrs["expected_loss"] == pytest.approx(labels[1].attrs["expected_loss"], abs=0.05)


@pytest.mark.slow
def test_loo_of_less_than_a_count_leaves_it_out_altogether():
    x = data(1, 30)
    c = np.full(30, 1.0)
    c[4] = 0.4
    tree = bg.fit(x, 2, method="gibbs", prior=OWN, sample_weight=c, random_seed=1, progressbar=False)
    without = bg.fit(np.delete(x, 4), 2, method="gibbs", prior=OWN, random_seed=2, progressbar=False)
    draws = draws_of(without["posterior"].to_dataset())
    density = (draws.w * stats.norm.pdf(x[4], draws.mu[..., 0], draws.sd[..., 0])).sum(axis=1)
    assert bg.loo(tree).elpd_i.values[4] / 0.4 == pytest.approx(np.log(density.mean()), abs=0.02)


@pytest.mark.slow
def test_the_posterior_of_k_is_that_of_repeated_rows_and_of_the_evidences():
    x = data(1, 40)
    prior_k = np.full(3, 1 / 3)
    for weight in (counts_of(40), rng(4).uniform(0.3, 2.2, 40)):
        options = {"prior": OWN, "random_seed": 1, "progressbar": False}
        found = bg.posterior_k(x, prior_k=prior_k, sample_weight=weight, **options)
        evidence = [
            bg.log_evidence(bg.fit(x, k, method="gibbs", sample_weight=weight, **options), random_seed=1) for k in (1, 2, 3)
        ]
        values = np.array([each.value for each in evidence])
        expected = np.exp(values - logsumexp(values))
        error = np.hypot(found["p_k_mcse"], expected * max(each.mcse for each in evidence))
        assert (abs(found["p_k"].values - expected) < Z * error + 1e-3).all(), (found["p_k"].values, expected)
    whole = bg.posterior_k(repeated(x, counts_of(40)), prior_k=prior_k, **options)
    again = bg.posterior_k(x, prior_k=prior_k, sample_weight=counts_of(40), **options)
    assert (abs(whole["p_k"] - again["p_k"]) < Z * np.hypot(whole["p_k_mcse"], again["p_k_mcse"]) + 1e-3).all()


@pytest.mark.slow
def test_a_comparison_is_that_of_repeated_rows():
    x = data(1)
    weight = counts_of(len(x))
    options = {"prior": OWN, "method": "gibbs", "random_seed": 1, "progressbar": False}
    one, other = bg.compare(x, [1, 2], sample_weight=weight, **options), bg.compare(repeated(x, weight), [1, 2], **options)
    for name, tolerance in (("elpd_loo", 0.3), ("se", 0.2), ("elpd_diff", 0.3), ("dse", 0.2), ("weight", 0.02)):
        np.testing.assert_allclose(one.table[name], other.table[name], atol=tolerance, err_msg=name)
    np.testing.assert_allclose(one.table["log_evidence"], other.table["log_evidence"], atol=0.2)
    np.testing.assert_allclose(one.table["bic"], other.table["bic"])
    assert one.best == other.best


def test_stacking_is_arvizs_and_counts_weights():
    generator = rng(1)
    elpd = generator.normal(-1, 1, (200, 3))
    weights = stacking(elpd, np.ones(200))

    def value(w):
        return np.log(np.exp(elpd) @ w).sum()

    for _ in range(200):
        other = 0.99 * weights + 0.01 * generator.dirichlet(np.ones(3))
        assert value(other) <= value(weights) + 1e-9
    counts = generator.integers(1, 4, 200)
    np.testing.assert_allclose(stacking(elpd, counts), stacking(np.repeat(elpd, counts, axis=0), np.ones(counts.sum())))


def test_ties_and_strays_count_weights():
    x, names = np.array([1.0, 2.0, 3.5, 4.2, 5.9]), ["x"]
    data, _ = read_fit_data(x, 3, sample_weight=[9, 1, 9, 1, 1])
    found = look_at(data, [3], bg.HierarchicalPrior().scaled_to(x, "full"), "full")[3]
    assert found.improper is not None
    assert "9 observations have x = 1" in found.improper.problem
    rows = read_fit_data(np.repeat(x, [9, 1, 9, 1, 1]), 3)[0]
    assert look_at(rows, [3], bg.HierarchicalPrior().scaled_to(x, "full"), "full")[3].improper is not None
    far = np.append(rng(1).normal(size=100), 60.0)
    [one] = strays(far[:, None], names, np.arange(101), np.append(np.full(100, 3.0), 2.0))
    assert one.positions == (100,)
    assert not list(strays(far[:, None], names, np.arange(101), np.append(np.full(100, 3.0), 30.0)))  # too many to be strays


def test_what_has_a_weight_is_in_the_core_at_every_door():
    x, weight, prior = np.append(data(1), 60.0), np.append(np.ones(60), 20.0), bg.ConjugatePrior(scale="core")
    given = {"prior": prior, "sample_weight": weight}
    options = given | {"draws": 100, "random_seed": 1, "progressbar": False}
    trees = [bg.fit(x, 1, method="gibbs", **options), bg.posterior_k(x, **options), bg.compare(x, [1], **options).fits[1]]
    assert {json.loads(tree.attrs["prior"])["B0"] for tree in trees} == {np.ptp(x) ** 2}
    sd_of_means = bg.build_model(x, 1, **given)["mu"].owner.inputs[-1].eval()
    assert sd_of_means == pytest.approx(np.ptp(x))
    assert prior.scaled_to(x).B0 < 0.1 * np.ptp(x) ** 2


@pytest.mark.slow
def test_engines_agree(pair):
    x, weight = pair[0]["observed_data"]["x"].values, pair[0]["observed_data"]["weight"].values
    gibbs = pair[0]["posterior"]["mu"]
    for options in ({"draws": 500}, {"method": "advi"}):
        tree = bg.fit(x, 2, prior=OWN, sample_weight=weight, random_seed=3, progressbar=False, **options)
        apart = tree["posterior"]["mu"].mean(("chain", "draw")) - gibbs.mean(("chain", "draw"))
        assert (abs(apart) < 0.3 * gibbs.std(("chain", "draw"))).all(), options


@pytest.mark.slow
def test_pymc_as_an_engine_agrees(pair):
    x, weight = pair[0]["observed_data"]["x"].values, pair[0]["observed_data"]["weight"].values
    tree = bg.fit(x, 2, prior=OWN, sample_weight=weight, engine="pymc", draws=500, random_seed=3, progressbar=False)
    gibbs = pair[0]["posterior"]["mu"]
    apart = tree["posterior"]["mu"].mean(("chain", "draw")) - gibbs.mean(("chain", "draw"))
    assert (abs(apart) < 0.3 * gibbs.std(("chain", "draw"))).all()


def test_pictures_count_weights(pair):
    figure = bg.plots.plot_fit(pair[0])
    bars = figure.axes[0].containers[0]
    assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
    total = int(pair[0]["observed_data"]["weight"].sum())
    assert any(f"n = 60, counting as {total}" in each.get_text() for each in figure.axes[0].get_legend().get_texts())


@pytest.mark.slow
def test_the_report_counts_weights(pair, tmp_path):
    total = int(pair[0]["observed_data"]["weight"].sum())
    page = bg.report(pair[0], tmp_path / "report.html").read_text()
    assert f"60 observations, counting as {total}" in page


@pytest.mark.slow
def test_the_estimator_takes_weights():
    x = data(2)
    weight = np.append(counts_of(len(x) - 10), np.zeros(10))
    gmm = bg.BayesianGMM(2, method="gibbs", draws=200, chains=2, random_state=1)
    one = gmm.fit(x, sample_weight=weight)
    assert one.posterior_["observed_data"].sizes["obs"] == len(x) - 10
    means, bound = one.means_, one.lower_bound_
    other = gmm.fit(repeated(x, weight))
    np.testing.assert_allclose(means, other.means_, atol=0.1)
    assert bound == pytest.approx(other.lower_bound_)
    assert gmm.fit_predict(x, sample_weight=weight).shape == (len(x),)


@pytest.fixture
def shell(monkeypatch, capsys):
    """Run a command; returns its exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bayesgmm", *arguments])
        with pytest.raises(SystemExit) as stop:
            raise SystemExit(main() or 0)
        return stop.value.code or 0, *capsys.readouterr()

    return run


@pytest.mark.slow
def test_the_shell_takes_a_column_of_weights(tmp_path, shell):
    frame = pd.DataFrame({"size": data(1)[:, 0], "count": counts_of(60)})
    frame.loc[3, "count"] = 0
    frame.to_csv(tmp_path / "data.csv", index=False)
    total = int(frame["count"].sum())
    quick = ["-k", "2", "--method", "gibbs", "--draws", "100", "--seed", "1", "--quiet"]
    read = ["fit", str(tmp_path / "data.csv"), "--column", "size"]
    command = [*read, "--weight", "count", *quick]
    said = shell(*command)[1]
    assert f"size: n = 59 (1 left out, with missing or infinite values, or of weight 0), counting as {total}" in said
    document = json.loads(shell(*command, "--json")[1])
    assert document["data"] == {"columns": ["size"], "n": 59, "counted": total}
    assert "--weight must name one of" in shell(*read, "--weight", "nothing", *quick)[2]
    assert "must name a column that is not fitted" in shell(*read, "--weight", "size", *quick)[2]
    frame.loc[5, "count"] = np.nan
    frame.to_csv(tmp_path / "data.csv", index=False)
    assert "must have no gaps" in shell(*command)[2]
    assert "n = 58" in shell(*command, "--missing", "drop")[1]
    assert "counting as" in shell("compare", *read[1:], "--weight", "count", "--missing", "drop", *quick)[1]


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        ([1, 1, -1, 1], "sample_weight must be finite and not negative"),
        ([1, 1, np.nan, 1], "sample_weight must be finite and not negative"),
        ([0, 0, 0, 0], "sample_weight must hold at least one positive weight"),
        ([1, 1, 1], r"sample_weight must hold one weight for each observation, shape \(4,\), got shape \(3,\)"),
        (np.ones((4, 2)), r"sample_weight must hold one weight.*got shape \(4, 2\)"),
        ([1e300] * 4, r"sample_weight must add to at most 2\*\*53.*got 4e\+300"),
        ([0.3] * 4, "k must be at most the sum of the weights, got k = 2 for 1.2"),
        ([1, 0, 0, 0], "of the observations with a positive sample_weight: x must vary"),
        (["a"] * 4, "sample_weight must hold numbers"),
    ],
)
@pytest.mark.parametrize("door", [bg.fit, bg.build_model, lambda x, k, **o: bg.compare(x, [k], **o)])
def test_wrong_weights_get_a_sentence(door, weight, match):
    with pytest.raises((TypeError, ValueError), match=match):
        door([1.0, 2.0, 3.0, 4.5], 2, sample_weight=weight)


def test_combinations_that_have_no_meaning_are_refused(pair):
    import pymc as pm

    with pytest.raises(ValueError, match="sample_weight cannot be used beside model"):
        bg.fit(data(1), 2, model=pm.Model(), sample_weight=np.ones(60))
    with pytest.raises(ValueError, match="labels cannot be given with trees, which hold their own; leave it out"):
        bg.compare(list(pair), labels=np.zeros(60))


def test_large_weights_are_counted_exactly():
    x = data(1)
    em = bg.fit_em(x, 2, sample_weight=np.full(len(x), 2.0**40), random_seed=1)
    tree = bg.fit(
        x, 2, method="gibbs", prior=OWN, sample_weight=np.full(len(x), 2.0**40), draws=50, random_seed=1, progressbar=False
    )
    np.testing.assert_allclose(tree["posterior"]["mu"].mean(("chain", "draw")), em.mixture.means, rtol=1e-4)
