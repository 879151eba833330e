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
# **Question.** The velocities of 82 galaxies show groups, and with them the superclusters and voids along the line of sight.
# What does the posterior say about the groups that a point estimate does not?

# %%
import arviz as az

import bayesgmm as bg

velocity = bg.datasets.galaxies()  # in 1000 km/s
velocity.describe().round(2)

# %% [markdown]
# ## Three components
#
# EM first. It finds a small group near 10, a large one near 21, and three galaxies near 33.

# %%
em = bg.fit_em(velocity, 3, random_seed=1)
em.mixture

# %% [markdown]
# Then the posterior. `log_likelihood` and `posterior_predictive` are optional groups of the tree, for LOO and for the
# predictive check.

# %%
tree = bg.fit(velocity, 3, random_seed=1, progressbar=False, log_likelihood=True, posterior_predictive=True)
bg.diagnose(tree)

# %% [markdown]
# The first block does not depend on what the clusters are called: the log density at fixed points, the log posterior, the
# sorted weights. It has converged. The second block is about clusters with names. It converges more slowly, and the trace
# shows why: now and then the cluster near 33 leaves its three galaxies and helps out in the middle.

# %%
_ = az.plot_trace_dist(tree, var_names=["w", "mu", "sigma"], backend="matplotlib", figure_kwargs={"figsize": (10, 6)})
# %%
_ = bg.plots.plot_fit(tree)
# %% [markdown]
# ## Does it agree with EM?

# %%
check = bg.check_against_em(tree)
check

# %% [markdown]
# As densities they agree. Look at `sigma[0]`: seven galaxies with a sample standard deviation of 0.42. EM takes that at its
# word; the posterior, which knows that seven numbers say little about a scale and that the other groups are broader, puts
# the standard deviation about twice as high. Among nine parameters one may lie outside its own 95 % interval, so the
# verdict stays yes; the table shows where the two part company.
#
# The predictive check: data replicated from the posterior look like the data.

# %%
_ = az.plot_ppc_dist(tree, backend="matplotlib")
# %% [markdown]
# ## How many components?
#
# `compare` fits each k, estimates how well it predicts a galaxy it has not seen (`elpd_loo`, higher is better), and sets the
# evidence (higher is better) and EM's BIC (lower is better) beside it. The notebook on how many components asks further.

# %%
comparison = bg.compare(velocity, range(1, 7), method="nuts", random_seed=1, progressbar=False)
comparison

# %% [markdown]
# One and two components predict clearly worse than the best. From three on the differences are of the size of their standard
# errors: 82 galaxies do not decide between three and six, whichever of them has the highest number, and a stacking weight
# close to one for it says no more than that.
#
# Then what `diagnose` has to say of each k. With two components there are two different solutions: the group near 10 split
# off from the rest, or one component so broad that it covers everything with a narrow one in the middle. EM prefers the
# first by a hair; the second has nearly all of the posterior. Chains begin in proportion, so all sit in the second, and the
# package says what they leave out. The notebook on label switching and several solutions takes this up.

# %%
for k, diagnosis in comparison.diagnoses.items():
    print(k, "converged" if diagnosis.converged else "not converged")
    for finding in diagnosis.findings:
        print("   ", finding.problem)

# %% [markdown]
# ## What was said above, checked

# %%
assert abs(em.mixture.means - [9.7, 21.4, 33.0]).max() < 0.1
assert em.mixture.weights[[0, 2]].round(3).tolist() == [0.085, 0.037]  # seven and three of 82
diagnosis = bg.diagnose(tree)
assert diagnosis.converged
assert check.ok
sigma0 = check.table.loc["sigma[0]"]
assert abs(sigma0["em"] - 0.42) < 0.01
assert 1.7 < sigma0["mean"] / sigma0["em"] < 2.5
assert (tree["posterior"]["mu"][:, :, 2] < 28).any()  # it helps out in the middle
table = comparison.table.set_index("k")
best = comparison.best["elpd_loo"]
assert best >= 3
for k in (1, 2):
    assert -table.loc[k, "elpd_diff"] > 2 * table.loc[k, "dse"]
undecided = table.loc[3:]
assert (-undecided["elpd_diff"] < 2 * undecided["dse"].clip(lower=1)).all()  # the Monte Carlo error is of the size of 0.3
assert table.loc[2, "converged"]
assert [finding.kind for finding in comparison.diagnoses[2].findings] == ["missed"]
optima = comparison.fits[2]["optima"].to_dataset()
assert optima["log_likelihood"][1] > optima["log_likelihood"][0]
assert optima["mass"][0] > 0.95
assert (comparison.fits[2]["posterior"]["mu"].min("cluster").mean("draw") > 13).all()  # 9.7 in the first solution
