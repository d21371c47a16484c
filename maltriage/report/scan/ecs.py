"""Records by the names of the Elastic Common Schema, for `--ecs`.

docs/reference/outputs.md has the table of names.

Fields of ECS without a value are left out. Fields of the record without a name in ECS are under
`maltriage`, so nothing is lost.
"""

from __future__ import annotations

import hashlib
import math
import ntpath
import os
import posixpath
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from maltriage.report import numbers
from maltriage.report.documents import facts
from maltriage.report.documents.record import (
    Failed,
    FileRecord,
    Record,
    Result,
    Skipped,
    Summary,
    encode,
)
from maltriage.report.scan import sharing
from maltriage.sample.types import Identity
from maltriage.source.archive.names import REPEATED, SEPARATOR, file_on_disk, inner_name
from maltriage.source.stdin import STDIN
from maltriage.source.urls import is_url

VERSION = "8.17.0"
"""Version of ECS. Fields keep their names in later versions."""
MODULE = "maltriage"
KNOWN = 100
"""`event.severity` of files that the index has as malware, whatever their score."""
_ACTIONS = {Result: "file-triaged", Skipped: "file-skipped", Failed: "file-unread"}
_OUTCOMES = {Result: "success", Skipped: "unknown", Failed: "failure"}
_ARCHITECTURES = {"I386": "x86", "AMD64": "x64", "ARM64": "arm64"}
_UNKNOWN = frozenset({"", "none"})
"""Machines of files that name none, such as those that were disarmed."""
_COMMON_NAME = re.compile(r"(?:^|,\s*)CN=((?:\\.|[^\\,])+)")
_ID_DIGITS = 32
_NAMED = frozenset("sha256 size md5 sha1 tlsh imphash version".split())
"""Fields of `Identity` with a name in ECS; the others stay under `maltriage`."""


def ecs(record: Record, host: str | None = None, now: datetime | None = None) -> dict[str, Any]:
    """A record as an event of ECS.

    Args:
        host: name of the machine that the files are on; None: it is left out.
        now: time of the event, with a time zone; None: the current time, since records have none.
    """
    stamp = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
    event: dict[str, Any] = {
        "@timestamp": stamp.replace("+00:00", "Z"),
        "ecs": {"version": VERSION},
    }
    if host:
        event["host"] = {"name": host}
    made = _summary(record) if isinstance(record, Summary) else _file(record)
    made["event"]["id"] = _id(record, made.get("file", {}), host)
    return event | made


def _id(record: Record, file: dict[str, Any], host: str | None) -> str:
    """The id of an event: equal for the same result, whenever and how often it is written."""
    told: list[Any] = [host, file.get("path", file.get("name"))]
    if isinstance(record, Result):
        # With another threshold the same weights may flag what they did not: no repetition.
        verdict = record.verdict
        told += [record.sha256, record.model.weights_sha256, verdict.label, verdict.flagged]
    else:
        told.append(record if isinstance(record, Summary) else record.code)
    return hashlib.sha256(encode(told)).hexdigest()[:_ID_DIGITS]


def _event(action: str, outcome: str, **more: Any) -> dict[str, Any]:
    """The fields of an event without an alert, overridden by `more`."""
    return {
        "kind": "event",
        "category": ["file"],
        "type": ["info"],
        "module": MODULE,
        "dataset": f"{MODULE}.scan",
        "action": action,
        "outcome": outcome,
        **more,
    }


def _summary(record: Summary) -> dict[str, Any]:
    outcome = "unknown" if record.interrupted else "success"
    return {
        "event": _event("scan-finished", outcome, duration=round(record.seconds * 1e9)),
        "message": ", ".join(_counted(record)),
        MODULE: {"record": "summary", "summary": msgspec.to_builtins(record)},
    }


def _counted(record: Summary) -> Iterator[str]:
    yield f"{record.files} files"
    yield f"{record.flagged} flagged"
    if record.known_malware:
        yield f"{record.known_malware} known malware"
    if record.failed:
        yield f"{record.failed} not read"


def _file(record: FileRecord) -> dict[str, Any]:
    event = _event(_ACTIONS[type(record)], _OUTCOMES[type(record)])
    rest: dict[str, Any] = msgspec.to_builtins(record)
    rest["record"] = rest.pop("type")
    del rest["path"]
    found: dict[str, Any] = {"event": event, "file": _place(record.path)}
    if isinstance(record, Result):
        _result(record, found, rest)
    else:
        event["reason"] = found["message"] = record.reason
        if isinstance(record, Failed):
            found["error"] = {"code": record.code, "message": record.reason}
    return found | {MODULE: rest}


def _place(path: str) -> dict[str, Any]:
    """The fields of ECS for a path; a relative one is below the current folder.

    Standard input, and what is in it, has a name alone.
    """
    if path == STDIN or path.startswith(STDIN + SEPARATOR):
        return {"type": "file", "name": path}
    disk = file_on_disk(path)
    inside = path[len(disk) :]  # never a path of this system, whatever it says
    if not (is_url(disk) or posixpath.isabs(disk) or ntpath.isabs(disk)):
        disk = os.path.abspath(disk)
    path = disk + inside
    folder, slash, name = disk.rpartition("/" if "/" in disk else "\\")
    if inside:
        name = REPEATED.sub("", (inner_name(path) or name).rpartition("/")[2])
    dot = name.rfind(".")
    return _known(
        type="file",
        path=path,
        name=name,
        directory=folder or slash,
        extension=name[dot + 1 :].lower() if 0 < dot < len(name) - 1 else None,
    )


def _result(record: Result, found: dict[str, Any], rest: dict[str, Any]) -> None:
    verdict, identity, version = record.verdict, record.identity, record.identity.version
    hashes = _known(sha256=record.sha256, md5=identity.md5, sha1=identity.sha1, tlsh=identity.tlsh)
    sections = [
        # ECS takes only whole numbers here; `maltriage.layout` has the exact value.
        {"name": region.name, "physical_size": region.size, "entropy": round(region.entropy)}
        for region in record.layout.regions
        if region.kind == "section"
    ]
    machine = record.layout.machine or ""
    pe = _known(
        imphash=identity.imphash,
        architecture=None if machine in _UNKNOWN else _ARCHITECTURES.get(machine, machine.lower()),
        company=version and version.company,
        product=version and version.product,
        original_file_name=version and version.original_name,
        file_version=version and version.file_version,
        description=version and version.description,
        sections=sections,
    )
    found["file"] |= _known(
        size=record.size,
        hash=hashes,
        pe=pe,
        code_signature=_signature(identity),
    )
    found["related"] = {"hash": list(hashes.values())}
    spent = record.timing.prepare_ms + record.timing.model_ms
    found["event"]["duration"] = round(spent * 1e6)
    score = facts.score(verdict)
    if score is not None:
        found["event"] |= {
            "risk_score": facts.rounded(score),
            "severity": math.floor(score),
        }
    found["message"] = f"{verdict.label}, score {numbers.score(score)}"
    if verdict.flagged:
        found["event"] |= {"kind": "alert", "category": ["malware", "file"]}
        found["message"] += ", flagged"
        found["rule"] = {
            "name": record.model.name,
            "id": record.model.weights_sha256,
            "ruleset": MODULE,
        }
    elif facts.known_malware(record) is not None:
        found["event"] |= {"kind": "alert", "category": ["malware", "file"]}
        known = facts.known_as_malware(record)
        found["message"] += f", malware by the index of labelled files ({known})"
    if facts.known_malware(record) is not None:
        found["event"]["severity"] = KNOWN
    if family := sharing.family(record):
        found["threat"] = {"software": {"name": family, "type": "Malware"}}
    for name in ("size", "sha256"):
        del rest[name]
    rest["identity"] = {k: v for k, v in rest["identity"].items() if k not in _NAMED}


def _signature(identity: Identity) -> dict[str, Any] | None:
    """The fields of a signature, by the name of its subject; None: there is no signature.

    `valid` is false where the signature does not match the file, and never true, since nobody
    verified the certificate.

    `CN=Adobe Systems\\, Incorporated` is the name `Adobe Systems, Incorporated`.
    """
    signer, invalid = identity.signer, identity.as_signed is False
    if signer is None and not invalid:
        return None
    found = _COMMON_NAME.search(signer or "")
    name = re.sub(r"\\(.)", r"\1", found[1]) if found else signer
    return {"exists": True} | _known(subject_name=name, valid=False if invalid else None)


def _known(**values: Any) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}
