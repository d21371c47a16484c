"""A pool of engines in processes of this machine, each with workers and a model of its own."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, Self

from maltriage.errors import MaltriageError
from maltriage.logs import logger
from maltriage.triage.engines import pool
from maltriage.triage.engines.chunks import Chunk
from maltriage.triage.engines.pool import PIECES_EACH, POLL, Seat
from maltriage.triage.engines.serving import Answered, Asked, Logged, Opened, Setup, serve
from maltriage.work.process import without_ctrl_c

_log = logger(__name__)

MAX_FAILED = 5
"""Engines in a row that may die as they start."""
END_SECONDS = 2.0
"""Longest wait for a process to end by itself, with its workers."""


CONTEXT: Any = multiprocessing.get_context("spawn")
"""Engines import other things than workers, and need not wait for the server of these."""


@dataclass(eq=False, kw_only=True)
class _Process(Seat):
    setup: Setup
    process: BaseProcess
    end: Connection


class Pool(pool.Pool[_Process]):
    """Gives chunks to engine processes, see `engines.pool.Pool`. Use as a context manager.

    Processes start as chunks wait that no other can take, so that few files start few.

    Args:
        setups: of the engines, one each.
    """

    def __init__(self, setups: Sequence[Setup]) -> None:
        super().__init__()
        self._free, self._count = list(reversed(setups)), len(setups)
        self._numbers = itertools.count()
        self._failed = 0

    @property
    def _most(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for seat in self._seats:
            seat.end.close()  # it then ends its workers, and itself
        until = monotonic() + END_SECONDS
        for seat in self._seats:
            if seat.ready:  # one that still starts has done nothing yet
                seat.process.join(max(0.0, until - monotonic()))
            seat.process.kill()
            seat.process.join()
        self._seats = []

    def add(self, chunk: Chunk) -> None:
        """Queue a chunk, and begin it if there is room."""
        super().add(chunk)
        self._grow()
        self._give()

    def step(self, wait: float) -> None:
        """See `engines.pool.Pool.step`."""
        self._grow()
        self._give()
        self._take(wait)

    def stop(self, seconds: float) -> None:
        """See `engines.pool.Pool.stop`."""
        for seat in self._seats:
            with suppress(OSError):
                seat.end.send(None)
        until = monotonic() + seconds
        while any(seat.running for seat in self._seats) and monotonic() < until:
            self._take(POLL)
        self._todo.clear()

    def _grow(self) -> None:
        """Have as many engines as chunks ask for."""
        room = sum(PIECES_EACH - len(seat.running) for seat in self._seats)
        while len(self._todo) > room and self._free:
            try:
                self._seats.append(self._started(self._free.pop()))
            except (OSError, EOFError) as error:
                reason = getattr(error, "strerror", None) or error
                raise MaltriageError(f"an engine cannot be started: {reason}") from error
            room += PIECES_EACH

    def _started(self, setup: Setup) -> _Process:
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=serve, args=(theirs, setup))
        with without_ctrl_c():
            process.start()
        theirs.close()
        _log.info("engine %d of %d: process %d", len(self._seats) + 1, self._count, process.pid)
        return _Process(setup=setup, process=process, end=ours)

    def _begin(self, seat: _Process, chunk: Chunk) -> Any:
        number = next(self._numbers)
        with suppress(OSError):  # it is dead, as `_take` will find
            seat.end.send(Asked(number, chunk.files))
        return number

    def _take(self, seconds: float) -> None:
        """Take what engines answer, for at most so many seconds until the first of it."""
        ends = [end for seat in self._seats for end in (seat.end, seat.process.sentinel)]
        ready = set(wait(ends, seconds))
        for seat in list(self._seats):
            if ready.isdisjoint((seat.end, seat.process.sentinel)):
                continue
            try:
                while seat.end.poll():
                    self._note(seat, seat.end.recv())
                dead = not seat.process.is_alive()
            except (EOFError, OSError):
                dead = True
            if dead:
                self._died(seat)

    def _note(self, seat: _Process, message: Opened | Answered | Logged) -> None:
        if isinstance(message, Logged):
            record = logging.makeLogRecord(dict(message.values))
            logging.getLogger(record.name).handle(record)
            return
        if message.problem is not None:
            raise MaltriageError(message.problem)
        if isinstance(message, Opened):
            seat.ready, self._failed = True, 0
        else:
            chunk, _ = seat.running.pop(message.number)
            chunk.done = message.done

    def _died(self, seat: _Process) -> None:
        seat.process.kill()
        seat.process.join()
        seat.end.close()
        self._seats.remove(seat)
        self._free.append(seat.setup)
        code = seat.process.exitcode
        _log.info("an engine ended (exit code %s) with %d chunks", code, len(seat.running))
        if not seat.ready:
            self._failed += 1
            if self._failed >= MAX_FAILED:
                raise MaltriageError(f"engines die as they start (exit code {code})")
        for chunk, _ in reversed(seat.running.values()):
            self._lose(chunk, crash=True)
