"""How a process is killed, and what is said of one that was."""

from __future__ import annotations

import signal
import sys

if sys.platform == "win32":  # a process has no signals there: their number is its exit code
    KILL, KILLED = signal.SIGTERM, f"exit code {signal.SIGTERM:d}"
else:
    KILL, KILLED = signal.SIGKILL, "SIGKILL"
