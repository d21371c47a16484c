"""The document of `maltriage index info`."""

from __future__ import annotations

import msgspec

from maltriage.report.documents.record import ModelRef


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The distance beyond which a file resembles nothing in an index."""

    distance: float
    share: float
    """Of the files that were measured, how many have their nearest within the distance."""
    files: int
    """How many were measured: none of them was in the training of its net."""
    measured_on: str
    """Which files those were, in words."""


class IndexInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is in an index of labelled files. `size` is that of the file, in bytes."""

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
    """Those of them that the model does not know."""
    limit: Limit | None
    created: str
    changed: str
    """When files were last put in, ISO 8601 UTC."""
