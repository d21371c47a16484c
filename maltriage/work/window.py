"""The answers of jobs in the order of the jobs, with only some of them under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from maltriage.sample.errors import SampleError
from maltriage.work.workers import reason_of

K = TypeVar("K")
T = TypeVar("T")


def in_order(
    jobs: Iterable[tuple[K, Future[T] | SampleError]], most: int, timeout: float
) -> Iterator[tuple[K, T | SampleError]]:
    """The answer of each job, or why there is none, each with its key.

    Args:
        jobs: submits each job as it is asked for it; an error stands for a job that is none.
        most: jobs under way at once, which bounds the memory of the queue.
        timeout: that of the workers, for the words of an error.
    """
    waiting = deque[tuple[K, Future[T] | SampleError]]()

    def oldest() -> tuple[K, T | SampleError]:
        key, job = waiting.popleft()
        if isinstance(job, SampleError):
            return key, job
        try:
            return key, job.result()
        except Exception as error:  # a fault in a parser must not end a whole run
            return key, reason_of(error, timeout)

    for pair in jobs:
        waiting.append(pair)
        if len(waiting) >= most:
            yield oldest()
    while waiting:
        yield oldest()
