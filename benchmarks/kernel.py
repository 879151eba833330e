"""The E-step inside: EM against scikit-learn, one gradient against PyTensor."""

import time
import tracemalloc
import warnings

import numpy as np

import bayesgmm as bg
from bayesgmm.density import LogPosterior

ITERATIONS = 20


def measure(smoke=False):
    n = 20_000 if smoke else 1_000_000
    return {"em": em_per_iteration(n), "gradient": gradient(10_000, 2)}


def em_per_iteration(n):
    """Seconds per iteration of EM from one start on three Gaussians, and the memory it takes beside the data."""
    from sklearn.mixture import GaussianMixture

    x, _, truth = bg.datasets.three_gaussians(n=n)
    start = bg.Mixture([1 / 3] * 3, truth.means + 0.5, sigma=[2.0] * 3)
    found = {}

    def ours(iterations):
        return bg.fit_em(x, 3, start=start, max_iter=iterations, tol=1e-300, parameter_tol=1e-300).log_likelihood

    def theirs(iterations):
        model = GaussianMixture(
            3, tol=0, max_iter=iterations, reg_covar=0, weights_init=start.weights, means_init=start.means[:, None],
            precisions_init=(1 / start.covariances)[:, None, None], init_params="random_from_data",
        )  # fmt: skip
        return model.fit(x[:, None]).score(x[:, None]) * n

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
            found[name] = {"seconds": float(np.median(times)), "peak_per_data": peak, "n": n}
    return found


def gradient(n, k):
    """Seconds of one value and gradient of the log posterior."""
    x = bg.datasets.two_gaussians(n=n).x
    z = (x - x.mean()) / x.std()
    prior = bg.HierarchicalPrior().scaled_to(z)
    own = LogPosterior(z, k, prior, "full")
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


def table(found):
    em, slope = found["em"], found["gradient"]
    n = em["bayesgmm"]["n"]
    lines = [
        "| what | peer | time | bayesgmm is faster by | memory beside the data, of the data's |",
        "|---|---|---|---|---|",
    ]
    for what, by_peer in ((f"one iteration of EM, n = {n:,}, K = 3", em), ("value and gradient, n = 10,000, K = 2", slope)):
        ours = by_peer["bayesgmm"]["seconds"]
        for peer, values in by_peer.items():
            ratio = "" if peer == "bayesgmm" else f"{values['seconds'] / ours:,.0f} x"
            memory = f"{values['peak_per_data']:.2f} x" if "peak_per_data" in values else ""
            lines.append(f"| {what} | {peer} | {1e3 * values['seconds']:.3g} ms | {ratio} | {memory} |")
    return "\n".join(lines)
