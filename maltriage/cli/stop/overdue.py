"""Sees to it that a command ends after one signal, whatever it waits for.

The handler of a signal runs in the main thread, which may wait in a library or for the reader of a
pipe. Python's C code notes the signal all the same, and a thread reads that note. It gives the
command `GRACE` seconds, then has `OverdueError` raised in the main thread again and again. After
`LAST` more seconds it ends the process. Time for writing files is not counted.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread, main_thread

from maltriage.cli.stop import interrupt
from maltriage.errors import OverdueError

GRACE = 5.0
"""Seconds for a scan to end in order. With `LAST` less than the ten that container engines give."""
LAST = 3.0
"""Seconds from the first `OverdueError` to the end of the process."""
_EACH = 1.0
"""Seconds between two `OverdueError`."""
_TICK = 0.05
_ENDING = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGBREAK", signal.SIGINT))

_unhurried = 0
"""Depth of blocks that write files."""
_calls = False
"""Whether the next signal is that of the thread."""


@contextmanager
def unhurried() -> Iterator[None]:
    """A block that writes files: nothing is raised in it, and its time is not counted."""
    global _unhurried  # noqa: PLW0603 - a handler has no other place for it
    _unhurried += 1
    try:
        yield
    finally:
        _unhurried -= 1


def check() -> bool:
    """In the handler of a signal: whether it came from the thread.

    Raises:
        OverdueError: it did, and no file is being written.
    """
    global _calls  # noqa: PLW0603
    if not _calls:
        return False
    _calls = False
    if not _unhurried:
        raise OverdueError
    return True


@contextmanager
def ending_in_time() -> Iterator[None]:
    """A block that raises `OverdueError` and a process that ends, as described above.

    Its handler of SIGINT must call `check` first. The process ends in time even after the block.
    """
    try:
        reads, writes = socket.socketpair()
    except OSError:  # no descriptors are left: a scan that has too few says so
        yield
        return
    writes.setblocking(False)
    before = signal.set_wakeup_fd(writes.fileno(), warn_on_full_buffer=False)
    inside = [True]
    if (number := interrupt.asked()) is not None:
        writes.send(bytes((number,)))
    # It holds both sockets, and the process them as long as it runs.
    Thread(target=_watch, args=(reads, writes, inside), daemon=True).start()
    try:
        yield
    finally:
        inside.clear()
        if interrupt.asked() is None:  # otherwise nothing else may take it over
            signal.set_wakeup_fd(before)
            writes.close()


def _watch(reads: socket.socket, writes: socket.socket, inside: list[bool]) -> None:
    while (byte := reads.recv(1)) and byte[0] not in _ENDING:
        pass
    if not byte:
        return
    _wait(GRACE)
    for _ in range(round(LAST / _EACH)):
        if inside:
            _raise()
        _wait(_EACH)
    said = Thread(target=_say, daemon=True)  # stderr may be what nobody reads
    said.start()
    said.join(_EACH / 4)
    os._exit(interrupt.EXIT_INTERRUPTED)


def _wait(seconds: float) -> None:
    while seconds > 0:
        time.sleep(_TICK)
        if not _unhurried:
            seconds -= _TICK


def _raise() -> None:
    global _calls  # noqa: PLW0603
    _calls = True
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGINT)
    else:
        signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)


def _say() -> None:
    with suppress(OSError):
        os.write(2, b"maltriage: stopped at once: an output is not read, or the model runs on\n")
