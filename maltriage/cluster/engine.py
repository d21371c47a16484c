"""Scans on a Ray cluster: the same records as on one machine, in the same order.

    walk -> chunks -> actors, each with the local engine (`cluster.actor`) -> records

The walk, the store of results and the outputs stay where the command runs; files are read on the
nodes, at the same paths. Actors are given chunks one by one: Ray's data sets would list all files
first, carry 70 KB of views per file from the reader to the model, and lose a task for a file that
kills its process.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from maltriage.bundle import Bundle
from maltriage.cluster.actor import Sent, Setup
from maltriage.cluster.actor_pool import Pool, actor_cpus
from maltriage.cluster.connection import CLIENT, LOCAL, connected, need_ray
from maltriage.cluster.nodes import Members
from maltriage.cluster.shards import (
    SHARD_BYTES,
    SHARD_FILES,
    Inputs,
    Manifest,
    Shard,
    Shards,
    Written,
    inputs_of,
    outside,
    write_shard,
)
from maltriage.errors import MaltriageError
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import Record, Summary
from maltriage.results.policy import settings_of
from maltriage.similar import index_file
from maltriage.similar.search import NO_INDEX, path_of_index
from maltriage.source.urls import is_url, scheme_of
from maltriage.source.walked import Walked
from maltriage.triage.engines.chunks import Chunk, cut
from maltriage.triage.engines.ordered import STOP_SECONDS, counted, ordered
from maltriage.triage.engines.pool import POLL
from maltriage.triage.options import MODEL_SHARE, Progress, ScanOptions
from maltriage.triage.pipeline import summary
from maltriage.triage.request import ScanRequest
from maltriage.work.cores import cores


def check(options: ScanOptions) -> None:
    """Raise MaltriageError for options that need a single machine, or without the extra
    `ray`."""
    need_ray()
    if options.walk.stdin is not None:
        raise MaltriageError("-: standard input is read on this machine only (--engine local)")
    if options.checks:
        raise MaltriageError(
            "--verify with --engine ray checks all results or none: --top 0, or scan"
            " the first ones again with --engine local"
        )


@dataclass(frozen=True)
class ClusterScan:
    """A scan on the nodes of a Ray cluster: the records of `pipeline.scan`, and its errors.

    Args:
        request: `jobs` of its options are the workers of one actor, which gets as many CPUs; 0: as
            many as the smallest node has, four at most. `device` "auto" is the CPU; "cuda" places
            actors on nodes with a GPU.
        address: see `connection.connected`.

    Raises:
        MaltriageError: also if there is no such cluster, no node of it is large enough, or its
            version of maltriage differs.
    """

    request: ScanRequest
    address: str = LOCAL

    def records(
        self, progress: Progress, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """See `RecordSource.records`."""
        request, policy = self.request, self.request.policy
        check(request.options)
        began = time.monotonic()
        with policy:
            with opened(request, self.address) as (pool, _):
                yield from records(request, pool, progress, stop)
                progress.notes += pool.notes()
            interrupted = stop()
        seconds = time.monotonic() - began
        yield summary(progress, request.bundle, seconds, interrupted=interrupted)
        if not interrupted:
            policy.end()  # not before the summary is written


@dataclass
class ShardedScan:
    """A `ClusterScan` whose records are written on the nodes, to files in one shared folder.

    The same walk gives the same shards, so that finished ones are kept with `shards.resume`. The
    store is not used.

    Raises:
        MaltriageError: also if the folder cannot be written, or has other shards in it.
    """

    request: ScanRequest
    shards: Shards
    address: str = LOCAL
    wrote: str | None = None
    """What was written, in words, once all shards are."""

    def records(
        self, progress: Progress, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """See `RecordSource.records`: the summary alone."""
        request, bundle, options = self.request, self.request.bundle, self.request.options
        check(options)
        outside(self.shards.folder, request.paths)
        began = time.monotonic()
        with Manifest(self.shards) as manifest:

            def ended(counts: Counts) -> Summary:
                return summary(counts, bundle, time.monotonic() - began, interrupted=stop())

            with opened(request, self.address) as (pool, setup):
                digest = setup.index.sha256 if setup.index else None
                made_with = settings_of(bundle, options, digest).digest
                write_shards(request, pool, manifest, made_with, progress, ended, stop)
                progress.notes += [*pool.notes(), *manifest.notes()]
            end = ended(progress)
            if not end.interrupted:
                manifest.end(end)
                self.wrote = manifest.told(progress.records)
        yield end


def write_shards(
    request: ScanRequest,
    pool: Pool,
    manifest: Manifest,
    made_with: bytes,
    progress: Progress,
    ended: Callable[[Counts], Summary],
    stop: Callable[[], bool],
) -> None:
    """Write all missing shards.

    Args:
        made_with: digest of the settings that records depend on.
        ended: makes the summary of counts.

    Raises:
        MaltriageError: a shard cannot be written, or there are shards of other files.
    """
    options = request.options
    found = Walked(request.paths, options.walk, members=options.archives is not None, stop=stop)
    chunks = enumerate(cut(found, files=SHARD_FILES, size=SHARD_BYTES))
    window: list[tuple[Chunk, Shard, Inputs]] = []
    more, count = True, 0
    while (more or window) and not stop():
        while more and len(window) < pool.room(1) and not stop():
            number, chunk = next(chunks, (0, None))
            if chunk is None or stop():  # a stopped walk ends early, with an incomplete chunk
                more = False
                if not stop():
                    manifest.check_end(count)
                break
            count = number + 1
            inputs = inputs_of(made_with, manifest.shards, chunk.files)
            known = manifest.counts(number, inputs)
            if known is not None:
                progress.join(known)
                progress.done += len(chunk.files)
                continue
            chunk.target = manifest.part(number)
            window.append((chunk, chunk.target, inputs))
            pool.add(chunk)
        if not stop():
            pool.step(POLL)
        _list(window, manifest, progress, ended)
        progress.in_flight = pool.in_flight()
    if window:
        pool.stop(options.timeout + STOP_SECONDS)
        _list(window, manifest, progress, ended)
    if stop():
        progress.found = found.total()


def _list(
    window: list[tuple[Chunk, Shard, Inputs]],
    manifest: Manifest,
    progress: Progress,
    ended: Callable[[Counts], Summary],
) -> None:
    """List the shards that are finished by now."""
    for item in [item for item in window if item[0].complete]:
        chunk, part, inputs = item
        counts = chunk.written
        if counts is None:  # it was divided into files
            counts = write_shard(part, (given.record for given in chunk.records()), ended)
        assert isinstance(counts, Written)
        manifest.add(part.number, inputs, counts)
        progress.join(counts)
        progress.done += min(len(chunk.files), counts.records)  # fewer of a scan that is stopped
        window.remove(item)


def _setup(
    paths: Sequence[str], bundle: Bundle, options: ScanOptions, cpus: int
) -> tuple[Setup, tuple[bytes, bytes]]:
    """The settings of actors, and the bytes of the bundle and of the index."""
    path, data = path_of_index(bundle, options.index), b""
    index = None
    if path is not None:
        data = index_file.data_of(path)
        index_file.parse(data, path, bundle)
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
def opened(request: ScanRequest, address: str) -> Iterator[tuple[Pool, Setup]]:
    """Actors on a cluster, and their settings; errors are those of `ClusterScan`."""
    options = request.options
    with connected(address, max(cores(), options.jobs)) as ray:
        # Through a client server, no node is this process's own.
        own = None
        if not address.startswith(CLIENT):
            own = ray.get_runtime_context().get_node_id()
        with Members(ray, own) as members:
            cpus = actor_cpus(members.now(), options)
            setup, data = _setup(request.paths, request.bundle, options, cpus)
            with Pool(ray, members, setup, data, cpus, gpu=options.device == "cuda") as pool:
                yield pool, setup


def records(
    request: ScanRequest, pool: Pool, progress: Progress, stop: Callable[[], bool]
) -> Iterator[Record]:
    """The records of files, in the order of the walk, from the actors of a pool."""
    options = request.options
    found = Walked(request.paths, options.walk, members=options.archives is not None, stop=stop)
    return counted(ordered(request, found, pool, progress, stop), progress)
