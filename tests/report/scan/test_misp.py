"""`--format misp`, read back by PyMISP against the templates of MISP."""

from __future__ import annotations

import importlib.util
import json
import re
from io import BytesIO
from typing import Any

import msgspec
import pytest
from report.factories import (
    make_failed,
    make_result,
    make_similar,
    make_skipped,
    make_summary,
    make_verdict,
)
from report.screens import console_of

from maltriage.report.documents.record import Failed, Result, Skipped
from maltriage.report.formats import SCAN, RenderOptions, open_renderer
from maltriage.version import install_extra

pymisp = pytest.importorskip("pymisp", reason="needs the extra `misp`")


def event_of(*records: Result | Skipped | Failed) -> Any:
    """The event, as PyMISP reads it with its own checks."""
    stream = BytesIO()
    renderer = open_renderer(SCAN["misp"], stream, RenderOptions(), console_of(80))
    for record in records:
        renderer.write(record)
    renderer.finish(make_summary())
    event = pymisp.MISPEvent(strict_validation=True)
    event.from_dict(**json.loads(stream.getvalue())["Event"])
    event.to_json()  # checks each object against its template
    return event


def values(item: Any) -> dict[str, Any]:
    return {each.object_relation: each.value for each in item.attributes}


def test_only_flagged_files_are_in_it() -> None:
    clean = make_result(verdict=make_verdict("benign", margin=-2.0))
    event = event_of(clean, make_skipped("a"), make_failed("b"))
    assert event.objects == []
    assert event.info.startswith("maltriage ")
    assert event.distribution == 0  # your organisation only
    assert [tag.name for tag in event.tags] == ["maltriage"]


def test_a_file_with_its_headers_and_verdict() -> None:
    result = make_result("C:\\cases\\of a client\\x.exe", hashes=True)
    event = event_of(result)
    file, verdict, pe = event.objects
    assert [item.name for item in event.objects] == ["file", "av-signature", "pe"]
    said = values(file)
    assert said["filename"] == "x.exe"
    assert (said["sha256"], said["md5"]) == (result.sha256, result.identity.md5)
    assert {each.object_relation for each in file.attributes if each.to_ids} == {
        *("sha256", "sha1", "md5")
    }
    assert {each.object_relation for each in verdict.attributes if each.to_ids} == set()
    assert values(verdict)["signature"] == "icedid"
    assert values(verdict)["text"].startswith("icedid, score 90 of 100")
    assert {"imphash", "richpe", "original-filename"} <= values(pe).keys()
    assert {each.object_relation for each in pe.attributes if each.to_ids} == set()
    assert values(pe)["imphash"] == result.identity.imphash
    links = {(link.relationship_type, link.referenced_uuid) for link in file.references}
    assert links == {("identified-by", verdict.uuid), ("includes", pe.uuid)}
    assert "client" not in event.to_json()


@pytest.mark.parametrize(("label", "said"), [("maze", "maze"), ("_other", "malware")])
def test_what_the_index_has_as_malware_is_in_it(label: str, said: str) -> None:
    verdict = make_verdict("benign", margin=-2.0)
    event = event_of(make_result(verdict=verdict, similar=make_similar(known_as=label)))
    assert values(event.objects[1])["signature"] == said
    clean = make_result(verdict=verdict, similar=make_similar(known_as="benign"))
    assert event_of(clean).objects == []


def test_hashes_of_a_disarmed_copy_are_no_indicators() -> None:
    event = event_of(make_result(hashes=True, notices=(("disarmed", "x"),)))
    assert not [each for each in event.objects[0].attributes if each.to_ids]


def test_headers_that_say_nothing_have_no_object() -> None:
    result = make_result()
    bare = msgspec.structs.replace(result.identity, imphash=None, version=None)
    event = event_of(msgspec.structs.replace(result, identity=bare))
    assert [item.name for item in event.objects] == ["file", "av-signature"]


def test_blank_claims_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    result = make_result()
    assert result.identity.version is not None
    version = msgspec.structs.replace(result.identity.version, company="  ", product="a\x1b[0m")
    identity = msgspec.structs.replace(result.identity, version=version)
    event = event_of(msgspec.structs.replace(result, identity=identity))
    said = values(event.objects[-1])
    assert "company-name" not in said
    assert said["product-name"] == "a\\x1b[0m"
    assert caplog.records == []  # PyMISP warns of empty values


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from maltriage.errors import MaltriageError

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MaltriageError, match=re.escape(install_extra("misp"))):
        event_of()
