"""File locks between processes, held by the system: a lock ends with its process."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from maltriage.errors import MaltriageError, cannot_write


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold a lock file for the time of the block.

    The lock file stays: removing it would let two processes hold two files of one name.

    Args:
        path: of the lock file; its folder is made.
        waiting: called once, before the wait for a lock that another process holds; None: do
            not wait.

    Yields:
        Whether the lock is held; with `waiting` it always is.

    Raises:
        MaltriageError: the file cannot be made, or the file system knows no locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its fallback would be a file that outlives its process.
        lock = FileLock(path, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if waiting is not None:
                waiting()
                lock.acquire()
    except NotImplementedError as error:
        raise _no_locks(path) from error
    except OSError as error:
        no_locks = error.errno == errno.ENOSYS
        raise (_no_locks(path) if no_locks else cannot_write(path, error)) from error
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _no_locks(path: Path) -> MaltriageError:
    return MaltriageError(f"cannot lock {path}: its file system knows no locks")
