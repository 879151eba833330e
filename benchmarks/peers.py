"""The same posterior as users of each package would write it.

Every function imports its package itself and samples four chains on all cores.
"""

import time
from typing import Any, NamedTuple


class Run(NamedTuple):
    """Draws (chain, draw, K), seconds spent compiling and sampling, and seconds that no user would have spent."""

    w: Any
    mu: Any
    sigma: Any
    compiling: float
    sampling: float
    repeated: float = 0.0


class Clock:
    """Seconds spent within ``with clock:``."""

    def __enter__(self):
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._began


def bayesgmm(x, k, prior, start, draws, tune, seed):
    import bayesgmm as bg

    tree = bg.fit(x, k, draws=draws, random_seed=seed, relabel=False, progressbar=False)
    sampling = tree.attrs["seconds_geometry"] + tree.attrs["seconds_sampling"]
    return Run(*_arrays(tree), tree.attrs["seconds_compile"], sampling)


def _arrays(tree):
    return (tree["posterior"][name].values for name in ("w", "mu", "sigma"))


def _pymc_model(x, k, prior):
    import numpy as np
    import pymc as pm

    with pm.Model() as model:
        w = pm.Dirichlet("w", a=np.ones(k))
        mu = pm.Normal("mu", prior["b0"], prior["B0"] ** 0.5, shape=k)
        C0 = pm.Gamma("C0", alpha=prior["g0"], beta=prior["G0"])
        sigma2 = pm.InverseGamma("sigma2", alpha=prior["c0"], beta=C0, shape=k)
        sigma = pm.Deterministic("sigma", pm.math.sqrt(sigma2))
        pm.NormalMixture("x", w=w, mu=mu, sigma=sigma, observed=x)
    return model


def pymc(x, k, prior, start, draws, tune, seed):
    import pymc as pm

    model = _pymc_model(x, k, prior)
    with Clock() as clock:
        tree = pm.sample(
            draws, tune=tune, chains=4, model=model, initvals=start, random_seed=seed, nuts_sampler="pymc",
            progressbar=False, compute_convergence_checks=False,
        )  # fmt: skip
    sampling = tree["sample_stats"].attrs["sampling_time"]
    return Run(*_arrays(tree), clock.seconds - sampling, sampling)


def pymc_nutpie(x, k, prior, start, draws, tune, seed):
    import nutpie

    model = _pymc_model(x, k, prior)
    with Clock() as compiling:
        compiled = nutpie.compile_pymc_model(model, initial_points=start)
    with Clock() as sampling:
        tree = nutpie.sample(compiled, draws=draws, chains=4, seed=seed, progress_bar=False)
    return Run(*_arrays(tree), compiling.seconds, sampling.seconds)


def numpyro(x, k, prior, start, draws, tune, seed):
    import numpyro

    numpyro.set_host_device_count(4)
    numpyro.enable_x64()
    import jax
    import jax.numpy as jnp
    import numpy as np
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS, init_to_value

    def model(x):
        w = numpyro.sample("w", dist.Dirichlet(jnp.ones(k)))
        mu = numpyro.sample("mu", dist.Normal(prior["b0"], prior["B0"] ** 0.5).expand([k]).to_event(1))
        C0 = numpyro.sample("C0", dist.Gamma(prior["g0"], prior["G0"]))
        sigma2 = numpyro.sample("sigma2", dist.InverseGamma(prior["c0"], C0).expand([k]).to_event(1))
        components = dist.Normal(mu, jnp.sqrt(sigma2))
        with numpyro.plate("data", len(x)):
            numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(probs=w), components), obs=x)

    values = {name: jnp.asarray(value) for name, value in start.items()}
    kernel = NUTS(model, init_strategy=init_to_value(values=values))
    mcmc = MCMC(kernel, num_warmup=tune, num_samples=draws, num_chains=4, progress_bar=False)
    with Clock() as first:
        mcmc.run(jax.random.PRNGKey(seed), jnp.asarray(x))
        mcmc.get_samples()["mu"].block_until_ready()
    with Clock() as second:  # compiled by now: the only way to see the two apart
        mcmc.run(jax.random.PRNGKey(seed + 1_000), jnp.asarray(x))
        mcmc.get_samples()["mu"].block_until_ready()
    found = {name: np.asarray(value) for name, value in mcmc.get_samples(group_by_chain=True).items()}
    return Run(
        found["w"], found["mu"], np.sqrt(found["sigma2"]), first.seconds - second.seconds, second.seconds, second.seconds
    )


STAN = """
data { int n; int k; vector[n] x; real b0; real B0; real c0; real g0; real G0; }
parameters { simplex[k] w; vector[k] mu; real<lower=0> C0; vector<lower=0>[k] sigma2; }
transformed parameters { vector[k] sigma = sqrt(sigma2); }
model {
  w ~ dirichlet(rep_vector(1, k));
  mu ~ normal(b0, sqrt(B0));
  C0 ~ gamma(g0, G0);
  sigma2 ~ inv_gamma(c0, C0);
  vector[k] log_w = log(w);
  for (i in 1:n) {
    vector[k] terms = log_w;
    for (j in 1:k) terms[j] += normal_lpdf(x[i] | mu[j], sigma[j]);
    target += log_sum_exp(terms);
  }
}
"""


def stan(x, k, prior, start, draws, tune, seed):
    import numpy as np
    import stan

    with Clock() as compiling:
        posterior = stan.build(STAN, data={"n": len(x), "k": k, "x": x, **prior}, random_seed=seed)
    start = {name: np.asarray(value).tolist() for name, value in start.items()}
    with Clock() as sampling:
        fit = posterior.sample(num_chains=4, num_samples=draws, num_warmup=tune, init=[start] * 4)
    # pystan orders parameter, draw, chain
    arrays = (np.moveaxis(fit[name].reshape(k, draws, 4), (0, 1, 2), (2, 1, 0)) for name in ("w", "mu", "sigma"))
    return Run(*arrays, compiling.seconds, sampling.seconds)


PEERS = {
    "bayesgmm": bayesgmm,
    "PyMC": pymc,
    "PyMC + nutpie": pymc_nutpie,
    "NumPyro": numpyro,
    "Stan": stan,
}
