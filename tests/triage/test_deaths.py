"""Files that take their worker along, in many ways: one record each, and no other is lost."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus.synthetic import zipped
from hostile.make import sample

from maltriage import bundle as bundles
from maltriage.probe import members
from maltriage.probe.members import prepare_members
from maltriage.probe.prepare import prepare_file
from maltriage.report.documents.record import Failed, Result, Summary
from maltriage.source.archive.limits import Archives
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.work import dispatcher
from maltriage.work.workers import Workers, reason_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
TIMEOUT = 4.0
WAIT = 60.0


def _segv(path: str) -> None:
    ctypes.string_at(0)


def _abort(path: str) -> None:
    os.abort()


def _memory(path: str) -> None:
    raise AssertionError(len(bytearray(8 << 30)))


def _spin(path: str) -> None:
    ctypes.PyDLL(None).sleep(600)  # nothing that a signal handler in Python could end


def _leave(path: str) -> None:
    os._exit(3)


def _leave_well(path: str) -> None:
    os._exit(0)


def _exit(path: str) -> None:
    raise SystemExit(0)


def _write(path: str) -> None:
    Path(path).write_bytes(b"")


def _connect(path: str) -> None:
    socket.create_connection(("127.0.0.1", 9))


def _run(path: str) -> None:
    os.execv("/bin/true", ["true"])


WAYS: dict[str, tuple[Callable[[str], None], str, str]] = {
    "segv": (_segv, "crash", "died (SIGSEGV)"),
    "abort": (_abort, "crash", "died (SIGABRT)"),
    "memory": (_memory, "memory", "not enough memory"),
    "spin": (_spin, "timeout", "not read within 4 s"),
    "leave": (_leave, "crash", "died (exit code 3)"),
    "leave-well": (_leave_well, "crash", "died (exit code 0)"),
    "exit": (_exit, "internal", "SystemExit"),
    "write": (_write, "internal", "Operation not permitted"),
    "connect": (_connect, "internal", "Operation not permitted"),
    "run": (_run, "internal", "Operation not permitted"),
}


def _hostile(path: str, *arguments: Any) -> Any:
    """As `prepare_file`, but of the files of `WAYS`, which do what their names say."""
    way = WAYS.get(Path(path).stem)
    if way is not None:
        way[0](path)
    return prepare_file(path, *arguments)


def test_each_death_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "prepare_file", _hostile)
    names = [name for way in WAYS for name in (way, f"{way}-next")]
    for name in names:
        (tmp_path / f"{name}.exe").write_bytes(sample("console-x86.exe"))
    bundle = bundles.load(bundles.resolve(None))
    options = ScanOptions(jobs=2, timeout=TIMEOUT)
    *records, summary = scan([str(tmp_path)], bundle, options)
    assert isinstance(summary, Summary)
    found = {Path(record.path).stem: record for record in records}  # type: ignore[union-attr]
    assert [Path(record.path).stem for record in records] == sorted(  # type: ignore[union-attr]
        names, key=lambda name: f"{name}.exe"
    )
    for way, (_, code, reason) in WAYS.items():
        record = found[way]
        assert isinstance(record, Failed), way
        assert (record.code, way) == (code, way)
        # 255 is what multiprocessing has where its fork server was too busy to say the code.
        lost = reason.startswith("died (exit code") and "(exit code 255)" in record.reason
        assert lost or reason in record.reason
        assert isinstance(found[f"{way}-next"], Result), found[f"{way}-next"]
    assert (tmp_path / "write.exe").stat().st_size > 0
    assert (summary.files, summary.failed) == (len(WAYS), len(WAYS))


def _read_mapped(path: str) -> None:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            data[-1]


def test_a_file_that_is_cut_off_under_its_mapping(tmp_path: Path) -> None:
    """Samples are read and not mapped; a list of known files is, and may be cut off meanwhile."""
    path = tmp_path / "mapped"
    path.write_bytes(bytes(3 * mmap.PAGESIZE))
    with Workers(1, WAIT) as workers:
        task = workers.submit(_read_mapped, str(path))
        while not task.running():
            time.sleep(0.01)
        time.sleep(0.3)
        os.truncate(path, 10)
        error = task.exception(timeout=WAIT)
        assert error is not None
        found = reason_of(error, WAIT)
        assert (found.code, found.failed) == ("crash", True)
        assert "SIGBUS" in found.reason
        assert workers.submit(os.getpid).result(timeout=WAIT) > 0


def _members_with_tables(path: str, options: Any, *more: Any) -> Any:
    original = members._prepared

    def prepared(member: Any, options: Any, finish: Any) -> Any:
        way = WAYS.get(Path(member.path.rpartition("!")[2]).stem)
        if way is not None and options.bare is None:
            way[0](member.path)
        return original(member, options, finish)

    members._prepared = prepared
    try:
        return prepare_members(path, options, *more)
    finally:
        members._prepared = original


def test_tables_that_cost_a_worker_do_not_cost_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file, and of a file in an archive."""
    monkeypatch.setattr(dispatcher, "prepare_members", _both)
    ways = ("segv", "memory", "spin")
    (tmp_path / "plain.exe").write_bytes(sample("console-x86.exe"))
    for way in ways:
        (tmp_path / f"{way}.exe").write_bytes(sample("console-x86.exe"))
    # Other bytes for each: what became of one is what becomes of its copies.
    inside = {f"{w}.exe": sample("console-x86.exe") + w.encode() for w in (*ways, "plain")}
    (tmp_path / "z.zip").write_bytes(zipped(inside, None))
    bundle = bundles.load(bundles.resolve(None))
    options = ScanOptions(jobs=2, timeout=TIMEOUT, archives=Archives(), members="each")
    *records, summary = scan([str(tmp_path)], bundle, options)
    assert isinstance(summary, Summary)
    assert (summary.files, summary.failed) == (2 * len(ways) + 2, 0)
    found = {Path(record.path).name: record for record in records}  # type: ignore[union-attr]
    plain = found["plain.exe"]
    assert isinstance(plain, Result)
    for way in ways:
        for name in (f"{way}.exe", f"z.zip!{way}.exe"):
            record = found[name]
            assert isinstance(record, Result), record
            assert record.verdict.label == plain.verdict.label
            sections = [region for region in record.layout.regions if region.kind == "section"]
            assert sections == [r for r in plain.layout.regions if r.kind == "section"]
            assert plain.layout.anchors.items() <= record.layout.anchors.items()
            (notice,) = (n for n in record.notices if n.code == "headers-only")
            assert f"({WAYS[way][1]})" in notice.text


def _both(path: str, options: Any, *more: Any) -> Any:
    if path.endswith(".zip"):
        return _members_with_tables(path, options, *more)
    way = WAYS.get(Path(path).stem)
    if way is not None and options.bare is None:
        way[0](path)
    return prepare_members(path, options, *more)
