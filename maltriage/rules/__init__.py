"""Makes a YARA rule from evidence, and tests it on files."""
