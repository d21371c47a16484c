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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError
from maltriage.version import __version__

if TYPE_CHECKING:
    from maltriage.bundle import Bundle
    from maltriage.cluster.shards import Shard
    from maltriage.report.documents.counts import Counts
    from maltriage.similar.search import Searcher
    from maltriage.source.files import Found, Rejected
    from maltriage.source.known import KnownList
    from maltriage.triage.engines.done import Done
    from maltriage.triage.options import ScanOptions
    from maltriage.triage.pipeline import Engine

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


class Scanner:
    """An engine in an actor. `scan` and `write` may be called by several threads at once."""

    def __init__(self) -> None:
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
        engine = Engine(bundle, options, _searcher(setup.index, index, bundle))
        engine.__enter__()
        engine.begin()
        self._engine = engine

    def scan(self, files: Sequence[Found | Rejected]) -> Done:
        """The records of files; of the first ones only, if stopped meanwhile."""
        from maltriage.triage.engines.done import done

        assert self._engine is not None
        made = done(self._engine, files, lambda: self._stopped)
        return replace(made, records=zlib.compress(made.records, LEVEL), small=True)

    def write(self, files: Sequence[Found | Rejected], part: Shard) -> Counts | None:
        """Write the records of files; return the count of each kind, None if stopped.

        Raises:
            MaltriageError: they cannot be written.
        """
        from maltriage.cluster.shards import write_shard
        from maltriage.results.policy import Policy
        from maltriage.triage.options import Progress
        from maltriage.triage.pipeline import summary

        assert self._engine is not None
        began, bundle = time.monotonic(), self._engine.bundle
        found = self._engine.records(
            files, policy=Policy(), progress=Progress(), stop=lambda: self._stopped
        )
        return write_shard(
            part,
            found,
            lambda counts: summary(counts, bundle, time.monotonic() - began, interrupted=False),
            lambda: not self._stopped,
        )

    def stop(self) -> None:
        """Begin no more files."""
        self._stopped = True


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
