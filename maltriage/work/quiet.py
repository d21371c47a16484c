"""Imported in the process that workers are forked from, and nowhere else: it writes nothing.

A worker that is still starting when a command ends finds what it needs gone, and Python would
print a traceback. What workers print goes to the null device later too (`isolation`).
"""

import os

_null = os.open(os.devnull, os.O_WRONLY)
os.dup2(_null, 2)
os.close(_null)
