"""Scans by several engine processes: the records of one engine, in the same order."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from corpus.synthetic import zipped
from hostile.make import CASES, sample

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.report.documents.record import Failed, Record, Result, Skipped, Summary
from maltriage.results.policy import Policy, settings_of
from maltriage.results.store import Store
from maltriage.source.archive.limits import Archives
from maltriage.source.files import WalkOptions
from maltriage.source.stdin import Stdin
from maltriage.triage.engines import chunks, machine, processes, serving
from maltriage.triage.engines.machine import MachineScan, number_of_engines, options_of_each
from maltriage.triage.engines.processes import Pool
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.request import ScanRequest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="one engine there")
FILES = 40
OPTIONS = ScanOptions(
    jobs=3, batch_size=1, archives=Archives(), members="each", index=None, device="cpu"
)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs, what fails, what is skipped, and archives, one of which has a program twice."""
    root = tmp_path_factory.mktemp("in")
    names = ("console-x86.exe", "console-x64.exe", "gui-x86.exe", "dotnet.exe")
    for number in range(FILES):
        data = sample(names[number % len(names)]) + b"%d" % number
        if number % 10 == 9:
            (root / f"{number:02d}.png").write_bytes(CASES["png_cut"]())
        elif number % 10 == 8:
            (root / f"{number:02d}.txt").write_text("no program")
        elif number % 10 == 7:
            inside = {"a.exe": data, "b.exe": data, "c.txt": b"no program"}
            (root / f"{number:02d}.zip").write_bytes(zipped(inside, None))
        else:
            (root / f"{number:02d}.exe").write_bytes(data)
    return root


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_FILES", 4)


def scanned(
    folder: Path,
    bundle: Bundle,
    options: ScanOptions = OPTIONS,
    policy: Policy | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
    **changes: object,
) -> list[Record]:
    options = _changed(options, changes)
    request = ScanRequest((str(folder),), bundle, options, policy or Policy())
    return list(MachineScan(request).records(progress or Progress(), stop))


def _changed(options: ScanOptions, changes: dict[str, object]) -> ScanOptions:
    return replace(options, **changes)  # type: ignore[arg-type]


def untimed(records: list[Record]) -> list[Record]:
    """Records without what is measured."""
    found: list[Record] = []
    for record in records:
        if isinstance(record, Result):
            timing = msgspec.structs.replace(record.timing, prepare_ms=0.0, model_ms=0.0)
            found.append(msgspec.structs.replace(record, timing=timing))
        elif isinstance(record, Summary):
            found.append(msgspec.structs.replace(record, seconds=0.0))
        else:
            found.append(record)
    return found


@pytest.fixture(scope="module")
def plain(folder: Path, bundle: Bundle) -> list[Record]:
    """What one engine says, in this process."""
    return untimed(scanned(folder, bundle, engines=1))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes of the engines that were started."""
    found: list[int] = []
    before = Pool._started

    def started(pool: Pool, setup: serving.Setup) -> object:
        seat = before(pool, setup)
        found.append(seat.process.pid or 0)
        return seat

    monkeypatch.setattr(Pool, "_started", started)
    return found


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("engines", [2, 3])
def test_several_say_the_same(
    engines: int, folder: Path, bundle: Bundle, plain: list[Record], started: list[int]
) -> None:
    progress = Progress()
    found = scanned(folder, bundle, engines=engines, progress=progress)
    assert untimed(found) == plain
    assert {type(record) for record in plain} == {Result, Skipped, Failed, Summary}
    assert len(started) == engines
    assert all(map(gone, started))
    assert progress.done == FILES


@pytest.mark.usefixtures("_small_chunks")
def test_the_most_urgent_are_checked_at_the_end(folder: Path, bundle: Bundle) -> None:
    one = scanned(folder, bundle, engines=1, checks=2)
    several = scanned(folder, bundle, engines=2, checks=2)
    assert untimed(several) == untimed(one)
    checked = [bool(isinstance(r, Result) and r.evidence.checks) for r in several[:-1]]
    assert sum(checked) == 2
    assert checked[-2:] == [True, True]


@pytest.mark.usefixtures("_small_chunks")
def test_a_store_serves_any_number_of_engines(
    folder: Path, bundle: Bundle, plain: list[Record], tmp_path: Path, started: list[int]
) -> None:
    """What several keep one recalls, and the other way round."""
    for name, first, second in (("a", 2, 1), ("b", 1, 2)):
        with opened(tmp_path / name, bundle) as policy:
            fresh = scanned(folder, bundle, engines=first, policy=policy)
        assert untimed(fresh) == plain
        before = len(started)
        with opened(tmp_path / name, bundle) as policy:
            again = scanned(folder, bundle, engines=second, policy=policy)
        assert [bare(record) for record in again[:-1]] == [bare(record) for record in fresh[:-1]]
        stored = [r.timing.stored for r in again if isinstance(r, Result)]
        assert len(stored) == sum(stored) == 36  # programs in archives by their content
        assert len(started) - before <= second


def bare(record: Record) -> object:
    if isinstance(record, Result):
        return msgspec.structs.replace(record, timing=None)  # type: ignore[arg-type]
    return record


@contextmanager
def opened(at: Path, bundle: Bundle) -> Iterator[Policy]:
    """A store, for one scan."""
    store = Store.open(at, print)
    assert store is not None
    with store:
        policy = Policy(store, settings_of(bundle, OPTIONS, None), scan=b"scan")
        policy.begin()
        yield policy


@pytest.mark.usefixtures("_small_chunks")
def test_an_engine_that_is_killed_loses_nothing(
    folder: Path, bundle: Bundle, plain: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, killed = Pool._begin, list[int]()

    def begin(pool: Pool, seat: processes._Process, chunk: chunks.Chunk) -> object:
        number = before(pool, seat, chunk)
        if not killed:  # it has the chunk by now
            killed.append(seat.process.pid or 0)
            os.kill(killed[0], signal.SIGKILL)
        return number

    monkeypatch.setattr(Pool, "_begin", begin)
    assert untimed(scanned(folder, bundle, engines=2)) == plain
    assert gone(killed[0])


def _dies(files: Iterator[object]) -> None:
    if any("17.zip" in file.path for file in files):  # type: ignore[attr-defined]
        os._exit(9)


@pytest.mark.slow
@pytest.mark.usefixtures("_small_chunks")
def test_only_the_file_that_kills_engines_is_lost(
    folder: Path, bundle: Bundle, plain: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "serve", _hostile_serve)
    found = untimed(scanned(folder, bundle, engines=2))
    expected = [record for record in plain if "17.zip" not in getattr(record, "path", "")]
    lost = [record for record in found if isinstance(record, Failed) and record.code == "lost"]
    assert [Path(record.path).name for record in lost] == ["17.zip"]
    assert [r for r in found[:-1] if r not in lost] == expected[:-1]


def _hostile_serve(end: object, setup: serving.Setup) -> None:
    """As `serve`, but of one file, which ends the process."""
    plain = serving.done

    def done(engine: object, files: Iterator[object], *more: object) -> object:
        _dies(files)
        return plain(engine, files, *more)  # type: ignore[arg-type]

    serving.done = done  # type: ignore[assignment]
    serving._Serving(end, setup).run()  # type: ignore[arg-type]
    os._exit(0)


@pytest.mark.usefixtures("_small_chunks")
def test_what_engines_log_is_logged_here(
    folder: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="maltriage"):
        scanned(folder, bundle, engines=2)
    said = [record.getMessage() for record in caplog.records]
    assert sum(text.startswith("starting ") for text in said) == 2
    prepared = [text for text in said if ".exe: prepared in " in text]
    assert len(prepared) == 28 + 4  # of the programs in archives those that are new


@pytest.mark.usefixtures("_small_chunks")
def test_what_an_engine_cannot_open_ends_the_scan(folder: Path, bundle: Bundle) -> None:
    with pytest.raises(MaltriageError, match="knows no label 'none'"):
        scanned(folder, bundle, engines=2, label="none")


@pytest.mark.usefixtures("_small_chunks")
def test_a_stopped_scan_has_what_is_done(
    folder: Path, bundle: Bundle, plain: list[Record], started: list[int]
) -> None:
    progress = Progress()
    found = scanned(
        folder, bundle, engines=2, progress=progress, stop=lambda: progress.records >= 4
    )
    *records, summary = untimed(found)
    assert isinstance(summary, Summary)
    assert summary.interrupted
    assert 4 <= len(records) < len(plain)
    there = iter(plain)
    assert all(record in there for record in records), "in the order of the walk"
    assert progress.found == FILES
    assert all(map(gone, started))


def test_few_files_start_no_further_process(
    folder: Path, bundle: Bundle, plain: list[Record], started: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(machine, "cores", lambda: 64)
    assert number_of_engines(OPTIONS) == 1
    assert number_of_engines(_changed(OPTIONS, {"jobs": 0})) == 32
    monkeypatch.setattr(machine, "number_of_engines", lambda options: 2)
    assert untimed(scanned(folder, bundle)) == plain
    assert started == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1),
        ({"jobs": 3}, 1),
        ({"jobs": 4}, 2),
        ({"jobs": 9}, 5),
        ({"jobs": 64}, 32),
        ({"engines": 5, "jobs": 64}, 5),
        ({"engines": 5, "jobs": 2}, 2),
        ({"engines": 5, "jobs": 64, "device": "cuda"}, 1),
        ({"engines": 5, "jobs": 64, "close": True}, 1),
    ],
)
def test_how_many_engines(
    changes: dict[str, object], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 2)
    options = _changed(ScanOptions(device="cpu"), changes)
    assert number_of_engines(options) == expected


def test_a_gpu_has_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maltriage.triage.session.cuda_answers", lambda _: True)
    assert number_of_engines(ScanOptions(jobs=64)) == 1


def test_standard_input_has_one_engine() -> None:
    walk = WalkOptions(stdin=Stdin("name", 0))
    assert number_of_engines(ScanOptions(jobs=64, device="cpu", walk=walk)) == 1


@pytest.mark.parametrize(
    ("changes", "jobs", "threads"),
    [
        ({"jobs": 64}, [4] * 16, [1] * 16),
        ({"jobs": 10, "engines": 3}, [4, 3, 3], [1, 1, 1]),
        ({"jobs": 10, "engines": 2, "threads": 6}, [5, 5], [3, 3]),
        ({"jobs": 8, "engines": 2, "checks": 0}, [4, 4], [4, 4]),
    ],
)
def test_engines_share_workers_and_threads(
    changes: dict[str, object], jobs: list[int], threads: list[int]
) -> None:
    found = options_of_each(_changed(ScanOptions(device="cpu"), changes), len(jobs))
    assert [options.jobs for options in found] == jobs
    assert [options.threads for options in found] == threads
