"""Reads workers' answers as plain data.

Python's pickles can call anything by name. A worker under a sample's control chooses what it sends,
so the main process accepts only plain values: data classes of `sample`, `source`, `probe` and
`work`, arrays of numbers, and exceptions. Any other value is refused, and the worker is ended.
"""

from __future__ import annotations

import builtins
import enum
import importlib
import io
import pathlib
import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from typing import Any

import msgspec

from maltriage.sample.errors import SampleError

OWN = tuple(f"maltriage.{floor}." for floor in ("sample", "source", "probe", "work"))
MAX_ANSWER = 1 << 30
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


_PLAIN = frozenset("complex range slice".split())
"""Without sets, which have opcodes of their own: `set(range(1 << 40))` would take all memory."""
_NUMBERED = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
"""Opcodes of older pickles that put a value in a place of any number, for which the reader makes
room: five bytes take 64 GB. Newer pickles count."""
_FRAME = 9
"""Bytes of the opcode FRAME, and of the length that follows it."""
_NUMBER = re.compile(r"[biufc][0-9]{1,2}")
"""Names of the dtypes that are accepted, all of native numbers. NumPy has one object for each of
them, which no state changes. The state of others can say that their bytes are addresses of objects,
or that a field lies outside of its item: reading such an array crashes the process."""


def _array(*_: object) -> Any:
    """An array of no numbers, whose state, the numbers, follows; whatever shape is asked for."""
    import numpy as np

    return np.zeros(0, np.uint8)


def _bytes(data: object = b"") -> bytearray:
    if not isinstance(data, bytes):  # of a number it would be so many zeros
        raise pickle.UnpicklingError("a bytearray of no bytes")
    return bytearray(data)


def _dtype(name: object, *_: object) -> Any:
    """NumPy's own object for a number, not a copy, which the pickle asks for."""
    import numpy as np

    if not isinstance(name, str) or not _NUMBER.fullmatch(name):
        raise pickle.UnpicklingError(f"a dtype that is no number: {name!r:.40}")
    return np.dtype(name)


_MADE: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "bytearray"): _bytes,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy.core.multiarray", "_reconstruct"): _array,
}
"""What is called in place of types and functions of these names, since they would take memory, or
trust a state."""
_KNOWN = frozenset(
    [
        *(
            (f"numpy.{core}.{module}", name)
            for core in ("_core", "core")
            for module, name in (("multiarray", "scalar"), ("numeric", "_frombuffer"))
        ),
        ("msgspec._core", "rebuild"),
        ("maltriage.sample.errors", "_sample_error"),
        *((type(pathlib.Path()).__module__, n) for n in ("PosixPath", "WindowsPath")),
        ("pathlib", "PosixPath"),
    ]
)
"""Functions, by module and name, that rebuild plain values of other packages."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _found(module, name)


def read(data: bytes) -> Any:
    """The value of a pickle.

    Raises:
        OSError: it names anything but a plain value, or asks for memory that it does not fill.
    """
    try:
        _check_opcodes(data)
        return _Reader(io.BytesIO(data)).load()
    except Exception as error:  # of a refused name, or of malformed data
        raise OSError(f"a worker sent an unreadable answer: {error}") from error


def _check_opcodes(data: bytes) -> None:
    """Refuse opcodes that take memory, and frames by which Python's reader sees other ones.

    It reads a frame as a whole, and where an opcode needs more it drops the rest of the frame.

    Raises:
        UnpicklingError, ValueError: there is such an opcode, or the pickle is malformed.
    """
    end = 0
    for opcode, argument, place in pickletools.genops(data):
        at = place or 0
        if opcode.name in _NUMBERED:
            raise pickle.UnpicklingError(f"{opcode.name}, an opcode of older pickles")
        if at > end > 0 or (opcode.name == "FRAME" and at < end):
            raise pickle.UnpicklingError("an opcode across the end of a frame")
        if opcode.name == "FRAME":
            end = at + _FRAME + int(argument or 0)
        elif at == end:
            end = 0


@lru_cache(maxsize=1024)
def _found(module: str, name: str) -> Any:
    if (module, name) in _MADE:
        return _MADE[module, name]
    if (module, name) in _KNOWN or (module == "builtins" and name in _PLAIN):
        return _imported(module, name)
    if module == "builtins":
        found = getattr(builtins, name, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    elif module.startswith(OWN) and "." not in name:
        found = _imported(module, name)
        if isinstance(found, type) and found.__module__ == module and _holds_data(found):
            return found
    raise pickle.UnpicklingError(f"{module}.{name} is no plain value")


def _imported(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _holds_data(kind: type) -> bool:
    named = issubclass(kind, tuple) and hasattr(kind, "_fields")
    plain = issubclass(kind, msgspec.Struct | enum.Enum | BaseException)
    return named or plain or is_dataclass(kind)


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
        reason = f"{type(error).__name__}: {error}"
        raise SampleError("internal", reason, failed=True) from error
