"""Runs a function over many files, in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from maltriage.errors import MaltriageError
from maltriage.sample.errors import SampleError

T = TypeVar("T")


def each(
    run: Callable[..., T], arguments: Iterable[tuple[str, ...]], threads: int
) -> Iterator[T | SampleError | MaltriageError]:
    """What `run` gives for each of its arguments, in order, or the error that it raises.

    Threads suffice where it waits for worker processes and ONNX Runtime.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        for task in [pool.submit(run, *given) for given in arguments]:
            try:
                yield task.result()
            except (SampleError, MaltriageError) as error:
                yield error
    finally:
        pool.shutdown(cancel_futures=True)
