"""What a run says of the machine that it was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

from maltriage.learn.runs.metadata import last_threads


@pytest.mark.parametrize(
    ("text", "threads"),
    [
        ('{"sittings": [{"threads": 1}, {"threads": 3}]}', 3),
        ('{"sittings": [{"threads": true}, {"threads": "3"}]}', 0),
        *((text, 0) for text in ('{"sittings": []}', "{}", "[", '{"sittings": [{"threads": -1}]}')),
    ],
)
def test_threads_of_the_last_sitting(tmp_path: Path, text: str, threads: int) -> None:
    (tmp_path / "environment.json").write_text(text)
    assert last_threads(tmp_path / "environment.json") == threads
    assert last_threads(tmp_path / "gone.json") == 0
