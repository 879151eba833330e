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
# This notebook asks in several ways, shows that they agree where they ask the same, and why they differ where they do not.
#
# **You will learn** what predictive comparison, evidence, BIC and the posterior of k each answer, how decided each answer
# is, and what to report.
#
# *Notebook 5 of 15. Before: [label switching and several solutions](04_label_switching_and_several_solutions.ipynb). Next:
# [your own model](06_your_own_model.ipynb).*

# %%
import numpy as np

import bayesgmm as bg

velocity = bg.datasets.galaxies()  # in 1000 km/s

# %% [markdown]
# ## One call
#
# `compare` fits every k and sets side by side
#
# * how well it predicts a galaxy that was left out (LOO): `elpd_loo`, higher is better, with its distance to the best,
#   `elpd_diff`, and that distance's standard error, `dse`. Leaving out is done by weighting the draws anew; where that
#   cannot be trusted, the galaxy is left out in earnest and the model fitted again;
# * how probable the data are, averaged over all mixtures that the prior allows: `log_evidence`, higher is better, with its
#   numerical error, `mcse`; from it follows `p_k`, the posterior of k if all k compared are as probable beforehand;
# * what EM's criteria say: `bic`, lower is better.

# %%
comparison = bg.compare(velocity, range(1, 9), random_seed=1, progressbar=False)
comparison

# %%
_ = bg.plots.plot_compare(comparison)

# %% [markdown]
# Each is drawn as its distance to the best, which has a ring.
#
# **Prediction** (left). One and two components predict clearly worse. From three on every difference is within its
# uncertainty: a component too many does little harm, since the posterior gives it little weight or lets it split a group.
# LOO says how many are needed, and hardly ever that there are too many.
#
# **Evidence** (middle). It rises to five or six, then begins to fall: each further component brings a prior that must be
# paid for. From four to seven no two differ by a factor of three, below which nothing is decided.
#
# **Point estimates** (right). BIC takes one maximum of the likelihood and a penalty that is right for long data with
# regular parameters. Mixtures with more components than needed are not regular, and 82 galaxies are not many.
#
# The fits themselves: from five on the posterior's density (solid) hardly changes, while EM (dashed) puts peaks on single
# pairs of galaxies. That is why BIC turns to six, and what the last line under the table warns of.

# %%
_ = bg.plots.plot_fits(comparison)

# %% [markdown]
# ## The posterior of k
#
# k is unknown, so Bayes' answer is its posterior. `posterior_k` samples k along with everything else (the telescoping
# sampler), under the priors of Richardson and Green (1997): k uniform on 1 to 30, weights uniform on the simplex.

# %%
telescoped = bg.posterior_k(velocity, prior_k=bg.priors.Uniform(30), random_seed=1, progressbar=False)
published = {3: 0.061, 4: 0.128, 5: 0.182, 6: 0.199, 7: 0.160, 8: 0.109, 9: 0.071, 10: 0.040}
table = telescoped.to_dataset()[["p_k", "p_k_mcse", "p_occupied"]].sel(k=list(published)).to_dataframe()
table["Richardson & Green"] = published
table.round(3)

# %%
_ = bg.plots.plot_k(telescoped)

# %% [markdown]
# The probabilities are those that were published, whose own Monte Carlo error is not known. The two pictures answer two
# questions. On the left: of how many Gaussians is the population that the galaxies were drawn from a mixture? On the
# right: how many of these have a galaxy among the 82? Under weights that are uniform on the simplex few components are
# empty, so the two differ little, and the left one reaches further.
#
# ## Do the two ways agree?
#
# Bayes' theorem turns the evidence of each k, found by bridge sampling, into p(k | x). It must be what the sampler over k
# finds by counting, once both are restricted to the same k.

# %%
by_evidence = comparison.table.set_index("k")[["p_k", "mcse"]]
counted = telescoped["p_k"].sel(k=by_evidence.index.to_list()).to_series()
both = by_evidence.assign(counted=counted / counted.sum())
both.round(3)

# %% [markdown]
# ## What the prior has to do with it
#
# Prediction barely notices the prior; evidence answers to it, because it asks how well mixtures *drawn from the prior*
# predict the data. A prior on k that prefers few, with weights that leave components empty as k grows (the dynamic prior
# of Frühwirth-Schnatter, Malsiner-Walli and Grün), moves the posterior of k: three is now the most probable number, of
# components and of occupied clusters alike.

# %%
sparse = bg.posterior_k(
    velocity, prior_k=bg.priors.BetaNegativeBinomial(1, 4, 3), alpha=1.0, weights="dynamic", random_seed=1, progressbar=False
)
_ = bg.plots.plot_k(sparse)

# %% [markdown]
# And the means: let their prior standard deviation be a fifth of the data's range instead of the whole of it. A component
# more then costs less, since its mean is not looked for where nothing is. The log evidence of six components rises by more
# than three, elpd changes by less than one from four on.

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
# *At least three groups*: every way agrees on that. For prediction average over k instead of choosing, with the stacking
# weights or over the posterior of k. If one number must be named, name the prior with it. And if the question is which
# galaxies belong together, answer that one: the partition that loses least in expectation, averaged over k.

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
