"""Entry point: a posterior by NUTS, Gibbs sampling, ADVI or importance sampling, judged before it is returned."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm.analysis.impropriety import OfData
from bayesgmm.analysis.reading import Reading
from bayesgmm.arguments import Covariance, Engine, FamilyName, Method, Missing, Noise, Rounding
from bayesgmm.data.observations import Observations
from bayesgmm.data.scan import Scan
from bayesgmm.em.fitting import fit_em
from bayesgmm.em.left_off import left_off
from bayesgmm.engines.phases import Phases
from bayesgmm.fitting.asked import first_pass, read_asked
from bayesgmm.fitting.choosing import drawn
from bayesgmm.fitting.drawing import posed
from bayesgmm.fitting.finishing import finished, with_optima
from bayesgmm.model.priors import Prior
from bayesgmm.posterior import SummedPosterior

if TYPE_CHECKING:
    import pymc as pm

__all__ = ["fit"]


def fit(
    x: ArrayLike | Observations | Scan,
    k: int,
    *,
    method: Method | None = None,
    prior: Prior | None = None,
    covariance: Covariance = "full",
    draws: int | None = None,
    tune: int | None = None,
    chains: int = 4,
    random_seed: int | np.random.Generator | None = None,
    relabel: bool = True,
    progressbar: bool = True,
    model: pm.Model | None = None,
    n_init: int = 10,
    thin: int | None = None,
    target_accept: float | None = None,
    approximation: Literal["fullrank", "meanfield"] | None = None,
    max_iter: int | None = None,
    log_likelihood: bool = False,
    log_prior: bool = False,
    posterior_predictive: bool = False,
    missing: Missing = "raise",
    engine: Engine | None = None,
    target_ess: float | None = None,
    max_draws: int | None = None,
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    noise: Noise = False,
    rounding: Rounding = "auto",
    family: FamilyName = "gaussian",
    fixed: Mapping[str, ArrayLike] | None = None,
    ordered: bool = False,
) -> xr.DataTree:
    """Posterior over the parameters of a Gaussian mixture with k components.

    EM provides the starting points and is stored beside the draws for comparison. The draws are in the units of the data,
    and relabelled, so that a cluster keeps its number from draw to draw. If EM found several solutions within five units
    of log-likelihood of the best, chains begin at up to four of them, in proportion to their share of the posterior.

    Parameters
    ----------
    x : (n,) or (n, D) array-like, Observations, or Scan
        One row for each observation. The names of the columns become coordinates. Any number of rows on disk
        (:func:`bayesgmm.scan_parquet`, a memory map) are read in passes; the tree then holds a sample of the rows.
    k : int
        Number of components.
    method : {"nuts", "gibbs", "advi", "laplace"}, optional
        The engine. "nuts" and "gibbs" are exact up to Monte Carlo error. "nuts" is much faster where the posterior is near a
        Gaussian; "gibbs" moves between solutions that NUTS is slow to leave. "laplace" draws from Gaussians at the modes,
        or from t distributions if the posterior is not almost Gaussian (Geweke 1989), and resamples the draws by their
        importance weights. At a single mode, weighted draws give the t distributions their mean and covariance (Paananen et
        al. 2021). It is exact up to Monte Carlo error if the tail of the weights (k-hat at most 0.7) and their efficiency
        (at least 0.4) are good, and an empty component has a probability below 1e-4 (Nobile 2004). Otherwise NUTS takes
        over. "advi" fits a Gaussian approximation on the unconstrained space.

        By default the engine is chosen to suit the problem, and replaced if its draws have not converged. "laplace" comes
        first for many observations (n k D of 300 000 or more, and rows that are read in passes). Otherwise "nuts" is chosen
        if the posterior is near a Gaussian, and "gibbs" if it is not or has several solutions. "gibbs" is used only if
        n k D is at most 1 500 000. If R-hat or effective sample sizes (:func:`bayesgmm.diagnose`) show that the draws have
        not converged, or if NUTS had trouble such as divergences, "gibbs" takes over, then "gibbs" with 4 to 16 times as
        many sweeps. "nuts" comes last, if n k D is at most 20 000. The first draws that have converged without trouble are
        kept, or else the best. ``tree.attrs["engines"]`` tells which engines ran and for how long (JSON). Fewer than 1 000
        draws, or a single chain, cannot be judged, and no other engine is tried. With ``tune``, ``thin``,
        ``target_accept``, ``target_ess``, ``model`` or ``engine="pymc"`` the default is "nuts".
    prior : HierarchicalPrior or ConjugatePrior, optional
        Default: ``HierarchicalPrior()``, scaled to the data. Its hyperparameters may be given for each component. A cluster
        then has the number of the component whose prior describes it, as far as the posterior tells. Clusters with the same
        prior are relabelled among themselves. EM's estimate does not use the prior; it is shown in the order that suits it.
    covariance : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}
        A covariance matrix for each component; one for all components; independent features; or one variance for all
        features of a component. For one feature "full", "diag" and "spherical" are the same: a variance for each component.
        scikit-learn and :class:`bayesgmm.BayesianGMM` call it ``covariance_type``. A custom ``model`` determines it by its
        ``sigma`` or ``cov``.
    draws, chains : int
        Draws kept in each chain, and number of chains: by default 4 chains of 1000, or of 250 if rows are read in passes.
        The draws of ADVI and "laplace" are independent, and have the same shape.
    tune : int, optional
        NUTS: adaptation steps of each chain, which are not kept. Default: 200 if the posterior is near a Gaussian or rows
        are read in passes, 400 if not, 800 for a custom model. Gibbs: burn-in sweeps. Default: 1000; fewer if n k D exceeds
        150 000, but at least 200.
    thin : int, optional
        Sweeps (Gibbs) or steps (NUTS) from one draw to the next. By default the chains of small data are thinned, because
        their steps cost next to nothing. Gibbs takes up to 50 sweeps; NUTS takes up to 8 steps, until each chain has an
        effective sample size of 300.
    random_seed : int, Generator or None
        The seed used is recorded in ``tree.attrs["seed"]``. It repeats a run to the last digit on the same machine. (With
        ``engine="pymc"`` the first run of a model, freshly compiled, may differ in rounding from later ones.)
    relabel : bool
        Whether to undo label switching (:func:`bayesgmm.relabel`, by its default method).
    progressbar : bool
        Whether to announce phases and show progress on standard error.
    model : pm.Model, optional
        Your own model of ``x`` with any priors. It must be a Gaussian mixture in variables ``w``, ``mu`` and ``sigma``; for
        several features ``w`` (K), ``mu`` (K, D) and ``cov``, or its lower Cholesky factor ``chol``, with shape (K, D, D)
        or (D, D). It is sampled as it is, in its own units. If its priors tell the components apart, pass
        ``relabel=False``.
    n_init : int
        Starts of EM.
    target_accept : float, optional
        NUTS: target acceptance rate, between 0 and 1. Default: 0.8 if the posterior is very near a Gaussian or rows are read
        in passes, 0.95 if it is near one, 0.9 if it is far from one and for a custom model.
    approximation : {"fullrank", "meanfield"}, optional
        ADVI: with or without correlations. Default: "fullrank".
    max_iter : int, optional
        ADVI: maximum number of iterations. Default: 40 000.
    log_likelihood, posterior_predictive : bool
        Whether to add these groups to the tree. Each holds numbers for every draw and observation.
    log_prior : bool
        Whether to add the log prior density of every draw (:func:`bayesgmm.add_log_prior`), for ArviZ's power-scaling.
    missing : {"raise", "drop", "at_random"}
        What to do with NaN: refuse it, leave out its row, or use the known values of the row
        (:class:`bayesgmm.Observations`).
    engine : {"compiled", "pymc"}, optional
        What computes the posterior density: the package's compiled code (default), or PyMC, which takes longer and is what
        the compiled code is tested against. A custom model always uses PyMC.
    target_ess : float, optional
        NUTS: sample until the smallest bulk effective sample size of the label-invariant quantities reaches this number and
        their R-hat is at most 1.01. ``draws`` is then the minimum. (A custom model starts again for each length, because
        ``pm.sample`` cannot continue a run.)
    max_draws : int, optional
        NUTS with ``target_ess``: maximum number of draws per chain. Default: ``20 * draws``. ``tree.attrs["stopped_by"]``
        says which of the two ended the run.
    sample_weight : (n,) array-like, optional
        Frequency weights, not negative. An observation of weight c counts as c observations; c need not be an integer, and
        weight 0 leaves the observation out. The posterior is as narrow as that of repeated rows. Divide weights by their
        mean if they only say how much of a population a row stands for.
    labels : (n,) array-like of int, or (n, K) array-like, optional
        What is known of the components: for each observation the number of its component, or -1 if that is unknown; or
        probabilities of all components, in rows that add to one. Only the ratios within a row matter. Components that labels
        tell apart keep their numbers.
    noise : bool, float, or (n,) array-like
        Whether observations may belong to no component. True: noise is uniform on a box that exceeds the range of the data
        by a tenth at either end. A number, or one for each observation: the log density of the noise, in the units of the
        data. The share of noise, ``w_noise``, has the prior Beta(1, 9); ``w`` are the weights of the components among the
        rest. The default prior is then scaled to the data without strays (``HierarchicalPrior(scale="core")``).
    rounding : "auto", float, (D,) array-like, or None
        The step to which values are rounded, in their units; 0 for a feature that is not rounded. A value then means that
        the true value lies within half a step of it. With full and tied covariances of several features it gets an error of
        variance step^2 / 12 instead (:func:`bayesgmm.rounded`). "auto": values are exact, unless equal values would make
        the posterior improper; then the step is found from the data, and a warning says so. None: values are exact.
    family : {"gaussian", "t"}
        Distribution of the components. "t": Student's t distributions, each with its own degrees of freedom ``nu`` above 1,
        with the prior Gamma(2, rate 0.1) (Juárez & Steel 2010). ``sigma`` and ``cov`` are then scales, which are close to
        standard deviations and covariances if nu is large. Rows must be exact and complete. The default prior is scaled as
        with noise.
    fixed : mapping of str to array-like, optional
        Parameters that are known: "w" (K,), "mu" (K,) or (K, D), and "sigma" (K,) for one feature or "cov" (K, D, D) for
        several; NaN where a parameter is free. A covariance is fixed as a whole; covariances that all components share are
        fixed for all. Free weights share what fixed ones leave. A fixed parameter has no prior and is constant in all draws;
        in particular, a fixed covariance says nothing about the scale C0 of the others. Components with different fixed
        values keep their numbers.
    ordered : bool
        Whether the means increase from component to component (one feature). The components of each draw are sorted by their
        means, in place of being relabelled. This is the posterior under the prior that holds only increasing means. Density,
        predictions and evidence are the same as without.

    Returns
    -------
    DataTree
        Its groups: ``posterior`` with ``w``, ``mu`` and ``sigma`` (chain, draw, cluster), or for several features ``mu``
        (chain, draw, cluster, feature) and ``cov`` (chain, draw, cluster, feature, feature_bis), and where they apply
        ``w_noise`` and ``nu``; ``hyperparameters`` (``C0``, if the prior learns it); ``sample_stats``; ``observed_data``;
        ``em_baseline``; for ADVI ``approximation``. Settings and seconds are attributes.

    Warns
    -----
    ConvergenceWarning
        If :func:`bayesgmm.diagnose` finds that the chains have not converged or the sampler had trouble, if ``max_draws``
        ended the run before ``target_ess``, or if ADVI has not converged.
    ApproximationWarning
        If ADVI's PSIS k-hat exceeds 0.7.
    InterruptedWarning
        If the run was interrupted, or an error ended it after sampling. The tree holds the draws made by then.
    ImproperPosteriorWarning
        If so many observations are equal that the posterior is improper. The warning comes before sampling.
    DataWarning
        If a few observations far from all others set the scale of the prior, or if values are treated as rounded.
    EngineWarning
        If the installed sampler does not take the compiled density, and PyMC's engine was used instead.

    Raises
    ------
    ValueError, TypeError
        For arguments that break a rule; the message names it.
    MemoryError
        If a requested group would not fit into memory. The error comes before sampling.

    Notes
    -----
    Tested property: the posterior is equivariant. Rescaled or shifted data give the rescaled or shifted posterior.

    References
    ----------
    Hoffman & Gelman (2014), The No-U-Turn sampler, Journal of Machine Learning Research 15, 1593-1623.

    Kucukelbir, Tran, Ranganath, Gelman & Blei (2017), Automatic differentiation variational inference, Journal of
    Machine Learning Research 18(14), 1-45.

    Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling, Journal of Machine Learning Research
    25(72), 1-58.

    Geweke (1989), Bayesian inference in econometric models using Monte Carlo integration, Econometrica 57, 1317-1339.
    doi:10.2307/1913710

    Nobile (2004), On the posterior distribution of the number of components in a finite mixture, Annals of Statistics 32,
    2044-2073. doi:10.1214/009053604000000788

    Paananen, Piironen, Bürkner & Vehtari (2021), Implicitly adaptive importance sampling, Statistics and Computing 31, 16.
    doi:10.1007/s11222-020-09982-2

    Juárez & Steel (2010), Model-based clustering of non-Gaussian panel data based on skew-t distributions, Journal of
    Business & Economic Statistics 28, 52-66. doi:10.1198/jbes.2009.07145

    Yao, Vehtari, Simpson & Gelman (2018), Yes, but did it work? Evaluating variational inference, Proceedings of
    Machine Learning Research 80, 5581-5590.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> tree["posterior"]["mu"].mean(("chain", "draw")).round(0).values.tolist()
    [10.0, 21.0, 33.0]
    """
    return judged_fit(**locals()).tree


def judged_fit(
    x: ArrayLike | Observations | Scan, k: int, known: OfData | None = None, *, one_of_many: bool = False, **options: Any
) -> Reading:
    """The tree of :func:`fit`, with results computed on the way, in particular its diagnosis.

    ``known`` holds problems of data and prior that were found, and warned of, before. For one of many fits an engine that is
    chosen automatically is a quick one: "laplace", then short Gibbs runs.
    """
    defaults = dict(fit.__kwdefaults__ or {})
    unknown = options.keys() - defaults.keys()
    if unknown:
        raise TypeError(f"fit() got an unexpected keyword argument {min(unknown)!r}")
    options = defaults | options
    phases = Phases(announce=bool(options["progressbar"]))
    x = first_pass(x, options, phases)
    asked = read_asked(x, k, known, one_of_many=one_of_many, **options)
    of_scan = f", in passes over {asked.source.pass_words}" if isinstance(asked.source, Scan) else ""
    with phases("em", f"EM: k = {asked.k}, n = {len(asked.source)}{of_scan}"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="EM did not converge")  # check_against_em says so
        given: dict[str, Any] = {"covariance": asked.covariance, "n_init": asked.n_init, "random_seed": asked.em_seed}
        given["family"] = asked.family
        given |= {} if asked.fixed is None else {"fixed": asked.fixed.shown}
        if (of_each := asked.prior_of_each) is not None:  # which only the mode of the posterior obeys
            given["prior"] = replace(of_each, alpha=np.maximum(of_each.alpha, 1.0))
        em = fit_em(asked.source, asked.k, **given)
    with left_off(asked.source, asked.k, asked.covariance, asked.family) as reached:
        reached.starts = list(em.ends)
        problem, optima = posed(asked, em, phases)
        reading, sampled = drawn(asked, em, problem, optima, phases)
    reading.tree.attrs |= {f"seconds_{name}": s for name, s in phases.seconds.items()}
    if optima is not None and len(optima) > 1:
        reading = reading.beside(with_optima(asked, reading.tree, em, optima))
    summed = problem.own if isinstance(problem.own, SummedPosterior) else None
    interrupted = sampled.interrupted
    del problem, optima, sampled  # frees the standardised copy of the data
    return finished(asked, reading, summed, interrupted=interrupted, phases=phases)
