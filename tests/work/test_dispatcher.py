from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from kill import KILL

from maltriage.probe.prepare import Same
from maltriage.sample.errors import SampleError
from maltriage.source.files import Rejected
from maltriage.work import dispatcher
from maltriage.work.dispatcher import Dispatcher, Task
from maltriage.work.workers import Workers

WAIT = 30.0


def _do(path: str, options: SimpleNamespace, finish: object) -> Same:
    """What a path says: `die`, `hang`, `slow`, `fail`, or a name, which is returned, with the
    process in place of the row."""
    with open(options.log, "a") as file:
        file.write(f"{path}\n")
    if path.startswith("die"):
        os.kill(os.getpid(), KILL)
    if path.startswith("hang"):
        time.sleep(600)
    if path.startswith("slow"):
        time.sleep(0.6)
    if path.startswith("fail"):
        raise SampleError("empty", "an empty file")
    return Same(path, "", b"", os.getpid())


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setattr(dispatcher, "prepare_file", _do)
    # Not isolated: `_do` writes down what it was given.
    with Workers(1, timeout=1.5, isolation=None) as pool:
        yield pool


def files_of(workers: Workers, log: Path) -> Dispatcher:
    return Dispatcher(workers, SimpleNamespace(views=(), log=str(log)))  # type: ignore[arg-type]


def run(
    workers: Workers, log: Path, names: list[str], size: int = 1
) -> tuple[list[str], list[int | None]]:
    """What came of each name, or the code of its error, and by which process."""
    files = files_of(workers, log)
    places = [files.add(name, size) for name in names]
    files.give()
    found: list[str] = []
    pids: list[int | None] = []
    for place in places:
        result = settled(files, place)
        found.append(result.code if isinstance(result, Rejected) else result.path)
        pids.append(None if isinstance(result, Rejected) else result.row)
    return found, pids


def settled(files: Dispatcher, task: Task) -> Same | Rejected:
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        taken = files.take(task, 0.1)
        if taken is not None:
            (item,) = taken.items
            assert isinstance(item, Same | Rejected)
            return item
    raise AssertionError(f"nothing came of {task.path}")


def test_files_go_to_a_worker_together_and_come_back_in_order(
    workers: Workers, tmp_path: Path
) -> None:
    names = [f"{i}" for i in range(20)]
    found, _ = run(workers, tmp_path / "log", names)
    assert found == names
    assert (tmp_path / "log").read_text().split() == names


def test_a_failure_in_a_group_is_of_its_file(workers: Workers, tmp_path: Path) -> None:
    found, _ = run(workers, tmp_path / "log", ["a", "fail", "b"])
    assert found == ["a", "empty", "b"]


def test_a_death_in_a_group_costs_the_file_that_it_was_at(workers: Workers, tmp_path: Path) -> None:
    """The rest is read by another worker, and what killed the first one is not tried again."""
    found, pids = run(workers, tmp_path / "log", ["a", "b", "die-1", "c", "die-2", "d"])
    assert found == ["a", "b", "crash", "c", "crash", "d"]
    assert len({pid for pid in pids if pid is not None}) == 1
    tried = (tmp_path / "log").read_text().split()
    assert (tried.count("die-1"), tried.count("die-2")) == (1, 1)
    assert tried.count("c") == 2  # before the second death, and after it


def test_a_file_that_hangs_in_a_group_fails_alone(workers: Workers, tmp_path: Path) -> None:
    found, _ = run(workers, tmp_path / "log", ["a", "hang", "b"])
    assert found == ["a", "timeout", "b"]
    assert (tmp_path / "log").read_text().split().count("hang") == 1


def test_slow_files_in_a_group_have_their_own_time(workers: Workers, tmp_path: Path) -> None:
    """Three take longer together than one may, and none is at fault."""
    names = ["slow-1", "slow-2", "slow-3"]
    found, _ = run(workers, tmp_path / "log", names)
    assert found == names


def test_large_files_go_alone(workers: Workers, tmp_path: Path) -> None:
    files = files_of(workers, tmp_path / "log")
    places = [files.add(name, dispatcher.MAX_GROUP_BYTES) for name in ("a", "b")]
    small = [files.add(name, 10) for name in ("c", "d")]
    assert [place.group is not None for place in places] == [True, True]
    assert [place.group for place in small] == [None, None]
    files.give()
    assert len({id(place.group) for place in [*places, *small]}) == 3
    for place in [*places, *small]:
        assert settled(files, place) is not None


def test_what_no_worker_has_in_hand_is_taken_back(workers: Workers, tmp_path: Path) -> None:
    files = files_of(workers, tmp_path / "log")
    first = files.add("slow", dispatcher.MAX_GROUP_BYTES)
    until = time.monotonic() + WAIT
    while files.running(first) is None and time.monotonic() < until:
        time.sleep(0.01)
    waiting, unsent = files.add("a", dispatcher.MAX_GROUP_BYTES), files.add("b", 1)
    for place in (first, waiting, unsent):
        files.cancel(place)
    files.give()
    assert settled(files, first).path == "slow"
    assert files.take(waiting, 1.0) is None
    assert (waiting.cancelled, unsent.cancelled, unsent.group) == (True, True, None)


def test_who_waits_sees_which_file_is_in_hand(workers: Workers, tmp_path: Path) -> None:
    files = files_of(workers, tmp_path / "log")
    places = [files.add(name, 1) for name in ("a", "hang", "b")]
    files.give()
    until = time.monotonic() + WAIT
    while not files.running(places[1]) and time.monotonic() < until:
        time.sleep(0.01)
    assert files.running(places[1])
    assert [files.running(places[i]) for i in (0, 2)] == [None, None]
