"""Changes of one file by several processes, one after another."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from maltriage.errors import MaltriageError

if sys.platform == "win32":

    @contextmanager
    def turn(path: Path) -> Iterator[None]:
        """Nothing: a file that is locked there cannot be replaced."""
        yield

else:
    import fcntl

    @contextmanager
    def turn(path: Path) -> Iterator[None]:
        """Wait until nobody else changes a file that is replaced by each change.

        The file itself is locked, so that nothing is left beside it. What waited for a file that
        was replaced meanwhile holds the old one, and begins again. Locks are those of the system:
        they end with their process.

        Raises:
            MaltriageError: there is no such file, or its file system knows no locks.
        """
        while True:
            try:
                file = path.open("rb")
            except OSError as error:
                raise MaltriageError(f"cannot read {path}: {error.strerror}") from error
            with file:
                if _held(file, path):
                    yield
                    return

    def _held(file: BinaryIO, path: Path) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            return os.path.samestat(os.fstat(file.fileno()), path.stat())
        except FileNotFoundError:
            return False
        except OSError as error:
            raise MaltriageError(f"cannot lock {path}: {error.strerror}") from error
