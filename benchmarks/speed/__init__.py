"""Time and memory of one command, or of one stage of a scan."""
