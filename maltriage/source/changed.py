"""Walks of watched folders, which find the files that no event has told of."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

SETTLED = 1.0
"""Seconds for which a file must not change before it is read: it may be written still."""
BURST = 1000
"""Changes at once after which files are looked for as well: the system drops events that nobody
takes in time, about which watchfiles says nothing. It holds 16,384, or some 5,000 files."""
LOOK_SECONDS, LOOK_SHARE = 60.0, 0.01
"""Seconds after which files are looked for without a burst; most of the time that looks take."""


class Look:
    """Walks of watched folders, for what no event has told of.

    Args:
        depth: folders below a root that are walked; None: all.
    """

    def __init__(self, roots: list[str], depth: int | None) -> None:
        self._roots, self._depth = roots, depth
        self._begun = self._at = time.time()
        self._folders = {folder for folder, _ in self._walk()}
        self._soon, self._next = 0.0, time.monotonic() + LOOK_SECONDS
        self.missed = False
        """Whether there may be something that no event has told of."""

    def is_due(self, changes: int) -> bool:
        """Whether to look again, where so many changes were told of just now: after a burst, after
        events that are lost, and now and then."""
        self.missed = self.missed or changes >= BURST
        now = time.monotonic()
        return now >= self._next or (self.missed and changes < BURST and now >= self._soon)

    def again(self) -> list[str]:
        """The files that have changed since about the last look, and those of folders that are new
        or were moved there."""
        begun, since = time.monotonic(), max(self._at - SETTLED, self._begun)
        self._at, before = time.time(), self._folders
        changed, unread = list[str](), list[str]()
        self._folders = set[str]()
        for folder, names in self._walk(unread):
            self._folders.add(folder)
            for name in names:
                path = os.path.join(folder, name)
                with suppress(OSError):  # gone again
                    status = os.lstat(path)  # Windows has the time of creation in the first
                    if folder not in before or max(status.st_ctime, status.st_mtime) >= since:
                        changed.append(path)
        # What could not be listed this time is not new the next time.
        above = tuple(os.path.join(folder, "") for folder in unread)
        self._folders |= {folder for folder in before if os.path.join(folder, "").startswith(above)}
        ended = time.monotonic()
        self._soon = ended + (ended - begun) / LOOK_SHARE
        self._next = max(self._soon, ended + LOOK_SECONDS)
        self.missed = False
        return changed

    def _walk(self, unread: list[str] | None = None) -> Iterator[tuple[str, list[str]]]:
        """The folders, with the names of their files.

        Args:
            unread: gets the folders that could not be listed.
        """

        def note(error: OSError) -> None:
            if unread is not None:
                unread.append(error.filename)

        for root in self._roots:
            for folder, below, names in os.walk(root, onerror=note):
                level = folder.removeprefix(root).count(os.sep)
                if self._depth is not None and level >= self._depth:
                    below.clear()
                yield folder, names
