"""Has the C library keep the memory of one file for the next.

By default it gives large blocks back at once, and memory that is taken anew costs a page fault
every 4 KiB: a tenth of what reading and plotting a file takes.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
MMAP_BYTES = 32 << 20
"""Blocks from this size on are given back at once. glibc takes no more on 64 bits, and comes to it
by itself, step by step, in a process that frees large ones."""
TRIM_BYTES = 64 << 20
"""Free memory at the end of the heap from which on it is given back."""


def keep_memory() -> None:
    """Set both limits for this process, where the C library is glibc."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_MMAP_THRESHOLD, MMAP_BYTES)
            mallopt(_TRIM_THRESHOLD, TRIM_BYTES)
