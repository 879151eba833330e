"""Compiled code, and what prepares its arguments: sums over observations, sweeps, variates.

It imports arguments.
"""
