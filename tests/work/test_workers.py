from __future__ import annotations

import math
import multiprocessing.forkserver
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from kill import KILL, KILLED

from maltriage.errors import MaltriageError
from maltriage.sample.errors import SampleError
from maltriage.work.cores import _quota, cores
from maltriage.work.dispatcher import each
from maltriage.work.forkserver import start_ahead
from maltriage.work.job import WorkerDiedError
from maltriage.work.workers import Workers, reason_of


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _die(number: int) -> None:
    os.kill(os.getpid(), number)


def _fail() -> None:
    raise SampleError("empty", "an empty file")


def test_a_worker_that_hangs_or_dies_costs_only_its_file() -> None:
    with Workers(1, timeout=1.0) as workers:
        futures = [
            workers.submit(_sleep, 60.0),
            workers.submit(_die, KILL),
            workers.submit(_fail),
            workers.submit(os.getpid),
        ]
        found = []
        for future in futures[:-1]:
            with pytest.raises(Exception) as caught:  # noqa: PT011 - each has its own kind
                future.result(timeout=30)
            found.append(reason_of(caught.value, 1.0))
        assert [(error.code, error.failed) for error in found] == [
            ("timeout", True),
            ("crash", True),
            ("empty", False),
        ]
        assert KILLED in found[1].reason
        assert futures[-1].result(timeout=30) > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_a_forked_process_leaves_the_workers_alone() -> None:
    with Workers(1, timeout=60.0) as workers:
        job = workers.submit(_sleep, 1.0)
        until = time.monotonic() + 30
        while not job.running() and time.monotonic() < until:
            time.sleep(0.01)
        child = os.fork()
        if not child:
            workers.__exit__()
            os._exit(0)
        os.waitpid(child, 0)
        assert job.result(timeout=30) is None


def _want() -> None:
    raise MemoryError


def test_a_worker_that_wanted_for_memory_is_replaced() -> None:
    """What took the memory may hold it: files after it would have no verdict."""
    with Workers(1, timeout=5.0) as workers:
        before = workers.submit(os.getpid).result(timeout=30)
        assert workers.submit(os.getpid).result(timeout=30) == before
        for _ in range(5):  # which is more often than processes may die as they start
            with pytest.raises(MemoryError):
                workers.submit(each, [(_want, ())]).result(timeout=30)
        assert workers.submit(os.getpid).result(timeout=30) != before


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_worker_that_dies_with_nothing_to_do_is_replaced() -> None:
    """As where memory runs out, and the system takes a process that waits."""
    with Workers(1, timeout=30.0) as workers:
        for _ in range(3):
            pid = workers.submit(os.getpid).result(timeout=60)
            time.sleep(0.3)  # it answered, and is waiting by now
            os.kill(pid, KILL)
            while psutil.pid_exists(pid):
                time.sleep(0.05)
            time.sleep(0.3)  # for the pool to see it
        assert workers.submit(os.getpid).result(timeout=60) != pid


@pytest.mark.parametrize(
    ("code", "words"), [(3, "exit code 3"), (-11, "SIGSEGV"), (0xC0000005, "exit code 0xc0000005")]
)
def test_how_a_process_died(code: int, words: str) -> None:
    error = reason_of(WorkerDiedError(code), 1.0)
    assert error.reason == f"the process that read it died ({words})"


def test_workers_that_cannot_start_are_an_error() -> None:
    with Workers(2, timeout=30.0, isolation="none") as workers:  # type: ignore[arg-type]
        lost = workers.submit(os.getpid)
        assert reason_of(lost.exception(timeout=120) or ValueError(), 30.0).code == "internal"
        with pytest.raises(MaltriageError, match="die as they start"):
            workers.submit(os.getpid)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        ("0::/a/b\n", {"cpu.max": "max 100000"}, math.inf),
        # In a container: what is mounted begins at its own group.
        ("0::/docker/1234\n", {"cpu.max": "50000 100000"}, 0.5),
        (
            "4:memory:/x\n3:cpu,cpuacct:/x\n",
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "200000",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000",
                "memory/x/cpu.max": "1 100000",
            },
            2.0,
        ),
        (
            "3:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            math.inf,
        ),
        ("0::/\n", {"cpu.max": "nonsense"}, math.inf),
        (None, {}, math.inf),
    ],
)
def test_the_quota_of_control_groups(
    tmp_path: Path, own: str | None, files: dict[str, str], expected: float
) -> None:
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    if own is not None:
        (tmp_path / "own").write_text(own)
    assert _quota(tmp_path / "cgroup", tmp_path / "own") == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_no_more_cores_than_the_process_may_use() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are not forked there")
def test_workers_are_forked_from_the_server_that_was_started_ahead() -> None:
    start_ahead()
    server = multiprocessing.forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    assert server
    with Workers(1, timeout=30.0) as workers:
        assert workers.submit(os.getppid).result(timeout=60) == server


LONG = """
import os
from maltriage.work.workers import Workers

if __name__ == "__main__":
    with Workers(1, 60) as workers:
        print(workers.submit(os.getpid).result(timeout=60) != os.getpid())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no sockets with paths there")
def test_a_folder_of_temporary_files_with_a_long_name(tmp_path: Path) -> None:
    """The path of a socket has some hundred bytes."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    (tmp_path / "long.py").write_text(LONG)
    done = subprocess.run(
        [sys.executable, tmp_path / "long.py"],
        capture_output=True,
        env={
            **os.environ,
            "TMPDIR": str(folder),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"True\n", b"")
    assert list(folder.iterdir()) == []
