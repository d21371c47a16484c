"""The program where the world is against it: signals, disks, odd folders and odd terminals.

Beside this: Ctrl-C, a reader of stdout that goes away and processes left behind in `test_scan.py`,
a disk that fills up and outputs in part in `test_output.py`, links in `sample/test_source.py`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from hostile.make import sample
from paths import links

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "maltriage")
WAIT = 120.0
KILLS = 20


def records(stdout: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


def start(*arguments: object, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # what a buffer has read beyond a line, `communicate` would not give
        **more,
    )


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """More files than a scan reads before a signal reaches it."""
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "0000.exe").write_bytes(sample("console-x86.exe"))
    for number in range(1, 3000):
        os.link(folder / "0000.exe", folder / f"{number:04d}.exe")
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM that is handled")
def test_sigterm_ends_as_ctrl_c_does(many: Path) -> None:
    """With what is done, and the summary: a service that is stopped loses nothing."""
    process = start("scan", many, "-f", "ndjson", "--no-cache", "--batch-size", "1")
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest, errors = process.communicate(timeout=WAIT)
    *found, summary = records(first + rest)
    assert process.returncode == 130
    assert errors.decode() == f"maltriage: stopped, {len(found):,} of 3,000 done\n"
    assert summary["type"] == "summary"
    assert summary["interrupted"]
    assert 1 <= len(found) < 3000


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process alone")
@pytest.mark.slow
def test_two_signals_end_at_once(many: Path) -> None:
    process = start("scan", many, "-f", "ndjson", "--no-cache")
    assert process.stdout is not None
    process.stdout.readline()
    family = psutil.Process(process.pid).children(recursive=True)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    threading.Thread(target=process.stdout.read).start()
    assert process.wait(timeout=WAIT) == 130
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
def test_head_takes_one_line(many: Path) -> None:
    """`scan | head -1`, as a shell runs it: quiet, and nothing runs on behind it."""
    line = " ".join((*PROGRAM, "scan", str(many), "-f", "ndjson", "--no-cache"))
    done = subprocess.run(
        ["sh", "-c", f"{line} | head -1"], capture_output=True, timeout=WAIT, check=True
    )
    (record,) = records(done.stdout)
    assert (record["type"], done.stderr) == ("result", b"")


def test_a_scan_that_is_killed_leaves_no_process(many: Path) -> None:
    process = start("scan", many, "-f", "ndjson", "--no-cache")
    assert process.stdout is not None
    process.stdout.readline()
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.kill()
    process.communicate(timeout=WAIT)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


@pytest.mark.skipif(sys.platform == "win32", reason="workers are forked from a server on POSIX")
@pytest.mark.slow
def test_workers_that_are_killed_cost_nothing(many: Path) -> None:
    """As the system does where memory runs out: every file is read again, and has its result."""
    process = start("scan", many, "-f", "ndjson", "--no-cache", "-j", "2")
    assert process.stdout is not None
    lines, killed = [process.stdout.readline()], 0
    for _ in range(KILLS):
        lines += [process.stdout.readline() for _ in range(100)]
        for worker in _workers(process.pid)[:1]:
            worker.kill()
            killed += 1
    assert killed > KILLS // 2
    rest, errors = process.communicate(timeout=WAIT)
    *found, summary = records(b"".join(lines) + rest)
    assert errors == b""
    assert len(found) == 3000
    assert [record for record in found if record["type"] == "error"] == []
    assert summary["files"] == 3000


def _workers(pid: int) -> list[psutil.Process]:
    """Those that read files: forked from a server, which is a child of the scan."""
    children = psutil.Process(pid).children()
    return [process for child in children for process in child.children()]


def test_a_file_that_vanishes_after_the_walk(tmp_path: Path) -> None:
    """It was listed, and is gone when its turn comes."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number:03d}.exe").write_bytes(sample("console-x86.exe"))
    process = start("scan", folder, "-f", "ndjson", "--no-cache", "--batch-size", "1")
    assert process.stdout is not None
    first = process.stdout.readline()
    for number in range(190, 200):
        (folder / f"{number:03d}.exe").unlink()
    rest, errors = process.communicate(timeout=WAIT)
    *found, summary = records(first + rest)
    assert (process.returncode, errors) == (3, b"")
    assert len(found) == 200
    gone = [record for record in found if record["type"] == "error"]
    assert {record["code"] for record in gone} == {"not-found"}
    assert [Path(record["path"]).stem for record in gone] == [str(n) for n in range(190, 200)]
    assert summary["failed"] == 10


@links
def test_folders_in_a_circle(run_cli: Any, folder: Path) -> None:
    (folder / "again").symlink_to(folder)
    (folder / "self").symlink_to("self")
    done = run_cli("scan", folder, "-f", "ndjson", "--exit-zero")
    *found, _ = records(done.stdout)
    kinds = sorted((Path(record["path"]).name, record["type"]) for record in found)
    assert kinds == [
        ("a.exe", "result"), ("again", "skipped"), ("b.txt", "skipped"), ("self", "skipped"),
    ]  # fmt: skip
    assert done.returncode == 0


@pytest.mark.skipif(not os.supports_dir_fd, reason="no paths that begin at an open folder")
def test_a_path_of_four_thousand_characters(run_cli: Any, tmp_path: Path) -> None:
    """Longer than a system call takes: it is named, and the others are read."""
    here, deep = os.open(tmp_path, os.O_RDONLY), tmp_path
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    for _ in range(22):
        deep = deep / ("d" * 200)
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("b.exe", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    done = run_cli("scan", tmp_path, "-f", "ndjson", "--exit-zero")
    *found, summary = records(done.stdout)
    assert (done.returncode, done.stderr) == (3, b"")
    first, second = found
    assert first["type"] == "result"
    assert (second["type"], second["code"]) == ("error", "io")
    assert "too long" in second["reason"]
    assert summary["failed"] == 1


NOBODY = """
import pwd, sys

def nobody(number):
    raise KeyError(number)

pwd.getpwuid = nobody
from maltriage.cli.entry import main
if __name__ == "__main__":
    main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="accounts of POSIX")
def test_without_a_home(folder: Path, tmp_path: Path) -> None:
    """As in a container whose user has no account: nothing can be kept, which is said in a line."""
    (tmp_path / "nobody.py").write_text(NOBODY)
    names = ("HOME", "MALTRIAGE_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    done = subprocess.run(
        [sys.executable, tmp_path / "nobody.py", "scan", folder, "-f", "ndjson", "--exit-zero"],
        capture_output=True,
        env={name: value for name, value in os.environ.items() if name not in names}
        | {"PYTHONPATH": str(ROOT)},
        timeout=WAIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [record["type"] for record in records(done.stdout)] == ["result", "skipped", "summary"]
    assert done.stderr.count(b"\n") == 1
    assert b"results are neither looked up nor kept" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="no file that nobody can write")
def test_an_output_that_cannot_be_written(run_cli: Any, folder: Path) -> None:
    done = run_cli("scan", folder, "-o", "/proc/new.ndjson")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"maltriage: cannot write /proc/new.ndjson: ")
    assert done.stderr.count(b"\n") == 1


@contextmanager
def terminal(columns: int) -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: what it shows, and what a program writes to."""
    pty = pytest.importorskip("pty", reason="needs a POSIX system")
    import fcntl
    import termios

    shown, written = pty.openpty()
    size = struct.pack("HHHH", 30, columns, 0, 0)
    fcntl.ioctl(written, termios.TIOCSWINSZ, size)
    try:
        yield shown, written
    finally:
        os.close(shown)


def on_terminal(columns: int, variables: Mapping[str, str], *arguments: object) -> tuple[int, str]:
    """Run the program on a terminal for both outputs; its exit code, and what came there."""
    with terminal(columns) as (shown, written):
        process = subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            env={**os.environ, **variables},
        )
        os.close(written)
        output = b""
        while True:
            try:
                piece = os.read(shown, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
            if not piece:
                break
            output += piece
        return process.wait(timeout=WAIT), output.decode()


@pytest.mark.parametrize("columns", [40, pytest.param(30, marks=pytest.mark.slow)])
def test_a_narrow_terminal(folder: Path, columns: int) -> None:
    """No row of the table is wider, so none is broken where the terminal likes."""
    variables, quiet = {"TERM": "xterm"}, ("-q", "--exit-zero", "--color", "never")
    code, shown = on_terminal(columns, variables, "scan", folder, *quiet)
    assert code == 0, shown
    assert "benign" in shown
    assert max(map(len, shown.replace("\r", "").splitlines())) <= columns, shown
    code, shown = on_terminal(columns, variables, "explain", folder / "a.exe", *quiet)
    assert code == 0, shown


def test_a_dumb_terminal(folder: Path) -> None:
    """It knows no escape codes: no colours, and no line of progress that is drawn again."""
    code, shown = on_terminal(100, {"TERM": "dumb"}, "scan", folder, "--exit-zero")
    assert code == 0
    assert "a.exe" in shown
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", shown)


@pytest.mark.parametrize(
    "encoding",
    ["cp1252", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cp437", "ascii"))],
)
def test_an_encoding_that_lacks_characters(run_cli: Any, tmp_path: Path, encoding: str) -> None:
    """As on a terminal of Windows: names are shown escaped, and JSON is UTF-8 all the same."""
    path = tmp_path / "прог-程序.exe"
    path.write_bytes(sample("console-x86.exe"))
    variables = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    out = tmp_path / "out.ndjson"
    done = run_cli("scan", path, "-o", "-", "-o", out, "--exit-zero", env=variables)
    assert done.returncode == 0
    assert done.stderr.startswith(b"wrote ")
    assert done.stderr.count(b"\n") == 1
    assert b"\\u0433-\\u7a0b\\u5e8f.exe" in done.stdout
    assert records(out.read_bytes())[0]["path"] == str(path)
    done = run_cli("explain", path, "--exit-zero", "--no-verify", env=variables)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
def test_a_million_tiny_files(tmp_path: Path) -> None:
    """One record each, and memory that does not grow with them. Takes some ten minutes."""
    folder, count = tmp_path / "in", 1_000_000
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:06d}").write_bytes(b"x" if number % 50 else b"MZ")
    process = start("scan", folder, "-f", "ndjson", "--no-cache", "--exit-zero")
    assert process.stdout is not None
    kinds: dict[str, int] = {}
    peak, watched = 0, psutil.Process(process.pid)
    for number, line in enumerate(process.stdout):
        kind = json.loads(line)["type"]
        kinds[kind] = kinds.get(kind, 0) + 1
        if number in (count // 10, count - 100):
            grown = watched.memory_info().rss - peak
            peak = watched.memory_info().rss
    shutil.rmtree(folder)  # pytest would keep it
    assert process.wait(timeout=WAIT) == 0
    assert kinds == {"result": count // 50, "skipped": count - count // 50, "summary": 1}
    assert grown < 64 << 20
    assert peak < 1 << 30
