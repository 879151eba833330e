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
# # Predicting one feature from another
#
# **Question.** How heavy is a penguin whose flippers and bill were measured, and how sure can we be?
#
# **You will learn** to predict features from others by a mixture, to tell the uncertainty of the curve from the spread of
# the animals, and to predict when a measurement is missing.
#
# *Notebook 19 of 19. Before: [penguins](11_penguins.ipynb), and [Old Faithful](03_old_faithful.ipynb) for one feature given
# another.*

# %%
import matplotlib.pyplot as plt
import numpy as np

import bayesgmm as bg

features = ["flipper_length", "bill_depth", "body_mass"]
rows = bg.datasets.penguins()[features].dropna().astype(float)
rng = np.random.default_rng(1)
test = rng.random(len(rows)) < 0.3
train, held_out = rows[~test], rows[test]
steps = [1, 0.1, 25]  # to which the values were rounded, in mm and g
tree = bg.fit(train, 2, rounding=steps, random_seed=1, progressbar=False)
bg.diagnose(tree)

# %% [markdown]
# ## One feature given another
#
# A mixture is a model of all features together. Given some of them, the others are a mixture again: its weights say which
# cluster the known values come from. Light penguins have deep bills, heavy ones flat bills, and within each group a deeper
# bill goes with a heavier animal. A straight line would get the sign wrong.

# %%
_ = bg.plots.plot_regression(tree, "body_mass", "bill_depth")

# %% [markdown]
# The inner band is what is not known about the curve. The outer band holds nine of ten animals. In the middle, where the
# groups meet, two masses are likely and their mean is not:

# %%
_ = bg.plots.plot_conditional(tree, {"bill_depth": 16.6}, of="body_mass")

# %% [markdown]
# ## Are the intervals right for animals that were not used?

# %%
known = held_out[["flipper_length", "bill_depth"]]
predicted = bg.predict(tree, known, "body_mass", probabilities=[0.05, 0.5, 0.95])
lower, median, upper = (predicted["quantile"].sel(probability=p).values.ravel() for p in (0.05, 0.5, 0.95))
mass = held_out["body_mass"].to_numpy()
covered = float(((lower <= mass) & (mass <= upper)).mean())
error = float(np.sqrt(np.mean((predicted["mean"].values.ravel() - mass) ** 2)))
round(covered, 2), round(error)

# %%
fig, ax = plt.subplots(figsize=(5, 4.5), layout="constrained")
ax.errorbar(mass, median, [median - lower, upper - median], fmt=".", lw=0.6)
ax.axline((4000, 4000), slope=1, color="0.5", lw=1)
_ = ax.set(xlabel="mass (g)", ylabel="median and 90 % interval (g)")

# %% [markdown]
# Compare with least squares on the same two features, and with the mean of all animals:

# %%
design = np.column_stack([np.ones(len(train)), train[["flipper_length", "bill_depth"]]])
coefficients, *_ = np.linalg.lstsq(design, train["body_mass"], rcond=None)
line = np.column_stack([np.ones(len(known)), known]) @ coefficients
by_line = float(np.sqrt(np.mean((line - mass) ** 2)))
by_mean = float(np.sqrt(np.mean((train["body_mass"].mean() - mass) ** 2)))
{"mixture": round(error), "line": round(by_line), "mean": round(by_mean)}

# %% [markdown]
# The mixture's errors are smaller, because the groups have lines of their own. And nobody had to choose beforehand what
# depends on what: the same fit answers every other question, for example the flippers given the mass.
#
# ## A missing measurement
#
# NaN in a row is a value that is not known. The prediction then rests on the others, and its interval is wider:

# %%
some = known.iloc[:5].copy()
some["flipper_length"] = np.nan
sd = bg.predict(tree, some, "body_mass")["sd"].values.ravel(), predicted["sd"].values.ravel()[:5]
np.round(sd[0] / sd[1], 2)

# %% [markdown]
# ## In a pipeline of scikit-learn

# %%
regressor = bg.BayesianGMMRegressor(2, rounding=steps, random_state=1)
regressor.fit(train[["flipper_length", "bill_depth"]], train["body_mass"])
score = regressor.score(known, mass)
round(score, 2)

# %%
assert 0.8 < covered < 1
assert error < by_line < by_mean
assert (sd[0] > 0.9 * sd[1]).all()
assert score > 0.6
