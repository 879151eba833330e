"""fit, loo, log_evidence and diagnose on small, awkward data: an answer or a sentence, never an error of a library."""

import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm import exceptions
from tests.statistics import SEED

pytestmark = pytest.mark.slow
PACKAGE = Path(bg.__file__).parent
OURS = tuple(each for each in vars(exceptions).values() if isinstance(each, type) and issubclass(each, Warning))
KINDS = {
    "rounded": lambda generator, shape: np.round(generator.normal(size=shape), 1),
    "heavy-tailed": lambda generator, shape: generator.standard_cauchy(shape) ** 3,
    "nearly collinear": lambda generator, shape: generator.normal(size=(shape[0], 1)) + 1e-6 * generator.normal(size=shape),
    "zero-inflated": lambda generator, shape: generator.normal(size=shape) * (generator.random(shape) < 0.5),
    "integers": lambda generator, shape: generator.integers(0, 3, shape).astype(float),
}


def attempt(function):
    """What a function returns, or None if it refuses by a sentence of the package's own."""
    try:
        return function()
    except ValueError as error:
        if PACKAGE in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parents:
            return None
        raise


@pytest.mark.parametrize("method", ["nuts", "gibbs", "advi"])
@pytest.mark.parametrize("kind", KINDS)
def test_small_data_give_an_answer_or_a_sentence(kind, method):
    generator = np.random.default_rng([SEED, *kind.encode(), *method.encode()])
    for _ in range(3 if method == "gibbs" else 1):
        shape = (int(generator.integers(3, 16)), int(generator.integers(1, 4)))
        x, k = KINDS[kind](generator, shape), int(generator.integers(1, 4))
        covariance = str(generator.choice(["full", "tied", "diag", "spherical"]))
        prior = bg.ConjugatePrior() if generator.random() < 0.4 else None
        sizes = {"chains": 2, "draws": 40 if method == "gibbs" else 15}  # the evidence wants forty
        sizes |= {"max_iter": 300} if method == "advi" else {"tune": 20, "thin": 1}
        with warnings.catch_warnings():
            for category in OURS:
                warnings.simplefilter("ignore", category)
            tree = attempt(
                lambda: bg.fit(
                    x[:, 0] if shape[1] == 1 else x, k, method=method, covariance=covariance, prior=prior,  # noqa: B023
                    random_seed=SEED, progressbar=False, **sizes,  # noqa: B023
                )
            )  # fmt: skip
            if tree is None:
                continue
            assert np.isfinite(tree["posterior"]["mu"]).all()
            found = attempt(lambda: bg.loo(tree, refit=False))  # noqa: B023
            assert found is None or np.isfinite([found.elpd, found.se]).all()
            attempt(lambda: bg.log_evidence(tree, effort=0.02, random_seed=SEED))  # noqa: B023
            assert repr(bg.diagnose(tree))
