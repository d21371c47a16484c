"""Ctrl-C from the first instant on.

A scan that is asked to stop while it starts up ends as one that is asked later: its outputs are
there, and say so. Other commands stop at once.
"""

from __future__ import annotations

import signal
from types import FrameType

EXIT_INTERRUPTED = 130

_asked: int | None = None
"""The signal that asked to stop, if one did."""


def listen() -> None:
    """Remember Ctrl-C until somebody asks; a second one ends what is under way."""
    signal.signal(signal.SIGINT, _ask)


def _ask(number: int, frame: FrameType | None) -> None:
    global _asked  # noqa: PLW0603 - a handler has no other place for it
    if _asked is not None:
        raise KeyboardInterrupt
    _asked = number


def asked() -> int | None:
    """The signal that has asked to stop so far. The next one is for whoever takes it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return _asked


def stop_at_once() -> None:
    """Take Ctrl-C as Python does, from now on.

    Raises:
        KeyboardInterrupt: it was pressed already.
    """
    if asked() is not None:
        raise KeyboardInterrupt
