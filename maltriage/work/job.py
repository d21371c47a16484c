"""A job that a process does, as the main process sees it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

SERVER_ENDED = 255
"""Exit code that `multiprocessing` gives a process whose server has ended, and with it the process
(`isolation`). That says nothing of its job, which is begun once more."""


class WorkerDiedError(Exception):
    """The process of a job died; `exitcode` None: it was ended for an invalid answer."""

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(exitcode)
        self.exitcode = exitcode


class Job(Future[T]):
    """A job for a process, and its progress.

    Attributes:
        at: once the job is done, its last step and since when (`time.monotonic`; 0: it had not
            begun); see `Supervisor.at`.
        seconds: that it took, once it is done; 0: it had not begun.
    """

    def __init__(self, number: int, data: bytes, steps: int) -> None:
        super().__init__()
        self.number, self.data, self.steps = number, data, steps
        self.at = (0, 0.0)
        self.seconds = 0.0
        self.process: int | None = None
        """Number of the process that has it."""
        self.once_more = True
        """Whether it is begun again where the server of its process ends."""

    def drop(self) -> None:
        """Settle it, since no process will do it."""
        if not self.cancel():  # it had begun
            self.set_exception(WorkerDiedError(SERVER_ENDED))
