"""Sentences on a scan as a whole."""

from __future__ import annotations

import pytest
from report.factories import make_result, make_similar, make_skipped, make_summary, make_verdict

from maltriage.report.documents.record import FileRecord
from maltriage.report.scan.remarks import Remarks


def said(*records: FileRecord) -> list[str]:
    remarks = Remarks()
    for record in records:
        remarks.add(record)
    return [line.plain for line in remarks.lines(make_summary())]


@pytest.mark.parametrize(
    ("path", "renamed"),
    [
        ("case/holiday.JPG", True),
        ("mail.zip!in/invoice.pdf", True),
        ("c:\\users\\x\\notes.txt", True),
        ("font.ttf", True),
        ("setup.exe", False),
        ("lib.node", False),
        ("6f1ed002ab559585", False),
        ("jpg", False),
        (".txt/a", False),
    ],
)
def test_a_program_named_like_something_else(path: str, renamed: bool) -> None:
    lines = said(make_result(path))
    assert lines == ([f"1 program named like something else: {path}"] if renamed else [])
    assert said(make_result(path, format="png")) == []  # a byteplot is named as it is


def test_a_file_named_like_a_program() -> None:
    paths = ["z.exe", "b.DLL", "a.zip!c.scr", "d.sys", "readme.md"]
    records = [make_skipped(path, code="not-pe") for path in paths]
    first = "4 files named like a program, but not PE: a.zip!c.scr, b.DLL, d.sys and 1 more"
    assert said(*records) == [first]
    assert said(make_skipped("big.exe", code="too-large")) == []


def test_clean_files_of_kinds_outside_of_training_are_counted() -> None:
    remarks = Remarks()
    clean, far = make_verdict("benign", 0.99, -7.0), (("outside-training", "x"),)
    known = make_similar(known_as="maze")
    for record in (
        make_result("a", clean, far),
        make_result("b", clean),
        make_result("c", make_verdict("unknown", 0.6, 0.4), far),
        make_result("d", clean, far, similar=known),
    ):
        remarks.add(record)
    assert remarks.outside == 1


def test_names_are_cleaned() -> None:
    (line,) = said(make_result("a\x1b[31m\n.jpg"))
    assert "\x1b" not in line
    assert "\n" not in line


def test_known_malware_is_counted_by_its_label() -> None:
    remarks = Remarks()
    clean = make_verdict("benign", 0.99, -7.0)
    for number, label in enumerate(("maze", "maze", "_other", "benign")):
        remarks.add(make_result(f"f{number}", clean, similar=make_similar(known_as=label)))
    remarks.add(make_result("flagged", similar=make_similar(known_as="maze")))
    assert dict(remarks.known) == {"maze": 2, "malware": 1}
