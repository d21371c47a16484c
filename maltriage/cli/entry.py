"""Where the process begins. Ctrl-C counts from here on: nothing that takes time is imported before.

A scan that is asked to stop while it starts up ends as one that is asked later: its outputs are
there, and say so. Other commands stop at once.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

EXIT_INTERRUPTED = 130

_asked: int | None = None
"""The signal that asked to stop, if one did."""


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


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # Before NumPy is loaded: its threads wait in a loop after each product of matrices, and take
    # the cores from the model and the workers. The products here are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, _ask)
    try:
        from maltriage.cli.app import run

        code = run()
    except KeyboardInterrupt:
        sys.stderr.write("maltriage: stopped\n")
        code = EXIT_INTERRUPTED
    sys.exit(code)
