"""`maltriage` whose workers keep all rights, for speed/isolation.py.

    python -m benchmarks.speed.unconfined_scan scan ...

There is no such option. Each worker imports this file again, so imports are where they are needed.
"""

from __future__ import annotations

import os
from typing import Any


def unconfined_main() -> None:
    # As `main` does, before NumPy is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from maltriage.cli.entry import main
    from maltriage.work.workers import Workers

    start = Workers.__init__

    def unconfined(self: Workers, count: int, timeout: float, *others: Any) -> None:
        stdin, urls, _ = others
        start(self, count, timeout, stdin, urls, None)

    setattr(Workers, "__init__", unconfined)  # noqa: B010 - mypy forbids the plain way
    main()


if __name__ == "__main__":
    unconfined_main()
