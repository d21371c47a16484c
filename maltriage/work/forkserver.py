"""The process that workers are forked from. Importing this costs what `multiprocessing` does."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from maltriage.files.temporary import make_folder, remove_folder
from maltriage.source.stores import kind_of

PRELOAD = ["maltriage.work.quiet", "maltriage.work.farewell", "maltriage.probe.members"]
PRELOAD += ["lief", "pefile", "PIL.PngImagePlugin"]
"""Imported once in it, which LIEF takes most of the time of."""

_for_urls: set[str] = set()
"""Imported as well, for URLs that were named. What is not installed is passed by."""

MAX_FOLDER = 64
"""Longest path of a folder, in bytes, that leaves room for a folder and a socket, which take 38: a
socket's path has at most 108 on Linux, 104 elsewhere."""
FOLDER = "MALTRIAGE_SERVER_FOLDER"
"""Variable by which the server knows the folder of its socket."""
_folder: Path | None = None
_A_MOMENT = 0.2
"""Seconds after which the end of a killed server is seen."""
_FEW_DESCRIPTORS = 64
_recovering = threading.Lock()


def worker_context() -> BaseContext:
    """The way to start workers: forked from a server without secrets on Linux, elsewhere spawned.

    Windows has no fork. On macOS a process that has loaded frameworks of the system, as NumPy does,
    may crash where it is forked, which is why Python does not fork there unasked.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    _have_folder()
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
    if sys.platform == "linux":
        from multiprocessing import forkserver

        with suppress(OSError):  # who starts workers says so
            worker_context()
            forkserver.ensure_running()


def recover(found: Exception) -> bool:
    """After a worker could not be started: whether another attempt may do.

    The server may have been killed, which `multiprocessing` sees a little later; or the folder of
    its socket was removed, as tools that clean temporary folders do. Then a new server is started,
    in a new folder, and the old one ends.
    """
    if not isinstance(found, FileNotFoundError | ConnectionError | EOFError) or _folder is None:
        return False
    with _recovering:
        if _folder.is_dir():
            time.sleep(_A_MOMENT)
        else:
            _forget()
            _have_folder()
    return True


def refusal(error: Exception) -> str:
    """Why a worker cannot be started, in words."""
    if isinstance(error, FileNotFoundError | ConnectionError):
        # Nobody answers at the socket of the server, which ends where it gets no descriptors.
        guess = ": too few descriptors (ulimit -n)?" if _few_descriptors() else ""
        return f"the process that they are forked from has ended{guess}"
    return str(getattr(error, "strerror", None) or error)


def _few_descriptors() -> bool:
    """Whether this process may have fewer files open than workers take."""
    if sys.platform == "win32":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] < _FEW_DESCRIPTORS


def _have_folder() -> None:
    """Place the server's socket in a folder of this process, with a path that is short enough.

    The server removes the folder at its end (`farewell`), so that a scan that is killed leaves
    nothing; where the server is killed as well, the next scan removes it a day later.
    """
    global _folder  # noqa: PLW0603 - made once in a process
    if _folder is not None:
        return
    import tempfile
    from multiprocessing import util

    named = tempfile.gettempdir()
    short = len(named.encode("utf-8", "surrogateescape")) <= MAX_FOLDER
    _folder = make_folder(Path(named if short else "/tmp"))
    os.environ[FOLDER] = str(_folder)
    util.Finalize(None, remove_folder, args=(_folder,), exitpriority=-100)
    # Otherwise `multiprocessing` makes one, and complains if it is gone at the end, as it is where
    # the server has ended first.
    multiprocessing.current_process()._config["tempdir"] = str(_folder)  # type: ignore[attr-defined]


def _forget() -> None:
    """Have this process start a new server, in a new folder.

    Where it was forked from one that has a server: that is no child of it, so that
    `multiprocessing` could not ask whether it still runs.
    """
    global _folder  # noqa: PLW0603 - made once in a process
    if _folder is None:
        return
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    alive = server._forkserver_alive_fd
    vars(server).update(vars(forkserver.ForkServer()))  # and its lock, which may be held
    if alive is not None:
        os.close(alive)  # for which the server waits
    _folder = None
    os.environ.pop(FOLDER, None)
    multiprocessing.current_process()._config.pop("tempdir", None)  # type: ignore[attr-defined]


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)
