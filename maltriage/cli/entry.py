"""The entry point. Slow imports happen only after the handler for Ctrl-C is set."""

from __future__ import annotations

import os
import sys

from maltriage.cli.stop import interrupt


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # Before NumPy is loaded: its threads spin after each matrix product and take the cores from
    # the model and the workers. The products here are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    interrupt.listen()
    try:
        from maltriage.cli.app import run

        code = run()
    except KeyboardInterrupt:
        code = interrupt.EXIT_INTERRUPTED
    if interrupt.asked() is not None:
        sys.stderr.write(interrupt.line())
    sys.exit(code)
