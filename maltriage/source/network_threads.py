"""Threads that wait for a network, and never block the rest of the program.

A server may not answer for minutes. A caller can stop meanwhile: it waits in small steps, and
unlike those of `concurrent.futures` these threads do not delay the end of the process.
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
"""Seconds between two checks whether to stop."""


class StoppedError(Exception):
    """The wait was stopped."""


class Askers:
    """At most `most` threads, started on demand. Use as a context manager."""

    def __init__(self, most: int) -> None:
        self._most, self._begun, self._over = most, 0, False
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def submit(self, function: Callable[[*A], T], *arguments: *A) -> Future[T]:
        """Call `function` in a thread; the future has what it returns or raises."""
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
        """Cancel every wait."""
        self._over = True
        for _thread in range(self._begun):
            self._queue.put(None)


def answer(future: Future[T], stop: Callable[[], bool]) -> T:
    """The result of a future.

    Args:
        stop: called every now and then.

    Raises:
        StoppedError: `stop` returned true before there was a result.
    """
    while not wait_for([future], POLL).done:
        if stop():
            raise StoppedError
    return future.result()
