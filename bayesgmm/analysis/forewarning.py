"""What data do to a prior, said before anything is sampled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from bayesgmm.analysis.impropriety import OfData, look_at
from bayesgmm.arguments import Covariance
from bayesgmm.data.reading import Data
from bayesgmm.exceptions import PACKAGE, DataWarning, ImproperPosteriorWarning
from bayesgmm.model.priors import Prior
from bayesgmm.words import Words


def forewarn(data: Data, ks: Sequence[int], prior: Prior, covariance: Covariance) -> dict[int, OfData]:
    """Name ties that make the posterior of some k improper, and strays that set the prior's scale; what was found, by k."""
    found = look_at(data, ks, prior, covariance)
    improper = {k: each.improper for k, each in found.items() if each.improper is not None}
    if improper:
        of = f"k = {', '.join(map(str, improper))}: " if len(ks) > 1 else ""
        last = improper[max(improper)]
        warnings.warn(Words(of, last.sentence), ImproperPosteriorWarning, skip_file_prefixes=PACKAGE)
    warn_of_strays(found[ks[0]])
    return found


def warn_of_strays(found: OfData) -> list[str]:
    """Name the observations that make the range from which the prior took its scale, and return what was said."""
    for each in found.strays:
        warnings.warn(each.sentence, DataWarning, skip_file_prefixes=PACKAGE)
    return [each.sentence for each in found.strays]
