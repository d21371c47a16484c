"""Screens and pages of figures: how good models, probabilities and explanations are."""
