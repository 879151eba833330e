"""The point estimate by expectation-maximisation, which stands beside every posterior as its baseline.

It imports arguments, data, exceptions, families, kernels, model, words.
"""
