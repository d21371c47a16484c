"""`-v` and `-vv`: the package's log on stderr."""

from __future__ import annotations

import logging
import sys

from maltriage.logs import ROOT
from maltriage.report.sanitize import clean


class _Lines(logging.Formatter):
    """Formats a record as one line, with strings of a sample sanitized."""

    def format(self, record: logging.LogRecord) -> str:
        time = self.formatTime(record, "%H:%M:%S")
        room = record.name.removeprefix(f"{ROOT}.")
        text = f"{time}.{record.msecs:03.0f} {record.levelname.lower():5} {room}: "
        return text + clean(record.getMessage())


def show_logs(verbose: int) -> None:
    """Log on stderr from now on: at 1 the stages, at 2 or more also each file."""
    if not verbose:
        return
    root = logging.getLogger(ROOT)
    root.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
    if not any(isinstance(handler.formatter, _Lines) for handler in root.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Lines())
        root.addHandler(handler)
        root.propagate = False
