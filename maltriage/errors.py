"""The one error of library code that is meant for the user, the one that ends a scan late, and the
check of an extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maltriage.version import install_extra

if TYPE_CHECKING:
    from pathlib import Path


class MaltriageError(Exception):
    """Something the user can act on: wrong use, a bad bundle, missing data.

    The message is one clear line, without a traceback. The command line prints it on
    stderr and ends with exit code 2.
    """

    at_once = False
    """Whether the process must exit right after the message, since it cannot shut down in order."""


class OverdueError(KeyboardInterrupt):
    """A scan was asked to stop and takes too long: what it waits for is given up.

    Raised in the main thread by the handler of a signal, while it waits for workers, for the model,
    or for the reader of an output.
    """


def cannot_write(path: Path | str, error: OSError) -> MaltriageError:
    """The error of a file or folder that the system does not let be written."""
    return MaltriageError(f"cannot write {path}: {error.strerror or error}")


def need(extra: str, what: str, *modules: str) -> None:
    """Raise MaltriageError if a module of an extra is not installed.

    Args:
        what: what needs it, e.g. `STIX needs stix2`.
    """
    from importlib.util import find_spec

    if missing := [name for name in modules if find_spec(name) is None]:
        raise MaltriageError(f"{what.format(', '.join(missing))}: {install_extra(extra)}")
