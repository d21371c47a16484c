"""Confines a worker before it touches a sample.

A parser that a sample subverts can then do little: it has a share of memory, writes nothing but its
answer, starts nothing, reaches no network and no other process, leaves no core dump, and ends with
the scan. Each measure is tried, and a system that lacks one goes without it; `attempts` tries in a
worker what holds. docs/reference/isolation.md lists the measures by system.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maltriage.source.reading import MAX_FILE_BYTES
from maltriage.work import landlock, seccomp

BASE_MEMORY = 1024 * 1024 * 1024
MEMORY_PER_BYTE = 8
"""A worker may take `BASE_MEMORY`, plus this for each byte of the largest sample: `--max-size`
raises it. Up to 4.4 bytes were measured (docs/studies/isolation.md)."""
IS_LINUX = sys.platform == "linux"

PDEATHSIG, DUMPABLE, NO_NEW_PRIVS = 1, 4, 38
READ_ANYTHING = 1 << 2
"""CAP_DAC_READ_SEARCH, the one capability of root that a worker keeps."""
_CAPABILITIES_VERSION = 0x20080522
_NEW_USER = 0x10000000  # CLONE_NEWUSER


def memory_for(max_size: int) -> int:
    """Bytes of memory of a worker, for samples of up to `max_size` bytes."""
    return BASE_MEMORY + MEMORY_PER_BYTE * max_size


@dataclass(frozen=True)
class Isolation:
    """Limits of a worker: bytes of `memory`, and whether it may use the `network`."""

    memory: int = memory_for(MAX_FILE_BYTES)
    network: bool = False


ISOLATED = Isolation()

landlock_version = 0
"""In a worker: the version of Landlock that confines it."""


def confine(isolation: Isolation) -> None:
    """Drop every right that a parser does not need, once and for good; with a single thread."""
    _silence()
    _limit(isolation.memory)
    if IS_LINUX:
        with suppress(OSError, AttributeError):
            _confine_linux(isolation)


def _silence() -> None:
    """Discard the output of libraries that print findings in a sample."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    if null > 2:
        os.close(null)


def _limit(memory: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    # Libraries and mapped files are most of the address space, and differ between systems. Linux
    # counts the pages that a process writes to, which are the scarce ones.
    of_memory = resource.RLIMIT_DATA if IS_LINUX else resource.RLIMIT_AS
    # Unless a better measure refuses it, no regular file may grow; pipes are not affected.
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (of_memory, memory),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (value, value))


def _confine_linux(isolation: Isolation) -> None:
    global landlock_version  # noqa: PLW0603 - known once, when a worker starts
    libc = load_libc()
    _end_with_the_scan(libc)
    prctl(libc, NO_NEW_PRIVS, 1)
    _drop_capabilities(libc, READ_ANYTHING)
    landlock_version = landlock.install(libc, network=isolation.network)
    # Without Landlock a process may look into others of its user, unless they have capabilities
    # that it lacks, as those of root have, or are in a user namespace outside its own.
    if not landlock_version and capabilities(libc) == (0, 0):
        _leave_namespace(libc)
    prctl(libc, DUMPABLE, 0)
    seccomp.install(libc, network=isolation.network)


def load_libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def prctl(libc: ctypes.CDLL, what: int, value: int) -> int:
    zero = ctypes.c_ulong(0)
    return int(libc.prctl(ctypes.c_int(what), ctypes.c_ulong(value), zero, zero, zero))


def _end_with_the_scan(libc: ctypes.CDLL) -> None:
    """Die with the server that forked this process, even inside a parser.

    The server ends when the other end of its pipe is closed everywhere. Workers hold that end, to
    have processes forked themselves, and would keep the server alive after the scan.
    """
    from multiprocessing import forkserver, resource_tracker

    server: Any = forkserver._forkserver
    number = getattr(server, "_forkserver_alive_fd", None)
    if number is not None:
        os.close(number)
        server._forkserver_alive_fd = None
    # What is written there removes shared memory by its name, and is printed: nothing is.
    tracker = getattr(resource_tracker._resource_tracker, "_fd", None)
    if tracker is not None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, tracker)
        os.close(null)
    prctl(libc, PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it died first
        os._exit(1)


def capabilities(libc: ctypes.CDLL) -> tuple[int, int] | None:
    """The effective and permitted capabilities of this process; None: the kernel does not say."""
    held = ctypes.create_string_buffer(24)
    if libc.capget(_header(), held):
        return None
    effective, permitted, _, more_effective, more_permitted, _ = struct.unpack("=6I", held.raw)
    return effective | more_effective << 32, permitted | more_permitted << 32


def _drop_capabilities(libc: ctypes.CDLL, keep: int) -> None:
    held = capabilities(libc)
    if held is not None:
        kept = (held[0] & keep, held[1] & keep)
        libc.capset(_header(), ctypes.create_string_buffer(struct.pack("=6I", *kept, 0, 0, 0, 0)))


def _header() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITIES_VERSION, 0))


def _leave_namespace(libc: ctypes.CDLL) -> None:
    """Enter a user namespace of its own, with the same user and group, and no capabilities."""
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(ctypes.c_int(_NEW_USER)):  # the system has none, or not for users
        return
    with suppress(OSError):
        Path("/proc/self/uid_map").write_bytes(b"%d %d 1" % (user, user))
        Path("/proc/self/setgroups").write_bytes(b"deny")
        Path("/proc/self/gid_map").write_bytes(b"%d %d 1" % (group, group))
    _drop_capabilities(libc, 0)
