"""Doctests: docstring examples that make the same fit share its tree, and examples of whole pages are slow tests."""

import pickle

import pytest

collect_ignore = ["docs/conf.py"]  # Sphinx's configuration, without examples

_TREES = {}


def pytest_collection_modifyitems(items):
    """Mark the examples of Markdown pages as slow. The functions that they call have quick examples of their own."""
    for item in items:
        if item.path.suffix == ".md":
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _examples_share_their_trees(request, monkeypatch):
    if not (isinstance(request.node, pytest.DoctestItem) and request.node.name.startswith("bayesgmm.")):
        return
    import bayesgmm

    fit = bayesgmm.fit

    def fit_once(*arguments, **options):
        key = pickle.dumps((arguments, options))
        if key not in _TREES:
            _TREES[key] = fit(*arguments, **options)
        return _TREES[key].copy(deep=True)

    monkeypatch.setattr(bayesgmm, "fit", fit_once)
