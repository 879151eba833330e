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
# **Question.** A geyser's eruptions are short or long. After a short one the wait for the next is short, after a long
# one it is long. Within one kind, does a longer eruption still mean a longer wait, and how sure is that?
#
# **You will learn** that the same calls work for several features. You also learn to get from covariances to
# correlations with their uncertainty, and to choose a covariance structure by how well it predicts.
#
# *Notebook 3 of 19. Before: [the galaxies](02_galaxies.ipynb). Next: [label switching and several
# solutions](04_label_switching_and_several_solutions.ipynb), when chains disagree.*

# %%
import arviz as az

import bayesgmm as bg

published = bg.datasets.old_faithful()  # in minutes: how long an eruption lasts, and the wait for the next
published.describe().round(2)

# %% [markdown]
# Waiting times were recorded in whole minutes, and fifteen of them are 78. A component can shrink onto equal
# observations without limit. Under the default prior the posterior then does not exist (`fit` takes that into
# account). Here `jitter` spreads the rounded values again, each uniformly over the minute that it stands for.

# %%
eruptions = bg.jitter(published, random_seed=1)
for name, table in (("as published", published), ("spread again", eruptions)):
    print(f"{name}: at most {table['waiting'].value_counts().max()} equal waiting times")

# %% [markdown]
# ## The same calls as for one feature
#
# `fit` takes the table as it is, and column names become coordinates. Each cluster has a mean vector `mu` and a
# covariance matrix `cov`. (The scale of the covariances, `C0`, is learnt too. It is in a group of its own,
# `hyperparameters`.) These are the posterior means:

# %%
tree = bg.fit(eruptions, 2, random_seed=1, progressbar=False)
tree["posterior"].to_dataset().mean(("chain", "draw"))

# %% [markdown]
# Can the draws be trusted, and do they agree with EM? The first line of each output gives the verdict.

# %%
bg.diagnose(tree)

# %%
check = bg.check_against_em(tree)
check

# %% [markdown]
# ## The picture
#
# Thick ellipses hold 90 % of a cluster at its posterior mean. Thin ellipses are single draws, and dashed ones are
# EM's. A ring marks an eruption whose kind is less than 90 % sure; there is one. The diagonal shows the density of
# each feature, as in the earlier notebooks.

# %%
_ = bg.plots.plot_pairs(tree)

# %% [markdown]
# ## The answer
#
# The ellipses are tilted: within both kinds longer eruptions come with longer waits. Correlations and standard
# deviations are functions of `cov`, so each draw has its own values. `add_correlations` stores them beside `cov`.

# %%
within = bg.add_correlations(tree)
correlation = within["posterior"]["corr"].sel(pair="eruptions, waiting").rename("correlation")
az.summary(correlation.to_dataset(), kind="stats", ci_prob=0.9, ci_kind="eti", round_to="none").round(2)

# %% [markdown]
# Over all eruptions the correlation is 0.90, but that is mostly the difference between the two kinds. Within a kind it
# is about 0.3 for the short eruptions and 0.4 for the long ones. Both are almost certainly positive. Whether the
# second is larger is not certain: the probability is about 0.8. Such a probability is the share of the draws in which
# the statement is true.

# %%
positive = (correlation > 0).mean(("chain", "draw"))
larger = (correlation.sel(cluster=1) > correlation.sel(cluster=0)).mean(("chain", "draw"))
print("probability that the correlation is positive:", positive.values.round(3))
print("probability that that of the long eruptions is larger:", round(float(larger), 2))

# %% [markdown]
# ## When is the next eruption?
#
# The mixture also says what to expect of one feature, given the other. After an eruption of `eruptions` minutes,
# `predict` gives the mean of the waiting time and its quantiles. The dark band in the picture says how well the curve
# is known, the pale one where nine of ten waits lie. Between the two kinds the curve jumps, and few observations say
# where.

# %%
bg.plots.plot_regression(tree, of="waiting", along="eruptions")
after = bg.predict(tree, {"eruptions": [2, 3, 4]}, of="waiting")
wait = after["quantile"].isel(feature=0).to_pandas().T.set_axis(["2 minutes", "3 minutes", "4 minutes"])
wait.assign(mean=after["mean"].values[:, 0]).round(1)

# %% [markdown]
# After three minutes both kinds are possible, and the interval is the widest.
#
# ## Simpler covariances
#
# Did the answer need a covariance matrix for each kind? There are four structures to choose from (scikit-learn calls
# them `covariance_type`). Leave-one-out cross-validation (LOO) says how well each one predicts an eruption that it has
# not seen. `elpd` is the log density of such eruptions, summed; higher is better. `dse` is the standard error of the
# difference from the best.

# %%
structures = {
    covariance: bg.add_log_likelihood(bg.fit(eruptions, 2, covariance=covariance, random_seed=1, progressbar=False))
    for covariance in ("full", "tied", "diag", "spherical")
}
comparison = az.compare({name: az.loo(each, pointwise=True) for name, each in structures.items()}, round_to="none")
comparison[["elpd", "elpd_diff", "dse"]].round(1)

# %% [markdown]
# A covariance matrix for each kind predicts best. But one common matrix may predict equally well: the difference is
# below two standard errors. Assuming independent features within a cluster predicts worse by more than that, so the
# correlation is real. Spherical covariances assume the same variance for both features, and are ruled out.
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
widths = after["quantile"].sel(probability=[0.05, 0.95]).diff("probability").values.ravel()
assert widths.argmax() == 1
assert comparison.index[0] == "full"
assert -2 * comparison.loc["tied", "dse"] < comparison.loc["tied", "elpd_diff"] < 0
assert comparison.loc["diag", "elpd_diff"] < -2 * comparison.loc["diag", "dse"]
assert comparison.loc["spherical", "elpd_diff"] < -10 * comparison.loc["spherical", "dse"]
