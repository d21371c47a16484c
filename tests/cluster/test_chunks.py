from __future__ import annotations

import zlib

import pytest

from maltriage.cluster.actor import KEPT, Done
from maltriage.cluster.chunks import MAX_CRASHES, MAX_LOSSES, Piece, complete_among, cut
from maltriage.report.documents.record import Failed, Skipped, encode
from maltriage.source.files import Found, Rejected


def files(count: int, size: int = 10) -> list[Found | Rejected]:
    return [Found(f"{i}.exe", size) for i in range(count)]


def done(piece: Piece, upto: int | None = None) -> None:
    """What an actor would make of a piece, or of its first files."""
    lines = []
    for file in piece.files[:upto]:
        code = file.code if isinstance(file, Rejected) else "not-pe"
        lines.append(encode(Skipped(file.path, code, "a reason")) + b"\n")
    piece.done = Done(zlib.compress(b"".join(lines)), [None] * len(lines), [])


def paths(piece: Piece) -> list[str]:
    return [record.path for record, _, _ in piece.records()]


def test_a_walk_is_cut_by_count_and_by_bytes() -> None:
    whole = files(10)
    pieces = list(cut(whole, lambda file: None, files=4))
    assert [len(piece.files) for piece in pieces] == [4, 4, 2]
    assert [file for piece in pieces for file in piece.files] == whole
    assert [len(piece.files) for piece in cut(whole, lambda file: None, size=25)] == [3, 3, 3, 1]
    assert list(cut([], lambda file: None)) == []


def test_a_walk_is_cut_as_it_is_asked_for() -> None:
    taken = []

    def walk():
        for file in files(1000):
            taken.append(file)
            yield file

    pieces = cut(walk(), lambda file: None, files=4)
    next(pieces)
    assert len(taken) == 4


def test_known_records_stand_where_their_files_were() -> None:
    known = {f"{i}.exe": Failed(f"{i}.exe", "known", "a reason") for i in (0, 2, 3)}
    (piece,) = cut(files(5), lambda file: known.get(file.path))
    assert not piece.complete
    assert [isinstance(file, Found) for file in piece.files] == [False, True, False, False, True]
    assert not any(file.path for file in piece.files if isinstance(file, Rejected))
    done(piece)
    assert piece.complete
    assert paths(piece) == ["0.exe", "1.exe", "2.exe", "3.exe", "4.exe"]
    assert [new for _, _, new in piece.records()] == [False, True, False, False, True]
    assert all(record.code != KEPT for record, _, _ in piece.records())  # type: ignore[union-attr]


def test_a_piece_that_is_all_known_is_complete_at_once() -> None:
    (piece,) = cut(files(3), lambda file: Failed(file.path, "known", "a reason"))
    assert piece.all_kept
    assert piece.complete
    assert paths(piece) == ["0.exe", "1.exe", "2.exe"]


def test_a_piece_that_was_cut_short_has_the_records_before() -> None:
    (piece,) = cut(files(4), lambda file: None)
    done(piece, 2)
    assert paths(piece) == ["0.exe", "1.exe"]


def lost(pieces: list[Piece], killer: str, *, crash: bool = True) -> int:
    """Do pieces as actors do that die of one file; how many died."""
    deaths, todo = 0, pieces
    while todo:
        piece = todo.pop(0)
        if any(file.path == killer for file in piece.files):
            deaths += 1
            todo += piece.lose(crash=crash)
        else:
            done(piece)
    return deaths


def test_only_the_file_that_kills_is_lost() -> None:
    known = {"1.exe": Failed("1.exe", "known", "a reason")}
    (piece,) = cut(files(8), lambda file: known.get(file.path))
    assert lost([piece], "5.exe") == 2 * MAX_CRASHES
    assert piece.complete
    assert paths(piece) == [f"{i}.exe" for i in range(8)]
    codes = [record.code for record, _, _ in piece.records()]  # type: ignore[union-attr]
    assert codes == ["not-pe", "known", "not-pe", "not-pe", "not-pe", "lost", "not-pe", "not-pe"]
    record = [record for record, _, _ in piece.records()][5]
    assert isinstance(record, Failed)
    assert f"died, {MAX_CRASHES} times" in record.reason


@pytest.mark.parametrize("losses", [1, MAX_LOSSES - 1])
def test_nodes_that_go_are_not_held_against_files(losses: int) -> None:
    (piece,) = cut(files(3), lambda file: None)
    for _ in range(losses):
        assert piece.lose(crash=False) == [piece]
    done(piece)
    assert paths(piece) == ["0.exe", "1.exe", "2.exe"]


def test_but_not_without_end() -> None:
    (piece,) = cut(files(3), lambda file: None)
    assert lost([piece], "1.exe", crash=False) == 2 * MAX_LOSSES
    assert [type(record) for record, _, _ in piece.records()] == [Skipped, Failed, Skipped]


def test_of_a_scan_that_was_stopped_what_is_there_is_taken() -> None:
    first, second, third = cut(files(9), lambda file: None, files=3)
    done(first)
    for _ in range(MAX_CRASHES):
        parts = third.lose(crash=True)
    done(parts[1])
    having = complete_among([first, second, third])
    assert [path for piece in having for path in paths(piece)] == [
        "0.exe", "1.exe", "2.exe", "7.exe",
    ]  # fmt: skip
