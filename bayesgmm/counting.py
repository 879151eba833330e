"""The posterior of the number of components, by :func:`posterior_k`."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm.analysis.findings import MAX_R_HAT, MIN_ESS_PER_CHAIN
from bayesgmm.analysis.impropriety import existence_of, settled, warn_of_strays
from bayesgmm.analysis.partitions import partition_of
from bayesgmm.analysis.quantities import followed
from bayesgmm.analysis.tree import OBS, observed
from bayesgmm.arguments import (
    Covariance,
    FamilyName,
    FloatArray,
    Missing,
    Noise,
    Rounding,
    read_choice,
    read_count,
    read_positive,
    read_seed,
)
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import read_fit_data, warn_of_unlike_scales
from bayesgmm.engines.gibbs import GibbsSettings, sweeps_between_draws
from bayesgmm.engines.phases import Phases
from bayesgmm.engines.telescoped import InDataUnits, convergence_of, probabilities, verdict
from bayesgmm.engines.telescoping import OPERATIONS, TYPICAL, Telescoped, sample_telescoping
from bayesgmm.exceptions import ConvergenceWarning, InterruptedWarning, warn
from bayesgmm.kernels.number import NumberTables, number_tables
from bayesgmm.model.number_priors import PriorOnK, read_prior_k
from bayesgmm.model.priors import Prior, read_prior
from bayesgmm.model.structures import Structure
from bayesgmm.posterior import LogPosterior, standardised_posterior
from bayesgmm.words import Argument, Words, about

Weights = Literal["static", "dynamic"]

_LONGER = 4  # times as many sweeps in a second run
_AFFORDABLE = 5e9  # operations of a second run, which take about a minute
_FEWEST = 1_000  # draws of all chains from which convergence can be judged
_LEAST_SWEEPS = 1_000  # before the first draw


def posterior_k(
    x: ArrayLike | Observations,
    *,
    prior_k: PriorOnK | ArrayLike | None = None,
    alpha: float | None = None,
    weights: Weights = "static",
    prior: Prior | None = None,
    covariance: Covariance = "full",
    draws: int = 2000,
    tune: int | None = None,
    thin: int | None = None,
    chains: int = 4,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
    missing: Missing = "raise",
    sample_weight: ArrayLike | None = None,
    noise: Noise = False,
    rounding: Rounding = "auto",
    family: FamilyName = "gaussian",
) -> xr.DataTree:
    r"""Posterior of the number of components k, and of the number that hold data, by telescoping sampling.

    The number of components k is unknown, like all other parameters:

    .. math::
        k \sim p(k), \quad w \mid k \sim \mathrm{Dirichlet}(\gamma_k, \dots, \gamma_k), \quad
        \gamma_k = \alpha \text{ (static) or } \alpha / k \text{ (dynamic)}

    A sweep draws the allocations given the components, and then the parameters of the components that hold data. Then it
    draws k with probability

    .. math::
        p(k \mid \text{partition}) \propto p(k) \frac{k!}{(k - k_+)!} \frac{\Gamma(\gamma_k k)}{\Gamma(n + \gamma_k k)}
        \prod_{j=1}^{k_+} \frac{\Gamma(n_j + \gamma_k)}{\Gamma(\gamma_k)}, \quad k \geq k_+

    The parameters of the empty components are drawn from their prior. No proposal is rejected, and k may exceed n.

    Parameters
    ----------
    x : (n,) or (n, D) array-like, or Observations
    prior_k : prior on k, or sequence of float, optional
        One of :mod:`bayesgmm.priors`: ``Uniform``, ``Geometric``, ``Poisson``, ``NegativeBinomial``,
        ``BetaNegativeBinomial``; or the probabilities of k = 1, ..., m. Default: ``Uniform(30)``. A prior without an upper
        bound is truncated at k = 200, or earlier if all larger k together have a probability below 1e-12.
    alpha : float, optional
        Concentration of the weights. Default: the prior's ``alpha``, which is 1 unless it was given.
    weights : {"static", "dynamic"}
        Whether the concentration is alpha for every k ("static") or alpha / k ("dynamic"). With static weights and alpha = 1
        most components hold data. With dynamic weights k may grow while few components hold data; the limit is a Dirichlet
        process.
    prior : HierarchicalPrior or ConjugatePrior, optional
        Prior of means and covariances, the same for all k. Default: ``HierarchicalPrior()``, scaled to the data.
    covariance : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}
        As in :func:`bayesgmm.fit`. scikit-learn and :class:`bayesgmm.BayesianGMM` call it ``covariance_type``.
    draws : int
        Draws kept in each chain. The probabilities are averages over all sweeps.
    tune : int, optional
        Burn-in sweeps. Default: a tenth of the sweeps that follow in the first run (see ``thin``), at least 1000.
    thin : int, optional
        Sweeps from one draw to the next. Default: up to 50 for small data. If the chains do not agree, or have too few
        effective draws, the run is repeated with four times as many sweeps, if that takes about a minute at most.
    chains : int
        Number of chains. They begin with different numbers of components.
    random_seed : int, Generator or None
        The seed used is recorded in ``tree.attrs["seed"]``.
    progressbar : bool
        Announce phases and show progress on standard error.
    missing : {"raise", "drop", "at_random"}
        What to do with NaN: refuse it, leave out its row, or use the known values of the row
        (:class:`bayesgmm.Observations`).
    sample_weight : (n,) array-like, optional
        Frequency weights, as in :func:`bayesgmm.fit`. An allocation ``z`` belongs to one count of an observation; the
        partition keeps its counts together.
    noise : bool, float, or (n,) array-like
        Whether observations may belong to no component, and the density of noise: see :func:`bayesgmm.fit`. The share of
        noise, ``w_noise``, does not depend on k. Noise is -1 in ``z`` and in the partition.
    rounding : "auto", float, (D,) array-like, or None
        The step to which values are rounded: see :func:`bayesgmm.fit`. "auto" looks at the largest k.
    family : {"gaussian", "t"}
        As in :func:`bayesgmm.fit`; ``components`` holds the degrees of freedom ``nu``, too.

    Returns
    -------
    DataTree
        * Over ``k``: ``p_k`` and ``p_occupied``, the probabilities that there are k components, and that k components hold
          data; their Monte Carlo standard errors ``p_k_mcse`` and ``p_occupied_mcse``; and ``prior_k``.
        * Group ``posterior``: ``n_components`` and ``occupied`` (chain, draw); ``C0`` if it is learnt; ``log_density``
          (chain, draw, point) of the mixture at points of the data.
        * Group ``components``, for some of the draws: allocations ``z`` (chain, kept, obs), and ``w``, ``mu``, ``sigma`` or
          ``cov`` (chain, kept, cluster), occupied components first, NaN beyond k.
        * Group ``partition``: ``partition`` (obs), the partition with the smallest expected variation of information among
          those tried (:func:`bayesgmm.partition`).
        * ``observed_data``. Settings, seconds and a ``verdict`` are attributes.

    Warns
    -----
    ConvergenceWarning
        If R-hat of k, of the number occupied or of a density exceeds 1.01, or there are fewer than 100 effective draws for
        each chain; or if a component has shrunk onto equal observations.
    DataWarning
        If a few observations far from all others set the scale of the prior, if values are treated as rounded, or if a
        spherical covariance meets features with very different ranges.
    InterruptedWarning
        If the run was interrupted; the tree holds the draws made by then.

    Raises
    ------
    ValueError, TypeError
        For arguments that break a rule, such as probabilities of k that do not add to one; the message names the rule. Also
        if so many observations are equal that the posterior of the largest k is improper.
    MemoryError
        If the draws would not fit into memory.

    Notes
    -----
    p(k | x) is the average of p(k | partition) over the sweeps, which has less Monte Carlo error than counting k
    (Rao-Blackwellised). Tested properties: for a few observations it equals the sum over all allocations; for the galaxies
    it equals that of Richardson & Green; data from the prior give calibrated probabilities; neither the order of the
    observations nor their unit matters.

    References
    ----------
    Frühwirth-Schnatter, Malsiner-Walli & Grün (2021), Generalized mixtures of finite mixtures and telescoping sampling,
    Bayesian Analysis 16, 1279-1307. doi:10.1214/21-BA1294

    Richardson & Green (1997), On Bayesian analysis of mixtures with an unknown number of components, Journal of the
    Royal Statistical Society: Series B 59, 731-792. doi:10.1111/1467-9868.00095

    Examples
    --------
    >>> from bayesgmm import datasets, posterior_k
    >>> tree = posterior_k(datasets.galaxies(), random_seed=1, progressbar=False)
    >>> tree["p_k"].sel(k=[1, 5, 6, 20]).values.round(1)
    array([0. , 0.2, 0.2, 0. ])
    """
    known: dict[str, Any] = {"missing": missing, "sample_weight": sample_weight, "noise": noise, "family": family}
    known["rounding"] = rounding
    data, _ = read_fit_data(x, 1, covariance=covariance, **known)
    if data.known.labels is not None:
        rule = "cannot be given to posterior_k, where k is unknown; use fit with the k that the labels refer to"
        raise ValueError(about("labels", rule))
    of_k = read_prior_k(prior_k)
    p = of_k.probabilities()
    read_choice(weights, Weights, "weights")
    own_prior = read_prior(prior, data, covariance, family, [])
    if own_prior.n_components(covariance) is not None:
        rule = "must be the same for all components in posterior_k, where k is unknown; use fit with the k that it is for"
        raise ValueError(about("prior", rule))
    alpha = _read_alpha(alpha, prior)
    largest = int(np.flatnonzero(p)[-1]) + 1
    data, of_ks = settled(data, [largest], own_prior, covariance, family, rounding)
    of_data = of_ks[largest]
    if of_data.improper is not None:
        raise ValueError(Words("p(k | x) cannot be computed: ", of_data.improper.sentence))
    of_strays = warn_of_strays(of_data)
    draws, chains = read_count(draws, "draws"), read_count(chains, "chains")
    if Structure(covariance, data.n_features).one_unit:
        warn_of_unlike_scales(data, covariance)
    own, units = standardised_posterior(data, 1, own_prior, covariance, family)
    usual = sweeps_between_draws(own.work * TYPICAL, OPERATIONS)
    longer = _LONGER * usual if thin is None and draws * chains * _LONGER * usual * own.work <= _AFFORDABLE else None
    thin = usual if thin is None else read_count(thin, "thin")
    tune = max(_LEAST_SWEEPS, draws * thin // 10) if tune is None else read_count(tune, "tune")
    seed = read_seed(random_seed)
    k = np.arange(1, len(p) + 1)
    concentrations = alpha / k if weights == "dynamic" else np.full(len(p), alpha)
    copies = own.rows.copies
    tables = number_tables(p, concentrations, len(own.x) if copies is None else int(copies.sum()), noise=own.noise)
    phases, settings = Phases(announce=progressbar), GibbsSettings(draws, tune, thin, chains, seed, progressbar)
    points = followed(data.x)
    sampled, thin = _sampled(own, tables, units.standardised(points), settings, longer, phases)
    with phases("partition", "the partition with the smallest expected loss"):
        kept_z = sampled.kept.z.reshape(-1, len(data))
        labels, of_partition = partition_of(kept_z, "vi", np.random.default_rng(seed), data.known.weight)

    found = InDataUnits(own, units, data)
    tree = xr.DataTree.from_dict(
        {
            "/": probabilities(sampled, p),
            "posterior": found.posterior(sampled, points),
            "components": found.components(sampled),
            "partition": xr.Dataset({"partition": (OBS, labels)}, coords={OBS: data.positions}, attrs=of_partition),
            "observed_data": observed(data),
        }
    )
    tree.attrs.update(
        method="telescoping",
        prior_k=of_k.to_json(),
        alpha=alpha,
        weights=weights,
        covariance=covariance,
        family=family,
        prior=replace(own_prior, alpha=alpha).to_json(),
        seed=seed,
        missing=data.missing,
        tune=tune,
        thin=thin,
        interrupted=int(sampled.interrupted),
        verdict=_verdict(tree, sampled, existence_of(found.mixtures(sampled), of_data).refusal, of_strays),
        **{f"seconds_{name}": value for name, value in phases.seconds.items()},
        version=version("bayesgmm"),
    )
    return tree


def _sampled(
    own: LogPosterior, tables: NumberTables, points: FloatArray, settings: GibbsSettings, longer: int | None, phases: Phases
) -> tuple[Telescoped, int]:
    """Draws, and their thinning. If the draws do not suffice, a second run with more sweeps replaces them if affordable."""
    sampled = sample_telescoping(own, tables, points, settings, phases)
    can_tell = settings.chains > 1 and settings.chains * settings.draws >= _FEWEST and not sampled.interrupted
    trouble = _trouble(convergence_of(sampled), settings.chains) if longer is not None and can_tell else ""
    if longer is None or not trouble:
        return sampled, settings.thin
    phases.say(f"{trouble}; sampling again, {longer} sweeps apart")
    try:
        again = sample_telescoping(own, tables, points, replace(settings, thin=longer), phases)
    except KeyboardInterrupt:
        return sampled._replace(interrupted=True), settings.thin
    if again.interrupted:
        return sampled._replace(interrupted=True), settings.thin
    return again, longer


def _verdict(tree: xr.DataTree, sampled: Telescoped, refused: Words | None, of_strays: list[str]) -> str:
    """The answer in a sentence. Warns first if it cannot be relied on."""
    convergence = convergence_of(sampled)
    trouble = _trouble(convergence, sampled.draws.n_components.shape[0])
    longer = Words("; raise ", Argument("draws"), ", ", Argument("thin"), " or ", Argument("tune"))
    if sampled.interrupted:
        n_chains, n_draws = sampled.draws.n_components.shape
        kept = f"the {n_chains} x {n_draws} draws (chains x draws) made by then"
        warn(f"interrupted: the tree keeps {kept}", InterruptedWarning)
    if refused or trouble:
        warn(refused or Words(trouble, longer), ConvergenceWarning)
    if refused:
        return f"p(k | x) is not given: {refused}"
    return verdict(tree.to_dataset(), convergence, tree["partition"].attrs["n_clusters"], trouble, of_strays)


def _read_alpha(alpha: float | None, prior: Prior | None) -> float:
    """The concentration, from the argument or from the prior. If both give one, they must be equal."""
    by_prior = 1.0 if prior is None else float(np.asarray(prior.alpha))
    if alpha is None:
        return by_prior
    alpha = read_positive(alpha, "alpha")
    if by_prior not in (1.0, alpha):
        raise ValueError(
            f"alpha must be that of the prior if both are given, got alpha = {alpha:g} with prior.alpha = {by_prior:g}; "
            "give one of them"
        )
    return alpha


def _trouble(convergence: pd.DataFrame, n_chains: int) -> str:
    """Why the draws do not suffice; empty if they do."""
    if not len(convergence):
        return ""
    r_hat, ess = convergence["r_hat"], convergence["ess_bulk"]
    if (r_hat > MAX_R_HAT).any():
        return f"R-hat of {r_hat.idxmax()} is {r_hat.max():.4f}, above {MAX_R_HAT}: the chains do not agree"
    if not (ess >= MIN_ESS_PER_CHAIN * n_chains).all():
        found = f"{ess.min():.0f} for {ess.idxmin()}" if ess.notna().any() else f"fewer than 4 for {ess.index[0]}"
        return f"fewer than {MIN_ESS_PER_CHAIN} effective draws for each chain: {found}"
    return ""
