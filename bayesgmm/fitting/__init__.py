"""Entry point: a posterior by NUTS, Gibbs sampling, ADVI or importance sampling, judged before it is returned."""

from __future__ import annotations

import warnings
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
) -> xr.DataTree:
    """Posterior over the parameters of a Gaussian mixture with k components.

    EM gives the start, the data are standardised inside, and the draws come back in the data's units, relabelled to
    match the EM estimate that is stored beside them. Chains begin at the distinct optima that EM's restarts found within
    five units of log-likelihood of the best, at most four, in proportion to their share of the posterior as Laplace's method
    roughly tells it; a short Gibbs run from there gives each chain of NUTS its start. Several solutions show as chains that
    disagree.

    Parameters
    ----------
    x : (n,) or (n, D) array-like, Observations, or Scan
        One row for each observation; the columns' names become coordinates. Rows on disk (:func:`bayesgmm.scan_parquet`, a
        memory map) are read in passes, any number of them; the tree then holds a sample of the rows.
    k : int
        Number of components.
    method : {"nuts", "gibbs", "advi", "laplace"}, optional
        NUTS or Gibbs (exact up to Monte Carlo error), or ADVI (a Gaussian approximation on the unconstrained space). Gibbs
        draws the labels too, and forgets them: it passes between solutions that NUTS is slow to leave. NUTS is faster by far
        where the posterior is near a Gaussian. "laplace" draws from Gaussians at the modes, weighs the draws by importance
        and draws from these again: exact up to Monte Carlo error where the tail of the weights, k-hat, and their efficiency
        say so (at most 0.7, at least 0.4), and k - 1 components do not describe the data as well; elsewhere NUTS takes over.
        Default: the engine that suits the problem, and another one where its draws have not converged. "laplace" comes
        first where observations are many (n k D from 300 000 on, and rows that are read in passes). Else, or where that is
        no good, NUTS where the posterior is near a Gaussian, and Gibbs where it is not or has several solutions (n k D up to
        1 500 000, beyond it NUTS). If R-hat and effective sample sizes (:func:`bayesgmm.diagnose`) say that the draws have
        not converged, Gibbs takes over, then Gibbs with 4 to 16 times as many sweeps, and on few data (up to 20 000) NUTS.
        The first draws that have converged are kept, or else the best; ``tree.attrs["engines"]`` tells which engines ran and
        for how long (JSON). Fewer than 1 000 draws, or a single chain, are too few to be judged: they stay those of the
        first engine. With ``tune``, ``thin``, ``target_accept``, ``target_ess``, ``model`` or ``engine="pymc"``: "nuts".
    prior : HierarchicalPrior or ConjugatePrior, optional
        Default: ``HierarchicalPrior()``, scaled to the data.
    covariance : {"full", "tied", "diag", "spherical"}
        What scikit-learn, and :class:`bayesgmm.BayesianGMM` with it, call ``covariance_type``.
        A covariance for each component; one for all; independent features; or, for each component, one variance for all
        features. For one feature "full", "diag" and "spherical" are the same: a variance for each component. ``model``
        settles it by its ``sigma`` or ``cov``.
    draws, chains : int
        Draws kept in each chain, and chains; by default 4 chains of 1000, or of 250 where rows are read in passes. Draws of
        ADVI and "laplace" are independent and fill the same shape.
    tune : int, optional
        NUTS: adaptation steps of each chain, which are not kept. Default 200 where the posterior is near a Gaussian, else
        400; 800 for a custom model. Gibbs: sweeps before the first draw, default 1000.
    thin : int, optional
        Sweeps (Gibbs) or steps (NUTS) from one draw to the next. Default: more than one where data are so few that they cost
        next to nothing: up to 50 sweeps; as many steps, up to 8, as it takes for an effective sample size of 300 for each
        chain unless the posterior is all but a Gaussian (and without ``target_ess``).
    random_seed : int, Generator or None
        The seed used is recorded in ``tree.attrs["seed"]``. It repeats a run to the last digit on one machine. (Under
        ``engine="pymc"`` the first run of a model, freshly compiled, may round otherwise than its cached code later.)
    relabel : bool
        Undo label switching (:func:`bayesgmm.relabel`, by its default method).
    progressbar : bool
        Announce phases and show progress on standard error.
    model : pm.Model, optional
        Your own model of ``x``, under any priors: a Gaussian mixture in variables ``w``, ``mu``, ``sigma``; for several
        features ``w`` (K), ``mu`` (K, D) and ``cov``, or its lower Cholesky factor ``chol``, (K, D, D) or one (D, D). It is
        sampled as it stands, in its own units. Where its priors tell the components apart, pass ``relabel=False``.
    n_init : int
        Starts of EM.
    target_accept : float, optional
        NUTS: acceptance rate sought, between 0 and 1. Default 0.8 where the posterior is all but a Gaussian, 0.95
        where it is near one, 0.9 elsewhere.
    approximation : {"fullrank", "meanfield"}, optional
        ADVI: with or without correlations. Default "fullrank".
    max_iter : int, optional
        ADVI: iterations at most. Default 40 000.
    log_likelihood, posterior_predictive : bool
        Add these groups to the tree (draws x observations numbers each).
    missing : {"raise", "drop", "at_random"}
        What to do with NaN: refuse it, leave its row out, or take what is known of the row (:class:`bayesgmm.Observations`).
    engine : {"compiled", "pymc"}, optional
        What computes the posterior: the package's compiled density (the default), or PyMC, which needs longer and is what
        the compiled one is tested against. A custom model is always PyMC's.
    target_ess : float, optional
        NUTS: go on until the smallest bulk effective sample size of the label-invariant quantities reaches this and
        their R-hat is at most 1.01. ``draws`` is then the shortest run. (``pm.sample``, which a custom model needs, cannot
        go on where it stopped and begins anew for each length.)
    max_draws : int, optional
        NUTS with ``target_ess``: draws of each chain at most. Default ``20 * draws``. ``tree.attrs["stopped_by"]`` says
        which of the two ended the run.
    sample_weight : (n,) array-like, optional
        Frequency weights, not negative: an observation of weight c counts as c observations (c need not be an integer), one
        of weight 0 is left out. The posterior is that of repeated rows, and as narrow: weights that only say how much of a
        population a row stands for should be divided by their mean.
    labels : (n,) array-like of int, or (n, K) array-like, optional
        What is known of the components: of each observation the number of its component, or -1 where that is unknown; or
        probabilities of all components, in rows that add to one, of which only the ratios within a row matter. Components
        that labels tell apart keep their numbers.
    noise : bool, float, or (n,) array-like
        Whether observations may be strays of no component: True, uniformly distributed on a box that goes a tenth of the
        data's range beyond either end; or the log density that noise has, the same everywhere or for each observation (in
        the data's units). Its share ``w_noise`` has the prior Beta(1, 9); ``w`` are the weights of what is not noise. The
        default prior is then scaled to the data without strays (``HierarchicalPrior(scale="core")``).
    rounding : "auto", float, (D,) array-like, or None
        The step to which values are rounded, in their units, 0 for a feature that is not: each value then stands for the
        interval that is rounded to it, or, with full and tied covariances of several features, has an error of the variance
        width^2 / 12 (:func:`bayesgmm.rounded`). "auto": the step that is found, where equal values taken as exact would make
        the posterior improper, which is said. None: values are exact.
    family : {"gaussian", "t"}
        Gaussians, or Student's t distributions, whose tails let strays be: each with its own degrees of freedom ``nu``,
        under the prior Gamma(2, rate 0.1) (Juárez & Steel 2010), above 1; ``sigma`` and ``cov`` are then those of the
        Gaussians that the t distributions come near to as nu grows. The rows must be exact and complete. The default prior
        is scaled as beside noise.

    Returns
    -------
    DataTree
        Groups ``posterior`` (``w``, ``mu``, ``sigma`` over chain, draw, cluster, or for several features ``mu`` and ``cov``
        over feature, feature_bis as well; ``w_noise``, ``nu``), ``hyperparameters`` (``C0``, if the prior has any),
        ``sample_stats``, ``observed_data``, ``em_baseline``, for ADVI ``approximation``; settings and seconds as attributes.

    Warns
    -----
    ConvergenceWarning
        If :func:`bayesgmm.diagnose` finds that the chains have not converged or the sampler had trouble, if ``max_draws``
        ended the run before ``target_ess``, or if ADVI has not converged.
    ApproximationWarning
        If ADVI's PSIS k-hat exceeds 0.7.
    InterruptedWarning
        If the run was interrupted, or an error ended it after sampling; the tree holds the draws made by then, and what had
        been made of them.
    ImproperPosteriorWarning
        If so many observations are equal that the posterior is improper; said before anything is sampled.
    DataWarning
        If a few observations far from all others set the scale of the prior, or if values are taken for rounded.
    EngineWarning
        If the installed sampler does not take the compiled density, and PyMC's engine was used instead.

    Raises
    ------
    ValueError, TypeError
        For arguments that break a rule; the message names it.
    MemoryError
        If a group asked for would not fit into memory; said before anything is sampled.

    Notes
    -----
    Tested property: the posterior is equivariant, rescaled or shifted data give the rescaled or shifted posterior.

    References
    ----------
    Hoffman & Gelman (2014), The No-U-Turn sampler, Journal of Machine Learning Research 15, 1593-1623.

    Kucukelbir, Tran, Ranganath, Gelman & Blei (2017), Automatic differentiation variational inference, Journal of
    Machine Learning Research 18(14), 1-45.

    Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling, Journal of Machine Learning Research
    25(72), 1-58.

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


def judged_fit(x: ArrayLike | Observations | Scan, k: int, known: OfData | None = None, **options: Any) -> Reading:
    """The tree that :func:`fit` returns, with what has been learnt of it, its diagnosis in particular.

    ``known`` is what data and prior are known to do to the posterior, if a warning has said so.
    """
    defaults = dict(fit.__kwdefaults__ or {})
    unknown = options.keys() - defaults.keys()
    if unknown:
        raise TypeError(f"fit() got an unexpected keyword argument {min(unknown)!r}")
    options = defaults | options
    phases = Phases(announce=bool(options["progressbar"]))
    x = first_pass(x, options, phases)
    asked = read_asked(x, k, known, **options)
    of_scan = f", in passes over {asked.source.pass_words}" if isinstance(asked.source, Scan) else ""
    with phases("em", f"EM: k = {asked.k}, n = {len(asked.source)}{of_scan}"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="EM did not converge")  # check_against_em says so
        given: dict[str, Any] = {"covariance": asked.covariance, "n_init": asked.n_init, "random_seed": asked.em_seed}
        given["family"] = asked.family
        em = fit_em(asked.source, asked.k, **given)
    with left_off(asked.source, asked.k, asked.covariance, asked.family) as reached:
        reached.starts = list(em.ends)
        problem, optima = posed(asked, em, phases)
        reading, sampled = drawn(asked, em, problem, optima, phases)
    reading.tree.attrs |= {f"seconds_{name}": s for name, s in phases.seconds.items()}
    if optima is not None and len(optima) > 1:
        reading = reading.beside(with_optima(asked, reading.tree, em, optima))
    return finished(asked, reading, problem, sampled, phases)
