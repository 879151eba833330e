"""A report to hand on: one HTML file with the answer, the pictures behind it, and what to type to get it again.

It imports analysis, arguments, comparison, data, digits, em, families, files, model, plots, words.
"""
