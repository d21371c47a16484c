"""What a worker process does: jobs from its pipe, one after the other."""

from __future__ import annotations

import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from maltriage.sample.errors import SampleError
from maltriage.sample.mapped import release
from maltriage.work.messages import Answer, Begun, carried

_NUMBER = struct.Struct("!Q")


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """A block that starts a process which Ctrl-C does not reach: not before it ignores it itself.

    Here it counts after the block; on Windows one that is pressed within it is lost.
    """
    if sys.platform == "win32":
        import ctypes

        ignore = ctypes.windll.kernel32.SetConsoleCtrlHandler
        ignore(None, True)  # a process inherits it
        try:
            yield
        finally:
            ignore(None, False)
        return
    # Where the block starts the tracker of `multiprocessing`, that lets Ctrl-C through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals() -> None:
    """Ignore the signals that reach all processes of a terminal; the main process decides what to
    do about them."""
    for name in ("SIGINT", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):  # Windows has no SIGHUP, and no other system SIGBREAK
            signal.signal(getattr(signal, name), signal.SIG_IGN)


class WorkerEnd:
    """A process's end of its pipes."""

    def __init__(self, jobs: Connection, answers: Connection) -> None:
        self._jobs, self._answers = jobs, answers

    def recv(self) -> bytes:
        return self._jobs.recv_bytes()

    def send(self, message: Begun | Answer) -> None:
        self._answers.send(message)


def request(number: int, function: Callable[..., object], arguments: tuple[object, ...]) -> bytes:
    """A job as it is sent; raises what pickling raises."""
    return _NUMBER.pack(number) + bytes(ForkingPickler.dumps((function, arguments)))


_steps: Any = None
"""In a process: two numbers for each process (step, start), and the number of this one."""


def publish(step: int) -> None:
    """In a process: report the step of its job."""
    steps, number = _steps
    steps[2 * number : 2 * number + 2] = [step, time.monotonic()]


def work(
    end: WorkerEnd,
    steps: tuple[Any, int],
    initializer: Callable[..., object],
    arguments: tuple[object, ...],
) -> None:
    """Main loop of a process."""
    global _steps  # noqa: PLW0603 - given once, when a process starts
    _steps = steps
    initializer(*arguments)
    with suppress(EOFError, OSError):  # the main process is gone
        while True:
            data = end.recv()
            (number,) = _NUMBER.unpack(data[: _NUMBER.size])
            # Time spent here on imports is not counted against a file.
            call = _call(data[_NUMBER.size :])
            end.send(Begun(number))
            _answer(end, number, call)
            release()


def _call(data: bytes) -> Callable[[], Any]:
    try:
        function, arguments = ForkingPickler.loads(data)
    except Exception as error:
        return partial(_raise, error)
    return partial(carried, function, arguments)


def _raise(error: Exception) -> None:
    raise error


def _let_go(error: BaseException) -> None:
    """Release what the frames of an error and of those before it hold.

    Where memory was wanting they hold what took it, and there would be none to send the answer.
    """
    chain: list[BaseException | None] = [error]
    while chain:
        found = chain.pop()
        if found is not None and found.__traceback__ is not None:
            found.__traceback__ = None
            chain += [found.__cause__, found.__context__]


def _answer(end: WorkerEnd, number: int, call: Callable[[], Any]) -> None:
    try:
        answer = Answer(number, call(), None)
    except BaseException as error:
        _let_go(error)
        answer = Answer(number, None, error)
    try:
        end.send(answer)
    except OSError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        end.send(Answer(number, None, SampleError("internal", reason, failed=True)))
