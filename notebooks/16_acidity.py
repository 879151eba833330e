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
# **Question.** For 155 lakes in Wisconsin, the capacity to neutralise acid was measured to a tenth of a unit, and
# published as a logarithm. How many kinds of lakes are there?
#
# **You will learn** what to do with values that were rounded first and transformed afterwards, and how to read a
# posterior of k that does not settle on one number.
#
# *Notebook 16 of 19. Before: [how many components](05_how_many_components.ipynb).*

# %%
import numpy as np
import pandas as pd

import bayesgmm as bg

published = bg.datasets.acidity()
published.describe().round(2)

# %% [markdown]
# ## Equal values that lie on no grid
#
# Some of the lakes have the same value. A component can shrink onto equal observations without limit, so the evidence
# and p(k | x) of the published numbers do not exist. `posterior_k` says so:

# %%
try:
    bg.posterior_k(published, random_seed=1, progressbar=False)
    refusal = ""
except ValueError as error:
    refusal = str(error)
print(refusal)

# %% [markdown]
# Values on a grid are recognised as rounded, and treated as such. These values are logarithms, and lie on no grid. The
# capacities themselves lie on a grid: they were measured to a tenth.

# %%
capacity = np.exp(published) - 50
np.abs(capacity - capacity.round(1)).max()

# %% [markdown]
# So each value is known to lie between the logarithms of two limits. Pass these limits to `Observations`:

# %%
measured = capacity.round(1)
lakes = bg.Observations(lower=np.log(measured - 0.05 + 50), upper=np.log(measured + 0.05 + 50))
lakes

# %% [markdown]
# ## How many kinds?

# %%
numbers = bg.posterior_k(lakes, draws=500, random_seed=1, progressbar=False)
print(numbers.attrs["verdict"])

# %%
_ = bg.plots.plot_k(numbers)

# %% [markdown]
# One component is ruled out. Three and four components are equally probable. Two to six components together have 85 %
# of the posterior probability. More draws would not change that: 155 lakes do not determine the number.
#
# Does that depend on the priors? The prior of k is uniform. Another prior of k needs no new draws: multiply the
# probabilities by the ratio of the two priors. Here it is a geometric prior, which prefers few components. Another
# prior of the variances needs new draws. Here it is the conjugate prior, which fixes their scale.

# %%
uniform = numbers["p_k"].to_series()
geometric = uniform * 0.7**uniform.index
conjugate = bg.posterior_k(lakes, prior=bg.ConjugatePrior(), draws=500, random_seed=1, progressbar=False)
table = pd.DataFrame(
    {
        "as above": uniform,
        "geometric prior of k": geometric / geometric.sum(),
        "fixed scale of variances": conjugate["p_k"].to_series(),
    }
)
table.loc[1:7].T.round(2)

# %% [markdown]
# The most probable number moves between three and four, and no number reaches one half. No prior tried here settles the
# question.
#
# ## Which lakes belong together?
#
# The number of components is uncertain because the shape of the groups is uncertain. The groups themselves are clearer:
# the partition with the smallest expected loss has two.

# %%
groups = numbers["partition"]["partition"].to_series()
by_group = measured.groupby(groups.to_numpy()).agg(["size", "min", "median", "max"])
by_group

# %% [markdown]
# ## The answer
#
# There are two groups of lakes: one with little protection from acid, one with much. These data cannot decide whether
# each group is Gaussian, or a mixture of several kinds. A statement such as "there are three kinds" would be a
# statement about the prior.
#
# ## What was said above, checked

# %%
assert "cannot be computed" in refusal
assert np.abs(capacity - capacity.round(1)).max() < 0.001
p_k = table["as above"]
assert p_k[1] < 0.001
assert abs(p_k[3] - p_k[4]) < 0.05
assert 0.8 < p_k.loc[2:6].sum() < 0.9
assert table.max(axis=None) < 0.5
assert set(table.idxmax()) == {3, 4}
assert len(by_group) == 2
