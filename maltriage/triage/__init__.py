"""Turns samples and a bundle into a report."""
