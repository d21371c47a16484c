"""The process that workers are forked from. Importing this costs what `multiprocessing` does."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterable
from multiprocessing.context import BaseContext

from maltriage.source.stores import kind_of

PRELOAD = ["maltriage.work.quiet", "maltriage.probe.members", "lief", "pefile"]
PRELOAD += ["PIL.PngImagePlugin"]
"""Imported once in it, which LIEF takes most of the time of."""

_for_urls: set[str] = set()
"""Imported as well, for URLs that were named. What is not installed is passed by."""

MAX_FOLDER = 60
"""Longest path of a folder, in bytes, that leaves room for a folder with a socket: a socket's path
has at most 108 on Linux, 104 elsewhere."""


def worker_context() -> BaseContext:
    """The way to start workers: forked from a server without secrets, spawned on Windows."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    _have_short_folder()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD, *sorted(_for_urls)])
    return context


def expect_urls(paths: Iterable[str]) -> None:
    """Have the server import what URLs take, if it does not run yet and there are any."""
    for path in paths:
        if "://" in path:
            _for_urls.update(kind_of(path.partition(":")[0].lower()).imports)


def start_ahead() -> None:
    """Have the server import its modules while this process imports and loads the rest.

    For a command that will need workers. The server ends with this process.
    """
    if sys.platform != "win32":
        from multiprocessing import forkserver

        worker_context()
        forkserver.ensure_running()


def _have_short_folder() -> None:
    """Place the server's socket where its path is short enough, whatever TMPDIR says.

    Python does so itself from 3.14 on.
    """
    import tempfile
    from multiprocessing import util

    named = tempfile.gettempdir()
    if len(named.encode("utf-8", "surrogateescape")) > MAX_FOLDER:
        tempfile.tempdir = "/tmp"
        try:
            util.get_temp_dir()  # made once in a process, and removed at its end
        finally:
            tempfile.tempdir = named
