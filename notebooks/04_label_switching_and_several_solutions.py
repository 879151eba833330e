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
# # Label switching, and several solutions
#
# **Question.** The chains of a mixture disagree. Is that a matter of names, which can be mended, or of substance, which
# must be told? The velocities of the 82 galaxies have both: several solutions with two components, exchangeable names
# with six.
#
# **You will learn** to tell the two apart, what to do in each case, and what can be said of clusters whose names mean
# nothing.
#
# *Notebook 4 of 15. Before: [Old Faithful](03_old_faithful.ipynb), and [the galaxies](02_galaxies.ipynb) with three
# components, where neither trouble arises. Next: [how many components](05_how_many_components.ipynb).*

# %%
import warnings

import numpy as np
import pandas as pd

import bayesgmm as bg

velocity = bg.datasets.galaxies()  # in 1000 km/s

# %% [markdown]
# ## Two components: several solutions
#
# EM's restarts find two optima whose log-likelihoods differ by 0.2. In one a small cluster holds the seven galaxies
# near 10; in the other a narrow cluster near 21 stands on a broad one. Which of them is the answer? What counts is not how
# high the posterior is at its top, but how much of it lies there: a low broad hill may hold more than a narrow peak. `fit`
# estimates that roughly, by putting a Gaussian on each top (Laplace's method), and has its chains begin in proportion: see
# `mass` and `chains`.

# %%
few = bg.fit(velocity, 2, random_seed=1, progressbar=False)
few["optima"].to_dataset()

# %% [markdown]
# The likelier optimum has about 2 % of the posterior: of four chains none begins there. The four agree, and `diagnose`
# says what they leave out.

# %%
diagnosis = bg.diagnose(few)
diagnosis

# %% [markdown]
# Is 2 % right? NUTS cannot say: from the large solution it does not find the way to the small one. The other sampler,
# Gibbs, draws labels and parameters in turn (a sweep); for one feature it can say, because between its sweeps it divides
# components anew. Counting the draws whose lower mean is below 11:

# %%
passing = bg.fit(velocity, 2, method="gibbs", random_seed=1, progressbar=False)
share = (passing["posterior"]["mu"].min("cluster") < 11).mean("draw")
print("in each chain", share.values.round(3), "in all", float(share.mean().round(3)))
print("largest R-hat", bg.diagnose(passing).invariants["r_hat"].max().round(3))

# %% [markdown]
# All four chains pass back and forth, and agree with one another. The rough weight by Laplace's method was about right.
#
# ## When chains sit apart
#
# Between other solutions no sampler passes. Four groups at the corners of a square can be taken for two in two ways, side
# by side or one above the other, and there is nothing in between.

# %%
corners = bg.Mixture([0.25] * 4, [[0, 0], [0, 4], [4, 0], [4, 4]], np.broadcast_to(np.eye(2), (4, 2, 2)))
points, _ = corners.sample(120, random_seed=4)
square = pd.DataFrame(points, columns=["east", "north"])
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)  # which says what is printed next
    apart = bg.fit(square, 2, method="nuts", random_seed=1, progressbar=False)
[finding.problem for finding in bg.diagnose(apart).findings]

# %% [markdown]
# So the finding is not just "not converged", but which solutions there are. `solutions` groups the chains by what does not
# depend on names, and can weigh the groups by how well they predict. (The log posterior is that of the standardised data
# with the prior's share; the log-likelihood is that of the data.)

# %%
solutions = bg.solutions(apart, weigh="stacking")
solutions

# %% [markdown]
# Each solution sees two groups along one axis and a single broad one along the other.

# %%
_ = bg.plots.plot_solutions(apart)

# %% [markdown]
# The share of the chains is that of the starts, which were dealt in proportion to Laplace's weights. Stacking (`weight`)
# asks for the mixture of the two solutions that best predicts an observation that was left out, and not for the posterior
# probability: it takes some of each. That two components are best mixed with two others shows that two are too few for
# these data.
#
# ## Six components: exchangeable names
#
# Nothing in the model says which cluster is number 0. With six components the sampler changes the names within a chain;
# by Gibbs, which deals names anew in every sweep, it does so all the time. `relabel` (which `fit` does by default)
# looks for the order in which the names mean the same. Below is the mean of each cluster in every draw, before and after.
# (Points far outside the data are clusters that are empty in that draw: nothing but the prior holds their means.)

# %%
tree = bg.fit(velocity, 6, method="gibbs", random_seed=1, progressbar=False)
_ = bg.plots.plot_relabelling(tree)

# %% [markdown]
# The picture on the right is tidier, and still it would be wrong to describe its clusters one by one. `diagnose` judges
# the two things apart: what does not depend on names has converged, and names cannot be trusted.

# %%
six = bg.diagnose(tree)
six

# %%
quality = bg.label_quality(tree)
quality

# %% [markdown]
# In most draws the six components do not fall one by one into six groups: some clusters are split in one draw and
# joined in the next, others are empty. Relabelling cannot mend that, since there is nothing to name. What can be said
# is what does not need names: the density, the number of clusters that hold a galaxy, and which galaxies belong
# together. Here is the posterior of the number of clusters that hold a galaxy:

# %%
occupied = bg.occupied_clusters(tree, random_seed=1)
occupied.to_series().value_counts(normalize=True).sort_index().round(2)

# %% [markdown]
# And here, for every pair of galaxies, is the probability that they belong to one cluster, dark if they do for sure. Lines
# divide the groups of `partition`, which loses least, in expectation, against the draws' own partitions. (The loss is the
# variation of information.)

# %%
partition = bg.partition(tree)
_ = bg.plots.plot_coclustering(tree)

# %% [markdown]
# It has five groups, although six components were fitted: seven galaxies near 10, two near 16, three near 33, and two
# groups of some 35 that touch near 21. The three small groups are sharp; the border between the large ones is not.

# %%
velocity.groupby(partition.values).agg(["count", "min", "max"])

# %% [markdown]
# ## NUTS or Gibbs?
#
# Both sample the same posterior. On data as small as these Gibbs passes with ease between solutions that NUTS is slow to
# leave: see the effective sample sizes. Where NUTS has trouble, `diagnose` recommends Gibbs, and `fit` without a `method`
# takes it. At five places, one of them in the gap near 16, their densities differ by less than a fifth.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)  # of a few divergences
    nuts = bg.fit(velocity, 6, method="nuts", random_seed=2, progressbar=False)
by_nuts = bg.diagnose(nuts)
print("smallest ESS: Gibbs", six.invariants["ess_bulk"].min().round(), "NUTS", by_nuts.invariants["ess_bulk"].min().round())
for finding in by_nuts.findings:
    print(f"{finding.problem}\n    {finding.remedy}")

# %%
grid = [10.0, 16.0, 20.0, 23.0, 33.0]
densities = [bg.predictive_density(each, grid).sel(statistic="mean") for each in (tree, nuts)]
(densities[1] / densities[0]).round(2).to_series()

# %% [markdown]
# ## The answer
#
# Chains that disagree about what has no names sit in different solutions: weigh them, or use another number of components,
# but do not average in silence. Chains that disagree about names alone are mended by `relabel`, as far as the names mean
# something; where `label_quality` says that they do not, ask for densities, pairs and partitions.
#
# ## What was said above, checked

# %%
optima = few["optima"].to_dataset()
assert abs(float(optima["log_likelihood"][1] - optima["log_likelihood"][0]) - 0.2) < 0.05
assert abs(float(optima["mass"][1]) - 0.02) < 0.005
assert diagnosis.converged
assert [finding.kind for finding in diagnosis.findings] == ["missed"]
assert (share > 0).all()
assert 0.01 < float(share.mean()) < 0.05
assert bg.diagnose(passing).invariants["r_hat"].max() <= 1.01
assert bg.diagnose(apart).findings[0].kind == "solutions"
assert len(solutions) == 2
assert (solutions.table["weight"] > 0.05).all()
assert six.converged
assert not quality.trusted
assert quality.non_permutation_rate > 0.5
assert partition.attrs["n_clusters"] == 5
assert sorted(velocity.groupby(partition.values).size())[:3] == [2, 3, 7]
assert six.invariants["ess_bulk"].min() > by_nuts.invariants["ess_bulk"].min()
assert abs(densities[1] / densities[0] - 1).max() < 0.2
