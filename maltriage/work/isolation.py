"""Confines a worker before it touches a sample.

A parser that a sample subverts can then do little: it has a share of memory, writes nothing but its
answer, starts nothing, reaches no network and no other process, leaves no core dump, and ends with
the scan. Each measure is tried, and a system that lacks one goes without it; in a worker `achieved`
tests which ones hold. docs/security.md lists the measures by system.
"""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from maltriage.source.reading import MAX_FILE_BYTES
from maltriage.work import landlock, seccomp

BASE_MEMORY = 1024 * 1024 * 1024
MEMORY_PER_BYTE = 8
"""A worker may take `BASE_MEMORY`, plus this for each byte of the largest sample: `--max-size`
raises it. Up to 3.9 bytes were measured (docs/security.md)."""
IS_LINUX = sys.platform == "linux"

_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS = 1, 4, 38
_GET = {_PDEATHSIG: 2, _DUMPABLE: 3, _NO_NEW_PRIVS: 39}
_GET_SECCOMP = 21
_CAPABILITIES_VERSION = 0x20080522
_READ_ANYTHING = 1 << 2  # CAP_DAC_READ_SEARCH


def memory_for(max_size: int) -> int:
    """Bytes of memory of a worker, for samples of up to `max_size` bytes."""
    return BASE_MEMORY + MEMORY_PER_BYTE * max_size


@dataclass(frozen=True)
class Isolation:
    """Limits of a worker: bytes of `memory`, and whether it may use the `network`."""

    memory: int = memory_for(MAX_FILE_BYTES)
    network: bool = False


@dataclass(frozen=True)
class Achieved:
    """The measures that hold in a worker, found by asking the kernel and by trying.

    `memory`: bytes that it may take, None: no limit. `seccomp`, `landlock`: whether they refuse
    calls, the latter as its version, 0: no. The rest: whether the worker cannot do it.
    """

    memory: int | None
    core_dumps: bool
    outliving: bool
    privileges: bool
    inspection: bool
    network: bool
    writing: bool
    programs: bool
    signals: bool
    seccomp: bool
    landlock: int

    @property
    def missing(self) -> list[str]:
        """Names of the measures that do not hold."""
        return [name for name in ALL if not getattr(self, name)]


ALL = "memory core_dumps outliving privileges inspection network writing programs signals".split()
"""Names of all measures, see `Achieved`."""
ISOLATED = Isolation()

_landlock = 0
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
    global _landlock  # noqa: PLW0603 - known once, when a worker starts
    libc = _libc()
    _end_with_the_scan(libc)
    _prctl(libc, _NO_NEW_PRIVS, 1)
    _drop_capabilities(libc)
    _prctl(libc, _DUMPABLE, 0)
    _landlock = landlock.install(libc, network=isolation.network)
    seccomp.install(libc, network=isolation.network)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(libc: ctypes.CDLL, what: int, value: int) -> int:
    zero = ctypes.c_ulong(0)
    return int(libc.prctl(ctypes.c_int(what), ctypes.c_ulong(value), zero, zero, zero))


def _asked(libc: ctypes.CDLL, what: int) -> int:
    """The result of a `prctl` call that only reads."""
    zero = ctypes.c_ulong(0)
    if what != _PDEATHSIG:
        return int(libc.prctl(ctypes.c_int(_GET.get(what, what)), zero, zero, zero, zero))
    value = ctypes.c_int(0)
    libc.prctl(ctypes.c_int(_GET[what]), ctypes.byref(value), zero, zero, zero)
    return value.value


def _end_with_the_scan(libc: ctypes.CDLL) -> None:
    """Die with the server that forked this process, even inside a parser.

    The server ends when the other end of its pipe is closed everywhere. Workers hold that end, to
    have processes forked themselves, and would keep the server alive after the scan.
    """
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    number = getattr(server, "_forkserver_alive_fd", None)
    if number is not None:
        os.close(number)
        server._forkserver_alive_fd = None
    _prctl(libc, _PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it died first
        os._exit(1)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Drop root's capabilities except that of reading all files."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITIES_VERSION, 0))
    held = ctypes.create_string_buffer(24)
    if libc.capget(header, held):
        return
    effective, permitted, _, *_ = struct.unpack("=6I", held.raw[:24])
    kept = (effective & _READ_ANYTHING, permitted & _READ_ANYTHING, 0, 0, 0, 0)
    libc.capset(header, ctypes.create_string_buffer(struct.pack("=6I", *kept)))


def achieved() -> Achieved:
    """In a worker: the measures that hold. The attempts leave nothing behind."""
    import socket

    memory, core_dumps = None, False
    if sys.platform != "win32":
        import resource

        if IS_LINUX:  # others accept the limit but do not enforce it
            limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
            memory = None if limit == resource.RLIM_INFINITY else limit
        core_dumps = resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
    libc = _libc() if IS_LINUX else None
    return Achieved(
        memory=memory,
        core_dumps=core_dumps,
        outliving=libc is not None and _asked(libc, _PDEATHSIG) == signal.SIGKILL,
        privileges=libc is not None and _asked(libc, _NO_NEW_PRIVS) == 1,
        inspection=libc is not None and _asked(libc, _DUMPABLE) == 0,
        network=_refused(lambda: socket.socket().close()),
        writing=_refused(lambda: os.close(os.open(os.devnull, os.O_WRONLY))),
        programs=_landlock > 0 or _refused(_run_nothing),
        signals=_refused(_signal_parent),
        seccomp=libc is not None and _asked(libc, _GET_SECCOMP) == 2,
        landlock=_landlock,
    )


def _refused(attempt: Callable[[], object]) -> bool:
    """Whether the system refuses the attempt for lack of permission."""
    try:
        attempt()
    except OSError as error:
        return error.errno in (errno.EPERM, errno.EACCES)
    except AttributeError:  # no such call here
        return False
    return False


def _run_nothing() -> None:
    os.execv("/nonexistent", ["/nonexistent"])


def _signal_parent() -> None:
    if sys.platform != "win32":  # where number 0 would be Ctrl-C
        os.kill(os.getppid(), 0)
