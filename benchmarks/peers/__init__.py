"""Other tools on the same files."""
