"""Tells the path of a file in an archive from that of a file whose name has a `!`."""

from __future__ import annotations

import re

SEPARATOR = "!"
"""Between an archive and a file in it: `a.zip!b.tar.gz!c.exe`."""
_INSIDE = re.compile(
    r"(?:\A-|[^/\\!]\.(?=\w*[A-Za-z])\w+(?:\#\d+)?|(?<![^/\\!])[0-9A-Fa-f]{32,})!(?=.)"
    r"|!(?=carved@0x[0-9a-f]{1,16}(?:\.upx)?\.exe\Z)",
    re.DOTALL,
)
"""The end of an archive's path, or of a program's: a name with an ending, a digest or `-` before
the `!`. A name such as `Setup!.exe` or `Yahoo! Mail.exe` has none there."""


REPEATED = re.compile(r"(?<=\w)#(?:[2-9]|[1-9]\d+)\Z")
"""What the second file of an archive with the same name has at its end, and the third."""


def file_on_disk(path: str) -> str:
    """The path of the archive, or of the program, that a file is in; else its own."""
    found = _INSIDE.search(path)
    return path[: found.end() - 1] if found else path


def inner_name(path: str) -> str | None:
    """The name in the archive, or in the program, of a file in one; None: it is a file by itself.

    By the path alone: who reads a saved report does not have the files.
    """
    ends = [found.end() for found in _INSIDE.finditer(path)]
    return path[ends[-1] :].replace("\\", "/") if ends else None
