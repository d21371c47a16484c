"""A record as one flat row, for spreadsheets and databases."""

from __future__ import annotations

from maltriage.report.documents import facts
from maltriage.report.documents.record import Failed, FileRecord, Result, Skipped
from maltriage.sample.types import KNOWN_GOOD

Value = str | int | float | bool | None

COLUMNS: dict[str, type[str | int | float | bool]] = {
    "path": str,
    "status": str,
    "sha256": str,
    "size": int,
    "format": str,
    "label": str,
    "closest": str,
    "probability": float,
    "flagged": bool,
    "margin": float,
    "top_region": str,
    "top_share": float,
    "entropy": float,
    "packed": bool,
    "notices": str,
    "model": str,
    "weights_sha256": str,
    "error": str,
    "supported": int,
    "claims": int,
    "rank_correlation": float,
    "nearest_label": str,
    "nearest_distance": float,
    "known_as": str,
    "calibrated": bool,
    "set": str,
    "novelty": float,
    "made_with": str,
    "score": float,
    "md5": str,
    "sha1": str,
    "tlsh": str,
    "imphash": str,
    "bits": int,
    "group": str,
}
"""Names of the columns, in order, with their types. Any cell may be empty."""

EMPTY = "(empty)"
"""A prediction set without labels; a record without a set has an empty cell."""


def row(record: FileRecord) -> dict[str, Value]:
    """The values of a record by column; a missing column is empty.

    Strings of a sample are unchanged: the caller sanitizes them.
    """
    return _result(record) if isinstance(record, Result) else _problem(record)


def _problem(record: Skipped | Failed) -> dict[str, Value]:
    status = "skipped" if isinstance(record, Skipped) else "error"
    status = KNOWN_GOOD if record.code == KNOWN_GOOD else status
    return {"path": record.path, "status": status, "error": f"{record.code}: {record.reason}"}


def _result(record: Result) -> dict[str, Value]:
    verdict, top, checks = record.verdict, facts.hottest(record), record.evidence.checks
    supported, claims = facts.supports(checks) if checks else (None, None)
    similar = record.similar
    identity = record.identity
    nearest = similar.nearest[0] if similar and similar.nearest else None
    return {
        "path": record.path,
        "status": "result",
        "sha256": record.sha256,
        "size": record.size,
        "format": record.format,
        "label": verdict.label,
        "closest": verdict.closest,
        "probability": verdict.probability,
        "calibrated": verdict.calibrated,
        "flagged": verdict.flagged,
        "margin": verdict.margin,
        "top_region": top.name if top else None,
        "top_share": top.share if top else None,
        "entropy": facts.entropy(record),
        "packed": facts.packed(record),
        "notices": " ".join(facts.notice_codes(record)),
        "model": record.model.name,
        "weights_sha256": record.model.weights_sha256,
        "supported": supported,
        "claims": claims,
        "rank_correlation": checks.rank_correlation if checks else None,
        "nearest_label": nearest.label if nearest else None,
        "nearest_distance": nearest.distance if nearest else None,
        "known_as": similar.known_as if similar else None,
        "set": None if verdict.set is None else "; ".join(verdict.set) or EMPTY,
        "novelty": verdict.novelty,
        "made_with": facts.made_with(record) or None,
        "score": facts.score(verdict),
        "md5": identity.md5,
        "sha1": identity.sha1,
        "tlsh": identity.tlsh,
        "imphash": identity.imphash,
        "bits": record.layout.bits,
        "group": record.group,
    }
