"""The filter as a program: what it says of calls, on machines that are not at hand as well."""

from __future__ import annotations

import errno
import os
import re
import signal
from pathlib import Path

import pytest

from maltriage.work import seccomp
from maltriage.work.seccomp import ALLOW, MACHINES, Machine, program

OWN = 4321
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


def test_what_is_refused_and_what_is_not(machine: Machine) -> None:
    calls = machine.calls
    for name in seccomp.WRITING + seccomp.NETWORK + seccomp.PROCESSES + seccomp.SYSTEM:
        if name in calls:
            assert verdict(machine, calls[name]) == errno.EPERM, name
    for name in seccomp.NETWORK:
        assert verdict(machine, calls[name], network=True) == 0
    assert verdict(machine, calls["mkdirat"], network=True) == errno.EPERM
    known = set(calls.values())
    others = [number for number in range(seccomp.LAST_KNOWN + 1) if number not in known]
    assert {verdict(machine, number) for number in others} == {0}


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
    assert verdict(machine, calls["ioctl"], 0, 0x5401) == 0
    assert verdict(machine, calls["ioctl"], 0, 0x5412) == errno.EPERM
    assert verdict(machine, calls["ioctl"], 0, 0x541C) == errno.EPERM
    assert verdict(machine, calls["prlimit64"], 0, 7, 0, 0x7FFF00000000) == 0
    assert verdict(machine, calls["prlimit64"], 0, 7, 0x7FFF00000000, 0) == errno.EPERM
    assert verdict(machine, calls["prlimit64"], 0, 7, 0x1000, 0) == errno.EPERM


def test_calls_by_another_door(machine: Machine) -> None:
    """Of 32 bits, of x32, and those that came after the list was made."""
    read = 0 if machine.arch == MACHINES["x86_64"].arch else 63
    assert verdict(machine, read) == 0
    assert verdict(machine, read, arch=0x40000003) == errno.EPERM
    assert verdict(machine, 0x40000000 | read) == errno.ENOSYS
    assert verdict(machine, seccomp.LAST_KNOWN + 1) == errno.ENOSYS


def test_every_call_has_a_number(machine: Machine) -> None:
    """But those that only the older machine has."""
    names = seccomp.WRITING + seccomp.NETWORK + seccomp.PROCESSES + seccomp.SYSTEM
    lacking = {name for name in [*names, *seccomp.SIGNALS] if name not in machine.calls}
    old = set(
        "creat rename unlink rmdir mkdir mknod link symlink chmod chown lchown utime utimes"
        " futimesat fork vfork ioperm iopl modify_ldt".split()
    )
    assert lacking == (old if machine is MACHINES["aarch64"] else set())
    assert len(set(machine.calls.values())) == len(machine.calls)


@pytest.mark.parametrize("name", MACHINES)
def test_numbers_are_those_of_the_kernel(name: str) -> None:
    header = HEADERS[name]
    if not header.exists():
        pytest.skip(f"needs {header}")
    found = re.findall(r"^#define\s+__NR(?:3264)?_(\w+)\s+(\d+)", header.read_text(), re.M)
    numbers = {call: int(number) for call, number in found}
    calls = MACHINES[name].calls
    known = {call for call in calls if call in numbers}
    assert len(known) > 0.9 * len(calls)  # an older header lacks the newest
    assert {call: calls[call] for call in known} == {call: numbers[call] for call in known}
