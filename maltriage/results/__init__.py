"""The store of finished results: one SQLite file for all scans of a user."""
