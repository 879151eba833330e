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
# # A histogram: one kind of crab or two?
#
# **Question.** W. F. R. Weldon measured a thousand shore crabs from Naples. The histogram of one ratio, the breadth of
# the forehead to the length of the body, was not symmetric. In 1894 Karl Pearson asked whether it mixed two kinds of
# crab. To answer, he invented the fitting of mixtures. Here is the histogram. Is it one kind or two?
#
# **You will learn** to fit bins as bins, and what a posterior adds to a point estimate. You also learn what two
# Gaussians prove and what they do not, what wide bins cost, and why the middles of bins are not values.
#
# *Notebook 9 of 19. Before: [the galaxies](02_galaxies.ipynb), and [errors of
# measurement](08_measurement_errors.ipynb).*

# %%
import warnings
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import skewnorm

import bayesgmm as bg

crabs = bg.datasets.crabs()
crabs.iloc[[0, 1, 2, -3, -2, -1]]

# %% [markdown]
# ## Bins as bins
#
# A crab in a bin lies anywhere between the bin's edges. `Observations.binned` takes counts and edges, as
# `numpy.histogram` returns them. In the likelihood, a bin's probability under the mixture replaces the density.

# %%
counts, edges = crabs["crabs"].to_numpy(), np.append(crabs["lower"], crabs["upper"].iloc[-1])
binned = bg.Observations.binned(counts, edges)
binned

# %%
fits = {k: bg.fit(binned, k, random_seed=1, progressbar=False) for k in (1, 2)}
[bg.diagnose(fit).ok for fit in fits.values()]

# %%
fig, axes = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
for ax, (k, fit) in zip(axes, fits.items(), strict=True):
    bg.plots.plot_fit(fit, ax=ax)
    ax.set(title=f"k = {k}", xlabel="forehead / body" if k == 2 else "")
plt.show()

# %% [markdown]
# The peak is to the right of the middle, and the histogram falls off more slowly to the left than to the right. One
# Gaussian cannot do that, two can.

# %%
comparison = bg.compare(binned, range(1, 4), method="nuts", random_seed=1, progressbar=False)
comparison

# %% [markdown]
# Prediction, evidence and BIC rule out one Gaussian. (ICL asks for clusters that do not overlap. It disagrees, and we
# return to that below.) Two are enough to predict. Three are not excluded: the evidence prefers two by about three to
# one.
#
# ## What the posterior adds
#
# A point estimate of two Gaussians, by Pearson's moments or by EM, is five numbers. How well are they known?

# %%
em = bg.fit_em(binned, 2, random_seed=1)
em.mixture

# %%
check = bg.check_against_em(fits[2])
check.table[["em", "mean", "lower", "upper"]].round(4)

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
posterior = fits[2]["posterior"]
share, means = posterior["w"].sel(cluster=0), posterior["mu"]
for ax, cluster, side in zip(axes, (0, 1), ("left", "right"), strict=True):
    ax.plot(means.sel(cluster=cluster).values.ravel(), share.values.ravel(), ".", markersize=1, alpha=0.4)
    ax.plot(em.mixture.means[cluster], em.mixture.weights[0], "x", color="C3", markersize=9, markeredgewidth=2, label="EM")
    ax.set_xlabel(f"mean of the {side} kind")
axes[0].set_ylabel("share of the left kind")
axes[0].legend()
plt.show()

# %% [markdown]
# The density is known well: its band in the first figure is narrow. The two Gaussians that make it up are not known
# well. With a probability of 95 % the left kind has between a fifth and three fifths of the crabs. The share and the
# means are also correlated: the more crabs the left kind has, the further right both means lie. Five numbers with one
# error each would not show that. To learn about a quantity that depends on several of them, compute it from the draws.
#
# ## Are there two kinds?
#
# Two Gaussians fit better than one. Two kinds of crab follow from that only if each kind is Gaussian. Is there a gap
# between the two, which gives the density two peaks?

# %%
x = np.linspace(edges[0], edges[-1], 500)
w, mu, sigma = (posterior[name].values[..., None] for name in ("w", "mu", "sigma"))
density = sum(w[:, :, j] / sigma[:, :, j] * np.exp(-0.5 * ((x - mu[:, :, j]) / sigma[:, :, j]) ** 2) for j in range(2))
rising = (np.diff(density) > 0).astype(int)
one_peak = np.mean((np.diff(rising) < 0).sum(axis=-1) == 1)
print(f"one peak in {one_peak:.1%} of the draws")

# %% [markdown]
# There is no gap. So one kind may be enough, if it can be skewed. The skew normal distribution has three parameters,
# where two Gaussians have five. We compute its likelihood for the same bins:


# %%
def unlikely(parameters):
    """Minus the log-likelihood of the bins."""
    place, log_scale, shape = parameters
    probabilities = np.diff(skewnorm.cdf(edges, shape, place, np.exp(log_scale)))
    return -counts @ np.log(np.maximum(probabilities, 1e-300))


skew = minimize(unlikely, [0.66, np.log(0.03), -2], method="Nelder-Mead", options={"maxiter": 5000, "maxfev": 5000})
one = bg.fit_em(binned, 1, random_seed=1)
rows = {
    "one Gaussian": (2, one.log_likelihood),
    "two Gaussians": (5, em.log_likelihood),
    "one skew normal": (3, -skew.fun),
}
table = pd.DataFrame(rows, index=["numbers", "log-likelihood"]).T
table["BIC"] = -2 * table["log-likelihood"] + table["numbers"] * np.log(counts.sum())
table.round(1)

# %% [markdown]
# The skew normal describes the crabs nearly as well with two parameters fewer, and BIC prefers it. So the histogram
# says that one *Gaussian* kind is not enough. It does not say whether there are two kinds or one skewed kind. To
# decide, we would have to know more about each crab.
#
# ## What wide bins cost
#
# We merge every four bins into one:


# %%
def wider(times):
    """Counts and edges after every ``times`` bins are merged. Empty bins are added at the end; no crab lies there."""
    padded = np.pad(counts, (0, -len(counts) % times)).reshape(-1, times)
    return padded.sum(axis=1), edges[0] + 0.004 * times * np.arange(len(padded) + 1)


def deviations(fits):
    """The posterior's standard deviations."""
    return pd.concat({k: bg.check_against_em(fit).table["sd"] for k, fit in fits.items()}, names=["k", ""])


coarse = {k: bg.fit(bg.Observations.binned(*wider(4)), k, random_seed=1, progressbar=False) for k in (1, 2)}
sd = pd.DataFrame({"29 bins": deviations(fits), "8 bins": deviations(coarse)})
sd.assign(ratio=sd["8 bins"] / sd["29 bins"]).round({"29 bins": 5, "8 bins": 5, "ratio": 2})

# %%
bayes_factor = {
    name: np.subtract(*(bg.log_evidence(some[k], random_seed=1).value for k in (2, 1)))
    for name, some in (("29 bins", fits), ("8 bins", coarse))
}
print({name: f"{value:.1f}" for name, value in bayes_factor.items()})

# %% [markdown]
# With one Gaussian, wide bins cost hardly anything. With two, the left one suffers, because only the finer shape of
# the histogram separates it from the right one. The standard deviations of its mean and its sigma grow by half. The
# log Bayes factor for two Gaussians against one falls from 20 to 15, and still leaves no doubt. Nothing becomes
# wrong: less is known, and the posterior says so.
#
# ## Middles are not values
#
# It is tempting to replace each crab by the middle of its bin and to fit these values. The standard deviation is then
# too large, because rounding adds an error of its own. It increases the variance by about h²/12, where h is the width
# of the bins (Sheppard's correction). Here is one Gaussian with wider and wider bins:

# %%
rows = {}
for times in (1, 2, 4, 8):
    many, ends = wider(times)
    by_bins = bg.fit(bg.Observations.binned(many, ends), 1, random_seed=1, progressbar=False)
    by_middles = bg.fit((ends[1:] + ends[:-1]) / 2, 1, sample_weight=many, random_seed=1, progressbar=False)
    bins, middles = (fit["posterior"]["sigma"] for fit in (by_bins, by_middles))
    sheppard = np.sqrt(bins.mean().item() ** 2 + (0.004 * times) ** 2 / 12)
    rows[len(many)] = bins.mean().item(), bins.std().item(), middles.mean().item(), middles.std().item(), sheppard
names = ["by bins", "sd", "by middles", "sd of it", "as Sheppard says"]
by_width = pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis("bins")
by_width.round(5)

# %% [markdown]
# The fit by bins hardly changes, even with four bins. The fit by middles becomes wrong, and nothing shows it: its
# posterior is as narrow as before.
#
# With two Gaussians, middles are worse. Many crabs have the same value, and a component can shrink onto it without
# limit. There is no proper posterior then. If we say that values are exact, `fit` warns:

# %%
many, ends = wider(4)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    options = {"sample_weight": many, "method": "gibbs", "draws": 500, "random_seed": 1, "progressbar": False}
    bg.fit((ends[1:] + ends[:-1]) / 2, 2, rounding=None, **options)
print(fill(str(caught[0].message), 100))

# %% [markdown]
# If we say nothing, `fit` sees that the values lie on a grid. It replaces each value by its bin, and says so. That is
# the histogram again:

# %%
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    seen = bg.fit((ends[1:] + ends[:-1]) / 2, 2, **options)
print(fill(str(said[0].message), 100))
of_seen = {
    name: fit["posterior"]["mu"].mean(("chain", "draw")).values for name, fit in (("seen", seen), ("bins", coarse[2]))
}
print({name: each.round(4) for name, each in of_seen.items()})

# %% [markdown]
# ## What was said above, checked

# %%
assert all(bg.diagnose(fit).ok for fit in (*fits.values(), *coarse.values()))
by_k = comparison.table.set_index("k")
assert -by_k.loc[1, "elpd_diff"] > 3 * by_k.loc[1, "dse"]
assert by_k.loc[2, "log_evidence"] - by_k.loc[1, "log_evidence"] > 15
assert comparison.best["bic"] == 2
assert comparison.best["icl"] == 1
assert -by_k.loc[3, "elpd_diff"] < 1
assert 2 < by_k.loc[2, "p_k"] / by_k.loc[3, "p_k"] < 5
assert check.ok
low, high = check.table.loc["w[0]", ["lower", "upper"]]
assert abs(low - 0.19) < 0.04
assert abs(high - 0.63) < 0.04
for cluster in (0, 1):
    assert np.corrcoef(share.values.ravel(), means.sel(cluster=cluster).values.ravel())[0, 1] > 0.7
assert one_peak > 0.99
assert skew.success
assert 0 < em.log_likelihood + skew.fun < 2
assert table["BIC"].idxmin() == "one skew normal"
ratio = sd["8 bins"] / sd["29 bins"]
assert (ratio[1] < 1.12).all()
assert (abs(ratio[2][["mu[0]", "sigma[0]"]] - 1.55) < 0.2).all()
assert (ratio[2][["mu[1]", "sigma[1]"]] < 1.3).all()
assert abs(bayes_factor["29 bins"] - 20) < 1
assert abs(bayes_factor["8 bins"] - 15) < 1
assert np.ptp(by_width["by bins"]) < by_width["sd"].min()
assert (abs(by_width["by middles"] - by_width["as Sheppard says"]) < 1e-4).all()
assert by_width.loc[4, "by middles"] - by_width.loc[29, "by bins"] > 4 * by_width.loc[4, "sd of it"]
assert caught[0].category is bg.exceptions.ImproperPosteriorWarning
assert said[0].category is bg.exceptions.DataWarning
np.testing.assert_allclose(of_seen["seen"], of_seen["bins"], atol=0.1 * coarse[2]["posterior"]["mu"].std().item())
