"""Comparison of several numbers of components: prediction, evidence, and the verdict. No other analysis may run fits.

It imports analysis, arguments, data, em, engines, exceptions, files, fitting, kernels, model, posterior, words.
"""
