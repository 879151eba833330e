"""EM against scikit-learn, a gradient against PyTensor, E-steps of rows partly known, and the memory of a fit."""

import time
import tracemalloc
import warnings

import numpy as np

import bayesgmm as bg
from bayesgmm.em import runs
from bayesgmm.posterior import log_posterior

ITERATIONS = 20


def measure(smoke=False):
    one, several = (20_000, 2_000) if smoke else (1_000_000, 100_000)
    x, _, truth = bg.datasets.three_gaussians(n=one)
    start = bg.Mixture([1 / 3] * 3, truth.means + 0.5, sigma=[2.0] * 3)
    found = {f"n = {one:,}, D = 1, K = 3": em_per_iteration(x, start, "full")}
    rng = np.random.default_rng(10)
    truth = bg.Mixture(np.full(10, 0.1), rng.normal(0, 2, (10, 10)), np.eye(10))
    x, _ = truth.sample(several, rng)
    start = bg.Mixture(truth.weights, truth.means + rng.normal(0, 0.3, (10, 10)), 2 * np.eye(10))
    for covariance in ("full", "tied", "diag", "spherical"):
        found[f"n = {several:,}, D = 10, K = 10, {covariance}"] = em_per_iteration(x, start, covariance)
    known = partly_known(several)
    return {
        "em": found,
        "gradient": gradient(10_000, 2),
        "memory_of_fit": memory_of_fit(one),
        "partly_known": known | strays(several),
    }


def partly_known(n):
    """Seconds of an E-step over rows with errors, intervals or gaps, and their ratio to exact rows, measured in turn."""
    rng, found = np.random.default_rng(1), {}
    for k in (1, 2, 3, 5):
        x = rng.normal(size=n)
        mixture = bg.Mixture(np.full(k, 1 / k), rng.normal(size=k), sigma=np.exp(rng.normal(0, 0.3, k)))
        seen = bg.Observations(x, error=rng.uniform(size=n))
        found[f"errors, n = {n:,}, D = 1, K = {k}"] = in_turn(mixture, bg.Observations(x), seen)
    rounded = np.floor(10 * x)
    in_bins = bg.Observations(lower=rounded / 10, upper=(rounded + 1) / 10)
    found[f"intervals, n = {n:,}, D = 1, K = 5"] = in_turn(mixture, bg.Observations(x), in_bins)
    x = rng.normal(size=(n, 10))
    patterns = rng.uniform(size=(50, 10)) < 0.1
    with_gaps = bg.Observations(np.where(patterns[rng.integers(0, 50, n)], np.nan, x), missing="at_random")
    mixture = bg.Mixture(np.full(5, 0.2), rng.normal(size=(5, 10)), np.eye(10) + 0.3)
    found[f"gaps, n = {n:,}, D = 10, K = 5, 50 patterns"] = in_turn(mixture, bg.Observations(x), with_gaps)
    return found


def strays(n):
    """Seconds of an E-step with noise or t distributions, and their ratio to a Gaussian mixture, measured in turn."""
    rng, found = np.random.default_rng(1), {}
    for k, d in ((2, 1), (3, 1), (5, 1), (5, 10)):
        exact, shares = bg.Observations(rng.normal(size=(n, d))), np.full(k, 1 / k)
        means, cov = rng.normal(size=(k, d)), np.eye(d) + 0.3 if d > 1 else np.ones(k)
        gaussian = bg.Mixture(shares, means, cov)
        for name, mixture, rows in (
            ("noise", bg.Mixture(shares, means, cov, noise=0.1), exact.with_noise()),
            ("t", bg.Mixture(shares, means, cov, nu=5.0), exact),
        ):
            found[f"{name}, n = {n:,}, D = {d}, K = {k}"] = in_turn(gaussian, exact, rows, mixture)
    return found


def in_turn(mixture, exact, seen, other=None):
    seconds = []
    for _ in range(9):
        for rows, parameters in ((exact, mixture.parameters), (seen, (other or mixture).parameters)):
            begin = time.perf_counter()
            rows.sums(*parameters)
            seconds.append(time.perf_counter() - begin)
    of_exact, of_seen = np.min(seconds[2::2]), np.min(seconds[3::2])
    return {"seconds": float(of_seen), "times_exact": float(of_seen / of_exact)}


def em_per_iteration(x, start, covariance):
    """Seconds per iteration of plain EM from one start, and the memory it takes beside the data."""
    from sklearn.mixture import GaussianMixture

    runs._STEPS = ITERATIONS + 1  # no acceleration within these iterations

    n, k = len(x), start.n_components
    columns, means = x.reshape(n, -1), start.means.reshape(k, -1)
    moments = start.covariances.reshape(k, means.shape[1], -1)
    precisions = {
        "full": lambda: np.linalg.inv(moments),
        "tied": lambda: np.linalg.inv(moments[0]),
        "diag": lambda: 1 / np.diagonal(moments, axis1=1, axis2=2),
        "spherical": lambda: 1 / moments[:, 0, 0],
    }[covariance]()
    found = {}

    def ours(iterations):
        options = {"start": start, "max_iter": iterations, "tol": 1e-300}
        return bg.fit_em(x, k, covariance=covariance, **options).log_likelihood

    def theirs(iterations):
        model = GaussianMixture(
            k, covariance_type=covariance, tol=0, max_iter=iterations, reg_covar=0, weights_init=start.weights,
            means_init=means, precisions_init=precisions, init_params="random_from_data",
        )  # fmt: skip
        return model.fit(columns).score(columns) * n

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, other = ours(ITERATIONS), theirs(ITERATIONS)
        assert abs(one / other - 1) < 1e-6, f"log-likelihoods differ: {one} and {other}"
        for name, fit in (("bayesgmm", ours), ("scikit-learn", theirs)):
            times = []
            for _ in range(5):
                seconds = []
                for iterations in (1, 1 + ITERATIONS):  # what an iteration adds, not what a call costs
                    begin = time.perf_counter()
                    fit(iterations)
                    seconds.append(time.perf_counter() - begin)
                times.append((seconds[1] - seconds[0]) / ITERATIONS)
            tracemalloc.start()
            fit(2)
            peak = tracemalloc.get_traced_memory()[1] / x.nbytes
            tracemalloc.stop()
            found[name] = {"seconds": float(np.median(times)), "peak_per_data": peak}
    return found


def gradient(n, k):
    """Seconds of one value and gradient of the log posterior."""
    x = bg.datasets.two_gaussians(n=n).x
    z = (x - x.mean()) / x.std()
    prior = bg.HierarchicalPrior().scaled_to(z)
    own = log_posterior(z[:, None], k, prior, "full")
    pymc = bg.build_model(z, k, prior=prior).logp_dlogp_function(ravel_inputs=True)
    pymc.set_extra_values({})
    point = np.random.default_rng(1).normal(0, 0.3, own.n_dim)
    for one, other in zip(own(point), pymc(point), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)
    found = {}
    for name, function in (("bayesgmm", own), ("PyTensor", pymc)):
        times = []
        for _ in range(15):
            begin = time.perf_counter()
            for _ in range(50):
                function(point)
            times.append((time.perf_counter() - begin) / 50)
        found[name] = {"seconds": float(np.median(times)), "n": n, "k": k}
    return found


def memory_of_fit(n):
    """Memory of four NUTS chains on n observations, less that on 1 000, as a multiple of the memory of the data."""
    x, peaks = bg.datasets.two_gaussians(n=n).x, []
    for size in (1_000, 1_000, n):  # the first time imports and compiles
        tracemalloc.start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)
            bg.fit(x[:size], 2, draws=100, tune=100, n_init=2, random_seed=1, progressbar=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return {"n": n, "peak_per_data": (peaks[2] - peaks[1]) / x.nbytes}


def table(found):
    lines = [
        "| what | peer | time | bayesgmm is faster by | memory beside the data, of the data's |",
        "|---|---|---|---|---|",
    ]
    problems = {f"one iteration of EM, {name}": by_peer for name, by_peer in found["em"].items()}
    for what, by_peer in (problems | {"value and gradient, n = 10,000, K = 2": found["gradient"]}).items():
        ours = by_peer["bayesgmm"]["seconds"]
        for peer, values in by_peer.items():
            ratio = "" if peer == "bayesgmm" else f"{values['seconds'] / ours:.2g} x"
            memory = f"{values['peak_per_data']:.2f} x" if "peak_per_data" in values else ""
            lines.append(f"| {what} | {peer} | {1e3 * values['seconds']:.3g} ms | {ratio} | {memory} |")
    fit = found["memory_of_fit"]
    lines.append(
        f"| fit by NUTS, n = {fit['n']:,}, D = 1, K = 2, four chains | bayesgmm | | | {fit['peak_per_data']:.2f} x |"
    )
    return "\n".join(lines)
