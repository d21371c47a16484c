"""What a run says of the machine that it was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

from maltriage.learn.runs.metadata import named_threads


@pytest.mark.parametrize(
    ("text", "threads"),
    [
        ('{"fit": {"threads": 3}}', 3),
        *((text, 0) for text in ('{"fit": {"threads": null}}', "{}", "[", '{"fit": []}')),
        *((f'{{"fit": {{"threads": {value}}}}}', 0) for value in ('"3"', "-1", "0")),
    ],
)
def test_threads_that_were_given(tmp_path: Path, text: str, threads: int) -> None:
    (tmp_path / "config.json").write_text(text)
    assert named_threads(tmp_path / "config.json") == threads
    assert named_threads(tmp_path / "gone.json") == 0
