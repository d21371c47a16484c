"""Landlock rules for workers: a second limit by the kernel on files and network.

Where seccomp filters calls, Landlock filters their effects: nothing below any folder may be
written, made, removed or run, no TCP port opened or reached, and no process outside inspected.
It needs Linux 5.13 or newer; later versions refuse more.
"""

from __future__ import annotations

import ctypes
import os

_CREATE, _RESTRICT = 444, 446  # the same on all machines
_ASK_VERSION = 1
_FILES = 0b1_1111_1111_0011
"""Running files, and all rights of version 1 except reading files and folders."""
_FILES_SINCE = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""Moving to another folder, truncating, control of devices."""
_TCP = 0b11  # bind and connect, since version 4
_SCOPES = 0b11  # abstract sockets and signals
SCOPED = 6
"""The version since which they are refused."""


class _Rules(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("tcp", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def version(libc: ctypes.CDLL) -> int:
    """Version of the kernel's Landlock; 0: it has none, or it is off."""
    null, zero = ctypes.c_void_p(None), ctypes.c_size_t(0)
    found = libc.syscall(ctypes.c_long(_CREATE), null, zero, ctypes.c_uint32(_ASK_VERSION))
    return max(0, int(found))


def rules(available: int, *, network: bool) -> tuple[int, int, int, int]:
    """The rights to refuse: bits for files, TCP and scopes, and the size of the struct in bytes."""
    files = _FILES
    for since, bit in _FILES_SINCE.items():
        files |= bit if available >= since else 0
    tcp = _TCP if available >= 4 and not network else 0
    scopes = _SCOPES if available >= SCOPED else 0
    return files, tcp, scopes, 24 if available >= SCOPED else 16 if available >= 4 else 8


def install(libc: ctypes.CDLL, *, network: bool) -> int:
    """Apply the rules to this process for good. It must not be able to gain privileges.

    Returns:
        The version applied, 0: none.
    """
    available = version(libc)
    if not available:
        return 0
    files, tcp, scopes, size = rules(available, network=network)
    given = _Rules(files, tcp, scopes)
    number = libc.syscall(
        ctypes.c_long(_CREATE), ctypes.byref(given), ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    if number < 0:
        return 0
    try:
        done = libc.syscall(ctypes.c_long(_RESTRICT), ctypes.c_int(number), ctypes.c_uint32(0))
    finally:
        os.close(number)
    return available if done == 0 else 0
