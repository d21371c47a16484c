"""The server of workers is started anew where it was killed, or its folder was removed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver as of_python
from pathlib import Path

import pytest
from kill import KILL

from maltriage.work import forkserver
from maltriage.work.job import Job, WorkerDiedError
from maltriage.work.workers import Workers

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")


def asked(count: int = 2) -> list[int]:
    with Workers(count, 30.0) as workers:
        return [workers.submit(os.getpid).result(timeout=60) for _ in range(count)]


def server() -> int:
    found: int | None = of_python._forkserver._forkserver_pid  # type: ignore[attr-defined]
    assert found is not None
    return found


@ON_LINUX
def test_a_server_whose_folder_was_removed() -> None:
    asked()
    before = forkserver._folder
    assert before is not None
    shutil.rmtree(before)
    assert len(asked()) == 2
    assert forkserver._folder not in (before, None)
    assert asked(1)


@ON_LINUX
@pytest.mark.parametrize("sent", [KILL, signal.SIGTERM])
def test_a_server_that_was_killed(sent: signal.Signals) -> None:
    asked()
    was = server()
    os.kill(was, sent)  # and at once, before anybody can have seen it
    assert len(asked()) == 2
    assert server() != was


@ON_LINUX
def test_a_server_that_dies_while_its_workers_are_asked() -> None:
    with Workers(2, 30.0) as workers:
        workers.submit(os.getpid).result(timeout=60)
        os.kill(server(), KILL)
        for _ in range(8):
            assert workers.submit(os.path.basename, "/a/b").result(timeout=60) == "b"


def begun(job: Job[None]) -> None:
    until = time.monotonic() + 60
    while not job.running():
        assert time.monotonic() < until
        time.sleep(0.01)


@ON_LINUX
def test_a_job_whose_server_dies_is_begun_once_more() -> None:
    with Workers(1, 30.0) as workers:
        workers.submit(os.getpid).result(timeout=60)
        job = workers.submit(time.sleep, 0.5)
        begun(job)
        os.kill(server(), KILL)
        job.result(timeout=60)


@ON_LINUX
def test_and_no_more_than_once() -> None:
    """So that what ends the server each time does not go on without end."""
    with Workers(1, 30.0) as workers:
        workers.submit(os.getpid).result(timeout=60)
        job = workers.submit(os._exit, 255)  # as `multiprocessing` says of a dead server
        with pytest.raises(WorkerDiedError):
            job.result(timeout=60)
        assert not job.once_more
        assert workers.submit(os.path.basename, "/a/b").result(timeout=60) == "b"


@ON_LINUX
def test_a_job_that_waits_for_its_second_time_ends_with_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its future is running, so that nobody could cancel it."""
    with Workers(1, 30.0) as workers:
        supervisor = workers._supervisor
        workers.submit(os.getpid).result(timeout=60)
        job = workers.submit(time.sleep, 600)
        begun(job)
        start, ends = supervisor._start, threading.Event()

        def late(number: int) -> object:
            assert ends.wait(60)
            return start(number)

        monkeypatch.setattr(supervisor, "_start", late)
        os.kill(server(), KILL)
        while not supervisor._waiting:
            time.sleep(0.01)
        threading.Timer(0.5, ends.set).start()
    with pytest.raises(WorkerDiedError):
        job.result(timeout=60)


@ON_LINUX
def test_a_scan_after_the_temporary_folder_was_cleaned(tmp_path: Path, samples_dir: Path) -> None:
    """As a service finds it that has run for days."""
    code = (
        "import maltriage, shutil, sys, os\n"
        "if __name__ == '__main__':\n"
        "    first = maltriage.explain(sys.argv[1])\n"
        "    for name in os.listdir(sys.argv[2]):\n"
        "        shutil.rmtree(os.path.join(sys.argv[2], name), ignore_errors=True)\n"
        "    assert maltriage.explain(sys.argv[1]).sha256 == first.sha256\n"
    )
    program = tmp_path / "service.py"
    program.write_text(code)
    (tmp_path / "t").mkdir()
    command = [sys.executable, str(program), str(samples_dir / "gui-x86.exe"), str(tmp_path / "t")]
    env = {**os.environ, "TMPDIR": str(tmp_path / "t")}
    subprocess.run(command, env=env, check=True, timeout=120)
    assert os.listdir(tmp_path / "t") == []


def test_other_refusals_are_no_case_for_it() -> None:
    assert not forkserver.recover(OSError(errno.EAGAIN, "no processes left"))


@ON_LINUX
def test_descriptors_are_blamed_only_where_there_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    assert "ulimit" not in forkserver.refusal(FileNotFoundError())
    monkeypatch.setattr(resource, "getrlimit", lambda which: (20, 20))
    assert "ulimit -n" in forkserver.refusal(ConnectionRefusedError())
    assert forkserver.refusal(OSError(errno.EAGAIN, "no processes left")) == "no processes left"
