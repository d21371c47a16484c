"""A scan on a Ray cluster: the same records as on one machine, in the same order.

    walk -> pieces -> actors, each with the local engine (`cluster.actor`) -> records

The walk, the store of results and the outputs stay where the command runs; files are read on the
nodes, at the same paths. Ray's actors are told what to do one by one: its data sets would list all
files first, carry 70 KB of views per file from who reads to who has the model, and lose a task for
a file that kills its process.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from maltriage.bundle import Bundle
from maltriage.cluster.actor import Sent, Setup
from maltriage.cluster.actor_pool import POLL, Pool, actor_cpus
from maltriage.cluster.chunks import Piece, complete_among, cut
from maltriage.cluster.connection import CLIENT, LOCAL, connected, need_ray
from maltriage.cluster.nodes import Members
from maltriage.cluster.shards import (
    PART_BYTES,
    PART_FILES,
    Manifest,
    Part,
    Shards,
    digest_of,
    outside,
    write_part,
)
from maltriage.errors import MaltriageError
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import Record, Summary
from maltriage.similar import index as indexes
from maltriage.similar.search import NO_INDEX, path_of_index
from maltriage.source.files import walk
from maltriage.source.urls import is_url, scheme_of
from maltriage.triage.options import MODEL_SHARE, Progress, ScanOptions
from maltriage.triage.pipeline import summary
from maltriage.triage.scan_cache import ScanCache, settings_of
from maltriage.work.workers import cores

STOP_SECONDS = 10.0
"""That actors have to hand in what they have when a scan is stopped, beyond the time of a file."""


def check(options: ScanOptions) -> None:
    """Raise MaltriageError where options ask for what only works on one machine, or where the extra
    `ray` is not installed."""
    need_ray()
    if options.walk.stdin is not None:
        raise MaltriageError("-: standard input is read on this machine only (--engine local)")
    if options.checks:
        raise MaltriageError(
            "--verify with --engine ray puts all results to the test or none: --top 0, or scan"
            " the first ones again with --engine local"
        )


def scan(
    paths: Iterable[str],
    bundle: Bundle,
    options: ScanOptions,
    address: str = LOCAL,
    *,
    cache: ScanCache | None = None,
    progress: Progress | None = None,
    changed: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """`pipeline.scan`, on the nodes of a Ray cluster: its arguments, records and errors.

    Args:
        options: `jobs` are the workers of one actor, which gets as many CPUs; 0: as many as the
            smallest node has, four at most. `device` "auto" is the CPU; "cuda" takes actors to
            nodes with a GPU.
        address: see `ray_cluster.connected`.

    Raises:
        MaltriageError: besides, there is no such cluster, or no node of it is large enough, or
            maltriage there is of another version.
    """
    check(options)
    progress, cache = progress or Progress(), cache or ScanCache()
    paths = list(paths)
    began = time.monotonic()
    with cache:
        with opened(paths, bundle, options, address) as (pool, _):
            yield from records(paths, options, pool, cache, progress, changed, stop)
        interrupted = stop()
    yield summary(progress, bundle, time.monotonic() - began, interrupted=interrupted)
    if not interrupted:
        cache.end()  # not before the summary is written


def write(
    paths: Iterable[str],
    bundle: Bundle,
    options: ScanOptions,
    shards: Shards,
    address: str = LOCAL,
    *,
    progress: Progress | None = None,
    changed: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Summary]:
    """`scan`, whose records are written on the nodes, to files in a folder that all of them have.

    Files are in the same part whenever the same is walked, so that parts that are whole are left
    alone with `shards.resume`. Nothing is kept in a store.

    Yields:
        The summary, once.

    Raises:
        MaltriageError: besides, the folder cannot be written, or has other parts in it.
    """
    check(options)
    progress, paths = progress or Progress(), list(paths)
    outside(shards.folder, paths)
    began = time.monotonic()
    with Manifest(shards) as manifest:

        def ended(counts: Counts) -> Summary:
            return summary(counts, bundle, time.monotonic() - began, interrupted=stop())

        with opened(paths, bundle, options, address) as (pool, setup):
            digest = setup.index.sha256 if setup.index else None
            made_with = settings_of(bundle, options, digest).digest
            for _ in parts(paths, options, pool, manifest, made_with, progress, ended, stop):
                progress.in_flight = pool.in_flight()
                changed(progress)
        end = ended(progress)
        if not end.interrupted:
            manifest.end(end)
    yield end


def parts(
    paths: Iterable[str],
    options: ScanOptions,
    pool: Pool,
    manifest: Manifest,
    made_with: bytes,
    progress: Progress,
    ended: Callable[[Counts], Summary],
    stop: Callable[[], bool],
) -> Iterator[None]:
    """Have all parts written that are not there, by actors that are; see `write`.

    Args:
        made_with: digest of the settings that records depend on.
        ended: the summary of what was counted.

    Yields:
        None, several times a second.
    """
    found = walk(paths, options.walk, members=options.archives is not None, stop=stop)
    pieces = enumerate(cut(found, lambda file: None, files=PART_FILES, size=PART_BYTES))
    window: list[tuple[Piece, Part, str]] = []
    more = True
    while (more or window) and not stop():
        while more and len(window) < pool.room(1) and not stop():
            number, piece = next(pieces, (0, None))
            if piece is None or stop():  # then the walk has ended early, and the piece with it
                more = False
                break
            digest = digest_of(made_with, manifest.shards, piece.files)
            known = manifest.counts(number, digest)
            if known is not None:
                progress.join(known)
                yield
                continue
            piece.target = manifest.part(number)
            window.append((piece, piece.target, digest))
            pool.add(piece)
        if not stop():
            pool.step(POLL)
        _list(window, manifest, progress, ended)
        yield
    if window:
        pool.stop(options.timeout + STOP_SECONDS)
        _list(window, manifest, progress, ended)


def _list(
    window: list[tuple[Piece, Part, str]],
    manifest: Manifest,
    progress: Progress,
    ended: Callable[[Counts], Summary],
) -> None:
    """Take note of parts that are whole by now."""
    for item in [item for item in window if item[0].complete]:
        piece, part, digest = item
        counts = piece.written
        if counts is None:  # it was divided, and came back
            counts = write_part(part, (record for record, _, _ in piece.records()), ended)
        assert counts is not None
        manifest.add(part.number, digest, counts)
        progress.join(counts)
        window.remove(item)


def _setup(
    paths: Sequence[str], bundle: Bundle, options: ScanOptions, cpus: int
) -> tuple[Setup, tuple[bytes, bytes]]:
    """What actors are told, and the bytes of the bundle and of the index."""
    path, data = path_of_index(bundle, options.index), b""
    index = None
    if path is not None:
        data = indexes.data_of(path)
        indexes.parse(data, path).check(bundle, path)
        index = Sent(str(path), hashlib.sha256(data).hexdigest())
    there = replace(
        options,
        walk=replace(options.walk, results=()),
        device="cuda" if options.device == "cuda" else "cpu",
        jobs=cpus,
        threads=options.threads or max(1, round(MODEL_SHARE * cpus)),
        index=NO_INDEX,
        known=(),
    )
    sent = Sent(bundle.path, hashlib.sha256(bundle.model).hexdigest())
    named = [*paths, *(known.path for known in options.known)]
    rooted = all(is_url(path) or os.path.isabs(path) for path in named)
    folder = "" if rooted else os.getcwd()
    urls = {f"{scheme_of(path)}://" for path in paths if is_url(path)}
    return Setup(there, sent, index, options.known, folder, tuple(urls)), (bundle.model, data)


@contextmanager
def opened(
    paths: Sequence[str], bundle: Bundle, options: ScanOptions, address: str
) -> Iterator[tuple[Pool, Setup]]:
    """Actors on a cluster, and what they were told; arguments and errors are those of `scan`."""
    with connected(address, max(cores(), options.jobs)) as ray:
        # Through a client server, no node is this process's own.
        own = None
        if not address.startswith(CLIENT):
            own = ray.get_runtime_context().get_node_id()
        with Members(ray, own) as members:
            cpus = actor_cpus(members.now(), options)
            setup, data = _setup(paths, bundle, options, cpus)
            with Pool(ray, members, setup, data, cpus, gpu=options.device == "cuda") as pool:
                yield pool, setup


def records(
    paths: Iterable[str],
    options: ScanOptions,
    pool: Pool,
    cache: ScanCache,
    progress: Progress,
    changed: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> Iterator[Record]:
    """The records of files, in the order of the walk, by actors that are there; see `scan`."""
    look = options.checks != 0
    found = walk(paths, options.walk, members=options.archives is not None, stop=stop)
    pieces = cut(found, lambda file: cache.recall(file, options.walk.max_size, look=look))
    window: deque[Piece] = deque()
    more = True
    while more or window:
        while more and len(window) < pool.room() and not stop():
            piece = next(pieces, None)
            if piece is None:
                more = False
            else:
                window.append(piece)
                pool.add(piece)
        if stop():
            pool.stop(options.timeout + STOP_SECONDS)
            more, window = False, deque(complete_among(window))
        while window and window[0].complete:
            yield from _given(window.popleft(), cache, progress, keep=look)
            changed(progress)
        if window:
            pool.step(POLL)
            progress.in_flight = pool.in_flight()
            changed(progress)


def _given(piece: Piece, cache: ScanCache, progress: Progress, *, keep: bool) -> Iterator[Record]:
    """The records of a piece, which are kept as they go."""
    for path in piece.several():
        cache.forget(path)
    for record, file, new in piece.records():
        if new and keep:
            cache.keep_made(record, file)
        progress.add(record)
        yield record
    cache.commit()
