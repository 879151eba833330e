"""The point estimate by expectation-maximisation, the baseline of every posterior.

It imports arguments, data, exceptions, families, kernels, model, pool, words.
"""
