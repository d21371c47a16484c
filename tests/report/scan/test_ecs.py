"""`--ecs`, held field by field against the table in docs/reference/outputs.md."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from report.factories import (
    MODEL,
    make_failed,
    make_result,
    make_similar,
    make_skipped,
    make_summary,
    make_verdict,
)
from report.screens import console_of

from maltriage.errors import MaltriageError
from maltriage.report.documents.record import Record, Timing, encode
from maltriage.report.formats import SCAN, RenderOptions, open_renderer
from maltriage.report.saved.recognise import is_report, refuse_other
from maltriage.report.scan.ecs import VERSION, ecs

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)
PATH = "/cases/a b/invoice.v2.EXE"
RESULT = make_result(PATH, hashes=True)
RESULT = msgspec.structs.replace(
    RESULT, identity=msgspec.structs.replace(RESULT.identity, as_signed=False)
)
EXPECTED: dict[str, Any] = {
    "@timestamp": "2026-01-02T03:04:05.678Z",
    "ecs.version": VERSION,
    "message": "icedid, score 90, flagged",
    "event.risk_score": 90.09,
    "event.severity": 90,
    "event.id": "0fa17a7d81d2fd9f177c733699ebea23",
    "event.kind": "alert",
    "event.category": ["malware", "file"],
    "event.type": ["info"],
    "event.module": "maltriage",
    "event.dataset": "maltriage.scan",
    "event.action": "file-triaged",
    "event.outcome": "success",
    "event.duration": 6_600_000,
    "file.type": "file",
    "file.path": PATH,
    "file.name": "invoice.v2.EXE",
    "file.directory": "/cases/a b",
    "file.extension": "exe",
    "file.size": RESULT.size,
    "file.hash.sha256": RESULT.sha256,
    "file.hash.md5": RESULT.identity.md5,
    "file.hash.sha1": RESULT.identity.sha1,
    "file.hash.tlsh": RESULT.identity.tlsh,
    "file.pe.imphash": RESULT.identity.imphash,
    "file.pe.architecture": "x86",
    "file.pe.company": "Tie Company",
    "file.pe.product": "Sea meet",
    "file.pe.original_file_name": "shoe.dll",
    "file.pe.file_version": "3.1.0.7",
    "file.pe.description": "Sea meets shoe",
    "file.pe.sections": [
        {"name": ".text", "physical_size": 0x2A800, "entropy": 7},
        {"name": ".rdata", "physical_size": 0xB600, "entropy": 5},
        {"name": ".data", "physical_size": 0x1E00, "entropy": 4},
        {"name": ".rsrc", "physical_size": 0x26400, "entropy": 8},
        {"name": ".reloc", "physical_size": 0x1E00, "entropy": 7},
    ],
    "file.code_signature.exists": True,
    "file.code_signature.subject_name": "Better Software Ltd",
    "file.code_signature.valid": False,
    "host.name": "triage-1",
    "related.hash": [
        RESULT.sha256,
        RESULT.identity.md5,
        RESULT.identity.sha1,
        RESULT.identity.tlsh,
    ],
    "rule.name": MODEL.name,
    "rule.id": MODEL.weights_sha256,
    "rule.ruleset": "maltriage",
    "threat.software.name": "icedid",
    "threat.software.type": "Malware",
}


def leaves(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict) and prefix + name != "maltriage":
            yield from leaves(value, f"{prefix}{name}.")
        elif prefix + name != "maltriage":
            yield prefix + name, value


def test_a_flagged_file_field_by_field() -> None:
    assert dict(leaves(ecs(RESULT, "triage-1", NOW))) == EXPECTED


def test_the_table_of_the_documentation_has_every_field_and_no_other() -> None:
    """A name in the first column of the table, whatever event has it."""
    text = Path(__file__).parents[3].joinpath("docs", "reference", "outputs.md").read_text("utf-8")
    table = text.split("## Elastic Common Schema", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = {name.strip(" `") for row in rows for name in row.split(",")}
    written = set(EXPECTED)
    for record in (make_skipped(), make_failed(), make_summary()):
        written |= {name for name, _ in leaves(ecs(record))}
    assert documented - {"maltriage"} == written
    assert "maltriage" in documented


def test_nothing_is_lost() -> None:
    rest = ecs(RESULT)["maltriage"]
    whole = json.loads(encode(RESULT))
    assert rest.pop("record") == whole.pop("type") == "result"
    named = {"sha256", "size", "md5", "sha1", "tlsh", "imphash", "version"}
    assert set(whole["identity"]) - set(rest["identity"]) == named
    assert set(whole) - set(rest) == {"path", "sha256", "size"}
    for name in set(rest) - {"identity"}:
        assert rest[name] == whole[name]
    summary = ecs(make_summary())["maltriage"]
    assert summary == {"record": "summary", "summary": json.loads(encode(make_summary()))}
    assert ecs(make_skipped())["maltriage"]["code"] == "not-pe"


def test_the_same_result_has_the_same_id() -> None:
    def named(record: Record, host: str | None = None) -> str:
        return str(ecs(record, host)["event"]["id"])

    flagged = RESULT.verdict
    records = [
        RESULT,
        make_result("/cases/other.exe", hashes=True),
        msgspec.structs.replace(RESULT, sha256="0" * 64),
        msgspec.structs.replace(RESULT, model=msgspec.structs.replace(MODEL, weights_sha256="1")),
        msgspec.structs.replace(RESULT, verdict=msgspec.structs.replace(flagged, flagged=False)),
        msgspec.structs.replace(RESULT, verdict=msgspec.structs.replace(flagged, label="bifrose")),
        make_skipped("a"),
        make_failed("a"),
        make_failed("b"),
        make_failed("a\udcff"),
        make_summary(),
        make_summary(seconds=1.0),
    ]
    ids = [named(record, host) for record in records for host in (None, "triage-1")]
    assert len({*ids}) == len(ids)
    # What an earlier scan found is no other result, and time makes none.
    again = msgspec.structs.replace(RESULT, timing=Timing(0.0, 0.0, stored=True), group="7")
    assert named(again) == ids[0] == ecs(RESULT, now=NOW)["event"]["id"]
    assert [named(record, host) for record in records for host in (None, "triage-1")] == ids


def test_what_is_not_flagged_is_no_alert() -> None:
    event = ecs(make_result(verdict=make_verdict("benign", 0.988, -6.2)))
    assert (event["event"]["kind"], event["event"]["category"]) == ("event", ["file"])
    assert "rule" not in event
    assert "threat" not in event
    for label in ("unknown", "suspicious"):  # flagged, and no family is named
        event = ecs(make_result(verdict=make_verdict(label, 0.41, 1.65, closest="bifrose")))
        assert event["event"]["kind"] == "alert"
        assert "threat" not in event


@pytest.mark.parametrize(("label", "family"), [("maze", "maze"), ("_other", None)])
def test_what_the_index_has_as_malware_is_an_alert(label: str, family: str | None) -> None:
    verdict = make_verdict("benign", 0.988, -6.2)
    event = ecs(make_result(verdict=verdict, similar=make_similar(known_as=label)))
    assert event["event"]["severity"] == 100 > event["event"]["risk_score"]
    assert (event["event"]["kind"], event["event"]["category"]) == ("alert", ["malware", "file"])
    assert event.get("threat", {}).get("software", {}).get("name") == family
    assert f"by the index of labelled files ({family or 'malware'})" in event["message"]
    assert "rule" not in event
    flagged = ecs(make_result(similar=make_similar(known_as=label)))
    assert flagged["event"]["severity"] == 100
    assert "rule" in flagged
    event = ecs(make_result(verdict=verdict, similar=make_similar(known_as="benign")))
    assert event["event"]["severity"] < 50
    assert event["event"]["kind"] == "event"


def test_files_without_a_result() -> None:
    failed, skipped = ecs(make_failed()), ecs(make_skipped())
    assert (failed["event"]["action"], failed["event"]["outcome"]) == ("file-unread", "failure")
    assert failed["error"] == {"code": "unreadable", "message": "permission denied"}
    assert failed["event"]["reason"] == failed["message"] == "permission denied"
    assert (skipped["event"]["action"], skipped["event"]["outcome"]) == ("file-skipped", "unknown")
    assert skipped["file"]["name"] == "notes.txt"


def test_the_end_of_a_scan() -> None:
    event = ecs(make_summary(interrupted=True, seconds=1.5))
    assert (event["event"]["action"], event["event"]["outcome"]) == ("scan-finished", "unknown")
    assert event["event"]["duration"] == 1_500_000_000
    assert event["message"] == "8 files, 4 flagged, 1 not read"
    event = ecs(make_summary(failed=0, known_malware=2))
    assert event["message"] == "8 files, 4 flagged, 2 known malware"


@pytest.mark.parametrize(
    ("path", "name", "directory", "extension"),
    [
        ("a.exe", "a.exe", os.getcwd(), "exe"),
        ("s3://bucket/a.exe", "a.exe", "s3://bucket", "exe"),
        ("/a", "a", "/", None),
        ("C:\\Windows\\.hidden", ".hidden", "C:\\Windows", None),
        ("x/y.", os.path.basename(os.path.abspath("y.")), os.path.join(os.getcwd(), "x"), None),
        ("/a/sub.zip!x.EXE", "x.EXE", "/a", "exe"),
        ("/a/sub.zip!b/x", "x", "/a", None),
        ("/a/sub.zip!C:\\b\\x.exe", "x.exe", "/a", "exe"),
        ("/a/b.exe!c.zip!d/x.exe#2", "x.exe", "/a", "exe"),
        ("/a/x.exe#2", "x.exe#2", "/a", "exe#2"),
        ("/a/Setup!.exe", "Setup!.exe", "/a", "exe"),
    ],
)
def test_places(path: str, name: str, directory: str | None, extension: str | None) -> None:
    place = ecs(make_result(path))["file"]
    found = (place["name"], place.get("directory"), place.get("extension"))
    assert found == (name, directory, extension)


@pytest.mark.parametrize("inner", ["../../../usr/bin/sudo.exe", "/usr/bin/sudo.exe", "C:\\x.exe"])
def test_a_name_in_an_archive_moves_no_path(inner: str) -> None:
    file = ecs(make_result(f"cases/a.zip!{inner}"))["file"]
    folder = os.path.abspath("cases")
    assert (file["path"], file["directory"]) == (os.path.join(folder, f"a.zip!{inner}"), folder)


@pytest.mark.parametrize(
    ("signer", "name"),
    [
        (
            "C=US, O=Adobe Systems\\, Incorporated, CN=Adobe Systems\\, Incorporated",
            "Adobe Systems, Incorporated",
        ),
        ("CN=Jernej Simončič, C=SI", "Jernej Simončič"),
        ("O=No name, OU=xCN=no", "O=No name, OU=xCN=no"),
    ],
)
def test_signers(signer: str, name: str) -> None:
    identity = msgspec.structs.replace(RESULT.identity, signer=signer)
    event = ecs(msgspec.structs.replace(RESULT, identity=identity))
    assert event["file"]["code_signature"]["subject_name"] == name
    assert event["maltriage"]["identity"]["signer"] == signer


def test_a_signature_that_does_not_match_and_whose_signer_cannot_be_read() -> None:
    identity = msgspec.structs.replace(RESULT.identity, signer=None, as_signed=False)
    event = ecs(msgspec.structs.replace(RESULT, identity=identity))
    assert event["file"]["code_signature"] == {"exists": True, "valid": False}


@pytest.mark.parametrize("as_signed", [True, False, None])
def test_a_file_that_is_or_is_not_what_was_signed(as_signed: bool | None) -> None:
    identity = msgspec.structs.replace(RESULT.identity, as_signed=as_signed)
    event = ecs(msgspec.structs.replace(RESULT, identity=identity))
    said = {"exists": True, "subject_name": "Better Software Ltd"}
    assert event["file"]["code_signature"] == said | (
        {"valid": False} if as_signed is False else {}
    )
    assert event["maltriage"]["identity"]["as_signed"] is as_signed


TYPES = {
    "date": "@timestamp",
    "keyword": "ecs.version error.code event.action event.category event.dataset event.id"
    " event.kind event.module event.outcome event.reason event.type"
    " file.code_signature.subject_name"
    " file.directory file.extension file.hash.md5 file.hash.sha1 file.hash.sha256 file.hash.tlsh"
    " file.name file.path file.pe.architecture file.pe.company file.pe.description"
    " file.pe.file_version file.pe.imphash file.pe.original_file_name file.pe.product file.type"
    " host.name related.hash rule.id rule.name rule.ruleset threat.software.name"
    " threat.software.type",
    "match_only_text": "message error.message",
    "float": "event.risk_score",
    "long": "event.duration event.severity file.size file.pe.sections.physical_size"
    " file.pe.sections.entropy",
    "boolean": "file.code_signature.exists file.code_signature.valid",
}
"""Types of the fields in the field reference of ECS 8.17, looked up one by one."""
KINDS = {"float": (int, float), "long": int, "boolean": bool}


def test_fields_have_the_types_of_the_published_list() -> None:
    published = {name: kind for kind, names in TYPES.items() for name in names.split()}
    published["file.pe.sections.name"] = "keyword"
    for record in (RESULT, make_skipped(), make_failed(), make_summary()):
        for name, value in leaves(ecs(record, "triage-1")):
            sections = value if name == "file.pe.sections" else []
            inside = [(f"{name}.{key}", v) for part in sections for key, v in part.items()]
            for field, one in inside or [(name, value)]:
                for each in one if isinstance(one, list) else [one]:
                    assert isinstance(each, KINDS.get(published[field], str)), field


def test_a_machine_that_is_not_known_is_left_out() -> None:
    for machine, shown in (("none", None), (None, None), ("x64", "x64"), ("arm64", "arm64")):
        layout = msgspec.structs.replace(RESULT.layout, machine=machine)
        event = ecs(msgspec.structs.replace(RESULT, layout=layout))
        assert event["file"]["pe"].get("architecture") == shown


def test_what_a_file_lacks_is_left_out() -> None:
    identity = msgspec.structs.replace(
        RESULT.identity,
        imphash=None,
        version=None,
        signer=None,
        as_signed=None,
        md5=None,
        sha1=None,
        tlsh=None,
    )
    layout = msgspec.structs.replace(RESULT.layout, machine=None, regions=[])
    file = ecs(msgspec.structs.replace(RESULT, identity=identity, layout=layout))["file"]
    assert set(file) == {"type", "path", "name", "directory", "extension", "size", "hash"}
    assert file["hash"] == {"sha256": RESULT.sha256}


def test_times_are_utc() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=2)))
    assert ecs(RESULT, now=there)["@timestamp"] == "2026-01-02T03:04:05.678Z"


@pytest.mark.parametrize("path", ["-", "-!x.exe"])
def test_standard_input_has_no_path(path: str) -> None:
    assert ecs(make_result(path))["file"].keys() & {"path", "directory", "name"} == {"name"}
    assert ecs(make_result(path))["file"]["name"] == path


def test_a_score_is_never_rounded_up() -> None:
    """50 means flagged, and a score just below it is none."""
    result = make_result("a.exe")
    margin = result.verdict.threshold - 1e-5
    verdict = msgspec.structs.replace(result.verdict, margin=margin, flagged=False)
    event = ecs(msgspec.structs.replace(result, verdict=verdict))["event"]
    assert (event["risk_score"], event["severity"]) == (49.99, 49)


def test_it_is_written_as_ndjson_and_json_and_is_no_saved_report(tmp_path: Path) -> None:
    odd = make_result("a\x1b\u202e\udce9.exe")
    for name in ("ndjson", "json"):
        stream = io.BytesIO()
        renderer = open_renderer(SCAN[name], stream, RenderOptions(ecs=True), console_of(80))
        renderer.write(odd)
        renderer.finish(make_summary())
        data = stream.getvalue()
        assert b"\x1b" not in data
        assert "\u202e" not in data.decode()
        if name == "ndjson":
            first, last = map(json.loads, data.splitlines())
        else:
            document = json.loads(data)
            (first,), last = document["records"], document["summary"]
            assert document["ecs"] == VERSION
        assert first["file"]["path"] == os.path.abspath("a\x1b\u202e\\udce9.exe")
        assert last["event"]["action"] == "scan-finished"
        path = tmp_path / name
        path.write_bytes(data)
        assert not is_report(str(path))
        with pytest.raises(MaltriageError, match="written with --ecs"):
            refuse_other(str(path))
