from __future__ import annotations

import importlib.util
import io
import json
import re
from typing import Any

import pytest
from report.factories import make_failed, make_result, make_scan, make_skipped, make_summary
from report.screens import console_of, written

from maltriage.errors import MaltriageError
from maltriage.report.documents.record import decode
from maltriage.report.formats import SCAN, RenderOptions, open_renderer
from maltriage.report.scan import parquet
from maltriage.report.scan.row import COLUMNS
from maltriage.version import install_extra


@pytest.fixture(autouse=True)
def _pyarrow() -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra `parquet`")


def read(data: bytes) -> Any:
    from pyarrow import parquet as pq

    return pq.read_table(io.BytesIO(data))


def test_one_row_per_file_with_its_record() -> None:
    from pyarrow import parquet as pq

    scan = make_scan()
    data = written("parquet", [*scan, make_summary()])
    table = read(data)
    assert table.column_names == [*COLUMNS, "record"]
    rows = table.to_pylist()
    assert [decode(row["record"]) for row in rows] == scan
    assert [row["path"] for row in rows] == [record.path for record in scan]
    metadata = pq.read_metadata(io.BytesIO(data)).metadata
    assert json.loads(metadata[b"maltriage.summary"])["files"] == 8


def test_values_have_types() -> None:
    table = read(written("parquet", [make_result(), make_skipped(), make_failed(), make_summary()]))
    result, skipped, failed = table.to_pylist()
    assert (result["status"], skipped["status"], failed["status"]) == ("result", "skipped", "error")
    assert (result["probability"], result["flagged"]) == (0.921, True)
    assert isinstance(result["size"], int)
    assert failed["error"] == "unreadable: permission denied"
    assert failed["probability"] is failed["flagged"] is failed["size"] is None
    kinds = {name: str(table.schema.field(name).type) for name in COLUMNS}
    shown = {str: "string", int: "int64", float: "double", bool: "bool"}
    assert kinds == {name: shown[kind] for name, kind in COLUMNS.items()}


def test_strings_of_a_sample_are_cleaned_and_kept_in_the_record() -> None:
    name = "a\x1b[31m\u202e\udce9.exe"
    (row,) = read(written("parquet", [make_result(name, size=1), make_summary()])).to_pylist()
    assert row["path"] == "a\\x1b[31m\\u202e\\xe9.exe"
    assert "\u202e" not in row["record"]
    assert json.loads(row["record"])["path"] == "a\x1b[31m\u202e\\udce9.exe"


@pytest.mark.parametrize(("limit", "value", "groups"), [("MAX_ROWS", 3, 4), ("MAX_BYTES", 1, 10)])
def test_rows_are_written_in_groups(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int, groups: int
) -> None:
    from pyarrow import parquet as pq

    monkeypatch.setattr(parquet, limit, value)
    stream, held = io.BytesIO(), []
    renderer = open_renderer(SCAN["parquet"], stream, RenderOptions(), console_of(80))
    for i in range(10):
        renderer.write(make_result(f"{i}.exe"))
        held.append(len(stream.getvalue()))
    assert len(set(held)) == 10 // (value if limit == "MAX_ROWS" else 1) + (limit == "MAX_ROWS")
    renderer.finish(make_summary())
    assert not stream.closed
    metadata = pq.read_metadata(io.BytesIO(stream.getvalue()))
    assert (metadata.num_rows, metadata.num_row_groups) == (10, groups)


def test_an_empty_scan_is_a_table_without_rows() -> None:
    table = read(written("parquet", [make_summary(files=0)]))
    assert (table.num_rows, table.column_names) == (0, [*COLUMNS, "record"])


def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MaltriageError, match=re.escape(install_extra("parquet"))):
        written("parquet", [make_summary()])
