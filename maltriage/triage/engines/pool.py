"""What pools of engines share: the chunks of a scan, and which engine has which."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from maltriage.triage.engines.chunks import Chunk

PIECES_EACH = 2
"""Chunks of an engine at once, so that workers have files while the last ones of a chunk are in the
model."""
AHEAD = 2
"""Further chunks per engine, done or not begun, while the records of an earlier one are awaited."""
POLL = 0.2
"""Seconds to wait for an answer."""


@dataclass(eq=False)
class Seat:
    """An engine, and the chunks that it has, each by the handle of its answer, with its start."""

    place: str = ""
    """The machine that it is on, where that is another one."""
    ready: bool = False
    lost: bool = False
    running: dict[Any, tuple[Chunk, float]] = field(default_factory=dict)


S = TypeVar("S", bound=Seat)


class Pool(ABC, Generic[S]):
    """Gives chunks to engines. A lost engine is replaced, and its chunks go to others."""

    def __init__(self) -> None:
        self._seats: list[S] = []
        self._todo: deque[Chunk] = deque()

    @abstractmethod
    def step(self, wait: float) -> None:
        """Give out chunks and take results, for at most `wait` seconds.

        Raises:
            MaltriageError: there are no engines, or one reports an error that ends the scan.
        """

    @abstractmethod
    def stop(self, seconds: float) -> None:
        """Begin no more files, and take finished results, for at most `seconds`."""

    @abstractmethod
    def _begin(self, seat: S, chunk: Chunk) -> Any:
        """Have an engine do a chunk; the handle of its answer."""

    @property
    def _most(self) -> int:
        """Engines that there are, or will be."""
        return len(self._seats)

    def room(self, ahead: int = AHEAD) -> int:
        """Chunks to have under way, with `ahead` for each engine that are done or waiting."""
        return (PIECES_EACH + ahead) * max(1, self._most)

    def add(self, chunk: Chunk) -> None:
        """Queue a chunk."""
        if not chunk.all_kept:
            self._todo.append(chunk)

    def in_flight(self) -> list[tuple[str, float]]:
        """The chunks of engines, in words, and their seconds so far."""
        now = time.monotonic()
        return [
            (f"{len(chunk.files)} files{_on(seat.place)}, from {chunk.first}", now - since)
            for seat in self._seats
            for chunk, since in seat.running.values()
        ]

    def _give(self) -> None:
        """Give each engine one chunk before any gets a second one."""
        for count in range(PIECES_EACH):
            if count and any(chunk.suspect for chunk in self._todo):
                return  # it waits for an idle engine
            for seat in self._seats:
                free = seat.ready and not seat.lost and len(seat.running) <= count
                chunk = self._next(seat) if free else None
                if chunk is not None:
                    seat.running[self._begin(seat, chunk)] = chunk, time.monotonic()

    def _next(self, seat: S) -> Chunk | None:
        """Take the first chunk that an engine may have, None where there is none."""
        if any(chunk.suspect for chunk, _ in seat.running.values()):
            return None
        for index, chunk in enumerate(self._todo):
            if not chunk.suspect or not seat.running:
                del self._todo[index]
                return chunk
        return None

    def _lose(self, chunk: Chunk, *, crash: bool) -> None:
        """Queue a chunk of a lost engine again; `crash`: its process alone died."""
        self._todo.extendleft(reversed(chunk.lose(crash=crash)))


def _on(place: str) -> str:
    return f" on {place}" if place else ""
