"""Clean files of one package are alike: how sure a rate is, where whole folders are drawn."""

from __future__ import annotations

import io

from rich.console import Console

from maltriage.assess.verdicts.clean_files import over_folders
from maltriage.metrics import clopper_pearson
from maltriage.report.documents.evaluation import CleanKind, CleanReport
from maltriage.report.documents.record import ModelRef
from maltriage.report.studies.clean_files import render


def folders(flagged: list[int], files: int = 50) -> list[CleanKind]:
    return [
        CleanKind(f"package-{i}", files, hits, clopper_pearson(hits, files))
        for i, hits in enumerate(flagged)
    ]


def test_flags_of_one_folder_say_less_than_flags_of_many() -> None:
    together, apart = over_folders(folders([20] + [0] * 19)), over_folders(folders([1] * 20))
    assert together is not None
    assert apart is not None
    exact = clopper_pearson(20, 1000)
    assert together.value == apart.value == exact.value == 0.02
    assert apart.low == apart.high == 0.02  # no folder differs from another
    assert together.low == 0.0
    assert together.high > exact.high
    assert over_folders(folders([20] + [0] * 19)) == together  # seeded


def test_folders_count_by_their_files() -> None:
    found = over_folders([*folders([0] * 10, 1), *folders([10], 990)])
    assert found is not None
    assert found.value == 0.01
    assert found.low == 0.0
    assert found.high <= 10 / 990


def test_few_folders_say_nothing() -> None:
    assert over_folders(folders([1] * 9)) is None
    assert over_folders(folders([1] * 10)) is not None


def test_the_screen_says_so() -> None:
    rows = folders([20] + [0] * 19)
    every = CleanKind("all", 1000, 20, clopper_pearson(20, 1000))
    for by_folder in (over_folders(rows), None):
        report = CleanReport(
            model=ModelRef("net", "ab" * 32),
            all=every,
            by_folder=by_folder,
            kinds=[],
            folders=rows,
            unknown=0,
            unreadable=0,
            malware_like=[],
        )
        console = Console(file=io.StringIO(), width=80)
        render(report, console)
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert ("95 % interval over 20 whole folders: 0.00% to 6.00%" in shown) == bool(by_folder)
