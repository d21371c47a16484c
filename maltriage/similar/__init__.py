"""Labelled files similar to a sample: the index, and the search in it."""
