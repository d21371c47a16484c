"""A seccomp filter for workers: the kernel refuses system calls with an error, not a signal.

A parser reads files that are open or can be opened for reading, takes memory, and answers through a
pipe. Other calls are refused with EPERM, so that a library that makes one for a harmless reason
goes on. Calls newer than this list fail as in a kernel that does not know them.

The filter is a program of classic BPF, written out here because libseccomp is no Python package.
Numbers are those of Linux 6.18: `tests/sample/test_seccomp.py` compares them with the kernel's
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

WRITING = (
    "creat rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat mknod mknodat link linkat"
    " symlink symlinkat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat truncate"
    " ftruncate fallocate setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr"
    " fremovexattr removexattrat utime utimes utimensat futimesat file_setattr open_by_handle_at"
    " mq_open mq_unlink shmget msgget semget"
).split()
"""Calls that change files, folders and other lasting objects; opening for writing is below."""
NETWORK = "socket connect bind listen accept accept4 sendto sendmsg sendmmsg".split()
"""Refused unless an input is named by its URL."""
PROCESSES = (
    "execve execveat fork vfork ptrace process_vm_readv process_vm_writev process_madvise"
    " process_mrelease pidfd_getfd pidfd_send_signal kcmp setrlimit"
).split()
"""Calls on programs and other processes."""
SYSTEM = (
    "io_uring_setup io_uring_enter io_uring_register mount umount2 pivot_root chroot swapon swapoff"
    " init_module finit_module delete_module kexec_load kexec_file_load reboot sethostname"
    " setdomainname settimeofday clock_settime clock_adjtime adjtimex acct quotactl quotactl_fd bpf"
    " perf_event_open userfaultfd keyctl add_key request_key unshare setns ioperm iopl modify_ldt"
    " fsopen fsmount fsconfig fspick move_mount open_tree open_tree_attr mount_setattr syslog"
    " fanotify_init vhangup personality"
).split()
"""Calls that need privileges, or have had more faults than others. The io_uring calls bypass every
other rule."""
SIGNALS = "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo".split()
"""Allowed to the process itself, which needs them to abort."""

_BOTH = {
    "process_madvise": 440, "process_mrelease": 448, "pidfd_getfd": 438, "pidfd_send_signal": 424,
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "quotactl_fd": 443,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "clone3": 435, "openat2": 437, "mount_setattr": 442, "fchmodat2": 452,
    "setxattrat": 463, "removexattrat": 466, "open_tree_attr": 467, "file_setattr": 469,
}  # fmt: skip
_X86_64 = {
    "open": 2, "ioctl": 16, "shmget": 29, "socket": 41, "connect": 42, "accept": 43, "sendto": 44,
    "sendmsg": 46, "bind": 49, "listen": 50, "clone": 56, "fork": 57, "vfork": 58, "execve": 59,
    "kill": 62, "semget": 64, "msgget": 68, "truncate": 76, "ftruncate": 77, "rename": 82,
    "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "chmod": 90,
    "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "ptrace": 101, "syslog": 103,
    "rt_sigqueueinfo": 129, "utime": 132, "mknod": 133, "personality": 135, "vhangup": 153,
    "modify_ldt": 154, "pivot_root": 155, "adjtimex": 159, "setrlimit": 160, "chroot": 161,
    "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168,
    "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
    "init_module": 175, "delete_module": 176, "quotactl": 179, "setxattr": 188, "lsetxattr": 189,
    "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "tkill": 200,
    "clock_settime": 227, "tgkill": 234, "utimes": 235, "mq_open": 240, "mq_unlink": 241,
    "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "openat": 257,
    "mkdirat": 258, "mknodat": 259, "fchownat": 260, "futimesat": 261, "unlinkat": 263,
    "renameat": 264, "linkat": 265, "symlinkat": 266, "fchmodat": 268, "unshare": 272,
    "utimensat": 280, "fallocate": 285, "accept4": 288, "rt_tgsigqueueinfo": 297,
    "perf_event_open": 298, "fanotify_init": 300, "prlimit64": 302, "open_by_handle_at": 304,
    "clock_adjtime": 305, "sendmmsg": 307, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "renameat2": 316,
    "kexec_file_load": 320, "bpf": 321, "execveat": 322, "userfaultfd": 323,
}  # fmt: skip
_AARCH64 = {
    "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15,
    "fremovexattr": 16, "ioctl": 29, "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36,
    "linkat": 37, "renameat": 38, "umount2": 39, "mount": 40, "pivot_root": 41, "truncate": 45,
    "ftruncate": 46, "fallocate": 47, "chroot": 51, "fchmod": 52, "fchmodat": 53, "fchownat": 54,
    "fchown": 55, "openat": 56, "vhangup": 58, "quotactl": 60, "utimensat": 88, "acct": 89,
    "personality": 92, "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106,
    "clock_settime": 112, "syslog": 116, "ptrace": 117, "kill": 129, "tkill": 130, "tgkill": 131,
    "rt_sigqueueinfo": 138, "reboot": 142, "sethostname": 161, "setdomainname": 162,
    "setrlimit": 164, "settimeofday": 170, "adjtimex": 171, "mq_open": 180, "mq_unlink": 181,
    "msgget": 186, "semget": 190, "shmget": 194, "socket": 198, "bind": 200, "listen": 201,
    "accept": 202, "connect": 203, "sendto": 206, "sendmsg": 211, "add_key": 217,
    "request_key": 218, "keyctl": 219, "clone": 220, "execve": 221, "swapon": 224, "swapoff": 225,
    "rt_tgsigqueueinfo": 240, "perf_event_open": 241, "accept4": 242, "prlimit64": 261,
    "fanotify_init": 262, "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268,
    "sendmmsg": 269, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
    "finit_module": 273, "renameat2": 276, "bpf": 280, "execveat": 281, "userfaultfd": 282,
    "kexec_file_load": 294,
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
_TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: fake typed input."""

Step = tuple[int, int, int, int]
"""One instruction: code, jumps if its test holds and if not, its number."""


def program(machine: Machine, own_pid: int, *, network: bool) -> list[Step]:
    """The filter for one process.

    Args:
        own_pid: the only process that it may send signals to.
        network: whether it may use the network.
    """
    calls = machine.calls
    refuse, unknown, allow = _returns(errno.EPERM), _returns(errno.ENOSYS), (_RET, 0, 0, ALLOW)
    # A call of another machine type (32 bits on 64): numbers mean other calls there.
    steps = [(_LD, 0, 0, _ARCH), (_JEQ, 1, 0, machine.arch), refuse, (_LD, 0, 0, _NUMBER)]

    def rule(names: Iterable[str], *inside: Step) -> None:
        for name in names:
            if name in calls:
                steps.append((_JEQ, 0, len(inside), calls[name]))
                steps.extend(inside)

    # x32 calls are above it too.
    steps += [(_JGT, 0, 1, LAST_KNOWN), unknown]
    rule(["clone3", "openat2"], unknown)  # a filter cannot read their arguments in memory
    rule(["open"], *_refused_if_any(1, _FOR_WRITING))
    rule(["openat"], *_refused_if_any(2, _FOR_WRITING))
    rule(SIGNALS, _argument(0), (_JEQ, 1, 0, own_pid), refuse, allow)
    rule(["clone"], _argument(0), (_JSET, 1, 0, _CLONE_THREAD), refuse, allow)
    tests = [(_JEQ, len(_TERMINAL_INPUT) - i, 0, n) for i, n in enumerate(_TERMINAL_INPUT)]
    rule(["ioctl"], _argument(1), *tests, allow, refuse)
    # Limits may be read, not set.
    asked = (_argument(2), (_JEQ, 0, 3, 0), _argument(2, high=True), (_JEQ, 0, 1, 0), allow, refuse)
    rule(["prlimit64"], *asked)
    for names in (WRITING, PROCESSES, SYSTEM) + (() if network else (NETWORK,)):
        rule(names, refuse)
    return [*steps, allow]


def _returns(number: int) -> Step:
    return (_RET, 0, 0, _ERRNO | number)


def _argument(index: int, *, high: bool = False) -> Step:
    """The lower or higher half of an argument; these machines have the lower one first."""
    return (_LD, 0, 0, _ARGUMENTS + 8 * index + 4 * high)


def _refused_if_any(argument: int, bits: int) -> tuple[Step, ...]:
    allow = (_RET, 0, 0, ALLOW)
    return _argument(argument), (_JSET, 0, 1, bits), _returns(errno.EPERM), allow


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
