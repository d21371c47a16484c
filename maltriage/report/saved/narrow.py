"""Which records of a saved report somebody asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from maltriage.errors import MaltriageError
from maltriage.report.documents import facts
from maltriage.report.documents.record import Failed, FileRecord, Result
from maltriage.sample.types import KNOWN_GOOD
from maltriage.source.files import is_included

OUTCOMES = (
    *("flagged", "known-malware", "unknown", "clean", "not-judged"),
    *("failed", "skipped", "known-good"),
)
"""What became of a file, in the words of a scan's first lines; one holds of each record."""
KINDS = ("32-bit", "64-bit", ".net")
"""Kinds of results; each may hold."""


@dataclass(frozen=True)
class Narrow:
    """What is asked for: an outcome and a kind, of those that are named, and a path that fits."""

    outcomes: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @classmethod
    def of(cls, only: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> Narrow:
        """Args: only: outcomes and kinds, also several with commas between them.

        Raises:
            MaltriageError: one is neither.
        """
        words = [word.strip().lower() for each in only for word in each.split(",")]
        for word in words:
            if word not in (*OUTCOMES, *KINDS):
                raise MaltriageError(
                    f"--only {word}: no such thing; there are {', '.join((*OUTCOMES, *KINDS))}"
                )
        return cls(
            frozenset(words).intersection(OUTCOMES),
            frozenset(words).intersection(KINDS),
            tuple(include),
            tuple(exclude),
        )

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.kinds or self.include or self.exclude)

    def takes(self, record: FileRecord) -> bool:
        """Whether a record is among those that were asked for."""
        if self.outcomes and _outcome(record) not in self.outcomes:
            return False
        if self.kinds and self.kinds.isdisjoint(_kinds(record)):
            return False
        return self._fits(record.path)

    def _fits(self, path: str) -> bool:
        parts = path.replace("\\", "/").split("/")
        if not is_included(parts[-1], path, self.include):
            return False
        folders = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        return not any(
            fnmatch(part, glob) or fnmatch(at, glob)
            for part, at in zip(parts, folders, strict=True)
            for glob in self.exclude
        )


def _outcome(record: FileRecord) -> str:
    if not isinstance(record, Result):
        of_file = "failed" if isinstance(record, Failed) else "skipped"
        return KNOWN_GOOD if record.code == KNOWN_GOOD else of_file
    return facts.outcome(record)


def _kinds(record: FileRecord) -> list[str]:
    if not isinstance(record, Result):
        return []
    of_bits = [] if record.layout.bits is None else [f"{record.layout.bits}-bit"]
    return [*of_bits, ".net"] if record.layout.dotnet else of_bits
