"""Ctrl-C from the first instant on.

A scan that is stopped while it starts ends like one stopped later: it writes its outputs, marked
as interrupted. Other commands stop at once.
"""

from __future__ import annotations

import signal
from types import FrameType

EXIT_INTERRUPTED = 130

_asked: int | None = None
"""The signal that asked to stop, if one did."""


def listen() -> None:
    """Remember the first Ctrl-C for `asked`; a second one raises KeyboardInterrupt."""
    signal.signal(signal.SIGINT, _ask)


def _ask(number: int, frame: FrameType | None) -> None:
    global _asked  # noqa: PLW0603 - a handler has no other place for it
    if _asked is not None:
        raise KeyboardInterrupt
    _asked = number


def asked() -> int | None:
    """The signal that asked to stop so far, if one did. Python handles the next one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return _asked


def stop_at_once() -> None:
    """Let Python handle Ctrl-C from now on.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed already.
    """
    if asked() is not None:
        raise KeyboardInterrupt
