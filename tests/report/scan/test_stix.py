"""`--format stix`, read back by the library that knows the rules of STIX."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
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

stix2 = pytest.importorskip("stix2", reason="needs the extra `stix`")


def bundle_of(*records: Result | Skipped | Failed) -> list[Any]:
    """The objects of the bundle, which `stix2` has checked."""
    stream = BytesIO()
    renderer = open_renderer(SCAN["stix"], stream, RenderOptions(), console_of(80))
    for record in records:
        renderer.write(record)
    renderer.finish(make_summary())
    document = json.loads(stream.getvalue())
    assert document["type"] == "bundle"
    return list(stix2.parse(document, version="2.1").objects)


def kinds(objects: list[Any]) -> dict[str, int]:
    return dict(Counter(item["type"] for item in objects))


def test_nothing_triaged_is_a_bundle_of_the_tool_alone() -> None:
    (identity,) = bundle_of(make_skipped("a"), make_failed("b"))
    assert identity.identity_class == "system"
    assert identity == bundle_of()[0]  # the same object in every bundle
    assert (identity.name, identity.created) == ("maltriage", identity.modified)


def test_a_clean_file_is_a_file_and_an_analysis() -> None:
    clean = make_result(verdict=make_verdict("benign", margin=-2.0))
    objects = bundle_of(clean)
    assert kinds(objects) == {"identity": 1, "file": 1, "malware-analysis": 1}
    file, analysis = objects[1:]
    assert (analysis.result, analysis.sample_ref) == ("benign", file.id)
    assert file.hashes["SHA-256"] == clean.sha256
    assert analysis.created_by_ref == objects[0].id


def test_a_flagged_file_is_malware_of_its_family() -> None:
    result = make_result("/cases/of a client/x.exe", hashes=True)
    other = make_result("y.exe")
    objects = bundle_of(result, other)
    assert kinds(objects) == {
        "identity": 1,
        "file": 2,
        "malware-analysis": 2,
        "malware": 3,  # two files and one family
        "relationship": 4,
    }
    by_id = {item["id"]: item for item in objects}
    file = objects[1]
    assert file.name == "x.exe"  # no folder of the analyst's machine
    assert "client" not in json.dumps([json.loads(item.serialize()) for item in objects])
    assert file.hashes["MD5"] == result.identity.md5
    (family,) = [item for item in objects if item["type"] == "malware" and item.is_family]
    assert family.name == "icedid"
    links = Counter(
        (item.relationship_type, by_id[item.source_ref]["type"], by_id[item.target_ref]["type"])
        for item in objects
        if item["type"] == "relationship"
    )
    assert links == {
        ("static-analysis-of", "malware-analysis", "malware"): 2,
        ("variant-of", "malware", "malware"): 2,
    }
    malware = next(item for item in objects if item["type"] == "malware" and not item.is_family)
    assert malware.sample_refs == [file.id]
    assert malware.confidence == 92
    assert malware.description.startswith("Flagged by maltriage: icedid, score 90 of 100")


def test_each_object_is_written_once() -> None:
    clean = make_result("a/x.exe", verdict=make_verdict("benign", margin=-2.0))
    flagged = make_result("a/y.exe")
    copy = msgspec.structs.replace(flagged, path="b/y.exe")
    objects = bundle_of(clean, flagged, clean, copy)
    ids = [item["id"] for item in objects]
    assert len({*ids}) == len(ids)
    assert kinds(objects) == {
        "identity": 1,
        "file": 2,
        "malware-analysis": 2,
        "malware": 2,  # a file and its family
        "relationship": 2,
    }


def test_the_same_result_has_the_same_objects_in_every_bundle() -> None:
    """A newer version of each, which an import takes in place of the older one."""
    result = make_result("x.exe", hashes=True)
    first, second = bundle_of(result), bundle_of(make_result("y.exe"), result)
    later = {item["id"]: item for item in second}
    for item in first:
        again = later[item["id"]]
        assert item.get("created") == again.get("created")
        assert item.get("modified", 0) <= again.get("modified", 0)
    # Another answer on the same file is another analysis.
    other = make_result("x.exe", hashes=True, verdict=make_verdict("bifrose"))
    model = msgspec.structs.replace(result.model, weights_sha256="0" * 64)
    for changed in (other, msgspec.structs.replace(result, model=model)):
        same = {item["type"] for item in bundle_of(changed) if item["id"] in later}
        assert same >= {"identity", "file"}
        assert "malware-analysis" not in same
        assert "relationship" not in same


@pytest.mark.parametrize(
    ("verdict", "result", "confidence"),
    [
        (make_verdict("suspicious", closest="icedid", margin=5.0), "suspicious", 92),
        (make_verdict("unknown", closest="icedid", margin=5.0), "malicious", None),
        (make_verdict("unknown", closest="icedid", margin=0.0), "unknown", None),
        (make_verdict(calibrated=False), "malicious", None),
    ],
)
def test_words_and_confidence(verdict: Any, result: str, confidence: int | None) -> None:
    objects = bundle_of(make_result(verdict=verdict))
    analysis = next(item for item in objects if item["type"] == "malware-analysis")
    assert (analysis.result, analysis.get("confidence")) == (result, confidence)
    malware = [item for item in objects if item["type"] == "malware"]
    names = {item.get("name") for item in malware}
    assert names == ({verdict.label if verdict.label == "icedid" else None} if malware else set())
    assert all(item.get("confidence") == confidence for item in malware if not item.is_family)


@pytest.mark.parametrize(("label", "name"), [("maze", "maze"), ("_other", None)])
def test_what_the_index_has_as_malware_is_malicious(label: str, name: str | None) -> None:
    """Though the model takes it for clean, whose probability is none of this."""
    verdict = make_verdict("benign", margin=-2.0)
    objects = bundle_of(make_result(verdict=verdict, similar=make_similar(known_as=label)))
    analysis = next(item for item in objects if item["type"] == "malware-analysis")
    assert (analysis.result, analysis.get("confidence")) == ("malicious", None)
    assert analysis.result_name.endswith(f"in the index of labelled files as {name or 'malware'}")
    malware, *families = [item for item in objects if item["type"] == "malware"]
    assert malware.get("name") == name
    assert malware.description.startswith("Known to maltriage: ")
    assert [family.name for family in families] == ([] if name is None else [name])
    known = bundle_of(make_result(verdict=verdict, similar=make_similar(known_as="benign")))
    assert kinds(known) == {"identity": 1, "file": 1, "malware-analysis": 1}


def test_a_kind_outside_of_training_is_not_called_benign() -> None:
    verdict = make_verdict("benign", margin=-2.0, calibrated=False)
    analysis = bundle_of(make_result(verdict=verdict))[2]
    assert analysis.result == "unknown"


def test_no_string_of_a_sample_draws() -> None:
    objects = bundle_of(make_result("a\x1b[31m\u202eexe.gpj"))
    assert objects[1].name == "a\\x1b[31m\\u202eexe.gpj"


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from maltriage.errors import MaltriageError

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MaltriageError, match=re.escape(install_extra("stix"))):
        bundle_of()
