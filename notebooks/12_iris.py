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
# # Iris: two groups or three?
#
# **Question.** Fisher's 150 irises belong to three species. Without their names, do the four measurements show two
# groups or three?
#
# **You will learn** why rounded values must be treated as rounded, and what it means when BIC, evidence and prediction
# disagree.
#
# *Notebook 12 of 19. Before: [how many components](05_how_many_components.ipynb).*

# %%
import pandas as pd

import bayesgmm as bg

iris = bg.datasets.iris()
measured = iris.drop(columns="species")
measured.nunique()

# %% [markdown]
# There are 150 flowers, but only 22 different widths of petals: everything was rounded to a tenth of a centimetre. If
# the values were treated as exact, the posterior would not be proper, because a component can shrink onto equal values
# without limit. `rounding=0.1` says that they are rounded. (`compare` would find that out by itself, with a warning.)

# %%
comparison = bg.compare(measured, range(1, 5), rounding=0.1, random_seed=1, progressbar=False)
comparison

# %%
_ = bg.plots.plot_compare(comparison)

# %% [markdown]
# Three questions, three answers:
#
# * **BIC and ICL say two.** They judge point estimates. The second and the third species overlap, and BIC charges 15
#   parameters for telling them apart.
# * **The evidence says three**, but not clearly: four are possible.
# * **Prediction** cannot tell three from four. It rules out one and two.
#
# ## Three groups, and the species

# %%
tree = comparison.fits[3]
groups = bg.partition(tree)
pd.crosstab(iris["species"], groups.to_numpy(), colnames=["group"])

# %% [markdown]
# Setosa is a group of its own. A few versicolor flowers are assigned to the group of virginica. How sure is that? Each
# flower has a probability for each cluster, with its uncertainty:

# %%
probability = bg.responsibilities(tree)
unsure = probability["mean"].max("cluster").to_numpy() < 0.9
iris[unsure].assign(largest=probability["mean"].max("cluster").to_numpy()[unsure].round(2))

# %% [markdown]
# ## The answer
#
# The measurements show three groups, by evidence and prediction, and two of them overlap. The answer "two" comes from
# BIC, which judges only a point estimate. The species were used only for the comparison. If they are known, no mixture
# is needed.
#
# ## What was said above, checked

# %%
table = comparison.table.set_index("k")
assert measured["petal_width"].nunique() == 22
assert comparison.best["bic"] == comparison.best["icl"] == 2
assert comparison.best["log_evidence"] == 3
assert 0.5 < table.loc[3, "p_k"] < 0.9
assert (table.loc[[1, 2], "elpd_diff"] < -2 * table.loc[[1, 2], "dse"]).all()
assert abs(table.loc[3, "elpd_diff"] - table.loc[4, "elpd_diff"]) < 2 * max(table.loc[3, "dse"], table.loc[4, "dse"])
confused = pd.crosstab(iris["species"], groups.to_numpy())
assert groups.attrs["n_clusters"] == 3
assert sorted(confused.loc["setosa"]) == [0, 0, 50]
assert 2 <= 50 - confused.loc["versicolor"].max() <= 8
assert confused.loc["virginica"].max() >= 48
assert 2 <= unsure.sum() <= 30
