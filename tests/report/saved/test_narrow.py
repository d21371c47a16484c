"""Records of a saved report by what became of the file, by kind, and by path."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.factories import (
    make_failed,
    make_result,
    make_scan,
    make_similar,
    make_skipped,
    make_verdict,
)

from maltriage.errors import MaltriageError
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import FileRecord
from maltriage.report.saved.narrow import KINDS, OUTCOMES, Narrow

CLEAN = make_verdict("benign", 0.99, -7.0)
RECORDS: dict[str, FileRecord] = {
    "flagged": make_result("a"),
    "known-malware": make_result("b", CLEAN, similar=make_similar(known_as="maze")),
    "unknown": make_result("c", make_verdict("unknown", 0.6, 0.4)),
    "clean": make_result("d", CLEAN),
    "not-judged": make_result("e", make_verdict("unknown", 0.9, 8.0, None)),
    "failed": make_failed("f"),
    "skipped": make_skipped("g"),
    "known-good": make_skipped("h", code="known-good"),
}


def taken(records: list[FileRecord], *only: str, **globs: Any) -> list[str]:
    narrow = Narrow.of(only, globs.get("include", ()), globs.get("exclude", ()))
    return [record.path for record in records if narrow.takes(record)]


def test_each_record_has_one_outcome() -> None:
    assert tuple(RECORDS) == OUTCOMES
    for name, record in RECORDS.items():
        assert taken(list(RECORDS.values()), name) == [record.path]
    assert taken(list(RECORDS.values()), "unknown, Flagged", "failed") == ["a", "c", "f"]
    assert taken(list(RECORDS.values())) == list("abcdefgh")
    assert not Narrow.of((), (), ())
    for asked in ((["clean"], (), ()), ((), ["a"], ()), ((), (), ["a"]), ([".net"], (), ())):
        assert Narrow.of(*asked)


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcomes_are_those_that_a_summary_counts(name: str) -> None:
    counts, field = Counts(), {"not-judged": "unjudged", "known-good": "known"}.get(name, name)
    counts.add(RECORDS[name])
    assert getattr(counts, field.replace("-", "_")) == 1


def test_kinds_are_of_results_and_go_with_outcomes() -> None:
    def of(path: str, bits: int, dotnet: bool = False) -> FileRecord:
        record = make_result(path, CLEAN)
        layout = msgspec.structs.replace(record.layout, bits=bits, dotnet=dotnet)
        return msgspec.structs.replace(record, layout=layout)

    records = [of("x", 32), of("y", 64), of("z", 32, dotnet=True), make_failed("f")]
    assert taken(records, "32-bit") == ["x", "z"]
    assert taken(records, "64-bit,.net") == ["y", "z"]
    assert taken(records, ".net", "clean") == ["z"]
    assert taken(records, ".net", "flagged") == []


def test_names_and_paths() -> None:
    paths = ["case/pc01/a.exe", "case/pc03/a.dll", "case/pc03/in.zip!x/b.exe", "c:\\t\\b.exe"]
    records = [make_skipped(path) for path in paths]
    assert taken(records, include=["*.exe"]) == [paths[0], *paths[2:]]
    assert taken(records, include=["*pc03*"]) == []  # names alone
    assert taken(records, include=["*/pc03/*"]) == paths[1:3]
    assert taken(records, exclude=["pc03"]) == [paths[0], paths[3]]
    assert taken(records, exclude=["*/pc01"], include=["a.*"]) == [paths[1]]
    assert taken(records, exclude=["case/pc03"]) == [paths[0], paths[3]]


def test_a_word_that_is_none_is_refused() -> None:
    with pytest.raises(MaltriageError, match=r"--only flaged: no such thing; there are flagged,"):
        Narrow.of(["unknown,flaged"], (), ())


@given(st.lists(st.sampled_from([*OUTCOMES, *KINDS]), min_size=1))
def test_nothing_is_taken_that_everything_leaves_out(words: list[str]) -> None:
    records = [record for record in make_scan() if hasattr(record, "path")]
    found = taken(records, *words)
    assert [path for path in taken(records) if path in set(found)] == found
