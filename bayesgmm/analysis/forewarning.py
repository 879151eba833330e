"""What data do to a prior, said before anything is sampled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from bayesgmm.analysis.impropriety import Impropriety, impropriety
from bayesgmm.arguments import Covariance
from bayesgmm.data.reading import Data
from bayesgmm.exceptions import PACKAGE, DataWarning, ImproperPosteriorWarning
from bayesgmm.model.priors import Prior
from bayesgmm.model.strays import scaled_to_range, strays


def forewarn(data: Data, ks: Sequence[int], prior: Prior, covariance: Covariance) -> None:
    """Name ties that make the posterior of some k improper, and strays that set the prior's scale."""
    found = {k: impropriety_on(data, k, prior, covariance) for k in ks}
    improper = {k: each for k, each in found.items() if each is not None}
    if improper:
        of = f"k = {', '.join(map(str, improper))}: " if len(ks) > 1 else ""
        last = improper[max(improper)]
        text = f"{of}{last.problem}; {last.remedy}"
        warnings.warn(text, ImproperPosteriorWarning, skip_file_prefixes=PACKAGE)
    warn_of_strays(data, prior, covariance)


def impropriety_on(data: Data, k: int, prior: Prior, covariance: Covariance) -> Impropriety | None:
    """Why the posterior of data as read is improper; None if it is proper."""
    return impropriety(data.values, data.called, k, prior, covariance)


def warn_of_strays(data: Data, prior: Prior, covariance: Covariance) -> list[str]:
    """Name the observations that make the range from which the prior took its scale, and return what was said."""
    if not scaled_to_range(prior, data.values, covariance):
        return []
    texts = [f"{each.problem}; {each.remedy}" for each in strays(data.values, data.called, data.positions)]
    for text in texts:
        warnings.warn(text, DataWarning, skip_file_prefixes=PACKAGE)
    return texts
