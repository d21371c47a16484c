"""The result document of one sample: the JSON output and the only input of every renderer.

A scan writes a stream of records: one `result`, `skipped` or `error` per file, one
`summary` at the end. Strings of a sample are stored unchanged; renderers sanitize them.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import msgspec

from maltriage.errors import MaltriageError
from maltriage.files.decoding import decoded
from maltriage.files.raw_names import name_bytes, name_of
from maltriage.report.documents.evidence import Evidence
from maltriage.sample.types import Format, Identity, Layout, Notice

SCHEMA_VERSION = "1.10"
"""Added fields raise the minor version, changed or removed ones the major."""


class Ranked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: str
    probability: float


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bundle's verdict on the sample.

    `label` is a family, `benign`, `suspicious` (flagged, though benign is the likeliest label)
    or `unknown`: a family is the likeliest, but the file is not flagged, or that family does not
    fit well enough to be named (see `set` and `novelty`); or it looks like malware of no family
    (`_other`); or `benign` is the likeliest with a probability of at most one half; or its headers
    cannot be read. For the last two labels `closest` is the likeliest family. An `unknown` file may
    be flagged or not. `probability` is that of the likeliest label; for `suspicious`, that of not
    being benign. `calibrated` says whether it was fitted to files of this kind. `flagged` is None
    if the bundle has no benign label or no threshold, or the headers cannot be read. `margin` is
    logsumexp(logits of all but benign) - logit(benign).
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
    """The clean files on which the threshold was set for the false-positive rate `fpr`."""
    ranked: list[Ranked]
    set: list[str] | None = None
    """The labels that cannot be excluded at `coverage`, the likeliest first; empty: no known label
    fits. None: the model has no prediction sets, or none for this kind of file, or the record is
    of a schema before 1.4."""
    coverage: float | None = None
    """Requested share of samples whose set holds their label."""
    novelty: float | None = None
    """Distance of the sample from everything that the model learned; above `novelty_limit` no
    family is named. None: the model has no such score, or the record is of a schema before 1.4."""
    novelty_limit: float | None = None
    goodware_files: int | None = None
    """Number of those clean files. None: not known, or a record of a schema before 1.6."""
    score: float | None = None
    """How much the file looks like malware, 0 to 100, flagged from 50 on: 100 / (1 + exp(threshold
    - margin)). None: it is not judged, or the record is of a schema before 1.8."""


class Neighbour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A labelled file near to a sample; at a distance of 0 the model sees no difference."""

    sha256: str
    label: str
    distance: float


class Similar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files nearest to a sample in an index of labelled files (docs/how-to/similar.md).

    `index` is the SHA-256 of the index file, `files` its number of files. `distance` names the
    measure: `centred-cosine` is 1 - the cosine of the angle between two embeddings less their
    centre, 0 to 2. Beyond `limit` a file is not similar; None: not known. `known_as` is the label
    of this very file in the index, None if it is not in it. `nearest` has at most three other
    files, the nearest first.
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

    `stored`: the times are those of an earlier scan, whose kept result is shown.
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
    """None: there was no index."""
    embedding_digest: str | None = None
    """Similarity digest of the model's embedding: the more bits differ, the less alike two files
    are to the model. Comparable for equal weights. None: a record of before 1.6."""
    group: str | None = None
    """Group of similar files of the scan, see `Group`; None: no groups were made."""
    schema_version: str = SCHEMA_VERSION


class Skipped(
    msgspec.Struct, frozen=True, tag="skipped", tag_field="type", forbid_unknown_fields=True
):
    """A file that was skipped, with the reason. Not a failure."""

    path: str
    code: str
    """One of docs/reference/codes.md."""
    reason: str
    path_b64: str | None = None
    schema_version: str = SCHEMA_VERSION


class Failed(
    msgspec.Struct, frozen=True, tag="error", tag_field="type", forbid_unknown_fields=True
):
    """A file that should have been read but could not be."""

    path: str
    code: str
    """One of docs/reference/codes.md."""
    reason: str
    path_b64: str | None = None
    schema_version: str = SCHEMA_VERSION


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two or more similar files of a scan (docs/how-to/groups.md), copies included.

    `id` begins the SHA-256 of the group's first file. `path` and `sha256` are those of the most
    urgent one, to look at. `labels` counts files by label. `shared` names what all of them share:
    `copies`, `code`, `tlsh`, `model` (they look alike to the model), or a field of the identity
    with its value (`imphash 0a1b2c`). `lowest` and `highest` are scores, as `Verdict.score`.
    """

    id: str
    files: int
    contents: int
    """Number of different contents: fewer than `files` where there are copies."""
    flagged: int
    path: str
    sha256: str
    labels: dict[str, int]
    shared: list[str]
    lowest: float | None = None
    highest: float | None = None
    path_b64: str | None = None


class Summary(
    msgspec.Struct, frozen=True, tag="summary", tag_field="type", forbid_unknown_fields=True
):
    """The end of a scan.

    `files` counts results, `bytes` is the sum of their sizes, `seconds` is wall-clock time. `known`
    counts files skipped as known to be good; they are not in `skipped`. A file is flagged (by
    label in `families`), or not and then `clean`, `unknown`, or `unjudged`: its headers cannot be
    read, or the model has no threshold. `skipped_by` counts skipped files by code. Reports of
    before 1.5 lack these five. `known_malware` counts files that are not flagged, and that the
    index of labelled files has as malware; before 1.8 they are among the other three.

    `groups` are the most urgent groups of two or more similar files, at most 1,000; `group_count`
    counts all groups, those of one file included, and `flagged_groups` those with a flagged file.
    None: no groups were made.
    """

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
    clean: int = 0
    unknown: int = 0
    unjudged: int = 0
    known_malware: int = 0
    families: dict[str, int] = {}
    skipped_by: dict[str, int] = {}
    groups: list[Group] | None = None
    group_count: int | None = None
    flagged_groups: int | None = None
    schema_version: str = SCHEMA_VERSION


FileRecord = Result | Skipped | Failed
Record = FileRecord | Summary
_record: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class ScanDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`scan --format json`: all records of a scan in one document."""

    records: list[FileRecord]
    summary: Summary
    schema_version: str = SCHEMA_VERSION


def path_fields(path: str) -> tuple[str, str | None]:
    """A path for JSON, and base64 of its bytes if the path is not UTF-8.

    Python keeps bytes that are not UTF-8 as lone surrogates; these are written as \\xNN.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raw = name_bytes(path)
        return raw.decode("utf-8", "backslashreplace"), base64.b64encode(raw).decode()
    return path, None


def path_of(record: FileRecord) -> str:
    """The path that `path_fields` was given."""
    return record.path if record.path_b64 is None else name_of(base64.b64decode(record.path_b64))


def encode(record: object) -> bytes:
    """Compact JSON of records, documents and plain data; always valid UTF-8."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:  # a lone surrogate in a string of the sample
        return msgspec.json.encode(_utf8(msgspec.to_builtins(record)))


def _utf8(value: Any) -> Any:
    """Plain data with lone surrogates written as \\udcNN, the rest unchanged."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_utf8(key): _utf8(item) for key, item in value.items()}
    return [_utf8(item) for item in value] if isinstance(value, list | tuple) else value


def decode(data: bytes | str) -> Record:
    """Read a record back.

    Raises:
        MaltriageError: not a record, or of an unknown schema.
    """
    try:
        return decoded(data, _record)
    except msgspec.MsgspecError as error:
        raise MaltriageError(f"not a maltriage record: {error}") from error


def finite(value: float) -> float:
    """`value`, which must be finite: JSON has no NaN.

    Raises:
        MaltriageError: it is not finite.
    """
    if not math.isfinite(value):
        raise MaltriageError("the model returned a value that is not a number")
    return value
