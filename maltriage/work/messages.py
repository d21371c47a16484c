"""Messages of workers, which are read as plain data.

A worker under a sample's control chooses what it sends, so the main process accepts only plain
values: data classes of `sample`, `source`, `probe` and `work`, arrays of numbers, and exceptions
(`unpickle`). Any other value is refused, and the worker is ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maltriage.sample.errors import SampleError
from maltriage.work.unpickle import OWN, load

MAX_ANSWER = 1 << 28
"""Bytes of one answer. Views of a file take about 70 KB, of all of its checks about 100 MB."""


@dataclass
class Begun:
    """A process has begun a job."""

    job: int


@dataclass
class Answer:
    """The result of a job: its value, or its error."""

    job: int
    value: Any
    error: BaseException | None


def read(data: bytes) -> Any:
    """The value of a pickle.

    Raises:
        OSError: it has anything but plain values, or asks for memory that it does not fill.
    """
    try:
        return load(data)
    except Exception as error:  # of a refused name, or of malformed data
        raise OSError(f"a worker sent an unreadable answer: {error}") from error


def carried(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """In a worker: `function(*arguments)`, with errors that `read` accepts.

    Raises:
        Exception: a built-in one, one of `OWN`, or `SampleError` in place of others.
    """
    try:
        return function(*arguments)
    except Exception as error:
        module = type(error).__module__
        if module == "builtins" or module.startswith(OWN):
            raise
        if isinstance(error, MemoryError):  # NumPy has one of its own
            raise MemoryError(str(error)) from error
        reason = f"{type(error).__name__}: {error}"
        raise SampleError("internal", reason, failed=True) from error
