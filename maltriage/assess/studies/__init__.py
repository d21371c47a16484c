"""Comparisons of recipes and bundles."""
