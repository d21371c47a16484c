"""From evidence to a YARA rule that was tried on files."""
