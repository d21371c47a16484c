from __future__ import annotations

import pytest

from maltriage.cli.entry import _reads_files


@pytest.mark.parametrize(
    ("line", "reads"),
    [
        ("scan DIR --no-cache", True),
        ("scan DIR --refresh -f ndjson", True),
        ("explain x.exe", True),
        ("scan DIR", False),  # perhaps all of it is kept
        ("scan DIR --no-cache --help", False),
        ("explain -h", False),
        ("explain https://host/x.exe", False),  # the server has more to import then
        ("scan --no-cache s3://bucket", False),
        ("scan DIR --no-cache --engine ray", False),
        ("doctor", False),
        ("", False),
    ],
)
def test_workers_are_awaited_early_only_where_files_are_read(line: str, reads: bool) -> None:
    assert _reads_files(line.split()) is reads
