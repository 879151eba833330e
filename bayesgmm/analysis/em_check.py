"""The check of the posterior against the EM estimate: single parameters, and densities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill

import numpy as np
import pandas as pd

from bayesgmm.analysis.contract import cluster_names
from bayesgmm.analysis.densities import log_density, log_likelihood
from bayesgmm.analysis.diagnosis import diagnosis_of
from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.findings import USABLE
from bayesgmm.analysis.labels import LabelQuality, match
from bayesgmm.analysis.quantities import as_text, entries, labelled_quantities, labelled_summary
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import features_of, is_relabelled, parameter_dims, parameters_of
from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Observations
from bayesgmm.data.units import location_and_scale
from bayesgmm.em.result import EMResult
from bayesgmm.model.mixture import NU, Mixture
from bayesgmm.words import Argument, Either, Words, joined

MAX_MISMATCH = 0.05  # share of draws with other labels than EM's components
INTERVAL = 0.95
_FEW_DIVERGENCES = 0.01  # share of divergent draws up to which agreement can be judged
_POINTS = 10_000  # points at which densities of several features are compared
_NAMED = 4  # parameters named in a sentence
_SPREAD_DRAWS = 400  # draws for the total variation distances of single draws from their mean density


@dataclass(frozen=True)
class EMCheck:
    """Result of :func:`check_against_em`.

    Attributes
    ----------
    table : DataFrame
        Per parameter: em, mean, sd, z = (em - mean) / sd, lower, upper and inside (the 95 % interval), tail
        (two-sided posterior probability beyond EM's value), mcse_mean, ess_bulk, ess_tail, r_hat.
        Empty if EM has another number of components.
    em_log_likelihood : float
        Log-likelihood at the EM estimate.
    log_likelihood : dict
        Mean, sd and maximum of the log-likelihood over the draws.
    total_variation : float
        Distance between EM's density and the posterior predictive density; 0 = equal, 1 = disjoint.
    total_variation_limit : float
        The 99 % quantile of this distance for the densities of single draws. Posterior and EM differ beyond it.
    reasons : tuple of str
        Why posterior and EM do not agree.
    unjudged : tuple of str
        Why agreement cannot be judged, in general or for single clusters: problems of the draws, of the labels
        (:func:`bayesgmm.diagnose`) or of EM itself.
    labels : LabelQuality
        Whether the single clusters of the table can be told apart.
    is_mode : bool
        Whether EM maximised the posterior's density instead of the likelihood, as ``fit_em`` does under a prior.
    """

    table: pd.DataFrame
    em_log_likelihood: float
    log_likelihood: Mapping[str, float]
    total_variation: float
    total_variation_limit: float
    reasons: tuple[str, ...]
    unjudged: tuple[str, ...]
    labels: LabelQuality
    is_mode: bool = False

    @property
    def ok(self) -> bool:
        """Whether posterior and EM agree, on draws that can be trusted."""
        return not self.reasons and not self.unjudged

    @property
    def verdict(self) -> Words:
        """The result in a sentence."""
        apart = (
            f"the densities differ by {self.total_variation:.3f} in total variation, within the posterior's own spread "
            f"({self.total_variation_limit:.3f})"
        )
        if self.ok:
            outside, but = ", ".join(self.table.index[~self.table["inside"].astype(bool)]), ""
            if outside:
                but = (
                    f" (EM lies outside the single interval of {outside}; with {len(self.table)} parameters this can happen "
                    "by chance)"
                )
            within = f"the estimates lie in the joint {INTERVAL:.0%} interval{but}"
            return Words(f"the posterior agrees with {self._em}: {within}, and {apart}")
        if self.reasons:
            return Words(f"the posterior does not agree with {self._em}: ", joined(self.reasons + self.unjudged))
        return Words(f"whether the posterior agrees with {self._em} cannot be judged: ", joined((*self.unjudged, apart)))

    @property
    def _em(self) -> str:
        return "EM's mode of it" if self.is_mode else "EM"

    def __repr__(self) -> str:
        likelihood = self.log_likelihood
        lines = [
            fill(f"EMCheck: {self.verdict}", 110),
            f"  log-likelihood: EM {self.em_log_likelihood:.2f}, posterior {likelihood['mean']:.2f} "
            f"(sd {likelihood['sd']:.2f}, highest {likelihood['max']:.2f})",
            f"  total variation between the densities: {self.total_variation:.4f} (limit {self.total_variation_limit:.4f})",
        ]
        if len(self.table):
            lines += [fill(f"labels: {self.labels}", 110, initial_indent="  ", subsequent_indent="  "), as_text(self.table)]
        return "\n".join(lines)


@np.errstate(under="ignore")
def check_against_em(tree: Tree, em: EMResult | Mixture | None = None) -> EMCheck:
    """Compare the posterior with the EM estimate, parameter by parameter and as densities.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    em : EMResult or Mixture, optional
        An estimate for the same data, to compare with instead of the one stored in the tree.

    Returns
    -------
    EMCheck
        Prints as a table; ``.ok`` and ``.verdict``.

    Raises
    ------
    TypeError, ValueError
        If the tree is incomplete or damaged, or ``em`` has another type or was fitted to other data.

    Notes
    -----
    Posterior and EM agree if all of these hold:

    * EM has the same number of components.
    * Every EM estimate, except of degrees of freedom, lies in the joint 95 % interval of its parameter (Bonferroni: a
      two-sided tail probability of at least 0.05 / number of free parameters).
    * In at least 95 % of the draws, every cluster has the number of the EM component that it matches.
    * No draw has a higher log-likelihood than EM, apart from rounding.
    * EM's density is no further from the posterior predictive density than the densities of single draws (99 % quantile of
      the total variation distance).
    * The chains and EM have converged.

    If single clusters cannot be told apart (:func:`bayesgmm.label_quality`), only likelihoods and densities are compared,
    and ``unjudged`` says so.

    EM maximises the likelihood, so the log-likelihoods of the draws are lower: by half the number of parameters on average,
    if the posterior is normal and the prior weak. If EM found the mode of the posterior, as it does for ``fit`` if the prior
    differs between components, draws may have a higher likelihood. For rows that are read in passes, likelihoods are
    computed on the tree's sample, where EM's need not be the highest.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.check_against_em(tree).ok
    True
    """
    reading = Reading.of(tree)
    tree, draws, x = reading.tree, reading.draws, reading.x
    if em is not None and not isinstance(em, EMResult | Mixture):
        raise TypeError(f"em must be an EMResult or a Mixture, got {type(em).__name__}")
    if isinstance(em, EMResult) and not (np.array_equal(em.rows, x, equal_nan=True) and em.known.equals(reading.known)):
        raise ValueError("em must be fitted to the data of the tree, got an estimate from other data; fit it again")
    mixture, em_log_likelihood = reading.em if em is None else (em.mixture if isinstance(em, EMResult) else em, None)
    if em_log_likelihood is None or reading.whole is not None:
        em_log_likelihood = reading.observations.log_likelihood(*mixture.parameters)
    same_k = mixture.n_components == draws.n_components
    table = _em_table(reading, mixture) if same_k else pd.DataFrame()
    per_draw = log_likelihood(draws, reading.observations)
    likelihood = {"mean": float(per_draw.mean()), "sd": float(per_draw.std()), "max": float(per_draw.max())}
    distance, limit = _total_variation(draws, mixture, x)

    diagnosis = reading.ask(diagnosis_of)
    few = diagnosis.sampler.get("divergences", 0) <= _FEW_DIVERGENCES * len(draws.w)
    harmless = (*USABLE, "divergences") if few else USABLE
    unjudged = [finding.problem for finding in diagnosis.findings if finding.kind not in harmless]
    as_sampled = not is_relabelled(tree)
    remedy = Either(" (bayesgmm.relabel mends this, unless the clusters cannot be told apart)" if as_sampled else "", "")
    reasons: list[str] = []
    if not same_k:
        reasons.append(f"EM has {mixture.n_components} components, the posterior {draws.n_components}")
    elif diagnosis.labels.trusted:
        outside = table[table["tail"] < (1 - INTERVAL) / _n_free(table)]
        if len(outside):
            worst = outside.loc[outside["z"].abs().sort_values(ascending=False, kind="stable").index[:_NAMED], "z"]
            named = ", ".join(f"{name} ({z:+.1f} sd)" for name, z in worst.items())
            more = f" and of {len(outside) - _NAMED} more" if len(outside) > _NAMED else ""
            reasons.append(f"EM lies outside the joint {INTERVAL:.0%} interval of {named}{more}")
        mismatch = float((match(draws, mixture, reading.classes) != np.arange(draws.n_components)).any(axis=1).mean())
        if mismatch > MAX_MISMATCH:
            reasons.append(Words(f"{mismatch:.0%} of the draws carry other labels than EM's components", remedy))
    else:
        why = "the labels are still the sampler's" if as_sampled else "single clusters cannot be told apart"
        unjudged.append(Words(f"{why}, so that only likelihoods and densities were compared", remedy))
    is_mode = "log_prior" in tree["em_baseline"].attrs if em is None else getattr(em, "prior", None) is not None
    highest = em_log_likelihood + 1e-6 * max(1.0, abs(em_log_likelihood))
    if reading.whole is None and not is_mode and likelihood["max"] > highest:
        reasons.append(
            Words(
                f"a draw has a higher log-likelihood ({likelihood['max']:.2f}) than EM ({em_log_likelihood:.2f}), "
                "so EM stopped at a local optimum (raise ",
                Argument("n_init"),
                ") or at its variance floor",
            )
        )
    if not distance <= limit:
        reasons.append(
            f"the densities differ by {distance:.3f} in total variation, more than the posterior's spread {limit:.3f}"
        )
    if em is None and not tree["em_baseline"].attrs.get("converged", 1):
        by_hand = Either("(give em=fit_em(x, k, max_iter=...))", "(raise --n-init)")
        unjudged.append(Words("EM itself has not converged ", by_hand))
    return EMCheck(
        table, em_log_likelihood, likelihood, distance, limit, tuple(reasons), tuple(unjudged), diagnosis.labels, is_mode
    )


def _n_free(table: pd.DataFrame) -> int:
    """Number of free parameters: the weights add to one, and the table lists a shared sigma once for each cluster."""
    repeated = table.duplicated(subset=["em", "mean", "sd"]).sum()
    return max(1, len(table) - int(repeated) - int(any(name.startswith("w[") for name in table.index)))


def _em_table(reading: Reading, mixture: Mixture) -> pd.DataFrame:
    tree, summary = reading.tree, reading.ask(labelled_summary)
    estimates: dict[str, float] = {}  # by the names of the posterior's parameters
    for name, values in parameters_of(mixture).items():
        if name == NU:  # the likelihood is nearly flat in nu, so its posterior depends on the prior
            continue
        labels = [cluster_names(tree) or range(mixture.n_components), *[features_of(tree)] * 2][: values.ndim]
        dims = parameter_dims(mixture.n_features).get(name, ())
        estimates |= {label: float(values[index]) for index, label in entries(name, dims, labels)}
    labelled = {name: values for name, values in labelled_quantities(tree) if name in estimates and name in summary.index}
    summary = summary.loc[list(labelled)]
    tail = (1 - INTERVAL) / 2
    bounds = np.array([np.quantile(values, [tail, 1 - tail]) for values in labelled.values()]).reshape(-1, 2)
    em = np.array([estimates[name] for name in labelled])
    table = pd.DataFrame({"em": em, "mean": summary["mean"], "sd": summary["sd"]}, index=summary.index)
    table["z"] = (table["em"] - table["mean"]) / table["sd"]
    table["lower"], table["upper"] = bounds.T
    table["inside"] = (table["lower"] <= table["em"]) & (table["em"] <= table["upper"])
    below = np.array([(values < estimates[name]).mean() for name, values in labelled.items()])
    table["tail"] = 2 * np.minimum(below, 1 - below)
    return table.join(summary[["mcse_mean", "ess_bulk", "ess_tail", "r_hat"]])


def _total_variation(draws: Draws, mixture: Mixture, x: FloatArray) -> tuple[float, float]:
    """Distance of EM's density from the draws' mean density, and the 99 % quantile of this distance for single draws."""
    few = draws.thinned(_SPREAD_DRAWS)
    if x.shape[1] == 1:
        # trapezoidal rule up to five standard deviations beyond the data, with a finer grid around EM's components
        _, spread = location_and_scale(x[:, 0])
        near = [np.linspace(m - 6 * s, m + 6 * s, 200) for m, s in zip(mixture.means, mixture.sigma, strict=True)]
        grid = np.unique(np.concatenate([np.linspace(x.min() - 5 * spread, x.max() + 5 * spread, 1_000), *near]))
        steps = np.diff(grid) / 2
        points, weights = grid[:, None], np.append(steps, 0) + np.append(0, steps)
    else:  # importance sampling: half of the points from EM's mixture, half from the draws, equally many from each
        rng = np.random.default_rng(0)
        each = int(np.ceil(_POINTS / 2 / len(few.w)))
        parts = [mixture.sample(each * len(few.w), rng)[0], *(few.sample(s, each, rng) for s in range(len(few.w)))]
        points = np.concatenate(parts)
        weights = np.full(len(points), 1 / len(points))
    single, em = log_density(few, Observations.made(points)), mixture.log_density(points)
    mean = np.logaddexp.reduce(single, axis=0) - np.log(len(single))
    if x.shape[1] > 1:  # densities relative to the points' own, (mean + em) / 2
        sampled = np.logaddexp(mean, em) - np.log(2)
        single, mean, em = single - sampled, mean - sampled, em - sampled
    own = 0.5 * (np.abs(np.exp(single) - np.exp(mean)) * weights).sum(axis=1)
    return float(0.5 * (np.abs(np.exp(em) - np.exp(mean)) * weights).sum()), float(np.quantile(own, 0.99))
