"""Nets beside each other, and what came of every cell of these studies."""
