"""The process that workers are forked from. Importing this costs what `multiprocessing` does."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterable
from multiprocessing.context import BaseContext

PRELOAD = ["maltriage.sample.members", "lief", "pefile", "PIL.PngImagePlugin"]
"""Imported once in it, which LIEF takes most of the time of."""
FOR_URLS = {
    "s3": ["s3fs"],
    "s3a": ["s3fs"],
    "http": ["fsspec.implementations.http"],
    "https": ["fsspec.implementations.http"],
}
"""Imported as well where a URL of that scheme was named. What is not installed is passed by."""

_schemes: set[str] = set()


def worker_context() -> BaseContext:
    """How workers are started: forked from a server that knows no secrets, on Windows anew."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    more = {module for scheme in _schemes for module in FOR_URLS.get(scheme, ())}
    context.set_forkserver_preload([*PRELOAD, *sorted(more)])
    return context


def expect_urls(paths: Iterable[str]) -> None:
    """Have the server import what URLs take, if it does not run yet and there are any."""
    _schemes.update(path.partition(":")[0].lower() for path in paths if "://" in path)


def start_ahead() -> None:
    """Have the server import what it needs while this process imports and loads the rest.

    For whoever knows that there will be workers. It ends with this process.
    """
    if sys.platform != "win32":
        from multiprocessing import forkserver

        worker_context()
        forkserver.ensure_running()
