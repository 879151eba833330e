"""Expensive results about a tree are computed once and passed on: calls are counted for each entry point."""

import importlib
import sys

import numpy as np
import pytest

import bayesgmm as bg

pytestmark = pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
COUNTED = {
    "diagnosis_of": "bayesgmm.analysis.diagnosis",
    "labelled_summary": "bayesgmm.analysis.quantities",
    "read_draws": "bayesgmm.analysis.tree",
    "read_em": "bayesgmm.analysis.tree",
    "directions": "bayesgmm.data.ties",  # sorts the data along each direction to find ties
    "read_posterior": "bayesgmm.comparison.joint",
}
FEW = {"draws": 100, "random_seed": 1, "progressbar": False}
ONCE = {"diagnosis_of": 1, "labelled_summary": 1, "read_draws": 1, "read_em": 1, "directions": 1}


@pytest.fixture
def counts(monkeypatch):
    """How often each of the functions has been called, wherever it was imported."""
    import bayesgmm.cli.commands
    import bayesgmm.cli.printed
    import bayesgmm.cli.stored_results
    import bayesgmm.estimators.mixture
    import bayesgmm.html_report.writing
    import bayesgmm.plots  # noqa: F401

    found = dict.fromkeys(COUNTED, 0)
    for name, home in COUNTED.items():
        original = getattr(importlib.import_module(home), name)

        def counting(*args, _name=name, _original=original, **options):
            found[_name] += 1
            return _original(*args, **options)

        for module in [each for key, each in sys.modules.items() if key.startswith("bayesgmm.")]:
            for key, value in list(vars(module).items()):
                if value is original:
                    monkeypatch.setattr(module, key, counting)
    return found


def counted(counts, call):
    for name in counts:
        counts[name] = 0
    result = call()
    return {name: count for name, count in counts.items() if count}, result


@pytest.mark.slow
def test_every_door_asks_once(counts, tmp_path):
    x = bg.datasets.galaxies()
    found, tree = counted(
        counts, lambda: bg.fit(x, 2, method="gibbs", log_likelihood=True, posterior_predictive=True, **FEW)
    )
    assert found == ONCE
    assert counted(counts, lambda: bg.diagnose(tree))[0] == {name: 1 for name in ONCE if name != "read_em"}
    assert counted(counts, lambda: bg.check_against_em(tree))[0] == ONCE
    assert counted(counts, lambda: bg.report(tree, tmp_path / "fit.html"))[0] == ONCE
    assert counted(counts, lambda: bg.compare([tree]))[0] == ONCE | {"read_posterior": 1}
    found, comparison = counted(counts, lambda: bg.compare(x, [1, 2], method="gibbs", **FEW))
    assert found == dict.fromkeys(COUNTED, 2) | {"directions": 1}
    assert counted(counts, lambda: bg.report(comparison, tmp_path / "compare.html"))[0] == {}
    data = np.array(x)[:, None]
    assert counted(counts, lambda: bg.BayesianGMM(2, method="gibbs", draws=100, random_state=1).fit(data))[0] == ONCE


@pytest.mark.slow
def test_the_command_line_asks_once(counts, tmp_path, monkeypatch, capsys):
    from bayesgmm.cli.commands import app

    monkeypatch.chdir(tmp_path)
    np.savetxt("data.csv", bg.datasets.galaxies(), header="velocity", comments="")
    few = ("--method", "gibbs", "--draws", "100", "--seed", "1", "--quiet")

    def run(*arguments):
        return counted(counts, lambda: app(arguments, standalone_mode=False))[0]

    monkeypatch.setattr("bayesgmm.cli.messages.output_error", lambda: None)
    assert run("fit", "data.csv", "-k", "2", *few, "--out", "fit") == ONCE
    assert run("report", "fit", "--out", "again.html") == ONCE
    of_two = dict.fromkeys(COUNTED, 2) | {"directions": 1}
    assert run("compare", "data.csv", "-k", "1,2", *few, "--out", "compare") == of_two
    of_each = dict.fromkeys(ONCE, 2)
    assert run("report", "compare", "--out", "compare.html") == of_each
    assert "The report is in" in capsys.readouterr().out
