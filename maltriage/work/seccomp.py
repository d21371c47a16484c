"""A seccomp filter for workers: the kernel refuses system calls with an error, not a signal.

A parser reads files that can be opened for reading, takes memory, and answers through a pipe. The
calls for that are listed here, and all others are refused with EPERM, so that a library that makes
one for a harmless reason goes on. Calls newer than the list fail as in a kernel that does not know
them. A list of refused calls would have to name every way to reach another process.

The filter is a program of classic BPF, written out here because libseccomp is no Python package.
Numbers are those of Linux 6.18: `tests/work/test_seccomp.py` compares them with the kernel's
headers, and runs the program on calls of both kinds of machine.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

FILES = (
    "read readv pread64 preadv preadv2 lseek close close_range stat fstat lstat newfstatat statx"
    " statfs fstatfs access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd"
    " dup dup2 dup3 fadvise64"
).split()
PIPES = (
    "write writev pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl"
    " epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2"
).split()
"""Calls that write to what is open already, or wait for it."""
MEMORY = (
    "brk mmap munmap mprotect mremap madvise mincore msync membarrier mseal get_mempolicy"
).split()
ITSELF = (
    "exit exit_group futex futex_waitv futex_wake futex_wait futex_requeue set_robust_list rseq"
    " set_tid_address gettid getcpu arch_prctl rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack"
    " restart_syscall sched_yield uretprobe uprobe"
).split()
"""Calls on the process's own threads and signals; the kernel itself makes the last two."""
QUESTIONS = (
    "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrandom getpid"
    " getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgid getpgrp getsid"
    " uname sysinfo getrusage getrlimit getpriority capget sched_getaffinity sched_getparam"
    " sched_getscheduler sched_get_priority_max sched_get_priority_min"
).split()
NETWORK = (
    "connect bind sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg shutdown getsockname"
    " getpeername setsockopt getsockopt socketpair"
).split()
"""Calls of a client, allowed where an input is named by its URL, with `socket` of `FAMILIES`."""

FAMILIES = (2, 10, 16)
"""IPv4, IPv6, and netlink, which tells of addresses. No Unix sockets: behind those of a container
engine or a service manager is all of the machine."""
SIGNALS = ("kill", "tkill", "tgkill")
"""Allowed to the process itself, which needs them to abort."""
FCNTL = (0, 1, 2, 3, 5, 6, 1030)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_GETLK, F_SETLK (SQLite's locks for reading) and
F_DUPFD_CLOEXEC; F_SETFL is below. Others name an owner for signals, or hold up who writes."""
IOCTL = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS and TCGETS2 (is it a terminal?), TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
PRCTL = (2, 3, 15, 16, 21, 39, 0x53564D41)
"""PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_NAME and PR_GET_NAME (of threads), PR_GET_SECCOMP,
PR_GET_NO_NEW_PRIVS, and PR_SET_VMA, with which the C library names memory."""

_BOTH = {
    "clone3": 435, "close_range": 436, "openat2": 437, "faccessat2": 439, "epoll_pwait2": 441,
    "futex_waitv": 449, "futex_wake": 454, "futex_wait": 455, "futex_requeue": 456, "mseal": 462,
}  # fmt: skip
_X86_64 = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7,
    "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13,
    "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "pread64": 17, "readv": 19, "writev": 20,
    "access": 21, "pipe": 22, "select": 23, "sched_yield": 24, "mremap": 25, "msync": 26,
    "mincore": 27, "madvise": 28, "dup": 32, "dup2": 33, "nanosleep": 35, "getpid": 39,
    "socket": 41, "connect": 42, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47,
    "shutdown": 48, "bind": 49, "getsockname": 51, "getpeername": 52, "socketpair": 53,
    "setsockopt": 54, "getsockopt": 55, "clone": 56, "exit": 60, "kill": 62, "uname": 63,
    "fcntl": 72, "getdents": 78, "getcwd": 79, "readlink": 89, "gettimeofday": 96, "getrlimit": 97,
    "getrusage": 98, "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107,
    "getegid": 108, "getppid": 110, "getpgrp": 111, "getgroups": 115, "getresuid": 118,
    "getresgid": 120, "getpgid": 121, "getsid": 124, "capget": 125, "sigaltstack": 131,
    "statfs": 137, "fstatfs": 138, "getpriority": 140, "sched_getparam": 143,
    "sched_getscheduler": 145, "sched_get_priority_max": 146, "sched_get_priority_min": 147,
    "prctl": 157, "arch_prctl": 158, "gettid": 186, "tkill": 200, "time": 201, "futex": 202,
    "sched_getaffinity": 204, "epoll_create": 213, "getdents64": 217, "set_tid_address": 218,
    "restart_syscall": 219, "fadvise64": 221, "clock_gettime": 228, "clock_getres": 229,
    "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232, "epoll_ctl": 233, "tgkill": 234,
    "get_mempolicy": 239, "openat": 257, "newfstatat": 262, "readlinkat": 267, "faccessat": 269,
    "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "epoll_pwait": 281, "eventfd": 284,
    "eventfd2": 290, "epoll_create1": 291, "dup3": 292, "pipe2": 293, "preadv": 295,
    "recvmmsg": 299, "prlimit64": 302, "sendmmsg": 307, "getcpu": 309, "getrandom": 318,
    "membarrier": 324, "preadv2": 327, "statx": 332, "rseq": 334, "uretprobe": 335, "uprobe": 336,
}  # fmt: skip
_AARCH64 = {
    "getcwd": 17, "eventfd2": 19, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22,
    "dup": 23, "dup3": 24, "fcntl": 25, "ioctl": 29, "statfs": 43, "fstatfs": 44, "faccessat": 48,
    "openat": 56, "close": 57, "pipe2": 59, "getdents64": 61, "lseek": 62, "read": 63, "write": 64,
    "readv": 65, "writev": 66, "pread64": 67, "preadv": 69, "pselect6": 72, "ppoll": 73,
    "readlinkat": 78, "newfstatat": 79, "fstat": 80, "capget": 90, "exit": 93, "exit_group": 94,
    "set_tid_address": 96, "futex": 98, "set_robust_list": 99, "nanosleep": 101,
    "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "sched_getscheduler": 120,
    "sched_getparam": 121, "sched_getaffinity": 123, "sched_yield": 124,
    "sched_get_priority_max": 125, "sched_get_priority_min": 126, "restart_syscall": 128,
    "kill": 129, "tkill": 130, "tgkill": 131, "sigaltstack": 132, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigreturn": 139, "getpriority": 141, "getresuid": 148,
    "getresgid": 150, "times": 153, "getpgid": 155, "getsid": 156, "getgroups": 158, "uname": 160,
    "getrlimit": 163, "getrusage": 165, "prctl": 167, "getcpu": 168, "gettimeofday": 169,
    "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177,
    "gettid": 178, "sysinfo": 179, "socket": 198, "socketpair": 199, "bind": 200, "connect": 203,
    "getsockname": 204, "getpeername": 205, "sendto": 206, "recvfrom": 207, "setsockopt": 208,
    "getsockopt": 209, "shutdown": 210, "sendmsg": 211, "recvmsg": 212, "brk": 214, "munmap": 215,
    "mremap": 216, "clone": 220, "mmap": 222, "fadvise64": 223, "mprotect": 226, "msync": 227,
    "mincore": 232, "madvise": 233, "get_mempolicy": 236, "recvmmsg": 243, "prlimit64": 261,
    "sendmmsg": 269, "getrandom": 278, "membarrier": 283, "preadv2": 286, "statx": 291, "rseq": 293,
}  # fmt: skip
LAST_KNOWN = 469
"""The newest call of the kernel that the list is based on."""


class Machine(NamedTuple):
    """A machine type: the kernel's name of it (`AUDIT_ARCH`), and its call numbers by name."""

    arch: int
    calls: dict[str, int]


MACHINES = {
    "x86_64": Machine(0xC000003E, _BOTH | _X86_64),
    "aarch64": Machine(0xC00000B7, _BOTH | _AARCH64),
}

_LD, _JEQ, _JGT, _JSET, _RET = 0x20, 0x15, 0x25, 0x45, 0x06
ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in the kernel's struct of a call
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CLONE_THREAD = 0x00010000
_SETFL, _ASYNC = 4, 0x2000  # which has a descriptor send signals

Step = tuple[int, int, int, int]
"""One instruction: code, jumps if its test holds and if not, its number."""
_ALLOWED: Step = (_RET, 0, 0, ALLOW)
_REFUSED: Step = (_RET, 0, 0, _ERRNO | errno.EPERM)
_UNKNOWN: Step = (_RET, 0, 0, _ERRNO | errno.ENOSYS)


def program(machine: Machine, own_pid: int, *, network: bool) -> list[Step]:
    """The filter for one process.

    Args:
        own_pid: the only process that it may send signals to.
        network: whether it may use the network.
    """
    calls = machine.calls
    # A call of another machine type (32 bits on 64): numbers mean other calls there.
    steps = [(_LD, 0, 0, _ARCH), (_JEQ, 1, 0, machine.arch), _REFUSED, (_LD, 0, 0, _NUMBER)]

    def rule(names: Iterable[str], *inside: Step) -> None:
        for name in names:
            if name in calls:
                steps.append((_JEQ, 0, len(inside), calls[name]))
                steps.extend(inside)

    # x32 calls are above it too.
    steps += [(_JGT, 0, 1, LAST_KNOWN), _UNKNOWN]
    rule(["clone3", "openat2"], _UNKNOWN)  # a filter cannot read their arguments in memory
    rule(["open"], *_without(1, _FOR_WRITING))
    rule(["openat"], *_without(2, _FOR_WRITING))
    rule(SIGNALS, *_one_of(0, (own_pid,)))
    rule(["clone"], _argument(0), (_JSET, 1, 0, _CLONE_THREAD), _REFUSED, _ALLOWED)
    flags = _without(2, _ASYNC)
    rule(["fcntl"], _argument(1), (_JEQ, 0, len(flags), _SETFL), *flags, *_one_of(1, FCNTL))
    rule(["ioctl"], *_one_of(1, IOCTL))
    rule(["prctl"], *_one_of(0, PRCTL))
    # Limits may be read, not set.
    asked = (_argument(2), (_JEQ, 0, 3, 0), _argument(2, high=True), (_JEQ, 0, 1, 0))
    rule(["prlimit64"], *asked, _ALLOWED, _REFUSED)
    for names in (FILES, PIPES, MEMORY, ITSELF, QUESTIONS):
        rule(names, _ALLOWED)
    if network:
        rule(["socket"], *_one_of(0, FAMILIES))
        rule(NETWORK, _ALLOWED)
    return [*steps, _REFUSED]


def _argument(index: int, *, high: bool = False) -> Step:
    """The lower or higher half of an argument; these machines have the lower one first."""
    return (_LD, 0, 0, _ARGUMENTS + 8 * index + 4 * high)


def _without(argument: int, bits: int) -> tuple[Step, ...]:
    return _argument(argument), (_JSET, 0, 1, bits), _REFUSED, _ALLOWED


def _one_of(argument: int, values: Iterable[int]) -> tuple[Step, ...]:
    """For arguments that the kernel reads the lower half of."""
    tests = [step for value in values for step in ((_JEQ, 0, 1, value), _ALLOWED)]
    return _argument(argument), *tests, _REFUSED


_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_SET_MODE_FILTER, _SPEC_ALLOW = 1, 4
_CALL = {"x86_64": 317, "aarch64": 277}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def install(libc: ctypes.CDLL, *, network: bool) -> bool:
    """Apply the filter to this process for good. It must not be able to gain privileges.

    Returns:
        Whether the kernel accepted it.
    """
    name = platform.machine()
    machine = MACHINES.get(name)
    if machine is None:
        return False
    steps = program(machine, os.getpid(), network=network)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    given = _Program(len(steps), ctypes.cast(code, ctypes.c_void_p))
    # Without the flag, kernels before 5.16 slow such a process down against Spectre variants 2
    # and 4, which matters to those who run untrusted code.
    by_call: Callable[[int], int] = lambda flags: libc.syscall(  # noqa: E731
        ctypes.c_long(_CALL[name]),
        ctypes.c_uint(_SET_MODE_FILTER),
        ctypes.c_uint(flags),
        ctypes.byref(given),
    )
    if by_call(_SPEC_ALLOW) == 0:
        return True
    zero = ctypes.c_ulong(0)
    mode = ctypes.c_ulong(_MODE_FILTER)
    return bool(libc.prctl(_PR_SET_SECCOMP, mode, ctypes.byref(given), zero, zero) == 0)
