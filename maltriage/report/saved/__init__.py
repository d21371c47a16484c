"""Saved reports: recognised, read again, summed up, and one record of them picked."""
