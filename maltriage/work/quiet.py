"""Prepares the process that workers are forked from; imported there first, and nowhere else.

It ignores SIGHUP, as it does SIGINT: a terminal that closes reaches it, and what it forks, too. Its
stderr is the null device: a worker that is still starting when a command ends finds its
resources gone, and Python would print a traceback. Workers' output goes there later too
(`isolation`).
"""

import gc
import os
import signal

if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
gc.disable()  # what is imported stays, and looking through it takes a tenth of the time
_null = os.open(os.devnull, os.O_WRONLY)
os.dup2(_null, 2)
os.close(_null)
