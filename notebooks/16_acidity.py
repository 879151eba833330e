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
# # Acidity: two kinds of lakes, or three?
#
# **Question.** How well 155 lakes in Wisconsin can neutralise acid was measured to a tenth of a unit, and published as a
# logarithm. How many kinds of lakes are there?
#
# **You will learn** what to do with values that were rounded first and transformed afterwards, and how to read a
# posterior of k that does not settle on one number.
#
# *Notebook 16 of 16. Before: [how many components](05_how_many_components.ipynb).*

# %%
import matplotlib.pyplot as plt
import numpy as np

import bayesgmm as bg

published = bg.datasets.acidity()
published.describe().round(2)

# %% [markdown]
# ## Equal values that lie on no grid
#
# Some of the lakes have the same value. A component can shrink onto equal observations without limit, so the evidence and
# p(k | x) of the published numbers do not exist. `posterior_k` says so:

# %%
try:
    bg.posterior_k(published, random_seed=1, progressbar=False)
    refusal = ""
except ValueError as error:
    refusal = str(error)
print(refusal)

# %% [markdown]
# Values on a grid are recognised as rounded, and treated as such. These are logarithms, which lie on no grid. The capacity
# itself does: it was measured to a tenth.

# %%
capacity = np.exp(published) - 50
np.abs(capacity - capacity.round(1)).max()

# %% [markdown]
# So each value is known to lie between the logarithms of two limits. `Observations` takes the limits:

# %%
measured = capacity.round(1)
lakes = bg.Observations(lower=np.log(measured - 0.05 + 50), upper=np.log(measured + 0.05 + 50))
lakes

# %% [markdown]
# ## How many kinds?

# %%
numbers = bg.posterior_k(lakes, random_seed=1, progressbar=False)
print(numbers.attrs["verdict"])
_ = bg.plots.plot_k(numbers)
