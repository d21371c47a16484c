"""A function over many files, in threads."""

from __future__ import annotations

import threading

import pytest

from maltriage.assess.each import each
from maltriage.errors import MaltriageError
from maltriage.sample.errors import SampleError


def test_answers_and_errors_in_order() -> None:
    wrong, late = SampleError("empty", "no bytes"), threading.Event()

    def run(name: str) -> str:
        if name == "first":
            assert late.wait(60)
        if name == "second":
            raise wrong
        if name == "third":
            late.set()
            raise MaltriageError("no model")
        return name.upper()

    names = ("first", "second", "third", "fourth")
    first, second, third, fourth = each(run, [(name,) for name in names], 3)
    assert (first, second, fourth) == ("FIRST", wrong, "FOURTH")
    assert isinstance(third, MaltriageError)


def test_what_nobody_waits_for_is_not_begun() -> None:
    begun: list[str] = []

    def run(name: str) -> None:
        begun.append(name)
        if name != "0":
            assert closes.wait(60)

    closes = threading.Event()
    found = each(run, [(str(number),) for number in range(1000)], 1)
    next(found)
    threading.Timer(0.2, closes.set).start()
    found.close()
    assert len(begun) <= 2


def test_any_other_error_ends_it() -> None:
    with pytest.raises(ZeroDivisionError):
        list(each(lambda name: 1 / 0, [("a",)], 1))
