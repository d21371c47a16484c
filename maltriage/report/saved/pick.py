"""Picks one record of a saved report by the path, sha256 or name of its file."""

from __future__ import annotations

import re

from maltriage.errors import MaltriageError
from maltriage.report.documents.record import FileRecord, Result, Skipped, path_fields
from maltriage.report.saved.report import SavedReport

MIN_HASH = 6
"""Fewest hexadecimal digits of a sha256 that name a file."""
MAX_LISTED = 4
"""Most files that an error names; the rest is counted."""


def pick(report: SavedReport, wanted: str | None) -> FileRecord:
    """The record of one file; the first one if several files have the same content.

    Args:
        wanted: the file's path in the report, its sha256 or the first digits of it, or its name
            without folders, tried in this order; None: the only file that was not skipped.

    Raises:
        MaltriageError: there is no such record, or several.
    """
    if wanted is None:
        found = _candidates(report)
        if not found:
            raise MaltriageError(f"{report.path}: the report has no files")
        if len(found) > 1:
            raise MaltriageError(
                f"{report.path}: records of {_count(report):,} files; pick one with --record PATH"
                f" or SHA256: {_listed(found)}"
            )
        return found[0]
    by_hash: dict[str, FileRecord] = {}
    by_name: dict[str, FileRecord] = {}
    shown = path_fields(wanted)[0]
    digits = wanted.lower() if re.fullmatch(f"[0-9a-fA-F]{{{MIN_HASH},64}}", wanted) else None
    for record in report.records():
        if record.path == shown:
            return record
        sha256 = record.sha256 if isinstance(record, Result) else None
        if sha256 and digits and sha256.lower().startswith(digits) and len(by_hash) <= MAX_LISTED:
            by_hash.setdefault(sha256, record)
        # A backslash may be part of the name, or of an escape in it.
        names = (re.split(r"[/\\]", record.path)[-1], record.path.rpartition("/")[2])
        if shown in names and len(by_name) <= MAX_LISTED:
            by_name.setdefault(sha256 or record.path, record)
    found = list((by_hash or by_name).values())
    if not found:
        raise MaltriageError(
            f"{report.path}: no record of '{shown}' among {_count(report):,}: name a path, a"
            f" sha256 or its first {MIN_HASH} digits, or a file's name"
        )
    if len(found) > 1:
        raise MaltriageError(f"{report.path}: several files are '{shown}': {_listed(found)}")
    return found[0]


def _candidates(report: SavedReport) -> list[FileRecord]:
    """The first files that were not skipped; if all were, the first of all."""
    skipped: list[FileRecord] = []
    others: list[FileRecord] = []
    for record in report.records():
        found = skipped if isinstance(record, Skipped) else others
        if len(found) < MAX_LISTED:
            found.append(record)
        if len(others) == MAX_LISTED:
            break
    return others or skipped


def _count(report: SavedReport) -> int:
    return report.counts.records


def _listed(records: list[FileRecord]) -> str:
    names = [
        f"{r.sha256[:12]} {r.path}" if isinstance(r, Result) else r.path
        for r in records[:MAX_LISTED]
    ]
    return ", ".join(names) + (", …" if len(records) >= MAX_LISTED else "")
