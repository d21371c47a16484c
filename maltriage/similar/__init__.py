"""Labelled files that a sample is compared with: the index, and the search in it."""
