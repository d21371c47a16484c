"""The same records whatever the number of workers, and the size and make-up of batches."""

from __future__ import annotations

import os
import random
from pathlib import Path

import msgspec
import pytest
from corpus.synthetic import program, zipped
from hostile.make import sample

from maltriage import bundle as bundles
from maltriage.report.documents.record import Record, Result
from maltriage.source.archive.limits import Archives
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan

GOODWARE = os.environ.get("MALTRIAGE_GOODWARE")  # before the tests' own environment hides it
NAMES = ("console-x86.exe", "console-x64.exe", "gui-x86.exe", "dotnet.exe", "packed-x86.exe")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of many sizes, a few of them in an archive."""
    folder = tmp_path_factory.mktemp("many")
    drawn = random.Random(20)
    for number in range(60):
        plain = bytearray(sample(NAMES[number % len(NAMES)]))
        for _ in range(200):
            plain[drawn.randrange(1024, len(plain))] = drawn.randrange(256)
        more = drawn.randbytes(drawn.randrange(200_000))
        (folder / f"{number:02d}.exe").write_bytes(bytes(plain) + more)
    inside = {f"{i}.exe": program(i % 3, i, size=2000) for i in range(40)}
    (folder / "z.zip").write_bytes(zipped(inside, None))
    return folder


def records(folder: Path, model: str, jobs: int, batch: int) -> dict[str, Record]:
    options = ScanOptions(
        jobs=jobs, batch_size=batch, archives=Archives(), members="each", index=None, hashes=True
    )
    *found, _ = scan([str(folder)], bundles.load(bundles.resolve(model)), options)
    return {
        record.path: msgspec.structs.replace(record, timing=None)  # type: ignore[union-attr]
        if isinstance(record, Result)
        else record
        for record in found
    }


@pytest.mark.parametrize("model", ["maltriage-evidence", "maltriage-evidence-int8"])
def test_workers_and_batches_do_not_show(folder: Path, model: str) -> None:
    plain = records(folder, model, 1, 1)
    assert len(plain) == 100
    for jobs, batch in ((4, 1), (4, 16), (1, 7), (2, 64)):
        assert records(folder, model, jobs, batch) == plain


@pytest.mark.skipif(GOODWARE is None, reason="no programs: MALTRIAGE_GOODWARE names a folder")
def test_real_programs() -> None:
    folder = Path(GOODWARE or "")
    plain = records(folder, "maltriage-evidence", 1, 1)
    assert records(folder, "maltriage-evidence", 4, 16) == plain
