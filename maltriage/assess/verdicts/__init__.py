"""The quality of verdicts and probabilities, and the calibration of bundles."""
