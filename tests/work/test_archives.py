"""Archives through the dispatcher: order, chunks, and members that take their worker along."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from corpus.synthetic import program, zipped
from hostile.make import sample
from kill import KILL, KILLED

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.probe import members
from maltriage.probe.members import prepare_members
from maltriage.report.documents.record import Failed, Result, Skipped, Summary
from maltriage.source.archive.limits import Archives
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.triage.prepare import prepare_paths
from maltriage.work import dispatcher
from maltriage.work.workers import Workers


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


def test_members_come_in_order_whatever_the_chunks(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "FIRST_SAMPLES", 2)
    monkeypatch.setattr(dispatcher, "NEXT_SAMPLES", 3)
    many = {f"{i}.exe": program(0, i, size=2000) for i in range(9)}
    (tmp_path / "a.zip").write_bytes(zipped({**many, "t": b""}, None))
    (tmp_path / "b.exe").write_bytes(sample("console-x86.exe"))
    (tmp_path / "c.zip").write_bytes(zipped(many, None))
    options = ScanOptions(jobs=2, archives=Archives(), members="each")
    *records, summary = scan([str(tmp_path)], bundle, options)
    names = [os.path.basename(record.path) for record in records]  # type: ignore[union-attr]
    first, last = ([f"{name}.zip!{i}.exe" for i in range(9)] for name in "ac")
    assert names == [*first, "a.zip", "b.exe", *last]
    assert isinstance(summary, Summary)
    assert (summary.files, summary.skipped, summary.failed) == (19, 1, 0)


def _with(prepared: Callable[..., Any], *arguments: Any) -> Any:
    """`prepare_members` with another function for each member."""
    original = members._prepared
    members._prepared = partial(prepared, original)
    try:
        return prepare_members(*arguments)
    finally:
        members._prepared = original


def _hostile(*arguments: Any) -> Any:
    """As `prepare_members`, but 3.exe of an archive takes its worker along, and 5.exe hangs."""

    def prepared(original: Any, member: Any, *more: Any) -> Any:
        if member.path.endswith("3.exe"):
            os.kill(os.getpid(), KILL)
        if member.path.endswith("5.exe"):
            time.sleep(60)
        return original(member, *more)

    return _with(prepared, *arguments)


def test_a_member_that_takes_its_worker_along_fails_alone(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "prepare_members", _hostile)
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({f"{i}.exe": program(0, i, size=2000) for i in range(8)}, None))
    options = ScanOptions(jobs=1, timeout=8, archives=Archives(), members="each")
    with Workers(1, 8) as workers:
        items = prepare_paths([str(path)], workers, bundle, options, Progress())
        found = [item for item in items if item is not None]
    names = [os.path.basename(item.path) for item in found]
    assert names == ["a.zip!0.exe", "a.zip!1.exe", "a.zip!2.exe", "a.zip", "a.zip!4.exe", "a.zip",
                     "a.zip!6.exe", "a.zip!7.exe"]  # fmt: skip
    lost = [(item.code, item.reason) for item in found if isinstance(item, Failed)]
    assert [code for code, _ in lost] == ["crash", "timeout"]
    assert lost[0][1].endswith(f"died ({KILLED}), at file 4 of an archive")
    assert lost[1][1].endswith("at file 6 of an archive")


def test_an_archive_that_is_lost_over_and_over_is_given_up(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "prepare_members", _deadly)
    (tmp_path / "a.zip").write_bytes(zipped({str(i): b"MZ" for i in range(50)}, None))
    (tmp_path / "b.exe").write_bytes(sample("console-x86.exe"))
    options = ScanOptions(jobs=1, archives=Archives(), members="each")
    with Workers(1, 60) as workers:
        found = [
            item
            for item in prepare_paths([str(tmp_path)], workers, bundle, options, Progress())
            if item is not None
        ]
    assert [item.code for item in found if isinstance(item, Failed)] == ["crash"] * 3
    assert [os.path.basename(item.path) for item in found] == ["a.zip", "a.zip", "b.exe"]
    assert isinstance(found[2], Failed)  # which dies here as well


def _slow(*arguments: Any) -> Any:
    """As `prepare_members`, but each program in an archive takes a while."""

    def prepared(original: Any, *more: Any) -> Any:
        time.sleep(0.4)
        return original(*more)

    return _with(prepared, *arguments)


def test_an_archive_has_a_time_for_all_that_is_in_it(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk is in time, and all together are not: one record says how far it came."""
    monkeypatch.setattr(dispatcher, "prepare_members", _slow)
    (tmp_path / "a.zip").write_bytes(
        zipped({f"{i}.exe": program(0, i, size=2000) for i in range(60)}, None)
    )
    (tmp_path / "b.exe").write_bytes(sample("console-x86.exe"))
    options = ScanOptions(jobs=1, timeout=4, archives=Archives(seconds=3), members="each")
    *records, summary = scan([str(tmp_path)], bundle, options)
    *inside, end, after = records
    assert isinstance(end, Skipped)
    assert end.code == "archive-time"
    assert end.path.endswith("a.zip")
    assert 3 <= len(inside) <= 12
    assert f"files after the first {len(inside)} in it are left out" in end.reason
    assert isinstance(after, Result)
    assert isinstance(summary, Summary)
    assert summary.skipped == 1


def test_explain_takes_the_program_that_was_found_in_time(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another cap was hit before a second one was seen."""
    monkeypatch.setattr(dispatcher, "prepare_members", _slow)
    path = tmp_path / "a.zip"
    names = {f"{i}.exe": program(0, i, size=2000) for i in range(3)}
    path.write_bytes(zipped(names, None))
    options = ScanOptions(jobs=1, timeout=1, archives=Archives(seconds=0.1), members="first")
    record, _ = scan([str(path)], bundle, options)
    assert isinstance(record, Result)
    assert record.path.endswith("a.zip!0.exe")


def _deadly(*arguments: Any) -> Any:
    os.kill(os.getpid(), KILL)


def test_explain_takes_the_one_program_or_names_them(tmp_path: Path, bundle: Bundle) -> None:
    one = zipped({"a.txt": b"x", "x.exe": sample("console-x86.exe"), "b.txt": b"y"})
    two = zipped({"x.exe": sample("console-x86.exe"), "y.exe": sample("gui-x86.exe")})
    (tmp_path / "one.zip").write_bytes(one)
    (tmp_path / "two.zip").write_bytes(two)
    (tmp_path / "none.zip").write_bytes(zipped({"a": b"x", "b": b"y"}))
    options = ScanOptions(jobs=1, archives=Archives(), members="first")
    paths = [str(tmp_path / f"{name}.zip") for name in ("one", "two", "none")]
    first, second, third, _ = scan([*paths], bundle, options)
    assert isinstance(first, Result)
    assert first.path == f"{paths[0]}!x.exe"
    assert isinstance(second, Skipped)
    assert second.code == "archive"
    assert second.reason.endswith(f"name one of {paths[1]}!x.exe, {paths[1]}!y.exe")
    assert isinstance(third, Skipped)
    assert third.code == "not-pe"


def test_a_dataset_takes_an_archive_for_its_only_file(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({"x.exe": sample("console-x86.exe")}))
    options = ScanOptions(jobs=1, archives=Archives())
    record, _ = scan([str(tmp_path / "x.zip")], bundle, options)
    assert isinstance(record, Result)
    assert record.path == str(tmp_path / "x.zip")
