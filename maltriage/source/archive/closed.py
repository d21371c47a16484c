"""Containers that are not opened: archives, disk images and installers of further kinds, and those
that libarchive opens where it is not installed.

Programs may be in them, so a scan names each: `not PE` would hide that it was not looked into.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

CONTAINER = "container"
"""Code of the skip of such a file."""
_BEGINS = (
    ("a RAR archive", 0, b"Rar!\x1a\x07"),
    ("a cabinet file (CAB)", 0, b"MSCF\0\0\0\0"),
    ("an ACE archive", 7, b"**ACE**"),
    ("a disk image (VHD)", 0, b"conectix"),
    ("a disk image (VHDX)", 0, b"vhdxfile"),
    ("a Windows image (WIM)", 0, b"MSWIM\0\0\0"),
)
"""What they are called, and what is in them at an offset."""
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_INSTALLERS = tuple(
    struct.pack("<I", kind) + b"\0\0\0\0\xc0\0\0\0\0\0\0\x46"
    for kind in (0x000C1082, 0x000C1084, 0x000C1086)
)
"""CLSID of the root of an OLE file that is a transform, package or patch of Windows Installer."""
At = Callable[[int, int], bytes]
"""The bytes of a file from an offset on, at most so many; fewer where it ends."""
BY_LIBARCHIVE = frozenset(
    ("a RAR archive", "a cabinet file (CAB)", "an LZH archive", "an ISO image")
)
"""Those of them that the extra `archives` opens."""
VOLUME = 0x8000
"""Where the descriptors of an ISO 9660 or UDF image begin: 16 sectors of 2,048 bytes (ECMA-119,
section 6.2.1)."""
_IMAGES = {b"CD001": "an ISO image", b"BEA01": "a disk image (UDF)"}
_IMAGE_ENDINGS = (".iso", ".img", ".udf")


def closed_kind(path: str, at: At) -> str | None:
    """What a file is called that is such a container; None: it is none.

    Args:
        path: of the file. An image whose first bytes are in use is looked for by its name alone.
        at: the bytes of the file.
    """
    head = at(0, 64)
    for called, offset, magic in _BEGINS:
        if head[offset : offset + len(magic)] == magic:
            return called
    if like_lzh(head):
        return "an LZH archive"
    if head[:3] == b"\x5d\0\0" and head[12:13] in (b"\0", b"\xff"):
        return "an LZMA file"
    if head[:2] == b"\x60\xea" and len(head) > 10 and head[10] == 2:  # type of its first header
        return "an ARJ archive"
    if head[:2] == b"\x1f\x9d" and len(head) > 2 and head[2] & 0x80 and 9 <= head[2] & 0x1F <= 16:
        return "a file of compress (.Z)"
    if head.startswith(_OLE):
        return "an installer (MSI)" if _root_of_ole(head, at) in _INSTALLERS else None
    if _may_be_image(path, head):
        return _IMAGES.get(at(VOLUME + 1, 5))
    return None


def like_lzh(head: bytes) -> bool:
    """Whether a file begins like an LZH archive: with the method of its first file."""
    return head[2:5] in (b"-lh", b"-lz") and head[6:7] == b"-"


def _may_be_image(path: str, head: bytes) -> bool:
    """Whether a file may be a disk image, by its name and first bytes, which most have empty."""
    return path.lower().endswith(_IMAGE_ENDINGS) or (len(head) >= 64 and not any(head[:64]))


def may_be_closed(path: str, head: bytes) -> bool:
    """Whether a file with these first bytes may be such a container, so that all of it is read."""
    found = closed_kind("", lambda offset, size: head[offset : offset + size])
    return found is not None or head.startswith(_OLE) or path.lower().endswith(_IMAGE_ENDINGS)


def _root_of_ole(head: bytes, at: At) -> bytes:
    """The CLSID of the root of an OLE file ([MS-CFB], sections 2.2 and 2.6.1)."""
    (shift,) = struct.unpack_from("<H", head.ljust(64, b"\0"), 0x1E)
    (sector,) = struct.unpack_from("<I", head.ljust(64, b"\0"), 0x30)
    return at((sector + 1) << min(shift, 16), 96)[80:]
