from __future__ import annotations

import re
from pathlib import Path

import pytest
from report.factories import make_failed, make_result, make_scan, make_skipped, make_summary
from report.screens import Item, written

from maltriage.errors import MaltriageError
from maltriage.report.documents.record import FileRecord, Result
from maltriage.report.saved.pick import pick
from maltriage.report.saved.report import look_through


def picked(folder: Path, items: list[Item], wanted: str | None) -> FileRecord:
    path = folder / "r.ndjson"
    path.write_bytes(written("ndjson", items))
    return pick(look_through(str(path)), wanted)


def test_a_file_is_named_by_path_hash_or_name(tmp_path: Path) -> None:
    scan = [*make_scan(), make_summary()]
    record = scan[5]
    assert isinstance(record, Result)
    names = (record.path, record.sha256, record.sha256[:6].upper(), "svch0st.exe")
    for wanted in names:
        assert picked(tmp_path, scan, wanted) == record
    assert picked(tmp_path, scan, "locked.exe") == make_failed()
    assert (
        picked(tmp_path, [make_result("C:\\a\\b.exe"), make_result()], "b.exe").path[-5:] == "b.exe"
    )


@pytest.mark.parametrize("name", ["a\\xff.exe", "CORP\\svc.exe"])
def test_a_name_may_hold_a_backslash(tmp_path: Path, name: str) -> None:
    items = [make_result(f"cases/{name}"), make_result()]
    assert picked(tmp_path, items, name).path == f"cases/{name}"
    with pytest.raises(MaltriageError, match=re.escape(f"no record of '{name}x' among 2")):
        picked(tmp_path, items, f"{name}x")


def test_of_copies_the_first_is_taken(tmp_path: Path) -> None:
    scan = make_scan()
    first, copy = scan[1], scan[3]
    assert isinstance(first, Result)
    assert isinstance(copy, Result)
    assert picked(tmp_path, scan, copy.sha256) == first
    assert picked(tmp_path, scan, copy.path) == copy


def test_a_path_goes_before_a_hash_and_a_name(tmp_path: Path) -> None:
    first = make_result("a/b.exe")
    named = make_result(first.sha256, sha256="12" * 32)
    assert picked(tmp_path, [first, named], first.sha256) == named
    plain = make_result("b.exe", sha256="34" * 32)
    assert picked(tmp_path, [first, plain], "b.exe") == plain


def test_what_several_files_could_be_is_refused(tmp_path: Path) -> None:
    several = [make_result(f"{n}/a.exe", sha256=f"abcdef{n}" + "0" * 57) for n in range(6)]
    with pytest.raises(MaltriageError, match=r"several files are 'a\.exe': abcdef000000 0/a.exe, "):
        picked(tmp_path, several, "a.exe")
    with pytest.raises(MaltriageError, match=r"several files are 'abcdef': .*, …$"):
        picked(tmp_path, several, "abcdef")
    assert picked(tmp_path, several, "abcdef3") == several[3]


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for wanted in ("gone.exe", "abcde", "", "12" * 32):
        with pytest.raises(MaltriageError, match=f"no record of '{wanted}' among 11"):
            picked(tmp_path, make_scan(), wanted)


def test_the_only_one_needs_no_name(tmp_path: Path) -> None:
    only = make_result()
    assert picked(tmp_path, [make_skipped(), only, make_skipped("b"), make_summary()], None) == only
    assert picked(tmp_path, [make_skipped()], None) == make_skipped()
    with pytest.raises(MaltriageError, match="records of 11 files; pick one with --record"):
        picked(tmp_path, make_scan(), None)
    with pytest.raises(MaltriageError, match="the report has no files"):
        picked(tmp_path, [make_summary()], None)
