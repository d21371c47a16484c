"""The result document of one sample: the JSON output and the only input of every renderer.

A scan writes a stream of records: one `result`, `skipped` or `error` per file, one
`summary` at the end. Strings that came from a sample are stored as they are and sanitized
by whoever renders them.
"""

from __future__ import annotations

import base64
import math
import os
from typing import Any

import msgspec

from maltriage.errors import MaltriageError
from maltriage.report.documents.evidence import Evidence
from maltriage.sample.types import Format, Identity, Layout, Notice

SCHEMA_VERSION = "1.4"
"""Added fields raise the minor version, changed or removed ones the major."""


class Ranked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: str
    probability: float


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the bundle says of the sample.

    `label` is a family, `benign`, `suspicious` (flagged, though benign is the likeliest label)
    or `unknown` (a family is the likeliest, but the file is not flagged, or that family does not
    fit well enough to be named: see `set` and `novelty`); with the last two, `closest` is the
    family it looks most like. An `unknown` file may be flagged or not. `probability` is that of
    the likeliest label, of `suspicious` that of not being benign. `flagged` is None where the
    bundle has no benign label or no threshold. `margin` is logsumexp(logits of all but benign) -
    logit(benign).
    """

    label: str
    closest: str | None
    probability: float
    calibrated: bool
    flagged: bool | None
    margin: float | None
    threshold: float | None
    fpr: float | None
    goodware: str | None
    """The clean files on which the threshold was set for the rate `fpr`."""
    ranked: list[Ranked]
    set: list[str] | None = None
    """The labels that cannot be excluded at `coverage`, the likeliest first; empty: nothing that
    the model knows fits. None: the model has no prediction sets, or none for files of a kind that
    is outside its training, or the record no such field (schema before 1.4)."""
    coverage: float | None = None
    """Share of the samples whose set holds their label, as it was asked for."""
    novelty: float | None = None
    """How little the sample is like anything that the model learned; above `novelty_limit` no
    family is named. None: the model has no such score, or the record no such field."""
    novelty_limit: float | None = None


class Neighbour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A labelled file that a sample resembles: at a distance of 0 the model sees no difference."""

    sha256: str
    label: str
    distance: float


class Similar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sample resembles in an index of labelled files (docs/similar.md).

    `index` is the SHA-256 of the index file, `files` how many files are in it. `distance` says what
    distances are: `centred-cosine`, 1 - the cosine of the angle between two embeddings less their
    centre, 0 to 2. A file whose nearest is beyond `limit` resembles nothing in the index; None: not
    known. `known_as` is the label of this very file in the index, None where it is not in it; the
    file itself is never among `nearest`, which are at most three, the nearest first.
    """

    index: str
    files: int
    distance: str
    limit: float | None
    known_as: str | None
    nearest: list[Neighbour]


class ModelRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    weights_sha256: str


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds: reading and preparing the file, and its share of the model's batch.

    `stored`: they are those of an earlier scan, whose result was kept and is shown again.
    """

    prepare_ms: float
    model_ms: float
    stored: bool = False


class Result(
    msgspec.Struct, frozen=True, tag="result", tag_field="type", forbid_unknown_fields=True
):
    """Everything known of one sample."""

    path: str
    sha256: str
    size: int
    format: Format
    identity: Identity
    verdict: Verdict
    evidence: Evidence
    layout: Layout
    notices: list[Notice]
    model: ModelRef
    timing: Timing
    path_b64: str | None = None
    similar: Similar | None = None
    """None where there was no index."""
    schema_version: str = SCHEMA_VERSION


class Skipped(
    msgspec.Struct, frozen=True, tag="skipped", tag_field="type", forbid_unknown_fields=True
):
    """A file that was not looked at, and why. Not a failure."""

    path: str
    code: str
    reason: str
    path_b64: str | None = None
    schema_version: str = SCHEMA_VERSION


class Failed(
    msgspec.Struct, frozen=True, tag="error", tag_field="type", forbid_unknown_fields=True
):
    """A file that should have been looked at and could not be."""

    path: str
    code: str
    reason: str
    path_b64: str | None = None
    schema_version: str = SCHEMA_VERSION


class Summary(
    msgspec.Struct, frozen=True, tag="summary", tag_field="type", forbid_unknown_fields=True
):
    """The end of a scan. `files` counts results; `seconds` is wall-clock time. `known` counts files
    that were skipped because they are known to be good, and are not in `skipped`."""

    files: int
    flagged: int
    failed: int
    skipped: int
    bytes: int
    seconds: float
    interrupted: bool
    model: ModelRef
    version: str
    known: int = 0
    schema_version: str = SCHEMA_VERSION


Record = Result | Skipped | Failed | Summary


class ScanDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`scan --format json`: all records of a scan in one document."""

    records: list[Result | Skipped | Failed]
    summary: Summary
    schema_version: str = SCHEMA_VERSION


def path_fields(path: str) -> tuple[str, str | None]:
    """A path as it can stand in JSON, and base64 of its bytes where that lost something.

    Python keeps bytes that are not UTF-8 as lone surrogates; those are shown as \\xNN.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(path)
        return raw.decode("utf-8", "backslashreplace"), base64.b64encode(raw).decode()
    return path, None


def path_of(record: Result | Skipped | Failed) -> str:
    """The path that `path_fields` was given."""
    return (
        record.path if record.path_b64 is None else os.fsdecode(base64.b64decode(record.path_b64))
    )


def encode(record: object) -> bytes:
    """Compact JSON of records, documents and plain data; UTF-8 whatever a sample's strings say."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:  # a lone surrogate in a string of the sample
        return msgspec.json.encode(_utf8(msgspec.to_builtins(record)))


def _utf8(value: Any) -> Any:
    """Plain data with lone surrogates written as \\udcNN, the rest as it is."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_utf8(key): _utf8(item) for key, item in value.items()}
    return [_utf8(item) for item in value] if isinstance(value, list) else value


def decode(data: bytes | str) -> Record:
    """Read a record back.

    Raises:
        MaltriageError: not a record, or of a schema this version does not know.
    """
    try:
        record: Record = msgspec.json.decode(data, type=Record)
        return record
    except msgspec.MsgspecError as error:
        raise MaltriageError(f"not a maltriage record: {error}") from error


def finite(value: float) -> float:
    """`value`, which must be a number: JSON has no NaN.

    Raises:
        MaltriageError: it is not finite.
    """
    if not math.isfinite(value):
        raise MaltriageError("the model returned a value that is not a number")
    return value
