"""`maltriage` whose workers keep all rights, for benchmarks/isolation.py.

    python benchmarks/unconfined_scan.py scan ...

There is no such option.
"""

from __future__ import annotations

from maltriage.cli.entry import main
from maltriage.source.stdin import Stdin
from maltriage.source.urls import Remote
from maltriage.triage import pipeline
from maltriage.work.isolation import Isolation
from maltriage.work.workers import Workers


def unconfined(
    jobs: int, timeout: float, stdin: Stdin | None, urls: Remote | None, _: Isolation
) -> Workers:
    return Workers(jobs, timeout, stdin, urls, isolation=None)


if __name__ == "__main__":
    setattr(pipeline, "Workers", unconfined)  # noqa: B010 - the name is not its own
    main()
