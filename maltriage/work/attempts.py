"""Tries, in a worker, what `isolation` promises that a worker cannot do.

An attempt that succeeds changes nothing: it asks for what is so already, for what cannot be, or
takes back what it got.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from maltriage.work import isolation, landlock
from maltriage.work.isolation import DUMPABLE, IS_LINUX, NO_NEW_PRIVS, PDEATHSIG, READ_ANYTHING

_GET = {PDEATHSIG: 2, DUMPABLE: 3, NO_NEW_PRIVS: 39}
_GET_SECCOMP = 21
_SET_INODE_FLAGS = 0x40086602  # FS_IOC_SETFLAGS
_KEY = 0x6D747265
"""Of objects that are not made."""
_REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS)


@dataclass(frozen=True)
class Achieved:
    """What holds in a worker.

    `missing`: names of promises that do not hold. `memory`: bytes that it may take, None: no limit.
    `seccomp`, `landlock`: whether they refuse calls, the latter as its version, 0: no.
    """

    missing: list[str]
    memory: int | None
    seccomp: bool
    landlock: int


def achieved() -> Achieved:
    """In a worker: try each promise. One holds where all attempts at it are refused."""
    return Achieved(
        missing=[name for name, tries in ATTEMPTS.items() if not all(map(_refused, tries))],
        memory=_memory(),
        seccomp=IS_LINUX and _asked(_GET_SECCOMP) == 2,
        landlock=isolation.landlock_version,
    )


def _refused(attempt: Callable[[], object]) -> bool:
    """Whether the system refuses the attempt for lack of permission."""
    if sys.platform == "win32":  # where number 0 would be Ctrl-C, and nothing is promised
        return False
    try:
        attempt()
    except OSError as error:
        return error.errno in _REFUSALS
    except AttributeError:  # no such call here
        return False
    return False


def _refuse() -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library. Only its error counts.

    Raises:
        OSError: it has one.
    """
    libc = isolation.load_libc()
    ctypes.set_errno(0)
    getattr(libc, name)(*arguments)
    if number := ctypes.get_errno():
        raise OSError(number, os.strerror(number))


@contextmanager
def _pipe() -> Iterator[int]:
    ends = os.pipe()
    try:
        yield ends[0]
    finally:
        for end in ends:
            os.close(end)


@contextmanager
def _opened(path: str, flags: int = os.O_RDONLY) -> Iterator[int]:
    number = os.open(path, flags)
    try:
        yield number
    finally:
        os.close(number)


def _memory() -> int | None:
    if not IS_LINUX:  # others accept the limit but do not enforce it
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if limit == resource.RLIM_INFINITY else limit


def _take_more_memory() -> None:
    import mmap

    limit = _memory()
    if limit is not None:
        try:  # no page of it is touched
            mmap.mmap(-1, limit, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        except OSError:
            _refuse()


def _dump_core() -> None:
    import resource

    if resource.getrlimit(resource.RLIMIT_CORE) == (0, 0):
        _refuse()


def _asked(what: int) -> int:
    """The result of a `prctl` call that only reads."""
    value, zero = ctypes.c_int(0), ctypes.c_ulong(0)
    place = ctypes.byref(value) if what == PDEATHSIG else zero
    found = isolation.load_libc().prctl(ctypes.c_int(_GET.get(what, what)), place, zero, zero, zero)
    return value.value if what == PDEATHSIG else int(found)


def _undo(what: int, value: int) -> None:
    """Set a protection that is as it should be; whoever may do that may also undo it."""
    if IS_LINUX and _asked(what) == value:
        zero = ctypes.c_ulong(0)
        _call("prctl", ctypes.c_int(what), ctypes.c_ulong(value), zero, zero, zero)


def _gain_privileges() -> None:
    if IS_LINUX and _asked(NO_NEW_PRIVS) == 1:
        held = isolation.capabilities(isolation.load_libc())
        if held is not None and not (held[0] | held[1]) & ~READ_ANYTHING:
            _refuse()


def _connect(family: int) -> None:
    socket.socket(family).close()


def _open_to_write() -> None:
    with _opened(os.devnull, os.O_WRONLY):
        pass


def _make_folder() -> None:
    path = f"/tmp/maltriage-{os.getpid()}"
    os.mkdir(path)
    os.rmdir(path)


def _change_mode() -> None:
    with _pipe() as pipe:
        os.fchmod(pipe, 0o600)


def _change_flags() -> None:
    """Give the kernel no flags to set, which it notices after it has checked permissions."""
    import fcntl

    with _opened(__file__) as file:
        fcntl.ioctl(file, _SET_INODE_FLAGS, 0)


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _run() -> None:
    nothing = [sys.executable, "-I", "-S", "-c", ""]
    os.waitpid(os.posix_spawn(sys.executable, nothing, {}), 0)


def _signal() -> None:
    os.kill(os.getppid(), 0)


def _signal_by_file() -> None:
    """Name the parent as who is told of data in a pipe."""
    import fcntl

    if isolation.landlock_version >= landlock.SCOPED:  # which refuses when the signal is sent
        _refuse()
    with _pipe() as pipe:
        fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getppid())


def _look(name: str) -> None:
    try:
        with _opened(f"/proc/{os.getppid()}/{name}"):
            pass
    except FileNotFoundError:  # processes of others are hidden
        _refuse()


def _read_memory() -> None:
    """Ask for a byte of the parent where no memory is."""
    byte = ctypes.create_string_buffer(1)
    ours, theirs = (ctypes.c_size_t * 2)(ctypes.addressof(byte), 1), (ctypes.c_size_t * 2)(1, 1)
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    _call("process_vm_readv", ctypes.c_int(os.getppid()), ours, one, theirs, one, none)


def _prefer() -> None:
    parent = os.getppid()
    os.setpriority(os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent))


def _move() -> None:
    parent = os.getppid()
    os.sched_setaffinity(parent, os.sched_getaffinity(parent))


def _type() -> None:
    import fcntl
    import termios

    with _opened(os.devnull) as device:
        fcntl.ioctl(device, termios.TIOCSTI, b"\0")


ATTEMPTS: dict[str, tuple[Callable[[], object], ...]] = {
    "memory": (_take_more_memory,),
    "core_dumps": (_dump_core,),
    "outliving": (partial(_undo, PDEATHSIG, int(getattr(signal, "SIGKILL", 0))),),
    "privileges": (_gain_privileges,),
    "inspection": (partial(_undo, DUMPABLE, 0),),
    "network": tuple(
        partial(_connect, family)
        for family in (socket.AF_INET, getattr(socket, "AF_UNIX", socket.AF_INET))
    ),
    "writing": (_open_to_write, _make_folder, _change_mode, _change_flags),
    "programs": (_fork, _run),
    "signals": (_signal, _signal_by_file),
    "processes": (partial(_look, "environ"), partial(_look, "mem"), _read_memory),
    "ipc": (
        partial(_call, "shmget", _KEY, 0, 0),
        partial(_call, "shmat", -1, None, 0),
        partial(_call, "msgget", _KEY, 0),
        partial(_call, "msgsnd", -1, None, 0, 0),
        partial(_call, "semget", _KEY, 0, 0),
        partial(_call, "semop", -1, None, 0),
    ),
    "scheduling": (_prefer, _move),
    "terminal": (_type,),
}
"""Attempts at each promise. One returns where it succeeds, and raises what the system says."""
ALL = list(ATTEMPTS)
"""Names of the promises."""
