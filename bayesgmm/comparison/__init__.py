"""Several numbers of components: prediction, evidence, and the verdict. The only analysis that may fit again.

It imports analysis, arguments, data, em, engines, exceptions, files, fitting, kernels, model, posterior, words.
"""
