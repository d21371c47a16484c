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
_how_far = ""
"""How far the command came until then, if it said so."""


def listen() -> None:
    """Remember the first Ctrl-C for `asked`; a second one raises KeyboardInterrupt."""
    signal.signal(signal.SIGINT, _ask)


def _ask(number: int, frame: FrameType | None) -> None:
    if _asked is not None:
        raise KeyboardInterrupt
    note(number)


def _end(number: int, frame: FrameType | None) -> None:
    note(number)
    raise KeyboardInterrupt


def say(text: str) -> None:
    """Keep how far the command came, for the line that says that it was stopped."""
    global _how_far  # noqa: PLW0603
    _how_far = text


def line() -> str:
    """The line that says that the command was stopped."""
    return f"maltriage: stopped{_how_far and ', '}{_how_far}\n"


def note(number: int) -> None:
    """Remember a signal that asked to stop."""
    global _asked  # noqa: PLW0603 - a handler has no other place for it
    _asked = number


def forget() -> None:
    """Forget the signal: to stop was how the command was meant to end, or it was done already."""
    global _asked  # noqa: PLW0603
    _asked = None


def asked() -> int | None:
    """The signal that asked to stop so far, if one did."""
    return _asked


def take_over() -> int | None:
    """`asked`, by the caller, who sets a handler; until then Ctrl-C raises KeyboardInterrupt."""
    signal.signal(signal.SIGINT, _end)
    return _asked


def stop_at_once() -> None:
    """Let Ctrl-C raise KeyboardInterrupt from now on.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed already.
    """
    if take_over() is not None:
        raise KeyboardInterrupt
