"""From a posterior to draws: NUTS, Gibbs sampling, the telescoping sampler, ADVI, and what they share.

It imports analysis, arguments, data, em, exceptions, kernels, model, posterior, words.
"""
