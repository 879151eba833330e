"""Compiled code, and nothing else: sums over observations, sweeps, variates.

It imports arguments.
"""
