"""Workers that die or lie at the worst moment: each costs the task that it had and no other."""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from maltriage.work import supervisor
from maltriage.work.messages import Answer
from maltriage.work.process import WorkerEnd, publish
from maltriage.work.supervisor import Supervisor
from maltriage.work.workers import Workers, reason_of

OTHERS = 40
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _half_an_answer() -> None:
    """As where the system takes a worker while it answers, since memory runs out."""

    def send(end: WorkerEnd, message: Any) -> None:
        os.write(end._answers.fileno(), struct.pack("!i", 1 << 20) + bytes(1000))
        _die()

    WorkerEnd.send = send  # type: ignore[method-assign]


def _answer_and_leave() -> str:
    usual = WorkerEnd.send

    def send(end: WorkerEnd, message: Any) -> None:
        usual(end, message)
        os._exit(0)

    WorkerEnd.send = send  # type: ignore[method-assign]
    return "said"


def _of_another_task() -> None:
    usual = WorkerEnd.send

    def send(end: WorkerEnd, message: Any) -> None:
        usual(end, Answer(message.job + 1, message.value, None))

    WorkerEnd.send = send  # type: ignore[method-assign]


def _twice() -> str:
    usual = WorkerEnd.send

    def send(end: WorkerEnd, message: Any) -> None:
        usual(end, message)
        usual(end, message)

    WorkerEnd.send = send  # type: ignore[method-assign]
    return "said"


def _fall_silent() -> None:
    """Its pipe is closed, and it goes on."""

    def send(end: WorkerEnd, message: Any) -> None:
        end._answers.close()
        time.sleep(600)

    WorkerEnd.send = send  # type: ignore[method-assign]


def _no_message() -> None:
    WorkerEnd.send = lambda end, message: end._answers.send("hello")  # type: ignore[method-assign]


def _no_result() -> None:
    def send(end: WorkerEnd, message: Any) -> None:
        end._answers.send(Answer(message.job, None, 5))  # type: ignore[arg-type]

    WorkerEnd.send = send  # type: ignore[method-assign]


def _half_a_message() -> None:
    def send(end: WorkerEnd, message: Any) -> None:
        del message.value
        end._answers.send(message)

    WorkerEnd.send = send  # type: ignore[method-assign]


def _too_large() -> None:
    WorkerEnd.send = lambda end, message: os.write(  # type: ignore[method-assign]
        end._answers.fileno(), struct.pack("!iQ", -1, 1 << 40)
    )


def _die_at_the_next() -> str:
    """Between getting a task and saying so."""

    def recv(end: WorkerEnd) -> Any:
        end._jobs.recv_bytes()
        _die()

    WorkerEnd.recv = recv  # type: ignore[method-assign]
    return "said"


def _number(number: int) -> int:
    return number


def _all(workers: Workers, function: Callable[[], Any]) -> tuple[Future[Any], list[int]]:
    """What becomes of a task, and of others before and after it."""
    before = [workers.submit(_number, number) for number in range(OTHERS)]
    one = workers.submit(function)
    after = [workers.submit(_number, OTHERS + number) for number in range(OTHERS)]
    return one, [task.result(timeout=20) for task in (*before, *after)]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_die, "died (SIGKILL)"),
        (_half_an_answer, "died (SIGKILL)"),
        (_fall_silent, "died (SIGKILL)"),
        (_of_another_task, "sent an invalid answer"),
        (_no_message, "sent an invalid answer"),
        (_no_result, "sent an invalid answer"),
        (_half_a_message, "sent an invalid answer"),
        (_too_large, "sent an invalid answer"),
    ],
)
def test_who_dies_or_lies_costs_its_own_task(
    function: Callable[[], None], reason: str, jobs: int
) -> None:
    began = time.monotonic()
    with Workers(jobs, 60.0, isolation=None) as workers:
        one, others = _all(workers, function)
        error = one.exception(timeout=20)
        assert error is not None
        assert (reason_of(error, 60.0).code, reason_of(error, 60.0).reason) == (
            "crash",
            f"the process that read it {reason}",
        )
        assert others == list(range(2 * OTHERS))
    assert time.monotonic() - began < 30.0  # nobody waits for a lock


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("function", [_answer_and_leave, _twice, _die_at_the_next])
def test_an_answer_counts_before_what_comes_of_its_worker(
    function: Callable[[], str], jobs: int
) -> None:
    with Workers(jobs, 60.0, isolation=None) as workers:
        one, others = _all(workers, function)
        assert one.result(timeout=20) == "said"
        # Whoever had been given a task and had not begun it: it went to another one.
        assert others == list(range(2 * OTHERS))


def test_a_worker_that_hangs_in_its_answer_is_ended_with_its_time() -> None:
    with Workers(2, 6.0, isolation=None) as workers:
        one, others = _all(workers, _half_an_answer_and_hang)
        assert not one.done()  # nobody waited for it
        assert others == list(range(2 * OTHERS))
        assert isinstance(one.exception(timeout=20), TimeoutError)


def _half_an_answer_and_hang() -> None:
    def send(end: WorkerEnd, message: Any) -> None:
        os.write(end._answers.fileno(), struct.pack("!i", 1 << 20) + bytes(1000))
        time.sleep(600)

    WorkerEnd.send = send  # type: ignore[method-assign]


def _turn_deaf() -> str:
    WorkerEnd.recv = lambda end: time.sleep(600)  # type: ignore[assignment,method-assign,return-value]
    return "said"


def test_a_worker_that_takes_no_more_tasks_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the main process may wait for it to read one that is larger than a pipe."""
    monkeypatch.setattr(supervisor, "DEAF", 3.0)
    with Workers(2, 60.0, isolation=None) as workers:
        assert workers.submit(_turn_deaf).result(timeout=20) == "said"
        tasks = [workers.submit(len, bytes(1 << 20)) for _ in range(20)]
        assert [task.result(timeout=30) for task in tasks] == [1 << 20] * 20


def test_tasks_larger_than_a_pipe() -> None:
    with Workers(2, 60.0) as workers:
        tasks = [workers.submit(len, bytes(1 << 20)) for _ in range(20)]
        assert {task.result(timeout=30) for task in tasks} == {1 << 20}
        with pytest.raises(TypeError, match="pickle"):
            workers.submit(len, (x for x in ())).result(timeout=30)
        assert workers.submit(len, b"x").result(timeout=30) == 1


def test_as_many_processes_as_a_large_machine_has_cores() -> None:
    """More than 256 ended a scan once."""
    with Workers(512, 60.0, isolation=None) as workers:
        jobs = [workers.submit(_number, number) for number in range(1024)]
        assert [job.result(timeout=240) for job in jobs] == list(range(1024))


def _step(names: list[str]) -> list[str]:
    for step, name in enumerate(names):
        publish(step)
        time.sleep(600 if name == "hang" else 0.4)
    return names


def test_each_step_of_a_job_has_the_time_limit_for_itself() -> None:
    with Workers(1, 1.0, isolation=None) as workers:
        slow = workers.submit(_step, ["a", "b", "c", "d"], steps=4)
        assert slow.result(timeout=30) == ["a", "b", "c", "d"]
        hangs = workers.submit(_step, ["a", "hang", "c"], steps=3)
        assert isinstance(hangs.exception(timeout=30), TimeoutError)
        assert workers.at(hangs)[0] == 1


def _postpone() -> None:
    while True:
        publish(0)


def test_a_process_cannot_put_off_its_end_by_what_it_says() -> None:
    with Workers(1, 1.0, isolation=None) as workers:
        assert isinstance(workers.submit(_postpone).exception(timeout=30), TimeoutError)


def test_fewer_processes_than_asked_for_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a limit of the system is reached."""
    start = Supervisor._start

    def limited(supervisor: Supervisor, number: int) -> Any:
        if number:
            raise BlockingIOError("no more processes")
        return start(supervisor, number)

    monkeypatch.setattr(Supervisor, "_start", limited)
    with Workers(3, 60.0, isolation=None) as workers:
        jobs = [workers.submit(_number, number) for number in range(OTHERS)]
        assert [job.result(timeout=60) for job in jobs] == list(range(OTHERS))
    monkeypatch.setattr(Supervisor, "_start", lambda supervisor, number: limited(supervisor, 1))
    with Workers(3, 60.0, isolation=None) as workers:
        lost = workers.submit(_number, 1)
        assert reason_of(lost.exception(timeout=60) or ValueError(), 60.0).code == "internal"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(24, "Too many open files"), "Too many open files"),
        (FileNotFoundError(2, "No such file or directory"), "are forked from has ended"),
        (ConnectionRefusedError(111, "Connection refused"), "are forked from has ended"),
        (ValueError("odd"), "odd"),
    ],
)
def test_why_no_process_can_be_started(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """Where the server of processes has ended, nothing is at its place: that is no missing file."""

    def refuse(self: Supervisor, number: int) -> None:
        raise error

    monkeypatch.setattr(Supervisor, "_start", refuse)
    with Workers(2, 5.0) as workers:
        failed = workers.submit(os.getpid).exception(timeout=30)
    assert str(failed).startswith("processes cannot be started: ")
    assert str(failed).endswith(said)
