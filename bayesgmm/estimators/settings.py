"""Parameters of a fit, as scikit-learn keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator

from bayesgmm.arguments import Covariance, FamilyName, Method, Rounding
from bayesgmm.comparison.verdict import Criterion
from bayesgmm.model.priors import Prior


class SettingsOfFit(BaseEstimator):
    """The parameters that both estimators have: those of a fit."""

    def __init__(
        self,
        n_components: int | Literal["auto"] = 3,
        *,
        covariance_type: Covariance = "full",
        method: Method | None = None,
        prior: Prior | None = None,
        draws: int | None = None,
        tune: int | None = None,
        chains: int = 4,
        n_init: int = 10,
        candidates: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8),
        criterion: Criterion = "loo",
        fit_options: Mapping[str, Any] | None = None,
        noise: bool | float = False,
        rounding: Rounding = "auto",
        family: FamilyName = "gaussian",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.method = method
        self.prior = prior
        self.draws = draws
        self.tune = tune
        self.chains = chains
        self.n_init = n_init
        self.candidates = candidates
        self.criterion = criterion
        self.fit_options = fit_options
        self.noise = noise
        self.rounding = rounding
        self.family = family
        self.random_state = random_state
        self.verbose = verbose
