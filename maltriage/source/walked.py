"""A walk that knows how many files it gave, and how many there are."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from maltriage.source.files import Found, Rejected, WalkOptions, walk

COUNT_SECONDS = 0.5
"""Time for counting the rest of the files once a scan is stopped."""


class Walked(Iterator[Found | Rejected]):
    """The files below paths, lazily, see `source.files.walk`."""

    def __init__(
        self,
        paths: Iterable[str],
        options: WalkOptions,
        *,
        members: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._files = walk(paths, options, members=members, stop=stop)
        self._ends_early = options.remote is not None
        self._ahead: deque[Found | Rejected] = deque()
        """Files of the walk that were looked at, and not given yet."""
        self._given = 0

    def __next__(self) -> Found | Rejected:
        file = self._ahead.popleft() if self._ahead else next(self._files)
        self._given += 1
        return file

    def few(self, files: int, size: int) -> bool:
        """Whether the walk has at most so many files, of so many bytes together.

        It is asked for one more at most, before its first file is given.
        """
        while len(self._ahead) <= files and size >= 0:
            file = next(self._files, None)
            if file is None:
                return True
            self._ahead.append(file)
            size -= file.size if isinstance(file, Found) else 0
        return False

    def total(self) -> int | None:
        """Number of all files, those included that were not asked for yet.

        Returns:
            None: there are URLs among the paths, whose walk ends where a scan is stopped, or it
            takes more than `COUNT_SECONDS`.
        """
        if self._ends_early:
            return None
        end = time.monotonic() + COUNT_SECONDS
        for _ in self:
            if time.monotonic() > end:
                return None
        return self._given
