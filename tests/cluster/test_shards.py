from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from paths import HAS_LINKS
from report.factories import MODEL

from maltriage.cluster import engine, shards
from maltriage.cluster.shards import (
    SHARD_BYTES,
    SHARD_FILES,
    Inputs,
    Line,
    Manifest,
    Shards,
    Written,
    inputs_of,
    outside,
    write_shard,
)
from maltriage.errors import MaltriageError
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import Failed, FileRecord, Skipped, Summary
from maltriage.report.formats import RenderOptions
from maltriage.source.files import Found, Rejected
from maltriage.source.walked import Walked
from maltriage.triage.engines.chunks import cut
from maltriage.triage.options import Progress, ScanOptions

of_posix = pytest.mark.skipif(
    sys.platform == "win32", reason="clusters of POSIX: an open file is replaced, or removed"
)

RECORDS = [Skipped("a.txt", "not-pe", "a reason"), Failed("b.exe", "io", "a reason")]


def ended(counts: Counts) -> Summary:
    return Summary(
        counts.files, counts.flagged, counts.failed, counts.skipped, counts.bytes, 1.0, False,
        MODEL, "1.0",
    )  # fmt: skip


def test_a_part_is_a_whole_result(tmp_path: Path) -> None:
    with Manifest(Shards(str(tmp_path / "out"))) as manifest:
        part = manifest.part(7)
        counts = write_shard(part, RECORDS, ended)
    size = Path(part.path).stat().st_size
    assert counts == Written(
        skipped=1, failed=1, skipped_by=Counter({"not-pe": 1}), size=size, mendable=1
    )
    assert Path(part.path) == tmp_path / "out" / "part-00007.ndjson"
    lines = [json.loads(line) for line in Path(part.path).read_bytes().splitlines()]
    assert [line["type"] for line in lines] == ["skipped", "error", "summary"]
    assert sorted(os.listdir(tmp_path / "out")) == ["manifest.ndjson", "part-00007.ndjson"]


def test_a_part_may_be_a_table(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with Manifest(Shards(str(tmp_path), "parquet")) as manifest:
        part = manifest.part(0)
        write_shard(part, RECORDS, ended)
    assert parquet.read_table(part.path).column("status").to_pylist() == ["skipped", "error"]


def test_a_part_that_is_not_whole_is_not_there(tmp_path: Path) -> None:
    def broken() -> Iterator[Skipped | Failed]:
        yield RECORDS[0]
        raise RuntimeError("lost")

    with Manifest(Shards(str(tmp_path))) as manifest:
        assert write_shard(manifest.part(0), RECORDS, ended, lambda: False) is None
        with pytest.raises(RuntimeError):
            write_shard(manifest.part(1), broken(), ended)
    assert os.listdir(tmp_path) == ["manifest.ndjson"]


@pytest.mark.parametrize("listed", [True, False])
def test_shards_of_files_that_are_gone_are_an_error(tmp_path: Path, listed: bool) -> None:
    """A folder of two shards whose files shrank to one, at the border of the shards."""
    files = tmp_path / "files"
    files.mkdir()
    for i in range(SHARD_FILES + 1):
        (files / f"{i:06}").touch()
    shards = Shards(str(tmp_path / "out"), resume=True)
    request: Any = SimpleNamespace(options=ScanOptions(), paths=[str(files)])
    walked = Walked(request.paths, ScanOptions().walk, members=False, stop=lambda: False)
    with Manifest(shards) as manifest:
        for number, chunk in enumerate(cut(walked, files=SHARD_FILES, size=SHARD_BYTES)):
            written = write_shard(manifest.part(number), RECORDS[:1], ended)
            assert written is not None
            if listed or number == 0:
                manifest.add(number, inputs_of(b"s", shards, chunk.files), written)

    def go_on() -> None:
        with Manifest(shards) as manifest:
            engine.write_shards(
                request,
                NoWork(),
                manifest,
                b"s",
                Progress(),
                ended,
                lambda: False,  # type: ignore[arg-type]
            )

    if listed:
        go_on()
    before = (tmp_path / "out" / "manifest.ndjson").read_bytes()
    (files / f"{SHARD_FILES:06}").unlink()
    with pytest.raises(MaltriageError, match="shard 1 is of files that are no longer there"):
        go_on()
    assert (tmp_path / "out" / "manifest.ndjson").read_bytes() == before


class NoWork:
    """A pool that is given nothing: all shards are finished."""

    def room(self, _: int) -> int:
        return 1

    def step(self, _: float) -> None:
        pass

    def in_flight(self) -> int:
        return 0


@of_posix
def test_what_is_whole_is_known_the_next_time(tmp_path: Path) -> None:
    with Manifest(Shards(str(tmp_path))) as manifest:
        assert manifest.counts(0, of("d0")) is None
        for number in (0, 2):
            add(manifest, number, RECORDS[:1])
        write_shard(manifest.part(1), RECORDS[:1], ended)  # and killed before it was listed
    with (tmp_path / "manifest.ndjson").open("ab") as file:
        file.write(b'{"part":1,"dig')
    with pytest.raises(MaltriageError, match="--resume continues them"):
        Manifest(Shards(str(tmp_path)))
    with Manifest(Shards(str(tmp_path), resume=True)) as manifest:
        counts = manifest.counts(0, of("d0"))
        assert counts == manifest.counts(2, of("d2")) == ONE_SKIPPED
        assert manifest.counts(1, of("d1")) is None
        add(manifest, 1, RECORDS[:1])
        with pytest.raises(MaltriageError, match="shard 2 is of other files"):
            manifest.counts(2, of("other"))
    with Manifest(Shards(str(tmp_path), resume=True)) as manifest:
        assert manifest.counts(1, of("d1")) == ONE_SKIPPED
        (tmp_path / "part-00001.ndjson").unlink()
        assert manifest.counts(1, of("d1")) is None
        left = tmp_path / f"part-00003.ndjson.{'0' * 32}.part"
        left.write_bytes(b"of an actor that was killed")
        (tmp_path / "mine.part").write_bytes(b"of somebody else")
        manifest.end(ended(Counts(files=3)))
        assert manifest.notes() == []
    assert not left.exists()
    assert (tmp_path / "mine.part").exists()
    assert json.loads((tmp_path / "summary.json").read_bytes())["files"] == 3


ONE_SKIPPED = Counts(skipped=1, skipped_by=Counter({"not-pe": 1}))


def of(digest: str, settings: str = "s", files: Sequence[Found | Rejected] = ()) -> Inputs:
    return Inputs(digest, settings, files)


def add(manifest: Manifest, number: int, records: Sequence[FileRecord]) -> None:
    written = write_shard(manifest.part(number), records, ended)
    assert written is not None
    manifest.add(number, of(f"d{number}"), written)


def again(folder: Path) -> Manifest:
    return Manifest(Shards(str(folder), resume=True))


@of_posix
def test_a_shard_with_files_that_another_try_may_read_is_written_again(tmp_path: Path) -> None:
    """And listed once in the end. What fails by its bytes would fail again."""
    damaged = Failed("c.png", "damaged-png", "a reason")
    with Manifest(Shards(str(tmp_path))) as manifest:
        add(manifest, 0, [damaged])
        add(manifest, 1, [RECORDS[1], damaged])
        assert manifest.notes() == [
            "1 file could not be read where it is: --resume reads such shards again"
        ]
        manifest.end(ended(Counts()))
    with again(tmp_path) as manifest:
        assert manifest.counts(0, of("d0")) == Counts(failed=1)
        assert manifest.counts(1, of("d1")) is None
        add(manifest, 1, [damaged])
        assert manifest.notes() == [
            "1 shard had files that could not be read, and went to nodes again"
        ]
        manifest.end(ended(Counts()))
        assert manifest.told(2).startswith(f"{tmp_path} (ndjson, 2 shards, 2 records, ")
    lines = (tmp_path / "manifest.ndjson").read_bytes().splitlines()
    assert [json.loads(line)["part"] for line in lines] == [0, 1]
    with again(tmp_path) as manifest:
        assert manifest.counts(1, of("d1")) == Counts(failed=1)


def test_what_the_walk_could_not_read_is_not_tried_again(tmp_path: Path) -> None:
    """If it could now, the shard would be of other files."""
    files = [Rejected("b.exe", "io", "a reason", True), Rejected("c", "symlink", "link", False)]
    with Manifest(Shards(str(tmp_path))) as manifest:
        written = write_shard(manifest.part(0), RECORDS[1:], ended)
        assert written is not None
        manifest.add(0, of("d0", files=files), written)
    with again(tmp_path) as manifest:
        assert manifest.counts(0, of("d0")) == Counts(failed=1)


@pytest.mark.parametrize("damage", ["cut", "longer", "empty"])
def test_a_damaged_shard_is_written_again(tmp_path: Path, damage: str) -> None:
    with Manifest(Shards(str(tmp_path))) as manifest:
        add(manifest, 0, RECORDS[:1])
    part = tmp_path / "part-00000.ndjson"
    whole = part.read_bytes()
    part.write_bytes({"cut": whole[:-5], "longer": whole + b"\n", "empty": b""}[damage])
    with again(tmp_path) as manifest:
        assert manifest.counts(0, of("d0")) is None
        assert manifest.notes() == [
            "1 shard had another size than was written, and went to nodes again"
        ]


def test_a_line_of_an_earlier_version(tmp_path: Path) -> None:
    """It knows no size, and not why files failed."""
    with Manifest(Shards(str(tmp_path))) as manifest:
        for number in (0, 1):
            write_shard(manifest.part(number), RECORDS[:1], ended)
    names = {field.name for field in msgspec.structs.fields(Line)}
    values: dict[str, Any] = dict.fromkeys(names - {"size", "mendable", "settings"}, 0)
    values |= {"families": {}, "skipped_by": {}}
    lines = [{**values, "part": i, "digest": f"d{i}", "failed": i} for i in (0, 1)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "manifest.ndjson").write_text(text)
    with again(tmp_path) as manifest:
        assert manifest.counts(0, of("d0")) == Counts()
        assert manifest.counts(1, of("d1")) is None
        with pytest.raises(MaltriageError, match="of other files, options or another model"):
            manifest.counts(0, of("other", files=[Found("a.txt", 1)]))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_one_scan_at_a_time_writes_shards(tmp_path: Path) -> None:
    with Manifest(Shards(str(tmp_path / "out"))) as manifest:
        with pytest.raises(MaltriageError, match="another scan writes shards there"):
            again(tmp_path / "out")
        add(manifest, 0, RECORDS[:1])
    with again(tmp_path / "out") as manifest:
        assert manifest.counts(0, of("d0")) is not None


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(shards, "hold", refuses)
    with Manifest(Shards(str(tmp_path))) as manifest:
        add(manifest, 0, RECORDS[:1])


def changed(folder: Path, number: int, now: list[Found | Rejected], settings: str = "s") -> str:
    with again(folder) as manifest, pytest.raises(MaltriageError) as raised:
        manifest.counts(number, of("other", settings, now))
    return str(raised.value).removeprefix(f"{folder}: ")


def test_what_has_changed_is_named(tmp_path: Path) -> None:
    names = ["a.exe", "b.exe", "c.zip", "d.exe"]
    files: list[Found | Rejected] = [Found(name, 10) for name in names]
    records = [Skipped(name, "not-pe", "") for name in ("a.exe", "b.exe", "c.zip!1", "c.zip!2")]
    with Manifest(Shards(str(tmp_path))) as manifest:
        for number in (0, 1):
            add(manifest, number, [*records, Skipped("d.exe", "not-pe", "")])
    advice = (
        "name another folder, or remove part-0000{}.ndjson{}, and --resume writes what is missing"
    )
    alone, behind = advice.format(0, ""), advice.format(1, " and those behind it")
    stay = "; the shards before it stay"
    later = Found("b.exe", 10, 0, time.time_ns() + 10**12)
    said = changed(tmp_path, 0, [files[0], later, *files[2:]])
    assert said == f"shard 0 is of other files: b.exe has changed: {alone}"
    said = changed(tmp_path, 1, [files[0], *files[2:]])
    assert said == f"shard 1 is of other files: b.exe is gone{stay}: {behind}"
    said = changed(tmp_path, 1, [*files[:2], Found("bb.exe", 1), *files[2:]])
    assert said == f"shard 1 is of other files: bb.exe is new{stay}: {behind}"
    said = changed(tmp_path, 1, files[:3])
    assert said == f"shard 1 is of other files: d.exe is gone{stay}: {behind}"
    assert changed(tmp_path, 1, files, "other") == (
        "shard 1 is of other options or another model: name another folder"
    )
    # Times alone, before the shard was written; records do not say.
    assert changed(tmp_path, 1, files) == (
        "shard 1 is of other files: name another folder, or remove this one"
    )


@of_posix
def test_removed_shards_are_written_anew(tmp_path: Path) -> None:
    """As the message on a changed list advises, also where fewer shards are left."""
    with Manifest(Shards(str(tmp_path))) as manifest:
        for number in (0, 1, 2):
            add(manifest, number, RECORDS[:1])
    for number in (1, 2):
        (tmp_path / f"part-0000{number}.ndjson").unlink()
    with again(tmp_path) as manifest:
        assert manifest.counts(0, of("d0")) is not None
        assert manifest.counts(1, of("other")) is None
        add(manifest, 1, RECORDS[:1])
        manifest.check_end(2)
        manifest.end(ended(Counts()))
    lines = (tmp_path / "manifest.ndjson").read_bytes().splitlines()
    assert [json.loads(line)["part"] for line in lines] == [0, 1]


def test_a_manifest_of_something_else(tmp_path: Path) -> None:
    for line in (b'{"name": "webpack"}\n', b'{"part":"\xff"}\n'):
        (tmp_path / "manifest.ndjson").write_bytes(line)
        with pytest.raises(MaltriageError, match="not a manifest of shards"):
            Manifest(Shards(str(tmp_path), resume=True))


@of_posix
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(MaltriageError, match=r"cannot write .*out"):
        Manifest(Shards(str(tmp_path / "out")))
    with Manifest(Shards(str(tmp_path / "other"))) as manifest:
        part = manifest.part(0)
        (tmp_path / "other" / "manifest.ndjson").unlink()
        (tmp_path / "other").rmdir()
        with pytest.raises(MaltriageError, match=r"cannot write .*part-00000.ndjson: No such"):
            write_shard(part, RECORDS, ended)


def test_a_digest_is_of_all_that_a_part_depends_on() -> None:
    shards = Shards("out")
    files = [Found("a.exe", 10, 1, 2, 3), Rejected("b", "symlink", "a reason", False)]
    others = [
        [Found("a.exe", 10, 1, 3, 3), files[1]],
        [Found("a.exe", 11, 1, 2, 3), files[1]],
        [Found("b.exe", 10, 1, 2, 3), files[1]],
        [files[0], Rejected("b", "io", "a reason", True)],
        files[:1],
        files[::-1],
    ]
    inputs = inputs_of(b"settings", shards, files)
    same = inputs_of(b"settings", Shards("elsewhere", resume=True), list(files))
    assert same == inputs
    of_screen = Shards("out", render=RenderOptions(top=3, show_skipped=True))  # as by -v
    assert inputs_of(b"settings", of_screen, files) == inputs
    made = [inputs_of(b"settings", shards, other) for other in others]
    assert {one.settings for one in made} == {inputs.settings}
    different = [inputs_of(b"others", shards, files)]
    different += [inputs_of(b"settings", Shards("out", "parquet"), files)]
    assert len({one.settings for one in [*different, inputs]}) == 3
    digests = [one.digest for one in [*made, *different, inputs]]
    assert len(set(digests)) == len(digests)


def test_parts_are_no_samples(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for folder in ("in", "in/out", "in/new/out"):
        with pytest.raises(MaltriageError, match="which is scanned"):
            outside(str(tmp_path / folder), [str(tmp_path / "in")])
    if HAS_LINKS:
        (tmp_path / "link").symlink_to(tmp_path / "in")
        with pytest.raises(MaltriageError, match="which is scanned"):
            outside(str(tmp_path / "link" / "out"), [str(tmp_path / "in")])
    outside(str(tmp_path / "in-out"), [str(tmp_path / "in"), "s3://bucket"])
