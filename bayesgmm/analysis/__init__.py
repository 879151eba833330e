"""Answers as functions of a tree, whichever engine filled it.

It imports arguments, data, digits, em, exceptions, families, files, kernels, model, words.
"""
