"""Data for examples and tests: simulated examples with known truth, and ten real data sets.

It imports model.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesgmm.model.mixture import Mixture

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Simulated",
    "acidity",
    "air_quality",
    "crabs",
    "diabetes",
    "diamonds",
    "expression",
    "galaxies",
    "iris",
    "neutron_stars",
    "old_faithful",
    "penguins",
    "three_gaussians",
    "two_gaussians",
]


class Simulated(NamedTuple):
    """Observations ``x``, their true components ``z``, and the ``mixture`` they were drawn from."""

    x: NDArray[np.float64]
    z: NDArray[np.int64]
    mixture: Mixture


def two_gaussians(n: int = 10_000, random_seed: int | np.random.Generator | None = 0) -> Simulated:
    """Draws from 0.25 N(5, sd 1.5) + 0.75 N(10, sd 2).

    Examples
    --------
    >>> two_gaussians(n=4).x.shape
    (4,)
    """
    return _simulate(Mixture([0.25, 0.75], [5, 10], sigma=[1.5, 2]), n, random_seed)


def three_gaussians(n: int = 10_000, random_seed: int | np.random.Generator | None = 0) -> Simulated:
    """Draws from 0.3 N(0, sd 1) + 0.5 N(10, sd 1) + 0.2 N(3, sd 1).

    Examples
    --------
    >>> three_gaussians(n=4).mixture.n_components
    3
    """
    return _simulate(Mixture([0.3, 0.5, 0.2], [0, 10, 3], sigma=1), n, random_seed)


def acidity() -> pd.Series:
    """An index of acidity of 155 lakes in north-central Wisconsin: log(ANC + 50).

    ANC is the capacity of the water to neutralise acid, in microequivalents per litre. A lake with a low value has little
    protection from acid rain.

    References
    ----------
    Crawford, DeGroot, Kadane & Small (1992), Modeling lake-chemistry distributions: approximate Bayesian methods for
    estimating a finite-mixture model, Technometrics 34, 441-453.

    Richardson & Green (1997), On Bayesian analysis of mixtures with an unknown number of components, Journal of the Royal
    Statistical Society: Series B 59, 731-792. doi:10.1111/1467-9868.00095

    Examples
    --------
    >>> len(acidity())
    155
    """
    return _read_csv("acidity")["acidity"]


def galaxies() -> pd.Series:
    """Velocities of 82 galaxies in the Corona Borealis region, in 1000 km/s.

    Observation 78 is 26.960 as in the literature; the copy in R's MASS has 26.690, a typo according to its help page.

    References
    ----------
    Postman, Huchra & Geller (1986), Probes of large-scale structure in the Corona Borealis region,
    Astronomical Journal 92, 1238-1247. doi:10.1086/114257

    Roeder (1990), Density estimation with confidence sets exemplified by superclusters and voids in the galaxies,
    Journal of the American Statistical Association 85, 617-624. doi:10.1080/01621459.1990.10474918

    Examples
    --------
    >>> len(galaxies())
    82
    """
    return _read_csv("galaxies")["velocity"] / 1000


def old_faithful() -> pd.DataFrame:
    """272 eruptions of the Old Faithful geyser: columns ``eruptions`` and ``waiting``, both in minutes.

    Waiting times are whole minutes, so many are equal. :func:`bayesgmm.fit` treats them as rounded; :func:`bayesgmm.jitter`
    spreads them.

    References
    ----------
    Azzalini & Bowman (1990), A look at some data on the Old Faithful geyser, Journal of the Royal Statistical Society:
    Series C 39, 357-365. doi:10.2307/2347385

    Examples
    --------
    >>> old_faithful().shape
    (272, 2)
    """
    return _read_csv("old_faithful")


def air_quality() -> pd.DataFrame:
    """The air of New York on 153 days, May to September 1973, with gaps: 37 days without ozone, 7 without radiation.

    Columns ``ozone`` (parts per billion, mean from 13 to 15 o'clock), ``radiation`` (of the sun, in Langleys, from 8 to 12
    o'clock), ``wind`` (miles per hour, mean of 7 and 10 o'clock) and ``temperature`` (the day's maximum in degrees
    Fahrenheit).

    References
    ----------
    Chambers, Cleveland, Kleiner & Tukey (1983), Graphical Methods for Data Analysis, Wadsworth. ISBN 978-0-534-98052-8

    Examples
    --------
    >>> air_quality().isna().sum().to_dict()
    {'ozone': 37, 'radiation': 7, 'wind': 0, 'temperature': 0}
    """
    return _read_csv("air_quality")


def crabs() -> pd.DataFrame:
    """1000 shore crabs from Naples as a histogram: the breadth of the forehead as a share of the body's length.

    Columns: ``lower`` and ``upper``, the ends of 29 bins of equal width, and ``crabs``, the count in each bin (zero in one
    of them). W. F. R. Weldon measured the crabs. Pearson invented the fitting of mixtures to describe them.

    References
    ----------
    Pearson (1894), Contributions to the mathematical theory of evolution, Philosophical Transactions of the Royal Society
    of London A 185, 71-110. doi:10.1098/rsta.1894.0003

    Examples
    --------
    >>> int(crabs()["crabs"].sum())
    1000
    """
    return _read_csv("crabs")


def neutron_stars() -> pd.DataFrame:
    """Masses of 54 neutron stars in binary systems, with errors. Some masses are known to four digits, some hardly to one.

    Columns: ``star``, ``companion`` (neutron star, white dwarf or X-ray binary), ``mass`` and ``error``, both in solar
    masses. An error is one standard deviation (68 %), as published. Stars with asymmetric errors are not included.

    References
    ----------
    Alsing, Silva & Berti (2018), Evidence for a maximum mass cut-off in the neutron star mass distribution and constraints
    on the equation of state, Monthly Notices of the Royal Astronomical Society 478, 1377-1391. doi:10.1093/mnras/sty1065

    Examples
    --------
    >>> neutron_stars()["companion"].value_counts().to_dict()
    {'white dwarf': 22, 'neutron star': 16, 'X-ray binary': 16}
    """
    return _read_csv("neutron_stars")


def penguins() -> pd.DataFrame:
    """344 penguins of three species on the Palmer Archipelago, Antarctica; two of them could not be measured.

    Columns ``species``, ``island``, ``bill_length``, ``bill_depth`` and ``flipper_length`` in millimetres, ``body_mass`` in
    grams.

    References
    ----------
    Gorman, Williams & Fraser (2014), Ecological sexual dimorphism and environmental variability within a community of
    Antarctic penguins (genus Pygoscelis), PLoS ONE 9, e90081. doi:10.1371/journal.pone.0090081

    Horst, Presmanes Hill & Gorman (2020), palmerpenguins: Palmer Archipelago (Antarctica) penguin data.
    doi:10.5281/zenodo.3960218

    Examples
    --------
    >>> penguins()["species"].value_counts().to_dict()
    {'Adelie': 152, 'Gentoo': 124, 'Chinstrap': 68}
    """
    return _read_csv("penguins")


def iris() -> pd.DataFrame:
    """Sepals and petals of 150 irises of three species, in centimetres.

    Columns ``sepal_length``, ``sepal_width``, ``petal_length``, ``petal_width`` and ``species``. Values are rounded to a
    tenth.

    References
    ----------
    Anderson (1935), The irises of the Gaspe Peninsula, Bulletin of the American Iris Society 59, 2-5.

    Fisher (1936), The use of multiple measurements in taxonomic problems, Annals of Eugenics 7, 179-188.
    doi:10.1111/j.1469-1809.1936.tb02137.x

    Examples
    --------
    >>> iris().groupby("species")["petal_length"].mean().round(2).to_dict()
    {'setosa': 1.46, 'versicolor': 4.26, 'virginica': 5.55}
    """
    return _read_csv("iris")


def diabetes() -> pd.DataFrame:
    """Glucose tolerance of 145 adults, with a clinical diagnosis.

    Columns: ``glucose`` and ``insulin``, the areas under their curves in a test of three hours; ``sspg``, the steady-state
    plasma glucose; ``fasting``, the plasma glucose before breakfast (mg per 100 ml); and ``diagnosis``: normal, chemical or
    overt diabetes.

    References
    ----------
    Reaven & Miller (1979), An attempt to define the nature of chemical diabetes using a multidimensional analysis,
    Diabetologia 16, 17-24. doi:10.1007/BF00423145

    Examples
    --------
    >>> diabetes()["diagnosis"].value_counts().to_dict()
    {'normal': 76, 'chemical': 36, 'overt': 33}
    """
    return _read_csv("diabetes")


def diamonds() -> pd.DataFrame:
    """Weights and prices of 53 940 round-cut diamonds, in carats and US dollars of 2008.

    References
    ----------
    Wickham (2016), ggplot2: Elegant Graphics for Data Analysis, Springer. doi:10.1007/978-3-319-24277-4

    Examples
    --------
    >>> diamonds().median().to_dict()
    {'carat': 0.7, 'price': 2401.0}
    """
    return _read_csv("diamonds", ".csv.gz")


def expression(
    n_genes: int = 1_000, n_samples: int = 100, share: float = 0.1, random_seed: int | np.random.Generator | None = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A simulated matrix of log expression, and which of its genes are switched on in only some of the samples.

    Each gene varies around its own level: N(level, sd 0.5 to 1), with levels N(6, sd 2). A ``share`` of the genes is
    switched. In 10 to 50 % of the samples, the level of such a gene is higher by 2 to 5.

    Returns
    -------
    expression : (n_genes, n_samples) array
    switched : (n_genes,) array of bool

    Examples
    --------
    >>> values, switched = expression(n_genes=50)
    >>> values.shape, int(switched.sum())
    ((50, 100), 5)
    """
    rng = np.random.default_rng(random_seed)
    switched = np.arange(n_genes) < round(share * n_genes)
    level, sd = rng.normal(6, 2, n_genes), rng.uniform(0.5, 1.0, n_genes)
    step, on = rng.uniform(2, 5, n_genes), rng.uniform(0.1, 0.5, n_genes)
    is_on = switched[:, None] & (rng.random((n_genes, n_samples)) < on[:, None])
    values = level[:, None] + step[:, None] * is_on + sd[:, None] * rng.standard_normal((n_genes, n_samples))
    order = rng.permutation(n_genes)
    return values[order], switched[order]


def _simulate(mixture: Mixture, n: int, random_seed: int | np.random.Generator | None) -> Simulated:
    x, z = mixture.sample(n, random_seed)
    return Simulated(x, z, mixture)


def _read_csv(name: str, ending: str = ".csv") -> pd.DataFrame:
    import pandas as pd

    with files("bayesgmm.datasets").joinpath(f"{name}{ending}").open("rb") as file:
        return pd.read_csv(file, compression="gzip" if ending.endswith(".gz") else None)
