"""Building an index of clean programs, of real ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile.make import sample

from maltriage import prevalence
from maltriage.errors import MaltriageError
from maltriage.prevalence import build
from maltriage.probe.common import pieces
from maltriage.source.reading import Reading
from maltriage.work.workers import Workers

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(1, 60.0) as found:
        yield found


def packages(root: Path, **files: tuple[str, ...]) -> Path:
    for package, names in files.items():
        (root / package).mkdir(parents=True)
        for name in names:
            shutil.copy(SAMPLES / name, root / package / name)
    return root


def test_packages_are_counted_and_not_files(tmp_path: Path, workers: Workers) -> None:
    root = packages(
        tmp_path,
        one=("console-x86.exe", "gui-x86.exe"),
        two=("console-x86.exe",),
        three=("library-x64.dll", "console-x64.exe"),
    )
    (root / "note.txt").write_text("no program")
    ticks: list[tuple[int, int]] = []
    found = build([root], workers, Reading(), done=lambda *tick: ticks.append(tick))
    about = found.index.about
    assert (about.packages, about.files) == (3, 5)
    assert ticks == [(number, 4) for number in range(1, 5)]  # the note is a place of its own
    assert (about.pieces_from, about.texts_from) == (2, 2)
    told = found.index.count_texts(
        [b"!This program cannot be run in DOS mode.", b"in no program at all"]
    )
    assert told.tolist() == [3, 0]
    both = found.index.count_pieces(pieces(sample("console-x86.exe"))[1])
    assert both.min() >= 2  # in one and in two
    assert both.max() <= 3
    # What only the two files of one package have is in no index.
    alone = found.index.count_pieces(pieces(sample("library-x64.dll"))[1])
    assert (alone == 0).any()


def test_the_most_common_ones_are_kept(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = packages(tmp_path, a=("gui-x86.exe",), b=("gui-x86.exe",), c=("console-x86.exe",))
    whole = build([root], workers, Reading()).index
    monkeypatch.setattr(prevalence, "MAX_PIECES", int((whole.pieces & np.uint64(4095) >= 3).sum()))
    monkeypatch.setattr(prevalence, "MERGED", 1)  # counted package by package
    some = build([root], workers, Reading()).index
    assert some.about.pieces_from == 3
    assert set(some.pieces.tolist()) == {k for k in whole.pieces.tolist() if k & 4095 >= 3}


def test_an_index_is_extended_as_if_it_were_built_at_once(tmp_path: Path, workers: Workers) -> None:
    first = packages(tmp_path / "first", a=("gui-x86.exe",), b=("gui-x86.exe",))
    second = packages(tmp_path / "second", c=("gui-x86.exe",), d=("dotnet.exe",), e=("dotnet.exe",))
    half = build([first], workers, Reading()).index
    whole = build([first, second], workers, Reading()).index
    more = build([second], workers, Reading(), onto=half).index
    assert more.about == whole.about
    assert (more.texts == whole.texts).all()
    assert (more.pieces == whole.pieces).all()
    assert len(half.pieces) < len(whole.pieces)
    assert more.about.makers == {"MinGW": 3, ".NET": 2}


def test_makers_are_counted_by_package() -> None:
    assert prevalence.makers_of(sample("dotnet.exe"))[0] == ".NET"
    assert prevalence.makers_of(b"no program") == ()


def test_what_gives_no_index(tmp_path: Path, workers: Workers) -> None:
    with pytest.raises(MaltriageError, match="no folder"):
        build([tmp_path / "missing"], workers, Reading())
    with pytest.raises(MaltriageError, match="packages found: 1"):
        build([packages(tmp_path / "one", a=("gui-x86.exe",))], workers, Reading())
