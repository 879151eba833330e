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
# # Errors of measurement: how many kinds of neutron stars are there?
#
# **Question.** The masses of 54 neutron stars have been measured, some to four digits, some very poorly. How many
# kinds of them are there, once the measurement errors are removed?
#
# **You will learn** to fit values with errors, and what goes wrong if the errors are ignored. You also learn to get
# from the density of values to that of measurements, and to estimate the value behind a bad measurement.
#
# *Notebook 8 of 19. Before: [the galaxies](02_galaxies.ipynb). Next: [a histogram](09_histogram.ipynb), where only
# bins are known.*

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesgmm as bg

stars = bg.datasets.neutron_stars()
mass, error = stars["mass"], stars["error"]  # in solar masses
stars.groupby("companion")[["mass", "error"]].agg(["count", "median"])

# %%
fig, ax = plt.subplots(figsize=(9, 3.2), layout="constrained")
place = mass.rank(method="first")
for companion, some in stars.groupby("companion"):
    ax.errorbar(place[some.index], some["mass"], some["error"], fmt=".", linewidth=1, label=companion)
ax.set(xlabel="stars, from the smallest measured mass to the largest", ylabel="mass (suns)")
ax.legend(title="companion", loc="upper left")
plt.show()

# %% [markdown]
# The smallest and the largest masses are among those with large errors. How much of the spread comes from the stars,
# and how much from the errors?
#
# ## If the errors are ignored

# %%
ignored = bg.fit(mass, 2, random_seed=1, progressbar=False)
em = {"ignored": bg.fit_em(mass, 2, random_seed=1).mixture}
em["ignored"]

# %% [markdown]
# EM treats the measurements as exact. It assigns half of all stars to a broad kind, with mean 1.64 and standard
# deviation 0.32. This kind holds the heavy stars, and whatever was measured badly.
#
# ## Values with errors
#
# `error=` gives the standard deviation of each star's error. The mixture then describes the masses themselves, without
# errors.

# %%
measured = bg.Observations(mass, error=error)
em["known"] = bg.fit_em(measured, 2, random_seed=1).mixture
em["known"]

# %%
tree = bg.fit(measured, 2, random_seed=1, progressbar=False)
bg.diagnose(tree).ok

# %%
means = {
    name: fit["posterior"].to_dataset()[["w", "mu", "sigma"]].mean(("chain", "draw")).to_dataframe()
    for name, fit in (("ignored", ignored), ("known", tree))
}
pd.concat(means, names=["errors"]).round(2)

# %% [markdown]
# Three of four stars are near 1.35, and one of four is near 1.84. Both kinds are narrow: the errors made them look
# broad. The second kind has few stars, so its standard deviation is uncertain. The posterior takes that into account:
# its estimate is larger than EM's.

# %%
grid = np.linspace(0.8, 2.5, 400)
fig, ax = plt.subplots(figsize=(9, 3.2), layout="constrained")
for label, colour, fit in (("errors ignored", "C1", ignored), ("errors known", "C0", tree)):
    density = bg.predictive_density(fit, grid)
    mean, lower, upper = (density.sel(statistic=name) for name in ("mean", "lower", "upper"))
    ax.plot(grid, mean, color=colour, label=label)
    ax.fill_between(grid, lower, upper, color=colour, alpha=0.2, linewidth=0)
ax.plot(mass, np.zeros(len(mass)), "|", color="0.3", clip_on=False, label="masses as measured")
ax.set(xlabel="mass (suns)", ylabel="density, with 90 % bands", xlim=(0.8, 2.5), ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# ## How many kinds?

# %%
comparison = bg.compare(measured, range(1, 5), method="nuts", random_seed=1, progressbar=False)
comparison

# %% [markdown]
# One kind is ruled out. It predicts worse by more than two standard errors, and its probability is about one in a
# thousand. Two are enough to predict a left-out star. Whether there are exactly two is not known: three are about half
# as probable as two, and four are possible. Such odds also depend on the prior: see [how many
# components](05_how_many_components.ipynb).
#
# A component is not always a kind, either: one skewed kind may also need two Gaussians. A gap would speak for two
# kinds. In how many of the draws does the density have two peaks, with fewer stars between them?


# %%
def peaks(fit):
    """The number of peaks in each draw's density."""
    x = np.linspace(0.5, 3, 1001)
    w, mu, sigma = (fit["posterior"][name].values[..., None] for name in ("w", "mu", "sigma"))
    density = sum(w[:, :, j] / sigma[:, :, j] * np.exp(-0.5 * ((x - mu[:, :, j]) / sigma[:, :, j]) ** 2) for j in range(2))
    rising = (np.diff(density) > 0).astype(int)
    return (np.diff(rising) < 0).sum(axis=-1)


two_peaks = {name: np.mean(peaks(fit) == 2) for name, fit in (("ignored", ignored), ("known", tree))}
print(f"two peaks with a probability of {two_peaks['known']:.0%}; if errors are ignored, {two_peaks['ignored']:.0%}")

# %% [markdown]
# ## From values to measurements
#
# Errors make a density wider. `predictive_density(..., observed=)` gives the density of measurements with a given
# error. Here we use 0.225, the median error of the stars in X-ray binaries.

# %%
typical = error[stars["companion"] == "X-ray binary"].median()
behind = bg.predictive_density(tree, grid).sel(statistic="mean")
seen = bg.predictive_density(tree, grid, observed=typical).sel(statistic="mean")
fig, ax = plt.subplots(figsize=(9, 3.2), layout="constrained")
ax.plot(grid, behind, label="masses")
ax.plot(grid, seen, "--", label=f"measurements with an error of {typical:.3f}")
ax.set(xlabel="mass (suns)", ylabel="posterior mean density", xlim=(0.8, 2.5), ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# The gap is gone. However many stars were measured with that error, their histogram would have one peak. We know the
# two kinds from the stars that were measured well.
#
# ## The mass behind a bad measurement
#
# `impute` gives the mean and standard deviation of each star's true mass, given its measurement and all other stars.
# `responsibilities` gives the probability that it is of the heavier kind. These are the ten stars with the largest
# errors:

# %%
imputed = bg.impute(tree, draws=2000, random_seed=1)
heavier = bg.responsibilities(tree)["mean"].sel(cluster=1).values
table = stars.assign(mean=imputed["mean"].values, sd=imputed["sd"].values, heavier=heavier)
table.sort_values("error", ascending=False).head(10).round(2)

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for ax, value, width, title in zip(
    axes, (mass, table["mean"]), (error, table["sd"]), ("as measured", "imputed"), strict=True
):
    ax.errorbar(place, value, width, fmt="none", linewidth=1, ecolor="0.7")
    points = ax.scatter(place, value, c=heavier, s=14, cmap="viridis", vmin=0, vmax=1, zorder=3)
    ax.set(title=title, xlabel="stars, as above")
axes[0].set_ylabel("mass (suns)")
fig.colorbar(points, ax=axes, label="probability of the heavier kind")
plt.show()

# %% [markdown]
# The worse a measurement, the further its star is shrunk towards the others. The one measured as 2.3 with an error of
# 0.7 may be of either kind. The two below 1.1 are most probably of the lighter kind, near 1.3. Well-measured stars
# stay where they were.
#
# For each type of companion, how many stars are expected to be of the heavier kind?

# %%
table.groupby("companion")["heavier"].agg(["count", "sum"]).round(1)

# %% [markdown]
# Beside another neutron star, hardly any are. Beside a white dwarf or in an X-ray binary, about three of ten are.
#
# ## Is it true?
#
# Nobody knows the mass behind a bad measurement. But we can turn good measurements into bad ones, by adding errors of
# 0.3, a hundred times for each star. The star itself is left out of the fit. (A third of these stars are left out at a
# time.)

# %%
rng = np.random.default_rng(7)
good = rng.permutation(np.flatnonzero(error < 0.1))
parts = []
for part in np.array_split(good, 3):
    others = np.delete(np.arange(len(stars)), part)
    fit = bg.fit(bg.Observations(mass[others], error=error[others]), 2, target_accept=0.99, random_seed=1, progressbar=False)
    truth = np.repeat(mass[part], 100)
    bad = truth + rng.normal(0, 0.3, len(truth))
    found = bg.impute(fit, bg.Observations(bad, error=np.full(len(bad), 0.3)), draws=2000, random_seed=1)
    lower, upper = found["draws"].quantile([0.05, 0.95], "draw").values
    inside = (lower < truth) & (truth < upper)
    parts.append(pd.DataFrame({"truth": truth, "bad": bad, "mean": found["mean"].values, "inside": inside}))
again = pd.concat(parts)
off = {name: np.sqrt(np.mean((again[name] - again["truth"]) ** 2)) for name in ("bad", "mean")}
of_star = again.groupby("truth")["inside"].mean()
print(f"{again['inside'].mean():.0%} of the 90 % intervals hold the mass")
print(f"off by {off['mean']:.2f} on average; the measurements are off by {off['bad']:.2f}")

# %% [markdown]
# About as many intervals contain the truth as should. The errors of the estimates are little more than half as large
# as those of the bad measurements. Both hold on average over the stars. The stars at the two ends are shrunk towards
# the others, too, and their intervals miss the truth more often:

# %%
of_star.iloc[[0, 1, 2, -3, -2, -1]]

# %% [markdown]
# This analysis has limits. It takes errors as normal and independent, and the table contains only stars whose
# published errors are symmetric. Nor were the weighed stars chosen at random: the shares of the two kinds hold for
# these stars only.
#
# ## What was said above, checked

# %%
assert error[mass.nsmallest(2).index].min() > 0.15
assert error[mass.idxmax()] == error.max() == 0.7
assert abs(em["ignored"].weights[1] - 0.52) < 0.02
assert abs(em["ignored"].sigma[1] - 0.32) < 0.01
assert abs(em["ignored"].means[1] - 1.64) < 0.02
assert bg.diagnose(tree).ok
assert bg.diagnose(ignored).converged
known = means["known"]
assert (abs(known["mu"] - [1.35, 1.84]) < 0.03).all()
assert abs(known["w"][1] - 0.24) < 0.04
assert (known["sigma"] < [0.8 * means["ignored"]["sigma"][0], 0.7 * means["ignored"]["sigma"][1]]).all()
assert known["sigma"][1] > 1.2 * em["known"].sigma[1]
by_k = comparison.table.set_index("k")
assert by_k["converged"].all()
assert -by_k.loc[1, "elpd_diff"] > 2 * by_k.loc[1, "dse"]
assert by_k.loc[1, "p_k"] < 0.003
assert (abs(by_k.loc[2:, "elpd_loo"] - by_k.loc[2, "elpd_loo"]) < 1.5).all()
assert comparison.best["log_evidence"] == 2
assert 0.25 < by_k.loc[3, "p_k"] / by_k.loc[2, "p_k"] < 0.75
assert by_k.loc[4, "p_k"] > 0.05
assert 0.9 < two_peaks["known"] < 0.99
assert 0.5 < two_peaks["ignored"] < 0.85
assert abs(typical - 0.225) < 1e-9
rises = {name: np.diff(density.values) > 0 for name, density in (("behind", behind), ("seen", seen))}
assert [np.sum(up[:-1] & ~up[1:]) for up in rises.values()] == [2, 1]
of = table.set_index("star")
assert 0.2 < of.loc["J1600-3053", "heavier"] < 0.6
assert (table.loc[mass < 1.1, "heavier"] < 0.15).all()
assert (abs(table.loc[mass < 1.1, "mean"] - 1.3) < 0.1).all()
assert (abs(table["mean"] - mass)[error < 0.01] < 0.001).all()
by_companion = table.groupby("companion")["heavier"].mean()
assert by_companion["neutron star"] < 0.06
assert (abs(by_companion[["white dwarf", "X-ray binary"]] - 0.3) < 0.08).all()
assert 0.8 < again["inside"].mean() < 0.95
assert 0.5 < off["mean"] / off["bad"] < 0.65
assert of_star.iloc[[0, -1]].max() < 0.7
