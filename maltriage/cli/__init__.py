"""The front door: parses arguments, calls a library function, hands on the result."""
