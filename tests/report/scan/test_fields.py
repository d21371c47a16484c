from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from report.factories import (
    make_failed,
    make_result,
    make_skipped,
    make_summary,
    make_verdict,
)
from report.screens import console_of

from maltriage.errors import MaltriageError
from maltriage.report.documents.record import decode, encode
from maltriage.report.formats import SCAN, RenderOptions, open_renderer
from maltriage.report.saved.recognise import is_report, refuse_other
from maltriage.report.saved.report import look_through
from maltriage.report.scan.fields import choose, known_names
from maltriage.report.scan.row import COLUMNS, row

NAMES = "path,type,label,verdict.label,verdict.set,identity.imphash,identity.version.company,code"


def written(name: str, fields: str, *records: Any) -> bytes:
    stream = io.BytesIO()
    renderer = open_renderer(
        SCAN[name], stream, RenderOptions(fields=choose(fields)), console_of(80)
    )
    for record in records:
        renderer.write(record)
    renderer.finish(make_summary())
    return stream.getvalue()


def test_every_field_is_what_the_record_has() -> None:
    """Held against JSON of the record, walked by the path."""
    result = make_result(verdict=make_verdict(set=["icedid"]), hashes=True, plane=True)
    for record in (result, make_skipped(), make_failed()):
        whole = json.loads(encode(record))
        for name in known_names():
            if name in COLUMNS and "." not in name and name not in whole:
                expected: Any = row(record).get(name)
                found = choose(name).document(record)[name]
            else:
                expected, found = whole, choose(name).document(record)
                for part in name.split("."):
                    expected = expected.get(part) if isinstance(expected, dict) else None
                    found = found[part]
            assert json.loads(json.dumps(found)) == expected, name


def test_ndjson_has_the_fields_of_each_file_alone() -> None:
    lines = written("ndjson", NAMES, make_result("a.exe"), make_skipped("b.txt")).splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "path": "a.exe",
            "type": "result",
            "label": "icedid",
            "verdict": {"label": "icedid", "set": None},
            "identity": {
                "imphash": make_result().identity.imphash,
                "version": {"company": "Tie Company"},
            },
            "code": None,
        },
        {
            "path": "b.txt",
            "type": "skipped",
            "label": None,
            "verdict": {"label": None, "set": None},
            "identity": {"imphash": None, "version": {"company": None}},
            "code": "not-pe",
        },
    ]


def test_a_part_of_what_is_chosen_comes_with_it() -> None:
    for names in ("verdict,verdict.label", "verdict.label,verdict"):
        (line,) = written("ndjson", names, make_result()).splitlines()
        assert json.loads(line) == {"verdict": json.loads(encode(make_result()))["verdict"]}
    assert written("ndjson", "verdict.label,verdict", make_skipped()) == b'{"verdict":null}\n'


def test_json_says_what_was_chosen() -> None:
    document = json.loads(written("json", "path,notices", make_result("a.exe"), make_failed()))
    assert document["fields"] == ["path", "notices"]
    assert document["records"][0] == {"path": "a.exe", "notices": []}
    assert document["summary"]["files"] == 8


def test_csv_has_columns_in_the_order_that_was_asked_for() -> None:
    notices = (("packed?", "=1+1"),)
    verdict = make_verdict(set=["icedid", "maze"])
    data = written(
        "csv",
        "verdict.set, path,notices,evidence.additive,pdb_path".replace("pdb", "identity.pdb"),
        make_result("=a.exe", verdict, notices),
        make_skipped("b.txt"),
    )
    first, second = csv.DictReader(io.StringIO(data.decode()))
    assert list(first) == [
        "verdict.set",
        "path",
        "notices",
        "evidence.additive",
        "identity.pdb_path",
    ]
    assert (first["verdict.set"], first["path"]) == ('["icedid","maze"]', "'=a.exe")
    assert (first["notices"], first["evidence.additive"]) == ("", "true")  # as the column has it
    assert (second["path"], second["verdict.set"]) == ("b.txt", "")
    long = written("csv", "layout.regions", make_result()).decode()
    (cell,) = list(csv.reader(io.StringIO(long)))[1]
    assert json.loads(cell)[1]["name"] == ".text"


def test_parquet_has_types() -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra `parquet`")
    from pyarrow import parquet

    names = "path,layout.bits,verdict.margin,evidence.additive,layout.anchors"
    table = parquet.read_table(io.BytesIO(written("parquet", names, make_result(), make_failed())))
    assert [str(field.type) for field in table.schema] == [
        "string",
        "int64",
        "double",
        "bool",
        "string",
    ]
    result, failed = table.to_pylist()
    assert (result["layout.bits"], result["evidence.additive"]) == (32, True)
    assert json.loads(result["layout.anchors"])["entry"] == 0x1AE00
    assert failed["verdict.margin"] is failed["layout.anchors"] is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("path,rich_hash", r"no field rich_hash; close to it: identity\.rich_hash"),
        ("verdict.family", r"no field verdict\.family; close to it: .*verdict\."),
        ("verdict.lable", r"close to it: .*verdict\.label"),
        ("evidence.regions.name", "no field evidence.regions.name"),
        ("zzzzqqq", r"no field zzzzqqq; docs/reference/columns.md and schema.md list"),
        ("path,path", "path is named twice"),
        (" , ", "name at least one field"),
    ],
)
def test_wrong_names(names: str, message: str) -> None:
    with pytest.raises(MaltriageError, match=message):
        choose(names)


@pytest.mark.parametrize("format", ["ndjson", "json"])
@pytest.mark.parametrize("names", ["path,label", "type,path", "evidence,path"])
def test_it_is_no_saved_report(tmp_path: Path, format: str, names: str) -> None:
    path = tmp_path / "chosen"
    path.write_bytes(written(format, names, make_result(plane=False), make_skipped()))
    assert not is_report(str(path))
    with pytest.raises(MaltriageError, match="written with --fields"):
        refuse_other(str(path))


def test_long_lines_of_chosen_fields_are_refused_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "chosen.ndjson"
    path.write_bytes(written("ndjson", "type,evidence", make_result(plane=True)))
    with pytest.raises(MaltriageError, match=r"line 1: not a maltriage record \(written with"):
        look_through(str(path))


def test_reports_and_other_files_are_not_taken_for_chosen_fields(tmp_path: Path) -> None:
    path = tmp_path / "other"
    for record in (make_result(), make_result(plane=True), make_skipped(), make_summary()):
        path.write_bytes(encode(record) + b"\n")
        refuse_other(str(path))
        assert is_report(str(path))
        assert decode(path.read_bytes()) == record
    for other in (b'{"name": "x"}\n', b"MZ", b"", b'{"path"', b'{"path": 1, "other": 2}'):
        path.write_bytes(other)
        refuse_other(str(path))
    refuse_other(str(tmp_path))
