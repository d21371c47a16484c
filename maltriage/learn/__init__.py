"""Nets, training, explanation and export of bundles. Needs torch (extra `train`)."""
