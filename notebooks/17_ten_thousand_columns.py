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
# # Ten thousand columns: a posterior for each
#
# **Question.** In a genetic screen every guide is tested in some two hundred cells. In which share of its cells does a
# guide work, and by how much does it lower the expression of its gene?
#
# **You will learn** how to fit thousands of small data sets in one call, how to read the table of their answers, and
# how to return from a row of the table to its draws.
#
# *Notebook 17 of 19. Before: [the galaxies](02_galaxies.ipynb), a single fit. See also
# [expression](15_expression.ipynb), which chooses between one and two components.*

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesgmm as bg

# %% [markdown]
# The screen is simulated, so the truth is known. A guide works in 30 to 70 % of its cells. There it lowers the
# expression, on a logarithmic scale, by 3 to 6. Two guides went wrong: one was found in a single cell, and the counter
# of another one was stuck.

# %%
rng = np.random.default_rng(1)
guides = [f"guide {i}" for i in range(100)]
truth = pd.DataFrame({"share": rng.uniform(0.3, 0.7, 100), "effect": rng.uniform(3, 6, 100)}, index=guides)
cells = pd.DataFrame({"guide": np.repeat(guides, 200)})
works = rng.random(len(cells)) < truth["share"].to_numpy().repeat(200)
cells["expression"] = 8 - truth["effect"].to_numpy().repeat(200) * works + rng.standard_normal(len(cells))
wrong = pd.DataFrame({"guide": ["lost"] + ["stuck"] * 50, "expression": [7.1] + [0.0] * 50})
cells = pd.concat([cells, wrong], ignore_index=True)
cells.sample(5, random_state=1)

# %% [markdown]
# ## One call
#
# Two components for each guide: cells in which it works, and cells in which it does not. The file keeps what is
# finished. If the run is interrupted, the same call goes on.

# %%
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "fits.parquet"
fits = bg.fit_many(cells, 2, by="guide", columns="expression", random_seed=1, path=path, progressbar=False)
fits

# %% [markdown]
# The summary counts the verdicts, and names the guides that could not be fitted. They did not stop the others:

# %%
for guide, problem in fits.failed.items():
    print(f"{guide}: {problem}")

# %% [markdown]
# A verdict is "ok", or it names what `bg.diagnose` found. Parameters of single clusters mean something where the
# verdict is "ok". `method` says whose draws were kept: those of Laplace's approximation with importance weights, or
# those of Gibbs sampling where the weights were poor.

# %%
good = fits.table[fits.table["verdict"] == "ok"]
pd.crosstab(fits.table["method"].replace("", "none"), fits.table["verdict"])

# %% [markdown]
# ## The answers
#
# The component with the lower mean holds the cells in which the guide works. `w[0]` is its share. The table has its
# posterior mean and its 5 % and 95 % quantiles.

# %%
good[["w[0]", "w[0] 5%", "w[0] 95%", "mu[0]", "mu[1]"]].head().round(2)

# %%
known = truth.loc[good.index]
fig, ax = plt.subplots(figsize=(5, 4.5), layout="constrained")
below, above = good["w[0]"] - good["w[0] 5%"], good["w[0] 95%"] - good["w[0]"]
ax.errorbar(known["share"], good["w[0]"], [below, above], fmt=".", lw=0.8)
ax.axline((0.5, 0.5), slope=1, color="0.5", lw=1)
_ = ax.set(xlabel="true share of cells in which the guide works", ylabel="posterior mean and 90 % interval")
# %% [markdown]
# Are the intervals right? A 90 % interval should miss the truth for about one guide in ten. So among a hundred guides
# some ten intervals are expected to be wrong, and nobody knows which. Look for large effects in such a table, and not
# for single intervals.

# %%
inside = (good["w[0] 5%"] <= known["share"]) & (known["share"] <= good["w[0] 95%"])
covered = float(inside.mean())
round(covered, 2)

# %% [markdown]
# ## Back from a row to its draws
#
# A row has the seed of its fit. With it `fit` makes the same draws again, as a tree, so that every other analysis is at
# hand. Here it is the guide with the smallest effect:

# %%
effect = (good["mu[1]"] - good["mu[0]"]).rename("effect")
row = good.loc[effect.idxmin()]
x = cells.loc[cells["guide"] == row.name, "expression"].to_numpy()
given = {"tune": int(row["tune"]), "thin": int(row["thin"])} if row["method"] == "gibbs" else {}
tree = bg.fit(x, 2, method=row["method"], draws=500, n_init=4, random_seed=int(row["seed"]), progressbar=False, **given)
same = np.isclose(float(tree["posterior"]["mu"][..., 0].mean()), row["mu[0]"], rtol=1e-10)
row.name, bool(same)

# %%
_ = bg.plots.plot_fit(tree)

# %% [markdown]
# ## Going on after an interruption
#
# The file holds the finished fits. The same call reads them, and fits nothing again. Another setting is refused:

# %%
again = bg.fit_many(cells, 2, by="guide", columns="expression", path=path, progressbar=False)
try:
    bg.fit_many(cells, 3, by="guide", columns="expression", path=path, progressbar=False)
    refusal = ""
except ValueError as error:
    refusal = str(error).replace(str(path), path.name)
print(refusal)

# %% [markdown]
# ## How long do ten thousand take?
#
# A fit takes one or two tenths of a second of one core. It depends on nothing but the seed, its key and its data. So fits
# run in several processes, or on the workers of a Dask client (`workers=client`), and the table is the same to the last
# bit. `benchmarks/many_fits.py` measures ten thousand columns of two hundred values.

# %%
assert len(fits) == 102
assert sorted(fits.failed.index) == ["lost", "stuck"]
assert len(good) >= 90
assert 0.75 < covered <= 1
assert same
pd.testing.assert_frame_equal(again.table, fits.table)
assert "got k = 2 in fits.parquet and 3 now" in refusal
folder.cleanup()
