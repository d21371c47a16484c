"""Scans on a real Ray cluster of two nodes, all on this machine."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cluster.clusters import HAS_RAY, cluster
from hostile.make import CASES, sample

from maltriage import bundle as bundles
from maltriage.cluster import actor_pool, connection, engine
from maltriage.cluster.actor import Scanner, Unable
from maltriage.cluster.shards import Shards
from maltriage.errors import MaltriageError
from maltriage.report.documents.record import Failed, Record, Result, Summary
from maltriage.triage.engines.done import Done
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.triage.request import ScanRequest

pytestmark = [
    # Not `importorskip`: Ray reads its settings when it is imported.
    pytest.mark.skipif(not HAS_RAY, reason="the extra `ray` is not installed"),
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="clusters of POSIX"),
]
FILES = 800
GOODWARE = os.environ.get("MALTRIAGE_GOODWARE")


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    with cluster(2) as made:
        yield made


@pytest.fixture
def cluster_of_two(two_nodes: Any) -> Any:
    """The cluster, with the nodes that it began with: one that a test killed is replaced."""
    while len(two_nodes.workers) < 2:
        two_nodes.workers.append(two_nodes.add_node(num_cpus=1, object_store_memory=100 << 20))
    return two_nodes


@pytest.fixture(scope="module")
def bundle() -> bundles.Bundle:
    return bundles.load(bundles.resolve(None))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """More than two nodes have in hand at once, with what gives no result among it."""
    root = tmp_path / "in"
    for number in range(FILES):
        below = root / str(number % 4)
        below.mkdir(parents=True, exist_ok=True)
        name = f"{number:03d}"
        if number % 25 == 24:
            (below / f"{name}.png").write_bytes(CASES["png_cut"]())
        elif number % 10 == 9:
            (below / f"{name}.txt").write_text("no program")
        else:
            (below / f"{name}.exe").write_bytes(sample("console-x86.exe") + b"%d" % number)
    return tmp_path


def start(folder: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "maltriage", "scan", *map(str, arguments)]
    return subprocess.Popen(
        [*command, "--exit-zero"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def on(made: Any, *arguments: object) -> tuple[object, ...]:
    return (*arguments, "--engine", "ray", "--address", made.address, "-j", "1")


def records(path: Path) -> list[dict[str, Any]]:
    """Records without what is measured; the summary last."""
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    for record in found:
        record.pop("timing", None)
        record.pop("seconds", None)
    return found


def wait_for_lines(path: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def kill_one_node(made: Any) -> None:
    made.remove_node(made.workers.pop(), allow_graceful=False)


def kill_one_actor(made: Any) -> None:
    import psutil

    for process in psutil.process_iter(["name"]):
        if process.info["name"].startswith("ray::Scanner"):
            process.kill()
            return
    raise AssertionError("no actor")


@pytest.mark.parametrize("kill", [kill_one_node, kill_one_actor])
def test_a_node_or_an_actor_that_is_killed_loses_nothing(
    cluster_of_two: Any, folder: Path, kill: Callable[[Any], None]
) -> None:
    assert start(folder, "in", "--no-cache", "-o", "here.ndjson").wait(120) == 3
    process = start(folder, *on(cluster_of_two, "in", "--no-cache", "-o", "there.ndjson"))
    wait_for_lines(folder / "there.ndjson.part", 60, process)
    kill(cluster_of_two)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out) == (3, b"")
    note, wrote = errors.decode().splitlines()
    assert note.startswith("note: 1 actor of the cluster died, on ")
    assert note.endswith(" given out again")
    assert wrote.startswith("wrote there.ndjson (ndjson, ")
    assert same(records(folder / "there.ndjson"), records(folder / "here.ndjson"))


def real_files(vx_mini: Path, samples: Path) -> Sequence[str]:
    pictures = sorted(map(str, vx_mini.rglob("*.png")))[::2]
    programs = sorted(str(p) for p in Path(GOODWARE or "none").rglob("*") if p.is_file())[::20]
    return [*pictures, *programs, *sorted(map(str, samples.glob("*.*")))]


def test_real_files_are_the_same_records(
    cluster_of_two: Any, tmp_path: Path, vx_mini: Path, samples_dir: Path
) -> None:
    """A node is killed on the way. What is in an archive comes with the rest."""
    import zipfile

    named = real_files(vx_mini, samples_dir)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in samples_dir.glob("*.exe"):
            archive.write(path, path.name)
    listed = "\n".join([*named[:100], str(tmp_path / "a.zip"), *named[100:]])
    (tmp_path / "list").write_text(listed)
    arguments = ("--files-from", "list", "--no-cache", "--hashes", "--max-size", "8", "-q", "-o")
    assert start(tmp_path, *arguments, "here.ndjson").wait(300) in (0, 3)
    process = start(tmp_path, *on(cluster_of_two, *arguments, "there.ndjson"))
    wait_for_lines(tmp_path / "there.ndjson.part", 60, process)
    kill_one_node(cluster_of_two)
    _, errors = process.communicate(timeout=300)
    assert errors == b""
    here, there = records(tmp_path / "here.ndjson"), records(tmp_path / "there.ndjson")
    assert len(here) > 500
    assert [record.get("path") for record in there] == [record.get("path") for record in here]
    for other, record in zip(there, here, strict=True):
        assert same(other, record)


def same(first: Any, second: Any) -> bool:
    """Equal but for the last digits of figures, which a file's place in a batch moves."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float):
        return first == pytest.approx(second, rel=1e-4, abs=1e-4)
    return bool(first == second)


def killer_class() -> type[Scanner]:
    # In a function, so that it is sent along: nodes do not have this module.
    class Dies(Scanner):
        def scan(self, files: Sequence[Any], look: Sequence[str]) -> Done | Unable:
            import os

            if any("killer" in file.path for file in files):
                os._exit(9)
            return super().scan(files, look)

        def write(self, files: Sequence[Any], part: Any, look: Sequence[str]) -> Any:
            self.scan(files, look)
            return super().write(files, part, look)

    return Dies


def scanned(
    folder: Path, bundle: bundles.Bundle, options: ScanOptions, on: Any
) -> Iterator[Record]:
    request = ScanRequest((str(folder),), bundle, options)
    return engine.ClusterScan(request, on.address).records(Progress())


def test_only_the_file_that_kills_actors_is_lost(
    cluster_of_two: Any, tmp_path: Path, bundle: bundles.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{i:02d}-{'killer' if i == 5 else 'file'}.exe" for i in range(12)]
    for name in names:
        (tmp_path / name).write_bytes(sample("console-x86.exe"))
    monkeypatch.setattr(actor_pool, "Scanner", killer_class())
    *found, summary = scanned(tmp_path, bundle, ScanOptions(jobs=1), cluster_of_two)
    assert [Path(record.path).name for record in found] == names  # type: ignore[union-attr]
    kinds = [type(record) for record in found]
    assert kinds == [Result] * 5 + [Failed] + [Result] * 6
    assert isinstance(found[5], Failed)
    assert (found[5].code, found[5].reason) == ("lost", "the processes that had it died, 2 times")
    assert isinstance(summary, Summary)
    assert (summary.files, summary.failed, summary.interrupted) == (11, 1, False)


def killing_class(node: str, *, for_good: bool = False) -> type[Scanner]:
    class Killing(Scanner):
        def scan(self, files: Sequence[Any], look: Sequence[str]) -> Done | Unable:
            """On one node a worker dies, and the server that workers are forked from; `for_good`:
            none can be started any more."""
            import psutil
            import ray

            from maltriage.work.supervisor import Supervisor

            def refused(self: Any, number: int) -> None:
                raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

            if ray.get_runtime_context().get_node_id() == node:
                if for_good:
                    Supervisor._start = refused  # type: ignore[method-assign,assignment]
                for child in psutil.Process().children(recursive=True):
                    child.kill()
            return super().scan(files, look)

    return Killing


def test_an_actor_whose_fork_server_died_goes_on(
    cluster_of_two: Any, folder: Path, bundle: bundles.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor_pool, "Scanner", killing_class(cluster_of_two.workers[0].node_id))
    request = ScanRequest((str(folder / "in"),), bundle, ScanOptions(jobs=1))
    source = engine.ClusterScan(request, cluster_of_two.address)
    found = list(source.records(Progress()))[:-1]
    assert len(found) == FILES
    assert {record.code for record in found if isinstance(record, Failed)} == {"damaged-png"}


def test_an_actor_that_starts_no_process_ends_no_scan(
    cluster_of_two: Any, folder: Path, bundle: bundles.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one on a node; those that replace it are lost as well, while the other goes on."""
    broken = killing_class(cluster_of_two.workers[0].node_id, for_good=True)
    monkeypatch.setattr(actor_pool, "Scanner", broken)
    monkeypatch.setattr(actor_pool, "MAX_FAILED", 100)
    request = ScanRequest((str(folder / "in"),), bundle, ScanOptions(jobs=1))
    progress = Progress()
    source = engine.ClusterScan(request, cluster_of_two.address)
    found = list(source.records(progress))[:-1]
    assert len(found) == FILES
    (note,) = progress.notes
    assert "of the cluster died, on " in note
    assert {record.code for record in found if isinstance(record, Failed)} == {"damaged-png"}


def blind_class(node: str) -> type[Scanner]:
    class Blind(Scanner):
        def _tried(self, look: Sequence[str], work: Callable[[], Any]) -> Any:
            import ray

            if ray.get_runtime_context().get_node_id() == node:
                look = [path + "-none" for path in look]
                found = super()._tried(look, work)
                found = Unable(found.reason, tuple(p.removesuffix("-none") for p in found.unseen))
                return found
            return super()._tried(look, work)

    return Blind


def test_a_node_without_the_files_is_passed_over(
    cluster_of_two: Any, folder: Path, bundle: bundles.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SHARD_FILES", 60)
    monkeypatch.setattr(actor_pool, "Scanner", blind_class(cluster_of_two.workers[1].node_id))
    request = ScanRequest((str(folder / "in"),), bundle, ScanOptions(jobs=1))
    shards = Shards(str(folder / "out"))
    progress = Progress()
    (end,) = engine.ShardedScan(request, shards, cluster_of_two.address).records(progress)
    assert isinstance(end, Summary)
    assert end.failed == FILES // 25
    (note,) = progress.notes
    assert note.startswith("1 node did not see all files, and got no more: ")
    assert "No such file or directory" in note


def test_actors_leave_nothing_on_a_node(
    cluster_of_two: Any, tmp_path: Path, bundle: bundles.Bundle
) -> None:
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    before = os.listdir(cluster_of_two.temporary)  # of actors that tests killed
    *_, summary = scanned(tmp_path, bundle, ScanOptions(jobs=1), cluster_of_two)
    assert isinstance(summary, Summary)
    assert set(os.listdir(cluster_of_two.temporary)) <= {*before, "ray"}


@pytest.mark.parametrize("name", ["__version__", "SCHEMA_VERSION"])
def test_another_version_is_told(
    cluster_of_two: Any,
    tmp_path: Path,
    bundle: bundles.Bundle,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    monkeypatch.setattr(actor_pool, name, "9.9")
    with pytest.raises(MaltriageError, match=r"has maltriage .* 9\.9.* must be the same"):
        list(scanned(tmp_path, bundle, ScanOptions(), cluster_of_two))


def test_a_node_without_maltriage_is_told(
    cluster_of_two: Any, tmp_path: Path, bundle: bundles.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the module of what runs there is not installed."""
    import types

    other = types.ModuleType("maltriage_elsewhere")
    exec("class Scanner:\n    def arrived(self): pass\n    def open(self, *_): pass", vars(other))
    monkeypatch.setitem(sys.modules, other.__name__, other)
    monkeypatch.setattr(actor_pool, "Scanner", other.Scanner)
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    with pytest.raises(MaltriageError, match="No module named 'maltriage_elsewhere'") as raised:
        list(scanned(tmp_path, bundle, ScanOptions(), cluster_of_two))
    assert "\n" not in str(raised.value)


def test_what_was_sent_is_held_against_its_digest(
    cluster_of_two: Any, tmp_path: Path, bundle: bundles.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    before = engine._setup

    def other(*arguments: Any) -> Any:
        setup, (model, index) = before(*arguments)
        return setup, (model[:-1] + b"x", index)

    monkeypatch.setattr(engine, "_setup", other)
    with pytest.raises(MaltriageError, match="not the file that was sent"):
        list(scanned(tmp_path, bundle, ScanOptions(), cluster_of_two))


def test_nodes_that_are_too_small(
    cluster_of_two: Any, tmp_path: Path, bundle: bundles.Bundle
) -> None:
    for options, said in (
        (ScanOptions(jobs=2), "no node of the Ray cluster has 2 CPUs"),
        (ScanOptions(device="cuda"), "no node of the Ray cluster has a GPU"),
    ):
        with pytest.raises(MaltriageError, match=said):
            list(scanned(tmp_path, bundle, options, cluster_of_two))


def test_ctrl_c_writes_what_is_done(cluster_of_two: Any, folder: Path) -> None:
    process = start(folder, *on(cluster_of_two, "in", "--no-cache", "-o", "out.ndjson"))
    wait_for_lines(folder / "out.ndjson.part", 60, process)
    os.kill(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    *found, summary = records(folder / "out.ndjson")
    stopped = errors.decode().splitlines()[-1]
    assert stopped == f"maltriage: stopped, {len(found)} of {FILES} done"
    assert summary["interrupted"] is True
    assert 60 <= len(found) < FILES
    assert len({record["path"] for record in found}) == len(found)
    assert summary["files"] == sum(record["type"] == "result" for record in found)


def test_what_a_scan_kept_is_not_asked_of_nodes_again(cluster_of_two: Any, folder: Path) -> None:
    """Killed, and resumed; the store is that of the machine where the command runs."""
    arguments = on(cluster_of_two, "in", "--cache", "kept", "--resume", "-o", "out.ndjson")
    process = start(folder, *arguments, "-q")
    wait_for_lines(folder / "out.ndjson.part", 130, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    process = start(folder, *arguments)
    _, errors = process.communicate(timeout=120)
    assert b": goes on; it began on 20" in errors
    lines = [json.loads(line) for line in (folder / "out.ndjson").read_bytes().splitlines()]
    assert len(lines) == FILES + 1
    stored = [line["timing"]["stored"] for line in lines if line["type"] == "result"]
    assert 40 <= sum(stored) < len(stored)
    assert start(folder, "in", "--no-cache", "-o", "here.ndjson").wait(120) == 3
    assert same(records(folder / "out.ndjson"), records(folder / "here.ndjson"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("kill_raylet", b"the node of the Ray cluster on this machine is gone"),
        ("kill_gcs_server", b"the head of the Ray cluster does not answer any more"),
    ],
)
def test_a_cluster_that_goes_ends_the_scan(folder: Path, what: str, said: bytes) -> None:
    """By an exit code of its own: that of Ray would say that something is flagged."""
    names = [str(folder / "in")] * 40  # Ray takes up to a minute to see that its head is gone
    with cluster(1) as made:
        process = start(folder, *on(made, *names, "--no-cache", "-o", "out.ndjson"))
        wait_for_lines(folder / "out.ndjson.part", 60, process)
        getattr(made.head_node, what)()
        _, errors = process.communicate(timeout=200)
    assert process.returncode == 2
    assert errors.startswith(b"maltriage: " + said)
    assert b"records so far are in out.ndjson.part" in errors.splitlines()[0].replace(
        os.fsencode(folder) + b"/", b""
    )


def shown(folder: Path) -> list[dict[str, Any]]:
    """All records of the parts in a folder; they end with a summary each."""
    found = []
    for path in sorted(folder.glob("part-*")):
        *part, end = records(path)
        assert end["type"] == "summary"
        found += part
    return found


@pytest.mark.parametrize("kill", [None, kill_one_node])
def test_nodes_write_the_parts_themselves(
    cluster_of_two: Any,
    folder: Path,
    bundle: bundles.Bundle,
    monkeypatch: pytest.MonkeyPatch,
    kill: Callable[[Any], None] | None,
) -> None:
    """Stopped, with a node killed besides, and gone on with: nothing is missing or twice."""
    monkeypatch.setattr(engine, "SHARD_FILES", 60)
    options = ScanOptions(jobs=1, index=None)
    out, progress = folder / "out", Progress()
    names = sorted(str(path) for path in (folder / "in").rglob("*.*"))

    def written(shards: Shards, stop: Callable[[], bool] = lambda: False) -> Summary:
        request = ScanRequest(tuple(names), bundle, options)
        source = engine.ShardedScan(request, shards, cluster_of_two.address)

        def asked() -> bool:
            nonlocal kill
            if kill is not None and progress.records >= 60:
                kill(cluster_of_two)
                kill = None
            return stop()

        (end,) = source.records(progress, asked)
        assert isinstance(end, Summary)
        return end

    end = written(Shards(str(out)), lambda: progress.records >= 240)
    assert end.interrupted
    assert not (out / "summary.json").exists()
    whole = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.ndjson")}
    assert 4 <= len(whole) < 14
    progress = Progress()
    end = written(Shards(str(out), resume=True))
    assert (end.interrupted, end.files + end.failed + end.skipped) == (False, FILES)
    again = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.ndjson")}
    assert len(again) == 14
    assert whole.items() <= again.items()
    assert sorted(os.listdir(out)) == sorted([*again, "manifest.ndjson", "summary.json"])
    here = list(scan(names, bundle, options))
    local = [record for record in map(msgspec.to_builtins, here) if record["type"] != "summary"]
    there = shown(out)
    assert [record["path"] for record in there] == names
    for record in local:
        record.pop("timing", None)
    assert all(map(same, there, json.loads(json.dumps(local))))
    (folder / "in" / "0" / "000.exe").write_bytes(b"another one")
    with pytest.raises(MaltriageError, match="shard 0 is of other files"):
        written(Shards(str(out), resume=True))


def test_a_part_with_a_file_that_kills_is_written_all_the_same(
    cluster_of_two: Any, tmp_path: Path, bundle: bundles.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    for i in range(9):
        (root / f"{i}-{'killer' if i == 5 else 'file'}.exe").write_bytes(sample("console-x86.exe"))
    monkeypatch.setattr(actor_pool, "Scanner", killer_class())
    shards = Shards(str(tmp_path / "out"), "parquet")
    request = ScanRequest((str(root),), bundle, ScanOptions(jobs=1))
    (end,) = engine.ShardedScan(request, shards, cluster_of_two.address).records(Progress())
    assert isinstance(end, Summary)
    assert (end.files, end.failed) == (8, 1)
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "out" / "part-00000.parquet")
    assert table.column("status").to_pylist() == ["result"] * 5 + ["error"] + ["result"] * 3


def test_what_is_no_cluster_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(connection, "ANSWER_SECONDS", 8.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        silent = f"127.0.0.1:{other.getsockname()[1]}"
        connected = connection.connected(silent, 1)
        with pytest.raises(MaltriageError, match="does not answer as a Ray cluster does"):
            connected.__enter__()
