"""Files handed to workers several at a time, so that small ones do not wait on messages.

A worker publishes which file of a group it is at, and since when. So one that dies, or runs over
its time, costs the file that it was at, and the rest of the group is given out again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pebble import ProcessExpired

from maltriage.sample.errors import SampleError
from maltriage.work.workers import Workers, each, reason_of

T = TypeVar("T")

MAX_GROUP_FILES = 8
MAX_GROUP_BYTES = 4 << 20
"""A group is full with this much, which takes milliseconds, where a message takes 0.1."""
_AHEAD = 2
"""Groups for each worker that are enough to wait with the next one until it is full."""
_ITS_TIME = 0.9
"""Share of the time limit that a file must have had itself to be blamed for a group's."""


@dataclass
class _Group(Generic[T]):
    """Files that one worker reads one after another; `slot` is where it says which one it is at."""

    places: list[Place[T]]
    slot: int
    future: Future[list[T | SampleError]]


@dataclass
class Place(Generic[T]):
    """One file of a group, and what came of it."""

    path: str
    found: T | SampleError | None = None
    cancelled: bool = False
    group: _Group[T] | None = field(default=None, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether it waits for others to go with it."""
        return self.group is None and self.found is None and not self.cancelled


class Groups(Generic[T]):
    """Gives files to workers, in groups.

    Args:
        workers: who read them.
        function: of a path and `arguments`, for each file; what it returns and raises is pickled.
        arguments: the same for all files.
    """

    def __init__(self, workers: Workers, function: Callable[..., T], *arguments: Any) -> None:
        self._workers, self._function, self._arguments = workers, function, arguments
        self._open: list[Place[T]] = []
        self._bytes = 0
        self._given: deque[_Group[T]] = deque(maxlen=_AHEAD * workers.jobs)

    def add(self, path: str, size: int) -> Place[T]:
        """A file of `size` bytes; it may wait for others that go with it, see `give`."""
        place = Place[T](path)
        if self._open and self._bytes + size > MAX_GROUP_BYTES:
            self.give()
        self._open.append(place)
        self._bytes += size
        if len(self._open) == MAX_GROUP_FILES or self._bytes >= MAX_GROUP_BYTES:
            self.give()
        return place

    def give(self) -> None:
        """Give out what was added, though a group is not full."""
        places = [place for place in self._open if not place.cancelled]
        if places:
            self._given.append(self._submit(places))
        self._open, self._bytes = [], 0

    def give_if_idle(self) -> None:
        """The same, if the workers have little else to do."""
        if self._open:
            waiting = sum(not group.future.done() for group in self._given)
            if waiting < _AHEAD * self._workers.jobs:
                self.give()

    def result(self, place: Place[T], wait: float) -> T | SampleError | None:
        """What came of a file; None if nothing has yet, after `wait` seconds, or if it never will
        (`place.cancelled`)."""
        if place.found is None and place.group is not None and not place.cancelled:
            group = place.group
            try:
                # Not `result`: a worker's TimeoutError could not be told from that of waiting.
                error = group.future.exception(timeout=wait)
            except FutureTimeout:
                return None
            except CancelledError:
                for other in group.places:
                    other.cancelled = True
                return None
            self._settle(group, error)
        return place.found

    def running(self, place: Place[T]) -> float | None:
        """For how many seconds a worker has had the file in hand, None where none has."""
        group = place.group
        if place.found is not None or group is None or not group.future.running():
            return None
        index, since = self._workers.at(group.slot)
        if group.places[min(index, len(group.places) - 1)] is not place:
            return None
        return max(0.0, time.monotonic() - since) if since else 0.0

    def cancel(self, place: Place[T]) -> None:
        """Take a file back, unless a worker has its group in hand already."""
        if place.group is None:
            place.cancelled = place.found is None
        elif not place.group.future.running():
            # What a worker has in hand is finished: cancelling it would kill the worker.
            place.group.future.cancel()

    def _submit(self, places: list[Place[T]]) -> _Group[T]:
        slot = self._workers.claim()
        paths = [place.path for place in places]
        future = self._workers.submit(each, self._function, paths, self._arguments, slot)
        group = _Group(places, slot, future)
        for place in places:
            place.group = group
        return group

    def _settle(self, group: _Group[T], error: BaseException | None) -> None:
        """Hand the outcome of a group to its files, or those without one to other groups."""
        index, since = self._workers.at(group.slot)
        self._workers.release(group.slot)
        if error is None:
            for place, found in zip(group.places, group.future.result(), strict=True):
                place.found, place.group = found, None
            return
        timeout = self._workers.timeout
        if isinstance(error, ProcessExpired):
            blamed = True
        else:
            # The limit is of a file, and what is timed is the group.
            late = isinstance(error, TimeoutError)
            blamed = late and time.monotonic() - since >= _ITS_TIME * timeout
        if blamed or len(group.places) == 1:
            culprit = group.places.pop(min(index, len(group.places) - 1))
            culprit.found, culprit.group = reason_of(error, timeout), None
            if group.places:
                self._submit(group.places)
        else:
            for place in group.places:
                self._submit([place])
