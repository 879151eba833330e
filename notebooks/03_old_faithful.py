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
# # Old Faithful: two features, two kinds of eruptions
#
# **Question.** A geyser's eruptions are short or long, and the wait for the next one is short or long with them. Within a
# kind of eruption, does a longer one still mean a longer wait, and how sure can one be?
#
# **You will learn** that several features go through the same calls, how to get from covariances to correlations with
# their uncertainty, and how to choose among structures of covariances by prediction.
#
# *Notebook 3 of 15. Before: [the galaxies](02_galaxies.ipynb). Next:
# [label switching and several solutions](04_label_switching_and_several_solutions.ipynb), when chains disagree.*

# %%
import arviz as az

import bayesgmm as bg

published = bg.datasets.old_faithful()  # minutes: how long it lasted, how long until the next one
published.describe().round(2)

# %% [markdown]
# Waiting times were written down in whole minutes, and fifteen of them are 78. Onto equal observations a component can
# shrink without limit, so that the posterior of the default prior does not exist (`fit` takes that into account). What was
# rounded is spread again, each observation uniformly over the minute that it stands for.

# %%
eruptions = bg.jitter(published, random_seed=1)
for name, table in (("as published", published), ("spread again", eruptions)):
    print(f"{name}: at most {table['waiting'].value_counts().max()} equal waiting times")

# %% [markdown]
# ## The same calls as for one feature
#
# `fit` takes the table as it is; the columns' names become coordinates. Each cluster has a mean vector `mu` and a
# covariance matrix `cov`. (The scale of the covariances, `C0`, is learnt too; it has a group of its own,
# `hyperparameters`.) The posterior means:

# %%
tree = bg.fit(eruptions, 2, random_seed=1, progressbar=False)
tree["posterior"].to_dataset().mean(("chain", "draw"))

# %% [markdown]
# Can the draws be trusted, and do they agree with EM? Both verdicts stand in the first line.

# %%
bg.diagnose(tree)

# %%
check = bg.check_against_em(tree)
check

# %% [markdown]
# ## The picture
#
# Thick ellipses hold 90 % of a cluster at its posterior mean, thin ones are single draws, dashed ones EM's. A ring marks
# an eruption of which it is less than 90 % sure to which kind it belongs: there is one. On the diagonal stand the
# densities of each feature, as in the notebooks before.

# %%
_ = bg.plots.plot_pairs(tree)

# %% [markdown]
# ## The answer
#
# The ellipses lean: within both kinds longer eruptions come with longer waits. Correlations and standard deviations are
# functions of `cov`, so every draw has its own; `add_correlations` puts them beside it.

# %%
within = bg.add_correlations(tree)
correlation = within["posterior"]["corr"].sel(pair="eruptions, waiting").rename("correlation")
az.summary(correlation.to_dataset(), kind="stats", ci_prob=0.9, ci_kind="eti", round_to="none").round(2)

# %% [markdown]
# Over all eruptions the correlation is 0.90, but that is mostly the difference between the two kinds. Within a kind it is
# about 0.3 for the short ones and 0.4 for the long ones. That both are positive is all but certain. That the second is
# larger is not: its probability is about 0.8. To get such probabilities, count draws.

# %%
positive = (correlation > 0).mean(("chain", "draw"))
larger = (correlation.sel(cluster=1) > correlation.sel(cluster=0)).mean(("chain", "draw"))
print("probability that the correlation is positive:", positive.values.round(3))
print("probability that that of the long eruptions is larger:", round(float(larger), 2))

# %% [markdown]
# ## Simpler covariances
#
# Did the answer need a covariance matrix for each kind? Four structures can be asked for (scikit-learn calls them
# `covariance_type`). Leave-one-out cross-validation (LOO) tells how well each predicts an eruption that it has not seen:
# `elpd` is the log density that it gives to such eruptions, summed, higher is better; `dse` is the standard error of the
# difference to the best.

# %%
structures = {
    covariance: bg.add_log_likelihood(bg.fit(eruptions, 2, covariance=covariance, random_seed=1, progressbar=False))
    for covariance in ("full", "tied", "diag", "spherical")
}
comparison = az.compare({name: az.loo(each, pointwise=True) for name, each in structures.items()}, round_to="none")
comparison[["elpd", "elpd_diff", "dse"]].round(1)

# %% [markdown]
# A covariance for each kind predicts best, but whether one common covariance does any worse cannot be told: the difference
# is below two standard errors. Features that are independent within a cluster predict worse by more than that: the
# correlation is real. Spheres, which measure both features in one unit, are out of the question.
#
# ## What was said above, checked

# %%
assert published["waiting"].value_counts().max() == (published["waiting"] == 78).sum() == 15
assert bg.diagnose(tree).ok
assert check.ok
overall = eruptions.corr().to_numpy()[0, 1]
assert round(overall, 2) == 0.90
mean = correlation.mean(("chain", "draw")).to_numpy()
assert abs(mean[0] - 0.3) < 0.07
assert abs(mean[1] - 0.4) < 0.07
assert (positive > 0.99).all()
assert 0.7 < larger < 0.87
assert comparison.index[0] == "full"
assert -2 * comparison.loc["tied", "dse"] < comparison.loc["tied", "elpd_diff"] < 0
assert comparison.loc["diag", "elpd_diff"] < -2 * comparison.loc["diag", "dse"]
assert comparison.loc["spherical", "elpd_diff"] < -10 * comparison.loc["spherical", "dse"]
