"""Whole runs: train, cross-validate, compare; what a run says of itself."""
