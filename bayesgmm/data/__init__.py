"""Any table that people have, read and checked once; ties among its values; the units in which it is standardised.

It imports arguments, exceptions, families, kernels, words.
"""
