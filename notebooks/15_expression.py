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
# # Expression: which of four hundred genes are switched?
#
# **Question.** The expression of 400 genes was measured in 100 samples. Which genes are on in some samples and off in
# others?
#
# **You will learn** how to screen many columns by EM, where that goes wrong, and how the evidence decides about the
# remaining columns.
#
# *Notebook 15 of 19. Before: [how many components](05_how_many_components.ipynb).*

# %%
import warnings

import numpy as np
import pandas as pd

import bayesgmm as bg

genes, switched = bg.datasets.expression(n_genes=400)
genes.shape, int(switched.sum())

# %% [markdown]
# The data are simulated, so the truth is known: 40 genes are switched. The analysis does not use it, except to judge
# the results.
#
# ## Screening by BIC
#
# A switched gene has two levels of expression. Fitting one and two components by EM takes milliseconds for each gene:

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about components that collapse onto two samples; see below
    one, two = (np.array([bg.fit_em(gene, k, n_init=3, random_seed=1).bic() for gene in genes]) for k in (1, 2))
candidates = np.flatnonzero(one > two)
len(candidates)

# %%
found = pd.Series(switched[candidates]).map({True: "switched", False: "not switched"}).value_counts()
found

# %% [markdown]
# BIC finds most switched genes, but it also calls a good number of other genes switched. A narrow component on two or
# three samples that happen to lie close together always raises the likelihood, and BIC rewards that.
#
# ## The evidence decides
#
# The evidence averages over all mixtures that are possible under the prior. Mixtures with a narrow component on three
# samples are a tiny part of these. We expect one gene in ten to be switched, so that is the prior probability.

# %%
options = {"method": "gibbs", "draws": 250, "tune": 200, "random_seed": 1, "progressbar": False}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of short runs
    evidence = np.array([[bg.log_evidence(bg.fit(genes[i], k, **options)).value for k in (1, 2)] for i in candidates])
log_odds = np.log(0.1 / 0.9) + evidence[:, 1] - evidence[:, 0]
probability = 1 / (1 + np.exp(-log_odds))
called = pd.Series(np.where(probability > 0.5, "called switched", "not called"), name="evidence")
table = pd.crosstab(pd.Series(switched[candidates], name="switched"), called)
table

# %% [markdown]
# The probabilities are calibrated: among genes with similar probabilities, about that share is switched:

# %%
bins = pd.cut(probability, [0, 0.1, 0.5, 0.9, 1])
calibration = pd.DataFrame({"probability": probability, "switched": switched[candidates]}).groupby(bins, observed=True)
calibration.agg(["mean", "count"]).round(2)

# %% [markdown]
# A gene and its fit:

# %%
surest = candidates[probability.argmax()]
tree = bg.fit(pd.Series(genes[surest], name=f"gene {surest}"), 2, random_seed=1, progressbar=False)
_ = bg.plots.plot_fit(tree)

# %% [markdown]
# ## The answer
#
# Screen by EM, and decide by the evidence. The switched genes that BIC misses have small steps: some three standard
# deviations of their noise. Their two levels overlap.
#
# ## What was said above, checked

# %%
right, false = table.loc[True, "called switched"], table.loc[False, "called switched"]
assert switched.sum() == 40
assert found["not switched"] >= 5
assert false < found["not switched"] / 2
assert right > 0.9 * found["switched"] - 3
low, high = probability < 0.1, probability > 0.9
assert switched[candidates][high].mean() > 0.85
assert switched[candidates][low].mean() < 0.3
