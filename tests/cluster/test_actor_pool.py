"""The pool of actors, on a Ray that is none: nodes are what a test says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maltriage.cluster.actor import Opened, Scanner, Setup, Unable, unseen
from maltriage.cluster.actor_pool import Pool
from maltriage.cluster.nodes import GoneError, Node
from maltriage.errors import MaltriageError
from maltriage.source.files import Found, Rejected
from maltriage.triage.engines.chunks import Chunk
from maltriage.work.forkserver import FOLDER

MISSING = "No such file or directory"
BROKEN = Unable("no file can be read: processes cannot be started: EOFError")
Answer = Callable[["Handle", list[str], list[str]], object]


class LostError(Exception):
    """As `RayError`."""


class FailedError(LostError):
    """As `RayTaskError`."""


class Handle:
    """An actor: each call is answered at once."""

    def __init__(self, ray: FakeRay, node: Node) -> None:
        self.ray, self.node = ray, node
        self.calls = list[str]()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> object:
            self.calls.append(name)
            if name == "close":
                self.ray.alive.remove(self)
            if name == "open":
                return self._ref(Opened(self.node.id, self.node.host))
            if name == "scan":
                files, look = arguments
                return self._ref(self.ray.answer(self, [file.path for file in files], look))
            return self._ref(None)

        return SimpleNamespace(remote=call)

    def _ref(self, value: object) -> object:
        self.ray.answers.append(value)
        return len(self.ray.answers) - 1


class FakeRay:
    exceptions = SimpleNamespace(RayError=LostError, RayTaskError=FailedError)

    def __init__(self, nodes: Sequence[Node], answer: Answer) -> None:
        self.nodes, self.answer = nodes, answer
        self.answers = list[object]()
        self.alive, self.ended = list[Handle](), list[Handle]()
        self.selectors = list[dict[str, str]]()

    def put(self, data: bytes) -> bytes:
        return data

    def remote(self, _: object) -> Any:
        def options(**how: Any) -> Any:
            self.selectors.append(how["label_selector"])
            refused = how["label_selector"].get("ray.io/node-id", "")
            taken = [handle.node for handle in self.alive]
            free = [n for n in self.nodes if n not in taken and n.id not in refused]
            self.alive.append(Handle(self, free[0]))
            return SimpleNamespace(remote=lambda: self.alive[-1])

        return SimpleNamespace(options=options)

    def wait(self, refs: list[int], **_: object) -> tuple[list[int], list[int]]:
        return refs, []

    def get(self, ref: int) -> object:
        answer = self.answers[ref]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, handle: Handle) -> None:
        self.alive = [one for one in self.alive if one is not handle]
        self.ended.append(handle)


NODES = [Node("n1", "one", 1.0, 0.0), Node("n2", "two", 1.0, 0.0)]


def pool_on(ray: FakeRay) -> Pool:
    members: Any = SimpleNamespace(now=lambda: ray.nodes, fresh=lambda: ray.nodes)
    setup: Any = Setup(None, None, None, (), "", ())  # type: ignore[arg-type]
    return Pool(ray, members, setup, (b"", b""), 1, gpu=False)


def chunks_in(folder: Path, count: int, files: int = 3) -> list[Chunk]:
    made = []
    for number in range(count):
        paths = [folder / f"{number}-{i}.exe" for i in range(files)]
        for path in paths:
            path.touch()
        made.append(Chunk([Found(str(path), 0) for path in paths]))
    return made


def run(pool: Pool, chunks: list[Chunk]) -> None:
    for chunk in chunks:
        pool.add(chunk)
    for _ in range(100):
        if all(chunk.complete for chunk in chunks):
            return
        pool.step(0)
    raise AssertionError("chunks are left")


def done(handle: Handle, _: list[str], __: list[str]) -> object:
    return handle.node.host


def blind_on(*hosts: str) -> Answer:
    def answer(handle: Handle, files: list[str], look: list[str]) -> object:
        if handle.node.host in hosts and look:
            return Unable(MISSING, tuple(look))
        return handle.node.host

    return answer


def test_a_node_that_does_not_see_the_files_gets_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ray = FakeRay(NODES, blind_on("two"))
    chunks = chunks_in(tmp_path, 8)
    with caplog.at_level(logging.INFO, "maltriage.cluster"), pool_on(ray) as pool:
        run(pool, chunks)
        assert [handle.node.host for handle in ray.alive] == ["one"]
        assert pool.notes() == [
            f"1 node did not see all files, and got no more: two ({tmp_path}/1-0.exe: {MISSING})"
        ]
        ray.kill(ray.alive[0])  # another one starts on the good node
        pool._seats.clear()
        pool.step(0)
        assert ray.selectors[-1] == {"ray.io/node-id": "!in(n2)"}
    assert {str(chunk.done) for chunk in chunks} == {"one"}
    assert not any(chunk.losses for chunk in chunks)
    assert "node two does not see" in caplog.text


def test_where_no_node_sees_the_files_that_is_an_error(tmp_path: Path) -> None:
    said = f"no node of the Ray cluster sees the files: one .*{MISSING}.*, two "
    ray = FakeRay(NODES, blind_on("one", "two"))
    with pytest.raises(MaltriageError, match=said), pool_on(ray) as pool:
        run(pool, chunks_in(tmp_path, 4))


def test_a_file_that_was_removed_is_no_fault_of_a_node(tmp_path: Path) -> None:
    def answer(handle: Handle, files: list[str], look: list[str]) -> object:
        there = [path for path in look if not Path(path).exists()]
        return Unable(MISSING, tuple(there)) if there else handle.node.host

    chunks = chunks_in(tmp_path, 4)
    for name in ("1-0.exe", "1-1.exe", "3-0.exe", "3-1.exe", "3-2.exe"):
        (tmp_path / name).unlink()
    with pool_on(FakeRay(NODES, answer)) as pool:
        run(pool, chunks)
        assert pool.notes() == []


def test_a_node_has_to_see_the_first_and_the_last_file(tmp_path: Path) -> None:
    looked = list[list[str]]()

    def answer(handle: Handle, files: list[str], look: list[str]) -> object:
        looked.append(look)
        return handle.node.host

    (of_disk,) = chunks_in(tmp_path, 1)
    of_disk.files.insert(0, Rejected("folder", "unreadable", "a reason", True))
    single = Chunk([Found(str(tmp_path / "0-1.exe"), 0)])
    remote = Chunk([Found("s3://bucket/a.exe", 0)])
    with pool_on(FakeRay(NODES[:1], answer)) as pool:
        run(pool, [of_disk, single, remote])
    assert [[Path(path).name for path in look] for look in looked] == [
        ["0-0.exe", "0-2.exe"],
        ["0-1.exe"],
        [],
    ]


def test_an_actor_without_processes_is_lost_and_not_the_scan(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([BROKEN])
    ray = FakeRay(NODES[:1], lambda handle, *_: next(answers, handle.node.host))
    chunks = chunks_in(tmp_path, 3)
    with caplog.at_level(logging.INFO, "maltriage.cluster"), pool_on(ray) as pool:
        run(pool, chunks)
        assert pool.notes() == [
            "1 actor of the cluster died, on one: 1 chunk of files given out again"
        ]
    assert [chunk.losses for chunk in chunks] == [1, 0, 0]
    assert not any(chunk.crashes for chunk in chunks)
    assert "actor on one lost: no file can be read" in caplog.text
    assert "3 files, from " in caplog.text


def test_where_no_actor_has_processes_that_is_an_error(tmp_path: Path) -> None:
    said = r"(one|two): no file can be read: processes"
    with (
        pytest.raises(MaltriageError, match=said),
        pool_on(FakeRay(NODES, lambda *_: BROKEN)) as pool,
    ):
        run(pool, chunks_in(tmp_path, 20))


def test_actors_that_die_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([LostError("The actor died\nOSError: killed")] * 2)
    ray = FakeRay(NODES[:1], lambda handle, *_: next(answers, handle.node.host))
    chunks = chunks_in(tmp_path, 4)
    with caplog.at_level(logging.INFO, "maltriage.cluster"), pool_on(ray) as pool:
        run(pool, chunks)
        (note,) = pool.notes()
    assert note == "1 actor of the cluster died, on one: 2 chunks of files given out again"
    lost = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert [record.getMessage() for record in lost] == ["actor on one lost: OSError: killed"]


def test_many_hosts_are_told_in_part(tmp_path: Path) -> None:
    nodes = [Node(f"n{i:02}", f"host{i:02}", 1.0, 0.0) for i in range(9)]
    ray = FakeRay(nodes, blind_on(*(node.host for node in nodes[1:])))
    with pool_on(ray) as pool:
        run(pool, chunks_in(tmp_path, 40))
        (note,) = pool.notes()
    assert note.startswith("8 nodes did not see all files")
    assert note.endswith(" and 3 more")


@pytest.mark.parametrize(
    ("error", "closed"),
    [(None, True), (MaltriageError("x"), True), (KeyboardInterrupt(), False), (GoneError(), False)],
)
def test_actors_end_by_themselves(
    tmp_path: Path, error: BaseException | None, closed: bool
) -> None:
    ray = FakeRay(NODES, done)
    try:
        with pool_on(ray) as pool:
            run(pool, chunks_in(tmp_path, 2))
            handles = list(ray.alive)
            if error is not None:
                raise error
    except (MaltriageError, KeyboardInterrupt):
        pass
    assert len(handles) == 2
    assert all((handle.calls[-1] == "close") is closed for handle in handles)
    assert ray.ended == ([] if isinstance(error, GoneError) else handles)


def test_what_an_actor_looks_for(tmp_path: Path) -> None:
    there = tmp_path / "a.zip"
    there.touch()
    assert unseen(str(there)) is None
    assert unseen(f"{there}!x.exe") is None
    assert unseen(str(tmp_path / "b.zip!x.exe")) == MISSING
    scanner, worked = Scanner(), list[int]()
    scanner._engine = engine_of(lambda: None)
    here, gone = str(there), str(tmp_path / "gone")
    assert scanner._tried([here], lambda: worked.append(1) or 5) == 5
    assert scanner._tried([here, gone], lambda: worked.append(2)) == Unable(MISSING, (gone,))
    assert worked == [1]
    # The mount is lost while the chunk is done.
    assert scanner._tried([here], there.unlink) == Unable(MISSING, (here,))


def engine_of(submit: Callable[..., object]) -> Any:
    workers = SimpleNamespace(submit=lambda *_: submit())
    return SimpleNamespace(begin=lambda: SimpleNamespace(workers=workers))


def raising(error: Exception, cause: Exception | None = None) -> Callable[[], object]:
    def work() -> object:
        raise error from cause

    return work


def test_an_actor_says_when_it_has_no_processes() -> None:
    scanner = Scanner()
    scanner._engine = engine_of(lambda: None)
    error = MaltriageError(BROKEN.reason)
    broken = raising(error, BrokenProcessPool("processes cannot be started"))
    assert scanner._tried([], broken) == BROKEN
    with pytest.raises(MaltriageError, match="the disk is full"):
        scanner._tried([], raising(MaltriageError("the disk is full")))
    scanner._engine = engine_of(broken)  # what waited has an error in its record
    assert scanner._tried([], lambda: 1) == BROKEN


def test_an_actor_removes_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = list[object]()
    folder = tmp_path / "maltriage-abcd1234"
    (folder / "listener-1").mkdir(parents=True)
    monkeypatch.setenv(FOLDER, str(folder))
    scanner = Scanner()
    scanner.close()  # the folder is that of another process
    assert folder.exists()
    monkeypatch.setenv(FOLDER, str(folder))
    scanner._engine = SimpleNamespace(__exit__=lambda *error: ended.append(error))  # type: ignore[assignment]
    scanner.close()
    assert ended == [(None, None, None)]
    assert not folder.exists()
