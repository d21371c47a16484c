"""Searches files and folders for the strings of a rule set, in worker processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from maltriage.probe.rule.gather import Candidate
from maltriage.probe.rule.match import Answer, searched
from maltriage.sample.errors import SampleError
from maltriage.source.files import Found, WalkOptions, walk
from maltriage.source.reading import MAX_FILE_BYTES, Reading
from maltriage.work.window import in_order
from maltriage.work.workers import Workers

RULE_SET = "candidates"
_PREFIX = "$c"
_IN_FLIGHT = 64


def search(
    workers: Workers, paths: Iterable[str], source: str, max_size: int = MAX_FILE_BYTES
) -> Iterator[tuple[str, Answer | SampleError]]:
    """What `searched` says of each file of files and folders, or the error of searching it, with
    its path; in the order of the walk."""
    reading = Reading(max_size=max_size)

    def jobs() -> Iterator[tuple[str, Future[Answer] | SampleError]]:
        for found in walk(paths, WalkOptions(max_size=max_size)):
            if isinstance(found, Found):
                yield found.path, workers.submit(searched, found.path, source, reading)
            else:
                yield found.path, SampleError(found.code, found.reason, failed=found.failed)

    return in_order(jobs(), _IN_FLIGHT, workers.timeout)


def rule_set(candidates: Iterable[Candidate]) -> str:
    """Candidates as one rule, to find which of them a file has: see `numbers`."""
    lines = [f"  {_PREFIX}{n} = {item.pattern.yara()}" for n, item in enumerate(candidates)]
    return "\n".join([f"rule {RULE_SET} {{", " strings:", *lines, " condition: any of them }"])


def offsets(found: dict[str, dict[str, int]]) -> dict[int, int]:
    """Of the candidates of a rule set that a file has: by number, where the first match starts."""
    return {
        int(name.removeprefix(_PREFIX)): offset for name, offset in found.get(RULE_SET, {}).items()
    }
