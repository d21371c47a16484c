"""Byte patterns of a file for a YARA rule, and their matches. Runs in worker processes.

As in `probe.inspect`, nothing here raises for a file's content, and all lists are bounded.
"""
