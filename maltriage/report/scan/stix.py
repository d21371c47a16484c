"""STIX 2.1: a bundle of what was triaged, for a threat intelligence platform.

A file is a `file` object, and its verdict a `malware-analysis` of it. A flagged one is a `malware`
object besides, with the analysis as its source, and a named family one that it is a variant of.
The objects are made by the library `stix2`, which checks each; the bundle is written as they come.

Ids are made of what an object is of, so that an import of the same result again doubles nothing: it
is a newer version, by `modified`. All versions have to have the same `created`, so it is constant.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from maltriage.errors import need
from maltriage.report.documents import facts
from maltriage.report.documents.record import FileRecord, Result, Summary, encode
from maltriage.report.formats import RenderOptions
from maltriage.report.sanitize import json_safe
from maltriage.report.scan import sharing
from maltriage.sample.types import BENIGN
from maltriage.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

BORN = datetime(2026, 11, 29, tzinfo=UTC)
"""`created` of every object: no record has a time."""
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "tag:maltriage,2026:stix")
IDENTITY = "identity--" + str(uuid.uuid5(uuid.NAMESPACE_URL, "tag:maltriage,2026:identity"))


class StixRenderer:
    """Writes one bundle. Raises MaltriageError if `stix2` is not installed."""

    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        need("stix", "STIX needs stix2", "stix2")
        import stix2.v21 as stix

        self._stream, self._stix = stream, stix
        self._now = datetime.now(UTC)
        self._written: set[int] = set()
        """Ids so far, as numbers: there may be millions."""
        self._begun = False

    def write(self, record: FileRecord) -> None:
        self._begin()
        if isinstance(record, Result):
            for item in self._objects(record):
                self._put(item)

    def finish(self, summary: Summary) -> None:
        self._begin()
        self._stream.write(b"\n]}\n")
        self._stream.flush()

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        self._stream.write(
            b'{"type":"bundle","id":"bundle--%b","objects":[\n' % str(uuid.uuid4()).encode()
        )
        self._stream.write(
            _json(
                self._stix.Identity(
                    id=IDENTITY,
                    name="maltriage",
                    identity_class="system",
                    created=BORN,
                    modified=BORN,
                )
            )
        )

    def _put(self, item: Any) -> None:
        """Write an object, if it is not in the bundle: copies of a file have the same ones."""
        number = uuid.UUID(item.id.rpartition("--")[2]).int
        if number not in self._written:
            self._written.add(number)
            self._stream.write(b",\n" + _json(item))

    def _common(self, kind: str, *of: str | None) -> dict[str, Any]:
        """The fields of every object but files: of the kind `kind`, and identified by `of`."""
        return {
            "id": f"{kind}--{uuid.uuid5(NAMESPACE, encode([kind, *of]).decode())}",
            "created_by_ref": IDENTITY,
            "created": BORN,
            "modified": max(BORN, self._now),
        }

    def _objects(self, result: Result) -> list[Any]:
        """The objects of a result, none of which refers to a later one."""
        stix, verdict = self._stix, result.verdict
        file = stix.File(**_file(result))
        # The name in place of the path: not even a digest of a folder goes to others.
        of = (result.sha256, file.get("name"), verdict.label, result.model.weights_sha256)
        more: dict[str, Any] = {"result_name": sharing.said(result)}
        confidence = _confidence(result)
        if confidence is not None:
            more["confidence"] = confidence
        analysis = stix.MalwareAnalysis(
            **self._common("malware-analysis", *of),
            product="maltriage",
            version=__version__,
            analysis_engine_version=f"{result.model.name} {result.model.weights_sha256[:12]}",
            result=_outcome(result),
            sample_ref=file.id,
            **more,
        )
        if not facts.alarming(result):
            return [file, analysis]
        how = "Flagged by" if verdict.flagged else "Known to"
        named = sharing.family(result)
        family = {} if named is None else {"name": named}
        trust = {} if confidence is None else {"confidence": confidence}
        malware = stix.Malware(
            **self._common("malware", *of),
            is_family=False,
            malware_types=["unknown"],
            description=f"{how} maltriage: {sharing.why(result)}.",
            sample_refs=[file.id],
            **family,
            **trust,
        )
        found = [file, analysis, malware]
        found.append(self._link(analysis.id, "static-analysis-of", malware.id))
        if named is not None:
            whole = stix.Malware(
                **self._common("malware", named),
                is_family=True,
                malware_types=["unknown"],
                **family,
            )
            found += [whole, self._link(malware.id, "variant-of", whole.id)]
        return found

    def _link(self, source: str, kind: str, target: str) -> Any:
        return self._stix.Relationship(
            **self._common("relationship", source, kind, target),
            relationship_type=kind,
            source_ref=source,
            target_ref=target,
        )


def _json(item: Any) -> bytes:
    return json_safe(item.serialize().encode())


def _file(result: Result) -> dict[str, Any]:
    """The fields of the file. Its folder is left out: a bundle goes to others."""
    identity = result.identity
    hashes = {
        "SHA-256": result.sha256,
        "MD5": identity.md5,
        "SHA-1": identity.sha1,
        "TLSH": identity.tlsh and identity.tlsh.removeprefix("T1"),  # which stix2 does not know
    }
    name = sharing.file_name(result)
    found: dict[str, Any] = {
        "size": result.size,
        "hashes": {key: value for key, value in hashes.items() if value},
    }
    return found | ({"name": name} if name else {})


def _outcome(result: Result) -> str:
    """The verdict in the words of STIX (`malware-result-ov`)."""
    verdict = result.verdict
    if facts.alarming(result):
        unsure = verdict.flagged and verdict.label == facts.SUSPICIOUS
        return "suspicious" if unsure and not facts.known_malware(result) else "malicious"
    return "benign" if verdict.label == BENIGN and verdict.calibrated else "unknown"


def _confidence(result: Result) -> int | None:
    """How sure the label is, in percent; None where no probability holds for this kind of file, or
    none is named."""
    verdict = result.verdict
    named = verdict.calibrated and verdict.label != facts.UNKNOWN
    named = named and bool(verdict.flagged) == facts.alarming(result)
    return round(100 * verdict.probability) if named else None
