"""Reads pickles of plain values from an untrusted process.

A pickle can call anything by name. Even without that it can call an instance, change what a class
does, take all memory in five bytes, or crash the process by the state of an array. So names stand
for plain values alone, and there are only the opcodes with which today's pickles write these.

The reader is Python's own in Python: the one in C makes room for as many values as a number says,
and where an opcode crosses the end of a frame it drops the frame's rest.
"""

from __future__ import annotations

import builtins
import enum
import importlib
import io
import pathlib
import pickle
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import lru_cache, partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

import msgspec

OWN = tuple(f"maltriage.{floor}." for floor in ("sample", "source", "probe", "work"))
MAX_OPCODES = 1 << 20
"""Of a message: an empty set takes a byte there and 230 here. The largest answer to a chunk of an
archive has 18,000, since views are bytes."""
MAX_TUPLES, MAX_DEPTH = 1 << 20, 64
"""Most tuples in a tuple, each counted as often as it is in it, and in each other. A hash visits
all of them, for hours where each has the one before it twice, and no depth ends it but a crash."""
_PLAIN = frozenset("complex range slice".split())
"""Without sets, which have opcodes of their own: `set(range(1 << 40))` would take all memory."""
_NUMBER = re.compile(r"[biufc][0-9]{1,2}")
"""Names of the dtypes that are accepted, all of native numbers. NumPy has one object for each of
them, which no state changes. The state of others can say that their bytes are addresses of objects,
or that a field lies outside of its item."""


def load(data: bytes) -> Any:
    """The value of a pickle.

    Raises:
        Exception: it has anything but plain values, or is malformed.
    """
    return _Reader(io.BytesIO(data)).load()


class _Reader(pickle._Unpickler):
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    load_reduce: Callable[[], None]
    load_build: Callable[[], None]

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._nested: dict[int, tuple[int, int]] = {}
        """Tuples in each tuple, and how deep, by its `id`."""

    def load(self) -> Any:
        """As Python's own, for at most so many opcodes."""
        self._unframer = pickle._Unframer(self._file_read, self._file_readline)  # type: ignore[attr-defined]
        self.read = self._unframer.read
        self.metastack = list[Any]()
        self.stack, self.proto = [], 0
        self.append = self.stack.append
        read, methods = self.read, _METHODS
        try:
            for _ in range(MAX_OPCODES):
                opcode = read(1)
                if not opcode:
                    raise EOFError
                methods[opcode[0]](self)
        except pickle._Stop as end:  # type: ignore[attr-defined]
            return end.value
        raise pickle.UnpicklingError("too many values")

    def find_class(self, module: str, name: str) -> Any:
        return _found(module, name)

    def call(self) -> None:
        """REDUCE, of what has a name: instances of some classes could be called as well."""
        if not isinstance(self.stack[-2], _NAMED):
            raise pickle.UnpicklingError(f"a call of {type(self.stack[-2]).__name__}")
        self.load_reduce()

    def build(self) -> None:
        """BUILD, of an instance: the state of a class is what its instances do."""
        if isinstance(self.stack[-2], _NAMED):
            raise pickle.UnpicklingError(f"a state of {self.stack[-2].__name__}")
        self.load_build()

    def tuple_by(self, opcode: Callable[[Any], None]) -> None:
        """Any of the opcodes that make a tuple of values."""
        opcode(self)
        made = self.stack[-1]
        inner = [self._nested[id(item)] for item in made if type(item) is tuple and item]
        count = 1 + sum(count for count, _ in inner)
        depth = 1 + max((depth for _, depth in inner), default=0)
        if count > MAX_TUPLES or depth > MAX_DEPTH:
            raise pickle.UnpicklingError("too many tuples in each other")
        self._nested[id(made)] = count, depth

    def bytearray_of_its_bytes(self) -> None:
        """BYTEARRAY8, without room for more bytes than there are."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))


def _filling(self: Any, kind: type, opcode: Callable[[Any], None], one: int | None = None) -> None:
    """An opcode that puts values into a list, dict or set, and not into an object by its methods.

    Args:
        one: place on the stack, where the opcode takes a single value.
    """
    target = self.metastack[-1][-1] if one is None else self.stack[one]
    if type(target) is not kind:
        raise pickle.UnpicklingError(f"{type(target).__name__} in place of {kind.__name__}")
    opcode(self)


_NAMED = (type, FunctionType, BuiltinFunctionType)
_PLAINLY = """PROTO FRAME STOP MARK MEMOIZE BINGET LONG_BINGET STACK_GLOBAL NEWOBJ
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8
    EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET FROZENSET"""


def _dispatch() -> dict[int, Callable[[Any], None]]:
    """The opcodes, each with its method: of those that are missing there is none."""

    def plainly(name: str) -> Callable[[Any], None]:
        method: Callable[[Any], None] = pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
        return method

    found = {name: plainly(name) for name in _PLAINLY.split()}
    found |= {"REDUCE": _Reader.call, "BUILD": _Reader.build}
    found["BYTEARRAY8"] = _Reader.bytearray_of_its_bytes
    for name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
        found[name] = partial(_Reader.tuple_by, opcode=plainly(name))
    for name, kind, one in (
        ("APPEND", list, -2),
        ("APPENDS", list, None),
        ("SETITEM", dict, -3),
        ("SETITEMS", dict, None),
        ("ADDITEMS", set, None),
    ):
        found[name] = partial(_filling, kind=kind, opcode=plainly(name), one=one)
    return {getattr(pickle, name)[0]: method for name, method in found.items()}


_METHODS = _dispatch()


@lru_cache(maxsize=1024)
def _found(module: str, name: str) -> Any:
    """What a name in a pickle stands for.

    Raises:
        UnpicklingError: for no plain value.
    """
    if (module, name) in _MADE:
        return _MADE[module, name]
    if (module, name) in _KNOWN or (module == "builtins" and name in _PLAIN):
        return _imported(module, name)
    if module == "builtins":
        found = getattr(builtins, name, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    elif module.startswith(OWN) and "." not in name and (module, name) not in _CHECKED:
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
    return issubclass(kind, msgspec.Struct | enum.Enum | BaseException) or is_dataclass(kind)


def _array(*_: object) -> Any:
    """An array of no numbers, whose state, the numbers, follows; whatever shape is asked for."""
    import numpy as np

    return np.zeros(0, np.uint8)


def _bytearray(data: object = b"") -> bytearray:
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
    ("builtins", "bytearray"): _bytearray,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy.core.multiarray", "_reconstruct"): _array,
}
"""What is called in place of types and functions that would take memory or trust a state."""
_CHECKED = frozenset(
    [
        ("maltriage.probe.prepare", "Prepared"),
        ("maltriage.sample.byteplot", "View"),
        ("maltriage.sample.errors", "SampleError"),
    ]
)
"""Classes that are only made by functions, which check their values."""
_KNOWN = frozenset(
    [
        *(
            (f"numpy.{core}.{module}", name)
            for core in ("_core", "core")
            for module, name in (("multiarray", "scalar"), ("numeric", "_frombuffer"))
        ),
        ("msgspec._core", "rebuild"),
        ("maltriage.sample.errors", "_sample_error"),
        ("maltriage.sample.byteplot", "made_view"),
        ("maltriage.probe.prepare", "made_prepared"),
        *((type(pathlib.Path()).__module__, n) for n in ("PosixPath", "WindowsPath")),
        ("pathlib", "PosixPath"),
    ]
)
"""Functions, by module and name, that rebuild plain values of other packages."""
