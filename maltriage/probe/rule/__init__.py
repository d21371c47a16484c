"""Byte patterns of a file for a YARA rule, and where they match. Runs in worker processes.

As in `probe.inspect`, nothing here raises for what is in a file, and whatever is listed has a
bound.
"""
