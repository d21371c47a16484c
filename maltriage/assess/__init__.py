"""Measures the quality of bundles, through the path that users run."""
