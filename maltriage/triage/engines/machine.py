"""A scan on this machine, by as many engines as its cores keep busy.

    walk -> chunks -> engine processes (`engines.serving`) -> records

One engine runs in this process (`pipeline.scan`). Of several each is a process, and walk, store,
order and outputs stay here, as on a cluster.
"""

from __future__ import annotations

import hashlib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from maltriage.errors import OverdueError
from maltriage.logs import ROOT
from maltriage.report.documents.record import FileRecord, Record
from maltriage.source.walked import Walked
from maltriage.triage.check import check
from maltriage.triage.judge import Judge
from maltriage.triage.options import MODEL_SHARE, Progress, ScanOptions
from maltriage.triage.pipeline import Engine, scan, summary
from maltriage.triage.request import ScanRequest
from maltriage.work.cores import cores

CORES_ALONE = 3
"""Cores that one engine keeps busy, or nearly (docs/studies/many-cores.md)."""
CORES_EACH = 2
"""Cores for each of several: an engine's own process takes two fifths of the time of a file."""
FEW_FILES, FEW_BYTES = 512, 1 << 30
"""Files, and their bytes, up to which a single engine is done before several have started."""


@dataclass(frozen=True)
class MachineScan:
    """A scan on this machine: the records of `pipeline.scan`, and its errors.

    They are the same for any number of engines, but for times, and for the last digits of figures,
    which a file's place in a batch moves.
    """

    request: ScanRequest

    def records(
        self, progress: Progress, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """See `RecordSource.records`."""
        asked, options = self.request, self.request.options
        members = options.archives is not None
        found = Walked(asked.paths, options.walk, members=members, stop=stop)
        several = number_of_engines(options)
        if several < 2 or (not options.engines and found.few(FEW_FILES, FEW_BYTES)):
            yield from scan(
                asked.paths,
                asked.bundle,
                options,
                policy=asked.policy,
                progress=progress,
                stop=stop,
                found=found,
            )
            return
        began = time.monotonic()
        with asked.policy:
            with suppress(OverdueError):  # `stop` is true: what is under way has no records
                yield from _by_several(asked, found, several, progress, stop)
            if stop() and progress.found is None:
                progress.found = found.total()
            interrupted = stop()
        seconds = time.monotonic() - began
        yield summary(progress, asked.bundle, seconds, interrupted=interrupted)
        if not interrupted:
            asked.policy.end()  # not before the summary is written


def number_of_engines(options: ScanOptions) -> int:
    """The engines for a scan: those asked for, or as many as its workers keep busy.

    One where standard input is read, which only one process can, where a GPU runs the model, which
    has room for one, and where functions were given that cannot be sent.
    """
    workers = options.jobs or cores()
    several = options.engines or engines_for(workers)
    if several < 2 or sys.platform == "win32":
        return 1
    if options.walk.stdin is not None or options.mappers or options.close:
        return 1
    return 1 if _on_gpu(options) else min(several, workers)


def engines_for(workers: int) -> int:
    """The engines that so many workers keep busy."""
    return 1 if workers <= CORES_ALONE else max(2, math.ceil(workers / CORES_EACH))


def _on_gpu(options: ScanOptions) -> bool:
    if options.device != "auto":
        return options.device == "cuda"
    import onnxruntime as ort

    from maltriage.triage.session import cuda_answers

    return cuda_answers(ort)


def options_of_each(options: ScanOptions, several: int) -> list[ScanOptions]:
    """The options of each engine, which share workers and threads among them."""
    workers, found = options.jobs or cores(), []
    for number in range(several):
        jobs = workers // several + (number < workers % several)
        share = 1.0 if options.checks == 0 else MODEL_SHARE  # which runs many times for a check
        threads = options.threads // several if options.threads else round(share * jobs)
        found.append(
            replace(
                options,
                device="cpu",
                jobs=jobs,
                threads=max(1, threads),
                checks=0 if options.checks == 0 else None,
            )
        )
    return found


def _by_several(
    request: ScanRequest,
    found: Walked,
    several: int,
    progress: Progress,
    stop: Callable[[], bool],
) -> Iterator[FileRecord]:
    """The records of files, counted in `progress`, in the order of the walk.

    The most urgent results that `checks` selects come last: they are held back here, and an engine
    of this process reads them again and checks them, once the others have ended.
    """
    from maltriage.triage.engines.ordered import counted, ordered
    from maltriage.triage.engines.processes import Pool
    from maltriage.triage.engines.serving import Setup

    bundle, options = request.bundle, request.options
    digest = hashlib.sha256(bundle.model).hexdigest()
    each = options_of_each(options, several)
    finish, packs = request.policy.lookup(), request.policy.keeps
    level = logging.getLogger(ROOT).getEffectiveLevel()
    setups = [Setup(bundle.path, bundle.card, digest, own, finish, packs, level) for own in each]

    def records() -> Iterator[FileRecord]:
        with Pool(setups) as pool:
            yield from ordered(request, found, pool, progress, stop)

    if not options.checks:
        yield from counted(records(), progress)
        return
    with ExitStack() as opened:
        judges: list[Judge] = []

        def judge() -> Judge:
            if not judges:
                judges.append(opened.enter_context(Engine(bundle, options)).begin())
            return judges[0]

        yield from check(records(), judge, options, progress, stop)
