"""Workers give up what a parser does not need: here is one that tries."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest
from corpus.synthetic import zipped
from hostile.make import byteplot

from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.source.archive.limits import Archives
from maltriage.work import isolation, landlock, seccomp
from maltriage.work.attempts import achieved
from maltriage.work.isolation import Isolation, confine, memory_for
from maltriage.work.workers import Workers, reason_of

fcntl = pytest.importorskip("fcntl", reason="needs a POSIX system")
resource = pytest.importorskip("resource", reason="needs a POSIX system")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in seccomp.MACHINES,
    reason="workers are isolated on Linux, on x86-64 and ARM64",
)
WAIT = 60.0


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(1, timeout=WAIT) as pool:
        yield pool


def test_nothing_is_missing(workers: Workers) -> None:
    found = workers.submit(achieved).result(timeout=WAIT)
    assert found.missing == []
    assert found.memory == memory_for(256 << 20) == 3 << 30
    assert found.seccomp


def _tracker() -> bool:
    """Whether the pipe of the process that removes shared memory by its name leads nowhere."""
    found = os.fstat(resource_tracker._resource_tracker._fd)  # type: ignore[attr-defined]
    return found.st_rdev == os.stat(os.devnull).st_rdev


def test_no_other_process_takes_orders(workers: Workers) -> None:
    assert workers.submit(_tracker).result(timeout=WAIT)


def test_this_process_keeps_its_rights() -> None:
    assert "writing" in achieved().missing
    assert "network" in achieved().missing


def _write(path: Path) -> None:
    path.write_bytes(b"x")


def _append(path: Path) -> None:
    path.open("ab")


def _change(path: Path) -> None:
    path.open("r+b")


def _make(path: Path) -> None:
    path.with_name("new").open("xb")


def _folder(path: Path) -> None:
    path.with_name("new").mkdir()


def _link(path: Path) -> None:
    path.with_name("new").symlink_to(path)


def _move(path: Path) -> None:
    path.rename(path.with_name("new"))


def _remove(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    os.truncate(path, 0)


def _mode(path: Path) -> None:
    path.chmod(0o777)


def _times(path: Path) -> None:
    os.utime(path, (0, 0))


def _attribute(path: Path) -> None:
    os.setxattr(path, "user.x", b"x")


def _tcp(path: Path) -> None:
    socket.socket()


def _udp(path: Path) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _unix(path: Path) -> None:
    socket.socket(socket.AF_UNIX)


def _run(path: Path) -> None:
    os.execv(sys.executable, [sys.executable, "--version"])


def _start(path: Path) -> None:
    subprocess.run([sys.executable, "--version"], check=True)


def _fork(path: Path) -> None:
    if os.fork() == 0:
        os._exit(0)


def _signal(path: Path) -> None:
    os.kill(os.getppid(), 0)


def _signal_all(path: Path) -> None:
    os.kill(-1, 0)


def _libc(name: str, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def _look_into_the_parent(path: Path) -> None:
    _libc("ptrace", 16, os.getppid(), None, None)  # PTRACE_ATTACH


def _open_the_parent(path: Path) -> None:
    os.pidfd_open(os.getppid())


def _environment(path: Path) -> None:
    Path(f"/proc/{os.getppid()}/environ").read_bytes()


def _memory(path: Path) -> None:
    os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY))


def _inode_flags(path: Path) -> None:
    with path.open("rb") as file:
        fcntl.ioctl(file, 0x40086602, (0x80).to_bytes(8, "little"))  # chattr +A


def _hold_up_writers(path: Path) -> None:
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def _lease(path: Path) -> None:
    with path.open("rb") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)


def _owner(path: Path) -> None:
    fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())


def _signal_of_owner(path: Path) -> None:
    fcntl.fcntl(os.pipe()[0], fcntl.F_SETSIG, signal.SIGKILL)


def _signal_when_ready(path: Path) -> None:
    fcntl.fcntl(os.pipe()[0], fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)


def _signal_when_ready_by_ioctl(path: Path) -> None:
    fcntl.ioctl(os.pipe()[0], 0x5452, (1).to_bytes(4, "little"))  # FIOASYNC


def _shared_memory(path: Path) -> None:
    _libc("shmget", 0, 4096, 0o1600)


def _shared_memory_of_others(path: Path) -> None:
    _libc("shmctl", -1, 0, None)  # IPC_RMID; of none, should it be done


def _message_queue_of_others(path: Path) -> None:
    _libc("msgctl", -1, 0, None)


def _semaphore_of_others(path: Path) -> None:
    _libc("semctl", -1, 0, 0)


def _priority(path: Path) -> None:
    os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)


def _scheduler(path: Path) -> None:
    os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0))


def _affinity(path: Path) -> None:
    os.sched_setaffinity(os.getppid(), {min(os.sched_getaffinity(0))})


def _outlive(path: Path) -> None:
    _libc("prctl", 1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG


def _dumpable(path: Path) -> None:
    _libc("prctl", 4, 1, 0, 0, 0)  # PR_SET_DUMPABLE


def _watch(path: Path) -> None:
    _libc("inotify_init1", 0)


def _lift_the_limit(path: Path) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except ValueError as error:  # so Python calls it
        raise PermissionError(errno.EPERM, str(error)) from error


def _io_uring(path: Path) -> None:
    _libc("syscall", ctypes.c_long(425), ctypes.c_uint(1), ctypes.create_string_buffer(256))


FILES = [_write, _append, _change, _make, _folder, _link, _move, _remove, _truncate]
OTHERS = [_mode, _times, _attribute, _tcp, _udp, _unix, _run, _start, _fork, _signal, _signal_all,
          _look_into_the_parent, _lift_the_limit, _io_uring, _open_the_parent, _environment,
          _memory, _inode_flags, _hold_up_writers, _lease, _owner, _signal_of_owner,
          _signal_when_ready, _signal_when_ready_by_ioctl, _shared_memory, _shared_memory_of_others,
          _message_queue_of_others, _semaphore_of_others, _priority, _scheduler, _affinity,
          _outlive, _dumpable, _watch]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A file that is as it was, afterwards."""
    path = tmp_path / "file"
    path.write_bytes(b"as it was")
    before = path.stat()
    yield path
    assert path.read_bytes() == b"as it was"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    assert (path.stat().st_mode, path.stat().st_mtime) == (before.st_mode, before.st_mtime)


@pytest.mark.parametrize("attempt", FILES + OTHERS, ids=lambda attempt: attempt.__name__)
def test_what_a_worker_tries_is_refused(
    workers: Workers, file: Path, attempt: Callable[[Path], None]
) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
        workers.submit(attempt, file).result(timeout=WAIT)
    assert caught.value.errno in (errno.EPERM, errno.EACCES)
    assert workers.submit(os.getpid).result(timeout=WAIT)  # it did not die of it


def _what_it_needs(path: Path) -> tuple[bytes, list[int], int]:
    found: list[int] = []
    thread = threading.Thread(target=found.append, args=(1,))
    thread.start()
    thread.join()
    return path.read_bytes(), found, len(bytearray(64 << 20))


def test_a_worker_reads_and_computes(workers: Workers, file: Path) -> None:
    found = workers.submit(_what_it_needs, file).result(timeout=WAIT)
    assert found == (b"as it was", [1], 64 << 20)


def _ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        return connection.recv(2)


def test_the_network_is_there_where_it_is_needed(file: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Workers(1, WAIT, isolation=Isolation(network=True)) as pool,
    ):
        answer = pool.submit(_ask, server.getsockname()[1])
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"ok")
        assert answer.result(timeout=WAIT) == b"ok"
        assert pool.submit(achieved).result(timeout=WAIT).missing == ["network"]
        with pytest.raises(PermissionError):
            pool.submit(_make, file).result(timeout=WAIT)


def _by_itself(layer: str, path: Path) -> dict[str, int]:
    """The error of each attempt under one layer alone, 0: it was done."""
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    libc.prctl(ctypes.c_int(38), ctypes.c_ulong(1), zero, zero, zero)
    layers: dict[str, Any] = {"seccomp": seccomp, "landlock": landlock}
    assert layers[layer].install(libc, network=False)
    found = {}
    for attempt in FILES:
        try:
            attempt(path)
            found[attempt.__name__] = 0
        except OSError as error:
            found[attempt.__name__] = error.errno or -1
    return found


@pytest.mark.parametrize("layer", ["seccomp", "landlock"])
def test_each_layer_refuses_to_write_by_itself(file: Path, layer: str) -> None:
    if layer == "landlock" and landlock.version(ctypes.CDLL(None, use_errno=True)) < 3:
        pytest.skip("the kernel has no Landlock, or an old one")
    with Workers(1, WAIT, isolation=None) as pool:
        found = pool.submit(_by_itself, layer, file).result(timeout=WAIT)
    assert set(found.values()) <= {errno.EPERM, errno.EACCES}, found


def test_older_kernels_are_asked_for_what_they_know() -> None:
    """A bit that a version does not know would make it refuse all of it."""
    found = {version: landlock.rules(version, network=False) for version in range(1, 8)}
    assert [files.bit_length() for files, *_ in found.values()] == [13, 14, 15, 15, 16, 16, 16]
    assert [tcp for _, tcp, _, _ in found.values()] == [0, 0, 0, 3, 3, 3, 3]
    assert [scopes for _, _, scopes, _ in found.values()] == [0, 0, 0, 0, 0, 3, 3]
    assert [size for *_, size in found.values()] == [8, 8, 8, 16, 16, 24, 24]
    assert landlock.rules(7, network=True)[1] == 0
    assert not found[7][0] & 0b1100  # files and folders are read


def test_a_system_without_any_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers start there as well, with less."""
    taken: list[object] = []
    monkeypatch.setattr(isolation, "_silence", lambda: None)
    monkeypatch.setattr(isolation, "_limit", taken.append)
    monkeypatch.setattr(isolation, "load_libc", lambda: (_ for _ in ()).throw(OSError("none here")))
    confine(Isolation(memory=1))
    assert taken == [1]


def _too_much() -> int:
    return len(bytearray(1 << 30))


def test_a_worker_has_a_share_of_the_memory() -> None:
    """It fails with that file alone; another one goes on."""
    with Workers(1, WAIT, isolation=Isolation(memory=512 << 20)) as pool:
        before = pool.submit(os.getpid).result(timeout=WAIT)
        with pytest.raises(MemoryError) as caught:
            pool.submit(_too_much).result(timeout=WAIT)
        assert reason_of(caught.value, WAIT).code == "memory"
        assert pool.submit(os.getpid).result(timeout=WAIT) != before


def _say() -> None:
    os.write(1, b"from a sample")
    os.write(2, b"from a sample")


def test_what_a_parser_prints_is_not_seen(
    workers: Workers, capfd: pytest.CaptureFixture[str]
) -> None:
    workers.submit(_say).result(timeout=WAIT)
    assert capfd.readouterr() == ("", "")


def _capabilities() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (row for row in status if row.startswith("CapEff"))
    return int(line.split()[1], 16)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="for root")
def test_root_keeps_that_it_reads_all_files(workers: Workers) -> None:
    assert workers.submit(_capabilities).result(timeout=WAIT) in (0, 1 << 2)


PARENT = """
import ctypes, os, sys, time
from maltriage.work.workers import Workers

def hang(path):
    ctypes.PyDLL(None).sleep(600)  # holds the interpreter, as a parser in C++ does

if __name__ == "__main__":
    with Workers(2, 600) as workers:
        tasks = [workers.submit(hang, "x") for _ in range(2)]
        while not all(task.running() for task in tasks):
            time.sleep(0.05)
        print("they hang", flush=True)
        sys.stdin.read()
"""


def test_workers_end_with_a_scan_that_is_killed(tmp_path: Path) -> None:
    """Though they are in the middle of something that does not look up."""
    import psutil

    (tmp_path / "parent.py").write_text(PARENT)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3  # a server, and two workers
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=WAIT)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def _large(kind: str) -> bytes:
    """A small file whose program has 128 MiB; a PNG at most 250 times its own bytes."""
    if kind == "png":
        return byteplot(b"MZ" + bytes(1 << 27), 1 << 14) + bytes(1 << 20)
    return zipped({"x.exe": b"MZ" + bytes(1 << 27)}, None)


@pytest.mark.parametrize("kind", ["png", "zip"])
def test_want_of_memory_is_no_damage(tmp_path: Path, kind: str) -> None:
    """What a parser makes of having no memory left says nothing of the file."""
    path = tmp_path / f"x.{kind}"
    path.write_bytes(_large(kind))
    options = PrepareOptions((), max_size=1 << 30, archives=Archives(ratio=1 << 20))
    with (
        Workers(1, WAIT, isolation=Isolation(memory=256 << 20)) as pool,
        pytest.raises(MemoryError),
    ):
        pool.submit(prepare, str(path), options).result(timeout=WAIT)
    with Workers(1, WAIT) as pool:
        found = pool.submit(prepare, str(path), options).result(timeout=WAIT)
    assert found.layout.regions[-1].end >= (1 << 27) + 2


def _hoard(step: int = 1 << 20) -> None:
    """Take all memory there is, to the last kilobyte, and hold it where the error arises."""
    held = []
    while step >= 1024:
        try:
            while True:
                held.append(bytearray(step))
        except MemoryError:
            step //= 2
    held.append(bytearray(1 << 40))


def test_an_error_for_want_of_memory_can_be_sent() -> None:
    """Its frames hold what took the memory; they must not outlive it."""
    with Workers(1, WAIT, isolation=Isolation(memory=256 << 20)) as pool:
        for _ in range(3):
            with pytest.raises(MemoryError):
                pool.submit(_hoard).result(timeout=WAIT)
