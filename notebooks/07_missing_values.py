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
# **Question.** In the summer of 1973 New York's air was watched on 153 days. Ozone is missing on 37 of them, radiation on 7.
# Which kinds of days were there, and what was the ozone on the days when nobody measured it?
#
# **You will learn** to fit rows with gaps as they are, what is gained over leaving them out, to ask for the missing values
# with their uncertainty, and to check such answers against values that you hid yourself.
#
# *Notebook 7 of 15. Before: [Old Faithful](03_old_faithful.ipynb), for several features.*

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesgmm as bg

air = bg.datasets.air_quality()
air.isna().sum()

# %% [markdown]
# All four columns are rounded, which makes ties, onto which a component could shrink: `jitter` spreads the values again over
# what they were rounded from, and leaves gaps as they are. Ozone is skew, as concentrations are; its logarithm is not.

# %%
days = bg.jitter(air, random_seed=1)
days["ozone"] = np.log(days["ozone"])
seen = bg.Observations(days, missing="at_random")
seen

# %% [markdown]
# `missing="at_random"` is a statement: whether a value is missing does not depend on what it would have been, *given what is
# known of the day*. A monitor that stands still for repairs is fine, even if repairs are made in June. A monitor that fails
# when there is much ozone is not, unless radiation, wind and temperature tell such days.
#
# ## Two kinds of days
#
# Every function takes `seen` as it would take a table. A day counts with what is known of it.

# %%
tree = bg.fit(seen, 2, random_seed=1, progressbar=False)
bg.diagnose(tree).ok

# %%
tree["posterior"]["mu"].mean(("chain", "draw")).to_pandas().round(1)

# %% [markdown]
# Dull days with less ozone, and bright, warm ones with more. (Ozone is a logarithm here: 2.9 are 18 parts per billion, 3.7
# are 41.) Within both kinds warm days and days without wind have more of it, more clearly so on bright days:

# %%
corr = bg.add_correlations(tree)["posterior"]["corr"].mean(("chain", "draw"))
corr.sel(pair=["ozone, wind", "ozone, temperature"]).to_pandas().round(2)

# %% [markdown]
# ## What the incomplete days are worth
#
# Dropping incomplete rows leaves 111 days of 153. By how many times are the standard deviations of the clusters' means
# larger then?

# %%
complete = bg.fit(days, 2, missing="drop", random_seed=1, progressbar=False)
sd = {
    name: fit["posterior"]["mu"].std(("chain", "draw")).to_pandas() for name, fit in (("all", tree), ("complete", complete))
}
(sd["complete"] / sd["all"]).round(2)

# %% [markdown]
# By up to a sixth, as if a quarter of the days had been missed. Ozone itself gains least: on most days that are dropped it
# is what is missing.
#
# ## The ozone of the other days
#
# `impute` gives, for each entry that is missing, mean and standard deviation of its distribution given the rest of its row
# and all other days; with `draws=`, whole data sets for whoever wants to go on with each of them (multiple imputation).
# Intervals are those of the draws, brought back from the logarithm.

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
# Nobody knows the ozone of those days. But we can hide values that are known, and ask for them: every fourth measured one,
# in an order drawn at random. Of their 90 % intervals about 90 % should hold what was hidden.

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
# The rest of a day takes a third off the error, and the intervals say honestly what is left of it.
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
