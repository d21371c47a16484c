"""How many files there are, counted once a scan is stopped."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from maltriage.source import walked
from maltriage.source.files import WalkOptions
from maltriage.source.urls import Remote
from maltriage.source.walked import Walked

OPTIONS = WalkOptions(max_size=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(20):
        (tmp_path / str(number % 3)).mkdir(exist_ok=True)
        (tmp_path / str(number % 3) / f"{number}.exe").write_bytes(b"MZ")
    (tmp_path / "large").write_bytes(b"MZ large")  # which is skipped, and has a record
    return tmp_path


@pytest.mark.parametrize(
    ("files", "size", "few"), [(21, 40, True), (20, 40, False), (99, 39, False), (99, 99, True)]
)
def test_whether_there_are_few_is_known_before_the_first(
    folder: Path, files: int, size: int, few: bool
) -> None:
    found = Walked([str(folder)], OPTIONS)
    assert found.few(files, size) is few
    assert len(list(islice(found, 3))) == 3
    assert found.total() == 21


@pytest.mark.parametrize("taken", [0, 1, 7, 21])
def test_the_rest_is_counted(folder: Path, taken: int) -> None:
    files = Walked([str(folder)], OPTIONS)
    assert len(list(islice(files, taken))) == taken
    assert files.total() == 21
    assert list(files) == []


def test_what_takes_too_long_is_unknown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walked, "COUNT_SECONDS", -1.0)
    assert Walked([str(folder)], OPTIONS).total() is None


def test_urls_are_not_listed_for_it(folder: Path) -> None:
    options = replace(OPTIONS, remote=Remote({}))
    assert Walked([str(folder)], options).total() is None
