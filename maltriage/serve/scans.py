"""Scans that are asked for over HTTP: one at a time, their results in memory."""

from __future__ import annotations

import io
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import msgspec
from rich.console import Console

from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.logs import logger
from maltriage.report.documents.record import FileRecord, Result, Summary
from maltriage.report.formats import SCAN, RenderOptions, open_renderer
from maltriage.similar.groups import grouped
from maltriage.source.stdin import STDIN, read_stdin
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan

_log = logger(__name__)

KEPT = 32
"""Results that are kept, the latest ones; each may be asked for as JSON and as a page."""
KEPT_BYTES = 256 << 20
"""Bytes of kept results. The latest one is kept whatever its size."""
_ENDING = "the service ends: nothing was scanned, or not all of it"
WAITING = 8
"""Scans that may wait for the one that runs."""


class BusyError(MaltriageError):
    """Too many scans wait already."""


class EndingError(MaltriageError):
    """The service ends: a scan was not begun, or is not complete."""


@dataclass(frozen=True)
class Finished:
    """A scan: its name in URLs, its document (`--format json`) and its page."""

    name: str
    document: bytes
    page: bytes

    @property
    def size(self) -> int:
        return len(self.document) + len(self.page)


class Scans:
    """Runs scans with one model and one set of options. Methods may be called by any thread, with a
    `place`.

    Args:
        allowed: folders whose files may be named by their paths; none: no path may be.
        stop: once it returns true, no more files are begun.
    """

    def __init__(
        self,
        bundle: Bundle,
        options: ScanOptions,
        allowed: Sequence[str] = (),
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bundle, self._options, self._stop = bundle, options, stop
        self._allowed = [os.path.realpath(folder) for folder in allowed]
        self._running = threading.Lock()
        self._places = threading.BoundedSemaphore(WAITING + 1)
        self._kept: OrderedDict[str, Finished] = OrderedDict()
        self._looking = threading.Lock()
        self.trouble: str | None = None
        """Why the last scan failed as a whole; None: it did not."""

    @property
    def max_size(self) -> int:
        """Bytes of the largest upload."""
        return self._options.walk.max_size

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the scans that run or wait, taken before an upload is read.

        Raises:
            BusyError: there is none.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError("too many scans wait already: ask again later")
        try:
            yield
        finally:
            self._places.release()

    def of_bytes(self, data: bytes, name: str) -> Finished:
        """Scan an upload, which stays in memory.

        Args:
            name: what records call it, in place of a path.

        Raises:
            MaltriageError: see `pipeline.scan`.
        """
        with ExitStack() as resources:
            stdin = resources.enter_context(read_stdin(io.BytesIO(data), self.max_size))
            walk = replace(self._options.walk, stdin=stdin)
            return self._scan([STDIN], replace(self._options, walk=walk), name)

    def of_paths(self, paths: Sequence[str]) -> Finished:
        """Scan files and folders of this machine.

        Raises:
            PermissionError: a path is in none of the allowed folders.
            MaltriageError: see `pipeline.scan`.
        """
        for path in paths:
            # A member of an archive is below the archive. Links are resolved, so none leads out.
            if not any(_inside(os.path.realpath(path), folder) for folder in self._allowed):
                raise PermissionError(path)
        return self._scan(paths, self._options, None)

    def find(self, name: str) -> Finished | None:
        """A result that is still kept."""
        with self._looking:
            return self._kept.get(name)

    def _scan(self, paths: Sequence[str], options: ScanOptions, name: str | None) -> Finished:
        with self._running:
            if self._stop():
                raise EndingError(_ENDING)
            began = time.monotonic()
            try:
                finished = self._finish(paths, options, name)
            except EndingError:
                raise
            except MaltriageError as error:
                self.trouble = str(error)
                _log.error("a scan failed: %s", error)
                raise
            self.trouble = None
            _log.info("scan %s in %.2f s", finished.name, time.monotonic() - began)
        with self._looking:
            self._kept[finished.name] = finished
            while len(self._kept) > 1 and (
                len(self._kept) > KEPT or sum(f.size for f in self._kept.values()) > KEPT_BYTES
            ):
                self._kept.popitem(last=False)
        return finished

    def _finish(self, paths: Sequence[str], options: ScanOptions, name: str | None) -> Finished:
        document, page = io.BytesIO(), io.BytesIO()
        console = Console(file=io.StringIO())
        renderers = [
            open_renderer(SCAN["json"], document, RenderOptions(), console),
            open_renderer(SCAN["html"], page, RenderOptions(), console),
        ]
        for record in grouped(scan(paths, self._bundle, options, stop=self._stop)):
            for renderer in renderers:
                if isinstance(record, Summary):
                    if record.interrupted:
                        raise EndingError(_ENDING)
                    renderer.finish(_summary(record, name))
                else:
                    renderer.write(_named(record, name))
        return Finished(uuid.uuid4().hex, document.getvalue(), page.getvalue())


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _named(record: FileRecord, name: str | None) -> FileRecord:
    """A record of an upload by the name that was given with it."""
    if name is None or not record.path.startswith(STDIN):
        return record
    path = name + record.path[len(STDIN) :]
    if isinstance(record, Result):
        return msgspec.structs.replace(record, path=path)
    return msgspec.structs.replace(record, path=path)


def _summary(summary: Summary, name: str | None) -> Summary:
    if name is None or not summary.groups:
        return summary
    groups = [
        msgspec.structs.replace(group, path=name + group.path[len(STDIN) :])
        for group in summary.groups
    ]
    return msgspec.structs.replace(summary, groups=groups)
