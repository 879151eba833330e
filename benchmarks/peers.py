"""The same posterior as users of each package would write it.

The function of each sampler imports the package itself and runs four chains on all cores.
"""

import os
import time
from typing import Any, NamedTuple


class Run(NamedTuple):
    """Draws (chain, draw, K, ...), seconds of compiling and sampling, and ``repeated``: seconds that no user would spend.

    ``spread`` is sigma for one feature, cov for several. ``call`` is the time of all that a user calls after the imports. If
    it is None, that is compiling and sampling.
    """

    w: Any
    mu: Any
    spread: Any
    compiling: float
    sampling: float
    repeated: float = 0.0
    call: float | None = None


class Clock:
    """Seconds spent within ``with clock:``."""

    def __enter__(self):
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._began


def bayesgmm(x, k, prior, start, draws, tune, seed):
    import bayesgmm as bg

    with Clock() as call:
        tree = bg.fit(x, k, draws=draws, random_seed=seed, relabel=False, progressbar=False)
    phases = ("geometry", "sampling", "draws")  # "draws" is the phase of importance sampling
    sampling = sum(tree.attrs.get(f"seconds_{name}", 0.0) for name in phases)
    return Run(*_arrays(tree), tree.attrs["seconds_compile"], sampling, call=call.seconds)


def _arrays(tree):
    spread = "sigma" if "sigma" in tree["posterior"] else "cov"
    return (tree["posterior"][name].values for name in ("w", "mu", spread))


def pymc_model(x, k, prior):
    import numpy as np
    import pymc as pm

    if x.ndim == 2:  # PyMC has no inverse-Wishart that NUTS can sample, so the package's own model is used
        import bayesgmm as bg

        return bg.build_model(x, k, prior=bg.HierarchicalPrior(**prior))
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

    model = pymc_model(x, k, prior)
    start = {variable.name: start[variable.name] for variable in model.free_RVs}
    with Clock() as clock:
        tree = pm.sample(
            draws, tune=tune, chains=4, cores=os.cpu_count(), model=model, initvals=start, random_seed=seed,
            nuts_sampler="pymc", progressbar=False, compute_convergence_checks=False,
        )  # fmt: skip
    sampling = tree["sample_stats"].attrs["sampling_time"]
    return Run(*_arrays(tree), clock.seconds - sampling, sampling)


def pymc_nutpie(x, k, prior, start, draws, tune, seed):
    import nutpie

    model = pymc_model(x, k, prior)
    start = {variable.name: start[variable.name] for variable in model.free_RVs}
    with Clock() as compiling:
        compiled = nutpie.compile_pymc_model(model, initial_points=start)
    with Clock() as sampling:
        tree = nutpie.sample(compiled, draws=draws, chains=4, seed=seed, progress_bar=False)
    return Run(*_arrays(tree), compiling.seconds, sampling.seconds)


def numpyro_model(x, k, prior):
    """The model in double precision, a function of the data. JAX reads the number of devices when it is first used."""
    import numpyro

    numpyro.set_host_device_count(4)
    numpyro.enable_x64()
    import jax.numpy as jnp
    import numpyro.distributions as dist

    def of_several_features(x):
        w = numpyro.sample("w", dist.Dirichlet(jnp.ones(k)))
        mu = numpyro.sample("mu", dist.MultivariateNormal(prior["b0"], prior["B0"]).expand([k]).to_event(1))
        C0 = numpyro.sample("C0", dist.Wishart(2 * prior["g0"], rate_matrix=2 * prior["G0"]))
        precision = numpyro.sample("precision", dist.Wishart(2 * prior["c0"], rate_matrix=2 * C0).expand([k]).to_event(1))
        components = dist.MultivariateNormal(mu, precision_matrix=precision)
        with numpyro.plate("data", len(x)):
            numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(probs=w), components), obs=x)

    def of_one_feature(x):
        w = numpyro.sample("w", dist.Dirichlet(jnp.ones(k)))
        mu = numpyro.sample("mu", dist.Normal(prior["b0"], prior["B0"] ** 0.5).expand([k]).to_event(1))
        C0 = numpyro.sample("C0", dist.Gamma(prior["g0"], prior["G0"]))
        sigma2 = numpyro.sample("sigma2", dist.InverseGamma(prior["c0"], C0).expand([k]).to_event(1))
        components = dist.Normal(mu, jnp.sqrt(sigma2))
        with numpyro.plate("data", len(x)):
            numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(probs=w), components), obs=x)

    return of_one_feature if x.ndim == 1 else of_several_features


def numpyro(x, k, prior, start, draws, tune, seed):
    model = numpyro_model(x, k, prior)
    import jax
    import jax.numpy as jnp
    import numpy as np
    from numpyro.infer import MCMC, NUTS, init_to_value

    kernel = NUTS(model, init_strategy=init_to_value(values=_for_numpyro(start)))
    mcmc = MCMC(kernel, num_warmup=tune, num_samples=draws, num_chains=4, progress_bar=False)
    with Clock() as first:
        mcmc.run(jax.random.PRNGKey(seed), jnp.asarray(x))
        mcmc.get_samples()["mu"].block_until_ready()
    with Clock() as second:  # already compiled: the only way to tell compiling from sampling
        mcmc.run(jax.random.PRNGKey(seed + 1_000), jnp.asarray(x))
        mcmc.get_samples()["mu"].block_until_ready()
    found = {name: np.asarray(value) for name, value in mcmc.get_samples(group_by_chain=True).items()}
    return Run(found["w"], found["mu"], _spread(found), first.seconds - second.seconds, second.seconds, second.seconds)


def blackjax(x, k, prior, start, draws, tune, seed):
    model = numpyro_model(x, k, prior)  # BlackJAX takes a density, and its guide takes NumPyro's
    import blackjax
    import jax
    import jax.numpy as jnp
    import numpy as np
    from numpyro.infer import init_to_value
    from numpyro.infer.util import initialize_model

    begun = initialize_model(
        jax.random.PRNGKey(0), model, model_args=(jnp.asarray(x),), init_strategy=init_to_value(values=_for_numpyro(start)),
        dynamic_args=False,
    )  # fmt: skip

    def log_density(position):
        return -begun.potential_fn(position)

    def chain(key):
        warm, run = jax.random.split(key)
        adaptation = blackjax.window_adaptation(blackjax.nuts, log_density)
        (state, parameters), _ = adaptation.run(warm, begun.param_info.z, tune)
        step = blackjax.nuts(log_density, **parameters).step

        def one(state, key):
            state, _ = step(key, state)
            return state, state.position

        return jax.lax.scan(one, state, jax.random.split(run, draws))[1]

    chains = jax.pmap(chain)
    with Clock() as first:
        jax.block_until_ready(chains(jax.random.split(jax.random.PRNGKey(seed), 4)))
    with Clock() as second:
        positions = jax.block_until_ready(chains(jax.random.split(jax.random.PRNGKey(seed + 1_000), 4)))
    values = jax.vmap(jax.vmap(begun.postprocess_fn))(positions)
    found = {name: np.asarray(value) for name, value in values.items()}
    return Run(found["w"], found["mu"], _spread(found), first.seconds - second.seconds, second.seconds, second.seconds)


def _for_numpyro(start):
    """The start for NumPyro, without the variables that only other packages have."""
    import jax.numpy as jnp

    others = ("cov", "precision_factor", "C0_factor")
    return {name: jnp.asarray(value) for name, value in start.items() if name not in others}


def _spread(found):
    import numpy as np

    return np.sqrt(found["sigma2"]) if "sigma2" in found else np.linalg.inv(found["precision"])


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


STAN_SEVERAL = """
data { int n; int k; int d; array[n] vector[d] x; vector[d] b0; matrix[d, d] B0; real c0; real g0; matrix[d, d] G0; }
transformed data { matrix[d, d] half_inverse_G0 = inverse_spd(2 * G0); }
parameters { simplex[k] w; array[k] vector[d] mu; cov_matrix[d] C0; array[k] cov_matrix[d] cov; }
model {
  w ~ dirichlet(rep_vector(1, k));
  mu ~ multi_normal(b0, B0);
  C0 ~ wishart(2 * g0, half_inverse_G0);
  vector[k] log_w = log(w);
  array[k] matrix[d, d] roots;
  for (j in 1:k) {
    cov[j] ~ inv_wishart(2 * c0, 2 * C0);
    roots[j] = cholesky_decompose(cov[j]);
  }
  for (i in 1:n) {
    vector[k] terms = log_w;
    for (j in 1:k) terms[j] += multi_normal_cholesky_lpdf(x[i] | mu[j], roots[j]);
    target += log_sum_exp(terms);
  }
}
"""


def stan(x, k, prior, start, draws, tune, seed):
    import numpy as np
    import stan

    size = {} if x.ndim == 1 else {"d": x.shape[1]}
    with Clock() as compiling:
        code = STAN if x.ndim == 1 else STAN_SEVERAL
        posterior = stan.build(code, data={"n": len(x), "k": k, "x": x, **size, **prior}, random_seed=seed)
    start = {name: np.asarray(value).tolist() for name, value in start.items() if name in ("w", "mu", "sigma2", "C0", "cov")}
    with Clock() as sampling:
        fit = posterior.sample(num_chains=4, num_samples=draws, num_warmup=tune, init=[start] * 4)
    # pystan orders parameter, draw, chain
    names = ("w", "mu", "sigma") if x.ndim == 1 else ("w", "mu", "cov")
    arrays = (np.moveaxis(fit[name].reshape(*fit[name].shape[:-1], draws, 4), (-1, -2), (0, 1)) for name in names)
    return Run(*arrays, compiling.seconds, sampling.seconds)


def sklearn_variational(x, k, prior, start, draws, tune, seed):
    """What many would use instead. It has no draws, only the mixture at which its variational approximation ends."""
    from sklearn.mixture import BayesianGaussianMixture

    model = BayesianGaussianMixture(
        n_components=k, weight_concentration_prior_type="dirichlet_distribution", max_iter=10_000, random_state=seed
    )
    with Clock() as fitting:
        model.fit(x.reshape(len(x), -1))
    return Run(None, None, None, 0.0, fitting.seconds)


PEERS = {
    "bayesgmm": bayesgmm,
    "PyMC": pymc,
    "PyMC + nutpie": pymc_nutpie,
    "NumPyro": numpyro,
    "BlackJAX": blackjax,
    "Stan": stan,
    "scikit-learn BayesianGaussianMixture": sklearn_variational,
}
