"""MISP: an event with an object for each flagged file, to import or to push with PyMISP.

Only flagged files, and those that the index has as malware, are in it: attributes of clean programs
would be indicators in a platform that shares them. The objects are made by the library `pymisp`
from the templates of MISP, and the event is written as they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from maltriage.errors import need
from maltriage.report.documents import facts
from maltriage.report.documents.record import FileRecord, Result, Summary
from maltriage.report.formats import RenderOptions
from maltriage.report.sanitize import MAX_SHOWN, clean, json_safe
from maltriage.report.scan import sharing
from maltriage.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

OF_ONE_FILE = frozenset(("sha256", "sha1", "md5"))
"""Attributes for detection: hashes that no other file has. Clean programs may share an imphash, a
Rich hash or a name with malware."""


class MispRenderer:
    """Writes one event. Raises MaltriageError if `pymisp` is not installed."""

    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        need("misp", "MISP needs PyMISP", "pymisp")
        import pymisp

        self._stream, self._pymisp = stream, pymisp
        self._before: bytes | None = None

    def write(self, record: FileRecord) -> None:
        self._begin()
        if isinstance(record, Result) and facts.alarming(record):
            for item in self._objects(record):
                self._stream.write(self._before or b"")
                self._stream.write(_json(item))
                self._before = b",\n"

    def finish(self, summary: Summary) -> None:
        self._begin()
        self._stream.write(b"\n]}}\n")
        self._stream.flush()

    def _begin(self) -> None:
        if self._before is not None:
            return
        event = self._pymisp.MISPEvent()
        event.info = f"maltriage {__version__}: flagged files"
        event.distribution = self._pymisp.Distribution.your_organisation_only.value
        event.threat_level_id = self._pymisp.ThreatLevel.undefined.value
        event.analysis = self._pymisp.Analysis.initial.value
        event.add_tag("maltriage")
        event.set_date(_today())
        start = _json(event).removesuffix(b"}")
        self._stream.write(b'{"Event":' + start + b',"Object":[\n')
        self._before = b""

    def _objects(self, result: Result) -> list[Any]:
        """The file, what the headers say of it, and the verdict, each tied to the file."""
        # The hashes of a disarmed copy are no indicators: they are not those of the file that ran.
        ids = frozenset() if facts.disarmed(result) else OF_ONE_FILE
        file = self._object("file", _file(result), ids)
        verdict = self._object(
            "av-signature",
            {
                "software": f"maltriage {__version__} {result.model.name}",
                "signature": sharing.signature(result),
                "text": sharing.why(result),
            },
        )
        file.add_reference(verdict.uuid, "identified-by")
        found = [file, verdict]
        fields = _pe(result)
        if fields:
            pe = self._object("pe", fields)
            file.add_reference(pe.uuid, "includes")
            found.append(pe)
        return found

    def _object(
        self, name: str, values: Mapping[str, str | None], ids: frozenset[str] = frozenset()
    ) -> Any:
        """Args: ids: attributes that are for detection."""
        made = self._pymisp.MISPObject(name, strict=True, standalone=False)
        for relation, value in values.items():
            if value is not None and value.strip():
                relation = relation.replace("_", "-")
                made.add_attribute(relation, value=value, to_ids=relation in ids)
        return made


def _today() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC).date()


def _json(item: Any) -> bytes:
    return json_safe(item.to_json().encode())


def _file(result: Result) -> dict[str, str | None]:
    """The attributes of the file. Its folder is left out: an event goes to others."""
    identity = result.identity
    return {
        "filename": sharing.file_name(result),
        "size_in_bytes": str(result.size),
        "sha256": result.sha256,
        "sha1": identity.sha1,
        "md5": identity.md5,
        "tlsh": identity.tlsh,
    }


def _pe(result: Result) -> dict[str, str | None]:
    """What the headers and the version resource say: claims of the file about itself."""
    identity, version = result.identity, result.identity.version
    said: dict[str, str | None] = {"imphash": identity.imphash, "richpe": identity.rich_hash}
    said["compilation_timestamp"] = identity.compile_time
    said["pdb"] = identity.pdb_path
    if version is not None:
        said |= {
            "company_name": version.company,
            "product_name": version.product,
            "original_filename": version.original_name,
            "file_version": version.file_version,
            "file_description": version.description,
        }
    if not (said["imphash"] or said.get("original_filename")):  # the template wants one of them
        return {}
    return {name: clean(value, MAX_SHOWN) for name, value in said.items() if value}
