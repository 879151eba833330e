"""One peer on one problem in a process of its own: from the start of the process to the posterior."""

import json
import os
import pickle
import sys
import time


def main(path, peer, seed):
    from peers import PEERS

    with open(path, "rb") as file:
        given = pickle.load(file)
    done = PEERS[peer](**given, seed=int(seed))
    whole = time.time() - float(os.environ["BENCHMARK_BEGAN"]) - done.repeated

    call = done.compiling + done.sampling if done.call is None else done.call
    result = {"compiling": done.compiling, "sampling": done.sampling, "call": call, "fresh_process": whole}
    if done.w is not None:  # a point estimate has no draws
        result |= told_by(done, given["x"])
    print("\nRESULT" + json.dumps(result))


def told_by(done, x):
    """Effective sample size, R-hat, and the means by which answers are compared."""
    import numpy as np

    from bayesgmm.analysis.draws import Draws
    from bayesgmm.analysis.quantities import invariant_quantities, summarise

    chains, length, k = done.w.shape
    w, mu, spread = (np.reshape(a, (-1, k, *a.shape[3:])) for a in (done.w, done.mu, done.spread))
    factors = spread[..., None, None] if spread.ndim == 2 else np.linalg.cholesky(spread)
    draws = Draws(w, mu.reshape(*w.shape, -1), factors, chains, length)
    table = summarise(invariant_quantities(draws, x.reshape(len(x), -1)))
    return {
        "ess": float(table["ess_bulk"].min()),
        "r_hat": float(table["r_hat"].max()),
        "mean": table["mean"].to_dict(),
        "mcse": table["mcse_mean"].to_dict(),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
