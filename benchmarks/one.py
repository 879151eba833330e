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

    import numpy as np

    from bayesgmm.analysis.draws import Draws
    from bayesgmm.analysis.quantities import invariant_quantities, summarise

    chains, length, k = done.w.shape
    w, mu, spread = (np.reshape(a, (-1, k, *a.shape[3:])) for a in (done.w, done.mu, done.spread))
    factors = spread[..., None, None] if spread.ndim == 2 else np.linalg.cholesky(spread)
    draws, x = Draws(w, mu.reshape(*w.shape, -1), factors, chains, length), given["x"]
    table = summarise(invariant_quantities(draws, x.reshape(len(x), -1)))
    result = {
        "compiling": done.compiling,
        "sampling": done.sampling,
        "fresh_process": whole,
        "ess": float(table["ess_bulk"].min()),
        "r_hat": float(table["r_hat"].max()),
        "mean": table["mean"].to_dict(),
        "mcse": table["mcse_mean"].to_dict(),
    }
    print("\nRESULT" + json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
