"""Names of files as bytes: those that are no text have lone surrogates, as Python keeps them."""

from __future__ import annotations

import os
import sys


def name_bytes(name: str) -> bytes:
    """The bytes of a name.

    On Windows, where the system's names are text, a member of an archive may still have a name that
    is none. Only a lone surrogate that stands for no byte is one of the system's own.
    """
    if sys.platform != "win32":
        return os.fsencode(name)
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def name_of(raw: bytes) -> str:
    """The name of which `name_bytes` gives these bytes, also those of another system."""
    if sys.platform != "win32":
        return os.fsdecode(raw)
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "surrogateescape")
