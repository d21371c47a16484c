from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from report.factories import (
    make_checked,
    make_result,
    make_scan,
    make_similar,
    make_summary,
    make_verdict,
)
from report.screens import written

from maltriage.report.documents.record import SCHEMA_VERSION, encode
from maltriage.report.documents.schema import json_schema, schema_text

PUBLISHED = Path(__file__).parents[3] / "docs" / "schema" / f"maltriage-{SCHEMA_VERSION}.json"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(PUBLISHED.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_published_schema_is_the_one_of_the_structs() -> None:
    # After a change of the document: raise SCHEMA_VERSION where it is due, then write
    # `maltriage schema` to docs/schema.
    assert PUBLISHED.read_text("utf-8") == schema_text()


def test_it_has_a_name() -> None:
    schema = json_schema()
    assert schema["$id"] == f"urn:maltriage:result:{SCHEMA_VERSION}"
    assert schema["title"] == f"maltriage {SCHEMA_VERSION}"


def test_every_record_is_valid(validator: jsonschema.Draft202012Validator) -> None:
    unflagged = make_result(verdict=make_verdict(margin=None, threshold=None))
    records = [*make_scan(), make_result(plane=True, hashes=True), unflagged, make_checked()]
    records.append(make_result(similar=make_similar(0.1, 0.2)))
    records.append(make_summary())
    for line in written("ndjson", records).splitlines():
        validator.validate(json.loads(line))


def test_a_document_is_valid(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(json.loads(written("json", [*make_scan(), make_summary()])))


def _without(record: dict[str, Any]) -> None:
    del record["sha256"]


def _surprise(record: dict[str, Any]) -> None:
    record["verdict"]["surprise"] = 1


def _kind(record: dict[str, Any]) -> None:
    record["evidence"]["regions"][0]["kind"] = "attic"


def _type(record: dict[str, Any]) -> None:
    record["type"] = "other"


@pytest.mark.parametrize("damage", [_without, _surprise, _kind, _type])
def test_what_is_wrong_is_invalid(validator: jsonschema.Draft202012Validator, damage: Any) -> None:
    record = json.loads(encode(make_result()))
    assert validator.is_valid(record)
    damage(record)
    assert not validator.is_valid(record)
