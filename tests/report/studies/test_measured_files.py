"""What screens and pages say of the files that a study was made on."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from maltriage.report.studies.measured_files import remarks


@dataclass(frozen=True)
class Study:
    part: str = "all"
    seen: bool = False
    in_index: int | None = None
    missing: int = 0
    unreadable: int = 0
    unknown_labels: dict[str, int] = field(default_factory=dict)


MEMORY = (
    "1 of 2,000 files is in the model's index, usually of its training files: figures on these"
    " measure its memory"
)


@pytest.mark.parametrize(
    ("study", "said"),
    [
        (Study("test"), []),
        (Study("out of fold"), []),
        (Study(seen=True), ["the model was trained on these files: see --folds"]),
        (Study(), ["the overlap with the training files is not known"]),
        (
            Study(in_index=0),
            ["none of 2,000 files is in the model's index, usually of its training files"],
        ),
        (
            Study(in_index=1),
            [MEMORY],
        ),
        (
            Study("test", missing=1, unreadable=2, unknown_labels={"b": 3, "a": 1}),
            [
                "1 file in no fold, or missing",
                "2 files could not be measured",
                "the model does not know a: 1 file left out",
                "the model does not know b: 3 files left out",
            ],
        ),
    ],
)
def test_remarks(study: Study, said: list[str]) -> None:
    assert list(remarks(study, 2000)) == said
