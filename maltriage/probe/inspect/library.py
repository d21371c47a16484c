"""Names functions of libraries by FLIRT signatures, through the package `python-flirt`.

A signature is the first 32 bytes of a function with what a linker fills in left open, a checksum
of what follows, and its length (Hex-Rays FLIRT). Short functions of many libraries are alike, so a
name is given where all signatures that match have the same one, to functions that are not short.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from maltriage.errors import MaltriageError
from maltriage.probe.inspect.strings import shortened
from maltriage.sample.findings import LibraryFunction

SUFFIXES = (".sig", ".pat")
MIN_BYTES = 32
"""Least length of a function that is named."""
MAX_BYTES = 0x8000
"""Bytes of a function that signatures may reach."""
MAX_NAME = 128
MAX_ERROR = 200
_TITLES = {"msvc_rtf": "MSVC runtime", "atlmfc": "ATL or MFC", "common_libs": "common libraries"}
"""Names of libraries by a part of the name of a file of signatures."""


@dataclass(frozen=True)
class Signatures:
    """Compiled signatures, with the name of the library that each file of them is of."""

    matchers: tuple[tuple[str, Any], ...]

    def name(self, data: bytes, start: int, end: int) -> LibraryFunction | None:
        """The library function in bytes [start, end) of a file; None: none, or several fit."""
        if end - start < MIN_BYTES:
            return None
        code = data[start : start + MAX_BYTES]
        found: dict[str, str] = {}
        for library, matcher in self.matchers:
            for signature in matcher.match(code):
                names = [n for n, kind, at in signature.names if kind == "public" and not at]
                for name in names:
                    found.setdefault(name, library)
        if len(found) != 1:
            return None
        ((name, library),) = found.items()
        return None if name == "?" else LibraryFunction(start, shortened(name, MAX_NAME), library)


def signature_files(folder: Path) -> list[Path]:
    """The files of signatures in a folder, or the one that is named.

    Raises:
        MaltriageError: there are none.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    found = [path for path in files if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not found:
        raise MaltriageError(f"{folder}: no FLIRT signatures ({', '.join(SUFFIXES)})")
    return found


def problem_of(folder: Path) -> str | None:
    """What is wrong with the signatures in a folder; None: nothing. Runs in a worker.

    They are parsed and not compiled, which takes a quarter of the time of `read`.
    """
    import flirt

    try:
        for path in signature_files(folder):
            with _refused(path):
                _parsed(flirt, path)
    except MaltriageError as error:
        return str(error)
    return None


@lru_cache(maxsize=1)
def read(folder: Path) -> Signatures:
    """The signatures in a folder, compiled: two seconds and 1.2 GB for 700,000 of them.

    Raises:
        MaltriageError: there are none, or they cannot be read.
    """
    import flirt

    matchers = []
    for path in signature_files(folder):
        with _refused(path):
            matcher = flirt.compile(_parsed(flirt, path))
        title = next((t for part, t in _TITLES.items() if part in path.stem), path.stem)
        matchers.append((title, matcher))
    return Signatures(tuple(matchers))


def _parsed(flirt: Any, path: Path) -> Any:
    if path.suffix.lower() == ".sig":
        return flirt.parse_sig(path.read_bytes())
    return flirt.parse_pat(path.read_text("ascii", "replace"))


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Any error as one of the file of signatures."""
    try:
        yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # a panic of the library is none of Exception
        text = shortened(str(error), MAX_ERROR)  # it may have all bytes of the file
        raise MaltriageError(f"{path}: no FLIRT signatures: {text}") from error
