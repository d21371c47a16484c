"""The three shapes of a record in NDJSON and JSON: the record, chosen fields of it, an ECS event.

Only the first is a saved report. The others are recognised by their beginning, and refused as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from maltriage.files.decoding import decoded
from maltriage.report.documents.record import Record, Summary

if TYPE_CHECKING:
    from maltriage.report.formats import RenderOptions

FIELDS, ECS = "--fields", "--ecs"
_BEGIN = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:(?P<fields>fields"\s*:\s*\[)|(?P<ecs>ecs"\s*:\s*"|@timestamp")'
    rb'|(?P<first>[a-z_0-9]+)"\s*:)'
)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TYPES = (b'"result"', b'"skipped"', b'"error"')


def shape(options: RenderOptions) -> Callable[[Record], Any]:
    """The function from a record to its written shape. A summary has no chosen fields."""
    if options.ecs:
        from maltriage.report.scan.ecs import ecs

        return partial(ecs, host=options.host)
    fields = options.fields
    if fields is None:
        return lambda record: record
    return lambda record: record if isinstance(record, Summary) else fields.document(record)


def mark(options: RenderOptions) -> bytes:
    """The mark at the beginning of a document that is no saved report; empty for a saved report."""
    if options.ecs:
        from maltriage.report.scan.ecs import VERSION

        return b'"ecs":%b,' % msgspec.json.encode(VERSION)
    if options.fields is None:
        return b""
    return b'"fields":%b,' % msgspec.json.encode(options.fields.names)


def written_with(head: bytes, cut: bool) -> str | None:
    """The option that narrowed a file with this beginning (`--fields`, `--ecs`); None: neither.

    Lines of chosen fields are recognised by their names, and by the missing schema version.

    Args:
        cut: whether the file goes on after `head`.
    """
    begin = _BEGIN.match(head)
    if begin is None:
        return None
    if begin["fields"] or begin["ecs"]:
        return FIELDS if begin["fields"] else ECS
    line, ended, _ = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    try:
        found = decoded(line, _object)
        names = set(found)
        if "type" in found and bytes(found["type"]) not in _TYPES:
            return None  # a file of another tool, e.g. package.json
    except msgspec.MsgspecError:
        if ended or not cut or begin["first"] in (b"type", b"records"):
            return None
        names = {begin["first"].decode()}  # one long line: only its first name is known
    from maltriage.report.scan.fields import known_names

    known = {name.partition(".")[0] for name in known_names()} - {"schema_version"}
    return FIELDS if names <= known else None
