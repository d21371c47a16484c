"""A pool of engines in actors of a Ray cluster, as many as fit."""

from __future__ import annotations

import pickle
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from maltriage.cluster.actor import Opened, Scanner, Setup, Unable, unseen
from maltriage.cluster.nodes import GoneError, Members, Node
from maltriage.errors import MaltriageError
from maltriage.logs import logger
from maltriage.report.documents.record import SCHEMA_VERSION
from maltriage.report.numbers import count
from maltriage.source.files import Found
from maltriage.source.urls import is_url
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
"""Actors in a row that may die at their start, or that may be of no use before a chunk is done."""
CLOSE_SECONDS = 1.0
"""Longest wait for actors to end by themselves, which removes their temporary files."""
NODE_LABEL = "ray.io/node-id"
"""Label that Ray itself gives each node."""
MAX_TOLD = 5
"""Hosts that a note names."""
_log = logger(__name__)


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
        self._failed = self._useless = 0
        self._there: dict[str, str] = {}
        """Hosts of the nodes, by their ids."""
        self._known: set[str] = set()
        """Ids of all nodes that there were."""
        self._blind: dict[str, str] = {}
        """Nodes that do not see all files, by their ids: in words. They get no more."""
        self._gone: set[str] = set()
        """Files that are not there any more, on this machine either."""
        self._lost = Counter[str]()
        """Actors that were lost, by host."""
        self._again = 0
        """Chunks that were given out again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, GoneError):
            if kind is None or issubclass(kind, MaltriageError | GeneratorExit):
                self._close()
            for actor in self._seats:
                self._end(actor)
        self._seats = []

    def _close(self) -> None:
        """Have actors end by themselves, as far as they do at once."""
        there = [actor for actor in self._seats if actor.arriving is None and not actor.lost]
        if refs := [actor.handle.close.remote() for actor in there]:
            self._ray.wait(refs, num_returns=len(refs), timeout=CLOSE_SECONDS)

    def notes(self) -> list[str]:
        """What a user has to know of the cluster, a line each."""
        notes = []
        if self._blind:
            nodes = count(len(self._blind), "node")
            notes.append(f"{nodes} did not see all files, and got no more: {_some(self._blind)}")
        if self._lost:
            hosts = {host: host if n == 1 else f"{host} ({n})" for host, n in self._lost.items()}
            actors = count(self._lost.total(), "actor")
            notes.append(
                f"{actors} of the cluster died, on {_some(hosts)}:"
                f" {count(self._again, 'chunk')} of files given out again"
            )
        return notes

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
        waited = now - self._waiting > START_SECONDS
        nodes = self._members.now()
        self._tell(nodes)
        if self._blind and (waited or self._known <= self._blind.keys()):
            raise MaltriageError(
                f"no node of the Ray cluster sees the files: {_some(self._blind)}; nodes read them"
                " at the paths that the command sees"
            )
        if waited:
            raise MaltriageError(
                f"the Ray cluster had no {self._cpus} CPUs free within {START_SECONDS:g} s"
            )
        fit = sum(self._fit(node) for node in nodes if node.id not in self._blind)
        for actor in [actor for actor in self._seats if actor.opening is not None]:
            if self._seated() > fit:  # the node that it was waiting for is gone
                self._drop(actor)
        for _ in range(fit - self._seated()):
            self._seats.append(self._started())

    def _seated(self) -> int:
        """Number of actors that are, or will be, on nodes of use."""
        return sum(actor.node not in self._blind for actor in self._seats)

    def _tell(self, nodes: Sequence[Node]) -> None:
        """Log which nodes came and went."""
        there = {node.id: node.host for node in nodes if self._fit(node)}
        for node in nodes:
            if node.id in there and node.id not in self._there:
                _log.info("node %s: room for %s", node.host, count(self._fit(node), "actor"))
        for name in self._there.keys() - there.keys():
            _log.warning("node %s is gone", self._there[name])
        self._there = there
        self._known |= there.keys()

    def _fit(self, node: Node) -> int:
        """Number of actors that fit on a node."""
        count = int(node.cpus // self._cpus)
        return min(count, int(node.gpus / GPU_SHARE)) if self._gpu else count

    def _started(self) -> _Actor:
        where = {NODE_LABEL: f"!in({','.join(self._blind)})"} if self._blind else {}
        handle = self._class.options(
            label_selector=where,
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
            _log.warning("an actor died at its start: %s", _why(error))
            if self._failed >= MAX_FAILED:
                raise MaltriageError(f"actors of Ray do not start: {_why(error)}") from error
            return
        if opened.problem is not None:
            raise MaltriageError(opened.problem)
        if opened.node in self._blind:  # it began before that was known
            self._drop(actor)
            return
        self._failed = 0
        actor.opening, actor.ready = None, True
        actor.node, actor.place = opened.node, opened.host
        _log.info("actor on %s: ready", actor.place)

    def _begin(self, seat: _Actor, chunk: Chunk) -> Any:
        look = self._looked_for(chunk)
        if chunk.target is None:
            return seat.handle.scan.remote(chunk.files, look)
        return seat.handle.write.remote(chunk.files, chunk.target, look)

    def _looked_for(self, chunk: Chunk) -> list[str]:
        """The first and the last file that a node has to see."""
        paths = [path for path in _paths(chunk) if path not in self._gone]
        return paths[:1] + paths[1:][-1:]

    def _done(self, actor: _Actor, ref: Any) -> None:
        chunk, _ = actor.running.pop(ref)
        try:
            answer = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise _unfit(error, actor) from error
        except self._ray.exceptions.RayError as error:
            alive = any(node.id == actor.node for node in self._members.fresh())
            self._give_again(actor, chunk, _why(error) if alive else "its node is gone")
            self._lose(chunk, crash=alive)
        else:
            if isinstance(answer, Unable):
                self._unable(actor, chunk, answer)
            elif chunk.target is None:
                chunk.done, self._useless = answer, 0
            else:
                chunk.written, self._useless = answer, 0
        if actor.lost and not actor.running:
            self._drop(actor)

    def _give_again(self, actor: _Actor, chunk: Chunk, why: str) -> None:
        """Note that an actor was lost, with a chunk."""
        self._again += 1
        if not actor.lost:
            actor.lost = True
            self._lost[actor.place] += 1
            _log.warning("actor on %s lost: %s", actor.place, why)
        _log.info("%s, from %s: given out again", count(len(chunk.files), "file"), chunk.first)

    def _unable(self, actor: _Actor, chunk: Chunk, answer: Unable) -> None:
        """Give a chunk that an actor could not do to another one."""
        if not answer.unseen:
            self._useless += not actor.lost
            if self._useless >= MAX_FAILED:
                raise MaltriageError(f"{actor.place}: {answer.reason}")
            self._give_again(actor, chunk, answer.reason)
            self._lose(chunk, crash=False)
            return
        self._todo.appendleft(chunk)
        here = [path for path in answer.unseen if unseen(path) is None]
        if not here:  # removed meanwhile
            self._gone.update(path for path in _paths(chunk) if unseen(path) is not None)
            return
        if actor.node not in self._blind:
            self._blind[actor.node] = f"{actor.place} ({here[0]}: {answer.reason})"
            _log.warning("node %s does not see %s: %s", actor.place, here[0], answer.reason)
        for seat in list(self._seats):
            if seat.node == actor.node:
                seat.lost = True
                if not seat.running and seat is not actor:
                    self._drop(seat)

    def _drop(self, actor: _Actor) -> None:
        self._seats.remove(actor)
        if actor.node in self._blind:
            actor.handle.close.remote()  # without a handle Ray ends it after that
        else:
            self._end(actor)

    def _end(self, actor: _Actor) -> None:
        self._ray.kill(actor.handle)


def _paths(chunk: Chunk) -> list[str]:
    """The files of a chunk that are on a disk."""
    found = [file.path for file in chunk.files if isinstance(file, Found)]
    return [path for path in found if not is_url(path)]


def _some(told: Mapping[str, str]) -> str:
    """The first values of some."""
    more = len(told) - MAX_TOLD
    shown = ", ".join(list(told.values())[:MAX_TOLD])
    return f"{shown} and {more} more" if more > 0 else shown


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
