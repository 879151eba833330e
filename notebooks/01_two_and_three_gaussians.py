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
# # Two and three Gaussians: from the story to the posterior
#
# **Question.** Draw 10 000 numbers from a mixture that we know. Do EM, NUTS and ADVI recover it, and do they agree?
#
# **You will learn** what a mixture is, what EM does, what a posterior adds to it, and how to check that draws can be
# trusted. EM is the algorithm behind scikit-learn's `GaussianMixture`. No knowledge of Bayesian statistics is assumed.
#
# *Notebook 1 of 19. Next: [the galaxies](02_galaxies.ipynb), the same on real data.*

# %%
import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesgmm as bg

# %% [markdown]
# ## The story
#
# First a label is drawn, then an observation given the label:
#
# $$z_i \sim \mathrm{Categorical}(w), \qquad x_i \mid z_i = k \sim N(\mu_k, \sigma_k^2).$$
#
# With two components the label is a coin flip. Here the coin chooses the first component in a quarter of the flips.
# The components are N(5, sd 1.5) and N(10, sd 2).

# %%
x, z, truth = bg.datasets.two_gaussians()
truth

# %% [markdown]
# We observe only the outline of the histogram below. The grey observations come from one component, the blue ones from
# the other. We know this only because the data are simulated.

# %%
figure, ax = plt.subplots(figsize=(8, 3.5), layout="constrained")
bins = np.linspace(x.min(), x.max(), 80)
ax.hist(
    [x[z == 0], x[z == 1]], bins=bins, density=True, stacked=True, color=["#9db8d2", "#c9ced6"], label=["z = 0", "z = 1"]
)
grid = np.linspace(x.min(), x.max(), 400)
ax.plot(grid, np.exp(truth.log_density(grid)), color="#1f4e79", label="density of the mixture")
ax.set(xlabel="x", ylabel="density")
_ = ax.legend(frameon=False)

# %% [markdown]
# ## EM, and three slips to avoid
#
# In practice we see `x` but not `z`. Marginalising over the label of each observation gives the likelihood
#
# $$L(w, \mu, \sigma) = \prod_{i=1}^n \sum_{k=1}^K w_k\, N(x_i; \mu_k, \sigma_k),$$
#
# and EM increases it by alternating between responsibilities and parameters. Handwritten derivations often go wrong in
# three places. These are the correct versions:
#
# 1. The likelihood is a **product over the observations** of sums over the components. Its logarithm is a sum over i,
#    but the logarithm does not reach inside the sum over k. That is why there is no closed form.
# 2. The responsibility of a component is its **weighted** density divided by the sum of the **weighted** densities.
#    The denominator contains every $w_j$:
#    $$r_{ik} = \frac{w_k\, N(x_i; \mu_k, \sigma_k)}{\sum_j w_j\, N(x_i; \mu_j, \sigma_j)}.$$
# 3. With $N_k = \sum_i r_{ik}$ the new parameters are
#    $$w_k = \frac{N_k}{n}, \qquad \mu_k = \frac{1}{N_k} \sum_i r_{ik} x_i, \qquad
#    \sigma_k^2 = \frac{1}{N_k} \sum_i r_{ik} (x_i - \mu_k)^2:$$
#    the variance is taken about the **new** mean and divided by $N_k$, **not by n**. ($w_k = N_k / n$ comes from a Lagrange
#    multiplier for $\sum_k w_k = 1$.)
#
# Here is one iteration in four lines, from a rough start. The package's first iteration gives the same mixture, as the
# last cell checks:

# %%
start = bg.Mixture([0.5, 0.5], [4, 12], sigma=[2, 2])
r = start.responsibilities(x)
counts = r.sum(axis=0)
means = r.T @ x / counts
by_hand = bg.Mixture(counts / len(x), means, (r * (x[:, None] - means) ** 2).sum(axis=0) / counts)
by_hand

# %% [markdown]
# `fit_em` starts from ten points, alternating between k-means++ and random ones. Each run goes on until the
# log-likelihood no longer changes, and the best run is kept.

# %%
em = bg.fit_em(x, 2, random_seed=1)
em

# %%
_ = bg.plots.plot_em_history(bg.fit_em(x, 2, start=start))

# %% [markdown]
# The figure shows how far the log-likelihood still is from its maximum, on logarithmic axes. The distance shrinks at
# every step, but only slowly for a long time, because the two components overlap. The more information the hidden
# labels hold, the slower EM is.
#
# ## The posterior
#
# EM ends with one mixture. But other mixtures explain these numbers nearly as well. How far from EM's may they be?
# Bayes' rule gives each mixture a probability, the **posterior**. It is proportional to the likelihood times the
# **prior**, which states what was plausible before seeing the data. By default the prior is weak: any weights, means
# anywhere around the range of the data, and standard deviations whose scale is learnt. `build_model` writes the model
# in PyMC, marginalised over the labels.

# %%
bg.build_model(x, 2)

# %% [markdown]
# There is no formula for this posterior, so we sample from it. NUTS runs four independent **chains** and keeps 1 000
# **draws** of each. Each draw is a whole mixture: weights, means and standard deviations. The mean of the draws is an
# estimate, and their standard deviation says how uncertain it is. `fit` returns the draws as a tree, with the names
# and dimensions that ArviZ uses.

# %%
nuts = bg.fit(x, 2, random_seed=1, progressbar=False)
nuts["posterior"].to_dataset()

# %% [markdown]
# Have the chains explored the whole posterior? `diagnose` judges that.
#
# * `r_hat` compares the chains with one another. It is 1 if they all agree. Above 1.01 is too much.
# * `ess_bulk` and `ess_tail` are effective sample sizes. Successive draws are alike, so they say less than independent
#   ones. The effective sample size is the number of independent draws that would say as much about the bulk or the
#   tails. 100 per chain are enough.
# * A divergence is a step at which NUTS went astray. There should be none.
#
# The first table shows quantities that do not depend on how the components are numbered, such as the density at some
# points.

# %%
bg.diagnose(nuts)

# %% [markdown]
# All diagnostics passed. The traces below look as they should: all chains lie on top of one another. The left column
# shows the density of each parameter, with one line per chain. The right column shows the draws in order. The rows are
# weights, means and standard deviations.

# %%
_ = az.plot_trace_dist(nuts, var_names=["w", "mu", "sigma"], backend="matplotlib", figure_kwargs={"figsize": (10, 6)})

# %% [markdown]
# With 10 000 observations and a weak prior, the posterior mean and EM's estimate should be nearly the same, and they
# are. The column `z` is their difference in posterior standard deviations; it is small everywhere. EM does not give
# the column `sd`, nor the 95 % credible interval from `lower` to `upper`.

# %%
check = bg.check_against_em(nuts)
check

# %% [markdown]
# The band around the density is narrow, because there are 10 000 observations. EM's density (dashed) lies within it.

# %%
_ = bg.plots.plot_fit(nuts)

# %% [markdown]
# ## ADVI
#
# NUTS is exact up to Monte Carlo error. ADVI is an approximation. It transforms all parameters to an unconstrained
# scale and finds the Gaussian closest to the posterior there. (By default it keeps their correlations.) PSIS k-hat
# says how close that Gaussian is. Below 0.7, as here, it is usable.

# %%
advi = bg.fit(x, 2, method="advi", random_seed=1, progressbar=False)
print(f"k-hat {advi['approximation'].attrs['pareto_k']:.2f}")
columns = {"NUTS": check.table, "ADVI": bg.check_against_em(advi).table}
both = pd.concat({name: table[["mean", "sd"]] for name, table in columns.items()}, axis=1)
both.insert(0, ("", "EM"), check.table["em"])
both.insert(0, ("", "truth"), np.concatenate([truth.weights, truth.means, truth.sigma]))
both.round(3)

# %% [markdown]
# ## Three Gaussians
#
# We repeat the analysis for 0.3 N(0, sd 1) + 0.5 N(10, sd 1) + 0.2 N(3, sd 1). The package numbers clusters by
# increasing mean, so we sort the true mixture before comparing.

# %%
x3, _, truth3 = bg.datasets.three_gaussians()
nuts3 = bg.fit(x3, 3, random_seed=1, progressbar=False)
check3 = bg.check_against_em(nuts3)
check3

# %%
_ = bg.plots.plot_fit(nuts3)

# %%
truth3 = truth3.sorted()
table3 = check3.table.assign(truth=np.concatenate([truth3.weights, truth3.means, truth3.sigma]))
table3[["truth", "em", "mean", "sd", "lower", "upper"]].round(3)

# %% [markdown]
# ## The answer
#
# EM and NUTS find both mixtures, and ADVI finds the first, the only one it was run on. Every true parameter is within
# three posterior standard deviations of the posterior mean. EM's estimates are within a third of a standard deviation
# of the posterior mean. ADVI's standard deviations are within 15 % of those by NUTS. Real data sets are smaller, and
# then the methods differ: see [the galaxies](02_galaxies.ipynb).
#
# ## What was said above, checked

# %%
one_step = bg.Mixture(by_hand.weights, by_hand.means, sigma=by_hand.sigma)
history = bg.fit_em(x, 2, start=start).history
assert np.isclose(history[1], one_step.log_density(x).sum())  # the iteration by hand equals the package's first
assert (np.diff(history) > -1e-8).all()
assert dict(nuts["posterior"]["mu"].sizes) == {"chain": 4, "draw": 1000, "cluster": 2}
for tree, verdict in ((nuts, check), (nuts3, check3), (advi, bg.check_against_em(advi))):
    assert bg.diagnose(tree).ok
    assert verdict.ok
    assert verdict.table["z"].abs().max() < 0.3  # nearly the same as EM
assert advi["approximation"].attrs["pareto_k"] < 0.7
true2 = np.concatenate([truth.weights, truth.means, truth.sigma])
assert (np.abs(check.table["mean"] - true2) < 3 * check.table["sd"]).all()
assert (np.abs(table3["mean"] - table3["truth"]) < 3 * table3["sd"]).all()
difference = (both["ADVI"]["mean"] - both["NUTS"]["mean"]).abs() / both["NUTS"]["sd"]
assert difference.max() < 0.2
assert (both["ADVI"]["sd"] / both["NUTS"]["sd"] - 1).abs().max() < 0.15
