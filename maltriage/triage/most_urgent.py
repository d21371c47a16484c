"""Holds back the most urgent results of a scan until its end."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from maltriage.probe.common import Runs
from maltriage.probe.prepare import Prepared
from maltriage.report.documents import facts
from maltriage.report.documents.record import Result
from maltriage.triage.evidence import Part
from maltriage.triage.verdict import Question
from maltriage.work.job import Job


@dataclass(frozen=True)
class Recalled:
    """A result of an earlier scan: checking its evidence reads the file again."""

    result: Result

    def __lt__(self, other: Recalled) -> bool:
        """Order for a heap with its least urgent result at its root."""
        return facts.urgency(self.result) > facts.urgency(other.result)


@dataclass(frozen=True)
class Explained(Recalled):
    """A result with the data for checking its evidence."""

    prepared: Prepared
    parts: list[Part]
    question: Question
    looking_up: Job[Runs] | None = None
    """The answer to it is no part of `result` yet; see `hot_ranges.look_up`."""


class MostUrgent:
    """The `limit` most urgent results, each content once: about 70 KB each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[Recalled] = []
        self._held: set[str] = set()

    def add(self, item: Recalled) -> Recalled | None:
        """Add a result; return the one that need not be held back, it or another."""
        if item.result.sha256 in self._held:
            return item
        if len(self._heap) < self._limit:
            self._held.add(item.result.sha256)
            heapq.heappush(self._heap, item)
            return None
        least = heapq.heappushpop(self._heap, item)
        if least is not item:
            self._held.remove(least.result.sha256)
            self._held.add(item.result.sha256)
        return least

    def taken(self) -> list[Recalled]:
        """Release all held results, the most urgent first."""
        items = sorted(self._heap, reverse=True)
        self._heap, self._held = [], set()
        return items
