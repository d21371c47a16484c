"""Complete runs: training, cross-validation, comparison, and their metadata."""
