"""Answers in the order of their jobs, with a bound on those under way."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample.errors import SampleError
from maltriage.work.window import in_order


@given(st.lists(st.sampled_from(["answer", "error", "none"]), max_size=30), st.integers(1, 8))
def test_answers_come_in_order_with_few_under_way(jobs: list[str], most: int) -> None:
    asked, taken = 0, 0

    def submitted() -> Iterator[tuple[int, Future[int] | SampleError]]:
        nonlocal asked
        for number, kind in enumerate(jobs):
            asked += 1
            assert asked - taken <= most
            if kind == "none":
                yield number, SampleError("empty", "no bytes")
                continue
            job = Future[int]()
            if kind == "answer":
                job.set_result(number * 2)
            else:
                job.set_exception(TimeoutError())
            yield number, job

    for key, answer in in_order(submitted(), most, 5.0):
        assert key == taken
        taken += 1
        if jobs[key] == "answer":
            assert answer == key * 2
        else:
            assert isinstance(answer, SampleError)
            assert answer.code == ("empty" if jobs[key] == "none" else "timeout")
    assert taken == len(jobs)
