"""How good verdicts and probabilities are, and what a bundle is calibrated to."""
