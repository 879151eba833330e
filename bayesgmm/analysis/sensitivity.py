"""Whether answers depend on the prior, by power-scaling."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import psense

from bayesgmm.analysis.convergence import FEWEST_DRAWS
from bayesgmm.analysis.densities import log_likelihood
from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.findings import Finding
from bayesgmm.analysis.labels import quality_of
from bayesgmm.analysis.log_prior import log_prior_of
from bayesgmm.analysis.quantities import invariants_of, labelled_quantities
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.model.priors import CUSTOM_MODEL, prior_of
from bayesgmm.words import Argument, Words

LIMIT = 0.05  # Kallioinen et al. (2024)
_SMALLEST_ALPHA = 0.1  # below it, powers from 0.99 to 1.01 change alpha by a tenth and more
_NAMED = 4  # quantities that a sentence names
_GIVEN_OTHERS = ("sigma", "cov")  # log priors given C0, which belong to the model where C0 is drawn


@dataclass(frozen=True)
class PriorSensitivity:
    """Result of :func:`prior_sensitivity`.

    Attributes
    ----------
    table : DataFrame
        For each quantity ``prior`` and ``likelihood``: how much its distribution changes if the prior or the likelihood is
        raised to a power near one (the distance per unit of log2 of the power). Sorted, the largest ``prior`` first.
    findings : tuple of Finding
        Quantities that depend on the prior, and a remedy.
    """

    table: pd.DataFrame
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True if no quantity depends on the prior more than the limit of 0.05."""
        return not self.findings

    @property
    def sentence(self) -> str:
        """The answer in a sentence."""
        if self.findings:
            return str(self.findings[0].problem)
        largest = f"the largest is {self.table['prior'].iloc[0]:.3f}, of {self.table.index[0]}"
        return f"the prior matters little: no sensitivity is above {LIMIT} ({largest})"

    def __repr__(self) -> str:
        lines = [fill(f"Prior sensitivity: {self.sentence}", 110, subsequent_indent="    ")]
        lines += [
            fill(f"remedy: {each.remedy}", 110, initial_indent="    ", subsequent_indent="    ") for each in self.findings
        ]
        return "\n".join([*lines, self.table.head(20).round(3).to_string()])


def prior_sensitivity(tree: Tree) -> PriorSensitivity:
    """Say which answers depend on the prior, without another fit.

    The prior is raised to powers near one, the draws are weighted accordingly, and the change of each quantity's
    distribution is measured (``arviz.psense``). The same is done with the likelihood. The priors of weights, means, C0,
    noise and nu are scaled; that of the covariances only if C0 is fixed. The quantities are those that
    :func:`bayesgmm.diagnose` monitors and, if clusters can be told apart, the single parameters.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`. If it has a group ``log_prior``, that is used; so the tree of a model of your own works,
        after ``pymc.stats.compute_log_prior``.

    Returns
    -------
    PriorSensitivity
        Prints as a sentence and a table; ``.ok``, ``.table``, ``.findings`` with a remedy.

    Raises
    ------
    ValueError
        If the tree comes from a model of the user's own and has no log prior, holds only a sample of the rows, or has fewer
        than four draws in a chain.

    Notes
    -----
    A sensitivity above 0.05 of the prior and of the likelihood is called a possible conflict between prior and data; of the
    prior alone, a strong prior or a weak likelihood. The defaults scale their prior to the data's range, which is not scaled
    here. If alpha is below 0.1, the prior of the weights is not scaled either: a power near one would make it quite another
    prior, or an improper one.

    References
    ----------
    Kallioinen, Paananen, Bürkner & Vehtari (2024), Detecting and diagnosing prior and likelihood sensitivity with
    power-scaling, Statistics and Computing 34, 57. doi:10.1007/s11222-023-10366-5

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.two_gaussians(n=400, random_seed=1).x, 2, random_seed=1, progressbar=False)
    >>> bg.prior_sensitivity(tree).ok
    True
    """
    return Reading.of(tree).ask(sensitivity_of)


def can_be_scaled(reading: Reading) -> bool:
    """Whether the log prior of a tree's draws, and the likelihood of all rows, can be computed."""
    own = reading.tree.attrs.get("prior", CUSTOM_MODEL) != CUSTOM_MODEL
    return reading.whole is None and (own or "log_prior" in reading.tree.children) and reading.draws.n_draws >= FEWEST_DRAWS


@np.errstate(under="ignore")
def sensitivity_of(reading: Reading) -> PriorSensitivity:
    """The prior sensitivity of a tree."""
    tree, draws = reading.tree, reading.draws
    if reading.whole is not None:
        raise ValueError("tree must hold all rows, got a sample of those that were read in passes; fit rows in memory")
    if draws.n_draws < FEWEST_DRAWS:
        raise ValueError(f"tree must have at least {FEWEST_DRAWS} draws in each chain, got {draws.n_draws}; raise draws")
    log_prior = tree["log_prior"].to_dataset() if "log_prior" in tree.children else reading.ask(log_prior_of)
    left = {"w"} if _is_sparse(reading) else set()
    left |= set(_GIVEN_OTHERS) if "C0" in log_prior else set()
    scaled = [str(name) for name in log_prior.data_vars if name not in left]
    _require(log_prior, scaled, draws)
    quantities = {name: each for name, each in reading.ask(invariants_of).items() if name != "log posterior"}
    if reading.ask(quality_of).trusted:
        quantities |= {name: each for name, each in labelled_quantities(tree) if not name.startswith(("C0", "corr"))}
    quantities = {name: each for name, each in quantities.items() if np.ptp(each) > 0}
    dims = ("chain", "draw")
    parts = {
        "posterior": xr.Dataset({"each": (("quantity", *dims), np.stack(list(quantities.values())))}),
        "log_prior": log_prior[scaled],
        "log_likelihood": xr.Dataset(
            {"x": ((*dims, "obs"), draws.by_chain(log_likelihood(draws, reading.observations))[..., None])}
        ),
    }
    made = xr.DataTree.from_dict(parts)
    table = pd.DataFrame(
        {group: psense(made, group=group)["each"].values for group in ("prior", "likelihood")}, index=list(quantities)
    ).sort_values("prior", ascending=False, kind="stable")
    return PriorSensitivity(table, tuple(_findings(table)))


def _is_sparse(reading: Reading) -> bool:
    """Whether a power near one of the weights' prior is another prior altogether, or is improper."""
    prior = prior_of(reading.tree.attrs.get("prior"))
    return prior is not None and float(np.min(prior.alpha)) < _SMALLEST_ALPHA


def _require(log_prior: xr.Dataset, scaled: list[str], draws: Draws) -> None:
    """Refuse a user's log prior that does not belong to these draws."""
    shape, rule = (draws.n_chains, draws.n_draws), "group log_prior of tree must hold finite numbers for each chain and draw"
    for name in scaled:
        values = log_prior[name]
        if values.dims[:2] != ("chain", "draw") or values.shape[:2] != shape or values.dtype.kind not in "fiu":
            raise ValueError(f"{rule}, got {name} with dims {values.dims} and shape {values.shape}")
        if not np.isfinite(values.values).all():
            raise ValueError(f"{rule}, got others in {name}")
    if not scaled:
        raise ValueError(f"{rule}, got no variable")


def _findings(table: pd.DataFrame) -> list[Finding]:
    """One finding if any quantity depends on the prior."""
    above = table[table["prior"] > LIMIT]
    if above.empty:
        return []
    named = ", ".join(f"{name} ({row['prior']:.2f})" for name, row in above.head(_NAMED).iterrows())
    more = f" and {len(above) - _NAMED} more" if len(above) > _NAMED else ""
    weak = (above["likelihood"] < LIMIT).all()
    why = "the data say little about them" if weak else "prior and data may be in conflict, or the data are few"
    answers = "this answer depends" if len(above) == 1 else f"{len(above)} answers depend"
    problem = f"{answers} on the prior (sensitivity above {LIMIT}): {named}{more}; {why}"
    remedy = Words("state the prior with the answer, or fit again with another ", Argument("prior"), " and compare the two")
    return [Finding("prior", problem, remedy, {"sensitivity": float(table["prior"].iloc[0])})]
