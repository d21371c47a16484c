"""Threads that wait for answers of a network, for which nobody else has to wait.

A server may take minutes to say nothing. Whoever wants to stop meanwhile can: waiting is done in
small steps, and unlike those of `concurrent.futures` these threads do not hold up the end of the
process.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from queue import SimpleQueue
from threading import Thread
from typing import Self, TypeVar, TypeVarTuple

T = TypeVar("T")
A = TypeVarTuple("A")

POLL = 0.1
"""Seconds between two looks at whether to stop."""


class StoppedError(Exception):
    """Whoever waited was asked to stop."""


class Askers:
    """At most `most` threads, started when there is something to ask. Use as a context manager."""

    def __init__(self, most: int) -> None:
        self._most, self._begun, self._over = most, 0, False
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def submit(self, function: Callable[[*A], T], *arguments: *A) -> Future[T]:
        """Have a thread call `function`; what it returns or raises comes from the future."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        self._queue.put(run)
        if self._begun < self._most:
            self._begun += 1
            Thread(target=self._work, name="asker", daemon=True).start()
        return future

    def _work(self) -> None:
        while (run := self._queue.get()) is not None and not self._over:
            run()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """What is waited for still is not waited for any longer."""
        self._over = True
        for _thread in range(self._begun):
            self._queue.put(None)


def answer(future: Future[T], stop: Callable[[], bool]) -> T:
    """What came of a question.

    Args:
        stop: asked every now and then.

    Raises:
        StoppedError: it said so before there was an answer.
    """
    while not wait_for([future], POLL).done:
        if stop():
            raise StoppedError
    return future.result()
