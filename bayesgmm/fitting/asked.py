"""The arguments of ``fit``, all checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm.analysis import predictive
from bayesgmm.analysis.impropriety import OfData, forewarn, settled
from bayesgmm.arguments import Covariance, Engine, FamilyName, Missing, Noise, Rounding, read_seed, require_memory
from bayesgmm.data.known import NOTHING
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import require_full_rank
from bayesgmm.data.rounding import is_auto
from bayesgmm.data.scan import Scan
from bayesgmm.data.sources import read_fit_source, scan_of
from bayesgmm.engines.nutpie_interface import interface_problem
from bayesgmm.engines.options import Options, read_options
from bayesgmm.engines.phases import Phases
from bayesgmm.exceptions import EngineWarning, warn
from bayesgmm.kernels.rows import EXACT
from bayesgmm.model.fixed import Fixed, read_fixed, require_one_order
from bayesgmm.model.priors import Prior, read_prior
from bayesgmm.words import Argument, Words, about

if TYPE_CHECKING:
    import pymc as pm

_AS_THEY_ARE = (  # options that others check
    "n_init", "relabel", "log_likelihood", "log_prior", "posterior_predictive", "progressbar",
)  # fmt: skip
_OF_NUTS = ("tune", "thin", "target_accept", "target_ess", "max_draws")  # with any of these the default is NUTS
_MANY = 300_000  # observations x components x features from which importance sampling is far quicker than NUTS


@dataclass(frozen=True)
class Asked:
    """The checked arguments of a fit. ``prior`` is None for a user's model."""

    data: Observations
    source: Observations | Scan
    k: int
    prior: Prior | None
    model: pm.Model | None
    covariance: Covariance
    family: FamilyName
    options: Options
    engine: Engine | None
    without_nutpie: bool
    n_init: int
    seed: int
    em_seed: int
    engine_seed: int
    rounding: Rounding
    relabel: bool
    log_likelihood: bool
    log_prior: bool
    posterior_predictive: bool
    progressbar: bool
    known: OfData | None
    fixed: Fixed | None
    ordered: bool
    chooses: bool
    """Whether the engine is chosen automatically."""
    one_of_many: bool
    """Whether quick engines come first, because this is one of many fits."""

    @property
    def prior_of_each(self) -> Prior | None:
        """The prior if it holds hyperparameters for each component."""
        return None if self.prior is None or self.prior.n_components(self.covariance) is None else self.prior


def first_pass(x: Any, options: dict[str, Any], phases: Phases) -> Any:
    """A scan with its first pass made and announced, for rows that are read in parts; other data as they are.

    The scan takes over ``missing`` and ``sample_weight``, so the options are reset.
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


def read_asked(
    x: ArrayLike | Observations | Scan,
    k: int,
    known: OfData | None,
    *,
    prior: Prior | None,
    model: pm.Model | None,
    covariance: Covariance,
    family: FamilyName,
    engine: Engine | None,
    missing: Missing,
    sample_weight: ArrayLike | None,
    labels: ArrayLike | None,
    noise: Noise,
    rounding: Rounding,
    fixed: Mapping[str, ArrayLike] | None,
    ordered: bool,
    random_seed: int | np.random.Generator | None,
    one_of_many: bool = False,
    **others: Any,
) -> Asked:
    """Check all arguments, and warn of problems of data and prior."""
    known_of_rows = {"sample_weight": sample_weight, "labels": labels, "noise": noise}
    for name, value in known_of_rows.items():
        if model is not None and value is not None and value is not False:
            raise ValueError(about(name, "cannot be used beside model, which states its own likelihood; state it there"))
    if model is not None and others["log_prior"]:
        raise ValueError(about("log_prior", "cannot be used beside model; add the group by pymc.stats.compute_log_prior"))
    if model is not None and rounding is not None and not is_auto(rounding):
        raise ValueError(about("rounding", "cannot be used beside model, which states its own likelihood; state it there"))
    given: dict[str, Any] = known_of_rows | {"missing": missing, "rounding": rounding}
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
    if model is not None and fixed is not None:
        raise ValueError(about("fixed", "cannot be used beside model; fix parameters there"))
    held = read_fixed(fixed, k, data.n_features, covariance)
    as_they_are = {name: others.pop(name) for name in _AS_THEY_ARE}
    chooses = (
        others["method"] is None and model is None and engine != "pymc" and all(others[name] is None for name in _OF_NUTS)
    )
    if others["method"] is None:
        many = in_parts or one_of_many or data.x.size * k >= _MANY
        others["method"] = "laplace" if many and chooses else "nuts"
    others["draws"] = (250 if in_parts else 1000) if others["draws"] is None else others["draws"]
    options = read_options(engine=engine, custom=model is not None, **others)
    seed = read_seed(random_seed)
    em_seed, engine_seed = (int(each) for each in np.random.SeedSequence(seed).generate_state(2) % 2**31)
    if model is None:
        prior = read_prior(prior, data, covariance, family, [k])
        if known is None:
            given_prior = [k], prior, covariance, family
            seen, found = settled(data, *given_prior, None if in_parts else rounding)
            data, source = seen, source if in_parts else seen
            known = forewarn(found)[k]
    else:
        from bayesgmm.engines.custom import read_model

        covariance = read_model(model, data.x, k, prior, covariance)
        require_full_rank(data, covariance)
    asked = Asked(
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
        rounding=rounding,
        known=known,
        fixed=held,
        ordered=bool(ordered),
        chooses=chooses,
        one_of_many=one_of_many,
        **as_they_are,
    )
    if ordered:
        if model is not None:
            raise ValueError(about("ordered", "cannot be used beside model; order the means there"))
        require_one_order(data, fixed=held is not None, of_each=asked.prior_of_each is not None)
    _require_room(asked)
    return asked


def _require_for_scan(method: Any, engine: Any, model: Any) -> None:
    """Refuse options that need all rows in memory, or thousands of passes."""
    others = Words(Argument("method", "laplace"), " or ", Argument("method", "nuts"))
    if method in ("gibbs", "advi"):
        rule = Words(" cannot be used on rows that are read in passes: it takes thousands of passes; use ", others)
        raise ValueError(Words(Argument("method", method), rule))
    if engine == "pymc" or model is not None:
        name = Argument("engine", "pymc") if model is None else Argument("model")
        needs = " cannot be used on rows that are read in passes: PyMC needs them in memory; leave it out, or read them"
        raise ValueError(Words(name, needs))


def _require_room(asked: Asked) -> None:
    """Refuse results that memory would not hold: parameters, sampler statistics, groups of draws x observations."""
    data, k, options = asked.data, asked.k, asked.options
    n, n_features, draws = len(data), data.n_features, options.longest * options.chains
    steps, what, remedy = options.longest, f"{options.longest} draws", "ask for fewer draws"
    if options.method == "nuts":  # NUTS holds every step of a chain, tuning included
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


def _lacks_nutpie() -> bool:
    """Whether nutpie cannot be used. A warning then says why."""
    problem = interface_problem()
    if problem:
        warn(
            f"the installed nutpie cannot sample the compiled posterior: {problem}; PyMC's engine is used, which takes "
            "longer; install a version of nutpie that bayesgmm's requirements allow",
            EngineWarning,
        )
    return problem is not None
