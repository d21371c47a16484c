"""A pool of engines in actors of a Ray cluster, as many as fit."""

from __future__ import annotations

import pickle
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from maltriage.cluster.actor import Opened, Scanner, Setup
from maltriage.cluster.nodes import GoneError, Members, Node
from maltriage.errors import MaltriageError
from maltriage.report.documents.record import SCHEMA_VERSION
from maltriage.triage.engines import pool
from maltriage.triage.engines.chunks import Chunk
from maltriage.triage.engines.pool import PIECES_EACH, POLL, Seat
from maltriage.triage.options import ScanOptions
from maltriage.version import __version__

ACTOR_CPUS = 4
"""CPUs of an actor by default: the one process that takes the workers' results keeps that many of
them busy."""
GPU_SHARE = 0.25
"""Share of a GPU per actor: its forward passes leave the GPU idle most of the time."""
START_SECONDS = 120.0
"""Longest wait for the first actor, and for another one after all are gone."""
_EXCEPTION = re.compile(r"[A-Za-z_.]+(Error|Exception): ")
MAX_FAILED = 5
"""Actors in a row that may die at their start."""


@dataclass(eq=False, kw_only=True)
class _Actor(Seat):
    handle: Any
    arriving: Any
    """Reference of the call that returns when its process runs; None: it runs."""
    opening: Any
    """Reference of the call that returns when it is ready; None: it is."""
    node: str = ""


def actor_cpus(found: Sequence[Node], options: ScanOptions) -> int:
    """CPUs of each actor.

    Raises:
        MaltriageError: no node of the cluster has as many, or has the GPU that was asked for.
    """
    fit = [node for node in found if node.cpus >= 1]
    if options.device == "cuda":
        fit = [node for node in fit if node.gpus >= GPU_SHARE]
        if not fit:
            raise MaltriageError("no node of the Ray cluster has a GPU (--device cpu)")
    if not fit:
        raise MaltriageError("no node of the Ray cluster has a CPU")
    cpus = options.jobs or min(ACTOR_CPUS, *(int(node.cpus) for node in fit))
    if not any(node.cpus >= cpus for node in fit):
        most = max(int(node.cpus) for node in fit)
        raise MaltriageError(f"no node of the Ray cluster has {cpus} CPUs for --jobs: {most} most")
    return cpus


class Pool(pool.Pool[_Actor]):
    """Gives chunks to actors, see `engines.pool.Pool`.

    Use it as a context manager.

    Args:
        ray: the module, connected to a cluster.
        members: the nodes of the cluster.
        data: bytes of the bundle and of the index, which are sent to each node once.
        cpus: of an actor.
    """

    def __init__(
        self,
        ray: Any,
        members: Members,
        setup: Setup,
        data: tuple[bytes, bytes],
        cpus: int,
        *,
        gpu: bool,
    ) -> None:
        super().__init__()
        self._members = members
        self._ray, self._cpus, self._gpu = ray, cpus, gpu
        self._setup = pickle.dumps(setup)
        self._data = [ray.put(part) for part in data]
        self._class = ray.remote(Scanner)
        self._waiting = time.monotonic()
        """Time since which no actor has a process."""
        self._failed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, GoneError):
            for actor in self._seats:
                self._end(actor)
        self._seats = []

    def step(self, wait: float) -> None:
        self._follow()
        self._give()
        starting = [(actor.arriving, actor.opening) for actor in self._seats]
        refs = [ref for both in starting for ref in both if ref is not None]
        refs += [ref for actor in self._seats for ref in actor.running]
        if not refs:
            time.sleep(wait)
            return
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=wait)
        if ready:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        for ref in ready:
            for actor in list(self._seats):
                if actor.arriving == ref:
                    actor.arriving = None  # alive or not: the next answer decides
                elif actor.opening == ref:
                    self._opened(actor, ref)
                elif ref in actor.running:
                    self._done(actor, ref)

    def stop(self, seconds: float) -> None:
        self._todo.clear()
        for actor in self._seats:
            if actor.running:
                actor.handle.stop.remote()
        until = time.monotonic() + seconds
        while any(actor.running for actor in self._seats) and time.monotonic() < until:
            refs = [ref for actor in self._seats for ref in actor.running]
            ready, _ = self._ray.wait(refs, num_returns=1, timeout=POLL)
            for ref in ready:
                for actor in list(self._seats):
                    if ref in actor.running:
                        self._done(actor, ref)
            self._todo.clear()  # of actors lost meanwhile

    def _follow(self) -> None:
        """Keep as many actors as fit on the current nodes."""
        now = time.monotonic()
        if any(actor.arriving is None and not actor.lost for actor in self._seats):
            self._waiting = now
        elif now - self._waiting > START_SECONDS:
            raise MaltriageError(
                f"the Ray cluster had no {self._cpus} CPUs free within {START_SECONDS:g} s"
            )
        fit = sum(self._fit(node) for node in self._members.now())
        for actor in [actor for actor in self._seats if actor.opening is not None]:
            if len(self._seats) > fit:  # the node that it was waiting for is gone
                self._drop(actor)
        for _ in range(fit - len(self._seats)):
            self._seats.append(self._started())

    def _fit(self, node: Node) -> int:
        """Number of actors that fit on a node."""
        count = int(node.cpus // self._cpus)
        return min(count, int(node.gpus / GPU_SHARE)) if self._gpu else count

    def _started(self) -> _Actor:
        handle = self._class.options(
            num_cpus=self._cpus,
            num_gpus=GPU_SHARE if self._gpu else 0,
            max_concurrency=PIECES_EACH + 1,  # and one call of `stop`
            max_restarts=0,
        ).remote()
        return _Actor(
            handle=handle,
            arriving=handle.arrived.remote(),
            opening=handle.open.remote(__version__, SCHEMA_VERSION, self._setup, *self._data),
        )

    def _opened(self, actor: _Actor, ref: Any) -> None:
        try:
            opened: Opened = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise _unfit(error, actor) from error
        except self._ray.exceptions.RayError as error:
            self._drop(actor)
            self._failed += 1
            if self._failed >= MAX_FAILED:
                raise MaltriageError(f"actors of Ray do not start: {_why(error)}") from error
            return
        if opened.problem is not None:
            raise MaltriageError(opened.problem)
        self._failed = 0
        actor.opening, actor.ready = None, True
        actor.node, actor.place = opened.node, opened.host

    def _begin(self, seat: _Actor, chunk: Chunk) -> Any:
        if chunk.target is None:
            return seat.handle.scan.remote(chunk.files)
        return seat.handle.write.remote(chunk.files, chunk.target)

    def _done(self, actor: _Actor, ref: Any) -> None:
        chunk, _ = actor.running.pop(ref)
        try:
            if chunk.target is None:
                chunk.done = self._ray.get(ref)
            else:
                chunk.written = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise _unfit(error, actor) from error
        except self._ray.exceptions.RayError:
            alive = any(node.id == actor.node for node in self._members.fresh())
            self._lose(chunk, crash=alive)
            actor.lost = True
            if not actor.running:
                self._drop(actor)

    def _drop(self, actor: _Actor) -> None:
        self._seats.remove(actor)
        self._end(actor)

    def _end(self, actor: _Actor) -> None:
        self._ray.kill(actor.handle)


def _unfit(error: Any, actor: _Actor) -> MaltriageError:
    """The error of the setting, or a bug, that an actor raised; no file's fault."""
    if isinstance(error.cause, MaltriageError):
        return MaltriageError(f"{actor.place}: {error.cause}")
    return MaltriageError(f"an actor of Ray failed: {_why(error.cause or error)}")


def _why(error: BaseException) -> str:
    """An error of Ray's in one line: the exception at the end of its text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if _EXCEPTION.match(line)]
    return (named or lines or [type(error).__name__])[-1 if named else 0]
