"""What a scan takes from the store and what it leaves there."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import zlib
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import pytest
from corpus.synthetic import zipped
from hostile.make import CASES, byteplot, sample
from report.factories import make_result

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.probe.lookup import Lookup
from maltriage.probe.prepare import Same, prepare
from maltriage.report.documents.record import Failed, Record, Result, Skipped
from maltriage.results import policy as policies
from maltriage.results.policy import Collected, Policy, Seen, scan_id, settings_of
from maltriage.results.store import Store
from maltriage.sample.errors import SampleError
from maltriage.sample.types import Notice
from maltriage.source.archive.limits import Archives
from maltriage.source.files import Found, WalkOptions, walk
from maltriage.triage import pipeline
from maltriage.triage.options import ScanOptions
from maltriage.triage.prepare import MAX_IN_FLIGHT
from maltriage.triage.session import Session
from maltriage.work.dispatcher import Dispatcher, Task
from maltriage.work.workers import Workers

OPTIONS = ScanOptions(jobs=1, threads=1)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Samples, a byteplot of one of them, skips and failures. All of them count as settled."""
    monkeypatch.setattr(policies, "SETTLED_NS", -1)
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.exe").write_bytes(sample("console-x86.exe"))
    (root / "a.png").write_bytes(byteplot(sample("console-x86.exe")))
    (root / "b.txt").write_text("no program")
    (root / "c.exe").write_bytes(b"")
    (root / "d.png").write_bytes(CASES["png_cut"]())
    (root / "e.exe").write_bytes(sample("console-x64.exe"))
    return root


class Scans:
    """Scans with one store, and which files they read."""

    def __init__(self, folder: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.bundle = folder, bundle
        self.store = Store.open(folder.parent / "results", pytest.fail)
        self.sessions = 0
        self.read: list[str] = []
        self.deadly = False
        """Whether workers die of every file."""

        class Counted(Session):
            def __init__(this, *arguments: object) -> None:  # noqa: N805
                self.sessions += 1
                super().__init__(*arguments)  # type: ignore[arg-type]

        add = Dispatcher.add

        def counted(files: Dispatcher, path: str, size: int) -> Task:
            self.read.append(os.path.basename(path))
            if self.deadly:
                died = SampleError("crash", "the process died", failed=True)
                return Task(path, len, (), outcome=died)
            return add(files, path, size)

        monkeypatch.setattr(Dispatcher, "add", counted)
        monkeypatch.setattr(pipeline, "Session", Counted)

    def __call__(
        self, options: ScanOptions = OPTIONS, *, refresh: bool = False, resume: bool = False
    ) -> dict[str, Record]:
        """Records by name, without the summary. Starts counting anew."""
        self.read, self.sessions = [], 0
        cache = self.cache(options, refresh=refresh, resume=resume)
        *records, _ = pipeline.scan([str(self.folder)], self.bundle, options, policy=cache)
        return {os.path.basename(record.path): record for record in records}  # type: ignore[union-attr]

    def cache(self, options: ScanOptions = OPTIONS, **how: bool) -> Policy:
        settings = settings_of(self.bundle, options, None)
        scan = scan_id(settings, [str(self.folder)], options)
        cache = Policy(self.store, settings, scan=scan, **how)
        cache.begin()
        return cache

    def stopped(self, after: int, options: ScanOptions = OPTIONS, **how: bool) -> None:
        """A scan whose reader goes away after so many records."""
        cache = self.cache(options, **how)
        records = pipeline.scan([str(self.folder)], self.bundle, options, policy=cache)
        for _ in range(after):
            next(records)


@pytest.fixture
def scans(folder: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Scans:
    return Scans(folder, bundle, monkeypatch)


def plain(records: dict[str, Record]) -> dict[str, Record]:
    """Records but for their timing."""
    return {
        name: msgspec.structs.replace(record, timing=None) if isinstance(record, Result) else record
        for name, record in records.items()
    }


def test_a_second_scan_reads_nothing_and_loads_no_model(scans: Scans, folder: Path) -> None:
    first = scans()
    assert sorted(scans.read) == sorted(os.listdir(folder))
    assert scans.sessions == 1
    again = scans()
    assert (scans.read, scans.sessions) == ([], 0)
    assert plain(again) == plain(first)
    for name in ("a.exe", "a.png", "e.exe"):
        record, before = again[name], first[name]
        assert isinstance(record, Result)
        assert isinstance(before, Result)
        assert (before.timing.stored, record.timing.stored) == (False, True)
        assert record.timing.prepare_ms == before.timing.prepare_ms
    assert [type(again[name]) for name in ("b.txt", "c.exe", "d.png")] == [Skipped, Skipped, Failed]
    # A byteplot and its program have the same sha256 and are different files all the same.
    assert again["a.exe"].format == "pe"  # type: ignore[union-attr]
    assert again["a.png"].format == "png"  # type: ignore[union-attr]


def test_records_from_the_store_are_those_of_a_fresh_scan(
    scans: Scans, bundle: Bundle, samples_dir: Path, vx_mini: Path
) -> None:
    """Of real files of each family, and of our own of every kind."""
    paths = [str(path) for path in sorted(samples_dir.glob("*.*"))]
    for family in sorted(path for path in vx_mini.iterdir() if path.is_dir()):
        paths += [str(path) for path in sorted(family.rglob("*.png"))[:3]]
    options = dataclasses.replace(OPTIONS, batch_size=1)  # in a batch figures may move

    def records(cache: Policy | None) -> list[Record]:
        *found, _ = pipeline.scan(paths, bundle, options, policy=cache)
        return found

    def without(record: Record) -> Record:
        return (
            msgspec.structs.replace(record, timing=None) if isinstance(record, Result) else record
        )

    fresh, first = records(None), records(scans.cache(options))
    scans.read = []
    again = records(scans.cache(options))
    assert scans.read == []
    assert len(again) == len(paths) > 30
    assert sum(isinstance(record, Result) for record in again) > 30
    for one, two, three in zip(fresh, first, again, strict=True):
        assert without(one) == without(two) == without(three)
        assert isinstance(one, Result) <= (isinstance(three, Result) and three.timing.stored)


def test_only_what_changed_is_read(scans: Scans, folder: Path) -> None:
    first = scans()
    (folder / "e.exe").write_bytes(sample("library-x64.dll"))
    (folder / "b.txt").write_bytes(sample("gui-x86.exe"))
    os.utime(folder / "c.exe", ns=(5, 5))
    again = scans()
    assert sorted(scans.read) == ["b.txt", "c.exe", "e.exe"]
    assert isinstance(again["b.txt"], Result)
    assert again["e.exe"] != first["e.exe"]
    scans()
    assert scans.read == []


def test_a_file_of_the_same_size_and_mtime_is_told_by_its_other_times(
    scans: Scans, folder: Path
) -> None:
    path = folder / "a.exe"
    first, status = scans(), path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = scans()
    if os.name != "nt":  # there no time tells
        assert scans.read == ["a.exe"]
        assert again["a.exe"].sha256 != first["a.exe"].sha256  # type: ignore[union-attr]
    fresh = scans(refresh=True)
    assert sorted(scans.read) == sorted(os.listdir(folder))
    assert fresh["a.exe"].sha256 != first["a.exe"].sha256  # type: ignore[union-attr]
    assert not any(r.timing.stored for r in fresh.values() if isinstance(r, Result))
    assert plain(scans()) == plain(fresh)
    assert scans.read == []


def test_what_windows_lists_has_no_number_and_an_object_at_a_url_has_its_tag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tag alone tells an object from another one of its size and second."""

    def digests(path: str) -> set[bytes]:
        return {policies._stat_digest(Found(path, 9, 1, 1, inode)) for inode in (1, 2)}

    monkeypatch.setattr(sys, "platform", "linux")
    assert len(digests("s3://bucket/a.exe")) == len(digests("/in/a.exe")) == 2
    monkeypatch.setattr(sys, "platform", "win32")
    assert len(digests("s3://bucket/a.exe")) == 2
    assert len(digests("/in/a.exe")) == 1


def test_a_file_that_has_just_changed_is_read_again(
    scans: Scans, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "SETTLED_NS", 3600 * 10**9)
    scans()
    scans()
    assert sorted(scans.read) == sorted(os.listdir(folder))


def test_the_path_is_that_of_the_file_at_hand(
    scans: Scans, bundle: Bundle, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scans()
    monkeypatch.chdir(folder)
    cache = Policy(scans.store, settings_of(bundle, OPTIONS, None))
    scans.read = []
    *records, _ = pipeline.scan(["."], bundle, OPTIONS, policy=cache)
    assert scans.read == []
    names = [record.path for record in records]  # type: ignore[union-attr]
    assert names == [os.path.join(".", name) for name in first]


def test_a_file_that_was_moved_copied_or_touched_is_only_hashed(scans: Scans, folder: Path) -> None:
    first = scans()
    (folder / "e.exe").rename(folder / "moved.exe")
    shutil.copyfile(folder / "a.png", folder / "copy.png")
    os.utime(folder / "a.exe", ns=(5, 5))
    (folder / "new.exe").write_bytes(sample("gui-x86.exe"))
    again = scans()
    assert sorted(scans.read) == ["a.exe", "copy.png", "moved.exe", "new.exe"]
    for name, before in (("moved.exe", "e.exe"), ("copy.png", "a.png"), ("a.exe", "a.exe")):
        record = again[name]
        assert isinstance(record, Result)
        assert record.timing.stored
        assert record.path == str(folder / name)
        ((_, one),) = plain({"": first[before]}).items()
        ((_, other),) = plain({"": record}).items()
        assert msgspec.structs.replace(other, path=one.path) == one  # type: ignore[union-attr]
    assert again["new.exe"].timing.stored is False  # type: ignore[union-attr]
    (folder / "new.exe").unlink()
    scans()
    assert (scans.read, scans.sessions) == ([], 0)


def lose_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are taken away between the main process's look into the store and a worker's."""
    monkeypatch.setattr(policies, "Lookup", lambda path, digest: Lookup(f"{path}-gone", digest))


def test_a_result_that_is_gone_by_the_time_that_it_is_asked_for(
    scans: Scans, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scans()
    os.utime(folder / "a.exe", ns=(5, 5))
    lose_results(monkeypatch)
    again = scans()
    assert plain(again) == plain(first)
    assert scans.read == ["a.exe"]
    assert not again["a.exe"].timing.stored  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "changes", [{"hashes": True}, {"label": "icedid", "against": "benign", "coverage": 0.8}]
)
def test_records_of_other_options_are_kept_apart(
    scans: Scans, folder: Path, changes: dict[str, object]
) -> None:
    for path in folder.iterdir():
        if path.name != "a.exe":
            path.unlink()
    options = dataclasses.replace(OPTIONS, **changes)  # type: ignore[arg-type]
    (first,) = scans().values()
    (other,) = scans(options).values()
    assert scans.read == ["a.exe"]
    assert plain(scans()) == plain({"a.exe": first})
    assert plain(scans(options)) == plain({"a.exe": other})
    assert scans.read == []


def test_every_option_is_part_of_the_settings_or_said_to_make_no_difference(
    bundle: Bundle,
) -> None:
    other: dict[str, object] = {
        "walk": WalkOptions(depth=1), "device": "cpu", "jobs": 7, "threads": 7, "batch_size": 7,
        "timeout": 7.0, "checks": 7, "index": "another", "mappers": {"a": None}, "engines": 7,
    }  # fmt: skip
    settings = settings_of(bundle, ScanOptions(), None)
    assert settings_of(bundle, ScanOptions(**other), None) == settings  # type: ignore[arg-type]
    names = {field.name for field in dataclasses.fields(ScanOptions)} - set(other)
    assert set(other) == policies.MAKES_NO_DIFFERENCE
    for name in names:
        changed = dataclasses.replace(ScanOptions(), **{name: "another"})  # type: ignore[arg-type]
        assert settings_of(bundle, changed, None).digest != settings.digest, name
    assert settings_of(bundle, ScanOptions(), "index").digest != settings.digest


def test_versions_of_what_reads_files_are_part_of_the_settings(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is used: other packages may be of any version, or not be there."""
    hashes = dataclasses.replace(OPTIONS, hashes=True)
    tools = dataclasses.replace(OPTIONS, identify=True)
    known, version = (OPTIONS, hashes, tools), metadata.version
    before = [settings_of(bundle, options, None) for options in known]
    for package, moved in (
        ("lief", [True, True, True]),
        ("pefile", [True, True, True]),
        ("py-tlsh", [False, True, False]),
        ("die-python", [False, False, True]),
        ("numpy", [False, False, False]),
    ):
        said = {package: "0.0.1"}
        monkeypatch.setattr(
            metadata, "version", lambda name, said=said: said.get(name) or version(name)
        )
        after = [settings_of(bundle, options, None) for options in known]
        assert [a != b for a, b in zip(before, after, strict=True)] == moved, package


def test_a_scan_is_known_by_its_files_and_its_settings(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(bundle, OPTIONS, None)
    same = scan_id(settings, ["a", "b"], OPTIONS)
    assert scan_id(settings, ["a", "b"], dataclasses.replace(OPTIONS, jobs=7)) == same
    others = [
        scan_id(settings, ["a"], OPTIONS),
        scan_id(settings, ["a, b"], OPTIONS),
        scan_id(settings, ["a", "b"], dataclasses.replace(OPTIONS, walk=WalkOptions(depth=1))),
        scan_id(settings, ["a", "b"], dataclasses.replace(OPTIONS, checks=7)),
        scan_id(settings_of(bundle, OPTIONS, "index"), ["a", "b"], OPTIONS),
    ]
    monkeypatch.chdir(tmp_path)
    others.append(scan_id(settings, ["a", "b"], OPTIONS))
    assert len({same, *others}) == 1 + len(others)


@pytest.mark.parametrize("packs", [False, True])
def test_what_another_process_keeps_is_collected(packs: bool) -> None:
    lookup, record = Lookup("store", b"digest"), make_result("a.exe")
    collected = Collected(lookup, packs=packs)
    assert collected.lookup() is lookup
    assert collected.taken() == (None, None)
    collected.keep(record, record.sha256)
    assert collected.taken() == (record.sha256, policies.packed(record) if packs else None)
    assert collected.taken() == (None, None)
    collected.keep(record, None)
    assert collected.taken() == (None, None)
    seen = Seen("a.exe", record.sha256, 3)
    collected.note(seen)
    collected.forget("a.zip")
    assert (collected.seen, collected.several) == ([seen], ["a.zip"])


def test_another_card_is_another_model(bundle: Bundle, tmp_path: Path) -> None:
    """The same weights with another threshold give other verdicts."""
    card = msgspec.structs.replace(bundle.card, threshold=None)
    bundles.with_card(bundle, card, tmp_path / "b.onnx")
    other = bundles.load(tmp_path / "b.onnx")
    assert other.card.weights_sha256 == bundle.card.weights_sha256
    one = settings_of(bundle, OPTIONS, None)
    assert settings_of(other, OPTIONS, None).digest != one.digest


def test_a_record_that_cannot_be_read_is_made_anew(scans: Scans) -> None:
    first = scans()
    assert scans.store is not None
    scans.store.connection.execute("UPDATE results SET record = ?", (b"garbage",))
    assert plain(scans()) == plain(first)
    assert set(scans.read) == set(first)
    scans()
    assert scans.read == []


def test_limits_hold_for_what_is_recalled(scans: Scans, folder: Path) -> None:
    scans()
    size = (folder / "a.exe").stat().st_size
    small = (folder / "a.png").stat().st_size
    assert small < size
    options = dataclasses.replace(OPTIONS, walk=WalkOptions(max_size=small))
    records = scans(options)
    assert [records[name].code for name in ("a.exe", "a.png")] == ["too-large", "too-large"]  # type: ignore[union-attr]
    assert isinstance(scans()["a.png"], Result)


def test_evidence_is_checked_of_the_most_urgent_files_alone(
    scans: Scans, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read again, since checking takes the sample; what is kept has no checks."""
    name = "x.exe" if sys.platform == "win32" else "x \udcff.exe"  # names are Unicode there
    (folder / name).write_bytes(sample("gui-x86.exe"))
    options = dataclasses.replace(OPTIONS, checks=2)
    cold = scans(options)
    plain_scan = scans()
    assert scans.read == []
    assert not any(r.evidence.checks for r in plain_scan.values() if isinstance(r, Result))
    warm = scans(options)
    assert scans.read == []
    assert list(warm) == list(cold)
    assert plain(warm) == plain(cold)
    checked = [r for r in warm.values() if isinstance(r, Result) and r.evidence.checks]
    assert len(checked) == 2
    every = dataclasses.replace(OPTIONS, checks=0)
    assert all(r.evidence.checks for r in scans(every).values() if isinstance(r, Result))
    assert len(scans.read) == len(cold)


@pytest.mark.parametrize("case", ["gone", "changed", "deadly"])
def test_evidence_that_cannot_be_checked_any_more(
    scans: Scans, folder: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    for path in folder.iterdir():
        if path.name not in ("a.exe", "b.txt"):
            path.unlink()
    scans()
    submit = Workers.submit

    def late(workers: Workers, function: Any, *arguments: Any, **more: Any) -> Any:
        if function is prepare and case == "gone":
            (folder / "a.exe").unlink()
        if function is prepare and case == "changed":
            (folder / "a.exe").write_bytes(sample("gui-x86.exe"))
        if function is prepare and case == "deadly":
            return submit(workers, os._exit, 3)
        return submit(workers, function, *arguments, **more)

    monkeypatch.setattr(Workers, "submit", late)
    record = scans(dataclasses.replace(OPTIONS, checks=1))["a.exe"]
    assert isinstance(record, Result)
    assert record.evidence.checks is None
    words = {"gone": "No such file", "changed": "it changed", "deadly": "process that read it died"}
    assert [n.code for n in record.notices if words[case] in n.text] == ["unchecked"]


def test_a_store_that_fails_meanwhile_costs_the_scan_nothing(
    scans: Scans, bundle: Bundle, folder: Path
) -> None:
    said: list[str] = []
    store = Store.open(folder.parent / "full", said.append)
    assert store is not None
    store.connection.execute("PRAGMA max_page_count = 12")
    for number in range(40):
        shutil.copy(folder / "a.exe", folder / f"copy{number}.exe")
        with (folder / f"copy{number}.exe").open("ab") as file:
            file.write(b"%d" % number)
    cache = Policy(store, settings_of(bundle, OPTIONS, None))
    *records, summary = pipeline.scan([str(folder)], bundle, OPTIONS, policy=cache)
    assert len(records) == len(os.listdir(folder))
    assert summary.files == 43  # type: ignore[union-attr]
    (text,) = said
    assert "full" in text
    assert text.endswith("results are no longer looked up or kept")


@pytest.mark.parametrize("refresh", [False, True])
def test_a_scan_that_is_resumed_reads_no_file_again(
    scans: Scans, folder: Path, monkeypatch: pytest.MonkeyPatch, refresh: bool
) -> None:
    """Not those that had just changed either, and not under --refresh."""
    for number in range(100):
        (folder / f"z{number}.txt").write_text("no program")
    monkeypatch.setattr(policies, "SETTLED_NS", 3600 * 10**9 * (not refresh) - 1)
    scans.stopped(90, refresh=refresh)
    again = scans(refresh=refresh, resume=True)
    assert len(again) == 106
    assert 0 < len(scans.read) <= 16 + MAX_IN_FLIGHT  # what was in hand
    assert not {"a.exe", "a.png", "d.png", "e.exe"} & set(scans.read)
    # It has come to its end, so there is nothing to resume.
    fresh = scans(refresh=refresh, resume=True)
    assert len(scans.read) == 106
    assert plain(fresh) == plain(again)


def test_failures_are_tried_again_but_by_a_scan_that_is_resumed(scans: Scans) -> None:
    scans.deadly = True
    scans.stopped(3)
    scans.deadly = False
    again = scans(resume=True)
    assert [type(again[name]) for name in ("a.exe", "a.png", "b.txt")] == [Failed] * 3
    assert not {"a.exe", "a.png", "b.txt"} & set(scans.read)
    assert isinstance(again["e.exe"], Result)
    assert isinstance(scans()["a.exe"], Result)
    assert scans.read == ["a.exe", "a.png", "b.txt"]


def test_a_result_that_another_attempt_may_improve_serves_a_scan_that_is_resumed_alone(
    scans: Scans, folder: Path
) -> None:
    (found,) = walk([str(folder / "a.exe")], OPTIONS.walk)
    assert isinstance(found, Found)
    (record, _) = pipeline.scan([found.path], scans.bundle, OPTIONS)
    assert isinstance(record, Result)
    less = msgspec.structs.replace(record, notices=[Notice("headers-only", "")])
    with scans.cache() as cache:
        assert cache.recall(found, 1 << 30) is None
        cache.keep(less, record.sha256)
    assert plain(scans(resume=True))["a.exe"] == plain({"": less})[""]
    assert plain(scans())["a.exe"] == plain({"": record})[""]
    assert "a.exe" in scans.read


def test_archives_are_read_again_and_those_without_a_program_are_not(
    scans: Scans, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "a.zip").write_bytes(zipped({"x.exe": sample("console-x86.exe"), "t": b"text"}))
    (folder / "b.zip").write_bytes(zipped({"t": b"text"}))
    options = dataclasses.replace(OPTIONS, archives=Archives(), members="each")
    names = ["a.zip!x.exe", "a.zip", "b.zip"]
    first = scans(options)
    assert [*first] == names
    again = scans(options)
    assert plain(again) == plain(first)
    assert scans.read == ["a.zip"]
    assert again["a.zip!x.exe"].timing.stored  # type: ignore[union-attr]
    lose_results(monkeypatch)
    assert plain(scans(options)) == plain(first)
    assert [*scans(OPTIONS)] == ["a.zip", "b.zip"]  # opened by nobody


def test_a_record_from_a_worker_does_not_fill_the_memory(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is looked up there may be anything, once a sample has taken the worker over."""
    monkeypatch.setattr(policies, "MAX_RECORD_BYTES", 1 << 20)
    policy = Policy(Store.open(tmp_path / "store", pytest.fail), settings_of(bundle, OPTIONS, None))
    for data in (zlib.compress(bytes(2 << 20)), zlib.compress(b"{}")[:-2], b"", b"garbage"):
        record = policy.known(Same("a.exe", "00" * 32, data, 0))
        assert isinstance(record, Failed)
        assert record.code == "internal"
