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
# **Question.** Draw 10 000 numbers from a mixture that we know. Do EM, NUTS and ADVI find it again, and do they agree?
#
# **You will learn** what a mixture is, what EM does, what a posterior adds to it, and how to see that draws can be
# trusted. EM is what scikit-learn's `GaussianMixture` does; nothing about Bayesian statistics is taken for granted.
#
# *Notebook 1 of 15. Next: [the galaxies](02_galaxies.ipynb), the same on real data.*

# %%
import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesgmm as bg

# %% [markdown]
# ## The story
#
# First a label, then an observation given the label:
#
# $$z_i \sim \mathrm{Categorical}(w), \qquad x_i \mid z_i = k \sim N(\mu_k, \sigma_k^2).$$
#
# With two components the label is a coin. Here it falls on the first component in a quarter of the throws; the components
# are N(5, sd 1.5) and N(10, sd 2).

# %%
x, z, truth = bg.datasets.two_gaussians()
truth

# %% [markdown]
# What is observed is the outline of the histogram below. That the grey observations come from one component and the blue
# ones from the other is known here only because the data are simulated.

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
# Whoever fits the mixture sees `x` but not `z`. Summing the label out of each observation gives the likelihood
#
# $$L(w, \mu, \sigma) = \prod_{i=1}^n \sum_{k=1}^K w_k\, N(x_i; \mu_k, \sigma_k),$$
#
# and EM climbs it by turns. Handwritten derivations slip in three places; this is how they go right.
#
# 1. The likelihood is a **product over the observations**, of sums over the components. (Its logarithm is a sum over i, and
#    the logarithm does not reach inside the sum over k: that is why there is no closed form.)
# 2. The responsibility of a component is its **weighted** density over the sum of the **weighted** densities: the
#    denominator carries every $w_j$,
#    $$r_{ik} = \frac{w_k\, N(x_i; \mu_k, \sigma_k)}{\sum_j w_j\, N(x_i; \mu_j, \sigma_j)}.$$
# 3. With $N_k = \sum_i r_{ik}$ the new parameters are
#    $$w_k = \frac{N_k}{n}, \qquad \mu_k = \frac{1}{N_k} \sum_i r_{ik} x_i, \qquad
#    \sigma_k^2 = \frac{1}{N_k} \sum_i r_{ik} (x_i - \mu_k)^2:$$
#    the variance is taken about the **new** mean and divided by $N_k$, **not by n**. ($w_k = N_k / n$ comes from a Lagrange
#    multiplier for $\sum_k w_k = 1$.)
#
# One iteration in four lines, from a rough start, and the same by the package:

# %%
start = bg.Mixture([0.5, 0.5], [4, 12], sigma=[2, 2])
r = start.responsibilities(x)
counts = r.sum(axis=0)
means = r.T @ x / counts
by_hand = bg.Mixture(counts / len(x), means, (r * (x[:, None] - means) ** 2).sum(axis=0) / counts)
by_hand

# %% [markdown]
# `fit_em` starts from ten places (k-means++ and random ones in turn), goes on until the log-likelihood stands still, and
# keeps the best run.

# %%
em = bg.fit_em(x, 2, random_seed=1)
em

# %%
_ = bg.plots.plot_em_history(bg.fit_em(x, 2, start=start))

# %% [markdown]
# The picture shows what is still missing to the highest log-likelihood, on logarithmic axes: less at every step, and
# little less for a long time, because the two components overlap. The more information the hidden labels hold, the slower
# EM is.
#
# ## The posterior
#
# EM ends with one mixture. But other mixtures explain these numbers nearly as well: how far may they be from it? Bayes'
# rule gives each mixture a probability, the **posterior**: in proportion to the likelihood, and to the **prior**, what was
# held plausible before. By default the prior is weak: any weights, means anywhere about the range of the data, standard
# deviations of a size that is learnt. `build_model` states it in PyMC, the labels summed out.

# %%
bg.build_model(x, 2)

# %% [markdown]
# There is no formula for this posterior, so it is sampled. NUTS walks through it in four independent **chains** and keeps
# 1 000 **draws** of each. A draw is a whole mixture: weights, means and standard deviations. The mean over the draws is an
# estimate, their standard deviation says how uncertain it is. `fit` returns them in a tree with the names and dims of
# ArviZ.

# %%
nuts = bg.fit(x, 2, random_seed=1, progressbar=False)
nuts["posterior"].to_dataset()

# %% [markdown]
# Have the chains been everywhere? `diagnose` judges that.
#
# * `r_hat` compares the chains with one another: 1 if all have seen the same, too much above 1.01.
# * `ess_bulk` and `ess_tail`, effective sample sizes: successive draws are alike; as many independent ones would tell as
#   much about the middle and about the tails. 100 for each chain are enough.
# * A divergence is a step at which NUTS lost its way; there should be none.
#
# The first table is about what does not depend on which component is called 0, such as the density at some points.

# %%
bg.diagnose(nuts)

# %% [markdown]
# Nothing to complain of. Traces that look like this can be believed: every chain on top of every other. (Left: the
# density of each parameter, a line for each chain; right: draw after draw. From top to bottom: weights, means, standard
# deviations.)

# %%
_ = az.plot_trace_dist(nuts, var_names=["w", "mu", "sigma"], backend="matplotlib", figure_kwargs={"figsize": (10, 6)})

# %% [markdown]
# With 10 000 observations and a weak prior, posterior mean and EM estimate should be all but the same, and they are: `z`,
# their difference in posterior standard deviations, is small everywhere. What EM does not give is the column `sd`, and the
# interval from `lower` to `upper`, which holds the parameter with a probability of 95 %.

# %%
check = bg.check_against_em(nuts)
check

# %% [markdown]
# The band around the density is as narrow as 10 000 observations make it; EM's density, dashed, runs within it.

# %%
_ = bg.plots.plot_fit(nuts)

# %% [markdown]
# ## ADVI
#
# NUTS is exact up to the number of draws. ADVI is an approximation: the Gaussian that comes closest to the posterior, on a
# scale where all parameters are free. (By default it keeps their correlations.) PSIS k-hat says how close that is: usable
# below 0.7, as here.

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
# The same road for 0.3 N(0, sd 1) + 0.5 N(10, sd 1) + 0.2 N(3, sd 1). The package numbers clusters by increasing mean, so
# the true mixture is sorted to be compared.

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
# All three find both mixtures: every true parameter is within three posterior standard deviations of the posterior mean,
# EM's estimates within a third of one, and ADVI's standard deviations within 15 % of those by NUTS. Real data are fewer,
# and then the ways part: see [the galaxies](02_galaxies.ipynb).
#
# ## What was said above, checked

# %%
one_step = bg.Mixture(by_hand.weights, by_hand.means, sigma=by_hand.sigma)
history = bg.fit_em(x, 2, start=start).history
assert np.isclose(history[1], one_step.log_density(x).sum())  # the iteration by hand is the package's first
assert (np.diff(history) > -1e-8).all()
assert dict(nuts["posterior"]["mu"].sizes) == {"chain": 4, "draw": 1000, "cluster": 2}
for tree, verdict in ((nuts, check), (nuts3, check3), (advi, bg.check_against_em(advi))):
    assert bg.diagnose(tree).ok
    assert verdict.ok
    assert verdict.table["z"].abs().max() < 0.3  # all but the same as EM
assert advi["approximation"].attrs["pareto_k"] < 0.7
true2 = np.concatenate([truth.weights, truth.means, truth.sigma])
assert (np.abs(check.table["mean"] - true2) < 3 * check.table["sd"]).all()
assert (np.abs(table3["mean"] - table3["truth"]) < 3 * table3["sd"]).all()
difference = (both["ADVI"]["mean"] - both["NUTS"]["mean"]).abs() / both["NUTS"]["sd"]
assert difference.max() < 0.2
assert (both["ADVI"]["sd"] / both["NUTS"]["sd"] - 1).abs().max() < 0.15
