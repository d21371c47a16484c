"""The filter as a program: what it says of calls, on machines that are not at hand as well."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from maltriage.work import seccomp
from maltriage.work.seccomp import ALLOW, MACHINES, Machine, program

fcntl = pytest.importorskip("fcntl", reason="needs a POSIX system")
termios = pytest.importorskip("termios", reason="needs a POSIX system")

OWN = 4321
ALWAYS = seccomp.FILES + seccomp.PIPES + seccomp.MEMORY + seccomp.ITSELF + seccomp.QUESTIONS
DANGEROUS = (
    "rename renameat2 unlinkat mkdirat mknodat linkat symlinkat fchmod fchmodat fchown fchownat"
    " truncate ftruncate fallocate setxattr fsetxattr removexattr utimensat open_by_handle_at flock"
    " mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify shmget shmat shmdt shmctl msgget"
    " msgsnd msgrcv msgctl semget semop semtimedop semctl listen accept accept4 execve execveat"
    " ptrace process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_open"
    " pidfd_getfd pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo kcmp get_robust_list"
    " setrlimit setpriority ioprio_set sched_setaffinity sched_setscheduler sched_setparam"
    " sched_setattr move_pages migrate_pages set_mempolicy mbind timer_create capset setuid"
    " setgroups setpgid setsid io_uring_setup io_uring_enter mount umount2 pivot_root chroot swapon"
    " init_module finit_module kexec_load reboot sethostname clock_settime adjtimex acct quotactl"
    " bpf perf_event_open userfaultfd keyctl add_key unshare setns fsopen move_mount open_tree"
    " syslog fanotify_init inotify_init1 vhangup personality seccomp landlock_restrict_self splice"
    " tee vmsplice sendfile copy_file_range memfd_create memfd_secret mlockall sync"
).split()
"""Calls that the kernel has for other things than a parser does, whatever else is on the list."""
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def verdict(machine: Machine, number: int, *arguments: int, arch: int = 0, **more: bool) -> int:
    """What the filter returns for a call: 0, or the number of its error."""
    data = {0: number, 4: arch or machine.arch}
    for index, value in enumerate([*arguments, *[0] * 6][:6]):
        data[16 + 8 * index], data[20 + 8 * index] = value & 0xFFFFFFFF, value >> 32
    steps, at, held = program(machine, OWN, network=more.get("network", False)), 0, 0
    while True:
        code, where, otherwise, value = steps[at]
        at += 1
        if code == 0x20:
            held = data[value]
        elif code == 0x06:
            return 0 if value == ALLOW else value & 0xFFFF
        else:
            test = {0x15: held == value, 0x25: held > value, 0x45: bool(held & value)}[code]
            at += where if test else otherwise


@pytest.fixture(params=MACHINES, ids=str)
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES[request.param]


def numbers(machine: Machine) -> dict[str, int]:
    """Numbers of the kernel's own header, by name."""
    (header,) = (HEADERS[name] for name, known in MACHINES.items() if known is machine)
    if not header.exists():
        pytest.skip(f"needs {header}")
    found = re.findall(r"^#define\s+__NR(?:3264)?_(\w+)\s+(\d+)", header.read_text(), re.M)
    calls = {call: int(number) for call, number in found}
    return calls | ({"newfstatat": calls["fstatat"]} if "fstatat" in calls else {})


def test_what_is_allowed(machine: Machine) -> None:
    allowed = {machine.calls[name] for name in ALWAYS if name in machine.calls}
    network = {machine.calls[name] for name in seccomp.NETWORK}
    ruled = set(machine.calls.values()) - allowed - network
    others = [number for number in range(seccomp.LAST_KNOWN + 1) if number not in ruled]
    for number in others:
        assert (verdict(machine, number) == 0) == (number in allowed)
        reaches = verdict(machine, number, network=True) == 0
        assert reaches == (number in allowed | network)
        assert verdict(machine, number) in (0, errno.EPERM)
    assert verdict(machine, machine.calls["socket"], socket.AF_INET) == errno.EPERM
    for family in (socket.AF_INET, socket.AF_INET6):
        assert verdict(machine, machine.calls["socket"], family, network=True) == 0
    for family in (
        1,
        17,
        38,
        40,
    ):  # sockets of this machine, raw packets, the kernel's ciphers, the host of a virtual machine
        assert verdict(machine, machine.calls["socket"], family, network=True) == errno.EPERM


def test_what_is_refused(machine: Machine) -> None:
    """By the numbers that the kernel has, where its header is."""
    known = numbers(machine)
    refused = {name for name in DANGEROUS if name in known}
    assert len(refused) > 0.8 * len(DANGEROUS)
    assert {verdict(machine, known[name], network=True) for name in refused} == {errno.EPERM}


def test_files_are_opened_to_read(machine: Machine) -> None:
    flags = [os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_RDWR | os.O_APPEND]
    for name, place in (("open", 1), ("openat", 2)):
        if name in machine.calls:
            number, before = machine.calls[name], [7] * place
            assert verdict(machine, number, *before, os.O_RDONLY | os.O_CLOEXEC) == 0
            assert {verdict(machine, number, *before, f) for f in flags} == {errno.EPERM}
    assert verdict(machine, machine.calls["openat2"]) == errno.ENOSYS


def test_signals_processes_and_terminals(machine: Machine) -> None:
    calls = machine.calls
    for name in seccomp.SIGNALS:
        assert verdict(machine, calls[name], OWN, signal.SIGABRT) == 0
        for other in (0, 1, OWN + 1, (1 << 32) - 1):
            assert verdict(machine, calls[name], other, signal.SIGKILL) == errno.EPERM
    assert verdict(machine, calls["clone"], 0x3D0F00) == 0  # of a thread, as glibc makes them
    assert verdict(machine, calls["clone"], signal.SIGCHLD) == errno.EPERM
    assert verdict(machine, calls["clone3"]) == errno.ENOSYS
    assert verdict(machine, calls["prlimit64"], 0, 7, 0, 0x7FFF00000000) == 0
    assert verdict(machine, calls["prlimit64"], 0, 7, 0x7FFF00000000, 0) == errno.EPERM
    assert verdict(machine, calls["prlimit64"], 0, 7, 0x1000, 0) == errno.EPERM


def test_commands_of_other_calls(machine: Machine) -> None:
    """What a library asks of a descriptor or of its own process, and nothing else."""
    calls = machine.calls
    for name, place, fine in (
        ("ioctl", 1, {termios.TCGETS, termios.TIOCGWINSZ, termios.FIONREAD, termios.FIONBIO,
                      termios.FIOCLEX, termios.FIONCLEX, 0x802C542A}),
        ("fcntl", 1, {fcntl.F_DUPFD, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL,
                      fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_DUPFD_CLOEXEC}),
        ("prctl", 0, {2, 3, 15, 16, 21, 39, 0x53564D41}),
    ):  # fmt: skip
        others = {*range(2048), *range(0x5400, 0x5500), 0x40086602, 0x401C5820, 0x40049409}
        for command in fine | others:
            found = verdict(machine, calls[name], *[7] * place, command)
            assert found == (0 if command in fine else errno.EPERM), (name, command)
    assert verdict(machine, calls["fcntl"], 7, fcntl.F_SETFL, os.O_NONBLOCK) == 0
    assert verdict(machine, calls["fcntl"], 7, fcntl.F_SETFL, os.O_ASYNC) == errno.EPERM
    # The kernel reads the lower half of a command, so the upper one must not hide it.
    assert verdict(machine, calls["fcntl"], 7, 1 << 32 | fcntl.F_SETOWN) == errno.EPERM


def test_calls_by_another_door(machine: Machine) -> None:
    """Of 32 bits, of x32, and those that came after the list was made."""
    read = 0 if machine.arch == MACHINES["x86_64"].arch else 63
    assert verdict(machine, read) == 0
    assert verdict(machine, read, arch=0x40000003) == errno.EPERM
    assert verdict(machine, 0x40000000 | read) == errno.ENOSYS
    assert verdict(machine, seccomp.LAST_KNOWN + 1) == errno.ENOSYS


def test_every_call_has_a_number(machine: Machine) -> None:
    """But those that only the older machine has."""
    names = [*ALWAYS, *seccomp.NETWORK, *seccomp.SIGNALS]
    lacking = {name for name in names if name not in machine.calls}
    old = set(
        "stat lstat access readlink getdents dup2 pipe poll select epoll_create epoll_wait eventfd"
        " arch_prctl uretprobe uprobe time getpgrp".split()
    )
    assert lacking == (old if machine is MACHINES["aarch64"] else set())
    assert len(set(machine.calls.values())) == len(machine.calls)
    assert len(names) == len(set(names))


def test_numbers_are_those_of_the_kernel(machine: Machine) -> None:
    found, calls = numbers(machine), machine.calls
    known = {call for call in calls if call in found}
    assert len(known) > 0.9 * len(calls)  # an older header lacks the newest
    assert {call: calls[call] for call in known} == {call: found[call] for call in known}
