from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from report.factories import MODEL

from maltriage.cluster import engine
from maltriage.cluster.shards import (
    SHARD_BYTES,
    SHARD_FILES,
    Manifest,
    Shards,
    digest_of,
    outside,
    write_shard,
)
from maltriage.errors import MaltriageError
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import Failed, Skipped, Summary
from maltriage.source.files import Found, Rejected
from maltriage.source.walked import Walked
from maltriage.triage.engines.chunks import cut
from maltriage.triage.options import Progress, ScanOptions

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
    assert counts == Counts(skipped=1, failed=1, skipped_by=Counter({"not-pe": 1}))
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
            write_shard(manifest.part(number), RECORDS, ended)
            if listed or number == 0:
                manifest.add(number, digest_of(b"s", shards, chunk.files), Counts())

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


def test_what_is_whole_is_known_the_next_time(tmp_path: Path) -> None:
    counts = Counts(files=3, flagged=2, failed=1, skipped=4, known=5, bytes=6)
    with Manifest(Shards(str(tmp_path))) as manifest:
        assert manifest.counts(0, "d0") is None
        for number in (0, 2):
            write_shard(manifest.part(number), RECORDS, ended)
            manifest.add(number, f"d{number}", counts)
        write_shard(manifest.part(1), RECORDS, ended)  # and killed before it was listed
    with (tmp_path / "manifest.ndjson").open("ab") as file:
        file.write(b'{"part":1,"dig')
    with pytest.raises(MaltriageError, match="--resume continues them"):
        Manifest(Shards(str(tmp_path)))
    with Manifest(Shards(str(tmp_path), resume=True)) as manifest:
        assert manifest.counts(0, "d0") == manifest.counts(2, "d2") == counts
        assert manifest.counts(1, "d1") is None
        manifest.add(1, "d1", counts)
        with pytest.raises(MaltriageError, match="shard 2 is of other files"):
            manifest.counts(2, "other")
    with Manifest(Shards(str(tmp_path), resume=True)) as manifest:
        assert manifest.counts(1, "d1") == counts
        (tmp_path / "part-00001.ndjson").unlink()
        assert manifest.counts(1, "d1") is None
        left = tmp_path / f"part-00003.ndjson.{'0' * 32}.part"
        left.write_bytes(b"of an actor that was killed")
        (tmp_path / "mine.part").write_bytes(b"of somebody else")
        manifest.end(ended(counts))
    assert not left.exists()
    assert (tmp_path / "mine.part").exists()
    assert json.loads((tmp_path / "summary.json").read_bytes())["files"] == 3


def test_a_manifest_of_something_else(tmp_path: Path) -> None:
    for line in (b'{"name": "webpack"}\n', b'{"part":"\xff"}\n'):
        (tmp_path / "manifest.ndjson").write_bytes(line)
        with pytest.raises(MaltriageError, match="not a manifest of shards"):
            Manifest(Shards(str(tmp_path), resume=True))


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
    digest = digest_of(b"settings", shards, files)
    assert digest_of(b"settings", Shards("elsewhere", resume=True), list(files)) == digest
    digests = [digest_of(b"settings", shards, other) for other in others]
    digests += [digest_of(b"others", shards, files)]
    digests += [digest_of(b"settings", Shards("out", "parquet"), files), digest]
    assert len(set(digests)) == len(digests)


def test_parts_are_no_samples(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for folder in ("in", "in/out", "in/new/out"):
        with pytest.raises(MaltriageError, match="which is scanned"):
            outside(str(tmp_path / folder), [str(tmp_path / "in")])
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(MaltriageError, match="which is scanned"):
        outside(str(tmp_path / "link" / "out"), [str(tmp_path / "in")])
    outside(str(tmp_path / "in-out"), [str(tmp_path / "in"), "s3://bucket"])
