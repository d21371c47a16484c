"""Interface of stores, files that are read from them, and their errors."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, Protocol

from maltriage.sample.errors import SampleError
from maltriage.source.urls import scrub

HEAD = 256 * 1024
"""Bytes read first of a file, to decide whether it is wanted. Many samples are not larger, and a
second request takes longer than these."""
LEAST_AHEAD, MOST_AHEAD = 64 * 1024, 8 * 1024 * 1024
"""Bytes read at once: at least after a jump, at most in sequential reading. They are held while the
file is open."""
PIECE = 1024 * 1024
"""Bytes taken from a connection at once."""
MAX_REASON = 300
"""Characters kept of a server's error."""


@dataclass(frozen=True)
class Entry:
    """A file in a store, described without reading it.

    `size` is None if unknown. `modified_ns`, since the epoch, and `tag`, a number made of the
    ETag, reveal a change of the file; `modified_ns` None: nothing does.
    """

    url: str
    size: int | None
    modified_ns: int | None = None
    tag: int = 0


class Store(Protocol):
    """Files at URLs of one kind. Every method raises SampleError, with `failed`.

    `parallel`: whether several threads may ask at once.
    """

    parallel: bool

    def status(self, url: str, whole: str) -> Entry | None:
        """The properties of a file; None: a folder.

        Args:
            url: as shown.
            whole: with its secrets, for the server.
        """

    def is_file(self, url: str) -> bool:
        """Whether there is a file, as far as the store answers."""

    def pages(
        self, url: str, depth: int | None, skip: Callable[[str], bool]
    ) -> Iterator[list[Entry | SampleError]]:
        """The files below a folder, page by page.

        Args:
            url: as shown.
            depth: levels of folders below it; None: all.
            skip: takes a folder's URL and returns whether to leave it out.
        """

    def open(self, url: str, limit: int) -> tuple[BinaryIO, int]:
        """A file to read, and its size. At most `limit` + 1 bytes of it are held."""


def stamp(modified: object, tag: object) -> tuple[int | None, int]:
    """`Entry.modified_ns` and `Entry.tag` from a store's values.

    Args:
        modified: a datetime, seconds, or text by ISO 8601 or HTTP; any other value is ignored.
        tag: an ETag or the like, or None.
    """
    number = 0
    if tag:
        number = int.from_bytes(hashlib.blake2b(str(tag).encode(), digest_size=7).digest())
    nanoseconds = _nanoseconds(modified)
    if nanoseconds is None and number:
        nanoseconds = 0
    return nanoseconds, number


def _nanoseconds(modified: object) -> int | None:
    if isinstance(modified, str):
        modified = _time(modified)
    if isinstance(modified, datetime):
        known = modified if modified.tzinfo else modified.replace(tzinfo=UTC)
        modified = known.timestamp()
    if isinstance(modified, int | float) and not isinstance(modified, bool):
        return int(modified * 1e9)
    return None


def _time(text: str) -> datetime | None:
    from email.utils import parsedate_to_datetime  # for URLs alone: every scan imports this module

    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return read(text)
        except (ValueError, OverflowError):
            continue
    return None


def failure(error: BaseException, status: int | None = None) -> SampleError:
    """The error of a file from an error of its store.

    Args:
        status: of an HTTP answer, if any.
    """
    if isinstance(error, SampleError):
        return error
    name = type(error).__name__
    code = "io"
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        code = "not-found"
    elif isinstance(error, PermissionError) or status in (401, 403, 407) or "Credentials" in name:
        code = "unreadable"
    text = (getattr(error, "strerror", None) or str(error)).strip()
    if isinstance(error, TimeoutError) or "Timeout" in name:
        text = text or "no answer in time"
    reason = " ".join(scrub(text or name).split())
    if len(reason) > MAX_REASON:
        reason = f"{reason[:MAX_REASON]}…"
    return SampleError(code, reason, failed=True)


Fetch = Callable[[int, int, io.BytesIO], None]


class _Remote(io.RawIOBase):
    """Base of both kinds of file below: a position, and a callback at the end."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end = end
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._end()
        super().close()


class Ranged(_Remote):
    """A file of known size that is read in ranges, further ahead in sequential reading.

    Args:
        size: of the file, in bytes.
        first: its first bytes, read already.
        fetch: appends the bytes [start, end), all of them.
        end: called when it is closed.
    """

    def __init__(
        self,
        size: int,
        first: bytes,
        fetch: Fetch,
        end: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(end)
        self._size, self._fetch = size, fetch
        self._held, self._from = first, 0
        self._ahead = LEAST_AHEAD

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = _place(offset, whence, self._at, self._size)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        start = self._at - self._from
        held = self._held[start : start + wanted] if start >= 0 else b""
        self._at += len(held)
        missing = wanted - len(held)
        if not missing:
            return held
        # Reading on from the held bytes is likely to continue.
        on = self._at == self._from + len(self._held)
        self._ahead = min(2 * self._ahead, MOST_AHEAD) if on else LEAST_AHEAD
        out = io.BytesIO()
        if missing >= self._ahead:
            # Nothing ahead, so that there is only one copy of a possibly whole file.
            out.write(held)
            self._fetch(self._at, self._at + missing, out)
            self._at += missing
            self._held, self._from = b"", self._at
            return out.getvalue()
        self._fetch(self._at, min(self._size, self._at + self._ahead), out)
        self._held, self._from = out.getvalue(), self._at
        self._at += missing
        return held + self._held[:missing]


class Streamed(_Remote):
    """A file read forward from its start; all bytes read so far are held.

    Args:
        limit: most bytes held; a larger file is too large (a skip).
        more: appends the next bytes, as many as asked for unless the file ends.
        size: of the file; None: unknown until its end.
        end: called when it is closed.
    """

    def __init__(
        self,
        limit: int,
        more: Callable[[int, io.BytesIO], None],
        size: int | None,
        end: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(end)
        self._limit, self._more = limit, more
        self._held, self._whole = io.BytesIO(), False
        self._size = size

    def whole_size(self) -> int:
        """The size of the file; if unknown, all of it is read."""
        if self._size is None:
            self._size = self._hold(None)
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = self.whole_size() if whence == io.SEEK_END else 0
        self._at = _place(offset, whence, self._at, size)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = None if size is None or size < 0 else self._at + size
        held = self._hold(end)
        if not self._at and (end is None or end >= held):
            data = self._held.getvalue()  # not a copy
        else:
            self._held.seek(self._at)
            data = self._held.read(size)
        self._at += len(data)
        return data

    def _hold(self, end: int | None) -> int:
        """Read up to `end`, or to the end of the file; return the number of bytes held."""
        held = self._held.seek(0, io.SEEK_END)
        while not self._whole and (end is None or held < end):
            wanted = PIECE if end is None else min(PIECE, end - held)
            self._more(wanted, self._held)
            before, held = held, self._held.tell()
            self._whole = held - before < wanted
            if held > self._limit:
                reason = f"above the limit of {self._limit} bytes (--max-size lifts it)"
                raise SampleError("too-large", reason)
        return held


def _place(offset: int, whence: int, at: int, size: int) -> int:
    start = {io.SEEK_SET: 0, io.SEEK_CUR: at, io.SEEK_END: size}[whence]
    if start + offset < 0:
        raise ValueError("a place before the file")
    return start + offset
