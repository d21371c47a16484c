"""Searches a file for the patterns of a rule set, in worker processes, with the extra `yara`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from maltriage.source.files import read_sample
from maltriage.source.reading import Reading

SECONDS = 30
"""Time limit of the search in a file."""


def matches(
    path: str,
    source: str,
    reading: Reading = Reading(),  # noqa: B008 (frozen)
) -> dict[str, list[str]]:
    """The rules that match the bytes of a file (of a PNG its pixels), each with its patterns found
    there.

    Args:
        source: YARA text, compiled once in each worker.

    Raises:
        SampleError: the file gives no sample.
    """
    data = read_sample(path, reading).data
    found = _scanner(source).scan(data)
    return {
        rule.identifier: [p.identifier for p in rule.patterns if len(p.matches)]
        for rule in found.matching_rules
    }


@lru_cache(maxsize=2)
def _scanner(source: str) -> Any:
    import yara_x

    scanner = yara_x.Scanner(yara_x.compile(source))
    scanner.max_matches_per_pattern(1)
    scanner.set_timeout(SECONDS)
    return scanner
