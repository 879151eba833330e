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
# # Diabetes: does a mixture find the diagnosis?
#
# **Question.** Glucose, insulin and resistance to insulin were measured in 145 adults. Does a mixture of these numbers
# find the clinical groups, and for how many patients is the group certain?
#
# **You will learn** how to compute the uncertainty of an index of agreement, and how to find the observations whose
# cluster is uncertain.
#
# *Notebook 13 of 19. Before: [Old Faithful](03_old_faithful.ipynb).*

# %%
import numpy as np
import pandas as pd

import bayesgmm as bg

patients = bg.datasets.diabetes()
measured = patients[["glucose", "insulin", "sspg"]]
measured.groupby(patients["diagnosis"]).agg(["mean", "std"]).round(0)

# %%
tree = bg.fit(measured, 3, random_seed=1, progressbar=False)
bg.diagnose(tree).converged, bg.label_quality(tree)

# %%
_ = bg.plots.plot_pairs(tree)

# %% [markdown]
# One cluster is small and round. The two others extend from it in different directions, like wings. Reaven and Miller
# saw the same shape.
#
# ## Groups and diagnoses

# %%
groups = bg.partition(tree)
pd.crosstab(patients["diagnosis"], groups.to_numpy(), colnames=["group"])

# %% [markdown]
# Overt diabetes is nearly a group of its own. The normal group and chemical diabetes overlap: a quarter of the patients
# with chemical diabetes are in the normal group.
#
# How well do groups and diagnoses agree, and how sure is that number? Every posterior draw gives a partition of the
# patients, so the adjusted Rand index has a posterior distribution:

# %%
labels = bg.sample_assignments(tree, random_seed=1).stack(sample=("chain", "draw")).transpose("sample", "obs").to_numpy()
index = np.array([bg.adjusted_rand(patients["diagnosis"], each) for each in labels[::10]])
np.quantile(index, [0.05, 0.5, 0.95]).round(2)

# %% [markdown]
# ## Who is in doubt?

# %%
probability = bg.responsibilities(tree)["mean"].max("cluster").to_numpy()
doubtful = patients.assign(largest=probability.round(2))[probability < 0.9]
doubtful["diagnosis"].value_counts()

# %% [markdown]
# For a fifth of the patients no cluster has a probability of 90 %. Most of them have chemical diabetes, or are close to
# it. It is the diagnosis between the other two.
#
# ## The answer
#
# The numbers show three groups that resemble the diagnoses but do not equal them. The mixture could diagnose overt
# diabetes, but not chemical diabetes.
#
# ## What was said above, checked

# %%
assert bg.diagnose(tree).converged
assert bg.label_quality(tree).trusted
table = pd.crosstab(patients["diagnosis"], groups.to_numpy())
assert table.loc["overt"].max() >= 29
normal = table.loc["normal"].idxmax()
assert 6 <= table.loc["chemical", normal] <= 12
low, middle, high = np.quantile(index, [0.05, 0.5, 0.95])
assert 0.5 < low < middle < high < 0.75
assert 20 <= len(doubtful) <= 40
