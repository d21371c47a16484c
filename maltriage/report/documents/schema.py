"""The JSON Schema of the output, made from the structs that write and read it."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from maltriage.report.documents.record import SCHEMA_VERSION, Record, ScanDocument


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of the output: a record, or a whole scan document."""
    (record, document), definitions = msgspec.json.schema_components(
        [Record, ScanDocument], ref_template="#/$defs/{name}"
    )
    definitions["Record"] = {
        "title": "Record",
        "description": "One line of NDJSON: a file's result, skip or error, or the summary.",
        **record,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:maltriage:result:{SCHEMA_VERSION}",
        "title": f"maltriage {SCHEMA_VERSION}",
        "description": (
            "A line of `--format ndjson` is a Record; `--format json` is a ScanDocument."
        ),
        "anyOf": [{"$ref": "#/$defs/Record"}, document],
        "$defs": {name: _tidy(part) for name, part in sorted(definitions.items())},
    }


def _tidy(part: dict[str, Any]) -> dict[str, Any]:
    """Remove the indentation of docstrings."""
    if "description" in part:
        part = {**part, "description": inspect.cleandoc(part["description"])}
    return part
