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
# # Larger than memory: ten million rows, read in passes
#
# **Question.** A table has more rows than this process may hold in memory. One row in a hundred is of a kind that
# matters. Can we still have the posterior, and know that it is right?
#
# **You will learn** to scan Parquet files and to fit what is in them. You also learn what certifies draws that come
# from no Markov chain, and what this certificate cannot say. At the end you compare numbers of components, and write
# every row's cluster to a file.
#
# *Notebook 10 of 19. Before: [Old Faithful](03_old_faithful.ipynb), for several features, and [how many
# components](05_how_many_components.ipynb).*

# %%
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import bayesgmm as bg

# %% [markdown]
# ## The table
#
# Pumps report their vibration (in decibels) and their temperature (in degrees Celsius). A pump rests, works, or is
# about to fail; the table does not say which. We simulate the table, so the truth is known: 59 % of the rows are from
# pumps at rest, 40 % from pumps at work, and 1 % from pumps that fail.

# %%
columns = ["vibration", "temperature"]
sd, correlation = np.array([[2.0, 3.0], [2.5, 4.0], [2.5, 4.5]]), np.array([0.2, 0.5, 0.6])
covariances = sd[:, :, None] * sd[:, None, :] * np.where(np.eye(2, dtype=bool), 1, correlation[:, None, None])
truth = bg.Mixture([0.59, 0.40, 0.01], [[62.0, 41.0], [70.0, 58.0], [80.0, 78.0]], covariances)
truth

# %% [markdown]
# There are ten files, one for each day, with a million rows each. They are in a temporary folder, which is removed at
# the end.

# %%
pa.set_memory_pool(pa.system_memory_pool())  # pyarrow's own pool reserves memory in advance, and hides what is used
rng = np.random.default_rng(10)
temporary = TemporaryDirectory()
days, few = Path(temporary.name, "days"), Path(temporary.name, "few.parquet")
days.mkdir()


def rows_of(n):
    """Rows as the pumps send them."""
    x, _ = truth.sample(n, rng)
    pump, second = rng.integers(0, 500, n, dtype=np.int16), np.sort(rng.integers(0, 86_400, n, dtype=np.int32))
    others = {name: rng.normal(size=n) for name in ("voltage", "flow")}  # not used here
    return pa.table({"pump": pump, "second": second, **others, **dict(zip(columns, x.T.copy(), strict=True))})


for day in range(1, 11):
    pq.write_table(rows_of(1_000_000), days / f"day_{day}.parquet", row_group_size=250_000, use_dictionary=False)
pq.write_table(rows_of(40_000), few, row_group_size=20_000)
print({file.name: f"{file.stat().st_size / 1e6:.0f} MB" for file in sorted(days.iterdir())[:2]})

# %% [markdown]
# ## A limit on memory
#
# The table has 380 MB. The two columns that we fit have 160 MB. Turning them into an array takes three times as much,
# some 500 MB: what pyarrow reads, a copy in NumPy, and the array. We allow this process 350 MB more than it has now.
# (Linux can limit the memory that a process writes to. The limit is so low only to keep this notebook short. A fit in
# passes takes some 200 MB on two cores. That depends on the number of cores, not on the number of rows.) First, a small
# file goes through all steps, which loads and compiles everything.

# %%
pq.read_table(few, columns=columns)
bg.fit(bg.scan_parquet(few, columns), 3, random_seed=1, progressbar=False)


def in_use():
    """Bytes of memory that the process may write to."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmData"].split()[0]) * 1024


soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
resource.setrlimit(resource.RLIMIT_DATA, (in_use() + 350_000_000, hard))

# %% [markdown]
# ## From files to a posterior
#
# `scan_parquet` reads only the files' metadata. The scan takes the place of an array. EM reads the files in passes,
# and so does the computation of the posterior.

# %%
scan = bg.scan_parquet(days, columns)
scan

# %%
begin = time.perf_counter()
tree = bg.fit(scan, 3, random_seed=1, progressbar=False)
seconds = time.perf_counter() - begin
print(f"{seconds:.0f} seconds, by {tree.attrs['method']}")
print({name: round(tree.attrs[name], 3) for name in ("pareto_k", "importance_efficiency")})

# %% [markdown]
# Under the same limit, the two columns do not fit into memory as an array:

# %%
refusal = None
try:
    read = pq.read_table(days, columns=columns)
    x = np.column_stack([read[name] for name in columns])
except MemoryError as error:  # pyarrow's error is a MemoryError, too
    refusal = type(error)
print(refusal.__name__)

# %% [markdown]
# We lift the limit, and look at what was found.

# %%
resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
read = None
table = bg.check_against_em(tree).table[["mean", "sd"]]
pairs = [(0, 0), (0, 1), (1, 1)]
known = {f"w[{j}]": truth.weights[j] for j in range(3)}
known |= {f"mu[{j}, {columns[i]}]": truth.means[j, i] for j in range(3) for i in range(2)}
known |= {f"cov[{j}, {columns[a]}, {columns[b]}]": covariances[j, a, b] for j in range(3) for a, b in pairs}
table = table.assign(truth=pd.Series(known))
table["z"] = (table["mean"] - table["truth"]) / table["sd"]
table.round({"mean": 4, "sd": 5, "truth": 4, "z": 1})

# %% [markdown]
# Every number is where it should be, within a few of its standard deviations. The share of failing pumps is known to
# one part in three hundred.
#
# ## What certifies these draws
#
# No Markov chain produced these draws, because each step of a chain would be a pass over the files. With so many rows
# the posterior is nearly Gaussian. So `fit` draws from the Gaussian at the posterior's mode (Laplace's approximation).
# It weights each draw by the ratio of the posterior's density to the Gaussian's (importance sampling). The posterior's
# draws are then resampled by these weights. That is exact up to Monte Carlo error if the weights behave:
#
# * k-hat says how heavy the tail of the weights is. It must be at most 0.7.
# * The efficiency is the effective number of weighted draws, as a share of all draws. It must be at least 0.4.
#
# Here k-hat is far below its limit, and hardly a draw is lost. Otherwise `fit` would have switched to NUTS. Its chains
# evaluate their densities together, in one pass.
#
# The certificate covers only regions that the draws have reached. A region that no draw reaches leaves no trace in the
# weights. `fit` guards against this in two cases:
#
# * Fewer components. Suppose that k - 1 components described the rows about as well. Then a part of the posterior
#   would have an empty component, and no mode there. `fit` compares EM's two likelihoods, and leaves such a k to NUTS.
# * Several optima. EM starts ten times (`n_init`). Each of its optima that is near enough to the best gets its own
#   Gaussian. An optimum that no start has found is missing, here as with any other method.
#
# The certificate does not say that the model is right: rows that are not Gaussian get a narrow posterior, too.
#
# ## A look at it
#
# The tree holds a sample of 20 000 rows, and states how many rows it stands for.

# %%
observed = tree["observed_data"].to_dataset()
print(dict(observed.sizes), observed.attrs)

# %%
bg.plots.plot_pairs(tree)
plt.show()

# %% [markdown]
# *The figure shows 3 000 rows of the tree's sample of 20 000, not all ten million. The ellipses and densities are of
# the posterior of all rows. They are known so well that those of single draws and of EM coincide with them.*
#
# The pink points are few, but they lie apart from the others.

# %% [markdown]
# ## How many components?
#
# The small file's forty thousand rows are enough to tell two kinds from three:

# %%
comparison = bg.compare(bg.scan_parquet(few, columns), [2, 3], random_seed=1, progressbar=False)
comparison

# %% [markdown]
# The third kind has only one row in a hundred. Still, two components are ruled out, because forty thousand rows
# decide. The prediction (elpd) is for all rows, too. EM's log-likelihood is known for all of them, and the correction
# to it is estimated from the sample. The evidence is the mean of the importance weights.
#
# ## Every row's cluster
#
# A million rows have three million probabilities. They are written to a file, a few row groups at a time.

# %%
last = bg.scan_parquet(days / "day_10.parquet", columns)
clusters = Path(temporary.name, "clusters.parquet")
bg.write_responsibilities(tree, last, clusters)
written = pq.ParquetFile(clusters)
head = next(written.iter_batches(6)).to_pandas()
print(written.metadata.num_rows, "rows")
head.round(4)

# %%
cluster = pq.read_table(clusters, columns=["cluster"])["cluster"].to_numpy()
shares = np.bincount(cluster, minlength=3) / len(cluster)
print("share of the last day's rows:", shares.round(4))

# %% [markdown]
# ## A row with a missing value
#
# One sensor was silent once. The first pass finds the missing value, and says where it is:

# %%
broken = pq.read_table(few).to_pandas()
broken.loc[31_415, "temperature"] = np.nan
silent = Path(temporary.name, "silent.parquet")
pq.write_table(pa.Table.from_pandas(broken, preserve_index=False), silent, row_group_size=20_000)
try:
    bg.fit_em(bg.scan_parquet(silent, columns), 3, random_seed=1)
except ValueError as error:
    said = str(error).replace(f"{temporary.name}/", "")
print(fill(said, 100))

# %%
dropped = bg.fit_em(bg.scan_parquet(silent, columns, missing="drop"), 3, random_seed=1)
print(f"{dropped.n_observations:.0f} rows")

# %% [markdown]
# `missing="at_random"` would use what is known of the row: see [missing values](07_missing_values.ipynb).
#
# ## Is it the same posterior?
#
# Thirty thousand rows fit into memory, and NUTS can sample their posterior as well. The differences of the means,
# in units of their Monte Carlo error, should be of the order of one:

# %%
part = next(pq.ParquetFile(days / "day_1.parquet").iter_batches(30_000, columns=columns)).to_pandas()
given = {"random_seed": 1, "progressbar": False}
fits = {method: bg.fit(part, 3, method=method, **given) for method in ("nuts", "laplace")}
by_nuts, by_laplace = (bg.check_against_em(fit).table for fit in fits.values())
agreement = pd.DataFrame({"NUTS": by_nuts["mean"], "sd": by_nuts["sd"], "Laplace": by_laplace["mean"]})
agreement["sd of it"] = by_laplace["sd"]
error = np.hypot(by_nuts["mcse_mean"], by_laplace["mcse_mean"])
agreement["difference / error"] = (by_laplace["mean"] - by_nuts["mean"]) / error
agreement.round({"NUTS": 4, "sd": 4, "Laplace": 4, "sd of it": 4, "difference / error": 1})

# %%
temporary.cleanup()

# %% [markdown]
# They agree in means and in standard deviations. The rows are independent, and any thirty thousand are as good as any
# other. So this is a random part of the table.
#
# ## What was said above, checked

# %%
assert issubclass(refusal, MemoryError)
assert tree.attrs["method"] == "laplace"
assert tree.attrs["pareto_k"] < 0.3
assert tree.attrs["importance_efficiency"] > 0.98
assert bg.diagnose(tree).ok
assert abs(table["z"]).max() < 3.5
assert len(table) == 18
assert 300 < table.loc["w[2]", "mean"] / table.loc["w[2]", "sd"] < 340
assert observed.attrs == {"rows": 10_000_000, "total": 10_000_000}
assert observed.sizes["obs"] == 20_000
by_k = comparison.table.set_index("k")
assert by_k.loc[3, "elpd_loo"] - by_k.loc[2, "elpd_loo"] > 1_000
assert by_k.loc[3, "log_evidence"] - by_k.loc[2, "log_evidence"] > 1_000
assert written.metadata.num_rows == 1_000_000
assert (abs(shares - truth.weights) < [0.005, 0.005, 0.0005]).all()
assert "row 31415 (row 31415 of silent.parquet)" in said
assert dropped.n_observations == 39_999
assert all(bg.diagnose(fit).ok for fit in fits.values())
assert abs(agreement["difference / error"]).max() < 4
assert (abs(agreement["sd of it"] / agreement["sd"] - 1) < 0.2).all()
