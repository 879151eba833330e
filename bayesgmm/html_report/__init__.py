"""The report: one HTML file with the answer, the pictures, and the code that reproduces it.

It imports analysis, arguments, comparison, data, digits, em, families, files, model, plots, words.
"""
