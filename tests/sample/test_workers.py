from __future__ import annotations

import os
import signal
import time

import pytest

from maltriage.sample.source import SampleError
from maltriage.sample.workers import Workers, reason_of


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _die(number: int) -> None:
    os.kill(os.getpid(), number)


def _fail() -> None:
    raise SampleError("empty", "an empty file")


def test_a_worker_that_hangs_or_dies_costs_only_its_file() -> None:
    with Workers(1, timeout=1.0) as workers:
        futures = [
            workers.submit(_sleep, 60.0),
            workers.submit(_die, signal.SIGKILL),
            workers.submit(_fail),
            workers.submit(os.getpid),
        ]
        found = []
        for future in futures[:-1]:
            with pytest.raises(Exception) as caught:  # noqa: PT011 - each has its own kind
                future.result(timeout=30)
            found.append(reason_of(caught.value, 1.0))
        assert [(error.code, error.failed) for error in found] == [
            ("timeout", True),
            ("crash", True),
            ("empty", False),
        ]
        assert "SIGKILL" in found[1].reason
        assert futures[-1].result(timeout=30) > 0
