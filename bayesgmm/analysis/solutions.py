"""Several solutions: groups of chains that agree with one another, and their stacking weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from arviz_stats import loo
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse.csgraph import connected_components

from bayesgmm.analysis import convergence
from bayesgmm.analysis.densities import log_density, log_likelihood
from bayesgmm.analysis.draws import draws_of
from bayesgmm.analysis.predictive import add_log_likelihood
from bayesgmm.analysis.quantities import as_text, followed, invariants_of
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import OPTIMUM
from bayesgmm.arguments import FloatArray, read_choice
from bayesgmm.data.observations import Observations
from bayesgmm.words import Argument, Words

_LEAST_MASS = 0.01  # of a solution that is reported
_FEW = 500  # draws from which missed solutions are found
_APART = 1.1  # R-hat above which chains are in different places (Gelman & Rubin 1992)
_NOISE = 10.0  # a limit is raised by this over the number of draws, because R-hat of short chains exceeds 1 by chance


@dataclass(frozen=True)
class Solutions:
    """The solutions in which the chains of a fit sit.

    Attributes
    ----------
    table : DataFrame
        A row for each solution, sorted by the number of chains: its ``chains``; their ``share`` of the draws; whether they
        are ``steady`` (the halves of each chain agree); mean and sd of the log posterior; mean log-likelihood; mean weights
        from the largest to the smallest; and the stacking ``weight``, if requested.
    of_chain : (chain,) array of int
        Number of each chain's solution.
    """

    table: pd.DataFrame
    of_chain: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.table)

    def in_words(self) -> str:
        """The solutions, in a sentence."""
        words = []
        for solution, row in self.table.iterrows():
            log_posterior = f", log posterior {row['log_posterior']:.1f}" if "log_posterior" in row else ""
            moving = "" if row["steady"] else ", not steady"
            words.append(f"solution {solution}: {row['share']:.0%} of the draws{log_posterior}{moving}")
        return "; ".join(words)

    def __repr__(self) -> str:
        n = len(self)
        heading = "one solution, in which all chains agree" if n == 1 else f"{n} solutions, in which different chains sit"
        return f"{heading}\n{as_text(self.table)}"


@np.errstate(under="ignore")
def solutions(tree: Tree, *, weigh: Literal["stacking"] | None = None) -> Solutions:
    r"""Group the chains into solutions. Chains belong to one solution if no label-invariant quantity tells them apart.

    Two chains are linked if R-hat of these two is at most 1.1 + 10 / draws for every label-invariant quantity of
    :func:`bayesgmm.diagnose`. Linked chains form a solution. How many chains sit in a solution depends on where they began.
    A solution's share of the draws is therefore not its share of the posterior. Stacking gives each solution a weight, so
    that the solutions together predict best: the weights a maximise :math:`\sum_i \log \sum_m a_m p_m(x_i | x_{-i})`, with
    densities by PSIS-LOO.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`, by NUTS or Gibbs.
    weigh : {"stacking"}, optional
        Add the stacking weights of the solutions.

    Returns
    -------
    Solutions
        Prints as a table. ``tree.isel(chain=[...], missing_dims="ignore")`` selects chains of a tree.

    Raises
    ------
    ValueError
        If the tree is incomplete or damaged, or has fewer than four draws in each chain.

    References
    ----------
    Yao, Vehtari & Gelman (2022), Stacking for non-mixing Bayesian computations: the curse and blessing of multimodal
    posteriors, Journal of Machine Learning Research 23(79), 1-45.

    Gelman & Rubin (1992), Inference from iterative simulation using multiple sequences, Statistical Science 7, 457-472.
    doi:10.1214/ss/1177011136

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> len(bg.solutions(tree))
    1
    """
    reading = Reading.of(tree)
    draws = reading.draws
    if weigh is not None:
        read_choice(weigh, ("stacking",), "weigh")
    if draws.n_draws < 4:
        few = f"tree must have at least 4 draws in each chain to be judged, got {draws.n_draws}; raise "
        raise ValueError(Words(few, Argument("draws")))
    invariants = reading.ask(invariants_of)
    of_chain = group(invariants)
    n_solutions = int(of_chain.max()) + 1
    likelihood = draws.by_chain(log_likelihood(draws, reading.observations))
    ranked = np.sort(draws.by_chain(draws.w), axis=-1)[..., ::-1]
    half, rows = draws.n_draws // 2, []
    for solution in range(n_solutions):
        chains = np.flatnonzero(of_chain == solution)
        row = {
            "chains": _in_ranges(chains),
            "share": len(chains) / len(of_chain),
            "steady": not any(
                _apart(values[chain, : 2 * half].reshape(2, half)) for values in invariants.values() for chain in chains
            ),
        }
        if "log posterior" in invariants:
            log_posterior = invariants["log posterior"][chains]
            row |= {"log_posterior": log_posterior.mean(), "sd": log_posterior.std()}
        row["log_likelihood"] = likelihood[chains].mean()
        row |= {f"w, rank {rank}": weight for rank, weight in enumerate(ranked[chains].mean(axis=(0, 1)))}
        rows.append(row)
    table = pd.DataFrame(rows).rename_axis("solution")
    if weigh is not None:
        table["weight"] = _stacked(reading, of_chain)
    return Solutions(table, of_chain)


def _in_ranges(numbers: NDArray[np.int64]) -> str:
    """Sorted numbers as ranges, such as "0-2, 5"."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def group(invariants: Mapping[str, FloatArray]) -> NDArray[np.int64]:
    """Solution of each chain, (chain,). Solutions are numbered by their number of chains, the largest first."""
    moving = [values for values in invariants.values() if np.ptp(values) > 0]
    n_chains = len(next(iter(invariants.values())))
    linked = np.eye(n_chains, dtype=bool)
    for one, other in combinations(range(n_chains), 2):
        linked[one, other] = not any(_apart(values[[one, other]]) for values in moving)
    _, labels = connected_components(linked, directed=False)
    _, places, counts = np.unique(labels, return_index=True, return_counts=True)
    rank = np.argsort(np.lexsort((places, -counts)))
    return np.asarray(rank[labels])


def missed_optima(reading: Reading) -> list[tuple[float, float, float]]:
    """Optima of EM with some posterior mass that the draws miss: log-likelihood, mass, and share of the draws near each.

    No chain began at them, and the share of draws is below a third of their mass. Distances are mean absolute differences of
    the log densities that :func:`bayesgmm.diagnose` monitors. A draw is near an optimum within 1.5 times the median distance
    of the draws to their nearest optimum.
    """
    if "optima" not in reading.tree.children:
        return []
    optima = reading.tree["optima"].to_dataset()
    points = Observations.made(followed(reading.x))
    of_optima = log_density(draws_of(optima.expand_dims("chain").rename({OPTIMUM: "draw"})), points)
    of_draws = log_density(reading.draws.thinned(_FEW), points)
    apart = np.abs(of_draws[:, None] - of_optima).mean(axis=-1)
    shares = (apart <= 1.5 * np.median(apart.min(axis=1))).mean(axis=0)
    mass = optima["mass"].values
    missed = (optima["chains"].values == 0) & (mass >= _LEAST_MASS) & (shares < mass / 3)
    return [(float(optima["log_likelihood"][i]), float(mass[i]), float(shares[i])) for i in np.flatnonzero(missed)]


def _apart(values: FloatArray) -> bool:
    """Whether chains (chain, draw) are in different places. Constant chains are, unless their values are equal."""
    if np.ptp(values) == 0 or values.shape[1] < convergence.FEWEST_DRAWS:
        return False
    with np.errstate(invalid="ignore", divide="ignore"):
        _, r_hat = convergence.of_ranks((values - values.mean())[None] / values.std())
    return not r_hat[0] <= _APART + _NOISE / values.shape[1]


def _stacked(reading: Reading, of_chain: NDArray[np.int64]) -> FloatArray:
    """Stacking weights of the solutions, from PSIS-LOO of each."""
    tree, counts = reading.tree, reading.observations.counts
    n_solutions = int(of_chain.max()) + 1
    if n_solutions == 1:
        return np.ones(1)
    parts = [tree.isel(chain=np.flatnonzero(of_chain == i), missing_dims="ignore") for i in range(n_solutions)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a poor solution may have large Pareto k-hats
        elpds = [loo(add_log_likelihood(part), pointwise=True).elpd_i.values for part in parts]
    return stacking(np.stack(elpds, axis=1), counts)


@np.errstate(under="ignore")
def stacking(elpd: FloatArray, counts: FloatArray) -> FloatArray:
    """Stacking weights (M,): they maximise sum_i c_i log sum_m w_m exp(elpd_im), with elpd (n, M) and counts c (n,).

    References
    ----------
    Yao, Vehtari, Simpson & Gelman (2018), Using stacking to average Bayesian predictive distributions, Bayesian
    Analysis 13, 917-1007. doi:10.1214/17-BA1091
    """
    density, size = np.exp(elpd - elpd.max(axis=1, keepdims=True)), elpd.shape[1]

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        mixed = np.maximum(density @ weights, np.finfo(float).tiny)
        return -float(counts @ np.log(mixed)), -(density.T @ (counts / mixed))

    adds_to_one = {"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": lambda weights: np.ones(size)}
    found = minimize(
        loss,
        np.full(size, 1 / size),
        jac=True,
        bounds=[(0.0, 1.0)] * size,
        constraints=adds_to_one,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1_000},
    )
    weights = np.maximum(found.x, 0.0)
    return np.asarray(weights / weights.sum())
