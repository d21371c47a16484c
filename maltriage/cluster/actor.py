"""An actor of a Ray cluster: the local engine, on the files that it is given.

Imports are late: the first call can then report another version of maltriage on a node, whatever
differs there.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from maltriage.errors import MaltriageError
from maltriage.version import __version__

if TYPE_CHECKING:
    from maltriage.bundle import Bundle
    from maltriage.cluster.shards import Shard, Written
    from maltriage.similar.search import Searcher
    from maltriage.source.files import Found, Rejected
    from maltriage.source.known import KnownList
    from maltriage.triage.engines.done import Done
    from maltriage.triage.options import ScanOptions
    from maltriage.triage.pipeline import Engine

T = TypeVar("T")
LEVEL = 1
"""Compression level of zlib for records, which shrinks them to a quarter."""


@dataclass(frozen=True)
class Sent:
    """A file sent along with its bytes: its name, and its SHA-256 in hex."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Setup:
    """Settings of an actor.

    `options` exclude paths that differ between nodes; `known` are lists that a node reads itself,
    with the number of hashes in them; `folder` is the base of relative paths, empty for none;
    `urls` are the starts of the URLs to read, up to `://`.
    """

    options: ScanOptions
    bundle: Sent
    index: Sent | None
    known: tuple[KnownList, ...]
    folder: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """The answer of a ready actor: its place, or the problem."""

    node: str
    host: str
    problem: str | None = None


@dataclass(frozen=True)
class Unable:
    """The answer of an actor that could not do a chunk, by no fault of its files.

    `unseen`: files that its node does not see; without any it can start no processes, and is of no
    use any more.
    """

    reason: str
    unseen: tuple[str, ...] = ()


def unseen(path: str) -> str | None:
    """Why this machine does not see a file; None: it does."""
    from maltriage.source.archive.find import split_path

    try:
        os.stat(split_path(path)[0])
    except OSError as error:
        return error.strerror or str(error)
    return None


def _unseen_among(paths: Sequence[str]) -> Unable | None:
    found = {path: why for path in paths if (why := unseen(path)) is not None}
    return Unable(next(iter(found.values())), tuple(found)) if found else None


class Scanner:
    """An engine in an actor. `scan` and `write` may be called by several threads at once.

    `look` are the files of a chunk to look for, before and after it: a node that does not see one
    would give nothing but errors, and faster than any other gives results.
    """

    def __init__(self) -> None:
        from maltriage.work.forkserver import FOLDER

        os.environ.pop(FOLDER, None)  # that of the process that started this one
        self._engine: Engine | None = None
        self._stopped = False

    def arrived(self) -> None:
        """Return once the process runs, ready or not."""

    def open(self, version: str, schema: str, setup: bytes, model: bytes, index: bytes) -> Opened:
        """Load the model and start workers.

        Args:
            version, schema: of the caller, which must equal the actor's.
            setup: a pickled `Setup`, unpickled only if they do.
            model, index: bytes of the bundle and of the index; empty: none.
        """
        # Before NumPy is loaded: its threads would take the cores from workers and model.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        import ray

        from maltriage.report.documents.record import SCHEMA_VERSION

        host, node = platform.node(), ray.get_runtime_context().get_node_id()
        if (version, schema) != (__version__, SCHEMA_VERSION):
            problem = (
                f"{host} has maltriage {__version__} with schema {SCHEMA_VERSION}, and this is"
                f" {version} with {schema}: they must be the same"
            )
            return Opened(node, host, problem)
        try:
            self._open(pickle.loads(setup), model, index)
        except MaltriageError as error:
            return Opened(node, host, f"{host}: {error}")
        return Opened(node, host)

    def _open(self, setup: Setup, model: bytes, index: bytes) -> None:
        from maltriage import bundle as bundles
        from maltriage.triage.pipeline import Engine
        from maltriage.work.forkserver import expect_urls

        expect_urls(setup.urls)
        # A worker process imports the file that its parent runs: here Ray's, and Ray with it.
        vars(sys.modules["__main__"]).pop("__file__", None)
        if setup.folder:
            try:
                os.chdir(setup.folder)  # workers start in their parent's folder
            except OSError as error:
                raise MaltriageError(f"no folder {setup.folder}: {error.strerror}") from error
        _check(model, setup.bundle)
        bundle = bundles.verified(model, setup.bundle.path)
        options = replace(setup.options, known=_known_here(setup.known))
        searcher = _searcher(setup.index, index, bundle)
        if self._stopped:  # by `close`, meanwhile
            raise MaltriageError("the scan has ended")
        engine = Engine(bundle, options, searcher)
        engine.__enter__()
        engine.begin()
        self._engine = engine
        if self._stopped:
            self.close()

    def scan(self, files: Sequence[Found | Rejected], look: Sequence[str]) -> Done | Unable:
        """The records of files; of the first ones only, if stopped meanwhile."""
        from maltriage.triage.engines.done import done

        engine = self._engine
        assert engine is not None
        made = self._tried(look, lambda: done(engine, files, lambda: self._stopped))
        if isinstance(made, Unable):
            return made
        return replace(made, records=zlib.compress(made.records, LEVEL), small=True)

    def _tried(self, look: Sequence[str], work: Callable[[], T]) -> T | Unable:
        """What `work` returns, unless the node does not see its files or the engine is broken."""
        if (before := _unseen_among(look)) is not None:
            return before
        assert self._engine is not None
        try:
            made = work()
            # What waited when processes could not be started any more is an error of its file.
            self._engine.begin().workers.submit(os.getpid)
        except MaltriageError as error:
            if not isinstance(error.__cause__, BrokenProcessPool):
                raise
            return Unable(str(error))
        return _unseen_among(look) or made

    def write(
        self, files: Sequence[Found | Rejected], part: Shard, look: Sequence[str]
    ) -> Written | Unable | None:
        """Write the records of files; return the count of each kind, None if stopped.

        Raises:
            MaltriageError: they cannot be written.
        """
        from maltriage.cluster.shards import write_shard
        from maltriage.results.policy import Policy
        from maltriage.triage.options import Progress
        from maltriage.triage.pipeline import summary

        engine = self._engine
        assert engine is not None

        def work() -> Written | None:
            began = time.monotonic()
            return write_shard(
                part,
                engine.records(
                    files, policy=Policy(), progress=Progress(), stop=lambda: self._stopped
                ),
                lambda counts: summary(
                    counts, engine.bundle, time.monotonic() - began, interrupted=False
                ),
                lambda: not self._stopped and _unseen_among(look) is None,
            )

        return self._tried(look, work)

    def stop(self) -> None:
        """Begin no more files."""
        self._stopped = True

    def close(self) -> None:
        """End the engine, ready or not, and remove what is temporary: who is killed removes
        nothing."""
        from maltriage.files.temporary import remove_folder
        from maltriage.work.forkserver import FOLDER

        self._stopped = True
        if self._engine is not None:
            self._engine.__exit__(None, None, None)
        if folder := os.environ.get(FOLDER):
            remove_folder(Path(folder))


def _check(data: bytes, sent: Sent) -> None:
    if hashlib.sha256(data).hexdigest() != sent.sha256:
        raise MaltriageError(f"{sent.path}: not the file that was sent (digest)")


def _searcher(sent: Sent | None, data: bytes, bundle: Bundle) -> Searcher | None:
    from maltriage.similar.search import searcher_of

    if sent is None:
        return None
    _check(data, sent)
    return searcher_of(data, bundle, sent.path)


def _known_here(lists: Sequence[KnownList]) -> tuple[KnownList, ...]:
    """The same lists, read on this node at the same paths."""
    from maltriage.files.places import cache_dir
    from maltriage.source.known import FOLDER, read_known

    here = []
    for known in lists:
        own = read_known(known.path, cache_dir() / FOLDER)
        if own.counts != known.counts:
            raise MaltriageError(f"{known.path}: another list than where the scan was started")
        here.append(own)
    return tuple(here)
