"""How good is a bundle, measured through the path that users run."""
