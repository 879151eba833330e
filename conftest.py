"""Examples: those in docstrings that fit the same data in the same way share the tree, and those of whole pages are slow."""

import pickle

import pytest

collect_ignore = ["docs/conf.py"]  # which is Sphinx's, and holds no examples

_TREES = {}


def pytest_collection_modifyitems(items):
    """The functions that the README and the guides call have examples of their own, which are quick."""
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
