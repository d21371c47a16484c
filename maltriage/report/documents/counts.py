"""The running counts of a scan's records."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, Self

from maltriage.report.documents import facts
from maltriage.report.documents.record import (
    Failed,
    ModelRef,
    Record,
    Result,
    Skipped,
    Summary,
)
from maltriage.sample.types import KNOWN_GOOD
from maltriage.version import __version__


@dataclass
class Counts:
    """Counts by kind of record, named as in `Summary`."""

    files: int = 0
    flagged: int = 0
    failed: int = 0
    skipped: int = 0
    known: int = 0
    bytes: int = 0
    clean: int = 0
    unknown: int = 0
    unjudged: int = 0
    known_malware: int = 0
    families: Counter[str] = field(default_factory=Counter)
    skipped_by: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Count the record of a file; a summary is ignored."""
        if isinstance(record, Result):
            self.files += 1
            self.bytes += record.size
            self._judged(record)
        elif isinstance(record, Failed):
            self.failed += 1
        elif isinstance(record, Skipped) and record.code == KNOWN_GOOD:
            self.known += 1
        elif isinstance(record, Skipped):
            self.skipped += 1
            self.skipped_by[record.code] += 1

    def _judged(self, record: Result) -> None:
        became = facts.outcome(record)
        self.flagged += became == "flagged"
        self.known_malware += became == "known-malware"
        self.unjudged += became == "not-judged"
        self.clean += became == "clean"
        self.unknown += became == "unknown"
        if became == "flagged":
            self.families[record.verdict.label] += 1

    @classmethod
    def of(cls, told: object) -> Self:
        """The counts that another object has by the same names."""
        values: dict[str, Any] = {each.name: getattr(told, each.name) for each in fields(Counts)}
        values |= {n: Counter(v) for n, v in values.items() if isinstance(v, dict)}
        return cls(**values)

    def join(self, other: Counts) -> None:
        """Add the counts of `other`."""
        for name, value in other.values().items():
            setattr(self, name, getattr(self, name) + value)

    def values(self) -> dict[str, Any]:
        """The counts by name."""
        return {each.name: getattr(self, each.name) for each in fields(Counts)}

    @property
    def records(self) -> int:
        """Number of counted records."""
        return self.files + self.failed + self.skipped + self.known

    def summary(
        self,
        model: ModelRef,
        seconds: float,
        *,
        interrupted: bool,
        version: str = __version__,
    ) -> Summary:
        """The last record of a scan of `seconds`."""
        values = self.values()
        for name, value in values.items():
            if isinstance(value, Counter):  # in an order that a report read again has, too
                ordered = sorted(value.items(), key=lambda item: (-item[1], item[0]))
                values[name] = dict(ordered)
        return Summary(
            **values, seconds=seconds, interrupted=interrupted, model=model, version=version
        )
