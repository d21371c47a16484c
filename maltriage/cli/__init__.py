"""The command line: parses arguments, calls a library function, renders the result."""
