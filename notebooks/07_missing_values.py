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
# # Missing values: what was the ozone on the days without a measurement?
#
# **Question.** In the summer of 1973 New York's air was observed on 153 days. Ozone is missing on 37 of them,
# radiation on 7. Which kinds of days were there, and what was the ozone on the days without a measurement?
#
# **You will learn** to fit rows with gaps as they are, and what is gained over leaving them out. You also learn to
# impute missing values with their uncertainty, and to check the imputations against values that you hid yourself.
#
# *Notebook 7 of 19. Before: [Old Faithful](03_old_faithful.ipynb), for several features.*

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesgmm as bg

air = bg.datasets.air_quality()
air.isna().sum()

# %% [markdown]
# All four columns are rounded, which makes ties, and a component could shrink onto them. `jitter` spreads the values
# again over the intervals that they were rounded from. It leaves gaps as they are. Ozone is skewed, as concentrations
# are; its logarithm is not.

# %%
days = bg.jitter(air, random_seed=1)
days["ozone"] = np.log(days["ozone"])
seen = bg.Observations(days, missing="at_random")
seen

# %% [markdown]
# `missing="at_random"` is an assumption: whether a value is missing does not depend on what it would have been, *given
# what is known of the day*. A monitor that is switched off for repairs is fine, even if repairs are made in June. A
# monitor that fails when ozone is high is not fine, unless radiation, wind and temperature identify such days.
#
# ## Two kinds of days
#
# Every function accepts `seen` in place of a table. Each day contributes what is known of it.

# %%
tree = bg.fit(seen, 2, random_seed=1, progressbar=False)
bg.diagnose(tree).ok

# %%
tree["posterior"]["mu"].mean(("chain", "draw")).to_pandas().round(1)

# %% [markdown]
# One kind is dull days with less ozone, the other bright, warm days with more. (Ozone is a logarithm here: 2.9 is 18
# parts per billion, 3.7 is 41.) Within both kinds there is more ozone on warm days and on days without wind. This is
# clearer on bright days:

# %%
corr = bg.add_correlations(tree)["posterior"]["corr"].mean(("chain", "draw"))
corr.sel(pair=["ozone, wind", "ozone, temperature"]).to_pandas().round(2)

# %% [markdown]
# ## What the incomplete days are worth
#
# Dropping incomplete rows leaves 111 days of 153. By what factor does this increase the standard deviations of the
# clusters' means?

# %%
complete = bg.fit(days, 2, missing="drop", random_seed=1, progressbar=False)
sd = {
    name: fit["posterior"]["mu"].std(("chain", "draw")).to_pandas() for name, fit in (("all", tree), ("complete", complete))
}
(sd["complete"] / sd["all"]).round(2)

# %% [markdown]
# They grow by up to a seventh, as if a quarter of the days had not been observed. Ozone itself gains little, because
# on most of the dropped days ozone is the missing value.
#
# ## The ozone of the other days
#
# `impute` gives the mean and standard deviation of each missing value, given the rest of its row and all other days.
# With `draws=` it returns complete data sets, for multiple imputation. The intervals below are quantiles of these
# draws, transformed back from the logarithm.

# %%
lost = np.isnan(days["ozone"].to_numpy())
imputed = bg.impute(tree, draws=2000, random_seed=1)
ozone = np.exp(imputed["draws"].sel(feature="ozone"))
low, middle, high = ozone.quantile([0.05, 0.5, 0.95], "draw").values
pd.DataFrame({"median": middle, "5 %": low, "95 %": high} | dict(air.items())).loc[lost].head(8).round(1)

# %%
fig, ax = plt.subplots(figsize=(9, 3.2), layout="constrained")
day = np.arange(1, len(air) + 1)
ax.plot(day[~lost], air["ozone"][~lost], ".", color="0.45", label="measured")
ax.errorbar(
    day[lost], middle[lost], [(middle - low)[lost], (high - middle)[lost]],
    fmt="o", markersize=3, linewidth=1, color="C0", label="imputed, with 90 % intervals",
)  # fmt: skip
ax.set(xlabel="day, from 1 May 1973", ylabel="ozone (parts per billion)", yscale="log")
ax.legend()
plt.show()

# %% [markdown]
# ## Is it true?
#
# Nobody knows the ozone of those days. But we can hide known values and impute them. We hide a quarter of the measured
# values, chosen at random. About 90 % of their 90 % intervals should contain the hidden value.

# %%
known = np.flatnonzero(~lost)
hidden = np.random.default_rng(7).choice(known, len(known) // 4, replace=False)
with_more_gaps = days.copy()
with_more_gaps.iloc[hidden, 0] = np.nan
again = bg.fit(bg.Observations(with_more_gaps, missing="at_random"), 2, random_seed=1, progressbar=False)
found = bg.impute(again, draws=2000, random_seed=1).sel(feature="ozone").isel(obs=hidden)
truth = days["ozone"].to_numpy()[hidden]
lower, upper = found["draws"].quantile([0.05, 0.95], "draw").values
inside = (lower < truth) & (truth < upper)
off = truth - found["mean"].values
print(f"{inside.sum()} of {len(hidden)} intervals hold what was hidden")
print(f"off by {np.sqrt(np.mean(off**2)):.2f} on average; the mean of all days would be off by {np.std(truth):.2f}")

# %% [markdown]
# The other values of a day reduce the error by a third, and the intervals describe honestly the error that is left.
#
# ## What was said above, checked

# %%
assert bg.diagnose(tree).ok
assert bg.diagnose(complete).converged
mu = tree["posterior"]["mu"].mean(("chain", "draw"))
assert (abs(np.exp(mu.sel(feature="ozone")) - [18, 41]) < 2).all()
assert (corr.sel(pair="ozone, wind") < 0).all()
assert (corr.sel(pair="ozone, temperature") > 0).all()
assert (abs(corr.sel(cluster=1)) > abs(corr.sel(cluster=0))).sel(pair=["ozone, wind", "ozone, temperature"]).all()
ratio = sd["complete"] / sd["all"]
assert complete["observed_data"].sizes["obs"] == 111
assert 1.1 < ratio.to_numpy().max() < 1.25
assert ratio["ozone"].mean() < ratio.mean().mean()
assert 24 <= inside.sum() <= 29
assert np.sqrt(np.mean(off**2)) < 0.75 * np.std(truth)
