"""Fitting: every engine turns a posterior into a tree; :func:`fit` is the one door."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm.analysis import labels as labelling
from bayesgmm.analysis import predictive
from bayesgmm.analysis.diagnosis import MAX_R_HAT, MIN_ESS_PER_CHAIN, Diagnosis, diagnosis_of
from bayesgmm.analysis.draws import draws_of
from bayesgmm.analysis.impropriety import OfData, forewarn, of_data
from bayesgmm.analysis.quantities import have_reached, invariant_quantities
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import Whole, add_optima, build_tree
from bayesgmm.arguments import Covariance, Engine, Family, FloatArray, Method, Missing, Noise, read_seed, require_memory
from bayesgmm.data.known import NOTHING
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import require_full_rank
from bayesgmm.data.scan import Scan
from bayesgmm.data.sources import read_fit_source, scan_of
from bayesgmm.em.fitting import fit_em
from bayesgmm.em.left_off import left_off
from bayesgmm.em.result import EMResult
from bayesgmm.em.rivals import has_rival
from bayesgmm.engines.compiled_target import CompiledTarget
from bayesgmm.engines.interface import Sampled
from bayesgmm.engines.nutpie_interface import interface_problem
from bayesgmm.engines.options import Options, read_options
from bayesgmm.engines.phases import DeferredInterrupt, Phases
from bayesgmm.engines.problem import Problem, custom_problem, own_problem
from bayesgmm.engines.starts import Optimum, deal, weigh
from bayesgmm.engines.sweeps import sweeps
from bayesgmm.exceptions import ConvergenceWarning, EngineWarning, InterruptedWarning, warn
from bayesgmm.kernels.rows import EXACT
from bayesgmm.model.priors import CUSTOM_MODEL, Prior, read_prior
from bayesgmm.posterior import SummedPosterior
from bayesgmm.words import EQUALS, Argument, Either, Words, about, said

if TYPE_CHECKING:
    import pymc as pm

    from bayesgmm.engines.nuts import NutsSettings

__all__ = ["fit"]

_log = logging.getLogger(__name__)
_LONG = 50_000_000  # draws x clusters x observations whose relabelling takes more than a second
_AS_THEY_ARE = ("n_init", "relabel", "log_likelihood", "posterior_predictive", "progressbar")  # options that others check
_OF_NUTS = ("tune", "thin", "target_accept", "target_ess", "max_draws")  # options that tell which method is meant
_MANY = 300_000  # observations x components x features, from which on importance sampling is quicker than NUTS by far
_PLENTY = 3 * MIN_ESS_PER_CHAIN  # with which R-hat of chains that agree stays clear of its limit


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
    family: Family = "gaussian",
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
        draws the labels too, and forgets them: it may pass between solutions that NUTS is slow to leave, and suits small
        data; NUTS is faster by far where observations are many. "laplace" draws from Gaussians at the modes, weighs the
        draws by importance and draws from these again: exact up to Monte Carlo error where the tail of the weights, k-hat,
        and their efficiency say so (at most 0.7, at least 0.4), and k - 1 components do not describe the data as well;
        elsewhere NUTS takes over. Default: "laplace" where observations are many (n k D from 300 000 on, and rows that are
        read in passes), unless options of NUTS are given; else "nuts".
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
        chain where the posterior is far from a Gaussian (and without ``target_ess``).
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
        NUTS: acceptance rate sought, between 0 and 1. Default 0.9, or 0.8 where the posterior is all but a Gaussian.
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
        If a few observations far from all others set the scale of the prior.
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
    asked = _read(x, k, known, **options)
    of_scan = f", in passes over {asked.source.pass_words}" if isinstance(asked.source, Scan) else ""
    with phases("em", f"EM: k = {asked.k}, n = {len(asked.source)}{of_scan}"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="EM did not converge")  # check_against_em says so
        given: dict[str, Any] = {"covariance": asked.covariance, "n_init": asked.n_init, "random_seed": asked.em_seed}
        given["family"] = asked.family
        em = fit_em(asked.source, asked.k, **given)
    with left_off(asked.source, asked.k, asked.covariance, asked.family) as reached:
        reached.mixtures = list(em.optima())
        problem, optima = _posed(asked, em, phases)
        sampled, settings = _sampled(asked, em, problem, optima, phases)
    tree = _assembled(asked, em, problem, sampled, settings | {f"seconds_{name}": s for name, s in phases.seconds.items()})
    if optima is not None and len(optima) > 1:
        tree = _with_optima(asked, tree, em, optima)
    return _finished(asked, tree, problem, sampled, phases)


def first_pass(x: Any, options: dict[str, Any], phases: Phases) -> Any:
    """Rows that are read in parts as a scan that has been read once, which is announced; anything else as it is.

    The scan has to do with weights and gaps, which are taken out of the options.
    """
    scan = scan_of(x, missing=options["missing"], sample_weight=options["sample_weight"])
    if scan is None:
        return x
    options |= {"missing": "raise", "sample_weight": None}
    if not scan.has_been_read:
        phases.say(scan.advice)
        with phases("scan", f"first pass over {scan.pass_words}"):
            _ = scan.summary
    return scan


@dataclass(frozen=True)
class _Asked:
    """What is to be fitted and how, read and checked; ``prior`` is None beside a user's own model."""

    data: Observations
    source: Observations | Scan
    k: int
    prior: Prior | None
    model: pm.Model | None
    covariance: Covariance
    family: Family
    options: Options
    engine: Engine | None
    without_nutpie: bool
    n_init: int
    seed: int
    em_seed: int
    engine_seed: int
    relabel: bool
    log_likelihood: bool
    posterior_predictive: bool
    progressbar: bool
    known: OfData | None


def _read(
    x: ArrayLike | Observations | Scan,
    k: int,
    known: OfData | None,
    *,
    prior: Prior | None,
    model: pm.Model | None,
    covariance: Covariance,
    family: Family,
    engine: Engine | None,
    missing: Missing,
    sample_weight: ArrayLike | None,
    labels: ArrayLike | None,
    noise: Noise,
    random_seed: int | np.random.Generator | None,
    **others: Any,
) -> _Asked:
    """Check all arguments, and say what data do to the prior."""
    known_of_rows = {"sample_weight": sample_weight, "labels": labels, "noise": noise}
    for name, value in known_of_rows.items():
        if model is not None and value is not None and value is not False:
            raise ValueError(about(name, "cannot be used beside model, which states its own likelihood; state it there"))
    given: dict[str, Any] = known_of_rows | {"missing": missing}
    if model is not None and family != "gaussian":
        raise ValueError(about("family", "cannot be used beside model, which states its own likelihood; state it there"))
    data, source, k = read_fit_source(x, k, covariance=covariance, family=family, of_any_rank=model is not None, **given)
    in_parts = isinstance(source, Scan)
    if isinstance(source, Scan):
        _require_for_scan(others["method"], engine, model)
        data = source.shown
    if model is not None and not (data.kind is EXACT and data.known.equals(NOTHING)):
        rule = "must be exact, complete rows without weights, labels and noise beside model, which states its own likelihood"
        raise ValueError(about("x", f"{rule}; state what else is known there"))
    as_they_are = {name: others.pop(name) for name in _AS_THEY_ARE}
    if others["method"] is None:
        many = in_parts or data.x.size * k >= _MANY
        as_is = model is None and engine != "pymc" and all(others[name] is None for name in _OF_NUTS)
        others["method"] = "laplace" if many and as_is else "nuts"
    others["draws"] = (250 if in_parts else 1000) if others["draws"] is None else others["draws"]
    options = read_options(engine=engine, custom=model is not None, **others)
    seed = read_seed(random_seed)
    em_seed, engine_seed = (int(each) for each in np.random.SeedSequence(seed).generate_state(2) % 2**31)
    if model is None:
        prior = read_prior(prior, data, covariance, family)
        known = known or forewarn(data, [k], prior, covariance, family)[k]
    else:
        from bayesgmm.engines.custom import read_model

        covariance = read_model(model, data.x, k, prior, covariance)
        require_full_rank(data, covariance)
    asked = _Asked(
        data=data,
        source=source,
        k=k,
        prior=prior,
        model=model,
        covariance=covariance,
        family=family,
        options=options,
        engine=engine,
        without_nutpie=model is None and options.method == "nuts" and not in_parts and _lacks_nutpie(),
        seed=seed,
        em_seed=em_seed,
        engine_seed=engine_seed,
        known=known,
        **as_they_are,
    )
    _require_room(asked)
    return asked


def _require_for_scan(method: Any, engine: Any, model: Any) -> None:
    """Refuse what would need all rows at once, or one pass after the other for very long."""
    others = Words(Argument("method", "laplace"), " or ", Argument("method", "nuts"))
    if method in ("gibbs", "advi"):
        rule = Words(" cannot be used on rows that are read in passes, of which it would take thousands; use ", others)
        raise ValueError(Words(Argument("method", method), rule))
    if engine == "pymc" or model is not None:
        name = Argument("engine", "pymc") if model is None else Argument("model")
        needs = " cannot be used on rows that are read in passes, for PyMC needs them in memory; leave it out, or read them"
        raise ValueError(Words(name, needs))


def _posed(asked: _Asked, em: EMResult, phases: Phases) -> tuple[Problem, list[Optimum] | None]:
    """The posterior, compiled, and of the package's own EM's optima with their shares of it."""
    if asked.prior is None:
        return custom_problem(asked.model, asked.data, em), None
    engine: Engine | None = "pymc" if asked.without_nutpie else asked.engine
    problem = own_problem(asked.data, em, asked.prior, engine, asked.options.chains)
    assert problem.own is not None
    with phases("compile", None), DeferredInterrupt(raise_at_end=True):
        own, point = problem.own, problem.starts[0]  # whose density and sweeps take long at first use only
        own(point)
        if isinstance(asked.source, Observations):
            sweeps(own)(np.random.default_rng(0), point.copy(), 1, np.empty((1, own.n_dim)))
    with phases("geometry", None):
        return problem, weigh(own, problem.starts)


def _sampled(
    asked: _Asked, em: EMResult, problem: Problem, optima: Sequence[Optimum] | None, phases: Phases
) -> tuple[Sampled, dict[str, Any]]:
    """Draws, and the settings under which they were made."""
    options, seed = asked.options, asked.engine_seed
    if options.method == "laplace" and problem.own is not None:
        from bayesgmm.engines.importance import sample_laplace

        assert optima is not None
        if has_rival(asked.source, em, asked.em_seed):
            why = f"k = {asked.k} is hardly better than {asked.k - 1}, and a component may be empty"
        else:
            by_laplace, told = sample_laplace(problem, optima, options.draws, options.chains, seed, phases)
            if by_laplace is not None:
                return by_laplace, told
            weights = f"k-hat {told['pareto_k']:.2f}, efficiency {told['importance_efficiency']:.2f}"
            why = f"the posterior is too far from Laplace's approximation ({weights})"
        phases.say(f"{why}: NUTS takes over")
        by_nuts, settings = _by_nuts(asked, problem, optima, phases)
        return by_nuts, settings | {"method": "nuts"}
    if options.method == "advi":
        from bayesgmm.engines.advi import sample_advi

        start = optima[0].point if optima else problem.starts[0]
        return sample_advi(problem.target, start, options, seed, phases, problem.own), {"max_iter": options.max_iter}
    if options.method == "gibbs":
        from bayesgmm.engines.gibbs import GibbsSettings, sample_gibbs, sweeps_between_draws

        assert problem.own is not None
        assert optima is not None
        tune, thin = options.tune or 1000, options.thin or sweeps_between_draws(problem.own.work * asked.k)
        gibbs = GibbsSettings(options.draws, tune, thin, options.chains, seed, asked.progressbar)
        starts = [optima[i].point for i in deal(optima, options.chains)]
        return sample_gibbs(problem.target, starts, gibbs, phases), {"tune": tune, "thin": thin}
    return _by_nuts(asked, problem, optima, phases)


def _by_nuts(
    asked: _Asked, problem: Problem, optima: Sequence[Optimum] | None, phases: Phases
) -> tuple[Sampled, dict[str, Any]]:
    """Draws by NUTS, and the settings under which they were made."""
    options = asked.options
    sampled, nuts = _sampled_by_nuts(asked, problem, optima, phases)
    settings: dict[str, Any] = {"tune": nuts.tune, "thin": sampled.thin, "target_accept": nuts.target_accept}
    if options.target_ess is not None:
        settings |= {"target_ess": options.target_ess, "max_draws": options.max_draws}
        settings |= {"stopped_by": sampled.stopped_by} if sampled.stopped_by else {}
    if asked.prior is not None and not asked.without_nutpie:
        settings["adaptation"] = nuts.adaptation
    return sampled, settings


def _with_optima(asked: _Asked, tree: xr.DataTree, em: EMResult, optima: Sequence[Optimum]) -> xr.DataTree:
    """The tree with the several solutions that EM found."""
    options = asked.options
    begun = [0] * options.chains if options.method == "advi" or asked.without_nutpie else deal(optima, options.chains)
    masses = [each.mass if each.approximation is not None else np.nan for each in optima]
    reached = {id(end.mixture): end.log_likelihood for end in em.restarts}
    mixtures = [em.optima()[each.which] for each in optima]
    return add_optima(tree, [(each, reached[id(each)], masses[i], begun.count(i)) for i, each in enumerate(mixtures)])


def _finished(asked: _Asked, tree: xr.DataTree, problem: Problem, sampled: Sampled, phases: Phases) -> Reading:
    """The tree relabelled and judged, with the groups that were asked for; what is the matter is said as warnings."""
    reading = Reading(tree)
    try:
        if asked.relabel:
            is_long = tree["posterior"]["w"].size * len(asked.data.x) > _LONG
            with phases("relabel", "relabelling" if is_long else None):
                reading = labelling.relabelled(reading)
        if asked.log_likelihood:
            reading = reading.beside(predictive.add_log_likelihood(reading))
        if asked.posterior_predictive:
            reading = reading.beside(predictive.add_posterior_predictive(reading, asked.engine_seed))
        if isinstance(problem.own, SummedPosterior) and not ("log_evidence" in tree.attrs or sampled.interrupted):
            from bayesgmm.comparison.evidence import told_of_passes

            with phases("evidence", "log evidence, in four passes"):
                reading.tree.attrs |= told_of_passes(reading, problem.own, asked.engine_seed)
        if asked.known is not None:
            reading = reading.knowing(of_data, asked.known)
        diagnosis = reading.ask(diagnosis_of)
    except (KeyboardInterrupt, Exception) as error:  # no draws are lost by what is made of them
        interrupted = isinstance(error, KeyboardInterrupt)
        reading.tree.attrs["interrupted"] = int(interrupted or sampled.interrupted)
        text = said(error)
        why = text if isinstance(text, Words) else " ".join(text.split()) or type(error).__name__
        what = "interrupted after sampling" if interrupted else Words("an error after sampling (", why, ")")
        left = "bayesgmm.relabel, add_log_likelihood and add_posterior_predictive do what is left"
        kept = Words(what, ": the tree keeps all draws; ", Either("", "in Python "), left)
        warn(kept, InterruptedWarning)
        return reading
    _warn_of_trouble(reading.tree, diagnosis, sampled)
    return reading


def _require_room(asked: _Asked) -> None:
    """Refuse beforehand what memory would not hold: parameters, sampler statistics, groups of draws x observations."""
    data, k, options = asked.data, asked.k, asked.options
    n, n_features, draws = len(data), data.n_features, options.longest * options.chains
    steps, what, remedy = options.longest, f"{options.longest} draws", "ask for fewer draws"
    if options.method == "nuts":  # which holds every step of a chain, those of its tuning as well
        from bayesgmm.engines.nuts import most_steps_between_draws

        few = 1 if options.target_ess is not None else most_steps_between_draws(data.x.size * k)
        tune, steps = options.tune or 0, options.longest * (options.thin or few)
        steps, what = steps + tune, f"({tune} + {steps}) steps" if tune else f"{steps} steps"
        remedy = Words("ask for fewer draws or a smaller ", Argument("tune")) if tune else remedy
    of_cluster = 5 if n_features == 1 else 3 + 3 * n_features + 4 * n_features**2
    require_memory(
        8 * options.chains * steps * (of_cluster * k + 25),
        f"{options.chains} x {what} of {k} components",
        remedy if options.target_ess is None else Words("lower ", Argument("max_draws"), " or ", Argument("tune")),
    )
    for wanted, group, size in (
        (asked.log_likelihood, "log_likelihood", n),
        (asked.posterior_predictive, "posterior_predictive", n * n_features),
    ):
        if wanted:
            predictive.require_room(draws, size, group, "ask for fewer draws, or add the group afterwards")


def _sampled_by_nuts(
    asked: _Asked, problem: Problem, optima: Sequence[Optimum] | None, phases: Phases
) -> tuple[Sampled, NutsSettings]:
    """Draws, and the settings that were used: as asked for, or as the posterior's shape suggests."""
    from bayesgmm.engines.nuts import NutsSettings, choose_geometry, sample_by_pymc, sample_nuts
    from bayesgmm.engines.together import geometry_in_passes, passes_of

    options, seed = asked.options, asked.engine_seed
    settings = NutsSettings(
        options.draws,
        options.tune or 800,
        options.chains,
        seed,
        options.target_accept or 0.9,
        phases.announce,
        max_draws=options.max_draws,
        enough=None if options.target_ess is None else _has_reached(options.target_ess, problem),
        thin=options.thin or 1,
    )
    if problem.own is None or optima is None:
        return sample_by_pymc(problem.target.model, problem.start_values, settings, phases), settings
    if asked.without_nutpie:
        values = problem.own.constrained(optima[0].point)
        start = {name: values[name] for name in problem.start_values}
        return sample_by_pymc(problem.target.model, start, settings, phases, nuts_sampler="pymc"), settings
    if isinstance(problem.own, SummedPosterior):
        chosen = geometry_in_passes(problem.own, optima, options.chains, seed)
        tune, target_accept = options.tune or chosen.tune, options.target_accept or chosen.target_accept
        phases.say(passes_of(tune + options.longest * settings.thin))
        settings = replace(settings, adaptation=chosen.adaptation, tune=tune, target_accept=target_accept)
        return sample_nuts(problem.target, chosen.starts, settings, phases), settings
    with phases("geometry", None):
        can_whiten = isinstance(problem.target, CompiledTarget)
        chosen = choose_geometry(problem.own, optima, options.chains, seed, can_whiten=can_whiten)
    tune, target_accept = options.tune or chosen.tune, options.target_accept or chosen.target_accept
    settings = replace(settings, adaptation=chosen.adaptation, tune=tune, target_accept=target_accept)
    if options.thin is None and options.target_ess is None and chosen.most_thin > 1:
        plenty = _has_reached(_PLENTY * options.chains, problem)
        settings = replace(settings, most_thin=chosen.most_thin, enough=plenty)
    return sample_nuts(problem.target, chosen.starts, settings, phases), settings


def _lacks_nutpie() -> bool:
    """Whether nutpie cannot be used; why is said as a warning."""
    problem = interface_problem()
    if problem:
        warn(
            f"the installed nutpie cannot sample the compiled posterior: {problem}; PyMC's engine is used, which takes "
            "longer; install a version of nutpie that bayesgmm's requirements allow",
            EngineWarning,
        )
    return problem is not None


def _has_reached(target_ess: float, problem: Problem) -> Callable[[xr.Dataset, FloatArray], bool]:
    """Whether the label-invariant quantities have the effective sample size wanted, and an R-hat that gives it a meaning."""

    def enough(posterior: xr.Dataset, log_posterior: FloatArray) -> bool:
        draws = draws_of(problem.as_contract(posterior))
        if draws.n_chains == 1:  # halves of it stand for chains
            draws = draws.halves()
            log_posterior = log_posterior[:, : 2 * draws.n_draws].reshape(2, draws.n_draws)
        if draws.n_draws < 4:
            return False
        return have_reached(invariant_quantities(draws, problem.x, log_posterior), target_ess, MAX_R_HAT)

    return enough


def _assembled(asked: _Asked, em: EMResult, problem: Problem, sampled: Sampled, settings: dict[str, Any]) -> xr.DataTree:
    """The tree in the data's units, with a record of how it was made."""
    attrs = {
        "method": asked.options.method,
        "k": asked.k,
        "covariance": asked.covariance,
        "family": asked.family,
        "prior": CUSTOM_MODEL if asked.prior is None else asked.prior.to_json(),
        "seed": asked.seed,
        "n_init": asked.n_init,
        "missing": asked.data.missing,
        "engine": "compiled" if isinstance(problem.target, CompiledTarget) else "pymc",
        "interrupted": int(sampled.interrupted),
        **settings,
    }
    _log.debug("%s", ", ".join(f"{name} = {value}" for name, value in attrs.items()))
    posterior = problem.in_data_units(problem.as_contract(sampled.posterior))
    approximation = sampled.approximation
    if approximation is not None:
        approximation = approximation.assign(elbo=approximation["elbo"] - problem.log_unit)
    apart = ["C0"] if problem.own is not None and problem.own.hierarchical else []
    whole = None if asked.source is asked.data else Whole(len(asked.source), asked.source.total)
    return build_tree(posterior, sampled.sample_stats, asked.data, em, attrs, approximation, apart, whole)


def _warn_of_trouble(tree: xr.DataTree, diagnosis: Diagnosis, sampled: Sampled) -> None:
    if sampled.interrupted:
        chains, draws = tree["posterior"].sizes["chain"], tree["posterior"].sizes["draw"]
        warn(
            f"interrupted: the tree keeps the {chains} x {draws} draws (chains x draws) made by then",
            InterruptedWarning,
        )
    if tree.attrs.get("stopped_by") == "max_draws":
        target_ess, max_draws = tree.attrs["target_ess"], tree.attrs["max_draws"]
        ess, r_hat = diagnosis.invariants["ess_bulk"].min(), diagnosis.invariants["r_hat"].max()
        most, got = Argument("max_draws"), f"smallest bulk ESS {ess:.0f}, largest R-hat {r_hat:.3f}"
        within = Words(" was not reached in ", most, EQUALS, f"{max_draws} draws of each chain: {got}; raise ", most)
        text = Words(Argument("target_ess"), EQUALS, f"{target_ess:g}", within)
        warn(text, ConvergenceWarning)
    diagnosis.warn()
