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
# **Question.** The chains of a mixture disagree. Do they differ only in how the clusters are numbered, which can be
# repaired? Or have they found different solutions, which must be reported? The velocities of the 82 galaxies show
# both: several solutions with two components, exchangeable labels with six.
#
# **You will learn** to tell the two cases apart, what to do in each, and what can be said about clusters whose labels
# mean nothing.
#
# *Notebook 4 of 19. Before: [Old Faithful](03_old_faithful.ipynb), and [the galaxies](02_galaxies.ipynb) with three
# components, where neither problem arises. Next: [how many components](05_how_many_components.ipynb).*

# %%
import warnings

import numpy as np
import pandas as pd

import bayesgmm as bg

velocity = bg.datasets.galaxies()  # in 1000 km/s

# %% [markdown]
# ## Two components: several solutions
#
# EM's restarts find two optima whose log-likelihoods differ by 0.2. In one, a small cluster holds the seven galaxies
# near 10. In the other, a narrow cluster near 21 lies on top of a broad one. Which of them is the answer? The height
# of the posterior at its peak does not decide that, but the probability around the peak does. A low, broad hill may
# hold more of it than a narrow peak. `fit` estimates this probability roughly, by a Gaussian at each optimum
# (Laplace's method). It starts its chains at the optima in the same proportions: see `mass` and `chains`.

# %%
few = bg.fit(velocity, 2, random_seed=1, progressbar=False)
few["optima"].to_dataset()

# %% [markdown]
# The optimum with the higher likelihood has about 2 % of the posterior, and none of the four chains starts there. The
# four chains agree, and `diagnose` says which solution they leave out.

# %%
diagnosis = bg.diagnose(few)
diagnosis

# %% [markdown]
# Is 2 % right? NUTS cannot say, because it does not find the way from the large solution to the small one. The other
# sampler, Gibbs, draws labels and parameters in turn; one such round is a sweep. For one feature it can answer,
# because it makes split-merge moves between its sweeps. We count the draws whose lower mean is below 11:

# %%
passing = bg.fit(velocity, 2, method="gibbs", random_seed=1, progressbar=False)
share = (passing["posterior"]["mu"].min("cluster") < 11).mean("draw")
print("in each chain", share.values.round(3), "in all", float(share.mean().round(3)))
print("largest R-hat", bg.diagnose(passing).invariants["r_hat"].max().round(3))

# %% [markdown]
# All four chains move back and forth between the solutions, and they agree with one another. The rough estimate by
# Laplace's method was about right.
#
# ## When chains sit apart
#
# Other solutions are so far apart that no sampler moves between them. Take four groups at the corners of a square. Two
# components can describe them in two ways, side by side or one above the other, and there is nothing in between.

# %%
corners = bg.Mixture([0.25] * 4, [[0, 0], [0, 4], [4, 0], [4, 4]], np.broadcast_to(np.eye(2), (4, 2, 2)))
points, _ = corners.sample(120, random_seed=4)
square = pd.DataFrame(points, columns=["east", "north"])
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)  # the warning says what is printed next
    apart = bg.fit(square, 2, method="nuts", random_seed=1, progressbar=False)
[finding.problem for finding in bg.diagnose(apart).findings]

# %% [markdown]
# So the finding is not just "not converged". It also says which solutions there are. `solutions` groups the chains by
# quantities that do not depend on labels. It can also weigh the groups by how well they predict. (The log posterior is
# for the standardised data and includes the prior. The log-likelihood is for the data themselves.)

# %%
solutions = bg.solutions(apart, weigh="stacking")
solutions

# %% [markdown]
# Each solution sees two groups along one axis and a single broad one along the other.

# %%
_ = bg.plots.plot_solutions(apart)

# %% [markdown]
# The share of chains in a solution says only how many chains started there. That number was in proportion to Laplace's
# weights. Stacking (`weight`) looks for the mixture of the two solutions that best predicts a left-out observation.
# This is not the posterior probability of a solution. Here stacking takes some of each. The best prediction mixes both
# solutions, four components in all. So two are too few for these data.
#
# ## Six components: exchangeable labels
#
# Nothing in the model says which cluster is number 0. With six components the labels switch within a chain. With Gibbs
# they switch all the time, because every sweep permutes them anew. `relabel` looks for the order in which each label
# keeps its meaning; `fit` does this by default. The figure shows the mean of each cluster in every draw, before and
# after. (Points far outside the data are clusters that are empty in that draw: only the prior determines their means.)

# %%
tree = bg.fit(velocity, 6, method="gibbs", random_seed=1, progressbar=False)
_ = bg.plots.plot_relabelling(tree)

# %% [markdown]
# The panel on the right is tidier. It would still be wrong to describe its clusters one by one. `diagnose` judges two
# things separately. Here the quantities without labels have converged, but the labels cannot be trusted.

# %%
six = bg.diagnose(tree)
six

# %%
quality = bg.label_quality(tree)
quality

# %% [markdown]
# In most draws the six components do not fall into six groups, one in each. Some clusters are split in one draw and
# joined in the next. Others are empty. Relabelling cannot repair that, since there is nothing to label. Some answers
# need no labels: the density, the number of clusters that hold a galaxy, and which galaxies belong together. Here is
# the posterior of the number of clusters that hold a galaxy:

# %%
occupied = bg.occupied_clusters(tree, random_seed=1)
occupied.to_series().value_counts(normalize=True).sort_index().round(2)

# %% [markdown]
# The next figure shows, for every pair of galaxies, the probability that they belong to one cluster. Dark means
# certain. Lines separate the groups of `partition`. This is the partition with the smallest expected distance to the
# partitions of the draws. (The distance is the variation of information.)

# %%
partition = bg.partition(tree)
_ = bg.plots.plot_coclustering(tree)

# %% [markdown]
# The partition has five groups, although six components were fitted. Seven galaxies are near 10, two near 16, and three
# near 33. Two groups of some 35 galaxies each touch near 21. The three small groups are sharp; the border between the
# large ones is not.

# %%
velocity.groupby(partition.values).agg(["count", "min", "max"])

# %% [markdown]
# ## NUTS or Gibbs?
#
# Both sample the same posterior. On data as small as these, Gibbs moves easily between solutions that NUTS is slow to
# leave: compare the effective sample sizes. Where NUTS has trouble, Gibbs may not, and `fit` without a
# `method` chooses it. We compare the two densities at five places, one of them in the gap near 16. They differ by less
# than a fifth.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)  # about a few divergences
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
# Do the chains disagree about quantities without labels? Then they sit in different solutions. Weigh the solutions, or
# use another number of components, but do not average them without saying so. Do the chains disagree about labels
# alone? Then `relabel` repairs that, as far as the labels mean something. Where `label_quality` says that they do not,
# ask for densities, pairs and partitions.
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
