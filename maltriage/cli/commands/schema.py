"""`maltriage schema`: the JSON Schema of the output of `scan` and `explain`."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """Print the JSON Schema of the records (NDJSON) and of the document (JSON)."""
    from maltriage.report.documents.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
