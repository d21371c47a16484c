"""What an engine process does: chunks from its pipe, some at once, whose records it answers.

Its pipe is all that it has in common with the process that started it. Where that process ends,
however it does, the pipe does too, and this one ends with its workers.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any

from maltriage.bundle import Bundle, Card
from maltriage.errors import MaltriageError
from maltriage.logs import ROOT
from maltriage.probe.lookup import Lookup
from maltriage.results.policy import Collected
from maltriage.source.files import Found, Rejected
from maltriage.triage.engines.done import Done, done
from maltriage.triage.engines.pool import PIECES_EACH
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import Engine
from maltriage.work.process import leave_signals


@dataclass(frozen=True)
class Setup:
    """Settings of an engine process. It reads the bundle at `path` itself, which must have this
    SHA-256 in hex still.

    `finish` looks contents up in the store; `packs`: also make what the store keeps of records.
    `level`: from which on it sends what it logs.
    """

    path: str
    card: Card
    sha256: str
    options: ScanOptions
    finish: Lookup | None = None
    packs: bool = False
    level: int = logging.WARNING

    def bundle(self) -> Bundle:
        """The bundle, which the process that made this verified.

        Raises:
            MaltriageError: it cannot be read, or is another one by now.
        """
        try:
            model = Path(self.path).read_bytes()
        except OSError as error:
            raise MaltriageError(f"cannot read model {self.path}: {error.strerror}") from error
        if hashlib.sha256(model).hexdigest() != self.sha256:
            raise MaltriageError(f"{self.path}: it changed since the scan began")
        return Bundle(self.path, self.card, model)


@dataclass(frozen=True)
class Opened:
    """An engine is ready, or cannot be: the problem."""

    problem: str | None = None


@dataclass(frozen=True)
class Answered:
    """The records of a chunk, by its number, or the problem that ends the scan."""

    number: int
    done: Done | None
    problem: str | None = None


@dataclass(frozen=True)
class Logged:
    """What an engine logs: the values of a `logging.LogRecord`."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """A chunk to do: its number and its files."""

    number: int
    files: Sequence[Found | Rejected]


class _Sender(logging.Handler):
    def __init__(self, serving: _Serving) -> None:
        super().__init__()
        self._serving = serving

    def emit(self, record: logging.LogRecord) -> None:
        names = ("name", "levelno", "levelname", "created", "msecs")
        values = {name: getattr(record, name) for name in names}
        self._serving.send(Logged(values | {"msg": record.getMessage()}))


class _Serving:
    def __init__(self, end: Connection, setup: Setup) -> None:
        self._end, self._setup = end, setup
        self._sending, self._stopped = Lock(), False

    def run(self) -> None:
        """Open the engine, and answer until the pipe ends."""
        root = logging.getLogger(ROOT)
        root.setLevel(self._setup.level)
        root.addHandler(_Sender(self))
        root.propagate = False
        try:
            engine = Engine(self._setup.bundle(), self._setup.options)
            with engine:
                engine.begin()
                self.send(Opened())
                self._answer_all(engine)
        except MaltriageError as error:
            self.send(Opened(str(error)))

    def _answer_all(self, engine: Engine) -> None:
        threads = ThreadPoolExecutor(PIECES_EACH)
        while True:
            try:
                message: Asked | None = self._end.recv()
            except (EOFError, OSError):  # nobody is left to answer
                return
            if message is None:
                self._stopped = True
            else:
                threads.submit(self._answer, engine, message)

    def _answer(self, engine: Engine, asked: Asked) -> None:
        made, problem = None, None
        try:
            collected = Collected(self._setup.finish, packs=self._setup.packs)
            made = done(engine, asked.files, lambda: self._stopped, collected)
        except MaltriageError as error:
            problem = str(error)
        except Exception as error:  # a fault of ours: the scan says so and ends
            problem = f"an engine failed: {type(error).__name__}: {error}"
        self.send(Answered(asked.number, made, problem))

    def send(self, message: Opened | Answered | Logged) -> None:
        """Send a message, from any thread."""
        with self._sending, suppress(OSError):  # the main thread finds out
            self._end.send(message)


def serve(end: Connection, setup: Setup) -> None:
    """Main function of an engine process; does not return."""
    leave_signals()
    _Serving(end, setup).run()
    os._exit(0)  # a thread may still be in the model
