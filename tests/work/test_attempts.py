"""What holds in a worker where a kernel has only some of the measures.

The table of docs/reference/isolation.md says it to users.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maltriage.work import attempts, isolation, landlock, seccomp
from maltriage.work.attempts import ALL, ATTEMPTS, achieved
from maltriage.work.isolation import ISOLATED, confine
from maltriage.work.workers import Workers

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in seccomp.MACHINES,
    reason="workers are isolated on Linux, on x86-64 and ARM64",
)
WAIT = 60.0
NOBODY = 65534
NEWEST = landlock.version(ctypes.CDLL(None, use_errno=True)) if sys.platform == "linux" else 0


@pytest.fixture(scope="module")
def free() -> Iterator[Workers]:
    """A worker that keeps its rights."""
    with Workers(1, WAIT, isolation=None) as workers:
        yield workers


def _each() -> dict[str, list[bool]]:
    return {name: [attempts._refused(each) for each in tries] for name, tries in ATTEMPTS.items()}


def test_each_attempt_is_refused_to_a_worker_and_done_by_others(free: Workers) -> None:
    with Workers(1, WAIT) as workers:
        found = workers.submit(_each).result(timeout=WAIT)
    assert {name: all(refused) for name, refused in found.items()} == dict.fromkeys(ALL, True)
    found = free.submit(_each).result(timeout=WAIT)
    assert {name: any(refused) for name, refused in found.items()} == dict.fromkeys(ALL, False)


def _state() -> object:
    parent = os.getppid()
    return (
        os.listdir("/proc/self/fd"),
        os.getpriority(os.PRIO_PROCESS, parent),
        os.sched_getaffinity(parent),
        _has_children(),
        [name for name in os.listdir("/tmp") if name == f"maltriage-{os.getpid()}"],
        [Path("/proc/sysvipc", kind).read_text() for kind in ("shm", "msg", "sem")],
    )


def _has_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _tried() -> tuple[object, object]:
    before = _state()
    achieved()
    return before, _state()


def test_attempts_leave_nothing_behind(free: Workers) -> None:
    before, after = free.submit(_tried).result(timeout=WAIT)
    assert before == after


def _in_a_child(work: Callable[[], object]) -> object:
    """The result of `work` in a child of this process, whose user it shares."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:
            answer = error
        os.write(writing, pickle.dumps(answer))
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as file:
        answer = pickle.load(file)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _become_nobody() -> None:
    """So that what its user may do is what the next process tries."""
    import fcntl  # noqa: F401 - what attempts import, while this process can read it
    import mmap  # noqa: F401
    import resource  # noqa: F401
    import termios  # noqa: F401

    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        isolation.prctl(ctypes.CDLL(None), isolation.DUMPABLE, 1)


def _held(filters: bool, version: int, user: bool, namespaces: bool) -> list[str]:
    """The promises that do not hold under the measures given, as root or as a user."""

    def confined() -> list[str]:
        newest = landlock.version
        landlock.version = lambda libc: min(version, newest(libc))
        if not filters:
            seccomp.install = lambda libc, *, network: False  # type: ignore[assignment]
        if not namespaces:
            isolation._leave_namespace = lambda libc: None
        confine(ISOLATED)
        found = achieved()
        assert (found.seccomp, found.landlock) == (filters, version)
        return found.missing

    def beside_it() -> object:
        if user:
            _become_nobody()
        return _in_a_child(confined)

    return _in_a_child(beside_it)  # type: ignore[return-value]


WITHOUT_FILTER = "outliving inspection network writing programs ipc".split()
"""Landlock knows nothing of modes, sockets other than TCP's, processes and System V's objects."""
LATER = {5: ["terminal"], 6: ["signals"]}
"""What Landlock refuses since a version."""


@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
@pytest.mark.parametrize("version", range(8))
@pytest.mark.parametrize("filters", [True, False], ids=["seccomp", "no-seccomp"])
def test_what_holds_by_kernel(free: Workers, filters: bool, version: int, user: bool) -> None:
    if version > NEWEST:
        pytest.skip("the kernel has an older Landlock")
    if not user and os.geteuid() != 0:
        pytest.skip("for root")
    if user and not version and not _can_have_namespaces(free):
        pytest.skip("users may have no namespace here")
    missing = free.submit(_held, filters, version, user, True).result(timeout=WAIT)
    later = [name for since, names in LATER.items() if version < since for name in names]
    if user:  # others of root have capabilities that a worker dropped
        later.append("scheduling")
    assert set(missing) == (set() if filters else {*WITHOUT_FILTER, *later})


def test_a_user_with_neither_landlock_nor_namespaces(free: Workers) -> None:
    """Only then others of the same user can be looked into, and `doctor` says so."""
    assert free.submit(_held, True, 0, True, False).result(timeout=WAIT) == ["processes"]


def _can_have_namespaces(free: Workers) -> bool:
    return bool(free.submit(_in_a_child, _entered).result(timeout=WAIT))


def _entered() -> bool:
    _become_nobody()
    return ctypes.CDLL(None).unshare(0x10000000) == 0


def _who() -> tuple[int, int, int, str]:
    """User, group, owner of a file of its own, and capabilities."""
    status = Path("/proc/self/status").read_text().splitlines()
    (capabilities,) = (line.split()[1] for line in status if line.startswith("CapPrm"))
    return os.geteuid(), os.getegid(), Path("/proc/self").stat().st_uid, capabilities


def _in_a_namespace() -> object:
    _become_nobody()
    before = os.geteuid(), os.getegid()
    isolation._leave_namespace(isolation.load_libc())
    return before, _who()


def test_a_namespace_changes_neither_user_nor_rights(free: Workers) -> None:
    if not _can_have_namespaces(free):
        pytest.skip("users may have no namespace here")
    before, after = free.submit(_in_a_child, _in_a_namespace).result(timeout=WAIT)  # type: ignore[misc]
    assert after == (*before, before[0], "0" * 16)


def test_an_error_before_a_call_is_not_its_own() -> None:
    ctypes.set_errno(errno.EPERM)
    attempts._call("getpid")
    with pytest.raises(OSError, match="Bad file"):
        attempts._call("close", -1)


def test_a_limit_of_memory_that_nothing_holds_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_memory", lambda: 1 << 20)
    assert not attempts._refused(attempts._take_more_memory)
