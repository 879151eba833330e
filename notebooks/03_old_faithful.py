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

# %%
import arviz as az

import bayesgmm as bg

eruptions = bg.datasets.old_faithful()  # minutes: how long it lasted, how long until the next one
eruptions.describe().round(2)

# %% [markdown]
# ## The same calls as for one feature
#
# `fit` takes the table as it is; the columns' names become coordinates. Each cluster has a mean vector `mu` and a covariance
# matrix `cov`.

# %%
tree = bg.fit(eruptions, 2, random_seed=1, progressbar=False)
tree["posterior"].to_dataset().mean(("chain", "draw"))
# %%
bg.diagnose(tree)
# %%
check = bg.check_against_em(tree)
check
# %% [markdown]
# ## The picture
#
# Thick ellipses hold 90 % of a cluster at its posterior mean, thin ones are single draws, dashed ones EM's. A ring marks the
# eruptions of which it is uncertain to which kind they belong.

# %%
_ = bg.plots.plot_pairs(tree)
# %% [markdown]
# ## The answer
#
# Correlations and standard deviations are functions of `cov`; `add_correlations` puts them beside it.

# %%
within = bg.add_correlations(tree)
correlation = within["posterior"]["corr"].sel(feature="eruptions", feature_bis="waiting").rename("correlation")
az.summary(correlation.to_dataset(), ci_prob=0.9, ci_kind="eti", round_to="none").round(2)

# %% [markdown]
# Over all eruptions the correlation is 0.90, but that is mostly the difference between the two kinds. Within a kind it is
# about 0.3 for the short ones and 0.4 for the long ones; that both are positive is all but certain, and which of them is
# larger is not: 4 to 1 for the long ones.

# %%
positive = (correlation > 0).mean(("chain", "draw"))
larger = (correlation.sel(cluster=1) > correlation.sel(cluster=0)).mean(("chain", "draw"))
print("probability that the correlation is positive:", positive.values.round(3))
print("probability that that of the long eruptions is larger:", round(float(larger), 2))

# %% [markdown]
# ## Simpler covariances
#
# Four structures can be asked for. How well does each predict an eruption that it has not seen?

# %%
structures = {
    covariance: bg.add_log_likelihood(bg.fit(eruptions, 2, covariance=covariance, random_seed=1, progressbar=False))
    for covariance in ("full", "tied", "diag", "spherical")
}
comparison = az.compare({name: az.loo(each, pointwise=True) for name, each in structures.items()}, round_to="none")
comparison[["elpd", "elpd_diff", "dse", "weight"]].round(2)

# %% [markdown]
# A covariance for each kind predicts best, but whether one common covariance does any worse cannot be told: the difference
# is below two standard errors. Features that are independent within a cluster predict worse by more than that: the
# correlation is real. Spheres, which measure both features in one unit, are out of the question.
#
# ## What was said above, checked

# %%
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
