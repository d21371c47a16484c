"""A scan on a Ray cluster: the same records as on one machine, in the same order.

    walk -> pieces -> actors, each with the local engine (`triage.scanner`) -> records

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
from dataclasses import replace

from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.report.document import Record
from maltriage.sample.source import walk
from maltriage.sample.urls import is_url, scheme_of
from maltriage.sample.workers import cores
from maltriage.triage import index as indexes
from maltriage.triage.cached import ScanCache
from maltriage.triage.options import MODEL_SHARE, Progress, ScanOptions
from maltriage.triage.pieces import Piece, complete_among, cut
from maltriage.triage.pipeline import summary
from maltriage.triage.ray_cluster import LOCAL, connected, need_ray, nodes
from maltriage.triage.ray_pool import POLL, Pool, actor_cpus
from maltriage.triage.scanner import Sent, Setup
from maltriage.triage.similar import NO_INDEX, path_of_index

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
    with connected(address, max(cores(), options.jobs)) as ray, cache:
        cpus = actor_cpus(nodes(ray), options)
        setup, data = _setup(paths, bundle, options, cpus)
        with Pool(ray, setup, data, cpus, gpu=options.device == "cuda") as pool:
            yield from _records(paths, options, pool, cache, progress, changed, stop)
        interrupted = stop()
    yield summary(progress, bundle, time.monotonic() - began, interrupted=interrupted)
    if not interrupted:
        cache.end()  # not before the summary is written


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


def _records(
    paths: Iterable[str],
    options: ScanOptions,
    pool: Pool,
    cache: ScanCache,
    progress: Progress,
    changed: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> Iterator[Record]:
    look = options.checks != 0
    found = walk(paths, options.walk, members=options.archives is not None, stop=stop)
    pieces = cut(found, lambda file: cache.recall(file, options.walk.max_size, look=look))
    window: deque[Piece] = deque()
    more = True
    while more or window:
        while more and len(window) < pool.room and not stop():
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
