"""The quality of explanations, and the patterns of families in them."""
