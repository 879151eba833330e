"""A fit with its judgements, and its answer in words."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import skew

from bayesgmm.analysis.clusters import probably_noise
from bayesgmm.analysis.contract import called, cluster_names
from bayesgmm.analysis.diagnosis import Diagnosis, diagnosis_of
from bayesgmm.analysis.em_check import EMCheck, check_against_em
from bayesgmm.analysis.judgement import Judgement, judgement_of, sentence
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import features_of
from bayesgmm.arguments import TRAITS, FloatArray, spoken
from bayesgmm.data.noise import as_asked
from bayesgmm.em.fitting import fit_em
from bayesgmm.html_report.blocks import (
    NONE,
    TYPESET,
    Signs,
    Table,
    Verdict,
    as_recorded,
    count,
    counted,
    counting_as,
    known_in_part,
    listed,
    number,
    percents,
)
from bayesgmm.html_report.calibration import PROBABILITY, Calibration, along_axes, calibrations
from bayesgmm.plots.canvas import known

INTERVAL = 0.9  # probability of reported intervals
_MOST_ACROSS = 2  # features up to which the table has a row for each cluster
_NAMED = 5  # observations that a sentence lists
_TOLD = 4  # clusters times features that a paragraph describes
_IN_A_LINE = 12  # clusters times features that the headline describes
_MOST_TRANSFORMED = 2_000  # observations for which logarithms are tried
_DECIDED = 5.0  # required gain in log-likelihood: a factor of 150 (Kass & Raftery 1995)
METHODS = {
    "nuts": "NUTS",
    "gibbs": "Gibbs sampling",
    "advi": "ADVI, an approximation",
    "laplace": "importance sampling from Laplace's approximation",
}


@dataclass(frozen=True)
class Fitted:
    """A fit with its diagnosis and its check against EM."""

    reading: Reading
    diagnosis: Diagnosis
    check: EMCheck
    signs: Signs = TYPESET

    @classmethod
    def of(cls, tree: Tree) -> Fitted:
        """Judge a tree. Answers that a reading already holds are used again."""
        reading = Reading.of(tree)
        return cls(reading, reading.ask(diagnosis_of), reading.ask(check_against_em))

    @property
    def tree(self) -> xr.DataTree:
        """The tree of the fit."""
        return self.reading.tree

    @cached_property
    def calibrations(self) -> list[Calibration]:
        """LOO-PIT of each feature."""
        return calibrations(self.reading, self.features)

    @cached_property
    def along_axes(self) -> list[Calibration]:
        """LOO-PIT along principal axes of several features."""
        return along_axes(self.reading)

    @cached_property
    def judgement(self) -> Judgement:
        """Whether the answer can be relied on."""
        return judgement_of(self.tree, self.diagnosis, self.check)

    @property
    def k(self) -> int:
        """Number of components."""
        return self.reading.draws.n_components

    @property
    def clusters(self) -> list[str]:
        """What the clusters are called."""
        return called(self.tree)

    @property
    def features(self) -> list[str]:
        """Names of the features."""
        return list(map(spoken, features_of(self.tree)))

    @property
    def doubt(self) -> str:
        """Why single clusters cannot be described; empty if they can."""
        if not self.diagnosis.converged:
            apart = any(each.kind in ("r_hat", "solutions") for each in self.diagnosis.findings)
            return "the chains do not agree" if apart else "the draws do not suffice"
        if not self.diagnosis.labels.trusted:
            return "their labels cannot be told apart"
        found = any(each.kind == "labels" for each in self.diagnosis.findings)
        return "their parameters have not converged" if found else ""

    @property
    def caveat(self) -> str:
        """End of captions about single clusters; empty if these can be described."""
        return f"; not to be relied on, because {self.doubt}" if self.doubt else ""

    @property
    def model(self) -> str:
        """The model, in words."""
        if self.k == 1:
            return f"a single {'Gaussian' if self.reading.draws.nu is None else 't distribution'}{self._beside_noise}"
        traits = TRAITS.get(str(self.tree.attrs.get("covariance")))
        shape = traits.words if traits and len(self.features) > 1 else None
        if traits and traits.shared and len(self.features) == 1:
            shape = "all with the same variance"
        of = "Gaussians" if self.reading.draws.nu is None else "Student's t distributions"
        return f"a mixture of {self.k} {of}" + (f", {shape}" if shape else "") + self._beside_noise

    @property
    def _beside_noise(self) -> str:
        """The model of the noise, in words; empty without noise."""
        noise = as_asked(self.reading.observations)
        if noise is False:
            return ""
        over = "spread evenly over the range of the data, extended by a tenth of it at either end"
        return f", beside noise {over if noise is True else 'whose density was given'}"

    @cached_property
    def strays(self) -> NDArray[np.int64]:
        """Positions of the observations that are more probably noise than not."""
        return self.reading.positions[self.reading.ask(probably_noise)]

    @property
    def observations(self) -> str:
        """Number of observations, in words."""
        whole = self.reading.whole
        if whole is not None:
            return f"{count(whole.rows, self.signs)} observations"
        return counted(len(self.reading.x), self.reading.known.weight, signs=self.signs)

    @property
    def data(self) -> str:
        """The data, in words."""
        of, reading = "", self.reading
        if len(self.features) > 1:
            of = f" of {listed(self.features) if len(self.features) <= _TOLD else f'{len(self.features)} features'}"
        in_part, signs = known_in_part(reading.observations, self.signs), self.signs
        if reading.whole is not None:
            shown = f"single observations are shown for a sample of {count(len(reading.x), signs)}"
            return f"{count(reading.whole.rows, signs)} observations{of} ({shown}){in_part}"
        return f"{count(len(reading.x), signs)} observations{of}{counting_as(reading.known.weight, signs)}{in_part}"

    @property
    def headline(self) -> str:
        """The answer in a line: how many clusters, how large, and where."""
        kind = "Gaussian" if self.reading.draws.nu is None else "t distribution"
        names = listed(self.features) if len(self.features) <= _TOLD else f"{len(self.features)} features"
        if self.k > 1 and self.doubt:
            return f"{self.k} components in {names}; they cannot be described one by one, because {self.doubt}."
        shares = [f"{self._mean(100 * w)}%" for w in self.reading.draws.w.T]
        noise = self.reading.draws.noise
        strays = "" if noise is None else f"; noise holds {self._mean(100 * noise)}% of the observations"
        if self.k * len(self.features) > _IN_A_LINE:
            what = f"{self.k} clusters in {names}, with {listed(shares)}" if self.k > 1 else f"One {kind} in {names}"
            return f"{what}{strays}."
        places = [", ".join(self._mean(mean) for _, mean, _ in self._features_of(j)) for j in range(self.k)]
        places = [f"around ({place})" if len(self.features) > 1 else f"around {place}" for place in places]
        if self.k == 1:
            return f"One {kind} in {names}, {places[0]}{strays}."
        given = cluster_names(self.tree)
        names_of = [""] * self.k if given is None else [f"{name} with " for name in given]
        told = [f"{name}{share} {place}" for name, share, place in zip(names_of, shares, places, strict=True)]
        return f"{self.k} clusters in {names}: {', '.join(told)}{strays}."

    def _mean(self, values: FloatArray) -> str:
        """The mean, rounded for a sentence."""
        return number(float(values.mean()), 10 * float(values.std()), self.signs)

    def describe(self) -> str:
        """The noise in words, and the clusters if they are few and can be told apart."""
        said = [each for each in (self.of_noise(), self._of_clusters()) if each]
        return " ".join([*said, f"In brackets, {INTERVAL:.0%} intervals."]) if said else ""

    def of_noise(self) -> str:
        """The share of noise, and how many observations are more probably noise than not; empty without noise."""
        if self.reading.draws.noise is None:
            return ""
        n = len(self.strays)
        which = f", at position {listed(self.strays.tolist())}" if 0 < n <= _NAMED else ""
        are = f"{count(n, self.signs)} observation{' is' if n == 1 else 's are'} more probably noise than not{which}"
        return f"Noise holds {self._told(100 * self.reading.draws.noise, '%')} of the observations; {are}."

    def _of_clusters(self) -> str:
        if len(self.features) * self.k > _TOLD or self.doubt:
            return ""
        said = []
        for j in range(self.k):
            share = self._told(100 * self.reading.draws.w[:, j], "%")
            of, it = ("them", "it") if self.reading.draws.noise is None else ("the rest", "the component")
            weight = f"{self.clusters[j]} holds {share} of {of}" if self.k > 1 else f"{it} has"
            places = [
                f"{self._told(mean)} in {name}"
                if len(self.features) > 1
                else f"{self._told(mean)} with {self._spread} {self._told(sd)}"
                for name, mean, sd in self._features_of(j)
            ]
            said.append(f"{weight}{',' if self.k > 1 else ' its mass'} around {listed(places)}")
        text = "; ".join(said)
        return f"{text if cluster_names(self.tree) else text[0].upper() + text[1:]}."

    @property
    def _spread(self) -> str:
        """Term for the draws' sd. For t distributions it is the scale, which is less than the standard deviation."""
        return "standard deviation" if self.reading.draws.nu is None else "scale"

    def _features_of(self, j: int) -> list[tuple[str, FloatArray, FloatArray]]:
        """Draws of mean and standard deviation of a cluster, feature by feature."""
        mu, sd = self.reading.draws.mu[:, j], self.reading.draws.sd[:, j]
        return [(name, mu[:, place], sd[:, place]) for place, name in enumerate(self.features)]

    def table(self) -> Table:
        """Weights, means and standard deviations with intervals. Clusters are rows, or columns if there are many numbers."""
        several, nu = len(self.features) > 1, self.reading.draws.nu
        rows = []
        for j in range(self.k):
            row = [self.clusters[j], self._with_interval(100 * self.reading.draws.w[:, j]) if self.k > 1 else "100"]
            for _, mean, sd in self._features_of(j):
                row += [self._with_interval(mean), self._with_interval(sd)]
            row += [] if nu is None else [self._with_interval(nu[:, j])]
            rows.append(row)
        columns = ["", "weight in %"]
        for name in self.features:
            columns += (
                [f"mean of {name}", f"{'sd' if nu is None else 'scale'} of {name}"] if several else ["mean", self._spread]
            )
        columns += [] if nu is None else ["degrees of freedom"]
        if self.reading.draws.noise is not None:
            rows.append(["noise", self._with_interval(100 * self.reading.draws.noise), *[NONE] * (len(columns) - 2)])
        if len(columns) > 2 + 2 * _MOST_ACROSS:
            columns, *rows = map(list, zip(columns, *rows, strict=True))
        of = "" if self.reading.draws.noise is None else "; weights of clusters are shares of what is not noise"
        caption = f"The clusters: posterior means, with {INTERVAL:.0%} intervals in brackets{of}{self.caveat}"
        return Table(caption, columns, rows)

    def _with_interval(self, values: FloatArray) -> str:
        """Mean and central interval, rounded by the spread."""
        lower, upper = np.quantile(values, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
        spread = float(upper - lower) / 4 or None
        mean, low, high = (number(float(each), spread, self.signs) for each in (values.mean(), lower, upper))
        return f"{mean} ({low} to {high})" if spread else mean

    def _told(self, values: FloatArray, unit: str = "") -> str:
        """Mean and interval with a digit fewer than in the table."""
        each = (values.mean(), *np.quantile(values, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2]))
        mean, low, high = (number(float(value), 10 * float(values.std()), self.signs) for value in each)
        return f"{mean}{unit} ({low} to {high})" if low != high else f"{mean}{unit}"

    def trust(self) -> Verdict:
        """The judgement, as a block of the report."""
        judgement = self.judgement
        remedies = " The section Diagnostics says what to do about it." if self.diagnosis.findings else ""
        return Verdict(judgement.level, judgement.title, f"{' '.join(judgement.sentences)}{remedies}")

    def adequacy(self) -> Verdict:
        """Whether the check of the model finds a conflict between data and model."""
        several = len(self.features) > 1
        level = (1 - PROBABILITY) / max(len(self.calibrations) + len(self.along_axes), 1)
        strange, along = (
            [each for each in some if not each.inside or each.p_smooth < level]
            for some in (self.calibrations, self.along_axes)
        )
        if not self.calibrations:
            return Verdict(
                "plain",
                "Whether data and model conflict was not checked",
                "The log densities of the noise were given for these observations only, so new noise cannot be predicted.",
            )
        if not (strange or along):
            looked = "where each observation falls in the prediction of a fit without it"
            looked += ", feature by feature" if several else ""
            looked += " and along axes across them" if self.along_axes else ""
            return Verdict(
                "plain",
                "The check found no conflict between data and model",
                f"The check looked at {looked}."
                + (" It did not look at how features depend on one another." if several and not self.along_axes else "")
                + " This does not show that the model is right: one component too few can pass the check.",
            )
        said, logarithms = [], []
        for each in strange[:_TOLD]:
            column, rows = known(self.reading.x[:, self.features.index(each.feature)]), self.reading.observations
            exact = not rows.has_errors and not rows.bounded.any()
            place = as_recorded(column)(float(each.values[each.worst]))
            of = f" in {each.feature}" if several else ""
            found, expected = percents(float(each.shares[each.worst]), float(each.points[each.worst]))
            given = "" if exact else f", given their {'errors' if rows.has_errors else 'intervals'}"
            where = f"lie below {'' if exact else 'about '}{place}{of}{given}"
            said.append(f"{found} of the observations {where}, where the model expects {expected}")
            logarithms.append(as_logarithm(each.feature, column, self.k) if exact else "")
        if along and not strange:
            worst = min(along, key=lambda each: each.p_smooth)
            found, expected = percents(float(worst.shares[worst.worst]), float(worst.points[worst.worst]))
            said.append(f"along {worst.feature}, {found} of the observations lie below the model's {expected} quantile")
        more = f"; {len(strange) - _TOLD} more features deviate" if len(strange) > _TOLD else ""
        structure = " or another covariance structure" if several else ""
        of_strays = "" if self.reading.draws.noise is not None else "For outliers try noise=True (--noise in a shell). "
        tails = 'family="t" (--family t)' if self.reading.draws.nu is None else "noise"
        remedy = (
            f"{'Else try' if any(logarithms) else 'Try'} more components (see bg.compare){structure}. "
            f"{of_strays}For heavy tails try {tails}."
        )
        sentences = [sentence("; ".join(said) + more), *filter(None, logarithms), remedy]
        return Verdict("caution", "Data and model conflict", " ".join(sentences))


def as_logarithm(name: str, column: FloatArray, k: int) -> str:
    """A recommendation to fit the logarithm of a column; empty if it is not clearly better."""
    x = column[np.random.default_rng(0).permutation(len(column))[:_MOST_TRANSFORMED]]
    if x.min() <= 0 or min(len(np.unique(x)), len(np.unique(np.log(x)))) <= 2 * k:
        return ""
    gain = _log_likelihood(np.log(x), k) - float(np.log(x).sum()) - _log_likelihood(x, k)
    if not gain > _DECIDED:
        return ""
    as_many = "one Gaussian describes" if k == 1 else f"{k} Gaussians describe"
    before, after = number(float(skew(x)), 1.0), number(float(skew(np.log(x))), 1.0)
    return (
        f"All values of {name} are positive, and {as_many} their logarithms better: the log-likelihood is higher by "
        f"{number(gain, max(gain, 1.0))}. The skewness is {after} for the logarithms and {before} for the values. "
        f"Fit the logarithm of {name}."
    )


def _log_likelihood(x: FloatArray, k: int) -> float:
    """The largest log-likelihood that EM finds; NaN for a collapsed solution, which cannot be compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        em = fit_em(x, k, random_seed=0)
    return np.nan if em.collapsed else float(em.log_likelihood)
