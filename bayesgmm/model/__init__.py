"""The statistical model: the mixture, its covariance structures, its priors, and the model in PyMC.

It imports arguments, data, digits, families, kernels, words.
"""
