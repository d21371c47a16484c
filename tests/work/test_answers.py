"""A worker that a sample has taken over lies about its own file at most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostile.make import sample

from maltriage import bundle as bundles
from maltriage.probe.members import Chunk
from maltriage.probe.prepare import Again, PrepareOptions, Same, prepare
from maltriage.report.documents.record import Failed, Result
from maltriage.sample.errors import SampleError
from maltriage.sample.views import byteplot
from maltriage.source.archive.walk import Cursor
from maltriage.source.files import Rejected
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.work import dispatcher
from maltriage.work.answers import is_answer

SKIP = Rejected("a.zip!x", "not-pe", "no", False)
ANSWERS: list[Any] = [
    Same("a.zip", "0" * 64, b"record", 1),
    SampleError("not-pe", "no"),
    Chunk([SKIP, Again("a.zip!y", "a.zip!x", 1.0)], Cursor()),
    Chunk([], None),
]
OTHERS: list[Any] = [
    None,
    True,
    7,
    "a.zip",
    [],
    SampleError(5, "no"),  # type: ignore[arg-type]
    Same("b.zip", "0" * 64, b"record", 1),
    Same("a.zip", "0" * 64, "record", 1),  # type: ignore[arg-type]
    Same("a.zipper", "0" * 64, b"record", 1),
    SKIP,
    Chunk(None, None),  # type: ignore[arg-type]
    Chunk([None], None),  # type: ignore[list-item]
    Chunk([SKIP], 5),  # type: ignore[arg-type]
    Chunk([SKIP], Cursor(members="1")),  # type: ignore[arg-type]
    Chunk([Rejected(5, 6, 7, 8)], None),  # type: ignore[arg-type]
    Chunk([Rejected("a.zip", "io", "refused", 1)], None),  # type: ignore[arg-type]
    Chunk([Rejected("/etc/passwd", "io", "refused", True)], None),
    Chunk([Again("a.zip!y", "b.zip!x", 1.0)], None),
]


@pytest.mark.parametrize("found", ANSWERS, ids=repr)
def test_answers(found: Any) -> None:
    assert is_answer(found, "a.zip", set())
    # As for one file of an archive, whose own path an error may have.
    assert is_answer(Rejected("a.zip", "io", "no", True), "a.zip!x", set()) is False
    assert is_answer(Chunk([Rejected("a.zip", "io", "no", True)], None), "a.zip!x", set())


@pytest.mark.parametrize("found", OTHERS, ids=repr)
def test_what_is_none(found: Any) -> None:
    assert not is_answer(found, "a.zip", set())


def test_a_sample_has_the_views_that_were_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    path = str(tmp_path / "a.exe")
    made = prepare(path, PrepareOptions((byteplot(16),)))
    assert is_answer(made, path, {"body"})
    assert not is_answer(made, path, set())
    assert not is_answer(made, path, {"body", "code"})


def _lies(path: str, options: object, chunk: object, cursor: object, finish: object) -> Any:
    lies = {"none": None, "many": [1, 2], "yes": True, "other": Same("c.exe", "0" * 64, b"", 0)}
    return lies[Path(path).stem]


@pytest.mark.parametrize("lie", ["none", "many", "yes", "other"])
def test_a_scan_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    """Each lie is an error of its own file, and ends."""
    real = dispatcher.prepare_members

    def prepare(path: str) -> Any:
        return _lies if Path(path).stem == lie else real

    for name in ("a", lie, "z"):
        (tmp_path / f"{name}.exe").write_bytes(sample("console-x86.exe"))
    task = dispatcher.Dispatcher._task

    def lying(self: Any, path: str, *arguments: Any, **named: Any) -> Any:
        made = task(self, path, *arguments, **named)
        made.function = prepare(path)
        return made

    monkeypatch.setattr(dispatcher.Dispatcher, "_task", lying)
    bundle = bundles.load(bundles.resolve(None))
    options = ScanOptions(members="each", jobs=1)
    *records, _ = scan([str(tmp_path)], bundle, options)
    found = {Path(record.path).stem: record for record in records}  # type: ignore[union-attr]
    assert found.keys() == {"a", lie, "z"}
    assert isinstance(found["a"], Result)
    assert isinstance(found["z"], Result)
    told = found[lie]
    assert isinstance(told, Failed)
    assert (told.code, told.reason) == ("crash", "the process that read it sent an invalid answer")
