"""The document of `maltriage cache info`."""

from __future__ import annotations

import msgspec

from maltriage.report.documents.record import ModelRef


class KeptResults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Results of one model, by one version of maltriage and of the schema. `bytes` is what the
    records take, without tables and indexes."""

    model: ModelRef
    version: str
    record_schema: str
    settings: int
    """How many different sets of options they were made with."""
    results: int
    bytes: int
    used: str
    """When one of them was last used, ISO 8601 UTC; to the day."""


class CacheInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is kept of earlier scans. `size` is that of the files on disk, in bytes."""

    path: str
    size: int
    results: int
    files: int
    """Paths whose content is known as long as they do not change."""
    models: list[KeptResults]
