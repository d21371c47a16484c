"""Silences the process that workers are forked from; imported nowhere else.

A worker that is still starting when a command ends finds its resources gone, and Python would
print a traceback. Workers' output goes to the null device later too (`isolation`).
"""

import os

_null = os.open(os.devnull, os.O_WRONLY)
os.dup2(_null, 2)
os.close(_null)
