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
# # Which answers hang on the prior?
#
# **Question.** The velocities of 82 galaxies form three groups. Which statements about them come from the data, and
# which from the prior?
#
# **You will learn** to find the answers that depend on the prior, to give a prior for a single component, and to fix
# what is known.
#
# *Notebook 18 of 19. Before: [the galaxies](02_galaxies.ipynb), and [how many components](05_how_many_components.ipynb).*

# %%
import matplotlib.pyplot as plt
import numpy as np

import bayesgmm as bg

x = bg.datasets.galaxies()
tree = bg.fit(x, 3, random_seed=1, progressbar=False)

# %% [markdown]
# ## One fit, and a prior that counts a little more or less
#
# `prior_sensitivity` does not fit again. It asks how much an answer moves if the prior is raised to a power a little
# above or below one. It asks the same of the likelihood.

# %%
found = bg.prior_sensitivity(tree)
found

# %% [markdown]
# The widths of the two small groups depend on the prior: they hold seven and three galaxies. The large group and the
# density do not. Next to nothing is known about a spread from three numbers, so this is how it should be. But it should
# be said.
#
# ## Another prior, to see what that means
#
# The default learns from the data how wide clusters are. Here are two priors that say it beforehand: narrow clusters,
# with standard deviations of about half a unit (1 000 km/s), and wide ones of about two.

# %%
priors = {
    "learnt": bg.HierarchicalPrior(),
    "narrow": bg.ConjugatePrior(c0=3, C0=0.5),
    "wide": bg.ConjugatePrior(c0=3, C0=8),
}
trees = {name: bg.fit(x, 3, prior=each, random_seed=1, progressbar=False) for name, each in priors.items()}
fig, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained", sharex=True)
for j, ax in enumerate(axes):
    for name, each in trees.items():
        ax.hist(each["posterior"]["sigma"].values[..., j].ravel(), bins=np.linspace(0, 5, 80), density=True,
                histtype="step", label=name)  # fmt: skip
    ax.set(title=f"cluster {j}", xlabel="standard deviation", yticks=[])
_ = axes[0].legend(title="prior of the spread")

# %% [markdown]
# The density of new galaxies, which all three clusters make together, hardly differs:

# %%
grid = np.linspace(x.min() - 3, x.max() + 3, 300)
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for name, each in trees.items():
    density = bg.predictive_density(each, grid)
    ax.plot(grid, density.sel(statistic="mean"), label=name)
_ = ax.set(xlabel="velocity (1 000 km/s)", ylabel="posterior predictive density")
_ = ax.legend(title="prior of the spread")

# %% [markdown]
# ## The evidence depends on it by definition
#
# How probable are these data under each prior? The evidence averages the likelihood over the prior. So it does not ask
# whether the prior has influence, but which prior expected these data.

# %%
evidence = {name: bg.log_evidence(each, random_seed=1).value for name, each in trees.items()}
{name: round(each, 1) for name, each in evidence.items()}

# %% [markdown]
# ## What is known of one component
#
# Say that another survey has measured the near group: its mean is 9.7, known to 0.1. Such knowledge concerns one
# component. The hyperparameters then have a value for each component. Wide priors for the others say that nothing is
# known of them.

# %%
known = bg.HierarchicalPrior(b0=[9.7, 22, 22], B0=[0.01, 600, 600])
informed = bg.fit(x, 3, prior=known, random_seed=1, progressbar=False)
means = {name: each["posterior"]["mu"].values[..., 0] for name, each in {"before": tree, "informed": informed}.items()}
{name: (round(float(each.mean()), 2), round(float(each.std()), 2)) for name, each in means.items()}

# %% [markdown]
# The first cluster is now the one that the prior describes. The other two have the same prior, and are told apart by
# relabelling as usual.
#
# ## What is known exactly
#
# A fixed parameter is a constant. Here the near group has a known mean and spread, as a calibration peak would have. The
# weights and the other clusters are free (NaN).

# %%
nan = np.nan
peak = bg.fit(x, 3, fixed={"mu": [9.7, nan, nan], "sigma": [0.4, nan, nan]}, random_seed=1, progressbar=False)
bg.diagnose(peak)

# %% [markdown]
# Is the peak where we think it is? The evidence compares the mixture with this peak and the one that has to find it:

# %%
free = bg.log_evidence(tree, random_seed=1).value
at_peak = bg.log_evidence(peak, random_seed=1).value
round(at_peak - free, 1)

# %% [markdown]
# Fixing two parameters at values that agree with the data raises the evidence: nothing has to be spent on finding them.
# At a wrong value it would fall.

# %%
wrong = bg.fit(x, 3, fixed={"mu": [11.0, nan, nan], "sigma": [0.4, nan, nan]}, random_seed=1, progressbar=False)
at_wrong = bg.log_evidence(wrong, random_seed=1).value
round(at_wrong - free, 1)

# %% [markdown]
# ## What to report
#
# Say which answers depend on the prior, and show them under two of them. Leave alone the answers that do not.

# %%
assert not found.ok
assert {*found.table.index[:2]} == {"sigma[0]", "sigma[2]"}
assert means["informed"].std() < means["before"].std()
assert (peak["posterior"]["mu"].values[..., 0] == 9.7).all()
assert at_wrong < free < at_peak
