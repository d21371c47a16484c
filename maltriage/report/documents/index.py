"""The document of `maltriage index info`."""

from __future__ import annotations

import msgspec

from maltriage.report.documents.record import ModelRef


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The distance beyond which a file is not similar to any file of an index."""

    distance: float
    share: float
    """Share of the measured files whose nearest file is within the distance."""
    files: int
    """Number of measured files, none of them in the training of its net."""
    measured_on: str
    """The measured files, in words."""


class IndexInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An index of labelled files. `size` is that of the file, in bytes."""

    path: str
    sha256: str
    size: int
    model: ModelRef
    distance: str
    dimensions: int
    files: int
    labels: dict[str, int]
    """Files of each label."""
    own_labels: tuple[str, ...]
    """Labels that the model does not know."""
    limit: Limit | None
    created: str
    changed: str
    """Time when files were last added, ISO 8601 UTC."""
