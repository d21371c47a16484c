"""Sentences on a scan as a whole."""

from __future__ import annotations

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

from maltriage.report.documents.record import FileRecord, Result
from maltriage.report.scan.remarks import Remarks

FEW = "the model learned from hardly any malware of their kind"


def unread(path: str) -> Result:
    """A file whose headers cannot be read."""
    verdict = make_verdict("unknown", 0.9, 8.0, None, calibrated=False)
    whole = make_result(path, verdict)
    region = msgspec.structs.replace(whole.layout.regions[0], kind="unparsed")
    layout = msgspec.structs.replace(whole.layout, regions=[region])
    return msgspec.structs.replace(whole, layout=layout)


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


def test_why_scores_say_little() -> None:
    far, plain = make_verdict(calibrated=False), make_verdict("benign", 0.9, -3.0, calibrated=False)
    outside = [make_result(f"f{n}", far, (("outside-training", "x"),)) for n in range(2)]
    assert said(*outside, make_result("g", plain)) == [
        f"The score of 2 files says little: {FEW} (outside-training).",
        "The score of 1 file says little: the model is not calibrated.",
    ]


def test_files_that_are_not_judged() -> None:
    verdict = make_verdict("unknown", 0.9, 8.0, None)
    assert said(make_result("a", verdict)) == [
        "The model has no threshold: nothing is flagged by it."
    ]
    assert said(unread("odd")) == ["1 file not judged, whose headers cannot be read: odd"]
    many = "5 files not judged, whose headers cannot be read: odd0, odd1, odd2 and 2 more"
    assert said(*(unread(f"odd{n}") for n in range(5))) == [many]


def test_archives_that_were_read_in_part() -> None:
    cut = [make_skipped(f"{n}.zip", code="archive-size", reason="too much") for n in range(3)]
    assert said(cut[0]) == ["archive-size: 0.zip: too much."]
    assert said(*cut) == ["archive-size: 0.zip: too much (and 2 more files)."]
    assert said(*cut[:2]) == ["archive-size: 0.zip: too much (and 1 more file)."]
    refused = [make_skipped(f"{n}.png", code="input", reason="takes no PNG") for n in range(2)]
    assert said(*refused) == ["2 files skipped: takes no PNG."]


def test_programs_that_nobody_unpacked() -> None:
    def packed(
        path: str, text: str = "Looks packed with UPX: so; scan --carve unpacks it."
    ) -> Result:
        return make_result(path, notices=(("packed?", text),))

    inside = make_result("a.exe!carved@0x400.upx.exe")
    failed = make_failed("a.exe!carved@0x400.upx.exe", code="damaged-archive")
    told = "packed with UPX"
    assert said(packed("a.exe")) == [
        f"1 program {told} is judged by its packed bytes (--carve unpacks it)."
    ]
    assert said(packed("a.exe"), packed("b.exe")) == [
        f"2 programs {told} are judged by their packed bytes (--carve unpacks them)."
    ]
    assert said(packed("a.exe", "Looks packed with ASPack: so.")) == []
    assert said(packed("a.exe"), inside) == said(inside, packed("a.exe")) == []
    assert said(packed("a.exe"), failed) == []
    assert said(packed("a.exe"), inside, packed("b.exe")) == [
        f"1 program {told} is judged by its packed bytes."
    ]


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


def test_installers_that_nobody_looked_into() -> None:
    def shell(path: str, text: str, *, flagged: bool = False) -> Result:
        verdict = make_verdict() if flagged else make_verdict("benign", 0.9, -3.0)
        return make_result(path, verdict, (("installer", text),))

    opens = "An installer: NSIS, which scan --carve looks into."
    one, two = shell("a.exe", opens), shell("c.exe", opens)
    closed = shell("b.exe", "An installer: Inno Setup.")
    alone = "1 installer that is not flagged is judged by its shell, and not by what it carries"
    several = (
        "installers that are not flagged are judged by their shells, and not by what they carry"
    )
    assert said(shell("a.exe", opens, flagged=True)) == []
    assert said(one) == [f"{alone} (--carve looks into it): a.exe"]
    assert said(closed) == [f"{alone}: b.exe"]
    assert said(one, two) == [f"2 {several} (--carve looks into them): a.exe, c.exe"]
    assert said(one, closed, two) == [
        f"3 {several} (--carve looks into 2 of them): a.exe, b.exe, c.exe"
    ]
    inside = make_result("a.exe!carved@0x200.nsis!b.exe", make_verdict("benign", 0.9, -3.0))
    more = shell(
        "d.exe", "An installer: cabinet, which scan --carve looks into where libarchive is."
    )
    assert said(more) == [f"{alone} (--carve with libarchive looks into it): d.exe"]
    (line,) = said(one, closed, more, two)
    assert line == (
        f"4 {several} (--carve with libarchive looks into 1 of them, --carve looks into 2 of them)"
        ": a.exe, b.exe, c.exe and 1 more"
    )
    assert said(one, inside, more) == [f"{alone} (--carve with libarchive looks into it): d.exe"]
    assert said(inside, one) == said(one, inside) == []  # in any order
    assert said(one, inside, two) == [f"{alone}: c.exe"]
