"""What the process of an engine costs, with workers that answer at once."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from statistics import median
from typing import Any

from maltriage.bundle import Bundle
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.report.documents.record import Record, Result, encode
from maltriage.results.policy import Policy, packed
from maltriage.source.files import Found
from maltriage.triage import judge
from maltriage.triage.engines.pool import PIECES_EACH
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import Engine
from maltriage.work.job import Job
from maltriage.work.messages import Answer, read

OPTIONS = ScanOptions(device="cpu", index=None, threads=1, jobs=1)
ROUNDS = 3


class RecordedWorkers:
    """In place of `Workers`: each job is done at once, with the answer that it had before, which is
    read as a real one is."""

    count, timeout = 8, 60.0

    def __init__(self, bundle: Bundle, paths: list[str]) -> None:
        options = PrepareOptions(bundle.card.views)
        self._prepared = {path: prepare(path, options) for path in paths}
        self._answers: dict[tuple[str, ...], bytes] = {}

    def submit(self, function: Callable[..., Any], *arguments: Any, steps: int = 1) -> Job[Any]:
        job = Job[Any](0, b"", steps)
        if function is os.getpid:
            job.set_result(0)
            return job
        names = tuple(path for _, (path, *_) in arguments[0])
        if names not in self._answers:
            answer = Answer(0, [self._prepared[name] for name in names], None)
            self._answers[names] = bytes(ForkingPickler.dumps(answer))
        job.set_result(read_answer(self._answers[names]).value)
        return job

    def at(self, job: Job[Any]) -> tuple[int, float]:
        return 0, 0.0


def read_answer(data: bytes) -> Any:
    """As a worker's thread does; a function of its own, to be timed."""
    return read(data)


@contextlib.contextmanager
def timing(took: dict[str, float], name: str, owner: Any, attribute: str) -> Iterator[None]:
    """Add the CPU time of calls of a function to `took`: of the process, for its threads' sake."""
    before = getattr(owner, attribute)

    def timed(*arguments: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return before(*arguments, **named)
        finally:
            took[name] = took.get(name, 0.0) + time.process_time() - start

    setattr(owner, attribute, timed)
    try:
        yield
    finally:
        setattr(owner, attribute, before)


@dataclass(frozen=True)
class EngineCost:
    """CPU seconds of an engine's process a file: in the model, and in all else, by stage."""

    model: float
    stages: dict[str, float]

    @property
    def python(self) -> float:
        return sum(self.stages.values())

    def alone(self, threads: int) -> float:
        """Files a second at most, where the model and the rest take turns."""
        return 1 / (self.python + self.model / threads)

    def at_once(self, threads: int) -> float:
        """Files a second at most, where some chunks are under way at once."""
        return min(1 / self.python, PIECES_EACH * self.alone(threads))


def engine_cost(bundle: Bundle, paths: list[str]) -> tuple[EngineCost, list[Result]]:
    """What an engine's process takes, and the records that it made."""
    engine = Engine(bundle, OPTIONS)
    engine._workers = RecordedWorkers(bundle, paths)  # type: ignore[assignment]
    files = [Found(path, os.path.getsize(path)) for path in paths]

    def run() -> list[Record]:
        return list(engine.records(files, policy=Policy(), progress=Progress()))

    records = [record for record in run() if isinstance(record, Result)]  # all is loaded now
    opened = engine.begin()
    rounds = []
    for _ in range(ROUNDS):
        took: dict[str, float] = {}
        with (
            timing(took, "receive", sys.modules[__name__], "read_answer"),
            timing(took, "model", opened.session, "run"),
            timing(took, "evidence", type(opened.explainer), "evidence"),
            timing(took, "similar", type(opened.searcher), "search"),
            timing(took, "verdict", judge, "decide"),
        ):
            start = time.process_time()
            run()
            whole = time.process_time() - start
        took["rest"] = whole - sum(took.values())
        rounds.append(took)
    each = {name: median(took[name] for took in rounds) / len(paths) for name in rounds[0]}
    each["encode"] = alone(lambda: [encode(record) for record in records]) / len(records)
    each["for the store"] = alone(lambda: [packed(record) for record in records]) / len(records)
    return EngineCost(each.pop("model"), each), records


def alone(work: Callable[[], object]) -> float:
    """The least CPU seconds that something takes, of some times."""
    took = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return min(took)
