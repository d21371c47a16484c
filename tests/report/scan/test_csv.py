from __future__ import annotations

import csv
import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.factories import (
    make_checked,
    make_failed,
    make_result,
    make_scan,
    make_similar,
    make_skipped,
    make_summary,
    make_verdict,
)
from report.screens import hidden, written

from maltriage.report.scan.csv import cell
from maltriage.report.scan.row import COLUMNS


def read(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_one_row_per_file() -> None:
    rows = read(written("csv", [*make_scan(), make_summary()]))
    assert [row["status"] for row in rows].count("result") == 8
    assert [row["status"] for row in rows].count("skipped") == 2
    assert [row["status"] for row in rows].count("error") == 1
    assert all(None not in row and None not in row.values() for row in rows)


def test_a_result_row() -> None:
    notices = (("packed?", "x"), ("truncated", "x"), (".net", "x"), (".net", "again"))
    verdict = make_verdict("suspicious", 0.412, 1.65, closest="bifrose")
    (row,) = read(written("csv", [make_result('a/b,"c".exe', verdict, notices)]))
    assert tuple(row) == tuple(COLUMNS)
    assert row["path"] == 'a/b,"c".exe'
    assert (row["label"], row["closest"], row["flagged"]) == ("suspicious", "bifrose", "true")
    assert (row["probability"], row["margin"]) == ("0.412", "1.65")
    assert (row["top_region"], row["entropy"]) == (".text", "7.91")
    assert float(row["top_share"]) == pytest.approx(0.463, abs=1e-3)
    assert (row["packed"], row["notices"]) == ("true", "truncated .net")
    assert row["error"] == ""


def test_what_a_file_resembles() -> None:
    known = make_similar(0.0312, 0.5, known_as="=cmd()")
    results = [make_result(), make_result(similar=known), make_result(similar=make_similar())]
    names = ("nearest_label", "nearest_distance", "known_as")
    assert [[row[name] for name in names] for row in read(written("csv", results))] == [
        ["", "", ""],
        ["icedid", "0.0312", "'=cmd()"],
        ["", "", ""],
    ]


@pytest.mark.parametrize(
    ("members", "shown"), [(None, ""), ([], "(empty)"), (["icedid", "maze"], "icedid; maze")]
)
def test_a_prediction_set(members: list[str] | None, shown: str) -> None:
    verdict = make_verdict(set=members, coverage=None if members is None else 0.9)
    (row,) = read(written("csv", [make_result(verdict=verdict)]))
    assert (row["set"], row["novelty"]) == (shown, "")
    known = msgspec.structs.replace(verdict, novelty=-1.5, novelty_limit=2.0)
    (row,) = read(written("csv", [make_result(verdict=known)]))
    assert row["novelty"] == "-1.5"


def test_hashes_that_were_computed() -> None:
    """md5, sha1 and TLSH with --hashes; the hash of the imports always, where there are any."""
    plain = make_result()
    hashes = {"md5": "0a" * 16, "sha1": "1b" * 20, "tlsh": "T1" + "2C" * 35, "imphash": "3d" * 16}
    more = msgspec.structs.replace(plain.identity, **hashes)
    none = msgspec.structs.replace(plain.identity, **dict.fromkeys(hashes))
    results = [msgspec.structs.replace(plain, identity=each) for each in (more, none)]
    full, empty = read(written("csv", results))
    assert {name: full[name] for name in hashes} == hashes
    assert {empty[name] for name in hashes} == {""}


def test_a_problem_row() -> None:
    failed, skipped = read(written("csv", [make_failed(), make_skipped()]))
    assert failed["error"] == "unreadable: permission denied"
    assert failed["sha256"] == failed["label"] == ""
    assert skipped["status"] == "skipped"


def test_no_flag_and_no_margin_are_empty() -> None:
    (row,) = read(written("csv", [make_result(verdict=make_verdict(margin=None, threshold=None))]))
    assert row["flagged"] == row["margin"] == ""


def test_uncalibrated_probabilities_are_marked() -> None:
    verdicts = make_verdict(), make_verdict(calibrated=False)
    rows = read(written("csv", [make_result(verdict=verdict) for verdict in verdicts]))
    assert [row["calibrated"] for row in rows] == ["true", "false"]


def test_an_empty_scan_has_a_header() -> None:
    assert written("csv", [make_summary(files=0)]).decode() == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+1", "'+1+1"),
        ("-1+1", "'-1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\x09=1"),
        ("\r=1", "'\\x0d=1"),
        ("  =1", "'  =1"),
        ("＝1+1", "'＝1+1"),
        ("-12.5", "-12.5"),
        ("+3", "+3"),
        ("-1e5", "-1e5"),
        ("-", "'-"),
        ("plain.exe", "plain.exe"),
        ("a=b", "a=b"),
        ("\x1b[31m\u202e", "\\x1b[31m\\u202e"),
        (-1.25, "-1.25"),
        (7, "7"),
        (True, "true"),
        (None, ""),
    ],
)
def test_cells(value: str | float | None, shown: str) -> None:
    assert cell(value) == shown


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_no_string_of_a_sample_starts_a_formula_or_a_row(text: str) -> None:
    notices = ((text, text),)
    data = written("csv", [make_result(text, notices=notices), make_failed(text, reason=text)])
    assert not hidden(data.decode())
    rows = read(data)
    assert len(rows) == 2
    for value in (value for row in rows for value in row.values()):
        start = value.lstrip(" ")[:1]
        assert start not in set("=+-@＝＋－＠\t\r") or float(value) is not None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a;=cmd|x", "a;'=cmd|x"),
        ("a; @SUM(A1);+1;b", "a;' @SUM(A1);'+1;b"),
        ("a; b", "a; b"),
    ],
)
def test_what_follows_a_semicolon_is_no_formula_either(text: str, shown: str) -> None:
    assert cell(text) == shown


def test_how_the_evidence_stood_its_test() -> None:
    checked, plain = read(written("csv", [make_checked(), make_result("b.exe"), make_summary()]))
    assert (checked["supported"], checked["claims"]) == ("5", "7")
    assert checked["rank_correlation"] == "0.714"
    assert (plain["supported"], plain["claims"], plain["rank_correlation"]) == ("", "", "")
