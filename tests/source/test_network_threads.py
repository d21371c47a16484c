from __future__ import annotations

import threading
import time

import pytest

from maltriage.source.network_threads import POLL, Askers, StoppedError, answer


def never() -> bool:
    return False


def test_answers_come_from_at_most_so_many_threads() -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def ask(number: int) -> int:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.002)
        with lock:
            at_once -= 1
        return number

    with Askers(4) as askers:
        futures = [askers.submit(ask, number) for number in range(40)]
        assert [answer(future, never) for future in futures] == list(range(40))
    assert 1 < most <= 4


def test_errors_come_to_whoever_asked() -> None:
    def fail() -> None:
        raise TimeoutError("of the question, not of waiting for it")

    with Askers(1) as askers:
        with pytest.raises(TimeoutError, match="of the question"):
            answer(askers.submit(fail), never)
        assert answer(askers.submit(lambda: 7), never) == 7


def test_waiting_can_be_stopped_and_nobody_waits_for_the_rest() -> None:
    begun, go = threading.Event(), threading.Event()
    later: list[int] = []

    def hang() -> None:
        begun.set()
        go.wait(60)

    start = time.monotonic()
    with Askers(1) as askers:
        future = askers.submit(hang)
        askers.submit(later.append, 1)
        begun.wait(60)
        with pytest.raises(StoppedError):
            answer(future, begun.is_set)
    assert time.monotonic() - start < 50 * POLL
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "asker")
    go.set()
    future.result(60)
    assert later == []
