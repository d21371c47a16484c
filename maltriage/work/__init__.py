"""Processes that touch samples and may die: workers, their channels, what they give up."""
