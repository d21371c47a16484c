"""The compiled passes over a file's bytes and its heat (`_kernel.c`), where they were built.

NumPy does the same without them, equal bit by bit, and takes several times as long.
"""

from __future__ import annotations

import os
from types import ModuleType

OFF = "MALTRIAGE_NO_KERNEL"
"""Variable that has NumPy do everything, if it is set and not empty."""

VERSION = 3
"""Of the kernel that this package calls: an older one may lie in a working tree."""


def _built() -> ModuleType | None:
    if os.environ.get(OFF):
        return None
    try:
        from maltriage.sample import _kernel
    except ImportError:
        return None
    return _kernel if _kernel.VERSION == VERSION else None


kernel = _built()
"""The module; None: it was not built, or is not wanted."""
