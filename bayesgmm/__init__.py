"""Bayesian Gaussian mixture models."""
