"""Searches a file for the patterns of a rule set, in worker processes, with the extra `yara`."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from maltriage.sample.made_with import made_with
from maltriage.sample.pe import read_headers
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample

SECONDS = 30
"""Time limit of the search in a file."""
_BUILDERS = ("language", "compiler", "linker")

Build = tuple[int, str]
"""Bits of a program (0: no program), and what built it as its headers say ("": unknown)."""
Answer = tuple[dict[str, dict[str, int]], Build, str]
"""The rules that match, each with its patterns found and where the first match of each starts; how
the file was built; its SHA-256."""


def searched(
    path: str,
    source: str,
    reading: Reading = Reading(),  # noqa: B008 (frozen)
) -> Answer:
    """The rules that match the bytes of a file (of a PNG its pixels), and what the file is.

    Args:
        source: YARA text, compiled once in each worker.

    Raises:
        SampleError: the file gives no sample.
    """
    contents = read_sample(path, reading)
    data = contents.data[:]  # YARA-X takes only bytes: of a mapped file a copy
    found = {
        rule.identifier: {p.identifier: p.matches[0].offset for p in rule.patterns if p.matches}
        for rule in _scanner(source).scan(data).matching_rules
    }
    return found, build_of(data), hashlib.sha256(contents.complete).hexdigest()


def build_of(data: bytes) -> Build:
    """How a program was built: bits, and compiler (or linker) with its version."""
    headers = read_headers(data, bare=True)
    if headers is None:
        return 0, ""
    tools = made_with(data, headers, None)
    return headers.bits, next((tool.text for tool in tools if tool.kind in _BUILDERS), "")


@lru_cache(maxsize=2)
def _scanner(source: str) -> Any:
    import yara_x

    scanner = yara_x.Scanner(yara_x.compile(source))
    scanner.max_matches_per_pattern(1)
    scanner.set_timeout(SECONDS)
    return scanner
