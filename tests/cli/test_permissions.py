"""What a user may not read or write: a record or a line each, and nothing else is lost.

Root may do everything, so its commands run without the capabilities that say so: permissions then
hold for it as for anybody.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hostile.make import sample

SETPRIV = shutil.which("setpriv")
IS_ROOT = os.name == "posix" and os.geteuid() == 0
pytestmark = pytest.mark.skipif(
    os.name != "posix" or (IS_ROOT and SETPRIV is None),
    reason="permissions as POSIX has them, and for root setpriv",
)
WITHOUT = "-dac_override,-dac_read_search,-fowner"
PYTHON = [*([SETPRIV or "", "--bounding-set", WITHOUT] if IS_ROOT else []), sys.executable]
"""Python as a process that permissions hold for."""
Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command that permissions hold for."""

    def run(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        command = [*PYTHON, "-m", "maltriage", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)

    return run


@pytest.fixture
def closed() -> Iterator[Callable[[Path, int], Path]]:
    """Takes permissions away, until the test ends."""
    before: list[tuple[Path, int]] = []

    def close(path: Path, mode: int) -> Path:
        before.append((path, path.stat().st_mode & 0o777))
        path.chmod(mode)
        return path

    yield close
    for path, mode in reversed(before):
        path.chmod(mode)


def records(stdout: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


def test_permissions_hold_here(tmp_path: Path, closed: Any) -> None:
    """Or the tests below would say nothing."""
    (tmp_path / "x").write_bytes(b"x")
    closed(tmp_path / "x", 0)
    command = [*PYTHON, "-c", "open('x')"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert b"PermissionError" in done.stderr


def test_what_may_not_be_read_is_a_record_each(run: Run, folder: Path, closed: Any) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "c.exe").write_bytes(sample("console-x64.exe"))
    (folder / "z.exe").write_bytes(sample("console-x64.exe"))
    closed(folder / "sub", 0)
    closed(folder / "z.exe", 0)
    done = run("scan", folder, "-f", "ndjson", "-q")
    found = {record.get("path"): record for record in records(done.stdout)}
    assert found[str(folder / "a.exe")]["type"] == "result"
    for name in ("sub", "z.exe"):
        record = found[str(folder / name)]
        assert (record["type"], record["code"]) == ("error", "unreadable")
    assert (found[None]["files"], found[None]["failed"]) == (1, 2)
    assert (done.returncode, done.stderr) == (3, b"")


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Waits for no process whose test has failed."""
    try:
        yield
    finally:
        process.kill()


def test_a_watch_of_what_may_not_be_read_is_refused(run: Run, folder: Path, closed: Any) -> None:
    pytest.importorskip("watchfiles", reason="needs the extra `watch`")
    closed(folder, 0)
    done = run("scan", folder, "--watch")
    said = f"maltriage: {folder}: Permission denied\n"
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", said)


def test_a_cache_that_may_not_be_entered_holds_up_no_list(
    run: Run, folder: Path, tmp_path: Path, closed: Any, monkeypatch: Any
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "list").write_text(hashlib.sha256(sample("console-x86.exe")).hexdigest())
    monkeypatch.setenv("MALTRIAGE_CACHE", str(closed(tmp_path / "cache", 0) / "inside"))
    done = run("scan", folder, "--known-good", "list", "-f", "ndjson", "-q", "--exit-zero")
    assert (done.returncode, records(done.stdout)[-1]["known"]) == (0, 1), done.stderr


def test_what_a_watch_may_not_read(folder: Path, tmp_path: Path, closed: Any) -> None:
    """Has a record each, and others once it may."""
    pytest.importorskip("watchfiles", reason="needs the extra `watch`")
    for name in ("sub", "later"):
        (folder / name).mkdir()
    closed(folder / "sub", 0)
    command = [*PYTHON, "-m", "maltriage", "scan", folder, "--watch", "-o", "r.ndjson"]
    end = time.monotonic() + 60

    def wanted(path: Path, kind: str) -> None:
        while time.monotonic() < end:
            if (tmp_path / "r.ndjson").exists():
                found = records((tmp_path / "r.ndjson").read_bytes())
                if any((r.get("path"), r["type"]) == (str(path), kind) for r in found):
                    return
            time.sleep(0.1)
        raise AssertionError(f"no {kind} of {path}")

    with (
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process,
        ended(process),
    ):
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"maltriage: watching ")
        wanted(folder / "sub", "error")
        (tmp_path / "z.exe").write_bytes(sample("console-x64.exe"))
        (tmp_path / "z.exe").chmod(0)
        (tmp_path / "z.exe").rename(folder / "z.exe")
        wanted(folder / "z.exe", "error")
        (folder / "z.exe").chmod(0o644)
        wanted(folder / "z.exe", "result")
        (folder / "sub").chmod(0o755)
        time.sleep(1.0)  # until it is watched
        (folder / "sub" / "c.exe").write_bytes(sample("console-x64.exe"))
        wanted(folder / "sub" / "c.exe", "result")
        (folder / "later" / "d.exe").write_bytes(sample("console-x64.exe"))
        wanted(folder / "later" / "d.exe", "result")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 3
    found = records((tmp_path / "r.ndjson").read_bytes())
    assert len(found) == 6  # those, and the summary


def test_one_file_that_may_not_be_read(run: Run, folder: Path, closed: Any) -> None:
    closed(folder / "a.exe", 0)
    done = run("explain", folder / "a.exe", "-f", "json")
    (record,) = records(done.stdout)
    assert (record["type"], record["code"], done.returncode) == ("error", "unreadable", 3)


@pytest.mark.parametrize("existing", [True, False])
def test_outputs_that_may_not_be_written(
    run: Run, folder: Path, tmp_path: Path, closed: Any, existing: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if existing:
        (out / "r.csv").write_bytes(b"old")
        closed(out / "r.csv", 0o444)
    else:
        closed(out, 0o555)
    done = run("scan", folder, "-o", out / "r.csv")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == f"maltriage: cannot write {out / 'r.csv'}: Permission denied\n".encode()
    assert [path.read_bytes() for path in out.iterdir()] == [b"old"] * existing


def test_a_cache_that_may_not_be_written(
    run: Run, folder: Path, tmp_path: Path, closed: Any
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    closed(cache, 0o555)
    done = run("scan", folder, "-f", "ndjson", "--cache", cache / "results", "--exit-zero")
    assert [record["type"] for record in records(done.stdout)] == ["result", "skipped", "summary"]
    assert done.returncode == 0
    assert done.stderr.count(b"Permission denied") == 1
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ("scan", "--files-from", "x"),
        ("scan", "--known-good", "x", "in"),
        ("scan", "--model", "x", "in"),
        ("scan", "--index", "x", "in"),
        ("models", "x"),
    ],
)
def test_what_else_may_not_be_read_is_a_line(
    run: Run, folder: Path, tmp_path: Path, closed: Any, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "x").write_bytes(b"x")
    closed(tmp_path / "x", 0)
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert done.stderr.startswith(b"maltriage: ")
    assert b"x: Permission denied" in done.stderr


def test_a_folder_that_may_not_be_entered(
    run: Run, folder: Path, tmp_path: Path, closed: Any, monkeypatch: Any
) -> None:
    """What is named in it is a line; the user's own settings and kept results are passed by."""
    home = tmp_path / "home"
    home.mkdir()
    closed(home, 0)
    for arguments in (
        ("scan", folder, "-o", home / "x.csv"),
        ("scan", folder, "--model", home / "x.onnx"),
        ("explain", folder / "a.exe", "--png", home / "x.png"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"maltriage: ")
        assert done.stderr.count(b"\n") == 1
        if sys.version_info < (3, 14):  # where a folder that is closed has no files
            assert done.stderr == f"maltriage: {arguments[-1]}: Permission denied\n".encode()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.setenv("MALTRIAGE_CACHE", str(home / "cache"))
    done = run("scan", folder, "-f", "ndjson", "--exit-zero")
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    assert b"results are neither looked up nor kept" in done.stderr
