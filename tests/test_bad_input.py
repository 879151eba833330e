"""Every kind of wrong data or k has its own sentence, the same from every function that takes data."""

import ast
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.cli.messages import in_shell
from bayesgmm.engines.nuts import _named_failures
from bayesgmm.engines.starts import NO_START
from bayesgmm.model.wishart import factors_of_inverse
from tests.conftest import make_tree

GOOD = [1.0, 2.0, 5.0, 6.0, 7.5]
DOORS = {
    "fit_em": bg.fit_em,
    "build_model": bg.build_model,
    "fit": bg.fit,
    "compare": lambda x, k, **options: bg.compare(x, [k], **options),
}

WRONG = {
    "nan": ([1, np.nan, 2, 3, np.inf], 2, ValueError, r"x must be finite, got 2 of 5 observations with NaN or infinity \(at positions 1, 4\); .* missing='drop'"),
    "many nan": ([np.nan] * 9 + [1, 2], 1, ValueError, r"9 of 11 observations .*\(at positions 0, 1, 2, 3, 4, ...\)"),
    "masked": (np.ma.masked_equal([1.0, 2.0, 9.0], 9.0), 2, ValueError, "x must be finite, got 1 of 3"),
    "nullable": (pd.Series([1, 2, None], dtype="Int64"), 2, ValueError, "x must be finite, got 1 of 3"),
    "empty": ([], 1, ValueError, "x must hold at least one observation, got none"),
    "scalar": (3.0, 1, ValueError, r"x must have shape \(n,\) or \(n, D\), got 0 dimensions"),
    "cube": (np.ones((2, 2, 2)), 1, ValueError, "got 3 dimensions"),
    "ragged": ([[1, 2], [3]], 1, ValueError, "x must be a rectangular array of numbers"),
    "strings": (["1", "2"], 1, TypeError, "x must hold numbers, got elements of type <U1"),
    "objects": (np.array([1, None, "a"], dtype=object), 1, TypeError, "x must hold numbers, got elements of type object"),
    "dates": (np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]"), 1, TypeError, "got elements of type datetime64"),
    "string column": (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), 1, TypeError, r"x must hold numeric columns, got b \("),
    "complex": ([1 + 2j, 3], 1, TypeError, "x must hold real numbers, got complex ones"),
    "constant": ([2.0, 2.0, 2.0], 1, ValueError, r"x must vary, got 3 observation\(s\) all equal to 2"),
    "one": ([2.0], 1, ValueError, r"x must vary, got 1 observation\(s\)"),
    "too wide": ([-1e308, 1e308], 1, ValueError, "x must have a range between 1e-152 and 1e152, got inf; choose another unit"),
    "too narrow": ([0, 1e-200], 1, ValueError, "x must have a range between 1e-152 and 1e152"),
    "k too large": (GOOD, 6, ValueError, "k must be at most the number of observations, got k = 6 for n = 5"),
    "few distinct": ([1, 1, 1, 2, 2], 3, ValueError, "number of distinct observations, got k = 3 for 2 distinct values"),
    "distinct as given only": ([0, 1e-3, 1, 1e20], 4, ValueError, r"got k = 4 for 2 distinct values \(values within rounding error count as equal\)"),
    "distinct rows as given only": ([[0, 0], [1e-3, 0], [1, 0], [1e20, 1]], 3, ValueError, "got k = 3 for 2 distinct values"),
    "Dataset": (xr.Dataset({"a": ("obs", GOOD), "b": ("obs", GOOD)}), 1, TypeError, r"got an xarray Dataset with the variables a, b; choose one, as in dataset\['name'\]"),
    "masked text": (np.ma.masked_equal(["1", "2"], "1"), 1, TypeError, "x must hold numbers, got elements of type <U1"),
    "spans of time": (np.array([1, 2], dtype="timedelta64[s]"), 1, TypeError, "divide differences by a unit"),
    "k zero": (GOOD, 0, ValueError, "must be an integer of at least 1, got 0"),
    "k negative": (GOOD, -2, ValueError, "must be an integer of at least 1, got -2"),
    "k float": (GOOD, 2.0, TypeError, r"must be an integer of at least 1, got 2.0 \(float\)"),
    "k bool": (GOOD, True, TypeError, r"got True \(bool\)"),
    "k text": (GOOD, "2", TypeError, r"got '2' \(str\)"),
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", WRONG)
def test_wrong_data_and_k_get_a_sentence(door, case):
    x, k, error, message = WRONG[case]
    with pytest.raises(error, match=message) as found:
        DOORS[door](x, k)
    assert re.match("(the data|--k|every k) must", in_shell(found.value))
    assert "missing=" not in in_shell(found.value)


def fails(text):
    with _named_failures(NO_START):
        raise RuntimeError(text)


TWO = np.random.default_rng(0).normal(size=(40, 2))
SAID = {
    "column": (lambda: bg.fit_em(pd.DataFrame({"a": GOOD, "b": 1.0}), 2), "column 'b' of the data must vary"),
    "few": (lambda: bg.fit_em(TWO[:2], 1), "--covariance full, got n = 2 for 2 features; use --covariance diag or spherical, or"),
    "collinear": (lambda: bg.fit_em(TWO[:, [0, 0]], 1, covariance="tied"), "for --covariance tied, got .* use --covariance diag$"),
    "unlike": (lambda: bg.fit_em(TWO * [1, 1e6], 1, covariance="spherical"), r"^--covariance spherical .*column 1 of the data.* --covariance diag$"),
    "unweighted": (lambda: bg.fit_em(GOOD, 1, sample_weight=[0, 0, 0, 0, 1]), "positive sample_weight: the data must vary"),
    "slow": (lambda: bg.fit_em(TWO, 3, max_iter=2, random_seed=1), "2 iterations for k = 3; raise --max-iter$"),
    "foreign": (lambda: bg.fit(GOOD, 2, method="advi", tune=5), "^--tune is an option of --method nuts and --method gibbs, got --method advi;"),
    "engine": (lambda: bg.fit(GOOD, 2, method="gibbs", engine="pymc"), "^--method gibbs draws .* got it with --engine pymc; leave one out$"),
    "alone": (lambda: bg.fit(GOOD, 2, max_draws=5), "^--max-draws limits a run with --target-ess, .*; give --target-ess, or raise --draws instead$"),
    "budget": (lambda: bg.fit(GOOD, 2, target_ess=9, max_draws=5, draws=6), "must be at least --draws, got 5 with --draws 6; lower --draws too$"),
    "singular": (lambda: factors_of_inverse(np.ones((2, 2))), "use --covariance tied or diag, or a smaller k$"),
    "no start": (lambda: fails("initial"), "use --method gibbs, --covariance tied, or a smaller k$"),
    "failure": (lambda: fails("lost"), "^the sampler failed: lost; try another --seed or --engine$"),
    "several k": (lambda: bg.compare(GOOD, []), "^--k must hold at least one"),
    "jitter": (lambda: bg.jitter([0, 0, 0.123, 1.777, np.pi]), "^the data must be rounded, got 2"),
}  # fmt: skip
OF_PYTHON = (
    r"(?<!-)\b(missing|method|covariance|engine|draws|tune) ?= ?['\d]|random_seed|target_ess|max_draws|max_iter|\bx\b"
)


@pytest.mark.parametrize("case", SAID)
def test_the_shell_names_options(case):
    call, sentence = SAID[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error", bg.exceptions.DataWarning)
        warnings.simplefilter("error", bg.exceptions.ConvergenceWarning)
        with pytest.raises((ValueError, TypeError, Warning)) as found:
            call()
    assert re.search(sentence, in_shell(found.value))
    assert not re.search(OF_PYTHON, in_shell(found.value))


def test_no_sentence_writes_out_an_option():
    """Messages must name options by ``Argument``. Otherwise the shell could not put its own options in their place."""
    root = Path(bg.__file__).parent
    for path in sorted({*root.rglob("*.py")} - {*(root / "estimators").iterdir(), *(root / "html_report").iterdir()}):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "ValueError",
                "TypeError",
                "warnings.warn",
                "Words",
            ):
                texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
                assert not re.search(r"\b(missing|method|covariance|engine)=['{]", " ".join(map(str, texts))), (path, texts)


def test_observations_that_rounding_leaves_apart_are_fitted():
    """Within rounding error, [0, 1e-3, 1, 1e20] has two distinct values, so k may be 2."""
    with pytest.warns(bg.exceptions.CollapsedComponentWarning):
        mixture = bg.fit_em([0, 1e-3, 1, 1e20], 2, random_seed=1).mixture
    np.testing.assert_allclose(mixture.weights, [0.75, 0.25], rtol=1e-6)


@pytest.mark.parametrize("path", [None, 3, ["a"]])
def test_a_path_that_is_none_is_named(path):
    with pytest.raises(TypeError, match="path must be the name of a file or folder, got"):
        bg.report(make_tree(GOOD, 1), path)
    if path is not None:
        with pytest.raises(TypeError, match="cache must be the name of a file or folder, got"):
            bg.compare(GOOD, [1], cache=path)


@pytest.mark.parametrize("door", DOORS)
def test_unknown_treatment_of_missing_values(door):
    with pytest.raises(ValueError, match="missing must be one of 'raise', 'drop', 'at_random', got 'impute'"):
        DOORS[door](GOOD, 2, missing="impute")


def test_dropping_everything_is_refused():
    with pytest.raises(ValueError, match="x must hold at least one finite observation, got 2 of 2"):
        bg.fit_em([np.nan, np.inf], 1, missing="drop")


@pytest.mark.parametrize(
    "x",
    [
        GOOD,
        tuple(GOOD),
        np.array(GOOD)[:, None],
        np.array(GOOD, dtype=np.float32),
        pd.Series(GOOD, name="y"),
        pd.Series([1, 2, 5, 6, 7.5], dtype="Float64"),
        pd.DataFrame({"y": GOOD}),
        xr.DataArray(GOOD, dims="obs", name="y"),
        np.ma.masked_array(GOOD, mask=False),
    ],
    ids=["list", "tuple", "column", "float32", "Series", "nullable", "DataFrame", "DataArray", "masked"],
)
def test_every_kind_of_array_gives_the_same_answer(x):
    assert bg.fit_em(x, 2, random_seed=1).log_likelihood == bg.fit_em(GOOD, 2, random_seed=1).log_likelihood


def test_integers_are_numbers():
    assert bg.fit_em([1, 2, 8, 9], 2, random_seed=1).mixture.means == pytest.approx([1.5, 8.5], abs=1e-3)


ANALYSES = {
    "relabel": bg.relabel,
    "raw_order": bg.raw_order,
    "diagnose": bg.diagnose,
    "check_against_em": bg.check_against_em,
    "predictive_density": lambda tree: bg.predictive_density(tree, [0.0]),
    "add_log_likelihood": bg.add_log_likelihood,
    "add_posterior_predictive": bg.add_posterior_predictive,
    "for_pymc": bg.for_pymc,
    "plot_fit": bg.plots.plot_fit,
}


@pytest.mark.parametrize("analysis", ANALYSES)
def test_a_tree_from_elsewhere_gets_a_sentence(analysis):
    call = ANALYSES[analysis]
    with pytest.raises(TypeError, match="tree must be the DataTree that fit returns, got dict"):
        call({})
    with pytest.raises(ValueError, match="tree must have a group posterior, got no groups"):
        call(xr.DataTree())
    foreign = xr.DataTree.from_dict({"posterior": xr.Dataset({"beta": (("chain", "draw"), np.ones((2, 3)))})})
    with pytest.raises(
        ValueError, match=r"tree must hold posterior variables w, mu, sigma .* got {'beta': \('chain', 'draw'\)}"
    ):
        call(foreign)


def test_a_tree_without_the_needed_group_gets_a_sentence():
    tree = make_tree(GOOD, 1)
    for group, call in (("em_baseline", bg.check_against_em), ("em_baseline", bg.relabel), ("observed_data", bg.diagnose)):
        bare = xr.DataTree.from_dict({name: tree[name].to_dataset() for name in tree.children if name != group})
        with pytest.raises(ValueError, match=f"tree must have a group {group}"):
            call(bare)


TIES = np.array(
    [[a, b] for a, b in zip([1, 2, 3, 10, 11, 12, 1, 2, 9, 10] * 5, [3, 4, 5, 1, 1, 2, 3, 4, 0, 1] * 5, strict=True)]
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning")
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # there is one for each trouble
def test_a_posterior_that_collapses_on_ties_is_named():
    """With enough ties, the default prior, which learns C0, does not keep a component from collapsing onto them."""
    options = {"rounding": None, "draws": 100, "chains": 2, "random_seed": 1, "progressbar": False}
    with pytest.warns(bg.exceptions.ConvergenceWarning, match="in 100% of the draws a component has shrunk onto equal"):  # noqa: SIM117
        with pytest.warns(bg.exceptions.ImproperPosteriorWarning, match="10 observations have column 0 = 1"):
            tree = bg.fit(TIES, 2, **options)
    assert not bg.diagnose(tree).converged
    assert np.isfinite(bg.responsibilities(tree)["mean"]).all()
    with pytest.raises(ValueError, match=r"the posterior has collapsed: .*bayesgmm\.jitter\(x\), or use covariance='tied'"):  # noqa: SIM117
        with pytest.warns(bg.exceptions.ImproperPosteriorWarning):
            bg.fit(TIES, 2, method="gibbs", **options)
    tame = bg.fit(TIES, 2, method="gibbs", prior=bg.ConjugatePrior(), **options | {"draws": 500})
    assert "collapse" not in {finding.kind for finding in bg.diagnose(tame).findings}


@pytest.mark.parametrize("door", [bg.fit_em, bg.build_model, bg.fit], ids=lambda door: door.__name__)
def test_no_structure_is_no_structure(door):
    with pytest.raises(
        ValueError,
        match="covariance must be one of 'full', 'tied', 'diag', 'spherical', 'tied_diag', 'tied_spherical', got None",
    ):
        door(TIES, 2, covariance=None)


@pytest.mark.parametrize("option", ["thin", "tune", "draws", "chains", "random_seed"])
@pytest.mark.parametrize("door", [lambda **options: bg.fit(GOOD, 2, method="gibbs", **options), lambda **options: bg.posterior_k(GOOD, **options)])  # fmt: skip
def test_counts_fit_into_an_integer_of_the_machine(door, option):
    with pytest.raises(ValueError, match=rf"{option} must be an integer below 2\*\*63, got 1{'0' * 19}$"):
        door(**{option: 10**19})
