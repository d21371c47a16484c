from __future__ import annotations

import pytest

from maltriage.report.documents.record import Failed, Skipped, encode
from maltriage.source.files import Found, Rejected
from maltriage.triage.engines.chunks import MAX_CRASHES, MAX_LOSSES, Chunk, complete_among, cut
from maltriage.triage.engines.done import KEPT, Done


def files(count: int, size: int = 10) -> list[Found | Rejected]:
    return [Found(f"{i}.exe", size) for i in range(count)]


def done(chunk: Chunk, upto: int | None = None) -> None:
    """What an engine would make of a chunk, or of its first files."""
    lines = []
    for file in chunk.files[:upto]:
        code = file.code if isinstance(file, Rejected) else "not-pe"
        lines.append(encode(Skipped(file.path, code, "a reason")) + b"\n")
    chunk.done = Done(b"".join(lines), [None] * len(lines), [])


def paths(chunk: Chunk) -> list[str]:
    return [given.record.path for given in chunk.records()]


def test_a_walk_is_cut_by_count_and_by_bytes() -> None:
    whole = files(10)
    chunks = list(cut(whole, files=4))
    assert [len(chunk.files) for chunk in chunks] == [4, 4, 2]
    assert [file for chunk in chunks for file in chunk.files] == whole
    assert [len(chunk.files) for chunk in cut(whole, size=25)] == [3, 3, 3, 1]
    assert list(cut([])) == []
    sizes = [len(chunk.files) for chunk in cut(whole[:1] * 600)]
    assert sizes[:26] == [8] * 8 + [16] * 8 + [32] * 8 + [64] * 2


def test_a_walk_is_cut_as_it_is_asked_for() -> None:
    taken = []

    def walk():
        for file in files(1000):
            taken.append(file)
            yield file

    chunks = cut(walk(), files=4)
    next(chunks)
    assert len(taken) == 4


def test_known_records_stand_where_their_files_were() -> None:
    known = {f"{i}.exe": Failed(f"{i}.exe", "known", "a reason") for i in (0, 2, 3)}
    (chunk,) = cut(known.get(file.path, file) for file in files(5))
    assert not chunk.complete
    assert [isinstance(file, Found) for file in chunk.files] == [False, True, False, False, True]
    assert not any(file.path for file in chunk.files if isinstance(file, Rejected))
    done(chunk)
    assert chunk.complete
    assert paths(chunk) == ["0.exe", "1.exe", "2.exe", "3.exe", "4.exe"]
    assert [given.new for given in chunk.records()] == [False, True, False, False, True]
    assert all(given.record.code != KEPT for given in chunk.records())  # type: ignore[union-attr]


def test_a_piece_that_is_all_known_is_complete_at_once() -> None:
    (chunk,) = cut(Failed(file.path, "known", "a reason") for file in files(3))
    assert chunk.all_kept
    assert chunk.complete
    assert paths(chunk) == ["0.exe", "1.exe", "2.exe"]


def test_a_piece_that_was_cut_short_has_the_records_before() -> None:
    (chunk,) = cut(files(4))
    done(chunk, 2)
    assert paths(chunk) == ["0.exe", "1.exe"]


def lost(chunks: list[Chunk], killer: str, *, crash: bool = True) -> int:
    """Do chunks as engines do that die of one file; how many died."""
    deaths, todo = 0, chunks
    while todo:
        chunk = todo.pop(0)
        if any(file.path == killer for file in chunk.files):
            deaths += 1
            todo += chunk.lose(crash=crash)
        else:
            done(chunk)
    return deaths


def test_only_the_file_that_kills_is_lost() -> None:
    known = {"1.exe": Failed("1.exe", "known", "a reason")}
    (chunk,) = cut(known.get(file.path, file) for file in files(8))
    assert lost([chunk], "5.exe") == 2 * MAX_CRASHES
    assert chunk.complete
    assert paths(chunk) == [f"{i}.exe" for i in range(8)]
    codes = [given.record.code for given in chunk.records()]  # type: ignore[union-attr]
    assert codes == ["not-pe", "known", "not-pe", "not-pe", "not-pe", "lost", "not-pe", "not-pe"]
    record = [given.record for given in chunk.records()][5]
    assert isinstance(record, Failed)
    assert f"died, {MAX_CRASHES} times" in record.reason


@pytest.mark.parametrize("losses", [1, MAX_LOSSES - 1])
def test_nodes_that_go_are_not_held_against_files(losses: int) -> None:
    (chunk,) = cut(files(3))
    for _ in range(losses):
        assert chunk.lose(crash=False) == [chunk]
    done(chunk)
    assert paths(chunk) == ["0.exe", "1.exe", "2.exe"]


def test_but_not_without_end() -> None:
    (chunk,) = cut(files(3))
    assert lost([chunk], "1.exe", crash=False) == 2 * MAX_LOSSES
    assert [type(given.record) for given in chunk.records()] == [Skipped, Failed, Skipped]


def test_of_a_scan_that_was_stopped_what_is_there_is_taken() -> None:
    first, second, third = cut(files(9), files=3)
    done(first)
    for _ in range(MAX_CRASHES):
        parts = third.lose(crash=True)
    done(parts[1])
    having = complete_among([first, second, third])
    assert [path for chunk in having for path in paths(chunk)] == [
        "0.exe", "1.exe", "2.exe", "7.exe",
    ]  # fmt: skip
