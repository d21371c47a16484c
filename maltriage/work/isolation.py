"""What a worker gives up before it touches a sample.

A parser that a sample leads astray can then do little: it has a share of memory, writes nothing but
its answer, starts nothing, reaches no network and no other process, leaves no core dump, and ends
with the scan. Each of these is tried, and a system that lacks one goes without it; `achieved` says
in a worker what holds there. docs/security.md says which system has what.
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
"""A worker may take `BASE_MEMORY`, and this for each byte of the largest sample: `--max-size` lifts
it. Up to 3.9 bytes were measured (docs/security.md)."""
IS_LINUX = sys.platform == "linux"

_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS = 1, 4, 38
_GET = {_PDEATHSIG: 2, _DUMPABLE: 3, _NO_NEW_PRIVS: 39}
_GET_SECCOMP = 21
_CAPABILITIES_VERSION = 0x20080522
_READ_ANYTHING = 1 << 2  # CAP_DAC_READ_SEARCH


def memory_for(max_size: int) -> int:
    """Bytes of memory that a worker may take, where samples have up to `max_size`."""
    return BASE_MEMORY + MEMORY_PER_BYTE * max_size


@dataclass(frozen=True)
class Isolation:
    """What is left to a worker: bytes of `memory`, and whether it may use the `network`."""

    memory: int = memory_for(MAX_FILE_BYTES)
    network: bool = False


@dataclass(frozen=True)
class Achieved:
    """What holds in a worker, as it found by asking the kernel and by trying.

    `memory`: bytes that it may take, None: as many as there are. `seccomp`, `landlock`: what
    refuses, the latter's version, 0: it does not. The rest: whether the worker cannot do it.
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
        """Names of what does not hold."""
        return [name for name in ALL if not getattr(self, name)]


ALL = "memory core_dumps outliving privileges inspection network writing programs signals".split()
"""Names of what can hold, see `Achieved`."""
ISOLATED = Isolation()

_landlock = 0
"""In a worker: the version of Landlock that it is under."""


def confine(isolation: Isolation) -> None:
    """Give up what a parser does not need. For a process with one thread, once, and for good."""
    _silence()
    _limit(isolation.memory)
    if IS_LINUX:
        with suppress(OSError, AttributeError):
            _confine_linux(isolation)


def _silence() -> None:
    """A library that prints what it found in a sample prints to nobody."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    if null > 2:
        os.close(null)


def _limit(memory: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    # Of the address space, libraries and mapped files are most, and no two systems are alike in
    # that. Linux counts what a process writes to, which is what is scarce.
    of_memory = resource.RLIMIT_DATA if IS_LINUX else resource.RLIMIT_AS
    # No regular file grows, where nothing better refuses it: pipes are none.
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
    """What a call of `prctl` says that sets nothing."""
    zero = ctypes.c_ulong(0)
    if what != _PDEATHSIG:
        return int(libc.prctl(ctypes.c_int(_GET.get(what, what)), zero, zero, zero, zero))
    value = ctypes.c_int(0)
    libc.prctl(ctypes.c_int(_GET[what]), ctypes.byref(value), zero, zero, zero)
    return value.value


def _end_with_the_scan(libc: ctypes.CDLL) -> None:
    """Die when the server that forked this process does, whatever a parser is at.

    The server ends when nobody holds the other end of its pipe any more. Workers hold it so that
    they could have processes forked themselves, and would keep it alive after the scan.
    """
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    number = getattr(server, "_forkserver_alive_fd", None)
    if number is not None:
        os.close(number)
        server._forkserver_alive_fd = None
    _prctl(libc, _PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it was quicker
        os._exit(1)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Of what root may, keep that it reads all files."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITIES_VERSION, 0))
    held = ctypes.create_string_buffer(24)
    if libc.capget(header, held):
        return
    effective, permitted, _, *_ = struct.unpack("=6I", held.raw[:24])
    kept = (effective & _READ_ANYTHING, permitted & _READ_ANYTHING, 0, 0, 0, 0)
    libc.capset(header, ctypes.create_string_buffer(struct.pack("=6I", *kept)))


def achieved() -> Achieved:
    """In a worker: what holds. Nothing is left behind by what is tried for that."""
    import socket

    memory, core_dumps = None, False
    if sys.platform != "win32":
        import resource

        if IS_LINUX:  # others take the limit and do not keep it
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
    """Whether the system says that this process may not."""
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
