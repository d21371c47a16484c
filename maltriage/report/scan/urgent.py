"""The most urgent rows of a scan: all that is kept of its results for the table."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from maltriage.report.documents import facts
from maltriage.report.documents.record import Result
from maltriage.report.explain import similar
from maltriage.report.sanitize import clean

MAX_CODES = 64
"""Most different notices that are counted of the files of a row; records have all."""
MAX_NAME = 12


@dataclass(slots=True)
class Row:
    """A row of the table. Ordered so that the root of a heap is the least urgent row."""

    key: tuple[int, float, str]
    path: str
    label: str
    closest: str | None
    known_as: str | None
    """The label by which the index has this very file as malware, though it is not flagged."""
    score: float | None
    flagged: bool | None
    region: str | None
    share: float
    size: int
    entropy: float | None
    packed: bool
    noticed: dict[str, int]
    """How many of the files that were counted have each notice."""
    checked: str | None = None
    nearest: str | None = None
    made: str = ""
    identified: bool = False
    alien: bool = False
    """Whether the nearest file is beyond the limit of the index."""
    group: str | None = None
    files: int = 1
    """Files that the row stands for: those of its group, or equal ones."""
    counted: int = 1
    """Files that notices were counted of; fewer than `files` where the row had fallen out."""
    replaced: bool = False
    """A more urgent file of the group has taken its place."""

    def __lt__(self, other: Row) -> bool:
        return self.key > other.key

    def notices(self) -> dict[str, int]:
        """How many of its files have each notice, the most frequent first."""
        return dict(sorted(self.noticed.items(), key=lambda item: -item[1]))

    def count(self, codes: Iterable[str]) -> None:
        """Count a further file with these notices."""
        self.files += 1
        self.counted += 1
        for code in codes:
            if code in self.noticed or len(self.noticed) < MAX_CODES:
                self.noticed[code] = self.noticed.get(code, 0) + 1


class MostUrgentRows:
    """The `limit` most urgent groups of a scan (0: all), each by its most urgent file; without
    groups, different contents with their copies.

    A row that falls out of the heap is less urgent than all rows in it, and the heap's least urgent
    row only gets more urgent. So a content that fell out never comes back, and its copies are
    counted without remembering every hash. A group comes back if a file of it is urgent enough; how
    many files it has the summary knows, and its notices are counted anew (`Row.counted`).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[Row] = []
        self._by_name: dict[str, Row] = {}
        self.seen = 0

    def add(self, result: Result) -> None:
        self.seen += 1
        name = result.group or result.sha256
        key = facts.urgency(result)
        known = self._by_name.get(name)
        if known is None:
            self._admit(name, key, result)
            return
        known.count(facts.notice_codes(result))
        if known.key == key:
            # The result must not depend on the order in which workers finish.
            known.path = min(known.path, result.path)
            known.checked = known.checked or facts.checked(result)
        elif key < known.key:
            known.replaced = True
            self._by_name[name] = row = _row(result, key)
            row.files, row.counted, row.noticed = known.files, known.counted, known.noticed
            heapq.heappush(self._heap, row)

    def _admit(self, name: str, key: tuple[int, float, str], result: Result) -> None:
        while self._heap and self._heap[0].replaced:
            heapq.heappop(self._heap)
        if self._limit > 0 and len(self._by_name) >= self._limit:
            least = self._heap[0]
            if key > least.key:
                return
            heapq.heappop(self._heap)
            del self._by_name[least.group or least.key[-1]]
        self._by_name[name] = row = _row(result, key)
        heapq.heappush(self._heap, row)

    def rows(self) -> list[Row]:
        """The rows, the most urgent first."""
        return sorted(self._by_name.values(), reverse=True)


def _row(result: Result, key: tuple[int, float, str]) -> Row:
    verdict, top = result.verdict, facts.hottest(result)
    return Row(
        key=key,
        path=result.path,
        label=verdict.label,
        closest=facts.near(verdict) if verdict.flagged else None,
        known_as=None if verdict.flagged else facts.known_as_malware(result),
        score=facts.score(verdict),
        flagged=verdict.flagged,
        region=clean(facts.region_name(top.name), MAX_NAME) if top else None,
        share=top.share if top else 0.0,
        size=result.size,
        entropy=facts.entropy(result),
        packed=facts.packed(result),
        noticed=dict.fromkeys(facts.notice_codes(result)[:MAX_CODES], 1),
        checked=facts.checked(result),
        nearest=similar.short(result.similar),
        made=facts.made_with(result),
        identified=facts.identified(result),
        alien=result.similar is not None and similar.alien(result.similar),
        group=result.group,
    )
