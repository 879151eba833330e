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
# # How many components?
#
# **Question.** How many groups are there among the velocities of 82 galaxies? Published answers run from three to nine.
# This notebook asks in several ways. Methods that ask the same question agree. The notebook shows why methods that ask
# different questions differ.
#
# **You will learn** which question predictive comparison, evidence, BIC and the posterior of k each answer, how
# decisive each answer is, and what to report.
#
# *Notebook 5 of 19. Before: [label switching and several solutions](04_label_switching_and_several_solutions.ipynb).
# Next: [your own model](06_your_own_model.ipynb).*

# %%
import numpy as np

import bayesgmm as bg

velocity = bg.datasets.galaxies()  # in 1000 km/s

# %% [markdown]
# ## One call
#
# `compare` fits every k and answers three questions side by side:
#
# * How well is a left-out galaxy predicted (LOO)? `elpd_loo`, higher is better. `elpd_diff` is the difference from the
#   best, and `dse` its standard error. LOO reweights the draws instead of refitting. Where the weights cannot be
#   trusted, the galaxy is really left out and the model refitted.
# * How probable are the data, averaged over all mixtures that the prior allows? `log_evidence`, higher is better, with
#   its numerical error, `mcse`. It gives `p_k`, the posterior of k if all k compared are equally probable beforehand.
# * What do EM's criteria say? `bic`, lower is better.

# %%
comparison = bg.compare(velocity, range(1, 9), random_seed=1, progressbar=False)
comparison

# %%
_ = bg.plots.plot_compare(comparison)

# %% [markdown]
# Each criterion is drawn as its distance from the best value, which has a ring.
#
# **Prediction** (left). One and two components predict clearly worse. From three on, every difference is within its
# uncertainty. A component too many does little harm: the posterior gives it little weight or lets it split a group.
# LOO says how many components are needed, and hardly ever that there are too many.
#
# **Evidence** (middle). It rises to five or six, then begins to fall. Each further component brings parameters with a
# prior of their own, and the evidence charges for that. From four to seven, no two differ by a factor of three. A
# smaller factor than that decides nothing.
#
# **Point estimates** (right). BIC combines one maximum of the likelihood with a penalty. The penalty is right for
# large samples and regular models. Mixtures with more components than needed are not regular, and 82 galaxies are not
# many.
#
# The next figure shows the fits themselves. From five on, the posterior's density (solid) hardly changes, while EM
# (dashed) puts peaks on single pairs of galaxies. That is why BIC prefers six. A line under the table warns of it.

# %%
_ = bg.plots.plot_fits(comparison)

# %% [markdown]
# ## The posterior of k
#
# k is unknown, so the Bayesian answer is its posterior. `posterior_k` samples k along with everything else (the
# telescoping sampler). The priors are those of Richardson and Green (1997): k uniform on 1 to 30, weights uniform on
# the simplex.

# %%
telescoped = bg.posterior_k(velocity, prior_k=bg.priors.Uniform(30), random_seed=1, progressbar=False)
published = {3: 0.061, 4: 0.128, 5: 0.182, 6: 0.199, 7: 0.160, 8: 0.109, 9: 0.071, 10: 0.040}
table = telescoped.to_dataset()[["p_k", "p_k_mcse", "p_occupied"]].sel(k=list(published)).to_dataframe()
table["Richardson & Green"] = published
table.round(3)

# %%
_ = bg.plots.plot_k(telescoped)

# %% [markdown]
# The probabilities agree with the published ones, whose own Monte Carlo error is not known. The two panels answer two
# questions. Left: the galaxies were drawn from a population; how many Gaussians does it have? Right: how many of these
# have a galaxy among the 82? With weights uniform on the simplex, few components are empty. So the two differ little,
# and the left one reaches to larger k.
#
# ## Do the two ways agree?
#
# Bayes' theorem turns the evidence of each k, computed by bridge sampling, into p(k | x). The sampler over k gets p(k
# | x) by counting draws. The two must agree, once both are restricted to the same k.

# %%
by_evidence = comparison.table.set_index("k")[["p_k", "mcse"]]
counted = telescoped["p_k"].sel(k=by_evidence.index.to_list()).to_series()
both = by_evidence.assign(counted=counted / counted.sum())
both.round(3)

# %% [markdown]
# ## What the prior has to do with it
#
# Prediction hardly depends on the prior. The evidence does, because it asks how well mixtures *drawn from the prior*
# predict the data. Here is a prior on k that prefers few components, with a prior of the weights that leaves more
# components empty as k grows. (It is the dynamic prior of Frühwirth-Schnatter, Malsiner-Walli and Grün.) It changes
# the posterior of k: three is now the most probable number, both of components and of occupied clusters.

# %%
sparse = bg.posterior_k(
    velocity, prior_k=bg.priors.BetaNegativeBinomial(1, 4, 3), alpha=1.0, weights="dynamic", random_seed=1, progressbar=False
)
_ = bg.plots.plot_k(sparse)

# %% [markdown]
# The prior of the means matters, too. Let its standard deviation be a fifth of the data's range instead of the whole
# range. An additional component then costs less, because the prior of its mean puts less probability where there are no
# data. The log evidence of six components rises by more than three. From four components on, elpd changes by less than
# one.

# %%
spread = np.ptp(velocity)
narrow = bg.compare(
    velocity, range(2, 7), prior=bg.HierarchicalPrior(B0=(spread / 5) ** 2), random_seed=1, progressbar=False
)
columns = ["elpd_loo", "log_evidence"]
beside = comparison.table.set_index("k")[columns]
beside = beside.assign(**{f"{name}, narrow prior": narrow.table.set_index("k")[name] for name in columns}).dropna()
beside.round(1)

# %% [markdown]
# ## What to report
#
# *At least three groups*: all methods agree on that. For prediction, do not choose a k. Average over k, either with the
# stacking weights or with the posterior probabilities of k. If you must name one number, name the prior with it. If the
# question is which galaxies belong together, answer that question. Report the partition that minimises the expected
# loss, averaged over k.

# %%
velocity.groupby(telescoped["partition"]["partition"].values).agg(["count", "min", "max"])

# %% [markdown]
# ## What was said above, checked

# %%
table = comparison.table.set_index("k")
assert table["converged"].all()
assert (table["bad_pareto_k"] == 0).all()
assert table["refitted"].sum() > 0
for k in (1, 2):
    assert -table.loc[k, "elpd_diff"] > 2 * table.loc[k, "dse"]
late = table.loc[3:]
assert (-late["elpd_diff"] < 2 * late["dse"].clip(lower=0.5)).all()
assert comparison.best["log_evidence"] in (5, 6)
assert np.ptp(table.loc[4:7, "log_evidence"]) < np.log(3)
error = np.hypot(telescoped["p_k_mcse"].sel(k=list(published)), 0.01)
assert (abs(telescoped["p_k"].sel(k=list(published)) - list(published.values())) < 3 * error).all()
shares = both.drop(columns="mcse")
assert (abs(shares["p_k"] - shares["counted"]) < 0.03).all()
assert int(sparse["p_k"].idxmax("k")) == int(sparse["p_occupied"].idxmax("k")) == 3
assert beside.loc[6, "log_evidence, narrow prior"] - beside.loc[6, "log_evidence"] > 3
assert (abs(beside["elpd_loo, narrow prior"] - beside["elpd_loo"]).loc[4:6] < 1).all()
assert telescoped["partition"].attrs["n_clusters"] == 5
