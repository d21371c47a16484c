"""Screens and pages of studies: figures of models, probabilities and explanations."""
