"""Prepares the process that workers are forked from; imported there first, and nowhere else.

Its stderr is the null device: a worker that is still starting when a command ends finds its
resources gone, and Python would print a traceback. Workers' output goes there later too
(`isolation`).
"""

import gc
import os

gc.disable()  # what is imported stays, and looking through it takes a tenth of the time
_null = os.open(os.devnull, os.O_WRONLY)
os.dup2(_null, 2)
os.close(_null)
