# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Diamonds: where is the gap in the prices?
#
# **Question.** The prices of 53 940 diamonds are skewed, and on a logarithmic axis they have two humps. At which price
# is the gap between them, and how certain is that?
#
# **You will learn** to fit many observations in seconds, to answer a question that does not depend on the number of
# components, and to carry the posterior through a computation of your own.
#
# *Notebook 14 of 19. Before: [how many components](05_how_many_components.ipynb).*

# %%
import numpy as np
import pandas as pd

import bayesgmm as bg

price = bg.datasets.diamonds()["price"]
price.describe().round(0)

# %% [markdown]
# Prices are whole dollars, and many are equal. `jitter` spreads them over the dollar before the logarithm is taken.
# Otherwise a component could shrink onto a single price.

# %%
x = np.log10(bg.jitter(price, random_seed=1)).rename("log10 of the price")
fits = {k: bg.fit(x, k, draws=500, random_seed=1, progressbar=False) for k in (2, 3, 4)}
pd.DataFrame({k: {"method": fit.attrs["method"], "converged": bg.diagnose(fit).converged} for k, fit in fits.items()}).T

# %%
_ = bg.plots.plot_fit(fits[3])

# %% [markdown]
# Two components miss the shoulder on the right; three follow the histogram. With so many observations every criterion
# would ask for more and more components, because a skewed hump needs several Gaussians. So the number of components is
# not the question here.
#
# ## The gap
#
# The gap is where the density is smallest between the two humps. Each draw of the posterior is a density, so each draw
# gives a price of the gap:

# %%
grid = np.linspace(np.log10(1_000), np.log10(2_500), 400)


def gaps(tree):
    """The price at which each draw's density is smallest."""
    draws = tree["posterior"].to_dataset().stack(sample=("chain", "draw")).transpose("sample", "cluster")
    mixtures = zip(draws["w"].values, draws["mu"].values, draws["sigma"].values, strict=True)
    return np.array([10 ** grid[bg.Mixture(w, mu, sigma=sigma).log_density(grid).argmin()] for w, mu, sigma in mixtures])


table = pd.DataFrame(
    {k: np.quantile(gaps(fit), [0.05, 0.5, 0.95]) for k, fit in fits.items()}, index=["5 %", "median", "95 %"]
)
table.round(0)

# %% [markdown]
# ## The answer
#
# The gap is at some 1 400 to 1 500 dollars. For a given number of components its interval is narrow. But from three to
# four components the gap moves by far more than the width of that interval. So report an interval that covers all
# models that fit well: here, those with three and four components.
#
# ## What was said above, checked

# %%
assert all(bg.diagnose(fit).converged for fit in fits.values())
assert (table.loc["5 %"] < table.loc["95 %"]).all()
assert table[[3, 4]].min().min() > 1_350
assert table[[3, 4]].max().max() < 1_650
