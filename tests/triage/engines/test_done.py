"""What an engine answers of a chunk."""

from __future__ import annotations

from pathlib import Path

from corpus.synthetic import zipped
from hostile.make import sample

from maltriage import bundle as bundles
from maltriage.report.documents.record import Result, decode
from maltriage.source.archive.limits import Archives
from maltriage.source.files import WalkOptions, walk
from maltriage.triage.engines.chunks import cut
from maltriage.triage.engines.done import done
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import Engine


def test_a_content_that_an_archive_has_twice(tmp_path: Path) -> None:
    """Its second record is made from the first one, and no store has anything to keep of it."""
    data = sample("console-x86.exe")
    (tmp_path / "a.zip").write_bytes(zipped({"1.exe": data, "2.exe": data}, None))
    (tmp_path / "b.exe").write_bytes(data)
    bundle = bundles.load(bundles.resolve(None))
    options = ScanOptions(archives=Archives(), members="each", jobs=1)
    (chunk,) = cut(walk([str(tmp_path)], WalkOptions(), members=True))
    with Engine(bundle, options) as engine:
        chunk.done = made = done(engine, chunk.files, lambda: False)
    records = [decode(line) for line in made.lines()]
    assert all(isinstance(record, Result) for record in records)
    assert [bool(file) for file in made.files] == [True, False, True]
    assert made.several == [str(tmp_path / "a.zip")]
    assert [given.record for given in chunk.records()] == records
