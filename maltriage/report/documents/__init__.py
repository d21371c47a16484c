"""Every document that a command writes, as structs: plain data, and what is derived from it."""
