"""Recipes and bundles held against each other."""
