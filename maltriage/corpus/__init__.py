"""Labelled samples: datasets, their prepared arrays, and splits that do not leak."""
