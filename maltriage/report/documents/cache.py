"""The document of `maltriage cache info`."""

from __future__ import annotations

import msgspec

from maltriage.report.documents.record import ModelRef


class KeptResults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Kept results of one model, by one version of maltriage and of the schema. `bytes` is the size
    of the records, without tables and indexes."""

    model: ModelRef
    version: str
    record_schema: str
    settings: int
    """Number of different sets of options."""
    results: int
    bytes: int
    used: str
    """Day of their last use, ISO 8601 UTC."""


class CacheInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The kept results of earlier scans. `size` is that of the files on disk, in bytes."""

    path: str
    size: int
    results: int
    files: int
    """Paths whose content is known until they change."""
    models: list[KeptResults]
