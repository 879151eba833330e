"""From draws to a tree: in the data's units, relabelled and judged, with warnings of any problem."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.analysis import labels as labelling
from bayesgmm.analysis import predictive
from bayesgmm.analysis.diagnosis import Diagnosis, diagnosis_of
from bayesgmm.analysis.impropriety import of_data
from bayesgmm.analysis.log_prior import add_log_prior
from bayesgmm.analysis.places import with_drawn_places
from bayesgmm.analysis.quantities import invariant_summary
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import Whole, add_optima, build_tree
from bayesgmm.em.result import EMResult
from bayesgmm.engines.compiled_target import CompiledTarget
from bayesgmm.engines.interface import Sampled
from bayesgmm.engines.phases import Phases
from bayesgmm.engines.problem import Problem
from bayesgmm.engines.starts import Optimum, deal
from bayesgmm.exceptions import ConvergenceWarning, InterruptedWarning, warn
from bayesgmm.fitting.asked import Asked
from bayesgmm.model.priors import CUSTOM_MODEL
from bayesgmm.posterior import SummedPosterior
from bayesgmm.words import EQUALS, Argument, Either, Words, said

_log = logging.getLogger(__name__)
_LONG = 50_000_000  # draws x clusters x observations above which relabelling takes more than a second


def assembled(asked: Asked, em: EMResult, problem: Problem, sampled: Sampled, settings: dict[str, Any]) -> xr.DataTree:
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
        **({"rounding": "none"} if asked.rounding is None else {}),
        **({"ordered": 1} if asked.ordered else {}),
        **({} if asked.fixed is None else {"fixed": asked.fixed.to_json()}),
        **settings,
    }
    _log.debug("%s", ", ".join(f"{name} = {value}" for name, value in attrs.items()))
    posterior = problem.in_data_units(problem.as_contract(sampled.posterior))
    if asked.fixed is not None:  # exactly, without the rounding of units
        held = {name: xr.DataArray(each, dims=posterior[name].dims[2:]) for name, each in asked.fixed.shown.items()}
        posterior = posterior.assign({name: posterior[name].where(each.isnull(), each) for name, each in held.items()})
    approximation = sampled.approximation
    if approximation is not None:
        approximation = approximation.assign(elbo=approximation["elbo"] - problem.log_unit)
    apart = ["C0"] if problem.own is not None and problem.own.hierarchical else []
    whole = None if asked.source is asked.data else Whole(len(asked.source), asked.source.total)
    tree = build_tree(posterior, sampled.sample_stats, asked.data, em, attrs, approximation, apart, whole)
    of_each = asked.prior_of_each
    return tree if of_each is None else with_drawn_places(tree, of_each, asked.engine_seed)


def with_optima(asked: Asked, tree: xr.DataTree, em: EMResult, optima: Sequence[Optimum]) -> xr.DataTree:
    """The tree with the several solutions that EM found."""
    options = asked.options
    begun = [0] * options.chains if tree.attrs["method"] == "advi" or asked.without_nutpie else deal(optima, options.chains)
    masses = [each.mass if each.approximation is not None else np.nan for each in optima]
    reached = {id(end.mixture): end.log_likelihood for end in em.restarts}
    mixtures = [em.optima()[each.which] for each in optima]
    return add_optima(tree, [(each, reached[id(each)], masses[i], begun.count(i)) for i, each in enumerate(mixtures)])


def finished(asked: Asked, reading: Reading, own: SummedPosterior | None, *, interrupted: bool, phases: Phases) -> Reading:
    """The tree, relabelled and judged, with the groups that the user wants. Problems are reported as warnings.

    ``own`` is the posterior of rows that are read in passes, which cannot be evaluated later.
    """
    try:
        if asked.ordered:
            reading = reading.reordered(np.argsort(reading.draws.mu[..., 0], axis=1))
        elif asked.relabel:
            is_long = reading.tree["posterior"]["w"].size * len(asked.data.x) > _LONG
            with phases("relabel", "relabelling" if is_long else None):
                known = reading.ask(invariant_summary)
                reading = labelling.relabelled(reading).knowing(invariant_summary, known)
        if asked.log_likelihood:
            reading = reading.beside(predictive.add_log_likelihood(reading))
        if asked.log_prior:
            reading = reading.beside(add_log_prior(reading))
        if asked.posterior_predictive:
            reading = reading.beside(predictive.add_posterior_predictive(reading, asked.engine_seed))
        if own is not None and not ("log_evidence" in reading.tree.attrs or interrupted):
            from bayesgmm.comparison.evidence import told_of_passes

            with phases("evidence", "log evidence, in four passes"):
                reading.tree.attrs.update(told_of_passes(reading, own, asked.engine_seed))
        if asked.known is not None:
            reading = reading.knowing(of_data, asked.known)
        diagnosis = reading.ask(diagnosis_of)
    except (KeyboardInterrupt, Exception) as error:  # an error after sampling must not lose the draws
        by_user = isinstance(error, KeyboardInterrupt)
        reading.tree.attrs["interrupted"] = int(by_user or interrupted)
        text = said(error)
        why = text if isinstance(text, Words) else " ".join(text.split()) or type(error).__name__
        what = "interrupted after sampling" if by_user else Words("an error after sampling (", why, ")")
        left = "with bayesgmm.relabel, add_log_likelihood, add_log_prior and add_posterior_predictive"
        kept = Words(what, ": the tree keeps all draws; finish it ", Either("", "in Python "), left)
        warn(kept, InterruptedWarning)
        return reading
    _warn_of_trouble(reading.tree, diagnosis, interrupted=interrupted)
    return reading


def _warn_of_trouble(tree: xr.DataTree, diagnosis: Diagnosis, *, interrupted: bool) -> None:
    if interrupted:
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
