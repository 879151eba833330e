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
# # The galaxies: what 82 numbers say, and what they do not
#
# **Question.** The velocities of 82 galaxies form groups, which show the superclusters and voids along the line of
# sight. What does the posterior say about the groups that a point estimate does not?
#
# **You will learn** to read a posterior when data are few: traces, intervals, and where and why it differs from EM.
# You also learn to check whether the model could have produced the data, and to ask the draws a question of your own.
#
# *Notebook 2 of 19. Before: [two and three Gaussians](01_two_and_three_gaussians.ipynb), which explains the terms.
# Next: [Old Faithful](03_old_faithful.ipynb), with several features.*

# %%
import arviz as az
from scipy.stats import norm

import bayesgmm as bg

velocity = bg.datasets.galaxies()  # in 1000 km/s
velocity.describe().round(2)

# %% [markdown]
# ## Three components
#
# We begin with EM. It finds a small group near 10, a large one near 21, and three galaxies near 33.

# %%
em = bg.fit_em(velocity, 3, random_seed=1)
em.mixture

# %% [markdown]
# Now the posterior. Here it is far from Gaussian, so `fit` chooses Gibbs sampling. When the posterior is nearly
# Gaussian, `fit` chooses NUTS. You can request either with `method=`.

# %%
tree = bg.fit(velocity, 3, random_seed=1, progressbar=False)
bg.diagnose(tree)

# %% [markdown]
# The quantities in the first block do not depend on how the clusters are numbered: the log density at fixed points,
# the log posterior, the sorted weights. The second block is about single clusters. Both have converged. The trace shows
# how far a single cluster can move. Now and then the cluster near 33 leaves its three galaxies and helps to describe
# the group near 21. (It is the uppermost line in the middle row, which shows the means.)

# %%
_ = az.plot_trace_dist(tree, var_names=["w", "mu", "sigma"], backend="matplotlib", figure_kwargs={"figsize": (10, 6)})

# %% [markdown]
# The figure shows the density of the velocities. At each point the band contains the density with a probability of 90
# %. With 82 galaxies the band is wide. There clearly is a group near 10, but the height of its peak is uncertain.

# %%
figure = bg.plots.plot_fit(tree)
_ = figure.axes[0].set_xlabel("velocity (1000 km/s)")

# %% [markdown]
# ## Does it agree with EM?

# %%
check = bg.check_against_em(tree)
check

# %% [markdown]
# As densities they agree. But look at `sigma[0]`: the seven galaxies have a standard deviation of 0.42, and EM reports
# that value. The posterior takes two more facts into account: seven numbers say little about a scale, and the other
# groups are broader. It puts the standard deviation about twice as high. That is why EM's dashed peak in the figure is
# higher than the posterior's.
#
# ## Could the model have produced such data?
#
# A posterior predictive check answers that: draw 82 velocities from each of many posterior draws, and compare them
# with the data. The figure shows the share of galaxies up to each velocity (in 1000 km/s). The data are black, the
# replicated data blue. The data lie among the replicates.

# %%
tree = bg.add_posterior_predictive(tree, random_seed=1)
_ = az.plot_ppc_dist(tree, backend="matplotlib")

# %% [markdown]
# ## A question of your own
#
# No galaxy was seen between 11 and 16. How probable is it that the next one lies in that void? Anything that can be
# computed from one mixture can be computed from every draw. Here it is the probability between two points, a weighted
# sum over the clusters. The values from all draws are the posterior of the answer.

# %%
in_void = {}
for group in ("em_baseline", "posterior"):
    w, mu, sigma = (tree[group][name] for name in ("w", "mu", "sigma"))
    in_void[group] = (w * (norm.cdf(16, mu, sigma) - norm.cdf(11, mu, sigma))).sum("cluster")
lower, upper = in_void["posterior"].quantile([0.05, 0.95])
print(f"EM: {float(in_void['em_baseline']):.1%}")
print(f"posterior: {float(in_void['posterior'].mean()):.1%}, with a probability of 90 % between {lower:.1%} and {upper:.1%}")

# %% [markdown]
# EM says 0.6 %. The posterior says 1.5 % on average, and that anything from 0.4 to 3.5 % is plausible. An empty
# stretch among 82 galaxies does not prove that the void is empty. The point estimate is near the lower end, because
# its groups are as narrow as the galaxies that happened to be seen.
#
# We assumed three components here. With two there are several solutions, and with six the clusters cannot be told
# apart: see [label switching and several solutions](04_label_switching_and_several_solutions.ipynb). Which number is
# right? See [how many components](05_how_many_components.ipynb).
#
# ## What was said above, checked

# %%
assert not velocity.between(11, 16).any()
assert abs(em.mixture.means - [9.7, 21.4, 33.0]).max() < 0.1
assert em.mixture.weights[[0, 2]].round(3).tolist() == [0.085, 0.037]  # seven and three of 82
assert bg.diagnose(tree).converged
assert check.ok
sigma0 = check.table.loc["sigma[0]"]
assert abs(sigma0["em"] - 0.42) < 0.01
assert 1.7 < sigma0["mean"] / sigma0["em"] < 2.5
assert (tree["posterior"]["mu"][:, :, 2] < 28).any()  # sometimes it helps to describe the group near 21
assert round(float(in_void["em_baseline"]), 3) == 0.006
assert abs(float(in_void["posterior"].mean()) - 0.014) < 0.002
assert abs(float(lower) - 0.004) < 0.001
assert abs(float(upper) - 0.035) < 0.005
