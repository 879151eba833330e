"""Analyses: functions of a tree, independent of the engine that filled it.

It imports arguments, data, digits, em, exceptions, families, files, kernels, model, words.
"""
