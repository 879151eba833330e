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
# # Penguins: how many kinds does a tape measure see?
#
# **Question.** Bills, flippers and weights of 344 penguins were measured. How many kinds of penguins do the numbers
# show, and do these kinds agree with the species?
#
# **You will learn** what to do about birds that could not be measured, how to compare numbers of components, and how to
# classify a bird with only some measurements.
#
# *Notebook 11 of 19. Before: [Old Faithful](03_old_faithful.ipynb), for several features, and [how many
# components](05_how_many_components.ipynb).*

# %%
import numpy as np
import pandas as pd

import bayesgmm as bg

penguins = bg.datasets.penguins()
features = ["bill_length", "bill_depth", "flipper_length", "body_mass"]
penguins[features].describe().loc[["count", "mean", "min", "max"]].round(1)

# %% [markdown]
# Two birds have no measurements at all. A missing value is refused until you say what to do with it:

# %%
try:
    bg.fit_em(penguins[features], 3)
except ValueError as error:
    print(error)

# %% [markdown]
# A row without any known value carries no information, so these two are left out. The values are rounded: bills to a
# tenth of a millimetre, flippers to a millimetre, weights to 25 grams. If you pass these steps as `rounding`,
# components cannot shrink onto equal values.
#
# ## How many kinds?

# %%
settings = {"missing": "drop", "rounding": [0.1, 0.1, 1, 25], "random_seed": 1, "progressbar": False}
comparison = bg.compare(penguins[features], range(1, 5), **settings)
comparison

# %% [markdown]
# The numbers show three kinds. Prediction cannot tell three from four, and the evidence prefers three.
#
# ## Are they the species?
#
# The partition of the birds uses only the measurements. The table compares it with the species, which the model has not
# seen.

# %%
tree = comparison.fits[3]
groups = bg.partition(tree)
species = penguins["species"][groups["obs"].to_numpy()].to_numpy()
pd.crosstab(species, groups.to_numpy(), colnames=["group"])

# %%
_ = bg.plots.plot_pairs(tree, ["bill_length", "bill_depth", "flipper_length"])

# %% [markdown]
# The Gentoos are recognised without error. Six birds are confused between Adelies and Chinstraps. The adjusted Rand
# index would be 1 if groups and species were the same, and 0 on average if they had nothing to do with one another:

# %%
agreement = bg.adjusted_rand(species, groups.to_numpy())
round(agreement, 2)

# %% [markdown]
# ## A bird of which only a part is known
#
# Someone reports a flipper of 198 mm and a bill 18 mm deep. Then someone else adds that the bill was 49 mm long.
# `responsibilities` takes new observations; what is missing is integrated out.

# %%
reports = pd.DataFrame({"bill_length": [np.nan, 49.0], "bill_depth": 18.0, "flipper_length": 198.0, "body_mass": np.nan})
new = bg.Observations(reports, missing="at_random")
probability = bg.responsibilities(tree, new)["mean"].to_numpy()
names = [pd.Series(species[groups.to_numpy() == j]).mode()[0] for j in bg.partition(tree).to_series().unique()]
of_cluster = [pd.Series(species[bg.responsibilities(tree)["mean"].argmax("cluster") == j]).mode()[0] for j in range(3)]
pd.DataFrame(probability, columns=of_cluster, index=["flipper and depth", "and length of the bill"]).round(3)

# %% [markdown]
# Without the length of the bill the bird may be an Adelie or a Chinstrap. With it, it is a Chinstrap.
#
# ## The answer
#
# There are three kinds, and they agree with the three species except for six birds. Males and females differ in weight,
# but they overlap within a species, so they do not show as further kinds.
#
# ## What was said above, checked

# %%
by_k = comparison.table.set_index("k")
assert comparison.best["log_evidence"] == 3
assert abs(by_k.loc[3, "elpd_diff"]) < 2 * max(by_k.loc[3, "dse"], 1e-9) or by_k.loc[3, "elpd_diff"] == 0
assert groups.attrs["n_clusters"] == 3
wrong = len(species) - pd.crosstab(species, groups.to_numpy()).max(axis=1).sum()
assert 4 <= wrong <= 8
assert 0.93 < agreement < 0.97
assert sorted(of_cluster) == ["Adelie", "Chinstrap", "Gentoo"]
chinstrap = of_cluster.index("Chinstrap")
assert probability[0, chinstrap] < 0.8
assert probability[1, chinstrap] > 0.95
