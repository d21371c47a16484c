"""The process that workers are forked from. Importing this costs what `multiprocessing` does."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import BaseContext

PRELOAD = ["maltriage.sample.members", "lief", "pefile", "PIL.PngImagePlugin"]
"""Imported once in it, which LIEF takes most of the time of."""


def worker_context() -> BaseContext:
    """How workers are started: forked from a server that knows no secrets, on Windows anew."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def start_ahead() -> None:
    """Have the server import what it needs while this process imports and loads the rest.

    For whoever knows that there will be workers. It ends with this process.
    """
    if sys.platform != "win32":
        from multiprocessing import forkserver

        worker_context()
        forkserver.ensure_running()
