"""How good explanations are, and what families look like in them."""
